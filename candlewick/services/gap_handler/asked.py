"""What a call of `/backfill` asks for, checked. Pure."""

import re
from collections.abc import Collection
from typing import Any, NamedTuple

import msgspec

from candlewick.errors import UsageError
from candlewick.market import DAY, Interval, Market, Series, Span, format_time, normal_symbol, parse_time

LONGEST = 7 * DAY
"""What is longer is history, which has a call of its own."""
_SYMBOL = re.compile(r"[\w.]{1,40}")
_NO_CALENDAR = 250_000_000_000_000_000  # the year 9892
_MEMBERS = frozenset({
    "gap_start", "gap_end", "candles_missing", "detected_at", "market", "symbol", "interval",
})  # fmt: skip


class Asked(NamedTuple):
    """A gap that somebody wants repaired."""

    series: Series
    span: Span
    """On the grid: every candle that opens in the span that was named."""
    detected_at: int | None


def read_asked(body: bytes, default: Series, intervals: Collection[Interval]) -> Asked:
    """The request in a body of JSON; a series that is not named is `default`, of whose market all are.

    Raises:
        UsageError: it is none; says which member is wrong, and what would be right.
    """
    try:
        members: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # bytes that are no text; lists in lists
        raise UsageError(f"the body is not JSON: {error}") from None
    if not isinstance(members, dict):
        raise UsageError("the body is not a JSON object with gap_start and gap_end")
    if unknown := sorted(members.keys() - _MEMBERS):
        raise UsageError(f"{unknown[0]} is no member of this request: it has {', '.join(sorted(_MEMBERS))}")
    series = _series(members, default, intervals)
    start, end = _time(members, "gap_start"), _time(members, "gap_end")
    if start is None or end is None:
        raise UsageError("gap_start and gap_end are needed, such as 2024-01-31T12:00:00Z")
    if end <= start:
        raise UsageError(f"gap_end {format_time(end)} is not after gap_start {format_time(start)}")
    if end - start > LONGEST:
        raise UsageError(
            "gap_start and gap_end are more than 7 days apart: ask for parts, or for /backfill/historical/start"
        )
    missing = members.get("candles_missing")
    if missing is not None and (not isinstance(missing, int) or isinstance(missing, bool) or missing < 0):
        raise UsageError(f"candles_missing {missing!r} is no number of candles")
    span = Span(series.interval.ceil(start), series.interval.ceil(end))
    if span.start >= span.end:
        raise UsageError(f"no candle of {series.interval} opens between gap_start and gap_end")
    return Asked(series, span, _time(members, "detected_at"))


def _series(members: dict[str, Any], default: Series, intervals: Collection[Interval]) -> Series:
    market, symbol, code = (
        _text(members, name) or usual
        for name, usual in (
            ("market", default.market.value), ("symbol", default.symbol), ("interval", default.interval.code)
        )
    )  # fmt: skip
    if market not in tuple(Market):
        raise UsageError(f"market {market!r} is not one of {', '.join(Market)}")
    if market != default.market:
        raise UsageError(f"this gap handler asks {default.market} only: start another one with MARKET={market}")
    if not _SYMBOL.fullmatch(normal_symbol(symbol)):
        raise UsageError(f"symbol {symbol!r} is none: write it as the exchange does, such as BTCUSDT")
    interval = Interval(code)
    if interval not in intervals:
        raise UsageError(f"{market} has no candles of {interval}: it has {', '.join(map(str, intervals))}")
    return Series(default.market, normal_symbol(symbol), interval)


def _text(members: dict[str, Any], name: str) -> str | None:
    value = members.get(name)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{name} {value!r} is no text")
    return value


def _time(members: dict[str, Any], name: str) -> int | None:
    """Microseconds of a member in RFC 3339 or epoch milliseconds."""
    value = members.get(name)
    if value is None:
        return None
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise UsageError(
            f"{name} {value!r} is no time: write RFC 3339 such as 2024-01-31T12:00:00Z, or epoch milliseconds"
        )
    try:
        time = parse_time(str(value))
    except (UsageError, OverflowError, ValueError):
        raise UsageError(
            f"{name} {value!r} is no time: write RFC 3339 such as 2024-01-31T12:00:00Z, or epoch milliseconds"
        ) from None
    if not 0 <= time < _NO_CALENDAR:
        raise UsageError(f"{name} {value!r} lies outside the calendar")
    return time
