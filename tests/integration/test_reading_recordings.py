"""The Python interface over a month of the real exchange, with its outage."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from candlewick.exchanges.exchange import load
from candlewick.market import Market, Series, Span, parse_time
from candlewick.reading.database import Database
from candlewick.stores.memory import MemoryStore
from candlewick.stores.store import ROW, Source
from tests.unit.reading.samples import outage

OUTAGE = Span(parse_time("2023-03-24T12:40"), parse_time("2023-03-24T14:00"))
NOON = parse_time("2023-03-24T12:00")

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def march(recordings: Path) -> MemoryStore:
    """March 2023 of two symbols at three intervals, with the outage known to be the exchange's."""
    store = MemoryStore()
    archive = load("binance").venues[Market.SPOT].archive
    for symbol in ("BTCUSDT", "ETHUSDT"):
        for interval in ("1m", "15m", "1h"):
            series = Series.parse(f"spot:{symbol}:{interval}")
            folder = recordings / "archive/data/spot/daily/klines" / symbol / interval
            for path in sorted(folder.glob("*.zip")):
                file = archive.parse_name(str(path.relative_to(recordings / "archive")))
                assert file is not None
                columns = archive.read_candles(path.read_bytes(), file)
                rows = np.zeros(len(columns["open_time"]), ROW)
                rows["series"], rows["source"] = store.number(series), Source.ARCHIVE
                for name, values in columns.items():
                    rows[name] = values
                store.write(rows)
        store.set_absences(Series.parse(f"spot:{symbol}:1m"), [outage(OUTAGE)])
    return store


def test_month_has_the_rows_of_the_exchange(march: MemoryStore) -> None:
    """44,560 minutes, one gap of 80 with its reason, and 44,640 minutes where filling is asked for."""
    db = Database(march)
    assert db.candles("BTCUSDT", "1m").height == 44_560
    (gap,) = db.gaps("BTCUSDT", "1m").cast({"from": pl.Int64, "to": pl.Int64}).rows()
    assert gap == ("spot", "BTCUSDT", "1m", *OUTAGE, 80, "exchange_outage")
    filled = db.candles("BTCUSDT", "1m", fill="flat")
    assert filled.height == 44_640
    made = filled.filter("filled")
    assert (made.height, made["close"].n_unique(), made["volume"].sum()) == (80, 1, 0.0)


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT"])
@pytest.mark.parametrize("interval", ["15m", "1h"])
def test_derived_candles_are_those_of_the_exchange(symbol: str, interval: str, march: MemoryStore) -> None:
    """All values of all candles, the early close before the outage too, are the exchange's own, to the last bit."""
    db = Database(march)
    stored = db.candles(symbol, interval)
    assert db.candles(symbol, interval, derive="always").equals(stored)
    assert db.compare(symbol, interval).is_empty()
    assert stored.height == {"15m": 2_971, "1h": 743}[interval]


def test_early_close_comes_through(march: MemoryStore) -> None:
    """The last bar before the outage closed at 12:39:41.646; so did its hour."""
    db = Database(march)
    for interval, start in (("1m", "2023-03-24T12:39"), ("1h", "2023-03-24T12:00")):
        (row,) = db.candles("BTCUSDT", interval, start=start, end="2023-03-24T13:00").rows(named=True)
        assert str(row["close_time"]) == "2023-03-24 12:39:41.646000+00:00"


def test_hour_of_an_unexplained_outage_is_not_derived(march: MemoryStore) -> None:
    """Without the reason the two hours it touches are unknown: neither given nor held against what is stored."""
    series = Series.parse("spot:BTCUSDT:1m")
    reasons = march.absences(series)
    march.set_absences(series, [])
    db = Database(march)
    hours = db.candles("BTCUSDT", "1h", derive="always")
    assert hours.height == 742
    assert NOON not in hours["open_time"].cast(pl.Int64)
    assert db.compare("BTCUSDT", "1h").is_empty()
    march.set_absences(series, reasons)
