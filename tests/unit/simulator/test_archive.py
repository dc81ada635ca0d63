"""The public archive."""

import io
import json
import zipfile
from decimal import Decimal
from hashlib import sha256
from xml.etree import ElementTree as ET

import pytest

from candlewick.market import DAY, MINUTE, Market, parse_time
from candlewick.simulator.query import Reply
from tests.unit.simulator.test_rest import Client
from tests.unit.simulator.world import START

MIDNIGHT = START - START % DAY
SPOT = "data/spot/daily/klines/BTCUSDT/1m/"
NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def lines(reply: Reply) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(reply.body)) as packed:
        (name,) = packed.namelist()
        return packed.read(name).decode().splitlines()


def test_archive_of_a_day_is_the_truth_in_microseconds_on_spot() -> None:
    """A daily spot file of 2026 has the day's 1440 rows, times in microseconds, and no header."""
    client = Client()
    rows = lines(client.get(f"/{SPOT}BTCUSDT-1m-2026-10-31.zip"))
    truth = client.counter.exchange.truth("BTCUSDT", "1m", MIDNIGHT - 2 * DAY, MIDNIGHT - DAY)
    assert len(rows) == len(truth) == 1440
    first = rows[0].split(",")
    assert (int(first[0]), int(first[6])) == (MIDNIGHT - 2 * DAY, MIDNIGHT - 2 * DAY + MINUTE - 1)
    assert [row.split(",")[1:6] for row in rows] == [row[1:6] for row in truth]


def test_archive_of_usdm_has_a_header_and_milliseconds() -> None:
    """A USD-M file begins with a header; its times are in milliseconds."""
    rows = lines(Client(Market.USDM).get("/data/futures/um/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2026-10-31.zip"))
    assert rows[0].startswith("open_time,open")
    assert int(rows[1].split(",")[0]) * 1000 == MIDNIGHT - 2 * DAY
    assert len(rows) == 25


def test_archive_checksum_is_of_the_zip() -> None:
    """The CHECKSUM file has the digest of the zip and its name."""
    client = Client()
    name = "BTCUSDT-1m-2026-10-31.zip"
    digest, named = client.get(f"/{SPOT}{name}.CHECKSUM").body.decode().split()
    assert (digest, named) == (sha256(client.get(f"/{SPOT}{name}").body).hexdigest(), name)


def test_archive_publishes_a_day_some_hours_after_it() -> None:
    """Yesterday is there at ten in the morning, today is not, and tomorrow at five it is."""
    client = Client()
    assert client.get(f"/{SPOT}BTCUSDT-1m-2026-11-01.zip").status == 200
    assert client.get(f"/{SPOT}BTCUSDT-1m-2026-11-02.zip").status == 404
    client.counter.clock.advance(19.5 * 3600)
    assert client.get(f"/{SPOT}BTCUSDT-1m-2026-11-02.zip").status == 200


def test_archive_lists_its_files_page_by_page() -> None:
    """A folder with more than 1000 keys comes in pages that continue each other; checksums stand in between."""
    client = Client()
    keys: list[str] = []
    marker = ""
    while True:
        tree = ET.fromstring(client.get("/", delimiter="/", prefix=SPOT, marker=marker).body)
        found = [key.text or "" for key in tree.iter(f"{NAMESPACE}Key")]
        keys += found
        if tree.findtext(f"{NAMESPACE}IsTruncated") == "false":
            break
        marker = tree.findtext(f"{NAMESPACE}NextMarker") or found[-1]
    assert keys == sorted(set(keys))
    assert len(keys) == 2 * 400
    assert keys[-2:] == [f"{SPOT}BTCUSDT-1m-2026-11-01.zip", f"{SPOT}BTCUSDT-1m-2026-11-01.zip.CHECKSUM"]


def test_archive_spells_a_month_its_own_way() -> None:
    """The monthly interval is `1mo`, in monthly files only."""
    client = Client()
    assert len(lines(client.get("/data/spot/monthly/klines/OLDUSDT/1mo/OLDUSDT-1mo-2026-09.zip"))) == 1
    assert client.get("/data/spot/monthly/klines/BTCUSDT/1M/BTCUSDT-1M-2026-09.zip").status == 404
    assert client.get("/data/spot/daily/klines/BTCUSDT/1mo/BTCUSDT-1mo-2026-09-01.zip").status == 404


