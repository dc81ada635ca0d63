"""A store, a recorder, and a REST interface that answers by script, in virtual time."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from random import Random
from typing import Any, NamedTuple, TypeVar

from candlewick.clock import SystemClock
from candlewick.errors import ExchangeError, StoreFull
from candlewick.events import Event
from candlewick.exchanges.exchange import Venue, load
from candlewick.history.budget import Budget
from candlewick.history.client import RestClient
from candlewick.market import MINUTE, SECOND, Candle, Interval, Market, Series, Span, parse_time
from candlewick.services.recorder import Recorder, Rejected
from candlewick.simulator.inprocess import run_virtual
from candlewick.stores.memory import MemoryStore
from candlewick.stores.store import Quarantined, Rows, Source, WriteResult, to_rows
from candlewick.transport import Answer

T = TypeVar("T")
EventT = TypeVar("EventT", bound=Event)

START = parse_time("2026-11-02T09:17:30")
MINUTE_0 = START - 30 * SECOND
"""The open time of the minute that is going on at START."""
M1 = Interval("1m")
BTC = Series(Market.SPOT, "BTCUSDT", M1)
ETH = Series(Market.SPOT, "ETHUSDT", M1)
SPOT = load("binance").venues[Market.SPOT]
USDM = load("binance").venues[Market.USDM]


def minute(number: int) -> int:
    """The open time of a minute, counted from the one that is going on at START."""
    return MINUTE_0 + number * MINUTE


def span(first: int, last: int) -> Span:
    """Minutes, half-open."""
    return Span(minute(first), minute(last))


def candle(open_time: int, price: float = 100.0, interval: Interval = M1) -> Candle:
    """A candle without fault."""
    return Candle(
        open_time, price, price + 1, price - 1, price, 2.0, interval.close(open_time), 2 * price, 3, 1.0, price
    )


class Store(MemoryStore):
    """A store that writes down what it is given, and fails as often as told."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[list[int]] = []
        """Open times of each commit that worked, in order."""
        self.failures = self.quarantine_failures = 0
        self.tidied: list[float] = []
        self.untidy = 0
        self.clock: SystemClock | None = None
        self.during: Callable[[], object] = lambda: None
        """Called in the middle of every write."""

    def write(self, rows: Rows) -> WriteResult:
        if self.failures > 0:
            self.failures -= 1
            raise StoreFull("no space left")
        self.during()
        self.commits.append(rows["open_time"].tolist())
        return super().write(rows)

    def quarantine(self, entries: list[Quarantined]) -> None:  # type: ignore[override]  # it is given lists
        if self.quarantine_failures > 0:
            self.quarantine_failures -= 1
            raise StoreFull("no space left for the quarantine")
        super().quarantine(entries)

    def tidy(self) -> bool:
        self.untidy = max(0, self.untidy - 1)
        self.tidied.append(self.clock.monotonic() if self.clock else 0.0)
        return self.untidy > 0

    def held(self, series: Series, source: Source | None = None) -> list[int]:
        """Open times of a series, of one source or of all."""
        rows = self.read(series)
        return [int(row["open_time"]) for row in rows if source is None or row["source"] == source]


class Asked(NamedTuple):
    """A request as the exchange saw it."""

    at_s: float
    path: str
    params: dict[str, str]

    @property
    def span(self) -> Span:
        """What a request for candles asked for, half-open."""
        return Span(int(self.params["startTime"]) * 1000, int(self.params["endTime"]) * 1000 + 1000)


