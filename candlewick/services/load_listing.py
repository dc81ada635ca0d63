"""What has to be known of a series before it is loaded: which files there are, and when it began and ceased to trade."""

from candlewick.errors import ExchangeError
from candlewick.exchanges.exchange import Archive, ArchiveKind, ListedFile
from candlewick.history.archive import ArchiveClient
from candlewick.history.archive_plan import Shelf, Way
from candlewick.market import DAY, Series, Span, format_time
from candlewick.services.load_holes import Asked, Trading
from candlewick.services.load_rest import RestSource
from candlewick.stores.provenance import FileRecord

GONE = 45 * DAY
"""A series whose latest file is so old is asked of REST before files after it are looked for."""
UNKNOWN = Shelf({}, is_known=False)


async def look(client: ArchiveClient, series: Series) -> Shelf:
    """What the listing shows of a series; `UNKNOWN` where it does not answer."""
    archive = client.archive
    files: dict[str, ListedFile] = {}
    try:
        for is_monthly in (True, False):
            prefix = _prefix(archive, series, is_monthly=is_monthly)
            if prefix is not None:
                files |= {one.name: one for one in await client.files(prefix)}
    except ExchangeError:
        return UNKNOWN
    spans = [file.span for name in files if (file := archive.parse_name(name)) is not None]
    named = {name: one for name, one in files.items() if archive.parse_name(name) is not None}
    first, last = min((one.start for one in spans), default=0), max((one.end for one in spans), default=0)
    return Shelf(named, True, first, last)


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
        if record.span.start == shelf.first and record.missing and record.missing[0].start == shelf.first:
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
