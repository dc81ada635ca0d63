"""A run from the first word to the exchange until its end, against a simulated exchange in virtual time."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeVar

import pytest

from candlewick.clock import SystemClock
from candlewick.config import HistoryStart, Settings
from candlewick.errors import StoreFull, UnknownSymbol, UsageError
from candlewick.events import Event, StoreTrouble
from candlewick.exchanges.exchange import StreamKind
from candlewick.history.client import SPEED_HEADER
from candlewick.market import MINUTE, SECOND, Interval, Market, Series, parse_time
from candlewick.services.following import Follow
from candlewick.services.pauses import keep_pauses
from candlewick.services.status import Status
from candlewick.services.supervisor import CLOCK_EVERY_S, Run
from candlewick.simulator.exchange import Exchange
from candlewick.simulator.faults import Fault
from candlewick.simulator.inprocess import InProcess, run_virtual
from candlewick.simulator.settings import SimulatorSettings
from candlewick.stores.memory import MemoryStore
from candlewick.stores.store import Source
from candlewick.transport import Answer, Http

T = TypeVar("T")

START = parse_time("2026-11-02T09:17:23")
BTC = Series(Market.SPOT, "BTCUSDT", Interval("1m"))


class Window:
    """The exchange's HTTP interface, with some of its headers hidden."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self._hidden: set[str] = set()

    def hide(self, header: str) -> None:
        self._hidden.add(header)

    async def get(self, url: str, params: tuple[tuple[str, str], ...], timeout_s: float) -> Answer:
        answer = await self._http.get(url, params, timeout_s)
        return answer._replace(headers={k: v for k, v in answer.headers.items() if k.lower() not in self._hidden})

    async def close(self) -> None:
        await self._http.close()


class Theatre:
    """A run and its exchange."""

    def __init__(
        self, faults: tuple[Fault, ...] = (), *, store: MemoryStore | None = None, symbols: tuple[str, ...] = ("BTCUSDT",),
        behind_s: float = 0.0, kinds: tuple[StreamKind, ...] = (StreamKind.KLINE,), begin: int = START,
        follow: Follow | None = None,
    ) -> None:  # fmt: skip
        loop = asyncio.get_running_loop()
        listed = SimulatorSettings(
            symbols=("BTCUSDT", "SOLUSDT"), start=begin, faults=faults, surprises=False, activity=0.05
        )
        self.exchange = Exchange(listed, SystemClock(start=begin, monotonic=loop.time))
        world = InProcess(self.exchange, self.exchange.clock)
        self.store = store or MemoryStore()
        self.clock = SystemClock(start=begin - int(behind_s * SECOND), monotonic=loop.time)
        settings = Settings(
            symbols=symbols, intervals=(BTC.interval,), streams=kinds,
            history_start=HistoryStart("", before_now=30 * MINUTE),
        )  # fmt: skip
        self.http = Window(world.http)
        self.run = Run(settings, self.store, self.http, world.dialer, clock=self.clock, random=Random(1), follow=follow)
        self.running: asyncio.Task[None] | None = None
        self.troubles: list[str] = []
        log = self.run.observer.tell

        def tell(event: Event) -> None:
            self.troubles += [event.reason] if isinstance(event, StoreTrouble) else []
            log(event)

        self.run.observer.tell = tell  # type: ignore[method-assign]
        keep_pauses(self.run.budget, self.store, settings.api_url, self.clock, tell)

    def start(self) -> None:
        self.running = asyncio.ensure_future(self.run.run())

    async def pass_s(self, seconds: float) -> None:
        await self.exchange.clock.sleep(seconds)
        if self.running is not None and self.running.done():
            self.running.result()

    async def stop(self) -> None:
        if self.running is not None:
            self.running.cancel()
            await asyncio.wait({self.running})
            await self.exchange.clock.sleep(1)

    @property
    def told(self) -> dict[str, int]:
        return self.run.observer.counts

    def error_s(self) -> float:
        """By how much the run's clock differs from the exchange's."""
        return abs(self.clock.now() - self.exchange.clock.now()) / SECOND


def play(story: Callable[[Theatre], Awaitable[T]], *faults: Fault, start: bool = True, **settings: object) -> T:
    """Run a story with a run that has started; both are stopped in the end."""

    async def main() -> T:
        theatre = Theatre(faults, **settings)  # type: ignore[arg-type]
        try:
            if start:
                theatre.start()
            return await story(theatre)
        finally:
            await theatre.stop()
            theatre.exchange.stop()

    logging.disable(logging.CRITICAL)
    try:
        return run_virtual(main())
    finally:
        logging.disable(logging.NOTSET)


