"""What has to be known of a series before it is loaded: which files there are, and when it began and ceased to trade."""

import asyncio
from collections.abc import Mapping, Sequence
from os.path import commonprefix

from candlewick.errors import DecodeError, ExchangeError
from candlewick.exchanges.exchange import Archive, ArchiveFile, ArchiveKind, ListedFile
from candlewick.history.archive import ArchiveClient
from candlewick.history.archive_plan import Shelf, Way
from candlewick.market import DAY, Series, Span, format_time
from candlewick.services.loading.holes import NOT_PUBLISHED, Asked, Trading
from candlewick.services.loading.rest import RestSource
from candlewick.stores.provenance import FileRecord

GONE = 45 * DAY
"""A series whose latest file is so old is asked of REST before files after it are looked for."""
FEW_MONTHS = 4
UNKNOWN = Shelf({}, is_known=False)


async def look(client: ArchiveClient, series: Series, needed: Sequence[Span]) -> Shelf:
    """What the listing shows of the files of a series that matter for what is needed; `UNKNOWN` if it does not answer.

    Daily files fill many pages: they are listed only for months that are better had by days, if those are few.
    """
    archive = client.archive
    try:
        files = await _listed(client, _prefix(archive, series, is_monthly=True))
        by_days = _by_days(archive, series, needed, files)
        folder = _prefix(archive, series, is_monthly=False)
        if folder is None:
            prefixes = []
        elif not files or len(by_days) > FEW_MONTHS:
            prefixes = [folder]
        else:
            prefixes = [_month_prefix(archive, series, month) for month in by_days]
        for found in await asyncio.gather(*(_listed(client, prefix) for prefix in prefixes)):
            files |= found
        if not files and await _is_wrong(client, series, needed):
            return UNKNOWN
    except ExchangeError:
        return UNKNOWN
    spans = [file.span for file, _ in files.values()]
    first, last = min((one.start for one in spans), default=0), max((one.end for one in spans), default=0)
    return Shelf({name: listed for name, (_, listed) in files.items()}, True, first, last)


async def _is_wrong(client: ArchiveClient, series: Series, needed: Sequence[Span]) -> bool:
    """Whether a listing without any file hides one that is needed; the middle is as good as any place to look."""
    kind, archive = ArchiveKind.KLINES, client.archive
    time = (needed[0].start + needed[-1].end) // 2
    files = [
        archive.month(kind, series.symbol, series.interval, time),
        archive.day(kind, series.symbol, series.interval, time),
    ]
    try:
        return any([await client.checksum(file) for file in files if file is not None])
    except DecodeError:
        return True


def nothing_listed(archive: Archive, series: Series, now: int) -> Asked:
    """What the listing of a series without files answers, whatever is asked."""
    name = f"listing of {_prefix(archive, series, is_monthly=True)}"
    return Asked(Span(-(1 << 62), 1 << 62), Way.MONTHLY, name, now, NOT_PUBLISHED)


async def _listed(client: ArchiveClient, prefix: str | None) -> dict[str, tuple[ArchiveFile, ListedFile]]:
    """The files of candles whose names begin with `prefix`."""
    found = {}
    for one in await client.files(prefix or ""):
        file = client.archive.parse_name(one.name)
        if file is not None:
            found[one.name] = file, one
    return found


def _by_days(
    archive: Archive, series: Series, needed: Sequence[Span], files: Mapping[str, tuple[ArchiveFile, ListedFile]]
) -> list[Span]:
    """The months of which less than half is needed, or which have no monthly file."""
    months: dict[Span, int] = {}
    listed = {file.span for file, _ in files.values()}
    for span in needed:
        time = span.start
        while time < span.end:
            month = archive.month(ArchiveKind.KLINES, series.symbol, series.interval, time).span
            months[month] = months.get(month, 0) + min(span.end, month.end) - time
            time = month.end
    return [month for month, time in months.items() if month not in listed or 2 * time < month.end - month.start]


def _month_prefix(archive: Archive, series: Series, month: Span) -> str:
    """What the names of a month's daily files have in common."""
    days = [
        archive.day(ArchiveKind.KLINES, series.symbol, series.interval, time) for time in (month.start, month.end - 1)
    ]
    return commonprefix([  # noqa: RUF071 - a prefix of names is what the listing takes
        day.name for day in days if day is not None
    ])  # fmt: skip


def _prefix(archive: Archive, series: Series, *, is_monthly: bool) -> str | None:
    """The folder of a series' files; None where it has no such files."""
    kind = ArchiveKind.KLINES
    if not is_monthly and archive.day(kind, series.symbol, series.interval, 0) is None:
        return None
    return archive.folder(kind, series.symbol, series.interval, is_monthly=is_monthly)


async def ends_at(rest: RestSource, series: Series, shelf: Shelf, now: int) -> int:
    """Where the series' candles end, if its files end long ago and REST has nothing later; else 0.

    Raises:
        ExchangeError: REST cannot be asked.
    """
    if not shelf.is_known or not shelf.last or shelf.last > now - GONE:
        return 0
    if series.symbol in rest.unknown or not await rest.has_after(series, shelf.last):
        return shelf.last
    return 0


def began(
    series: Series, shelf: Shelf, archive: Archive, rest: RestSource, records: list[FileRecord], now: int
) -> Trading:
    """When a symbol that REST does not know began to trade, by the archive alone."""
    words = rest.unknown[series.symbol]
    first = shelf.first
    for record in records:
        # A candle of three days or a week opens some days into its month.
        starts = series.interval.ceil(shelf.first)
        if record.span.start == shelf.first and record.missing and record.missing[0].start == starts:
            first = record.missing[0].end
    before = Span(0, first)
    asked = (
        Asked(before, Way.MONTHLY, f"listing of {_prefix(archive, series, is_monthly=True)}", now,
              f"the earliest file is for {format_time(shelf.first)}"),
        Asked(before, Way.REST, f"klines {series.symbol} {series.interval} from the beginning", now, words),
    )  # fmt: skip
    return Trading(first=series.interval.ceil(first), first_asked=asked)


def ended(series: Series, shelf: Shelf, archive: Archive, after: int, status: str, now: int) -> Trading:
    """A series that has no candle from `after` on and does not trade: `status` is what the exchange says of it."""
    span = Span(after, 1 << 62)
    asked = [Asked(span, Way.REST, f"exchangeInfo and klines of {series.symbol}", now, status)]
    if shelf.is_known:
        prefix = _prefix(archive, series, is_monthly=True)
        answer = f"the latest file ends at {format_time(shelf.last)}" if shelf.last else "there is none"
        asked.append(Asked(span, Way.MONTHLY, f"listing of {prefix}", now, answer))
    return Trading(after_last=after, last_asked=tuple(asked))
