"""What callers write, as what the store is asked: times, symbols, markets and intervals in their many spellings."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from candlewick.errors import UsageError
from candlewick.market import Interval, Market, Series, normal_symbol, parse_time

Time: TypeAlias = str | int | datetime | date | np.datetime64
"""An instant: ISO 8601, epoch milliseconds, a datetime (pandas' Timestamp is one), a date. UTC where nothing else is said."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MILLISECONDS = (10**11, 10**13)
"""1973 to 2286: whole numbers outside of it are seconds or microseconds by mistake."""


class Asked(NamedTuple):
    """Which candles are wanted: those that open in `[start, end)`, in microseconds UTC, of them the newest `last`."""

    start: int | None
    end: int | None
    last: int | None


def to_asked(start: Time | None, end: Time | None, last: int | None = None) -> Asked:
    """The range that is asked for.

    Raises:
        UsageError: a time is none, the range ends before it starts, or `last` is no count.
    """
    asked = Asked(to_time(start, "start"), to_time(end, "end"), last)
    if asked.start is not None and asked.end is not None and asked.end < asked.start:
        raise UsageError(f"start={start!r} is after end={end!r}: give the earlier one first")
    if last is not None and (not isinstance(last, int) or isinstance(last, bool) or last < 1):
        raise UsageError(f"last={last!r} is not possible: it must be a whole number, 1 or more")
    return asked


def to_time(value: Time | None, name: str) -> int | None:
    """Microseconds UTC, rounded up, of what a caller wrote; None stays None. `name` is the argument's, for the message.

    Raises:
        UsageError: it is no time, or a number that cannot be milliseconds.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return _from_text(value, name)
    if isinstance(value, np.datetime64):
        return _from_numpy(value, name)
    if isinstance(value, datetime):
        return _from_datetime(value, name)
    if isinstance(value, date):
        return (date.toordinal(value) - _EPOCH.toordinal()) * 86_400_000_000
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return _from_milliseconds(int(value), name)
    raise UsageError(
        f"{name}={value!r} is not a time: give ISO 8601 text, a datetime, a date, or epoch milliseconds as an int"
    )


def to_series(symbol: str, interval: str | Interval, market: str | Market | None, default: Market) -> Series:
    """The series that is meant; ccxt's `BTC/USDT:USDT` names the one on USD-M.

    Raises:
        UsageError: the market or the interval is none, or symbol and market contradict each other.
    """
    name, settled, currency = symbol.partition(":")
    chosen = None if market is None else to_market(market)
    if settled:
        if not name.strip().upper().endswith(currency.strip().upper()) or not currency.strip():
            raise UsageError(f"symbol {symbol!r} is settled in {currency!r}, not its quote: write BTC/USDT:USDT")
        if chosen not in (None, Market.USDM):
            raise UsageError(f"symbol {symbol!r} is a contract of usdm, but market={str(chosen)!r} was asked for")
        chosen = Market.USDM
    if not normal_symbol(name):
        raise UsageError("the symbol is empty: write one such as BTCUSDT")
    return Series(chosen or default, normal_symbol(name), to_interval(interval))


def to_interval(interval: str | Interval) -> Interval:
    """The interval that is meant.

    Raises:
        UsageError: it is none.
    """
    return interval if isinstance(interval, Interval) else Interval(interval)


def to_market(market: str | Market) -> Market:
    """The market that is meant.

    Raises:
        UsageError: it is none.
    """
    try:
        return Market(str(market).lower())
    except ValueError:
        raise UsageError(f"market={market!r} is not one: write {' or '.join(map(repr, map(str, Market)))}") from None


def _from_text(text: str, name: str) -> int:
    if re.fullmatch(r"-?\d{9,}", text):
        return _from_milliseconds(int(text), name)
    try:
        return parse_time(text)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None


def _from_datetime(when: Any, name: str) -> int:  # noqa: ANN401  # pandas' Timestamp and NaT come as datetimes
    if when != when:  # noqa: PLR0124  # how NaT tells itself from a time
        raise UsageError(f"{name}={when!r} is not a time")
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return int(-((_EPOCH - when) // _MICROSECOND))


def _from_numpy(when: np.datetime64, name: str) -> int:
    if np.isnat(when):
        raise UsageError(f"{name}={when!r} is not a time")
    whole = when.astype("M8[us]")
    return int(whole.astype(np.int64)) + int(whole < when)


def _from_milliseconds(value: int, name: str) -> int:
    if value and not _MILLISECONDS[0] <= value < _MILLISECONDS[1]:
        raise UsageError(f"{name}={value} is not a time in epoch milliseconds: 2024-01-01 is 1704067200000")
    return value * 1000