def test_run_follows_its_symbols() -> None:
    """It asks for the time and the listing, opens its streams, fills history and stores what closes."""

    async def story(theatre: Theatre) -> tuple[Theatre, Status]:
        await theatre.pass_s(200)
        return theatre, theatre.run.status()

    theatre, status = play(story)
    assert (status.waiting_for, status.market, status.exchange) == ("", "spot", "binance")
    assert [one.connected for one in status.connections] == [True]
    assert [(one.symbol, one.stale, one.missing) for one in status.series] == [("BTCUSDT", False, 0)]
    assert status.series[0].last_price is not None
    assert status.counters.candles_written >= 32
    assert status.counters.frames["kline"] > 0
    assert (status.store.connected, status.rest.reachable, status.errors_24h) == (True, True, 0)
    assert (status.buffer_size, status.buffer_age_s, status.pending_backfills) == (0, None, 0)
    assert status.latencies.durability.count >= 3
    assert status.gap_check_last is not None
    assert len(theatre.store.read(BTC)) >= 32


def test_run_waits_for_the_exchange_and_says_so() -> None:
    """While REST does not answer it waits, shows for what, and begins when it answers."""

    async def story(theatre: Theatre) -> tuple[Status, Status]:
        await theatre.pass_s(60)
        before = theatre.run.status()
        await theatre.pass_s(200)
        return before, theatre.run.status()

    before, after = play(story, Fault(kind="server_error", at=-10, duration_s=100, number=503))
    assert "503" in before.waiting_for
    assert (before.connections, before.series, before.rest.reachable) == ((), (), False)
    assert after.waiting_for == ""
    assert after.connections[0].connected
    assert after.started_at >= START + 90 * SECOND


@pytest.mark.parametrize("symbol", ["BTCUSTD", "OLDUSDT", "XX*"])
def test_run_ends_where_a_symbol_cannot_be_followed(symbol: str) -> None:
    """Not listed, not trading, or a pattern of nothing: it says so and does not begin."""

    async def story(theatre: Theatre) -> MemoryStore:
        assert theatre.running is not None
        with pytest.raises(UnknownSymbol, match="SYMBOLS"):
            await theatre.running
        return theatre.store

    assert play(story, symbols=("BTCUSDT", symbol)).series() == []


@pytest.mark.parametrize(("behind_s", "told"), [(3600.0, 1), (-3600.0, 1), (0.4, 0), (-0.4, 0)])
def test_run_follows_the_clock_of_the_exchange(behind_s: float, told: int) -> None:
    """A wrong clock of this machine is corrected before anything else, and told where it is off by more than a second."""

    async def story(theatre: Theatre) -> Theatre:
        theatre.http.hide(SPEED_HEADER)
        theatre.start()
        await theatre.pass_s(130)
        assert theatre.error_s() < 0.1
        return theatre

    theatre = play(story, behind_s=behind_s, start=False)
    assert theatre.told.get("ClockOff", 0) == told
    assert theatre.run.clock_behind_ms == pytest.approx(behind_s * 1000, abs=50)
    assert Source.LIVE in theatre.store.read(BTC)["source"]
    assert theatre.told.get("CandleRejected", 0) == 0


def test_run_keeps_following_the_clock() -> None:
    """A clock that is set wrong later is corrected at the next look."""

    async def story(theatre: Theatre) -> tuple[float, float]:
        await theatre.pass_s(30)
        theatre.clock.set_now(theatre.clock.now() + 20 * SECOND)
        before = theatre.error_s()
        await theatre.pass_s(CLOCK_EVERY_S + 30)
        return before, theatre.error_s()

    before, after = play(story)
    assert before == pytest.approx(20, abs=0.1)
    assert after < 0.1


def test_run_outlives_an_exchange_that_is_away() -> None:
    """REST and streams fail for ten minutes: afterwards nothing is missing."""

    async def story(theatre: Theatre) -> Status:
        await theatre.pass_s(1500)
        return theatre.run.status()

    away = {"at": 300.0, "duration_s": 600.0}
    status = play(story, Fault(kind="refuse", **away), Fault(kind="cut", at=300), Fault(kind="no_answer", **away))  # type: ignore[arg-type]
    assert [(one.stale, one.missing) for one in status.series] == [(False, 0)]
    assert status.counters.reconnects >= 1
    assert status.counters.gaps_found == status.counters.gaps_closed >= 1
    assert status.connections[0].connected


def test_ban_does_not_end_with_the_process() -> None:
    """A run that starts while its address is banned asks nothing of REST, yet streams what it followed before."""
    store = MemoryStore()

    async def first(theatre: Theatre) -> int | None:
        await theatre.pass_s(400)
        return theatre.run.status().rest.ban_until

    async def second(theatre: Theatre) -> tuple[Status, Status]:
        await theatre.pass_s(100)
        early = theatre.run.status()
        await theatre.pass_s(1200)
        return early, theatre.run.status()

    banned = play(first, Fault(kind="ban", at=300, duration_s=60, delay_s=900), store=store)
    assert banned is not None
    early, late = play(second, store=store, begin=START + 420 * SECOND)
    assert early.rest.ban_until == banned
    assert early.connections[0].connected
    assert early.counters.frames["kline"] > 0
    assert early.counters.rest_requests["success"] == 0
    assert late.rest.ban_until is None
    assert [(one.stale, one.missing) for one in late.series] == [(False, 0)]


