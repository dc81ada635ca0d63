"""Makes series whole: asks REST for what is missing or unconfirmed, keeps what it answers, records what it has not.

A row is taken only when its candle is over and settled. A grid time is called absent only when REST was asked twice,
some time apart, and both times had a later candle but not this one.
"""

import asyncio
import heapq
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from candlewick.clock import SECOND, Clock, Timer
from candlewick.errors import Banned, CandlewickError, RateLimited, Refused
from candlewick.events import Event, GapFound, RestTrouble
from candlewick.history.budget import REPAIR
from candlewick.history.client import SETTLE_S, RestClient
from candlewick.integrity.gaps import missing_spans
from candlewick.integrity.spans import without
from candlewick.market import HOUR, Interval, Series, Span, format_time
from candlewick.services.holes import Holes
from candlewick.services.recorder import Recorder
from candlewick.services.status import RepairResult
from candlewick.stores.store import Absence, Reason, Source, info_of, to_rows

ASK_AGAIN_S = 60.0
"""Least time between the two askings that prove an absence,"""
ASK_AGAIN_OLD_S = 5.0
"""and where the hole is older than OLD: what the exchange lacks then does not come by waiting."""
OLD = HOUR
RETRY_S = (2.0, 5.0, 10.0, 20.0, 60.0)
CHUNK = 10_000
"""Candles asked for in one go: a long history is cut, so that what is urgent in its series need not wait for it."""
NEAR = 400
"""Holes closer than so many candles are asked for together: a page costs the same."""


class Job(NamedTuple):
    """A span of a series to be asked for. `cause` says why, for the log."""

    series: Series
    span: Span
    priority: int
    cause: str
    whole: bool = False
    """Ask for all of it, so that REST vouches for what is held, and not only for what is missing."""


Elsewhere = Callable[[Job, list[Span]], Awaitable[bool]]
"""May fill the gaps of a job before REST is asked; says whether it kept anything."""


class Mended(NamedTuple):
    """What one repair of a span came to."""

    series: Series
    span: Span
    until: int
    """The end of the span, or where its candles end when REST had none after that."""
    whole: bool
    counts: "_Counts"


class _Counts(NamedTuple):
    """What became of grid times. `missing` have neither a candle nor a reason yet."""

    expected: int
    recovered: int
    absent: int
    missing: int


_NONE = _Counts(0, 0, 0, 0)


class _Seen(NamedTuple):
    """What REST showed of a span: up to which open time (0: nothing), and which rows broke a rule and were not kept."""

    asked: Span
    latest: int
    broken: list[int]

    def proves(self, hole: Span) -> bool:
        """Whether it showed a later candle than those of the hole."""
        return self.asked.start <= hole.start and hole.end <= self.latest


