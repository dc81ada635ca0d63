"""One backfill: what a span of a series lacks is asked of REST, verified in the database, and only then called repaired.

Of one series there is one backfill at a time, of all gap handlers at the database: who has its claim works, the others
wait and find nothing left to do.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec

from candlewick.clock import SECOND, Clock
from candlewick.errors import CandlewickError, Refused, StoreDown, UsageError
from candlewick.events import Event
from candlewick.history.budget import REPAIR
from candlewick.history.client import SETTLE_S, RestClient
from candlewick.integrity.gaps import missing_spans
from candlewick.market import Series, Span, format_time
from candlewick.services.gap_handler.book import Book
from candlewick.services.gap_handler.results import Backfilled, Outcome
from candlewick.services.gap_handler.shared import SharedRecorder
from candlewick.services.repair import ASK_AGAIN_OLD_S, CHUNK, OLD, Job, Repairer
from candlewick.stores.provenance import GapRecord
from candlewick.stores.store import Reason

CLAIM_EVERY_S = 0.25
"""A claim that another gap handler has is asked for so often."""
MEASURE_S = 5.0
"""How long the database has, after a failure, to say what came of it."""
MOST_ROWS = 100
"""Holes of one backfill that get a row each in the log; of more there is one row for all."""


class Backfiller:
    """Repairs spans of one market."""

    def __init__(
        self, client: RestClient, recorder: SharedRecorder, book: Book, *, clock: Clock, tell: Callable[[Event], None],
        on_later: Callable[[Series, Span], None], timeout_s: float,
    ) -> None:  # fmt: skip
        """`on_later` hears of spans that have to be looked at once more, when it is time; `timeout_s` is real time."""
        self._client, self._recorder, self._book, self._clock, self._tell = client, recorder, book, clock, tell
        self._timeout_s = timeout_s
        self.repairer = Repairer(
            client, recorder, clock=clock, tell=tell, on_later=lambda job: on_later(job.series, job.span)
        )
        self._turns: dict[Series, asyncio.Lock] = {}
        self._known: set[Series] = set()

    async def backfill(
        self, series: Series, span: Span, cause: str, *, detected_at: int | None = None, is_logged: bool = True
    ) -> Backfilled:
        """Repair a span on the grid; whatever happens, what came until then is kept, and the result says the truth.

        What is missing is logged as gaps if `is_logged`: history that was never there is none.

        Raises:
            UsageError: the exchange does not know the series.
        """
        began = self._clock.monotonic()
        work = _Work(series, span)
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._meet(series)
                async with self.claimed(series):
                    await self._repair(work, cause, detected_at, is_logged=is_logged)
        except TimeoutError:
            why = "" if self._recorder.trouble is None else f"; {self._recorder.trouble}"
            work.failed(f"gave up after {self._timeout_s:g} s: what came until then is kept{why}")
        except UsageError:
            raise
        except CandlewickError as error:
            work.failed(str(error))
        if work.has_failed:
            with suppress(CandlewickError, TimeoutError):  # then it is not known whether anything came
                async with asyncio.timeout(MEASURE_S):
                    await self._measure(work)
        result = work.result()
        return msgspec.structs.replace(result, duration_s=round(self._clock.monotonic() - began, 3))

    @asynccontextmanager
    async def claimed(self, series: Series) -> AsyncIterator[None]:
        """Have a series to oneself, however long it takes to get it.

        Raises:
            StoreDown: the database does not answer, or the connection was lost that held the claim: then somebody else
                may be at it, and whoever is inside is cancelled.
        """
        turn = self._turns.setdefault(series, asyncio.Lock())
        async with turn:
            while (claim := await self._book.claim(f"backfill:{series}")) is None:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(CLAIM_EVERY_S)  # noqa: TID251 - another process keeps real time
            try:
                async with _cancelled_by(claim.lost, f"the connection that held the claim on {series} was lost"):
                    yield
            finally:
                await claim.release()

    async def settle(self, series: Series, span: Span | None = None, *, is_whole: bool = False) -> None:
        """Resolve every open row of a series (that meets `span`) of which every candle is accounted for.

        The bounds of a row need not be those of anything that was repaired. `is_whole`: every candle of `span` is held.
        """
        for gap in await self._book.unresolved(series, span):
            interval = gap.series.interval
            grid = Span(interval.ceil(gap.span.start), interval.ceil(gap.span.end))
            held = interval.count(grid)
            if not (is_whole and span is not None and span.start <= grid.start and grid.end <= span.end):
                left, held = await self.survey(series, grid)
                if left or grid.end > interval.floor(self._clock.now()):
                    continue
            lost = interval.count(grid) - held
            recovered = held if gap.candles is None else max(0, min(held, gap.candles - lost))
            await self._book.resolve(gap, recovered)

    async def survey(self, series: Series, span: Span) -> tuple[list[Span], int]:
        """What of a span on the grid has neither a candle nor a reason, and how many candles of it are held."""
        return await self._recorder.on_store(self._survey, series, span)

    def _survey(self, series: Series, span: Span) -> tuple[list[Span], int]:
        if span.start >= span.end:
            return [], 0
        store = self._recorder.store
        held = store.columns(series, *span, columns=["open_time"])["open_time"]
        if len(held) == series.interval.count(span):
            return [], len(held)
        reasons = [one for one in store.absences(series) if one.reason is not Reason.PENDING]
        return missing_spans(held, series.interval, span, reasons), len(held)

    async def missing(self, series: Series, span: Span) -> list[Span]:
        """What of a span on the grid has neither a candle nor a reason."""
        return (await self.survey(series, span))[0]

    async def log(self, series: Series, holes: Sequence[Span], cause: str, detected_at: int | None = None) -> None:
        """Have a row of every hole in the log, or one of all where they are too many; what has a row gets no other."""
        interval, now = series.interval, self._clock.now()
        spans = list(holes) if len(holes) <= MOST_ROWS else [Span(holes[0].start, holes[-1].end)]
        rows = [gap.span for gap in await self._book.unresolved(series, Span(holes[0].start, holes[-1].end))]
        at = now if detected_at is None else min(now, detected_at)  # whoever asks may have a wrong clock
        for one in (_beside(span, rows) for span in spans):
            parts = (Span(max(one.start, hole.start), min(one.end, hole.end)) for hole in holes)
            if candles := sum(interval.count(part) for part in parts if part.start < part.end):
                await self._book.keep_gap(GapRecord(str(series), one, candles, at, cause))

    async def held(self, series: Series, span: Span) -> int:
        """How many candles of a span there are."""
        return (await self.survey(series, span))[1]

    def _is_held(self, series: Series) -> bool:
        return bool(len(self._recorder.store.columns(series, columns=["open_time"], last=1)["open_time"]))

    async def _meet(self, series: Series) -> None:
        """Make sure that the exchange knows a series before the database does: a slip of the pen leaves no trace."""
        if series in self._known:
            return
        if not await self._recorder.on_store(self._is_held, series):
            start = series.interval.previous(series.interval.floor(self._clock.now()))  # not in the exchange's future
            try:
                await self._client.klines(series.symbol, series.interval, start, start + 1, REPAIR, most=1)
            except Refused as error:
                raise UsageError(f"{series} cannot be asked for: {error}") from error
        await self._recorder.follow(series)
        self._known.add(series)

    async def _repair(self, work: "_Work", cause: str, detected_at: int | None, *, is_logged: bool) -> None:
        series, interval = work.series, work.series.interval
        await self._wait_until_settled(work)
        over = Span(work.span.start, max(work.span.start, min(work.span.end, interval.floor(self._clock.now()))))
        holes, held = await self.survey(series, over)
        work.began(over, sum(map(interval.count, holes)), held, self.repairer.fetched[series])
        self._recorder.refusals.pop(series, None)
        if holes:
            if is_logged:
                await self.log(series, holes, cause, detected_at)
            await self._mend(work, holes, cause)
            left = await self._measure(work)
            if old := [hole for hole in left if hole.end < self._clock.now() - OLD]:
                # What REST has twice not had is proved to be nowhere; once is not enough.
                await self._clock.sleep(ASK_AGAIN_OLD_S + 1)
                await self._mend(work, old, cause)
                await self._measure(work)
        is_whole = over == work.span and work.held == interval.count(over)
        await self.settle(series, work.span, is_whole=is_whole)
        work.is_verified = not work.left and over.end == work.span.end
        if over.end < work.span.end:
            work.error = f"the candles from {format_time(over.end)} on are not over yet"
        elif work.left:
            shown = "the exchange has shown nothing of them, or will be asked again"
            work.error = f"{work.left} candles are still missing: {self._recorder.refusals.get(series, shown)}"

    async def _wait_until_settled(self, work: "_Work") -> None:
        """For some seconds after its end REST may show a candle as it was before: wait for one that is asked for."""
        interval, now = work.series.interval, self._clock.now()
        over = min(interval.floor(now), work.span.end)
        if over > self.repairer.settled_end(interval) and work.span.start < over:
            await self._clock.sleep((over - now) / SECOND + SETTLE_S + 0.01)

    async def _mend(self, work: "_Work", holes: Sequence[Span], cause: str) -> None:
        """Ask for holes, those together that one look at the store finds."""
        interval = work.series.interval
        for span in clustered(holes, CHUNK * interval.nominal):
            for part in _parts(span, CHUNK * interval.nominal, interval.ceil):
                await self.repairer.mend(Job(work.series, part, REPAIR, cause))

    async def _measure(self, work: "_Work") -> list[Span]:
        """Find out what came: by what is held, and not by what was sent. Returns what is still missing."""
        if work.over is None:
            return []
        left, held = await self.survey(work.series, work.over)
        work.ended(sum(map(work.series.interval.count, left)), held, self.repairer.fetched[work.series])
        return left


class _Work:
    """What a backfill has come to so far."""

    def __init__(self, series: Series, span: Span) -> None:
        self.series, self.span = series, span
        self.over: Span | None = None
        """What of the span was over when it began."""
        self.expected = self.fetched = self.recovered = self.absent = self.left = 0
        self.held = self._held = self._fetched = 0
        self.is_verified = self.has_failed = False
        self.error = ""

    def failed(self, error: str) -> None:
        """It came to an end before its time."""
        self.has_failed, self.error = True, error

    def began(self, over: Span, expected: int, held: int, fetched: int) -> None:
        """So many candles are missing, so many are held, and so many had been fetched of the series before."""
        self.over, self.expected, self.left, self._fetched = over, expected, expected, fetched
        self.held = self._held = held

    def ended(self, left: int, held: int, fetched: int) -> None:
        """The same afterwards."""
        self.left, self.held, self.fetched = left, held, fetched - self._fetched
        self.recovered = min(max(0, held - self._held), self.expected)
        self.absent = max(0, self.expected - left - self.recovered)

    def result(self) -> Backfilled:
        if self.is_verified:
            status = Outcome.BACKFILLED
        elif self.has_failed and not (self.recovered or self.absent):
            status = Outcome.ERROR
        else:
            status = Outcome.PARTIAL
        return Backfilled(
            status=status, series=self.series, span=self.span, expected=self.expected, fetched=self.fetched,
            skipped=max(0, self.fetched - self.recovered), recovered=self.recovered, absent=self.absent, error=self.error,
        )  # fmt: skip


def clustered(holes: Sequence[Span], near: int) -> list[Span]:
    """Spans around holes that lie no farther apart than `near`."""
    spans: list[Span] = []
    for hole in holes:
        if spans and hole.start - spans[-1].end < near:
            spans[-1] = Span(spans[-1].start, hole.end)
        else:
            spans.append(hole)
    return spans


def _beside(span: Span, rows: Sequence[Span]) -> Span:
    """What of a span no row has that reaches beyond it; a row inside the span is not its end."""
    start, end = span
    for row in rows:
        if row.start < start < row.end or (row.start == start and row.end >= end):
            start = row.end
        if row.start < end < row.end:
            end = row.start
    return Span(start, max(start, end))


def _parts(span: Span, length: int, ceil: Callable[[int], int]) -> list[Span]:
    """A span cut into parts on the grid."""
    parts = []
    while span.end - span.start > length:
        cut = ceil(span.start + length)
        parts.append(Span(span.start, cut))
        span = Span(cut, span.end)
    return [*parts, span]


@asynccontextmanager
async def _cancelled_by(lost: asyncio.Event, why: str) -> AsyncIterator[None]:
    """Cancel what is inside once `lost` is set, which comes out as StoreDown."""
    inside = asyncio.current_task()
    assert inside is not None

    async def watch() -> None:
        await lost.wait()
        inside.cancel()

    watching = asyncio.ensure_future(watch())
    try:
        yield
    except asyncio.CancelledError:
        if lost.is_set() and not inside.uncancel():
            raise StoreDown(why) from None
        raise
    finally:
        watching.cancel()
