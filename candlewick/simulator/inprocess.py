"""The exchange without sockets: a dialer and an HTTP client that are wired straight to the machine."""

from collections import deque
from collections.abc import Callable
from urllib.parse import parse_qsl, urlsplit

from candlewick.clock import Clock
from candlewick.errors import Banned, RateLimited, Unreachable
from candlewick.market import SECOND
from candlewick.simulator.exchange import Exchange, Refusal
from candlewick.simulator.gateway import Gateway
from candlewick.simulator.query import Params, Reply
from candlewick.simulator.session import Session
from candlewick.simulator.virtual import VirtualLoop, run_virtual
from candlewick.transport import Answer, Http, Link, Listener

_LATENCY_S = 0.005
_DIAL_TIMEOUT_S = 10.0
_GOODBYE_S = 5.0
_SOCKET_BYTES = 16 << 20


class InProcess:
    """Ways to one exchange. `dialer` and `http` fail as real ones do (transport.py)."""

    def __init__(
        self, exchange: Exchange, clock: Clock, latency_s: float = _LATENCY_S, socket_bytes: int = _SOCKET_BYTES
    ) -> None:
        """`latency_s`: market seconds for every message, either way.

        `socket_bytes`: what a connection holds that is not read; the exchange drops a reader slower than that.
        """
        self.dialer = _Dialer(exchange, clock, latency_s, socket_bytes)
        self.http: Http = LocalHttp(Gateway(exchange).answer, clock, latency_s)


class _Dialer:
    def __init__(self, exchange: Exchange, clock: Clock, latency_s: float, socket_bytes: int) -> None:
        self._exchange, self._clock = exchange, clock
        self._latency_s, self._socket_bytes = latency_s, socket_bytes

    async def dial(self, url: str, listener: Listener) -> Link:
        """See `transport.Dialer`."""
        parts = urlsplit(url)
        await self._clock.sleep(2 * self._latency_s)
        link = _Link(self._clock, listener, self._latency_s, self._socket_bytes)
        opened = self._exchange.connect(parts.path, parts.query, link.pipe)
        if isinstance(opened, Session):
            link.pipe.session = opened
            return link
        if opened.status == -1:
            await self._clock.sleep(_DIAL_TIMEOUT_S)
        raise _failure(opened, url, self._clock.now())


def _failure(refusal: Refusal, url: str, now: int) -> Unreachable | Banned | RateLimited:
    wait_s = float(dict(refusal.headers).get("Retry-After", "60"))
    if refusal.status in (403, 418, 451):
        return Banned(f"{url} answered {refusal.status}", now + round(wait_s * SECOND))
    if refusal.status == 429:
        return RateLimited(f"{url} answered 429", wait_s)
    reason = {0: "connection refused", -1: f"no answer within {_DIAL_TIMEOUT_S:g} s"}.get(refusal.status)
    return Unreachable(f"{url}: {reason or f'answered {refusal.status} instead of a WebSocket'}")


class _Pipe:
    """What travels from the exchange to the client, and whether anybody still listens. It is the exchange's `Wire`."""

    def __init__(self, clock: Clock, listener: Listener, link: "_Link", latency_s: float, socket_bytes: int) -> None:
        self._socket_bytes = socket_bytes
        self.paused = False
        self.over = False
        self._left = False
        self.session: Session | None = None
        self._clock, self._listener, self._link, self._latency_s = clock, listener, link, latency_s
        self._coming: deque[tuple[float, int, Callable[[], None]]] = deque()
        self._bytes = 0
        self._planned = False

    def send(self, text: bytes) -> None:
        """See `wire.Wire`."""
        self._put(len(text), lambda: self._listener.frame(text))

    def ping(self, payload: bytes) -> None:
        """See `wire.Wire`; the client answers without being asked."""
        self._put(len(payload), lambda: self._hear_ping(payload))

    def pong(self, payload: bytes) -> None:
        """See `wire.Wire`."""
        self._put(len(payload), self._listener.heard)

    def close(self, code: int, reason: str) -> None:
        """See `wire.Wire`."""
        self._put(0, lambda: self.finish(f"closed by the exchange: {code} {reason}".rstrip()))

    def reset(self) -> None:
        """See `wire.Wire`."""
        self._put(0, lambda: self.finish("connection reset by the exchange"))

    def _hear_ping(self, payload: bytes) -> None:
        self._link.go(lambda session: session.ponged(payload))
        self._listener.heard()

    def _put(self, size: int, call: Callable[[], None]) -> None:
        if self.over or self._left:
            return
        self._coming.append((self._clock.monotonic() + self._latency_s, size, call))
        self._bytes += size
        if self._bytes > self._socket_bytes and self.session is not None:
            self._clock.call_later(0, self.session.reset)
        self.plan()

    def plan(self) -> None:
        """See to it that what comes arrives."""
        if self._coming and not self._planned and not self.paused:
            self._planned = True
            self._clock.call_later(self._coming[0][0] - self._clock.monotonic(), self._flush)

    def _flush(self) -> None:
        self._planned = False
        now = self._clock.monotonic() + 1e-6
        try:
            while self._coming and self._coming[0][0] <= now and not self.paused:
                _, size, call = self._coming.popleft()
                self._bytes -= size
                call()
        finally:
            self.plan()

    def leave(self) -> None:
        """Nobody listens any more: what comes is lost."""
        self._left = True
        self._coming.clear()

    def finish(self, reason: str) -> None:
        """Tell the listener that it is over, once."""
        if not self.over:
            self.over = True
            self._coming.clear()
            self._listener.closed(reason)


