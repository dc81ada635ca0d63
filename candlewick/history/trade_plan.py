"""Which of the archive's files of trades are fetched for a range: months where they are small, else days. Pure.

Files of trades are read whole and one after the other. What they hold of a day has to be in memory at once, with room
for its text beside it, so a month is taken as one file only where that is small.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from candlewick.exchanges.exchange import Archive, ArchiveFile, ArchiveKind, ListedFile
from candlewick.history.archive_plan import Step, Way, cost
from candlewick.integrity.spans import join
from candlewick.market import DAY, Span

MONTH_BYTES = 64 << 20
"""A larger file of a month is not taken where those of its days are there: unpacked it would have half a gigabyte."""
DAY_BYTES = 20 << 20
"""Of a day's file, where the listing does not tell its size."""


class TradeShelf(NamedTuple):
    """The archive's files of trades of a symbol."""

    archive: Archive
    kind: ArchiveKind
    symbol: str
    files: Mapping[str, ListedFile]
    is_known: bool
    """Whether the listing has answered; else any file may be there."""

    def day(self, time: int) -> ArchiveFile:
        """The file of the day that contains `time`."""
        file = self.archive.day(self.kind, self.symbol, None, time)
        assert file is not None  # only long candles have none
        return file

    def month(self, time: int) -> ArchiveFile:
        """The file of the month that contains `time`."""
        return self.archive.month(self.kind, self.symbol, None, time)

    def step(self, file: ArchiveFile, needed: Sequence[Span]) -> Step:
        """The step that fetches a file."""
        listed = self.files.get(file.name)
        size = DAY_BYTES if listed is None else listed.size
        way = Way.MONTHLY if file.is_monthly else Way.DAILY
        return Step(way, tuple(needed), file, listed is not None, size, 2, 0)


def plan_trades(shelf: TradeShelf, needed: Sequence[Span], now: int) -> list[Step]:
    """The files for the days that `needed` touches, by time; of days that are over and that the listing shows.

    Where the listing does not answer, every day that is over is looked for.
    """
    days = join(Span(one.start - one.start % DAY, -(-one.end // DAY) * DAY) for one in needed)
    steps: list[Step] = []
    for month, wanted in _by_month(shelf, days, now):
        steps += _of_month(shelf, month, wanted)
    return steps


def _of_month(shelf: TradeShelf, month: ArchiveFile, wanted: list[int]) -> list[Step]:
    days = [shelf.day(time) for time in wanted]
    there = [file for file in days if not shelf.is_known or file.name in shelf.files]
    by_day = [shelf.step(file, [file.span]) for file in there]
    if month.name not in shelf.files:
        return by_day
    whole = shelf.step(month, [month.span])
    if len(there) < len(days):
        return [whole]
    return [whole] if whole.bytes <= MONTH_BYTES and cost(whole) < sum(map(cost, by_day)) else by_day


def _by_month(shelf: TradeShelf, days: Sequence[Span], now: int) -> Iterator[tuple[ArchiveFile, list[int]]]:
    """Midnights of the days that are over, month by month."""
    month: ArchiveFile | None = None
    wanted: list[int] = []
    for span in days:
        for time in range(span.start, min(span.end, now - now % DAY), DAY):
            if month is None or time >= month.span.end:
                if month is not None:
                    yield month, wanted
                month, wanted = shelf.month(time), []
            wanted.append(time)
    if month is not None:
        yield month, wanted
