"""Starts what a run is made of, keeps it going, and ends it without losing what was received."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from random import Random
from typing import Any, Protocol

import msgspec

from candlewick import __version__
from candlewick.clock import SECOND, SystemClock
from candlewick.config import Settings
from candlewick.errors import ExchangeError, NotFound, UsageError
from candlewick.events import ClockOff, Event
from candlewick.histogram import Histogram
from candlewick.history.budget import Budget
from candlewick.history.client import RestClient
from candlewick.history.http import AiohttpHttp
from candlewick.live.connection import PicowsDialer
from candlewick.market import DAY, Series
from candlewick.services import snapshot
from candlewick.services.following import AskElsewhere, Follow
from candlewick.services.historian import Historian
from candlewick.services.ingest import Ingest, Wants
from candlewick.services.loading.loader import Loader
from candlewick.services.loading.loading import archive_clients
from candlewick.services.observer import Observer
from candlewick.services.pauses import keep_pauses
from candlewick.services.recorder import Recorder
from candlewick.services.repair import Repairer
from candlewick.services.status import Operator, RepairResult, Status, StoreStatus
from candlewick.services.streams import TradeConsumer
from candlewick.services.symbols import resolve
from candlewick.services.unfollowed import keep_short
from candlewick.stores import open_store
from candlewick.stores.store import Store
from candlewick.transport import Dialer, Http

CLOCK_EVERY_S = 600.0
CLOCK_SOON_S = 30.0
"""The exchange's time is asked for so soon where it is not known yet."""
CLOCK_TOLERANCE_MS = 1000.0
RETRY_S = (1.0, 2.0, 4.0, 8.0, 15.0)
STOP_S = 4.0
"""How long a stop may take until everything received is on disk and in every output that answers,"""
CLOSE_S = 1.0
"""and how long an output may take to be let go of, twice."""


class Server(Protocol):
    """Something that shows a run to the world."""

    url: str

    async def close(self) -> None:
        """Stop."""


Serve = Callable[[Operator, Settings], Awaitable[Server]]


