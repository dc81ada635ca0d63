"""A network without sockets: connections that do as the test says, in virtual time."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from candlewick.clock import SystemClock
from candlewick.errors import DecodeError, ExchangeError
from candlewick.exchanges.exchange import StreamKind, Subscription, Venue, load
from candlewick.live.liveness import Watch
from candlewick.live.stream import Stream
from candlewick.market import Market, parse_time
from candlewick.simulator.inprocess import run_virtual
from candlewick.transport import Listener

T = TypeVar("T")

START = parse_time("2026-11-02T09:17:30")
SPOT = load("binance").venues[Market.SPOT]
USDM = load("binance").venues[Market.USDM]
SHUTDOWN = b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}'


def frame(name: str, number: int = 0) -> bytes:
    """A data frame of a stream."""
    return json.dumps({"stream": name, "data": {"n": number}}, separators=(",", ":")).encode()


class Wire:
    """One connection, seen from the exchange's end; it is the client's `Link`."""

    def __init__(self, url: str, listener: Listener, clock: SystemClock) -> None:
        self.url, self.opened_at = url, clock.monotonic()
        self.names = [unquote(one) for one in parse_qs(urlsplit(url).query).get("streams", [""])[0].split("/") if one]
        self.sent: list[tuple[float, dict[str, object]]] = []
        self.pings: list[float] = []
        self.paused = self.is_over = False
        self.answers = True
        """Whether it acknowledges and answers pings."""
        self.said_goodbye: str | None = None
        self.aborted = False
        self._clock, self._listener = clock, listener
        self._held: list[bytes] = []

    def send(self, text: bytes) -> None:
        message = json.loads(text)
        self.sent.append((self._clock.monotonic() - self.opened_at, message))
        self._answer(lambda: self.deliver(json.dumps({"result": None, "id": message["id"]}).encode()))

    def ping(self) -> None:
        self.pings.append(self._clock.monotonic() - self.opened_at)
        self._answer(lambda: None if self.paused or self.is_over else self._listener.heard())

    def _answer(self, call: Callable[[], object]) -> None:
        if self.answers:
            self._clock.call_later(0.05, call)

    def close(self, code: int, reason: str) -> None:
        self.said_goodbye = reason
        self._clock.call_later(0.05, lambda: self.drop(f"closed: {code} {reason}"))

    def abort(self) -> None:
        self.aborted = True
        self._clock.call_later(0, lambda: self.drop("aborted"))

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False
        held, self._held = self._held, []
        for payload in held:
            self._listener.frame(payload)

    def deliver(self, payload: bytes) -> None:
        """A frame arrives, unless nobody reads."""
        if self.paused:
            self._held.append(payload)
        elif not self.is_over:
            self._listener.frame(payload)

    def drop(self, reason: str) -> None:
        """The connection is gone."""
        if not self.is_over:
            self.is_over = True
            self._listener.closed(reason)


class Network:
    """A `Dialer` that keeps every connection and fails by script."""

    def __init__(self, clock: SystemClock) -> None:
        self.wires: list[Wire] = []
        self.dialed_at: list[float] = []
        self.failing: Callable[[], ExchangeError | None] = lambda: None
        """What a dial fails with at present, if with anything."""
        self.delay_s = 0.1
        self.silent = False
        """Whether new connections answer nothing."""
        self._clock = clock

    async def dial(self, url: str, listener: Listener) -> Wire:
        self.dialed_at.append(self._clock.monotonic())
        await self._clock.sleep(self.delay_s)
        if (error := self.failing()) is not None:
            raise error
        wire = Wire(url, listener, self._clock)
        wire.answers = not self.silent
        self.wires.append(wire)
        return wire

    @property
    def open(self) -> list[Wire]:
        """Connections that live."""
        return [wire for wire in self.wires if not wire.is_over]


def subscription(symbol: str, kind: StreamKind) -> Subscription:
    return Subscription(kind, symbol, SPOT.intervals[1] if kind is StreamKind.KLINE else None)


def stream(venue: Venue, symbol: str, got: list[bytes], kind: StreamKind = StreamKind.KLINE) -> Stream:
    """A stream that keeps its frames; one that holds the word `bad` cannot be read."""
    asked = subscription(symbol, kind)
    name = venue.stream_name(asked)
    watch = Watch(name)

    def receive(payload: bytes) -> None:
        if b"bad" in payload:
            raise DecodeError("not a candle")
        watch.frames += 1
        got.append(payload)

    return Stream(name, asked, receive, watch)


def streams(venue: Venue, symbols: Sequence[str], got: list[bytes]) -> list[Stream]:
    return [stream(venue, symbol, got) for symbol in symbols]


def in_virtual_time(story: Callable[[SystemClock], Awaitable[T]]) -> T:
    """Run a story with a clock that starts at START."""

    async def main() -> T:
        return await story(SystemClock(start=START, monotonic=asyncio.get_running_loop().time))

    return run_virtual(main())
