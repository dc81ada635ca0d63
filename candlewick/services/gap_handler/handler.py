"""The gap handler: it waits for its database, then repairs what it is asked for, what it finds, and what history lacks."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from random import Random
from typing import Any

from candlewick import __version__
from candlewick.clock import SECOND, SystemClock
from candlewick.config import Settings
from candlewick.errors import CandlewickError, ExchangeError, StoreDown, StoreError, UsageError
from candlewick.events import StoreTrouble
from candlewick.histogram import Histogram
from candlewick.history.budget import Budget
from candlewick.history.client import RestClient
from candlewick.market import Series, Span
from candlewick.services import snapshot
from candlewick.services.gap_handler.asked import Asked
from candlewick.services.gap_handler.backfill import clustered
from candlewick.services.gap_handler.book import APPLICATION, Book
from candlewick.services.gap_handler.components import Components, Surroundings, assemble
from candlewick.services.gap_handler.followed import FollowedSeries
from candlewick.services.gap_handler.results import (
    Backfilled,
    GapHandlerStatus,
    Historical,
    Outcome,
    Rate,
    Swept,
    Timing,
)
from candlewick.services.gap_handler.shared import SharedRecorder
from candlewick.services.gap_handler.slots import Slots
from candlewick.services.gap_handler.tally import Tally
from candlewick.services.gap_handler.todo import Todo
from candlewick.services.observer import Observer
from candlewick.services.pauses import pause_key
from candlewick.services.repair import CHUNK
from candlewick.services.scheduler import Scheduler
from candlewick.services.schema import schema_options
from candlewick.stores.postgres.connection import Limits
from candlewick.stores.postgres.quality import Counts, OpenGap
from candlewick.stores.store import Store
from candlewick.transport import Http

API_LATENCIES_S = tuple(0.1 * 2**power for power in range(8))
WATCH_S = 2.0
"""Real seconds between looks at the database."""
PING_S = 5.0
RETRY_S = (1.0, 2.0, 4.0, 8.0, 15.0)
RESUME_S = 10.0
"""So often a historical backfill is looked for that somebody left."""
HISTORICAL_AFTER_S = 5.0
CLOCK_EVERY_S, CLOCK_SOON_S = 600.0, 30.0
STOP_S = 8.0


class GapHandler:
    """One gap handler; see `results.Keeper` for what may be asked of it."""

    def __init__(
        self, settings: Settings, http: Http, open_store: Callable[[], Store], *, clock: SystemClock, random: Random
    ) -> None:  # fmt: skip
        """`open_store` opens the shared database as a store; it is called in a thread."""
        self.settings, self.clock = settings, clock
        self.observer = Observer(clock)
        self.book = Book(settings.database_url, settings.market, _limits(settings), clock)
        self.slots = Slots(settings.max_concurrent_backfills)
        self.told_to_stop = asyncio.Event()
        self._open_store = open_store
        self._jobs = Scheduler(
            settings.database_url, clock=clock, tell=self.observer.tell, application=f"{APPLICATION} jobs"
        )
        self._api_latency = Histogram(API_LATENCIES_S)
        self._budget = Budget(
            requests_per_s=settings.rate_limit_requests_per_sec, burst=settings.burst_size,
            weight_per_minute=settings.rate_limit_weight_per_minute, on_change=self._keep_pause,
        )  # fmt: skip
        self._client = RestClient(
            settings.venue, settings.api_url, http, self._budget, clock, self.observer.tell, random=random,
            on_latency=self._api_latency.observe, most_rows=settings.backfill_batch_size,
        )  # fmt: skip
        followed = FollowedSeries(settings, self._client)
        self.default = followed.default
        self._todo = Todo()
        self._surroundings = Surroundings(
            settings, clock, self.observer.tell, http, random, self._client, self.book, followed, self.slots, self._todo
        )
        self._components: Components | None = None
        self._trouble = "the database has not answered yet"
        self._counts: Counts | None = None
        self._tally = Tally()
        self._began = clock.monotonic()
        self._has_asked_time = asyncio.Event()
        """Until then this machine's clock, which may be wrong, would say which candles are over."""
        self._tasks: set[asyncio.Task[None]] = set()

    # What goes on by itself.

    async def run(self) -> None:
        """Work until cancelled; what was begun is then kept, or left for whoever comes next."""
        try:
            await self._connect()
            parts = self._ready()
            recording = asyncio.ensure_future(parts.recorder.run())
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(_outlive(recording))
                    tasks.create_task(self._watch())
                    tasks.create_task(self._keep_time())
                    tasks.create_task(self._run_jobs())
                    tasks.create_task(self._scans(parts))
                    tasks.create_task(self._histories(parts))
                    for _ in range(self.slots.most):
                        tasks.create_task(self._work(parts))
            finally:
                parts.recorder.close()
                await asyncio.wait({recording}, timeout=STOP_S)
                recording.cancel()
        finally:
            await self._close()

    async def _connect(self) -> None:
        """Wait for the database, however long it takes."""
        attempt = 0
        while self._components is None:
            store: Store | None = None
            try:
                await self.book.open(schema_options(self.settings))
                store = await asyncio.to_thread(self._open_store)
                components = assemble(store, self._surroundings)
                await self._recall_pause(components.recorder)
                self._components = components
            except StoreError as error:
                if store is not None:
                    await asyncio.to_thread(store.close)
                await self.book.close()
                retry_s = RETRY_S[min(attempt, len(RETRY_S) - 1)]
                attempt += 1
                self._trouble = str(error)
                self.observer.tell(StoreTrouble(str(error), 0, retry_s))
                await self._real_sleep(retry_s)
        self._trouble = ""

    async def _watch(self) -> None:
        """Look at the database every few seconds, so that nobody who asks how it is has to wait for it."""
        while True:
            try:
                await self.ping(PING_S)
                self._counts = await self.book.counts()
                self._trouble = ""
            except StoreError as error:
                self._trouble = str(error)
            await self._real_sleep(WATCH_S)

    async def _keep_time(self) -> None:
        """Follow the exchange's clock; this machine's has to do until it answers."""
        while True:
            try:
                time, speed, round_trip_s = await self._client.server_time()
            except ExchangeError:
                wait_s = CLOCK_SOON_S  # the client has told why
            else:
                since_s = round_trip_s / 2 / self.clock.speed * (speed or self.clock.speed)
                self.clock.set_now(time + int(since_s * SECOND), speed)
                wait_s = CLOCK_EVERY_S
            self._has_asked_time.set()
            await self.clock.sleep(wait_s)

    async def _run_jobs(self) -> None:
        await self._has_asked_time.wait()  # they delete what is old
        await self._jobs.run()

    async def _scans(self, parts: Components) -> None:
        await self._has_asked_time.wait()
        while True:
            try:
                wait_s = await parts.scan.run_once()
            except StoreError as error:
                wait_s = RETRY_S[-1]
                self.observer.tell(StoreTrouble(f"the search for holes: {error}", 0, wait_s))
            await self.clock.sleep(wait_s)

    async def _histories(self, parts: Components) -> None:
        """Begin a historical backfill if the settings say so, and take over one that was left."""
        begin = self.settings.historical_backfill_enabled
        await self._has_asked_time.wait()
        await self.clock.sleep(HISTORICAL_AFTER_S)
        while True:
            try:
                if await parts.historical.resume() or (begin and await parts.historical.begin()):
                    begin = False
                    await self._work_at_history(parts)
            except StoreDown:  # the watch tells
                pass
            except StoreError as error:
                self.observer.tell(StoreTrouble(f"the historical backfill: {error}", 0, RESUME_S))
            await self._real_sleep(RESUME_S)

    async def _work_at_history(self, parts: Components) -> None:
        try:
            await parts.historical.work()
        except CandlewickError as error:  # the database, or the exchange that is to say what SYMBOLS match
            self.observer.tell(StoreTrouble(f"the historical backfill: {error}", 0, RESUME_S))

    async def _work(self, parts: Components) -> None:
        """Repair what is to be repaired; spans together that one look at the store finds."""
        while True:
            async with self._todo.taken() as (series, spans):
                for span in clustered(spans, CHUNK * series.interval.nominal):
                    async with self.slots.patient_place():
                        with suppress(UsageError):  # a series in the log that the exchange does not know
                            await self._backfill(parts, series, span, "found by a search")

    async def _backfill(
        self, parts: Components, series: Series, span: Span, cause: str, detected_at: int | None = None
    ) -> Backfilled:
        """One backfill, counted; the caller has a place."""
        await self._has_asked_time.wait()
        result = self._tally.count(await parts.backfiller.backfill(series, span, cause, detected_at=detected_at))
        if result.status is Outcome.ERROR:
            self._begin(self.book.log_error(f"backfill of {series} {span}: {result.error}", series))
        return result

    def _begin(self, work: Coroutine[Any, Any, object]) -> None:
        """Have something done that nobody waits for; the database may fail it."""

        async def done() -> None:
            with suppress(CandlewickError):  # the watch tells what ails the database
                await work

        task = asyncio.ensure_future(done())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # What others ask for.

    def status(self) -> GapHandlerStatus:
        """See `results.Keeper`."""
        now, parts, counts = self.clock.now(), self._components, self._counts
        return GapHandlerStatus(
            version=__version__, environment=self.settings.environment, market=self.settings.market.value,
            started_at=now - int((self.clock.monotonic() - self._began) * SECOND), now=now, database=self.book.place,
            database_connected=not self._trouble, database_error=self._trouble,
            api_reachable=self._client.reachable, api_error=self._client.trouble or "",
            rate=Rate(
                consecutive_failures=self._client.failures, tokens_available=round(self._budget.tokens(now), 2),
                in_backoff=self._budget.pause(now) is not None, weight_used=self._budget.used(now),
                weight_limit=self._budget.limit,
            ),
            outcomes=dict(self._tally.outcomes), api_requests=dict(self._client.outcomes), recovered=self._tally.recovered,
            inserted=0 if parts is None else parts.recorder.written, duplicates=0 if parts is None else parts.recorder.duplicates,
            database_errors=self.book.errors, pending=self.slots.waiting + len(self._todo), active=self.slots.active,
            errors_24h=self.observer.errors_24h(),
            unresolved_gaps=counts and counts.unresolved_gaps, candles_missing=counts and counts.candles_missing,
            backfills_24h=counts and counts.backfills_24h, recovered_24h=counts and counts.recovered_24h,
            scanned_at=None if parts is None else parts.scan.scanned_at,
            timing=Timing(
                backfills=self._tally.durations(),
                api=self._api_latency.snapshot(), database=self.book.latency.snapshot(),
            ),
            memory_mb=snapshot.own_memory_mb(),
        )  # fmt: skip

    async def ping(self, timeout_s: float) -> None:
        """See `results.Keeper`."""
        self._ready()
        try:
            async with asyncio.timeout(timeout_s):
                await self.book.ping(timeout_s)
        except TimeoutError:
            raise StoreDown(f"the database at {self.book.place} did not answer within {timeout_s:g} s") from None

    async def backfill(self, asked: Asked) -> Backfilled:
        """See `results.Keeper`."""
        if self.slots.is_full:
            rejected = Backfilled(
                status=Outcome.REJECTED, series=asked.series, span=asked.span,
                error=f"{self.slots.most} backfills are under way, and no more at once: try again later",
            )  # fmt: skip
            return self._tally.count(rejected)
        if self._components is None:
            failed = Backfilled(status=Outcome.ERROR, series=asked.series, span=asked.span, error=self._trouble)
            return self._tally.count(failed)
        async with self.slots.place():
            return await self._backfill(self._components, asked.series, asked.span, "asked for", asked.detected_at)

    async def backfill_unresolved(self) -> Swept:
        """See `results.Keeper`."""
        parts = self._ready()
        gaps = await self.book.unresolved()
        details: list[Backfilled] = []
        with suppress(TimeoutError):  # what was done until then is told
            async with asyncio.timeout(self.settings.backfill_timeout_seconds):
                for gap in gaps:
                    details.append(await self._backfill_row(parts, gap))  # noqa: PERF401 - half of them may be had
        return Swept(details=tuple(details), remaining=len(gaps) - len(details))

    async def _backfill_row(self, parts: Components, gap: OpenGap) -> Backfilled:
        interval = gap.series.interval
        span = Span(interval.ceil(gap.span.start), interval.ceil(gap.span.end))
        async with self.slots.patient_place():
            try:
                return await self._backfill(parts, gap.series, span, "left open")
            except UsageError as error:
                return Backfilled(status=Outcome.ERROR, series=gap.series, span=span, error=str(error))

    async def historical(self) -> Historical:
        """See `results.Keeper`."""
        return await self._ready().historical.state()

    async def start_historical(self) -> bool:
        """See `results.Keeper`."""
        parts = self._ready()
        if not await parts.historical.begin():
            return False
        self._begin(self._work_at_history(parts))  # by this process, not by whoever asked
        return True

    def stop(self) -> None:
        """See `results.Keeper`."""
        asyncio.get_running_loop().call_later(0.1, self.told_to_stop.set)

    # Odds and ends of the above.

    def _ready(self) -> Components:
        if self._components is None:
            raise StoreDown(self._trouble)
        return self._components

    async def _recall_pause(self, recorder: SharedRecorder) -> None:
        """Obey a pause that the exchange imposed on the process before this one."""
        kept = await recorder.on_store(recorder.store.state, pause_key(self.settings.api_url))
        if kept is not None:
            self._budget.load(kept, self.clock.now())

    def _keep_pause(self) -> None:
        """A pause that the exchange imposed does not end with the process."""
        if self._components is None:
            return
        store, recorder = self._components.store, self._components.recorder
        # Where it cannot be kept it is obeyed all the same, until this process ends.
        self._begin(recorder.on_store(store.set_state, pause_key(self.settings.api_url), self._budget.dump()))

    async def _real_sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # noqa: TID251 - a database keeps real time

    async def _close(self) -> None:
        """Let go of everything; what was under way has ended, or is ended now."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._components is not None:
            await asyncio.to_thread(self._components.store.close)
        await self.book.close()


def _limits(settings: Settings) -> Limits:
    """What is asked of the database beside candles comes from few connections."""
    most = max(2, settings.db_max_conns)
    return Limits(least=1, most=most, idle_s=settings.db_idle_timeout)


async def _outlive(recording: "asyncio.Future[None]") -> None:
    """Where the recorder fails, everything ends: nothing that is fetched could be kept."""
    await asyncio.shield(recording)
