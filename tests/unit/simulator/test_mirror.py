"""A mirror of real archive files."""

import asyncio
import json
import os
import shutil
from datetime import UTC, datetime
from hashlib import md5, sha256
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET
from zipfile import ZipFile

import aiohttp
import pytest

from candlewick.clock import ManualClock
from candlewick.errors import UsageError
from candlewick.market import MINUTE, parse_time
from candlewick.simulator.faults import Fault
from candlewick.simulator.mirror import Mirror
from candlewick.transport import Answer

NOW = parse_time("2025-07-01T12:00:00")
DAYS = "data/spot/daily/klines/BTCUSDT/1m/"
NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def get(mirror: Mirror, path: str, **params: object) -> Answer:
    asked = tuple((name.replace("_", "-"), str(value)) for name, value in params.items())
    return asyncio.run(mirror.http().get(f"http://mirror/{path.lstrip('/')}", asked, 10.0))


def klines(mirror: Mirror, path: str = "/api/v3/klines", **params: object) -> Any:  # noqa: ANN401 - JSON
    return json.loads(get(mirror, path, **params).body)


def listed(mirror: Mirror, **params: object) -> ET.Element:
    return ET.fromstring(get(mirror, "/", **params).body)


@pytest.fixture
def real(recordings: Path) -> Mirror:
    return Mirror(recordings / "archive", clock=ManualClock(NOW))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder with three days of a few invented minutes; the last one is a bare CSV."""
    folder = tmp_path / DAYS
    folder.mkdir(parents=True)
    for day in (1, 2, 3):
        midnight = parse_time(f"2023-03-0{day}")
        (folder / f"BTCUSDT-1m-2023-03-0{day}.csv").write_text(
            "".join(line(midnight + minute * MINUTE) for minute in (0, 1, 3)), encoding="ascii"
        )
    for day in (1, 2):
        name = f"BTCUSDT-1m-2023-03-0{day}"
        with ZipFile(folder / f"{name}.zip", "w") as packed:
            packed.write(folder / f"{name}.csv", f"{name}.csv")
        (folder / f"{name}.csv").unlink()
    return tmp_path


def line(time: int) -> str:
    return f"{time // 1000},1.5,2.50,1.0,2.0,10.0,{time // 1000 + 59_999},15.0,3,4.0,6.0,0\n"


def test_mirror_serves_a_real_zip_as_it_is(real: Mirror, recordings: Path) -> None:
    """A zip comes byte for byte, with its checksum."""
    name = "BTCUSDT-1m-2023-03-24.zip"
    content = (recordings / "archive" / DAYS / name).read_bytes()
    answer = get(real, DAYS + name)
    assert answer.body == content
    assert get(real, f"{DAYS}{name}.CHECKSUM").body.decode() == f"{sha256(content).hexdigest()}  {name}\n"


def test_mirror_zips_a_bare_csv_the_same_way_every_time(real: Mirror, recordings: Path) -> None:
    """A bare CSV comes as a zip of itself; another mirror makes the very same bytes."""
    key = "data/futures/um/monthly/klines/AVAXUSDT/1m/AVAXUSDT-1m-2025-02"
    body = get(real, f"{key}.zip").body
    with ZipFile(BytesIO(body)) as packed:
        assert packed.namelist() == ["AVAXUSDT-1m-2025-02.csv"]
        assert packed.read("AVAXUSDT-1m-2025-02.csv") == (recordings / "archive" / f"{key}.csv").read_bytes()
    other = Mirror(recordings / "archive", clock=ManualClock(NOW))
    assert get(other, f"{key}.zip").body == body
    assert get(real, f"{key}.zip.CHECKSUM").body.startswith(sha256(body).hexdigest().encode())


@pytest.mark.parametrize("name", ["BTCUSDT-1h-2023-03-01", "BTCUSDT-15m-2023-03-20", "ETHUSDT-15m-2023-03-27"])
def test_mirror_answers_rest_as_the_exchange_did(real: Mirror, recordings: Path, name: str) -> None:
    """Pages of 1000 and of 100 rows equal the exchange's own recorded answer, the outage of 2023-03-24 within."""
    symbol, interval, _ = name.split("-", 2)
    recorded = [
        row
        for row in json.loads((recordings / "rest" / "klines" / f"{name}.json").read_bytes())
        if row[0] * 1000 < parse_time("2023-04-01")
    ]
    assert len(recorded) > 400
    span = {"startTime": recorded[0][0], "endTime": recorded[-1][0]}
    assert klines(real, symbol=symbol, interval=interval, limit=1000, **span) == recorded
    paged: list[Any] = []
    while len(paged) < len(recorded):
        start = paged[-1][0] + 1 if paged else recorded[0][0]
        page = klines(real, symbol=symbol, interval=interval, limit=100, startTime=start, endTime=recorded[-1][0])
        assert len(page) == min(100, len(recorded) - len(paged))
        paged += page
    assert paged == recorded