def test_archive_lists_folders() -> None:
    """Above the files the listing names the folders: symbols, then intervals."""
    client = Client()
    symbols = client.get("/", delimiter="/", prefix="data/spot/daily/klines/").body.decode()
    intervals = client.get("/", delimiter="/", prefix="data/spot/monthly/klines/BTCUSDT/").body.decode()
    assert "<Prefix>data/spot/daily/klines/OLDUSDT/</Prefix>" in symbols
    assert "<Prefix>data/spot/monthly/klines/BTCUSDT/1mo/</Prefix>" in intervals
    top = client.get("/", prefix="").body.decode()
    assert "<CommonPrefixes><Prefix>data/spot/daily/</Prefix></CommonPrefixes>" in top


@pytest.mark.parametrize("market", list(Market))
def test_archive_of_aggregates_is_what_rest_says(market: Market) -> None:
    """A day's aggregate trades have the numbers, prices and times of REST; spot without a header and in microseconds."""
    client = Client(market, symbols=("WANUSDT",))
    spot = market is Market.SPOT
    folder, rest = ("spot", "/api/v3") if spot else ("futures/um", "/fapi/v1")
    rows = lines(client.get(f"/data/{folder}/daily/aggTrades/WANUSDT/WANUSDT-aggTrades-2026-11-01.zip"))
    if not spot:
        assert rows.pop(0) == "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
    start, end = (MIDNIGHT - DAY) // 1000, MIDNIGHT // 1000 - 1
    trades = json.loads(
        client.get(f"{rest}/aggTrades", symbol="WANUSDT", startTime=start, endTime=end, limit=1000).body
    )
    assert 100 < len(rows) == len(trades) < 1000
    for row, trade in zip(rows, trades, strict=True):
        number, price, quantity, first, last, time, *sides = row.split(",")
        assert [int(number), price, quantity, int(first), int(last)] == [trade[field] for field in "apqfl"]
        assert int(time) // (1000 if spot else 1) == trade["T"]
        assert sides == ([str(trade["m"]), "True"] if spot else [str(trade["m"]).lower()])


def test_archive_of_trades_adds_up_to_the_candles() -> None:
    """The trades of a month, in its file of ids without a hole, have the volume and the count of the month's candle."""
    client = Client(symbols=("WANUSDT",))
    rows = [row.split(",") for row in lines(client.get("/data/spot/monthly/trades/WANUSDT/WANUSDT-trades-2026-09.zip"))]
    ((*candle,),) = client.counter.exchange.truth("WANUSDT", "1M", parse_time("2026-09-01"), parse_time("2026-09-02"))
    numbers = [int(row[0]) for row in rows]
    assert numbers == list(range(numbers[0], numbers[0] + int(candle[8])))
    assert sum(Decimal(row[2]) for row in rows) == Decimal(candle[5])
    assert sum(Decimal(row[3]) for row in rows) == Decimal(candle[7])
    assert sum(Decimal(row[2]) for row in rows if row[5] == "False") == Decimal(candle[9])


def test_archive_has_no_months_of_busy_trades() -> None:
    """A month of a busy symbol's trades would be too large to make: it is neither there nor listed, its days are."""
    client = Client()
    assert client.get("/data/spot/monthly/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2026-09.zip").status == 404
    months = client.get("/", delimiter="/", prefix="data/spot/monthly/aggTrades/BTCUSDT/").body
    days = client.get("/", delimiter="/", prefix="data/spot/daily/aggTrades/BTCUSDT/").body
    assert (months.count(b"<Key>"), days.count(b"<Key>")) == (0, 800)


def test_archive_publishes_a_month_some_days_after_it() -> None:
    """The month before appears three days after its end, or when the settings say."""
    name = "/data/spot/monthly/klines/WANUSDT/1d/WANUSDT-1d-2026-10.zip"
    client = Client(symbols=("WANUSDT",))
    assert client.get(name).status == 404
    client.counter.clock.advance(2 * 86400)
    assert client.get(name).status == 200
    assert Client(symbols=("WANUSDT",), monthly_after=DAY).get(name).status == 200


def test_archive_lists_the_size_of_what_was_fetched() -> None:
    """Before a file was fetched its listed size is near the real one; afterwards it is the real one."""
    client = Client()
    key = f"{SPOT}BTCUSDT-1m-2026-10-31.zip"
    first = listed_size(client, key)
    size = len(client.get(f"/{key}").body)
    assert listed_size(client, key) == size
    assert size / 2 < first < 2 * size


def listed_size(client: Client, key: str) -> int:
    return int(ET.fromstring(client.get("/", prefix=key).body).findtext(f"{NAMESPACE}Contents/{NAMESPACE}Size") or 0)