class Run:
    """One `candlewick run`, from the first word to the exchange until everything received is on disk."""

    def __init__(
        self, settings: Settings, store: Store, http: Http, dialer: Dialer, *, clock: SystemClock, random: Random,
        on_trade: TradeConsumer | None = None, follow: Follow | None = None,
        elsewhere: AskElsewhere | None = None,
    ) -> None:  # fmt: skip
        """`on_trade` hears of every trade once; where nobody asks, the last prices are kept.

        `follow` makes what takes in all that is stored; `elsewhere` what may fill a gap before REST is asked.
        """
        self.settings, self.store, self.clock = settings, store, clock
        self.venue = settings.venue
        self.observer = Observer(clock)
        self.budget = Budget(
            requests_per_s=settings.rate_limit_requests_per_sec, burst=settings.burst_size,
            weight_per_minute=settings.rate_limit_weight_per_minute,
        )  # fmt: skip
        keep_pauses(self.budget, store, settings.api_url, clock, self.observer.tell)
        self.rest_latency = Histogram()
        self.client = RestClient(
            self.venue, settings.api_url, http, self.budget, clock, self.observer.tell, random=random,
            on_latency=self.rest_latency.observe,
        )  # fmt: skip
        self.ingest: Ingest | None = None
        self.clock_behind_ms = 0.0
        self.waiting_for = "the exchange's first answer"
        self._http, self._dialer, self._random, self._on_trade = http, dialer, random, on_trade
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._elsewhere = elsewhere
        self.follower = None if follow is None else follow(store, clock, self._on_store, self._tell)
        self.stop_by: float | None = None
        """When a stop is to be over, in seconds of the event loop; None while nobody asked for one."""
        self._started_at = clock.now()

    def _tell(self, event: Event) -> None:
        self.observer.tell(event)
        if self.follower is not None:
            self.follower.hear(event)

    async def _on_store(self, call: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401 - whatever the call returns
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *args)

    async def run(self) -> None:
        """Run until cancelled.

        Raises:
            UnknownSymbol: the settings name a symbol that the exchange does not list.
        """
        if self.follower is None:
            await self._take_in()
            return
        loop = asyncio.get_running_loop()
        following = loop.create_task(self.follower.run())
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._take_in())
                tasks.create_task(_outlive(following))
        finally:
            left_s = STOP_S if self.stop_by is None else max(0.0, self.stop_by - loop.time())
            if not following.done():
                await self.follower.finish(left_s)
            for _ in range(2):  # the second time it is told that there is no time for goodbyes
                following.cancel()
                await asyncio.wait({following}, timeout=CLOSE_S)

    async def _take_in(self) -> None:
        before = self._followed_before()
        timely = await self._follow_clock(patient=not before)
        symbols = await self._symbols(before=before)
        self._started_at = self.clock.now()
        self.ingest = self._ingest(symbols)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.ingest.run())
            tasks.create_task(self._keep_time(CLOCK_EVERY_S if timely else CLOCK_SOON_S))
            tasks.create_task(self._summaries())
            if self.follower is None:
                tasks.create_task(keep_short(self.store, self.clock, self._on_store))

    def _followed_before(self) -> bool:
        """Whether the store has candles of every wanted symbol, of the last day by this machine's clock.

        They were listed then, and the clock is not far off, so a start need not wait for REST: the streams may flow
        while it is banned.
        """
        now = self.clock.now()
        held = {
            one.series.symbol
            for one in self.store.series()
            if one.series.market == self.venue.market and one.last is not None and 0 <= now - one.last < DAY
        }
        return held.issuperset(self.settings.symbols)

    def _ingest(self, symbols: list[str]) -> Ingest:
        settings, elsewhere = self.settings, self._elsewhere
        wants = Wants(
            symbols=symbols,
            intervals=settings.intervals,
            kinds=settings.streams,
            stream_url=settings.stream_url,
            history_from=settings.history_start.resolve(self.clock.now()),
            gap_threshold_s=settings.gap_detection_threshold,
            check_interval_s=settings.backfill_check_interval_s,
            reconnect_base_s=settings.websocket_reconnect_interval_s,
            workers=settings.max_concurrent_backfills,
        )
        return Ingest(
            self.venue, wants, self.store, self.client, self._dialer, clock=self.clock, random=self._random,
            tell=self._tell, on_trade=self._on_trade, historian=self._historian(), thread=self._thread,
            on_stored=None if self.follower is None else self.follower.stored,
            elsewhere=None if elsewhere is None else lambda recorder: elsewhere(recorder, self._tell),
        )  # fmt: skip

    def _historian(self) -> Historian | None:
        """Who asks the archive; nobody where REST is simulated and the archive is the real one, or the other way round."""
        settings, archive = self.settings, self.venue.archive
        if (settings.api_url == self.venue.api_url) != (settings.binance_archive_url == archive.url):
            return None

        def new_loader() -> Loader:
            tell = self._tell
            clients = archive_clients(settings, self._http, self.clock, self._random, tell)
            return Loader(
                self.store, *clients, self.client, self.clock, tell, in_flight=settings.archive_downloads,
                threshold_months=settings.monthly_threshold_months,
            )  # fmt: skip

        return Historian(new_loader, self.store, archive, self.venue.market, self.clock, self._tell)

    async def _follow_clock(self, *, patient: bool) -> bool:
        """Learn the exchange's time, however long it takes if `patient`; False if it is yet to be learnt.

        Where it tells no time at all, this machine's own has to do.
        """
        attempt = 0
        while True:
            try:
                time, speed, round_trip_s = await self.client.server_time()
            except ExchangeError as error:
                if isinstance(error, NotFound) or not patient:
                    return isinstance(error, NotFound)
                await self._patience(error, attempt)
                attempt += 1
            else:
                # The round trip was measured in the market seconds of the speed until now.
                since_s = round_trip_s / 2 / self.clock.speed * (speed or self.clock.speed)
                behind = self.clock.set_now(time + int(since_s * SECOND), speed)
                self.clock_behind_ms = behind / 1000
                if abs(self.clock_behind_ms) > CLOCK_TOLERANCE_MS * self.clock.speed and speed is None:
                    self.observer.tell(ClockOff(self.clock_behind_ms))
                return True

    async def _symbols(self, *, before: bool) -> list[str]:
        """What to follow, held against what the exchange lists, unless all was followed `before` and it does not answer."""
        attempt = 0
        while True:
            try:
                info = await self.client.exchange_info()
            except ExchangeError as error:
                # Where nothing lists the symbols they are taken at their word; a pattern has none.
                plain = not any(sign in symbol for symbol in self.settings.symbols for sign in "*?[")
                if before or (plain and isinstance(error, NotFound)):
                    return list(self.settings.symbols)
                await self._patience(error, attempt)
                attempt += 1
            else:
                return resolve(self.settings.symbols, info.instruments, self.settings.market)

    async def _patience(self, error: ExchangeError, attempt: int) -> None:
        self.waiting_for = str(error)
        await self.clock.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])

    async def _keep_time(self, first_s: float) -> None:
        wait_s = first_s
        while True:
            await self.clock.sleep(wait_s)
            wait_s = CLOCK_EVERY_S if await self._follow_clock(patient=False) else CLOCK_SOON_S

    async def _summaries(self) -> None:
        """A line a minute: that it lives, and what it did."""
        while True:
            await self.clock.sleep(60.0)
            self.observer.summary(self.status())

    def status(self) -> Status:
        """See `Operator.status`."""
        plain = Status(
            version=__version__,
            started_at=self._started_at,
            now=self.clock.now(),
            environment=self.settings.environment,
            exchange=self.settings.exchange,
            market=self.settings.market.value,
            store=StoreStatus(location=self.store.location, connected=True),
            rest=snapshot.rest(self.client, self.budget, self.clock.now()),
            errors_24h=self.observer.errors_24h(),
            memory_mb=snapshot.own_memory_mb(),
            clock_behind_ms=self.clock_behind_ms,
            waiting_for=self.waiting_for,
            outputs=() if self.follower is None else self.follower.status(),
        )
        if self.ingest is None:
            return plain
        return msgspec.structs.replace(
            plain,
            waiting_for="",
            store=snapshot.store(self.ingest),
            counters=snapshot.counters(self.ingest, self.observer, self.client),
            connections=tuple(snapshot.connection(shard, self.clock) for shard in self.ingest.feed.shards),
            silent_streams=snapshot.silent(self.ingest, self.clock),
            series=snapshot.series(self.ingest, self.clock),
            latencies=snapshot.latencies(self.ingest, self.rest_latency),
            buffer_size=self.ingest.recorder.waiting,
            buffer_age_s=self.ingest.recorder.oldest_s,
            pending_backfills=self.ingest.repairer.pending,
            gap_check_last=self.ingest.scanned_at,
        )

    async def repair_store(self, fits: Callable[[Series], bool]) -> list[RepairResult]:
        """Mend what the store holds of this market, without streams."""
        with suppress(NotFound):  # an exchange that tells no time: this machine's clock has to do
            time = await self.client.server_time()
            self.clock.set_now(time.time, time.speed)
        held = [one.series for one in self.store.series() if one.series.market == self.venue.market]
        recorder = Recorder(self.store, held, clock=self.clock, tell=self.observer.tell, on_rejected=lambda _: None)
        repairer = Repairer(self.client, recorder, clock=self.clock, tell=self.observer.tell)
        recording = asyncio.get_running_loop().create_task(recorder.run())
        try:
            return [await repairer.repair(one) for one in held if fits(one)]
        finally:
            recorder.close()
            await recording

    async def repair(self, series: Series | None) -> list[RepairResult]:
        """See `Operator.repair`."""
        if self.ingest is None:
            raise UsageError(f"nothing can be repaired yet: {self.waiting_for}")
        if series is not None and series not in self.ingest.recorder.numbers:
            raise UsageError(f"{series} is neither followed nor in the store")
        repair = self.ingest.repairer.repair
        return [await repair(one) for one in ([series] if series else self.ingest.recorder.numbers)]


