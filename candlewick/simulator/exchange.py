"""The exchange as a machine without I/O: it is told what clients do, and acts through their wires and its clock."""

import json
from collections import deque
from fnmatch import fnmatchcase
from heapq import heappop, heappush
from random import Random
from typing import NamedTuple

from candlewick.clock import Clock, Timer
from candlewick.market import SECOND, Interval, Market, Span
from candlewick.simulator.candles import Candles, Row
from candlewick.simulator.session import Address, Session
from candlewick.simulator.settings import SimulatorSettings, listings
from candlewick.simulator.streams import Stream, open_stream
from candlewick.simulator.trouble import Trouble
from candlewick.simulator.wire import Message, Notice, Wire

_ATTEMPTS, _ATTEMPTS_S = 300, 300.0


class Outage(NamedTuple):
    """A span without trading, of the symbols that match a pattern."""

    span: Span
    symbol: str


class Refusal(NamedTuple):
    """Why a connection is not opened: an HTTP status with its body.

    Status 0: the TCP connection is refused; -1: no answer ever comes.
    """

    status: int
    body: str = ""
    headers: tuple[tuple[str, str], ...] = ()


class _Watched:
    """A stream that somebody asked for, and who."""

    __slots__ = ("key", "sessions", "stream")

    def __init__(self, key: tuple[str, str], stream: Stream) -> None:
        self.key = key
        self.stream = stream
        self.sessions: dict[Session, None] = {}


class Exchange:
    """One market of the exchange: its instruments, its connections and its streams.

    `truth` is what it will have said once everything is over. Call `stop` to cancel its timers.
    """

    def __init__(self, settings: SimulatorSettings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.start = clock.now() if settings.start is None else settings.start
        self.sessions: dict[int, Session] = {}
        """Open connections by number."""
        self.outages = [
            Outage(Span(fault.begins(self.start), fault.ends(self.start)), fault.symbol)
            for fault in settings.faults
            if fault.kind == "outage"
        ]
        self.archived = {
            listing.symbol: Candles(
                settings.market,
                listing,
                settings.seed,
                self.start,
                [outage.span for outage in self.outages if fnmatchcase(listing.symbol, outage.symbol)],
                settings.activity,
            )
            for listing in listings(settings)
        }
        """Everything that was ever traded, by symbol."""
        self.candles = {
            symbol: candles
            for symbol, candles in self.archived.items()
            if settings.market is Market.SPOT or not candles.listing.is_removed
        }
        """What streams and REST know."""
        self.trouble = Trouble(self, settings.faults)
        self._opened = 0
        self._attempts: deque[float] = deque()
        self._watched: dict[tuple[str, str], _Watched] = {}
        self._due: list[tuple[int, int, _Watched]] = []
        self._count = 0
        self._timer: Timer | None = None
        self._timer_due = 0
        self._random = Random(settings.seed)
        idle = settings.idle_closes
        self._idle_closes = settings.market is Market.SPOT if idle is None else idle

    @property
    def market(self) -> Market:
        """The market it is."""
        return self.settings.market

    def truth(self, symbol: str, interval: str, start: int, end: int) -> list[Row]:
        """Every candle that opens in `[start, end)` microseconds, whole, as a REST row; oldest first.

        Raises:
            KeyError: the exchange never listed the symbol.
        """
        return self.archived[symbol].rows(Interval(interval), start, end)

    def connect(self, path: str, query: str, wire: Wire) -> Session | Refusal:
        """Somebody asks for a WebSocket at this path."""
        refusal = self._refuses()
        if refusal is not None:
            return refusal
        try:
            address = Address(self.market, path, query)
        except ValueError:
            return Refusal(404, "<html><body>404 Not Found</body></html>")
        self._opened += 1
        session = Session(
            self._opened,
            address,
            self.market,
            self.clock,
            wire,
            watch=self._watch,
            unwatch=self._unwatch,
            ended=self._ended,
        )
        if session.is_open:
            self.sessions[session.number] = session
            self.trouble.opened(session)
        return session

    def stop(self) -> None:
        """Reset every connection and plan nothing more."""
        self.trouble.stop()
        for session in list(self.sessions.values()):
            session.reset()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due.clear()

    def _refuses(self) -> Refusal | None:
        """300 attempts in five minutes, then none (binance.md 1.2); faults first."""
        now = self.clock.monotonic()
        self._attempts.append(now)
        while now - self._attempts[0] >= _ATTEMPTS_S:
            self._attempts.popleft()
        if (struck := self.trouble.dial()) is not None:
            return Refusal(*struck)
        if len(self._attempts) > _ATTEMPTS:
            return Refusal(418, "Too many connection attempts", (("Retry-After", "120"),))
        return None

    def _ended(self, session: Session) -> None:
        self.sessions.pop(session.number, None)

    def _watch(self, session: Session, name: str) -> None:
        self.trouble.subscribed(session, name)
        key = (session.route, name)
        watched = self._watched.get(key)
        if watched is None:
            now = self.clock.now()
            stream = open_stream(name, session.route, self.market, self.candles, now, self._idle_closes)
            if stream is None:
                return
            watched = self._watched[key] = _Watched(key, stream)
            self._plan(watched)
            if self._timer is None or self._due[0][0] < self._timer_due:
                self._set_timer()
        watched.sessions[session] = None

    def _unwatch(self, session: Session, name: str) -> None:
        session.muted.discard(name)
        watched = self._watched.get((session.route, name))
        if watched is not None:
            watched.sessions.pop(session, None)
            if not watched.sessions:
                del self._watched[watched.key]

    def _plan(self, watched: _Watched) -> None:
        self._count += 1
        heappush(self._due, (watched.stream.due(), self._count, watched))

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._due:
            self._timer_due = self._due[0][0]
            self._timer = self.clock.call_later((self._timer_due - self.clock.now()) / SECOND, self._run)

    def _run(self) -> None:
        """Fire everything whose moment has come."""
        self._timer = None
        # A timer may run a hair before the clock shows its moment.
        now = max(self.clock.now(), self._timer_due)
        while self._due and self._due[0][0] <= now:
            due, _, watched = heappop(self._due)
            for message in watched.stream.fire(due) if watched.sessions else ():
                self._publish(watched, message)
            if watched.sessions:
                self._plan(watched)
        self._set_timer()

    def _publish(self, watched: _Watched, message: Message) -> None:
        if self.settings.surprises and (draw := self._random.random()) < 0.001:
            if draw < 0.0005:
                message.has_news = True
            else:
                self._surprise(watched.sessions)
        troubled = self.trouble.frames
        for session in tuple(watched.sessions):
            if troubled or session.muted:
                self.trouble.deliver(session, message)
            else:
                session.deliver(message)

    def _surprise(self, sessions: dict[Session, None]) -> None:
        """An event that no document knows (binance.md 9.8)."""
        notice = json.dumps({"e": "marketNotice", "E": self.clock.now() // 1000, "zz": {"level": 1}})
        for session in tuple(sessions):
            session.deliver(Notice("!marketNotice", notice))