def test_full_store_and_a_ban_together_end_no_run() -> None:
    """The pause that REST imposes cannot be kept on disk: it is told and obeyed, and the run goes on."""

    class Full(MemoryStore):
        full = False

        def set_state(self, key: str, value: bytes | None) -> None:
            if self.full:
                raise StoreFull("no space left")
            super().set_state(key, value)

    async def story(theatre: Theatre) -> tuple[Theatre, Status]:
        await theatre.pass_s(100)
        assert isinstance(theatre.store, Full)
        theatre.store.full = True
        await theatre.pass_s(800)
        theatre.store.full = False
        await theatre.pass_s(900)
        return theatre, theatre.run.status()

    theatre, status = play(
        story, Fault(kind="ban", at=300, duration_s=400, delay_s=200, endpoint="*/time"), store=Full()
    )
    assert any("a pause of REST cannot be kept" in one for one in theatre.troubles)
    assert [(one.stale, one.missing) for one in status.series] == [(False, 0)]


def test_repair_by_hand_needs_something_to_repair() -> None:
    """Before the run has begun, and for a series nobody knows, a repair is refused with the reason."""

    async def story(theatre: Theatre) -> None:
        with pytest.raises(UsageError, match="nothing can be repaired yet"):
            await theatre.run.repair(None)
        theatre.start()
        await theatre.pass_s(30)
        with pytest.raises(UsageError, match="spot:NOUSDT:1m is neither followed nor in the store"):
            await theatre.run.repair(Series(Market.SPOT, "NOUSDT", BTC.interval))

    play(story, start=False)


def test_repair_by_hand_mends_one_series_or_all() -> None:
    """Each series comes to one result; where all is well there is nothing to do."""

    async def story(theatre: Theatre) -> tuple[list[str], list[str]]:
        await theatre.pass_s(100)
        one = await theatre.run.repair(BTC)
        every = await theatre.run.repair(None)
        assert all((found.missing, found.error) == (0, None) for found in (*one, *every))
        return [found.symbol for found in one], [found.symbol for found in every]

    assert play(story, symbols=("BTCUSDT", "SOLUSDT")) == (["BTCUSDT"], ["BTCUSDT", "SOLUSDT"])


def test_repair_of_a_store_opens_no_streams() -> None:
    """Without a run, what a store holds is mended by REST alone, series by series as asked."""
    store = MemoryStore()

    async def first(theatre: Theatre) -> None:
        await theatre.pass_s(100)

    async def second(theatre: Theatre) -> tuple[list[tuple[str, int, int]], int]:
        results = await theatre.run.repair_store(lambda series: series.symbol == "BTCUSDT")
        return [(one.symbol, one.recovered, one.missing) for one in results], len(theatre.exchange.sessions)

    play(first, store=store, symbols=("BTCUSDT", "SOLUSDT"))
    number = store.number(BTC)
    kept = store._rows[number]
    store._rows[number] = kept[(kept["open_time"] < START - 20 * MINUTE) | (kept["open_time"] >= START - 15 * MINUTE)]
    missing = len(kept) - len(store._rows[number])
    assert missing == 5
    results, sessions = play(second, store=store, start=False, begin=START + 200 * SECOND)
    assert (results, sessions) == ([("BTCUSDT", missing, 0)], 0)
    assert len(store.read(BTC)) == len(kept)


def test_run_says_every_minute_that_it_lives() -> None:
    """A line a minute sums up what it did."""
    summed: list[Status] = []

    async def story(theatre: Theatre) -> None:
        theatre.run.observer.summary = summed.append  # type: ignore[method-assign]
        await theatre.pass_s(305)

    play(story)
    assert len(summed) == 5
    assert summed[-1].counters.candles_written > summed[0].counters.candles_written


def test_stop_leaves_nothing_behind() -> None:
    """Cancelled at any moment the connections are closed and every candle received is stored."""

    async def story(theatre: Theatre) -> tuple[int, int]:
        await theatre.pass_s(250)
        await theatre.stop()
        assert theatre.run.ingest is not None
        return len(theatre.exchange.sessions), theatre.run.ingest.recorder.waiting

    assert play(story) == (0, 0)


def test_trades_of_a_run_keep_the_last_price() -> None:
    """Where nobody asks for trades, the last price of each symbol is kept and shown."""

    async def story(theatre: Theatre) -> tuple[dict[str, float], Status]:
        await theatre.pass_s(400)
        assert theatre.run.ingest is not None
        return theatre.run.ingest.last_prices, theatre.run.status()

    prices, status = play(story, kinds=(StreamKind.KLINE, StreamKind.AGG_TRADE))
    assert set(prices) == {"BTCUSDT"}
    assert status.series[0].last_price == prices["BTCUSDT"]
