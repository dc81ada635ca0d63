"""Cuts what is needed of a series into monthly files, daily files and REST, for the fewest bytes and requests. Pure.

Each calendar month is decided by itself. Where both its file and those of its days can be had, what costs less is
taken; what one lacks is then asked of the other, and of REST last: so it depends neither on the span that was asked for
nor on what was loaded before where a row comes from. REST is preferred only for days of which the archive is not
expected to have a file yet.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from candlewick.exchanges.exchange import Archive, ArchiveFile, ArchiveKind, ListedFile
from candlewick.history.plan import page_rows
from candlewick.integrity.spans import common, join, without
from candlewick.market import DAY, Interval, Series, Span

REQUEST_BYTES = 100_000
"""What a request costs beside its bytes, as so many bytes: about the round trip's worth of a household connection."""
ROW_BYTES = 42
"""Of a zipped candle, where the listing does not tell a file's size; a page of REST has about `PAGE_ROW_BYTES`."""
PAGE_ROW_BYTES = 60
REST_CANDLES = 10_000
"""The longest piece that is asked of REST at once."""
NEAR = 400
"""Holes closer than so many candles are asked of REST together: a page costs the same."""
_MONTH = Interval("1M")


class Way(StrEnum):
    """Who is asked."""

    MONTHLY = "archive monthly"
    DAILY = "archive daily"
    REST = "rest"


class Step(NamedTuple):
    """One thing to ask for, and what it costs."""

    way: Way
    needed: tuple[Span, ...]
    """In order, on the grid: what is wanted of it."""
    file: ArchiveFile | None
    """None for REST."""
    is_listed: bool
    """Whether the listing shows the file; else its CHECKSUM is asked for first."""
    bytes: int
    requests: int
    weight: int
    """Of REST's limit."""


class Shelf(NamedTuple):
    """What the archive's listing shows of the files of a series."""

    files: Mapping[str, ListedFile]
    is_known: bool
    """False: the listing does not answer, and any file may be there."""
    first: int = 0
    """The start of the earliest file's span; 0 where there is none."""
    last: int = 0
    """The end of the latest file's span; 0 where there is none."""

    @property
    def is_empty(self) -> bool:
        """Whether it is known that there is nothing."""
        return self.is_known and not self.files

    def tells_of(self, step: Step) -> bool:
        """Whether it would show the step's file; days before the last file are listed only where they pay."""
        return self.is_known and (step.is_listed or step.file is None or step.file.span.end > self.last)


class Archived(NamedTuple):
    """The archive as a series sees it."""

    archive: Archive
    series: Series
    shelf: Shelf
    now: int
    threshold_months: int = 2
    """A month's file that the listing does not show is expected so many months after the month began."""

    def month(self, time: int) -> ArchiveFile:
        """The file of the calendar month that contains `time`."""
        return self.archive.month(ArchiveKind.KLINES, self.series.symbol, self.series.interval, time)

    def day(self, time: int) -> ArchiveFile | None:
        """The file of the day that contains `time`; None where the interval has none."""
        return self.archive.day(ArchiveKind.KLINES, self.series.symbol, self.series.interval, time)

    def may_have(self, file: ArchiveFile) -> bool:
        """Whether the file may be there: its time is over, and the listing does not begin after it."""
        return file.span.end <= self.now and not self.shelf.is_empty and file.span.end > self.shelf.first

    def expects(self, file: ArchiveFile) -> bool:
        """Whether the file may be there and should be by now."""
        if not self.may_have(file):
            return False
        if file.name in self.shelf.files:
            return True
        if not file.is_monthly:
            return file.span.end <= self.now - self.now % DAY - DAY
        due = file.span.start
        for _ in range(self.threshold_months):
            due = _MONTH.next(due)
        return due <= self.now

    def file_step(self, file: ArchiveFile, needed: Sequence[Span]) -> Step:
        """The step that fetches a file for what is needed of it."""
        listed = self.shelf.files.get(file.name)
        size = self.series.interval.count(file.span) * ROW_BYTES if listed is None else listed.size
        way = Way.MONTHLY if file.is_monthly else Way.DAILY
        return Step(way, tuple(needed), file, listed is not None, size, 2, 0)


def plan(archived: Archived, needed: Sequence[Span], page_sizes: Sequence[tuple[int, int]]) -> list[Step]:
    """What to ask for first, by time."""
    return next_steps(archived, needed, page_sizes, asked=(), rest_asked=())