def test_mirror_gives_microsecond_files_in_milliseconds(real: Mirror) -> None:
    """REST of January 2025 is in milliseconds though the file is not, and goes on from the file before it."""
    rows = klines(real, symbol="BTCUSDT", interval="5m", startTime=1735689300000, limit=2)
    assert [row[0] for row in rows] == [1735689300000, 1735689600000]
    assert rows[1][:2] == [1735689600000, "93576.00000000"]
    assert rows[1][6] == 1735689899999


def test_mirror_serves_both_markets(real: Mirror) -> None:
    """USD-M candles come from `/fapi`, skip the header of their file, and keep its digits."""
    rows = klines(real, "/fapi/v1/klines", symbol="avaxusdt", interval="1m", startTime=1738368000000, limit=1500)
    assert len(rows) == 1500
    assert rows[0][:6] == [1738368000000, "34.4220", "34.4260", "34.3600", "34.3600", "9896"]
    names = {row["symbol"] for row in klines(real, "/fapi/v1/exchangeInfo")["symbols"]}
    assert names == {"AVAXUSDT", "BTCUSDT"}
    assert {row["symbol"]: row["status"] for row in klines(real, "/api/v3/exchangeInfo")["symbols"]} == {
        "ARBUSDT": "BREAK",
        "BTCUSDT": "TRADING",
        "ETHUSDT": "BREAK",
    }


def test_mirror_keeps_the_limits_of_the_exchange(real: Mirror) -> None:
    """500 rows by default, 1000 at most on spot, over 1500 refused on USD-M; newest rows without a start."""
    spot = {"symbol": "BTCUSDT", "interval": "1m"}
    assert len(klines(real, **spot)) == 500
    newest = klines(real, **spot, limit=5000)
    assert len(newest) == 1000
    assert newest[-1][0] * 1000 == parse_time("2023-03-31T23:59:00")
    before = klines(real, **spot, limit=3, endTime=newest[0][0])
    assert [row[0] for row in before] == [newest[0][0] - 120_000, newest[0][0] - 60_000, newest[0][0]]
    assert klines(real, "/fapi/v1/klines", symbol="BTCUSDT", interval="5m", limit=1501)["code"] == -1130
    answer = get(real, "/api/v3/klines", symbol="NOUSDT", interval="1m")
    assert (answer.status, json.loads(answer.body)["code"]) == (400, -1121)
    assert int(answer.headers["x-mbx-used-weight-1m"]) == 8
    assert klines(real, symbol="BTCUSDT", interval="7m")["code"] == -1120
    assert klines(real, symbol="BTCUSDT", interval="1w") == []