async def _outlive(following: "asyncio.Task[None]") -> None:
    """Where following ends, which only a defect makes it do, everything ends."""
    await asyncio.shield(following)


async def run(settings: Settings, serve: Serve, *, feeds: bool = False) -> int:
    """`candlewick run`: everything, until SIGTERM or SIGINT; returns the exit code.

    `feeds`: the shared database is fed though the store is another; where the store is one it always is.

    Raises:
        CandlewickError: it cannot start: the store is busy, a symbol unknown, a port taken.
    """
    feeds = feeds or settings.is_shared
    if feeds:
        _ = settings.database_url  # says what is missing before anything is opened
    store = open_store(settings.record, write=True)
    http = AiohttpHttp()
    clock = SystemClock()
    random = Random()  # noqa: S311 - jitter is no secret
    server = None
    follow = elsewhere = None
    if feeds:
        from candlewick.services import shared_database  # noqa: PLC0415 - a run without one need not hold its driver

        follow = shared_database.follow(settings)
        elsewhere = shared_database.gap_handler(settings, http, clock) if settings.gap_handler_url else None
    try:
        one = Run(
            settings, store, http, PicowsDialer(clock), clock=clock, random=random, follow=follow, elsewhere=elsewhere
        )
        server = await serve(one, settings)
        store.announce(server.url)
        one.observer.started(settings, server.url, shares=feeds)
        await _until_told(one)
    finally:
        if server is not None:
            await server.close()
        await http.close()
        store.close()
    one.observer.stopped()
    return 0


async def _until_told(one: Run) -> None:
    """Run until a signal asks to stop, or it fails by itself."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    running = loop.create_task(one.run())
    stopping = loop.create_task(told.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    one.stop_by = loop.time() + STOP_S
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def repair_once(settings: Settings, fits: Callable[[Series], bool]) -> list[RepairResult]:
    """`candlewick repair` where nothing runs: mend every series of the store that `fits`.

    Raises:
        CandlewickError: the store cannot be written, or the exchange does not answer.
    """
    store = open_store(settings.record, write=True)
    http, clock = AiohttpHttp(), SystemClock()
    try:
        run = Run(settings, store, http, PicowsDialer(clock), clock=clock, random=Random())  # noqa: S311 - jitter
        return await run.repair_store(fits)
    finally:
        await http.close()
        store.close()
