"""Names of the archive's files, and the days they are for (binance.md 5.1, 5.6)."""

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from candlewick.market import DAY, HOUR, Interval, Market, Span

FOLDERS = {Market.SPOT: "data/spot/", Market.USDM: "data/futures/um/"}
KINDS = ("klines", "trades", "aggTrades")
DAILY_AFTER = 5 * HOUR
"""How long after its end a day's file appears."""
MONTHLY_AFTER = 3 * DAY
"""How long after its end a month's file appears."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KEY = re.compile(
    r"data/(?P<market>spot|futures/um)/(?P<period>daily|monthly)/"
    r"(?:klines/(?P<symbol>[^/]+)/(?P<code>[^/]+)/(?P=symbol)-(?P=code)"
    r"|(?P<kind>trades|aggTrades)/(?P<traded>[^/]+)/(?P=traded)-(?P=kind))-(?P<label>[\d-]+)\.zip"
)


class FileName(NamedTuple):
    """What a key says; `code` is the interval as the archive spells it, and empty for trades."""

    market: Market
    is_monthly: bool
    kind: str
    symbol: str
    code: str
    span: Span

    @property
    def interval(self) -> str:
        """The code of the interval as REST spells it."""
        return "1M" if self.code == "1mo" else self.code


def read_key(key: str) -> FileName | None:
    """The file a key names, or None where it names none there could be."""
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    is_monthly = match["period"] == "monthly"
    try:
        start = datetime.strptime(match["label"], "%Y-%m" if is_monthly else "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    market = Market.SPOT if match["market"] == "spot" else Market.USDM
    name = FileName(
        market,
        is_monthly,
        match["kind"] or "klines",
        match["symbol"] or match["traded"],
        match["code"] or "",
        Span(_time(start), _time(_after(start, is_monthly))),
    )
    # A month written 2023-3 is none of its names.
    return name if write_key(market, is_monthly, name.kind, name.symbol, name.code, name.span.start) == key else None


def write_key(market: Market, is_monthly: bool, kind: str, symbol: str, code: str, start: int) -> str:  # noqa: PLR0917 - as it is spelled
    """The key of the file that begins at `start`; `code` as the archive spells it, empty for trades."""
    label = (_EPOCH + timedelta(microseconds=start)).strftime("%Y-%m" if is_monthly else "%Y-%m-%d")
    period = "monthly" if is_monthly else "daily"
    folder = f"{code}/" if code else ""
    return f"{FOLDERS[market]}{period}/{kind}/{symbol}/{folder}{symbol}-{code or kind}-{label}.zip"


def starts(span: Span, is_monthly: bool) -> list[int]:
    """When the files begin that cover a span."""
    time = _EPOCH + timedelta(microseconds=span.start)
    time = datetime(time.year, time.month, 1 if is_monthly else time.day, tzinfo=UTC)
    found = []
    while (start := _time(time)) < span.end:
        found.append(start)
        time = _after(time, is_monthly)
    return found


def spelled(code: str) -> str:
    """An interval as the archive spells it."""
    return "1mo" if code == "1M" else code


def has_days(code: str) -> bool:
    """Whether there are daily files of an interval: 3d, 1w and 1mo have none."""
    return Interval("1M" if code == "1mo" else code).nominal <= DAY


def _after(start: datetime, is_monthly: bool) -> datetime:
    if not is_monthly:
        return start + timedelta(days=1)
    return datetime(start.year + start.month // 12, start.month % 12 + 1, 1, tzinfo=UTC)


def _time(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
