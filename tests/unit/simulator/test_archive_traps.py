"""Files of the archive that are not what they should be."""

import io
import zipfile
from functools import cache
from hashlib import sha256
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from candlewick.market import DAY, HOUR, MINUTE, Market, format_time, parse_time
from candlewick.simulator.faults import Fault
from candlewick.simulator.query import Reply
from tests.unit.simulator.test_rest import Client
from tests.unit.simulator.world import START, World, simulate

DAYS = "/data/spot/daily/klines/WANUSDT/1h/"
FILE = f"{DAYS}WANUSDT-1h-2026-10-30.zip"
OTHER = f"{DAYS}WANUSDT-1h-2026-10-29.zip"
MONTH = "/data/spot/monthly/klines/WANUSDT/1h/WANUSDT-1h-2026-09.zip"
NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def plain(market: Market = Market.SPOT, faults: tuple[Fault, ...] = ()) -> Client:
    """A client of an exchange with a quiet symbol, whose files are made quickly."""
    return Client(market, symbols=("WANUSDT",), faults=faults)


@cache
def calm() -> Client:
    """The one client of an exchange without faults, whose clock nobody moves."""
    return plain()


def client(kind: str, market: Market = Market.SPOT, **settings: object) -> Client:
    """A client of an exchange with one fault, from long ago on and for ever unless told."""
    return plain(market, (Fault(kind=kind, **({"at": -1e9} | settings)),))


def lines(reply: Reply) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(reply.body)) as packed:
        return packed.read(packed.namelist()[0]).decode().splitlines()


def keys(client: Client, prefix: str = DAYS.lstrip("/")) -> list[str]:
    body = client.get("/", prefix=prefix, delimiter="/").body
    return [f"/{entry.text}" for entry in ET.fromstring(body).iter(f"{NAMESPACE}Key")]


def has_right_checksum(client: Client, path: str) -> bool:
    stated = client.get(f"{path}.CHECKSUM").body.decode().split()[0]
    return stated == sha256(client.get(path).body).hexdigest()


def test_checksum_is_absent() -> None:
    """The file is there, its CHECKSUM is neither to be had nor listed."""
    one = client("no_checksum", endpoint=FILE)
    assert (one.get(FILE).status, one.get(f"{FILE}.CHECKSUM").status) == (200, 404)
    assert (FILE in keys(one), f"{FILE}.CHECKSUM" in keys(one)) == (True, False)
    assert one.get(f"{OTHER}.CHECKSUM").status == 200


def test_checksum_names_another_file() -> None:
    """The digest is right and the name is not."""
    one = client("other_checksum", endpoint=FILE)
    digest, name = one.get(f"{FILE}.CHECKSUM").body.decode().split()
    assert (digest, name) == (sha256(one.get(FILE).body).hexdigest(), "WANUSDT-1h-2026-10-30-old.zip")


@pytest.mark.parametrize(("path", "days"), [(FILE, 3), (MONTH, 40)])
def test_file_is_published_late(path: str, days: int) -> None:
    """A file that is late is neither there nor listed, then it is."""
    one = client("late_file", endpoint=path, delay_s=days * 86400.0)
    folder = path.lstrip("/").rpartition("/")[0] + "/"
    assert calm().get(path).status == 200
    assert (one.get(path).status, one.get(f"{path}.CHECKSUM").status) == (404, 404)
    assert path not in keys(one, folder)
    one.counter.clock.advance(days * 86400.0)
    assert one.get(path).status == 200
    assert path in keys(one, folder)


def test_file_is_replaced_later() -> None:
    """The first edition has a wrong row and a right checksum; the second is the truth, and listed with a later time."""
    one = client("replaced_file", endpoint=FILE, at=0, duration_s=3600.0)
    first = one.get(FILE)
    assert has_right_checksum(one, FILE)
    assert changed(one, FILE) == "2026-10-31T05:00:00.000Z"
    one.counter.clock.advance(3601)
    second = one.get(FILE)
    assert has_right_checksum(one, FILE)
    assert changed(one, FILE) == "2026-11-02T11:00:00.000Z"
    assert changed(one, OTHER) == "2026-10-30T05:00:00.000Z"
    assert lines(second) == lines(calm().get(FILE))
    assert sum(old != new for old, new in zip(lines(first), lines(second), strict=True)) == 1


def changed(client: Client, path: str) -> str:
    tree = ET.fromstring(client.get("/", prefix=path.lstrip("/")).body)
    return tree.findtext(f"{NAMESPACE}Contents/{NAMESPACE}LastModified") or ""


