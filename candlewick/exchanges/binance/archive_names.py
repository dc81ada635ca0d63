"""Names of the files in Binance's public archive, as data (README of binance-public-data, "Download")."""

import re
from typing import NamedTuple

from candlewick.errors import UsageError
from candlewick.exchanges.exchange import ArchiveFile, ArchiveKind
from candlewick.market import DAY, HOUR, Interval, Span, format_time, parse_time

_MONTH = Interval("1M")
_DAY = Interval("1d")
_SPELLING = {"1M": "1mo"}
_CHECKSUM = ".CHECKSUM"


class ArchiveRules(NamedTuple):
    """What one market's part of the archive has of its own."""

    folder: str
    intervals: tuple[str, ...]
    published_after: int
    """Microseconds after the end of a day within which its file usually appears."""
    spot_columns: bool
    """Whether trades carry `isBestMatch` in a further column."""


_INTERVALS = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M")

SPOT = ArchiveRules("data/spot", ("1s", *_INTERVALS), 6 * HOUR, spot_columns=True)
USDM = ArchiveRules("data/futures/um", _INTERVALS, 9 * HOUR, spot_columns=False)


def month_file(
    rules: ArchiveRules, kind: ArchiveKind, symbol: str, interval: Interval | None, time: int
) -> ArchiveFile:
    """The file of the calendar month that contains `time`."""
    start = _MONTH.floor(time)
    return _file(rules, kind, symbol, interval, Span(start, _MONTH.next(start)), is_monthly=True)


def day_file(
    rules: ArchiveRules, kind: ArchiveKind, symbol: str, interval: Interval | None, time: int
) -> ArchiveFile | None:
    """The file of the day that contains `time`; None for intervals above a day, which have monthly files only."""
    if interval is not None and interval.nominal > DAY:
        return None
    start = _DAY.floor(time)
    return _file(rules, kind, symbol, interval, Span(start, _DAY.next(start)), is_monthly=False)


def folder(rules: ArchiveRules, kind: ArchiveKind, symbol: str, interval: Interval | None, *, is_monthly: bool) -> str:
    """The folder of such files, ending in a slash; without a symbol, that of all symbols' folders."""
    parts = [rules.folder, "monthly" if is_monthly else "daily", kind.value]
    if symbol:
        parts.append(symbol)
        if interval is not None:
            parts.append(_spelled(interval))
    return "/".join(parts) + "/"


def parse_name(rules: ArchiveRules, name: str) -> ArchiveFile | None:
    """The file that `name` stands for, or None if it is not one of this market's."""
    match = re.fullmatch(
        re.escape(rules.folder) + r"/(daily|monthly)/(\w+)/(.+)/[^/]+-(\d{4}-\d{2}(?:-\d{2})?)\.zip", name
    )
    if match is None or match[2] not in tuple(ArchiveKind):
        return None
    kind, is_monthly = ArchiveKind(match[2]), match[1] == "monthly"
    symbol, _, code = match[3].partition("/")
    interval = next((Interval(one) for one in rules.intervals if _SPELLING.get(one, one) == code), None)
    if (kind is ArchiveKind.KLINES) != (interval is not None):
        return None
    try:
        time = parse_time(f"{match[4]}-01" if is_monthly else match[4])
    except UsageError:
        return None
    make = month_file if is_monthly else day_file
    file = make(rules, kind, symbol, interval, time)
    return file if file is not None and file.name == name else None


def checksum_name(file: ArchiveFile) -> str:
    """The name of the file that holds its checksum."""
    return file.name + _CHECKSUM


def stem(file: ArchiveFile) -> str:
    """What the zip and the CSV in it are both called, without their endings."""
    return file.name.rpartition("/")[2].removesuffix(".zip")


def _file(
    rules: ArchiveRules, kind: ArchiveKind, symbol: str, interval: Interval | None, span: Span, *, is_monthly: bool
) -> ArchiveFile:
    what = kind.value if interval is None else _spelled(interval)
    date = format_time(span.start)[: 7 if is_monthly else 10]
    name = f"{folder(rules, kind, symbol, interval, is_monthly=is_monthly)}{symbol}-{what}-{date}.zip"
    return ArchiveFile(name, kind, symbol, interval, span, is_monthly)


def _spelled(interval: Interval) -> str:
    return _SPELLING.get(interval.code, interval.code)