class Repairer:
    """Works through jobs with a few workers; the most urgent first, one per series at a time."""

    def __init__(
        self, client: RestClient, recorder: Recorder, *, clock: Clock, tell: Callable[[Event], None],
        on_mended: Callable[[Mended], None] = lambda _: None, ask_again_s: float = ASK_AGAIN_S, workers: int = 4,
        on_later: Callable[[Job], None] | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:  # fmt: skip
        """`on_later` is given, when its time has come, what has to be asked for once more; `request` where it is None.

        `elsewhere` is tried before REST.
        """
        self._elsewhere = elsewhere
        self._client, self._recorder, self._clock, self._tell = client, recorder, clock, tell
        self._on_mended, self._on_later = on_mended, on_later or self.request
        self._workers = workers
        self._ask_again = int(ask_again_s * SECOND)
        self._jobs: dict[tuple[Series, int], Job] = {}
        self._queue: list[tuple[int, int, Series]] = []
        self._busy: set[Series] = set()
        self._count = 0
        self._wake = asyncio.Event()
        self._asked: dict[Series, dict[Span, int]] = {}
        """Holes for which REST had nothing, and when it was first asked."""
        self._failures: dict[Series, int] = {}
        self._retries: dict[tuple[Series, int], tuple[Job, Timer]] = {}
        """Jobs that failed and wait to be tried again."""
        self.holes = Holes()
        self.candles_recovered = 0
        self.fetched: Counter[Series] = Counter()
        """Candles that REST gave of the spans of jobs, those that were held already included."""

    @property
    def pending(self) -> int:
        """Repairs that wait, for a worker or for another attempt, or are under way."""
        return len(self._jobs) + len(self._retries) + len(self._busy)

    def request(self, job: Job) -> None:
        """Have a span asked for; joined with what is already asked of the series with the same priority."""
        key = (job.series, job.priority)
        if (retry := self._retries.pop(key, None)) is not None:
            # One that failed goes along: whoever asks while REST is away must not make a crowd of retries.
            job = _joined_jobs(job, retry[0])
            retry[1].cancel()
        if (waiting := self._jobs.get(key)) is not None:
            self._jobs[key] = _joined_jobs(waiting, job)
        else:
            self._jobs[key] = job
            self._count += 1
            heapq.heappush(self._queue, (job.priority, self._count, job.series))
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._workers):
                tasks.create_task(self._work())

    async def _work(self) -> None:
        while True:
            job = self._take()
            if job is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            self._busy.add(job.series)
            head, rest = _cut(job)
            try:
                await self.mend(head)
                self._failures.pop(job.series, None)
                if rest is not None:
                    self.request(rest)
            except CandlewickError as error:
                self._failed(job, error)
            finally:
                self._busy.discard(job.series)
                self._wake.set()

    def _take(self) -> Job | None:
        """The most urgent job of a series that no other worker is at."""
        held_back = []
        job = None
        while self._queue and job is None:
            entry = heapq.heappop(self._queue)
            if entry[2] in self._busy:
                held_back.append(entry)
            else:
                job = self._jobs.pop((entry[2], entry[0]))
        for entry in held_back:
            heapq.heappush(self._queue, entry)
        return job

    def _failed(self, job: Job, error: CandlewickError) -> None:
        """Try again later, unless asking again cannot help."""
        count = self._failures[job.series] = self._failures.get(job.series, 0) + 1
        retry_s = RETRY_S[min(count, len(RETRY_S)) - 1] * (10 if isinstance(error, Refused) else 1)
        if not isinstance(error, Banned | RateLimited):
            self._tell(RestTrouble(f"repair of {job.series} {job.span}", str(error), retry_s))
        key = (job.series, job.priority)
        if key in self._jobs:
            self.request(job)
        else:
            self._retries[key] = job, self._clock.call_later(retry_s, lambda: self.request(self._retries.pop(key)[0]))

    def settled_end(self, interval: Interval) -> int:
        """The end of what REST may be asked for now: the open time of the first candle that is not settled."""
        return interval.floor(self._clock.now() - int(SETTLE_S * SECOND))

    def extent(self, series: Series, start: int | None) -> tuple[int | None, int]:
        """Where a scan of a series begins and ends: at its first hole since `start`, after its newest candle.

        To be called on the store's thread.
        """
        held = self._recorder.store.read(series, start, columns=["open_time"])["open_time"]
        end = series.interval.next(int(held[-1])) if len(held) else self.settled_end(series.interval)
        if start is None and not len(held):
            return None, end
        span = Span(int(held[0]) if start is None else series.interval.ceil(start), end)
        holes = missing_spans(held, series.interval, span, self._reasons(series))
        return (holes[0].start if holes else None), end

    async def repair(self, series: Series) -> RepairResult:
        """Mend every hole of a series now; what stays empty is asked for twice."""
        hole, end = await self._recorder.on_store(self.extent, series, None)
        span = Span(end if hole is None else hole, end)
        counts, error = _NONE, None
        try:
            if hole is not None:
                counts = await self._mend_all(series, span)
            if counts.missing:
                await self._clock.sleep(ASK_AGAIN_OLD_S + 1)
                again = await self._mend_all(series, span)
                counts = again._replace(expected=counts.expected, recovered=counts.recovered + again.recovered)
        except CandlewickError as failure:
            error = str(failure)
        return RepairResult(
            market=series.market.value, symbol=series.symbol, interval=series.interval.code, start=span.start // 1000,
            end=span.end // 1000, **counts._asdict(), error=error,
        )  # fmt: skip

    async def _mend_all(self, series: Series, span: Span) -> "_Counts":
        """Mend a span however long it is."""
        counts = _NONE
        rest: Job | None = Job(series, span, REPAIR, "asked for")
        while rest is not None:
            head, rest = _cut(rest)
            mended = await self.mend(head)
            counts = _Counts(*(sum(pair) for pair in zip(counts, mended.counts, strict=True)))
        return counts

    async def mend(self, job: Job) -> Mended:
        """Ask for what a span lacks (all of it where it is to be confirmed) and account for every grid time in it.

        Raises:
            CandlewickError: REST cannot be had or refuses; what was got until then is kept.
        """
        series, interval = job.series, job.series.interval
        start, settled = interval.ceil(job.span.start), self.settled_end(interval)
        span = Span(start, max(start, min(job.span.end, settled)))
        holes, gaps = await self._recorder.on_store(self._survey, series, span)
        for hole in self.holes.find(series, gaps):
            self._tell(GapFound(series, hole, interval.count(hole), job.cause))
        whole = [span] if job.whole and span.start < span.end else []
        left = holes
        if self._elsewhere is not None and gaps and await self._elsewhere(job, gaps):
            left, _ = await self._recorder.on_store(self._survey, series, span)
        seen = [await self._ask(job, asked, settled) for asked in whole or _joined(left, interval, settled)]
        if job.span.end > span.end:
            self._later(job, Span(span.end, job.span.end))
        return await self._account(job, span, holes, seen)

    async def _ask(self, job: Job, asked: Span, settled: int) -> "_Seen":
        """Keep what REST has of a span; returns what it showed."""
        series, interval = job.series, job.series.interval
        latest = 0
        broken: list[int] = []
        async for page in self._client.klines_span(series.symbol, interval, asked, job.priority):
            if candles := [one for one in page.candles if asked.start <= one.open_time < asked.end]:
                latest = candles[-1].open_time
                self.fetched[series] += sum(job.span.start <= one.open_time < job.span.end for one in candles)
                rejected = await self._recorder.write(to_rows(self._recorder.numbers[series], Source.REST, candles))
                broken += [one.open_time for one in rejected if one.series == series]
        if asked.end < settled and latest < interval.previous(asked.end):
            # Nothing at the end of the span: whether the exchange has anything after it decides what that means.
            after = await self._client.klines(series.symbol, interval, asked.end, settled, job.priority)
            latest = after[0].open_time if after else latest
        return _Seen(asked, latest, broken)

    def _later(self, job: Job, span: Span) -> None:
        """Ask for the rest of a span once what is over of it now has settled: once, and not candle by candle."""
        interval, now = job.series.interval, self._clock.now()
        over = max(interval.next(span.start), min(interval.floor(now), span.end))
        due_s = (over - now) / SECOND + SETTLE_S
        self._clock.call_later(max(due_s, 1.0), lambda: self._on_later(job._replace(span=span)))

    def _survey(self, series: Series, span: Span) -> tuple[list[Span], list[Span]]:
        """What is missing in a span, and which of it are gaps."""
        holes = self.missing(series, span)
        return holes, self._after_first(series, holes)

    def missing(self, series: Series, span: Span) -> list[Span]:
        """What of a span on the grid has neither a candle nor a reason that lasts; to be called on the store's thread."""
        if span.start >= span.end:
            return []
        held = self._recorder.store.read(series, span.start, span.end, columns=["open_time"])["open_time"]
        if len(held) == series.interval.count(span):
            return []
        return missing_spans(held, series.interval, span, self._reasons(series))

    def _reasons(self, series: Series) -> list[Absence]:
        """The reasons that last: what the archive has yet to publish may be had of REST meanwhile."""
        return [one for one in self._recorder.store.absences(series) if one.reason is not Reason.PENDING]

    def _after_first(self, series: Series, holes: list[Span]) -> list[Span]:
        """Without what lies before the first candle: that is history yet to be filled, and no gap."""
        if not holes or len(self._recorder.store.read(series, end=holes[0].start, columns=["open_time"], last=1)):
            return holes
        return holes[1:]

    async def _account(self, job: Job, span: Span, holes: list[Span], seen: list["_Seen"]) -> Mended:
        """Say what became of every hole; call absent what REST has twice shown not to have."""
        series, interval = job.series, job.series.interval
        broken = sorted(time for one in seen for time in one.broken)
        left = await self._recorder.on_store(self.missing, series, span) if holes else []
        left = _apart(left, broken, interval)
        # A hole of which REST showed a later candle, but none of its own, may be the exchange's.
        shown = [hole for hole in left if hole.start not in broken and any(one.proves(hole) for one in seen)]
        absent = self._proved_absent(series, span, shown)
        if absent:
            await self._record(series, absent)
        still = [hole for hole in left if hole not in absent]
        recovered = sum(map(interval.count, holes)) - sum(map(interval.count, left))
        self.candles_recovered += recovered
        for closed in self.holes.settle(series, span, absent, still):
            self._tell(closed)
        if still and any(hole in shown for hole in still):
            again = Span(still[0].start, still[-1].end)
            self._clock.call_later(
                self._ask_again / SECOND, lambda: self._on_later(Job(series, again, REPAIR, job.cause))
            )
        until = span.end
        if still and still[-1].end == span.end and still[-1] not in shown:
            until = still[-1].start
        if job.whole and seen:  # REST may be behind what is held, and vouches only for what it showed
            until = min(until, max(span.start, interval.next(seen[-1].latest)))
        counts = _Counts(
            interval.count(span), recovered, sum(map(interval.count, absent)), sum(map(interval.count, still))
        )
        mended = Mended(series, span, until, job.whole, counts)
        self._on_mended(mended)
        return mended

    def _proved_absent(self, series: Series, span: Span, holes: list[Span]) -> list[Span]:
        """Those holes of a span that were asked for before, long enough ago."""
        now = self._clock.now()
        before = self._asked.pop(series, {})
        asked = {one: time for one, time in before.items() if one.end <= span.start or span.end <= one.start}
        proved: list[Span] = []
        for hole in holes:
            first = before.get(hole, now)
            apart = min(self._ask_again, int(ASK_AGAIN_OLD_S * SECOND)) if hole.end < now - OLD else self._ask_again
            if now - first >= apart:
                proved.append(hole)
            else:
                asked[hole] = first
        if asked:
            self._asked[series] = asked
        return proved

    async def _record(self, series: Series, spans: list[Span]) -> None:
        """Keep absences with their evidence; before the first candle the series was not listed."""
        store = self._recorder.store
        evidence = json.dumps(
            {
                "asked": ["REST klines", "REST klines"],
                "last_asked": format_time(self._clock.now()),
                "answer": "later candles, none of these",
            }
        )

        def keep() -> None:
            held = info_of(store, series)
            first = None if held is None else held.first
            kept = [
                Absence(part, one.reason, one.evidence)
                for one in store.absences(series)
                for part in (without([one.span], sorted(spans)) if one.reason is Reason.PENDING else [one.span])
            ]
            # A repair asked for by hand may have proved the same meanwhile.
            news = [one for one in spans if all(one.end <= old.span.start or old.span.end <= one.start for old in kept)]
            for span in news:
                unlisted = first is None or span.end <= first
                reason = Reason.NOT_LISTED if unlisted else Reason.EXCHANGE_OUTAGE
                kept.append(Absence(span, reason, evidence))
            store.set_absences(series, sorted(kept, key=lambda one: one.span))

        await self._recorder.on_store(keep)