def test_mirror_pages_end_with_both_ends_included(small: Path) -> None:
    """Rows are those that open within start and end, both included; a minute without a row is not there."""
    mirror = Mirror(small, clock=ManualClock(NOW))
    first = parse_time("2023-03-01") // 1000
    rows = klines(mirror, symbol="BTCUSDT", interval="1m", startTime=first + 60_000, endTime=first + 180_000)
    assert [row[0] - first for row in rows] == [60_000, 180_000]
    assert rows[0] == [
        first + 60_000,
        "1.5",
        "2.50",
        "1.0",
        "2.0",
        "10.0",
        first + 119_999,
        "15.0",
        3,
        "4.0",
        "6.0",
        "0",
    ]
    assert klines(mirror, symbol="BTCUSDT", interval="1m", startTime=first + 120_000, endTime=first + 120_000) == []


def test_mirror_counts_a_row_of_a_day_and_of_its_month_once(small: Path) -> None:
    """With the month's file beside the days' every page is the same."""
    asked = {"symbol": "BTCUSDT", "interval": "1m"}
    alone = [klines(Mirror(small, clock=ManualClock(NOW)), **asked, limit=limit) for limit in (2, 4, 500)]
    month = small / "data/spot/monthly/klines/BTCUSDT/1m"
    month.mkdir(parents=True)
    times = [parse_time(f"2023-03-0{day}") + minute * MINUTE for day in (1, 2, 3) for minute in (0, 1, 3)]
    (month / "BTCUSDT-1m-2023-03.csv").write_text("".join(map(line, times)), encoding="ascii")
    both = [klines(Mirror(small, clock=ManualClock(NOW)), **asked, limit=limit) for limit in (2, 4, 500)]
    assert both == alone
    assert [len(rows) for rows in both] == [2, 4, 9]


def test_mirror_lists_files_with_their_checksums_page_by_page(small: Path) -> None:
    """Keys come sorted, with real sizes, times and MD5s; small pages go on from NextMarker, prefixes may be partial."""
    mirror = Mirror(small, clock=ManualClock(NOW))
    keys: list[str] = []
    marker = ""
    while True:
        page = listed(mirror, prefix=DAYS, delimiter="/", marker=marker, max_keys=4)
        found = page.findall(f"{NAMESPACE}Contents")
        for entry in found:
            key, size, etag = (entry.findtext(f"{NAMESPACE}{name}") or "" for name in ("Key", "Size", "ETag"))
            body = get(mirror, key).body
            assert (int(size), etag) == (len(body), f'"{md5(body).hexdigest()}"')  # noqa: S324 - what S3 uses
            keys.append(key)
        assert len(found) <= 4
        if page.findtext(f"{NAMESPACE}IsTruncated") == "false":
            break
        marker = page.findtext(f"{NAMESPACE}NextMarker") or ""
    zips = [f"{DAYS}BTCUSDT-1m-2023-03-0{day}.zip" for day in (1, 2, 3)]
    assert keys == [key for name in zips for key in (name, f"{name}.CHECKSUM")]
    partial = listed(mirror, prefix=f"{DAYS}BTCUSDT-1m-2023-03-02", delimiter="/")
    assert len(partial.findall(f"{NAMESPACE}Contents")) == 2
    os.utime(small / zips[0], (1_700_000_000, 1_700_000_000))
    changed = listed(mirror, prefix=zips[0]).findtext(f"{NAMESPACE}Contents/{NAMESPACE}LastModified") or ""
    assert datetime.fromisoformat(changed) == datetime.fromtimestamp(1_700_000_000, UTC)


def test_mirror_lists_folders(real: Mirror) -> None:
    """Grouped by a slash the listing names folders, a page at a time, at any path of the listing's URL."""
    page = ET.fromstring(get(real, "listing/of/it", prefix="data/spot/daily/klines/", delimiter="/", max_keys=2).body)
    names = [entry.text for entry in page.findall(f"{NAMESPACE}CommonPrefixes/{NAMESPACE}Prefix")]
    assert names == ["data/spot/daily/klines/ARBUSDT/", "data/spot/daily/klines/BTCUSDT/"]
    marker = page.findtext(f"{NAMESPACE}NextMarker")
    rest = listed(real, prefix="data/spot/daily/klines/", delimiter="/", marker=marker)
    assert [entry.text for entry in rest.findall(f"{NAMESPACE}CommonPrefixes/{NAMESPACE}Prefix")] == [
        "data/spot/daily/klines/ETHUSDT/"
    ]
    assert rest.findtext(f"{NAMESPACE}IsTruncated") == "false"