@pytest.mark.parametrize(
    ("kind", "settings", "kept"),
    [
        ("truncated_file", {"number": 5}, lambda rows: rows[:-5]),
        ("truncated_file", {"number": 5000}, lambda rows: rows[: len(rows) // 2]),
        ("short_month", {"number": 7}, lambda rows: rows[: 6 * 24] + rows[7 * 24 :]),
    ],
)
def test_rows_are_missing(kind: str, settings: dict[str, Any], kept: Any) -> None:  # noqa: ANN401 - a function of rows
    """The end of a file or a day of a month is missing, and the checksum is right."""
    one = client(kind, endpoint="/data/*/monthly/*", **settings)
    truth = lines(calm().get(MONTH))
    assert len(truth) == 30 * 24
    assert lines(one.get(MONTH)) == kept(truth)
    assert has_right_checksum(one, MONTH)
    assert lines(one.get(FILE)) == lines(calm().get(FILE))


def test_rows_are_there_twice() -> None:
    """Repeated rows are identical ones, conflicting rows differ in their count."""
    truth = lines(calm().get(FILE))
    repeated = lines(client("repeated_rows", number=3).get(FILE))
    assert (len(repeated), sorted(set(repeated))) == (27, truth)
    conflicting = lines(client("conflicting_rows", number=2).get(FILE))
    assert len(conflicting) == 26
    assert [row for row in conflicting if row in truth] == truth
    odd = [row.split(",") for row in conflicting if row not in truth]
    for row in odd:
        (true,) = [fields for line in truth if (fields := line.split(","))[0] == row[0]]
        assert [index for index in range(12) if row[index] != true[index]] == [8]


def test_rows_are_unsorted() -> None:
    """Every row is there, in another order."""
    truth = lines(calm().get(FILE))
    unsorted = lines(client("unsorted_rows").get(FILE))
    assert unsorted != truth
    assert sorted(unsorted) == truth


def test_rows_are_lost_within_a_file() -> None:
    """Rows are missing between the first and the last one."""
    truth = lines(calm().get(FILE))
    lost = lines(client("lost_rows", number=3).get(FILE))
    assert (len(lost), lost[0], lost[-1]) == (21, truth[0], truth[-1])
    assert [row for row in truth if row in lost] == lost


def test_rows_are_impossible() -> None:
    """Candles open off their grid, or have prices without any quantity."""
    truth = lines(calm().get(FILE))
    shifted = [row.split(",") for row in lines(client("off_grid_rows", number=2).get(FILE)) if row not in truth]
    assert len(shifted) == 2
    assert all(0 < int(row[0]) % HOUR < MINUTE // 2 for row in shifted)
    empty = [row.split(",") for row in lines(client("empty_rows", number=2).get(FILE)) if row not in truth]
    assert [[row[place] for place in (5, 7, 8, 9, 10)] for row in empty] == [["0"] * 5] * 2
    assert all(float(row[1]) > 0 for row in empty)


def test_trades_are_annulled_or_on_the_wrong_side() -> None:
    """Annulled aggregates stand there besides the right ones; on the wrong side every buyer is the maker."""
    name = "/data/spot/daily/{kind}/WANUSDT/WANUSDT-{kind}-2026-10-30.zip"
    aggregates, trades = name.format(kind="aggTrades"), name.format(kind="trades")
    truth = lines(calm().get(aggregates))
    annulled = lines(client("annulled_rows").get(aggregates))
    assert [row for row in annulled if row in truth] == truth
    assert [row.split(",")[1:5] for row in annulled if row not in truth] == [["0", "0", "-1", "-1"]] * 2
    for path, place in ((aggregates, 6), (trades, 5)):
        assert {row.split(",")[place] for row in lines(calm().get(path))} == {"True", "False"}
        assert {row.split(",")[place] for row in lines(client("wrong_side").get(path))} == {"True"}


def test_file_is_not_a_zip() -> None:
    """A page comes instead, and its checksum is right."""
    one = client("not_a_zip", endpoint=FILE)
    assert one.get(FILE).body.startswith(b"<!DOCTYPE html>")
    assert has_right_checksum(one, FILE)


def test_header_is_there_or_not() -> None:
    """A USD-M file comes without its header, a spot file with one."""
    name = FILE.replace("spot", "futures/um")
    assert lines(client("other_header", Market.USDM).get(name)) == lines(plain(Market.USDM).get(name))[1:]
    assert lines(client("other_header").get(FILE))[1:] == lines(calm().get(FILE))


def test_unit_is_the_other_one() -> None:
    """A spot file of 2026 is in milliseconds."""
    row = lines(client("other_unit").get(FILE))[0].split(",")
    start = parse_time("2026-10-30") // 1000
    assert (int(row[0]), int(row[6])) == (start, start + 3_599_999)


def test_archive_is_denied_for_a_while() -> None:
    """Files, checksums and the listing are AccessDenied, then they are there."""
    one = client("denied", at=-60, duration_s=120.0)
    for reply in (one.get(FILE), one.get(f"{FILE}.CHECKSUM"), one.get("/", prefix=DAYS)):
        assert reply.status == 403
        assert b"AccessDenied" in reply.body
    virtual = Fault(kind="denied", at=0, duration_s=60)

    async def story(world: World) -> object:
        first = (await world.get(FILE)).status
        await world.clock.sleep(61)
        return first, (await world.get(FILE)).status

    assert simulate(story, faults=(virtual,)) == (403, 200)


def test_listing_is_stale_or_down() -> None:
    """A stale listing lacks the newest files, which are there all the same; a listing that is down answers 503."""
    one = client("stale_listing", delay_s=2.5 * 86400)
    newest = f"{DAYS}WANUSDT-1h-2026-11-01.zip"
    assert keys(one)[-2] == f"{DAYS}WANUSDT-1h-2026-10-29.zip"
    assert one.get(newest).status == 200
    down = client("listing_down")
    assert down.get("/", prefix=DAYS).status == 503
    assert down.get(newest).status == 200


def test_download_is_slow() -> None:
    """The body takes its time; the checksum does not."""
    assert client("slow_download", delay_s=7.0).get(FILE).spread_s == 7.0

    async def story(world: World) -> object:
        start = world.clock.now()
        await world.get(FILE)
        between = world.clock.now()
        await world.get(f"{FILE}.CHECKSUM")
        return (between - start) // 1_000_000, (world.clock.now() - between) // 1_000_000

    assert simulate(story, faults=(Fault(kind="slow_download", delay_s=7.0),)) == (7, 0)


def test_share_strikes_the_same_files_every_time() -> None:
    """A share of the files is spoiled, always the same ones."""
    names = [f"{DAYS}WANUSDT-1h-{format_time(START - day * DAY)[:10]}.zip" for day in range(2, 62)]
    spoiled = [
        [name for name in names if one.get(name).body[:1] == b"<"] for one in (client("not_a_zip", share=0.3),) * 2
    ]
    assert spoiled[0] == spoiled[1]
    assert 6 < len(spoiled[0]) < 32


def test_faults_of_the_archive_add_up() -> None:
    """Several faults strike one file together."""
    faults = (
        Fault(kind="repeated_rows", number=2),
        Fault(kind="other_unit"),
        Fault(kind="wrong_checksum", duration_s=60),
    )
    one = plain(faults=faults)
    rows = lines(one.get(FILE))
    assert (len(rows), len(rows[0].split(",")[0])) == (26, 13)
    assert not has_right_checksum(one, FILE)


def test_halt_on_usdm_is_flat_and_on_spot_absent() -> None:
    """A halt of two hours leaves no rows in the spot file, and flat ones without trades in that of USD-M."""
    halt = Fault(kind="outage", at="2026-10-30T05:00:00Z", duration_s=7200)
    name = FILE.replace("/1h/", "/1m/").replace("-1h-", "-1m-")
    spot = lines(plain(faults=(halt,)).get(name))
    assert len(spot) == 1440 - 120
    rows = [row.split(",") for row in lines(plain(Market.USDM, faults=(halt,)).get(name.replace("spot", "futures/um")))]
    start = parse_time("2026-10-30T05:00:00")
    halted = [row for row in rows[1:] if start <= int(row[0]) * 1000 < start + 2 * HOUR]
    assert len(halted) == 120
    assert all(row[8] == "0" and len(set(row[1:5])) == 1 for row in halted)
    assert int(halted[0][0]) * 1000 // MINUTE == start // MINUTE


@pytest.mark.parametrize("market", list(Market))
def test_removed_symbol_stays_in_the_archive(market: Market) -> None:
    """What is not traded any more is in the archive to its last day; spot lists it as BREAK, USD-M does not know it."""
    one = plain(market)
    folder = "spot" if market is Market.SPOT else "futures/um"
    path = f"data/{folder}/daily/klines/GONEUSDT/1h/"
    held = keys(one, path)
    last = format_time(START - 100 * DAY)[:10]
    assert held[-2] == f"/{path}GONEUSDT-1h-{last}.zip"
    assert one.get(held[-2]).status == 200
    rest = "/api/v3" if market is Market.SPOT else "/fapi/v1"
    answer = one.get(f"{rest}/klines", symbol="GONEUSDT", interval="1h")
    assert answer.status == (200 if market is Market.SPOT else 400)
    assert (b"-1121" in answer.body) == (market is Market.USDM)
    assert (b'"symbol":"GONEUSDT","status":"BREAK"' in one.get(f"{rest}/exchangeInfo").body) == (market is Market.SPOT)
    assert (b"GONEUSDT" in one.get(f"{rest}/exchangeInfo").body) == (market is Market.SPOT)


def test_symbol_listed_midway_has_files_from_its_first_day() -> None:
    """The first file is that of the day of the first trade, and begins with its minute."""
    one = Client(
        symbols=("DOGEUSDT",),
    )
    path = "data/spot/daily/klines/DOGEUSDT/1m/"
    listed_at = START - (30 * HOUR + 17 * MINUTE)
    first = keys(one, path)[0]
    assert first == f"/{path}DOGEUSDT-1m-{format_time(listed_at)[:10]}.zip"
    assert int(lines(one.get(first))[0].split(",")[0]) == listed_at