def next_steps(
    archived: Archived, needed: Sequence[Span], page_sizes: Sequence[tuple[int, int]], *,
    asked: Collection[str], rest_asked: Sequence[Span],
) -> list[Step]:  # fmt: skip
    """What to ask for next, by time; nothing where everybody was asked.

    `asked`: the names of files that were; `rest_asked`: in order, of what REST was.
    """
    steps: list[Step] = []
    rest: list[Span] = []
    for month, spans in _by_file(archived.month, needed, archived.series.interval):
        files, others = _of_month(archived, month, spans, asked, rest_asked)
        steps += files
        rest += others
    return sorted([*steps, *rest_steps(archived.series, join(rest), page_sizes)], key=lambda one: one.needed[0])


def _of_month(
    archived: Archived, month: ArchiveFile, needed: Sequence[Span], asked: Collection[str], rest_asked: Sequence[Span]
) -> tuple[list[Step], list[Span]]:
    """The files to ask for in a month, and what is for REST."""
    by_day: list[Step] = []
    by_month: list[Span] = []
    rest: list[Span] = []
    can_month = month.name not in asked and archived.may_have(month)
    expects_month = can_month and archived.expects(month)
    for day, spans in _by_file(lambda time: archived.day(time) or month, needed, archived.series.interval):
        can_day = not day.is_monthly and day.name not in asked and archived.may_have(day)
        if can_day and archived.expects(day):
            by_day.append(archived.file_step(day, spans))
        elif can_month and (expects_month or not can_day):
            by_month += spans
        elif left := without(spans, rest_asked):
            rest += left
        elif can_day:
            by_day.append(archived.file_step(day, spans))
        elif can_month:
            by_month += spans
    if expects_month and by_day and (by_month or _cheaper(archived, month, by_day)):
        by_month = join([*by_month, *(span for step in by_day for span in step.needed)])
        by_day = []
    return [*by_day, *([archived.file_step(month, by_month)] if by_month else [])], rest


def _cheaper(archived: Archived, month: ArchiveFile, by_day: Sequence[Step]) -> bool:
    """Whether the month's file costs less than those of the days; what is listed is surer than what is not."""
    whole = archived.file_step(month, ())
    if whole.is_listed != all(step.is_listed for step in by_day):
        return whole.is_listed
    return cost(whole) < sum(map(cost, by_day))


def cost(step: Step) -> int:
    """The step's bytes and requests, in bytes."""
    return step.bytes + step.requests * REQUEST_BYTES


def rest_steps(series: Series, needed: Sequence[Span], page_sizes: Sequence[tuple[int, int]]) -> list[Step]:
    """The steps that ask REST for what is needed: spans that one page covers together, long ones in pieces."""
    interval = series.interval
    groups: list[list[Span]] = []
    for span in (part for each in needed for part in _pieces(each, interval)):
        start = groups[-1][0].start if groups else 0
        near = groups and span.start - groups[-1][-1].end < NEAR * interval.nominal
        if near and span.end - start <= REST_CANDLES * interval.nominal:
            groups[-1].append(span)
        else:
            groups.append([span])
    steps = []
    for group in groups:
        rows = interval.count(Span(group[0].start, group[-1].end))
        requests, weight = _page_cost(page_sizes, rows)
        steps.append(Step(Way.REST, tuple(join(group)), None, True, rows * PAGE_ROW_BYTES, requests, weight))
    return steps


def _pieces(span: Span, interval: Interval) -> Iterator[Span]:
    start = span.start
    while start < span.end:
        end = min(interval.ceil(start + REST_CANDLES * interval.nominal), span.end)
        yield Span(start, end)
        start = end


def _page_cost(page_sizes: Sequence[tuple[int, int]], rows: int) -> tuple[int, int]:
    """Requests and weight of so many rows."""
    weights = dict(page_sizes)
    requests = weight = 0
    while rows > 0 or not requests:
        size = page_rows(page_sizes, rows)
        requests, weight, rows = requests + 1, weight + weights[size], rows - size
    return requests, weight


def _by_file(
    file_of: Callable[[int], ArchiveFile], needed: Sequence[Span], interval: Interval
) -> Iterator[tuple[ArchiveFile, list[Span]]]:
    """What is needed, cut where a file ends; a week is in the file of the month in which it opens."""
    rest = list(needed)
    while rest:
        file = file_of(rest[0].start)
        if inside := [one for one in common(rest, [file.span]) if interval.count(one)]:
            yield file, inside
        rest = without(rest, [Span(rest[0].start, file.span.end)])


def grid_span(interval: Interval, span: Span) -> Span:
    """From the first open time in `span` to the first after it: what its candles stand for."""
    return Span(interval.ceil(span.start), interval.ceil(span.end))