def test_mirror_publishes_by_its_clock(small: Path) -> None:
    """A day's file is there five hours after its end and neither fetched nor listed before; REST ends at now."""
    clock = ManualClock(parse_time("2023-03-03T04:59:00"))
    mirror = Mirror(small, clock=clock)
    name = f"{DAYS}BTCUSDT-1m-2023-03-02.zip"
    assert get(mirror, name).status == 404
    assert get(mirror, f"{name}.CHECKSUM").status == 404
    assert len(listed(mirror, prefix=DAYS).findall(f"{NAMESPACE}Contents")) == 2
    clock.advance(60)
    assert get(mirror, name).status == 200
    assert len(listed(mirror, prefix=DAYS).findall(f"{NAMESPACE}Contents")) == 4
    early = Mirror(small, clock=ManualClock(parse_time("2023-03-01T00:01:30")))
    assert len(klines(early, symbol="BTCUSDT", interval="1m")) == 2
    assert klines(early, "/api/v3/time") == {"serverTime": parse_time("2023-03-01T00:01:30") // 1000}


def test_mirror_serves_what_the_folder_holds_at_the_moment(small: Path) -> None:
    """A replaced file, a forged CHECKSUM beside a file, and a removed file are seen at once; REST may stay true."""
    truth = small.parent / "truth"
    shutil.copytree(small, truth)
    mirror = Mirror(small, clock=ManualClock(NOW), truth=truth)
    name = f"{DAYS}BTCUSDT-1m-2023-03-01.zip"
    asked = {"symbol": "BTCUSDT", "interval": "1m"}
    rows = klines(mirror, **asked)
    before = get(mirror, f"{name}.CHECKSUM").body
    (small / name).write_bytes(b"not a zip at all")
    assert get(mirror, name).body == b"not a zip at all"
    assert get(mirror, f"{name}.CHECKSUM").body != before
    (small / f"{name}.CHECKSUM").write_bytes(before)
    assert get(mirror, f"{name}.CHECKSUM").body == before
    (small / name).unlink()
    assert get(mirror, name).status == get(mirror, f"{name}.CHECKSUM").status == 404
    assert klines(mirror, **asked) == rows
    assert len(klines(Mirror(small, clock=ManualClock(NOW)), **asked)) == 6
    assert mirror.asked[f"/{name}"] == 2


@pytest.mark.parametrize(
    ("fault", "count"),
    [
        (Fault(kind="truncated_file", number=100), 1440 - 80 - 100),
        (Fault(kind="repeated_rows", number=5), 1440 - 80 + 5),
        (Fault(kind="lost_rows", number=7), 1440 - 80 - 7),
        (Fault(kind="other_header"), 1440 - 80 + 1),
    ],
)
def test_mirror_spoils_real_files_on_their_way_out(recordings: Path, fault: Fault, count: int) -> None:
    """A fault of the archive strikes real files, with a right checksum; REST and the folder stay as they are."""
    folder, asked = recordings / "archive", {"symbol": "BTCUSDT", "interval": "1m", "limit": 1000}
    spoiled = Mirror(folder, clock=ManualClock(NOW), faults=(fault,))
    name = f"{DAYS}BTCUSDT-1m-2023-03-24.zip"
    body = get(spoiled, name).body
    with ZipFile(BytesIO(body)) as packed:
        assert len(packed.read("BTCUSDT-1m-2023-03-24.csv").splitlines()) == count
    assert get(spoiled, f"{name}.CHECKSUM").body.startswith(sha256(body).hexdigest().encode())
    assert klines(spoiled, **asked) == klines(Mirror(folder, clock=ManualClock(NOW)), **asked)


def test_mirror_changes_nothing_but_the_unit(real: Mirror, recordings: Path) -> None:
    """A microsecond file in milliseconds and a millisecond file in microseconds keep every other digit."""
    other = Mirror(recordings / "archive", clock=ManualClock(NOW), faults=(Fault(kind="other_unit"),))
    for name, short in (
        ("monthly/klines/BTCUSDT/5m/BTCUSDT-5m-2025-01", 13),
        ("daily/klines/BTCUSDT/1h/BTCUSDT-1h-2023-03-24", 16),
    ):
        rows = []
        for mirror in (real, other):
            with ZipFile(BytesIO(get(mirror, f"data/spot/{name}.zip").body)) as packed:
                rows.append([row.split(",") for row in packed.read(packed.namelist()[0]).decode().splitlines()])
        assert {len(row[0]) for row in rows[1]} == {len(row[6]) for row in rows[1]} == {short}
        for one, two in zip(*rows, strict=True):
            assert (one[0][:13], one[6][:13]) == (two[0][:13], two[6][:13])
            assert one[1:6] + one[7:] == two[1:6] + two[7:]


def test_mirror_has_the_troubles_of_rest_and_none_of_streams(small: Path) -> None:
    """REST and the archive fail as a script says; a fault of streams is refused with its name."""
    down = Fault(kind="server_error", endpoint="/api/*", at=-1.0, duration_s=1e9)

    async def main() -> tuple[int, ...]:
        clock = ManualClock(NOW)
        mirror = Mirror(small, clock=clock, faults=(Fault(kind="denied", at=-1.0, duration_s=60.0), down))
        http = mirror.http()
        paths = (f"/{DAYS}BTCUSDT-1m-2023-03-01.zip", "/api/v3/time", "/fapi/v1/time")
        first = [(await http.get(f"http://mirror{path}", (), 10.0)).status for path in paths]
        clock.advance(60)
        return (*first, (await http.get(f"http://mirror{paths[0]}", (), 10.0)).status)

    assert asyncio.run(main()) == (403, 503, 200, 200)
    with pytest.raises(UsageError, match="outage cannot happen"):
        Mirror(small, faults=(Fault(kind="outage"),))


def test_mirror_refuses_paths_out_of_its_folder(small: Path) -> None:
    """No request reads a file above the folder; a folder without `data/` is refused."""
    secret = small.parent / "secret.zip"
    secret.write_bytes(b"secret")
    mirror = Mirror(small, clock=ManualClock(NOW))
    assert get(mirror, "data/../../secret.zip").status == 404
    assert listed(mirror, prefix="data/../../").findall(f"{NAMESPACE}Contents") == []
    assert klines(mirror, symbol="..", interval="1m")["code"] == -1121
    with pytest.raises(UsageError, match="must hold a folder data/"):
        Mirror(small / "data")


def test_mirror_serves_over_a_socket(small: Path) -> None:
    """Over a socket everything is the same as in memory."""

    async def main() -> tuple[bytes, list[Any]]:
        mirror = Mirror(small, clock=ManualClock(NOW))
        url = await mirror.serve()
        async with aiohttp.ClientSession() as client:
            async with client.get(f"{url}/{DAYS}BTCUSDT-1m-2023-03-01.zip") as answer:
                body = await answer.read()
            async with client.get(f"{url}/api/v3/klines?symbol=BTCUSDT&interval=1m") as answer:
                rows = await answer.json()
        await mirror.close()
        return body, rows

    body, rows = asyncio.run(main())
    assert body == (small / DAYS / "BTCUSDT-1m-2023-03-01.zip").read_bytes()
    assert rows == klines(Mirror(small, clock=ManualClock(NOW)), symbol="BTCUSDT", interval="1m")