class Rest:
    """A REST interface that has candles of every grid time but those it lacks, and the trades it is given."""

    def __init__(self, clock: SystemClock) -> None:
        self._clock = clock
        self._began = clock.now()
        self.listed_at = 0
        self.lacks: set[int] = set()
        self.broken: set[int] = set()
        """Open times of candles that cannot be."""
        self.lag_s = 0.0
        self.price = 100.0
        self.trade_ids: set[int] = set()
        self.failing: Callable[[], ExchangeError | None] = lambda: None
        """What a request fails with at present, if with anything."""
        self.delay_s = 0.01
        self.asked: list[Asked] = []

    async def get(self, url: str, params: tuple[tuple[str, str], ...], timeout_s: float) -> Answer:
        wanted = dict(params)
        path = url.rpartition("/")[2]
        self.asked.append(Asked((self._clock.now() - self._began) / SECOND, path, wanted))
        await self._clock.sleep(self.delay_s)
        if (error := self.failing()) is not None:
            raise error
        return Answer(200, {}, json.dumps(self._answer(path, wanted)).encode())

    def _answer(self, path: str, wanted: dict[str, str]) -> list[Any]:
        limit = int(wanted["limit"])
        if path == "klines":
            interval = Interval(wanted["interval"])
            start, end = int(wanted["startTime"]) * 1000, int(wanted["endTime"]) * 1000
            start = max(start, self.listed_at)
            end = min(end, interval.floor(self._clock.now() - int(self.lag_s * SECOND)))
            times = [one for one in interval.grid(Span(start, end + 1)) if one not in self.lacks][:limit]
            return [self._row(candle(one, -1.0 if one in self.broken else self.price, interval)) for one in times]
        first = int(wanted["fromId"])
        found = sorted(one for one in self.trade_ids if first <= one)[:limit]
        if path == "aggTrades":
            return [{"a": n, "p": "100", "q": "1", "f": n, "l": n, "T": START // 1000, "m": False} for n in found]
        return [{"id": n, "price": "100", "qty": "1", "time": START // 1000, "isBuyerMaker": False} for n in found]

    @staticmethod
    def _row(one: Candle) -> list[Any]:
        texts = [str(value) for value in (one.open, one.high, one.low, one.close, one.volume)]
        taker = [str(one.taker_buy_volume), str(one.taker_buy_quote_volume)]
        return [one.open_time // 1000, *texts, one.close_time // 1000, str(one.quote_volume), one.trades, *taker, "0"]

    async def close(self) -> None:
        return

    @property
    def spans(self) -> list[Span]:
        """What was asked for, in order."""
        return [one.span for one in self.asked if one.path == "klines"]


class Bench:
    """Everything a service needs around it."""

    def __init__(self, venue: Venue = SPOT, series: Iterable[Series] = (BTC, ETH)) -> None:
        loop = asyncio.get_running_loop()
        self.clock = SystemClock(start=START, monotonic=loop.time)
        self.store = Store()
        self.store.clock = self.clock
        self.events: list[Event] = []
        self.rejected: list[Rejected] = []
        self.pressure: list[bool] = []
        self.rest = Rest(self.clock)
        self.client = RestClient(
            venue, "http://exchange.test", self.rest, Budget(), self.clock, self.events.append, random=Random(1)
        )
        self.recorder = Recorder(
            self.store, list(series), clock=self.clock, tell=self.events.append, on_rejected=self.rejected.append,
            on_pressure=self.pressure.append,
        )  # fmt: skip
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, work: Awaitable[None]) -> "asyncio.Task[None]":
        task = asyncio.ensure_future(work)
        assert isinstance(task, asyncio.Task)
        self.tasks.append(task)
        return task

    async def keep(self, series: Series, times: Iterable[int], source: Source = Source.LIVE, **values: float) -> None:
        """Have candles in the store."""
        candles = [candle(one, interval=series.interval, **values) for one in times]
        await self.recorder.write(to_rows(self.recorder.numbers[series], source, candles))
        self.store.commits.clear()

    def told(self, kind: type[EventT]) -> list[EventT]:
        """The events of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    async def stop(self) -> None:
        self.recorder.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def simulate(story: Callable[[Bench], Awaitable[T]], *, venue: Venue = SPOT, record: bool = True) -> T:
    """Run a story in virtual time; with a recorder that runs, unless told otherwise."""

    async def main() -> T:
        bench = Bench(venue)
        recording = asyncio.ensure_future(bench.recorder.run()) if record else None
        try:
            return await story(bench)
        finally:
            await bench.stop()
            if recording is not None:
                await recording

    return run_virtual(main())
