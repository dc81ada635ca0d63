"""Live ingestion on a network and a REST interface of the test's making, in virtual time."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from random import Random
from typing import TypeVar

from candlewick.clock import SystemClock
from candlewick.events import Event
from candlewick.exchanges.exchange import StreamKind, Venue
from candlewick.history.budget import Budget
from candlewick.history.client import RestClient
from candlewick.market import HOUR, Interval, Trade
from candlewick.services.ingest import Ingest, Wants
from candlewick.simulator.inprocess import run_virtual
from tests.unit.live.network import Network
from tests.unit.services.frames import kline_frame
from tests.unit.services.workbench import M1, SPOT, START, Rest, Store, minute

T = TypeVar("T")
EventT = TypeVar("EventT", bound=Event)


class Station:
    """An `Ingest` with everything around it."""

    def __init__(
        self, *, store: Store | None = None, venue: Venue = SPOT, symbols: Iterable[str] = ("BTCUSDT",),
        kinds: Iterable[StreamKind] = (StreamKind.KLINE,), intervals: Iterable[Interval] = (M1,), history: int = HOUR,
    ) -> None:  # fmt: skip
        loop = asyncio.get_running_loop()
        self.clock = SystemClock(start=START, monotonic=loop.time)
        self.store = store or Store()
        self.store.clock = self.clock
        self.rest = Rest(self.clock)
        self.network = Network(self.clock)
        self.events: list[Event] = []
        self.trades: list[Trade] = []
        self.budget = Budget()
        self.client = RestClient(
            venue, "http://exchange.test", self.rest, self.budget, self.clock, self.events.append, random=Random(1)
        )
        wants = Wants(
            symbols=list(symbols), intervals=list(intervals), kinds=list(kinds), stream_url="ws://exchange.test",
            history_from=START - history, gap_threshold_s=70.0, check_interval_s=300.0, reconnect_base_s=None, workers=4,
        )  # fmt: skip
        self.ingest = Ingest(
            venue, wants, self.store, self.client, self.network, clock=self.clock, random=Random(1),
            tell=self.events.append, on_trade=lambda _, trade: self.trades.append(trade),
        )  # fmt: skip
        self.running: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.running = asyncio.ensure_future(self.ingest.run())

    async def stop(self) -> None:
        if self.running is not None:
            self.running.cancel()
            await asyncio.wait({self.running})

    async def pass_s(self, seconds: float) -> None:
        await self.clock.sleep(seconds)
        if self.running is not None and self.running.done():
            self.running.result()

    async def close_minutes(self, first: int, last: int, symbol: str = "BTCUSDT") -> None:
        """Live closes of minutes, each a moment after its end."""
        for number in range(first, last):
            wait = (minute(number + 1) - self.clock.now()) / 1e6 + 0.1
            await self.pass_s(max(wait, 0.0))
            self.deliver(kline_frame(minute(number), symbol=symbol))

    def deliver(self, frame: bytes) -> None:
        """A frame on every open connection."""
        for wire in self.network.open:
            wire.deliver(frame)

    def told(self, kind: type[EventT]) -> list[EventT]:
        """The events of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]


def ingest(story: Callable[[Station], Awaitable[T]], **settings: object) -> T:
    """Run a story with an ingestion that has started; it is stopped in the end."""

    async def main() -> T:
        station = Station(**settings)  # type: ignore[arg-type]
        station.start()
        try:
            return await story(station)
        finally:
            await station.stop()

    logging.disable(logging.CRITICAL)
    try:
        return run_virtual(main())
    finally:
        logging.disable(logging.NOTSET)
