"""A simulated exchange in virtual time, and a client that writes down what it hears."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from candlewick.clock import ManualClock, SystemClock
from candlewick.market import Market, parse_time
from candlewick.simulator.exchange import Exchange
from candlewick.simulator.inprocess import InProcess, run_virtual
from candlewick.simulator.session import Session
from candlewick.simulator.settings import SimulatorSettings
from candlewick.transport import Answer, Link

START = parse_time("2026-11-02T10:00:00")


class Ear:
    """A listener that keeps everything, with the time it came."""

    def __init__(self, clock: SystemClock) -> None:
        self._clock = clock
        self.frames: list[tuple[int, bytes]] = []
        self.pings: list[int] = []
        self.ends: list[str] = []

    def frame(self, payload: bytes) -> None:
        self.frames.append((self._clock.now(), payload))

    def heard(self) -> None:
        self.pings.append(self._clock.now())

    def closed(self, reason: str) -> None:
        self.ends.append(reason)

    @property
    def events(self) -> list[dict[str, Any]]:
        """Every event that can be read, without its wrapping."""
        found = []
        for _, payload in self.frames:
            content = json.loads(payload)
            found.append(content.get("data", content))
        return found

    @property
    def klines(self) -> list[dict[str, Any]]:
        return [event["k"] | {"E": event["E"]} for event in self.events if event.get("e") == "kline"]

    @property
    def closes(self) -> list[dict[str, Any]]:
        return [kline for kline in self.klines if kline["x"]]


class World:
    """An exchange and the ways to it."""

    def __init__(self, exchange: Exchange, clock: SystemClock) -> None:
        self.exchange, self.clock = exchange, clock
        self.io = InProcess(exchange, clock, socket_bytes=100_000)

    async def listen(self, *names: str, route: str | None = None) -> tuple[Link, Ear]:
        """Open a combined connection with these streams."""
        if route is None:
            route = "/market" if self.exchange.market is Market.USDM else ""
        ear = Ear(self.clock)
        link = await self.io.dialer.dial(f"ws://sim{route}/stream?streams={'/'.join(names)}", ear)
        return link, ear

    async def get(self, path: str, **params: object) -> Answer:
        asked = tuple((name, str(value)) for name, value in params.items())
        return await self.io.http.get(f"http://sim{path}", asked, 10.0)

    async def json(self, path: str, **params: object) -> dict[str, Any]:
        return json.loads((await self.get(path, **params)).body)


Story = Callable[[World], Awaitable[object]]


def simulate(story: Story, **settings: object) -> Any:  # noqa: ANN401 - whatever the story comes to
    """Run a story in a fresh world with these settings; returns what the story returns."""

    async def main() -> object:
        clock = SystemClock(start=START, monotonic=asyncio.get_running_loop().time)
        quiet = {"start": START, "surprises": False, "symbols": ("BTCUSDT", "SOLUSDT", "WANUSDT")}
        exchange = Exchange(SimulatorSettings(**(quiet | settings)), clock)
        try:
            return await story(World(exchange, clock))
        finally:
            exchange.stop()

    return run_virtual(main())


class Tongue:
    """A wire that keeps what the exchange says, without a client behind it."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def send(self, text: bytes) -> None:
        self.said.append(json.loads(text))

    def ping(self, payload: bytes) -> None:
        self.said.append(("ping", payload))

    def pong(self, payload: bytes) -> None:
        self.said.append(("pong", payload))

    def close(self, code: int, reason: str) -> None:
        self.said.append(("close", code, reason))

    def reset(self) -> None:
        self.said.append(("reset",))


class Counter:
    """An exchange under a clock that stands still, and connections with nobody behind them."""

    def __init__(self, **settings: object) -> None:
        self.clock = ManualClock(START)
        self.exchange = Exchange(
            SimulatorSettings(**({"start": START, "symbols": ("BTCUSDT",), "surprises": False} | settings)), self.clock
        )

    def connect(self, path: str = "/stream", query: str = "") -> tuple[Session, Tongue]:
        tongue = Tongue()
        session = self.exchange.connect(path, query, tongue)
        assert isinstance(session, Session)
        return session, tongue
