"""Times, symbols and markets in the spellings people use."""

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from candlewick.errors import UsageError
from candlewick.market import HOUR, Interval, Market, Series, parse_time
from candlewick.reading.arguments import to_asked, to_series, to_time

NOON = parse_time("2024-03-10T12:00:00")
NEW_YORK = ZoneInfo("America/New_York")


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose own zone is eight hours ahead."""
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    "value",
    [
        "2024-03-10T12:00:00",
        "2024-03-10 12:00",
        "2024-03-10T12:00:00Z",
        "2024-03-10T14:00:00+02:00",
        "1710072000000",
        1710072000000,
        np.int64(1710072000000),
        datetime(2024, 3, 10, 12),  # noqa: DTZ001 - naive on purpose: it is UTC
        datetime(2024, 3, 10, 12, tzinfo=UTC),
        datetime(2024, 3, 10, 20, tzinfo=timezone(timedelta(hours=8))),
        datetime(2024, 3, 10, 8, tzinfo=NEW_YORK),
        pd.Timestamp("2024-03-10 12:00"),
        pd.Timestamp("2024-03-10 08:00", tz="America/New_York"),
        np.datetime64("2024-03-10T12:00"),
        np.datetime64("2024-03-10T12:00:00.000000000"),
    ],
    ids=repr,
)
@pytest.mark.usefixtures("elsewhere")
def test_time_is_the_same_in_every_spelling(value: object) -> None:
    """Noon UTC is noon UTC, whatever zone the machine is in."""
    assert to_time(value, "start") == NOON


@pytest.mark.usefixtures("elsewhere")
def test_date_is_midnight_in_utc() -> None:
    """A date has no zone, and begins in UTC."""
    assert to_time(date(2024, 3, 10), "start") == NOON - 12 * HOUR == to_time("2024-03-10", "start")


def test_time_is_told_apart_where_clocks_go_back() -> None:
    """The hour that happens twice in New York is two hours here, by its fold."""
    first, second = (datetime(2024, 11, 3, 1, 30, tzinfo=NEW_YORK, fold=fold) for fold in (0, 1))
    assert to_time(first, "start") == parse_time("2024-11-03T05:30")
    assert to_time(second, "start") == parse_time("2024-11-03T06:30")


@pytest.mark.parametrize(
    "value", [pd.Timestamp("2024-03-10 12:00:00.000000001"), np.datetime64("2024-03-10T12:00:00.000000001")], ids=repr
)
def test_time_between_microseconds_is_rounded_up(value: object) -> None:
    """What opens at noon does not open a nanosecond after noon."""
    assert to_time(value, "start") == NOON + 1


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("yesterday", "ISO 8601"),
        (1710072000, "1704067200000"),
        ("1710072000", "1704067200000"),
        (1710072000000000, "1704067200000"),
        (-1, "1704067200000"),
        (1710072000.5, "is not a time"),
        (True, "is not a time"),
        (pd.NaT, "is not a time"),
        (np.datetime64("NaT"), "is not a time"),
        (b"2024", "is not a time"),
    ],
    ids=repr,
)
def test_time_that_is_none_is_refused(value: object, why: str) -> None:
    """Seconds, microseconds, floats and the like are refused with the argument's name and what would be right."""
    with pytest.raises(UsageError, match=rf"^start.*{why}"):
        to_time(value, "start")


def test_epoch_zero_is_the_beginning() -> None:
    """0 asks for everything, as it does elsewhere."""
    assert to_time(0, "start") == 0


def test_range_that_ends_before_it_starts_is_refused() -> None:
    """Start and end are told to be in the wrong order."""
    with pytest.raises(UsageError, match="is after end"):
        to_asked("2024-02-01", "2024-01-01")


@pytest.mark.parametrize("last", [0, -3, 2.5, True])
def test_last_that_is_no_count_is_refused(last: object) -> None:
    """`last` is a whole number from 1."""
    with pytest.raises(UsageError, match="1 or more"):
        to_asked(None, None, last)


@pytest.mark.parametrize("symbol", ["BTCUSDT", "btcusdt", "BTC/USDT", "BTC-USDT", " btc/usdt "])
def test_symbol_is_the_same_in_every_spelling(symbol: str) -> None:
    """Every spelling is the exchange's."""
    assert to_series(symbol, "1m", None, Market.SPOT) == Series(Market.SPOT, "BTCUSDT", Interval("1m"))


def test_settled_symbol_is_on_usdm() -> None:
    """The spelling of ccxt for a perpetual contract names its market."""
    assert to_series("BTC/USDT:USDT", "1m", None, Market.SPOT).market is Market.USDM
    assert to_series("BTC/USDT:USDT", Interval("1m"), "usdm", Market.SPOT).symbol == "BTCUSDT"


@pytest.mark.parametrize(
    ("symbol", "interval", "market", "why"),
    [
        ("BTC/USDT:USDT", "1m", "spot", "is a contract of usdm"),
        ("BTC/USD:BTC", "1m", None, "not its quote"),
        ("", "1m", None, "empty"),
        ("BTCUSDT", "1minute", None, "interval"),
        ("BTCUSDT", "1m", "futures", "'spot' or 'usdm'"),
    ],
)
def test_series_that_cannot_be_is_refused(symbol: str, interval: str, market: str | None, why: str) -> None:
    """What is wrong is named."""
    with pytest.raises(UsageError, match=why):
        to_series(symbol, interval, market, Market.SPOT)