def _joined_jobs(one: Job, other: Job) -> Job:
    """One job for both, of the same series and priority."""
    span = Span(min(one.span.start, other.span.start), max(one.span.end, other.span.end))
    return one._replace(span=span, whole=one.whole or other.whole)


def _cut(job: Job) -> tuple[Job, Job | None]:
    """The first part of a long job, and the rest of it."""
    interval = job.series.interval
    cut = interval.ceil(job.span.start + CHUNK * interval.nominal)
    if cut >= job.span.end:
        return job, None
    return job._replace(span=Span(job.span.start, cut)), job._replace(span=Span(cut, job.span.end))


def _apart(holes: list[Span], times: list[int], interval: Interval) -> list[Span]:
    """The same grid times, those in `times` (which are in order) each as a hole of its own."""
    for time in times:
        single = Span(time, interval.next(time))
        holes = [
            part
            for hole in holes
            for part in (
                (Span(hole.start, time), single, Span(single.end, hole.end))
                if hole.start <= time < hole.end
                else (hole,)
            )
            if part.start < part.end
        ]
    return holes


def _joined(holes: list[Span], interval: Interval, end: int) -> list[Span]:
    """What to ask for: each hole and the candle after it, holes that one page covers together."""
    asks: list[Span] = []
    for hole in holes:
        ask = Span(hole.start, min(interval.next(hole.end), end))
        if asks and ask.start - asks[-1].end < NEAR * interval.nominal:
            asks[-1] = Span(asks[-1].start, ask.end)
        else:
            asks.append(ask)
    return asks
