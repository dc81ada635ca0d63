"""The simulated exchange, its archive and its REST interface, and loads of candles made of its trades."""

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np

from candlewick.clock import ManualClock
from candlewick.events import Event
from candlewick.exchanges.exchange import ArchiveKind, load
from candlewick.history.archive import ArchiveClient
from candlewick.history.budget import Budget
from candlewick.history.client import RestClient
from candlewick.market import Interval, Market, Series, Span, parse_time
from candlewick.services.loading.loader import Loader, LoadResult, Wanted
from candlewick.services.loading.trades import RebuildResult, TradesLoader
from candlewick.simulator.exchange import Exchange
from candlewick.simulator.faults import Fault
from candlewick.simulator.inprocess import InProcess
from candlewick.simulator.settings import SimulatorSettings
from candlewick.stores.memory import MemoryStore
from candlewick.stores.store import VALUES, Rows, Store
from tests.unit.services.loading.archivist import Shaky, StillClock

START = parse_time("2026-11-04T10:00:00")
SYMBOL = "WANUSDT"


class Tradeshop:
    """An exchange at one moment, a store, and ways to load from the one into the other."""

    def __init__(
        self, *faults: Fault, market: Market = Market.SPOT, store: Store | None = None, symbol: str = SYMBOL,
        activity: float = 4.0,
    ) -> None:  # fmt: skip
        self.clock = StillClock(START)
        self.market, self.symbol, self._activity = market, symbol, activity
        self.store: Store = store or MemoryStore()
        self.events: list[Event] = []
        settings = SimulatorSettings(
            market=market, symbols=(symbol,), start=START, faults=faults, activity=activity, surprises=False
        )
        self.exchange = Exchange(settings, ManualClock(START))
        self.http = Shaky(InProcess(self.exchange, self.clock, latency_s=0.0).http)

    def series(self, code: str = "1m") -> Series:
        return Series(self.market, self.symbol, Interval(code))

    def load(
        self, start: str, end: str, codes: Sequence[str] = ("1m",), kind: ArchiveKind = ArchiveKind.TRADES,
        *, recheck: bool = False,
    ) -> list[RebuildResult]:  # fmt: skip
        """Make candles of trades."""
        wanted = Wanted(tuple(map(self.series, codes)), Span(parse_time(start), parse_time(end)), recheck=recheck)

        async def work() -> list[RebuildResult]:
            archive, listing, client = self._clients()
            loader = TradesLoader(
                self.store, archive, listing, client, self.clock, self.events.append
            )  # fmt: skip
            try:
                return await loader.run(wanted, kind)
            finally:
                loader.close()

        return asyncio.run(work())

    def load_klines(self, start: str, end: str, code: str = "1m") -> LoadResult:
        """Load the exchange's own candles."""

        async def work() -> LoadResult:
            loader = Loader(self.store, *self._clients(), self.clock, self.events.append)
            try:
                span = Span(parse_time(start), parse_time(end))
                return (await loader.run(Wanted((self.series(code),), span)))[0]
            finally:
                loader.close()

        return asyncio.run(work())

    def _clients(self) -> tuple[ArchiveClient, ArchiveClient, RestClient]:
        venue = load("binance").venues[self.market]
        budget = Budget(requests_per_s=1e6, burst=1000, weight_per_minute=10**9)
        told = self.events.append
        client = RestClient(venue, "http://sim", self.http, budget, self.clock, told, random=Random(1))
        archive, listing = (
            ArchiveClient(venue.archive, "http://sim", "http://sim", self.http, self.clock, told, random=Random(1))
            for _ in range(2)
        )
        return archive, listing, client

    def truth(self, start: str, end: str, code: str = "1m") -> dict[int, tuple[Any, ...]]:
        """The exchange's candles with trades, by open time; files that are spoiled do not change it."""
        key = (self.market, self.symbol, self._activity, start, end, code)
        if key not in _TRUTHS:
            rows = self.exchange.truth(self.symbol, code, parse_time(start), parse_time(end))
            _TRUTHS[key] = {int(one[0]) * 1000: _values(one) for one in rows if int(one[8])}
        return dict(_TRUTHS[key])

    def held(self, code: str = "1m") -> dict[int, tuple[Any, ...]]:
        """What the store has, by open time."""
        rows: Rows = self.store.read(self.series(code))
        return {int(row["open_time"]): tuple(row[name].item() for name in VALUES) for row in rows}


_TRUTHS: dict[tuple[object, ...], dict[int, tuple[Any, ...]]] = {}


def _values(row: Sequence[int | str]) -> tuple[Any, ...]:
    values = list(row[1:11])
    values[5] = int(values[5]) * 1000
    return tuple(
        int(value) if name in {"close_time", "trades"} else float(value)
        for name, value in zip(VALUES, values, strict=True)
    )


def differing(one: dict[int, tuple[Any, ...]], other: dict[int, tuple[Any, ...]]) -> list[int]:
    """Open times that not both have, or with different values; bit for bit."""
    return [
        time for time in sorted(one.keys() | other.keys())
        if time not in one or time not in other
        or np.array(one[time], object).tolist() != np.array(other[time], object).tolist()
    ]  # fmt: skip
