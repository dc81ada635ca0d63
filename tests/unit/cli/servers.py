"""Servers in a thread of their own: commands ask them and wait, as they do in real life."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from candlewick.clock import SystemClock
from candlewick.config import Settings
from candlewick.market import Series
from candlewick.services.status import RepairResult, Status
from candlewick.simulator.server import Server, serve
from candlewick.simulator.settings import SimulatorSettings
from candlewick.web.server import WebServer, start
from tests.unit.web.statuses import good


class Closable(Protocol):
    """Something that ends."""

    async def close(self) -> None: ...


C = TypeVar("C", bound=Closable)


@contextmanager
def in_thread(begin: Callable[[], Awaitable[C]]) -> Iterator[C]:
    """What `begin` starts, on an event loop in another thread, until the block ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        server = asyncio.run_coroutine_threadsafe(_awaited(begin), loop).result(20)
        try:
            yield server
        finally:
            asyncio.run_coroutine_threadsafe(server.close(), loop).result(20)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _awaited(begin: Callable[[], Awaitable[C]]) -> C:
    return await begin()


class Run:
    """A run that shows a made-up status and notes what it is asked to repair."""

    def __init__(self, status: Status | None = None) -> None:
        self.asked: list[Series | None] = []
        self._status = status or good()

    def status(self) -> Status:
        return self._status

    async def repair(self, series: Series | None) -> list[RepairResult]:
        self.asked.append(series)
        missing = 1 if series and series.symbol == "ETHUSDT" else 0
        return [
            RepairResult(
                market="spot", symbol="BTCUSDT", interval="1m", start=60_000, end=120_000, expected=1,
                recovered=1 - missing, absent=0, missing=missing,
            )
        ]  # fmt: skip


@contextmanager
def running(run: Run, **settings: object) -> Iterator[WebServer]:
    """The HTTP server of a run, on a free port."""
    with in_thread(lambda: start(run, Settings(**({"feeder_port": 0} | settings)))) as server:
        yield server


@contextmanager
def exchange(start_at: int | None = None, symbols: tuple[str, ...] = ("BTCUSDT",)) -> Iterator[Server]:
    """A simulated exchange at real speed, on a free port."""
    settings = SimulatorSettings(symbols=symbols, start=start_at)
    with in_thread(lambda: serve(settings, SystemClock(start=start_at))) as server:
        yield server
