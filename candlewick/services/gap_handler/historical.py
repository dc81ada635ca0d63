"""The historical backfill: what is missing of many months, chunk by chunk, by whichever gap handler is there.

How far it is stands in the database. Who has the claim works; when that process is gone another one, or the same after
its restart, goes on with the chunks that are not verified yet.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

import msgspec

from candlewick.clock import Clock
from candlewick.errors import ExchangeError, StoreDamaged, StoreDown, UsageError
from candlewick.integrity.spans import join
from candlewick.market import DAY, MINUTE, Market, Series, Span
from candlewick.services.gap_handler.backfill import Backfiller
from candlewick.services.gap_handler.book import Book
from candlewick.services.gap_handler.results import Historical, Outcome
from candlewick.services.gap_handler.shared import SharedRecorder
from candlewick.services.historian import Historian
from candlewick.services.schema import months_before
from candlewick.stores.postgres.claims import Claim

PAUSE_S = 1.0
"""Between chunks: others ask the exchange too."""
ROUNDS = 2
"""How often a chunk is tried before the job ends without it."""
LOST = "the connection that held the claim on the historical backfill was lost: whoever claims it next goes on"


class HistoricalJob:
    """The one historical backfill of a market."""

    def __init__(
        self, recorder: SharedRecorder, book: Book, backfiller: Backfiller, historian: Historian | None, *,
        clock: Clock, market: Market, wanted: Callable[[], Awaitable[Sequence[Series]]], months: int, chunk_days: int,
        place: Callable[[], AbstractAsyncContextManager[None]],
    ) -> None:  # fmt: skip
        """`historian`: whom to ask for what is old, where REST is not to do it alone; `wanted`: the series to fill.

        Every chunk is done in a `place` among other backfills.
        """
        self._place = place
        self._recorder, self._book, self._backfiller, self._historian = recorder, book, backfiller, historian
        self._clock, self._wanted, self._months, self._chunk_days = clock, wanted, months, chunk_days
        self._name = f"historical:{market}"
        self._key = f"gap_handler:{self._name}"
        self._claim: Claim | None = None
        self._is_taking = False

    async def state(self) -> Historical:
        """How far it is, whoever works at it.

        Raises:
            StoreDown: the database does not answer.
        """
        kept = await self._recorder.on_store(self._recorder.store.state, self._key)
        if kept is None:
            return Historical()
        try:
            return msgspec.json.decode(kept, type=Historical)
        except msgspec.DecodeError as error:
            raise StoreDamaged(
                f"how far the historical backfill is cannot be read ({error}): have it forgotten with "  # noqa: S608 - words
                f"DELETE FROM provenance WHERE key = '{self._key}'"
            ) from None

    async def begin(self) -> bool:
        """Have the claim and a new job to work at; False where one is under way.

        Raises:
            StoreDown: the database does not answer.
        """
        return not (await self.state()).is_running and await self._take(self._put)

    async def resume(self) -> bool:
        """Have the claim of a job that somebody left; False where there is none.

        Raises:
            StoreDown: the database does not answer.
        """
        return (await self.state()).is_running and await self._take(self._is_left)

    async def unfilled(self) -> tuple[frozenset[Series], list[Span]]:
        """The series and the spans of a job under way that it has yet to look through: holes there are its own.

        Raises:
            StoreDown: the database does not answer.
        """
        try:
            state = await self.state()
            wanted = frozenset(await self._wanted() if state.is_running else ())
        except (StoreDamaged, ExchangeError, UsageError):  # then nobody works at it
            return frozenset(), []
        return wanted, [chunk(state, one) for one in range(chunks_total(state)) if one not in state.done]

    async def work(self) -> None:
        """Do what is left of the job that `begin` or `resume` gave.

        Raises:
            StoreDown: the database does not answer; the job is whole, and can be resumed.
        """
        claim = self._claim
        assert claim is not None
        try:
            for _ in range(ROUNDS):
                state = await self.state()
                for number in [one for one in range(chunks_total(state)) if one not in state.done]:
                    if claim.lost.is_set():
                        raise StoreDown(LOST)
                    async with self._place():
                        state = await self._work_at(state, number)
                    await self._clock.sleep(PAUSE_S)
            state = await self.state()
            error = "" if len(state.done) == chunks_total(state) else state.error
            finished = msgspec.structs.replace(
                state, is_running=False, finished_at=self._clock.now(), current=-1, error=error
            )
            await self._keep(finished)
        finally:
            await self._release()

    async def _take(self, is_to_be_had: Callable[[], Awaitable[bool]]) -> bool:
        """Have the claim, if nobody else has it and the job is to be had still; where that fails, others may have it."""
        if self._is_taking or self._claim is not None:
            return False
        self._is_taking, is_taken = True, False
        try:
            self._claim = await self._book.claim(self._name)
            is_taken = self._claim is not None and await is_to_be_had()
        finally:
            self._is_taking = False
            if not is_taken:
                await self._release()
        return is_taken

    async def _release(self) -> None:
        claim, self._claim = self._claim, None
        if claim is not None:
            await claim.release()

    async def _put(self) -> bool:
        """Write down a new job, unless one was begun while the claim was on its way."""
        if await self._is_left():
            return False
        now = self._clock.now()
        end = now - now % MINUTE
        start = max(0, months_before(end, self._months))
        await self._keep(Historical(is_running=True, started_at=now, start=start, end=end, chunk_days=self._chunk_days))
        return True

    async def _is_left(self) -> bool:
        """Whether there is a job; it may have ended while the claim was on its way."""
        return (await self.state()).is_running

    async def _work_at(self, state: Historical, number: int) -> Historical:
        """Do one chunk; it counts only when it is verified."""
        span = chunk(state, number)
        spans = {one: Span(one.interval.ceil(span.start), one.interval.ceil(span.end)) for one in await self._wanted()}
        if state.current != number or state.before < 0:  # else somebody stopped in the middle of it
            state = msgspec.structs.replace(state, current=number, before=await self._held(spans))
            await self._keep(state)
        errors = [
            f"{series} {each}: {error}" for series, each in spans.items() if (error := await self._fill(series, each))
        ]
        recovered = max(0, await self._held(spans) - state.before)
        if self._claim is None or self._claim.lost.is_set():
            raise StoreDown(LOST)
        done = state.done if errors else tuple(sorted({*state.done, number}))
        state = msgspec.structs.replace(
            state,
            done=done,
            before=-1,
            recovered=state.recovered + recovered,
            error=errors[0] if errors else state.error,
        )
        await self._keep(state)
        return state

    async def _held(self, spans: Mapping[Series, Span]) -> int:
        """How many candles of the spans there are; the one after each is fetched with it, as a proof that there is one."""
        counts = [
            await self._backfiller.held(series, Span(span.start, series.interval.next(span.end)))
            for series, span in spans.items()
        ]
        return sum(counts)

    async def _fill(self, series: Series, span: Span) -> str:
        """Have what is missing of a span; returns why it is not complete if it is not."""
        settled = self._backfiller.repairer.settled_end(series.interval)
        span = Span(span.start, max(span.start, min(span.end, settled)))
        if not (holes := await self._backfiller.missing(series, span)):
            return ""
        await self._load(series, holes)
        try:
            result = await self._backfiller.backfill(series, span, "history", is_logged=False)
        except UsageError as failure:
            return str(failure)
        return "" if result.status is Outcome.BACKFILLED else result.error

    async def _load(self, series: Series, holes: Sequence[Span]) -> None:
        """Have the archive asked for what is old enough; what it has not is REST's."""
        if self._historian is None:
            return
        until = series.interval.floor(self._historian.boundary())
        old = join(Span(one.start, min(one.end, until)) for one in holes)
        if not old:
            return
        async with self._backfiller.claimed(series):
            await self._historian.load([(series, Span(old[0].start, old[-1].end))])

    async def _keep(self, state: Historical) -> None:
        await self._recorder.on_store(self._recorder.store.set_state, self._key, msgspec.json.encode(state))


def chunks_total(state: Historical) -> int:
    """How many chunks a job has."""
    return -(-(state.end - state.start) // (state.chunk_days * DAY))


def chunk(state: Historical, number: int) -> Span:
    """What one chunk of a job is about."""
    start = state.start + number * state.chunk_days * DAY
    return Span(start, min(state.end, start + state.chunk_days * DAY))