class _Link:
    """The client's end; see `transport.Link`."""

    def __init__(self, clock: Clock, listener: Listener, latency_s: float, socket_bytes: int) -> None:
        self._clock, self._latency_s = clock, latency_s
        self._left = False
        self.pipe = _Pipe(clock, listener, self, latency_s, socket_bytes)

    def send(self, text: bytes) -> None:
        """See `transport.Link`."""
        self.go(lambda session: session.receive(text))

    def ping(self) -> None:
        """See `transport.Link`."""
        self.go(lambda session: session.pinged(b""))

    def close(self, code: int, reason: str) -> None:
        """See `transport.Link`."""
        session = self.pipe.session
        if self._left or session is None:
            return
        answers = session.is_open and not session.deaf
        self.go(lambda session: session.gone())
        self._left = True
        wait_s = 2 * self._latency_s if answers else _GOODBYE_S
        self._clock.call_later(wait_s, lambda: self.pipe.finish(f"closed: {code} {reason}".rstrip()))

    def abort(self) -> None:
        """See `transport.Link`."""
        self.go(lambda session: session.gone())
        self._left = True
        self.pipe.leave()
        self._clock.call_later(0, lambda: self.pipe.finish("aborted"))

    def pause(self) -> None:
        """See `transport.Link`."""
        self.pipe.paused = True

    def resume(self) -> None:
        """See `transport.Link`."""
        self.pipe.paused = False
        self.pipe.plan()

    def go(self, act: Callable[[Session], None]) -> None:
        """Do something at the exchange's end, once it has travelled there."""
        session = self.pipe.session
        if session is not None and not self._left and not self.pipe.over:
            self._clock.call_later(self._latency_s, lambda: act(session))


class LocalHttp:
    """An HTTP client that asks a function; see `transport.Http`."""

    def __init__(self, answer: Callable[[str, Params], Reply], clock: Clock, latency_s: float) -> None:
        """`latency_s`: market seconds that a request and its answer travel, each."""
        self._answer = answer
        self._clock, self._latency_s = clock, latency_s

    async def get(self, url: str, params: tuple[tuple[str, str], ...], timeout_s: float) -> Answer:
        """See `transport.Http`."""
        parts = urlsplit(url)
        await self._pass(self._latency_s)
        reply = self._answer(parts.path, (*parse_qsl(parts.query, keep_blank_values=True), *params))
        delay_s = reply.delay_s + reply.spread_s
        if reply.status == 0 or delay_s >= timeout_s:
            await self._pass(timeout_s - self._latency_s)
            raise Unreachable(f"{url}: no answer within {timeout_s:g} s")
        await self._pass(self._latency_s + delay_s)
        if not reply.whole:
            raise Unreachable(f"{url}: connection reset in the middle of the answer")
        return Answer(reply.status, reply.headers, reply.body)

    async def close(self) -> None:
        """Nothing is held."""

    async def _pass(self, seconds: float) -> None:
        if seconds > 0:  # a clock that stands still ends no wait, not even an empty one
            await self._clock.sleep(seconds)


__all__ = ["InProcess", "LocalHttp", "VirtualLoop", "run_virtual"]
