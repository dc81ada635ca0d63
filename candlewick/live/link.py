"""One connection: joins an open link to its session and hands frames to their streams."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from candlewick.clock import Clock, Timer
from candlewick.errors import DecodeError
from candlewick.exchanges.exchange import Unknown, Venue
from candlewick.live.session import GiveUp, Ping, Renew, Send, Session
from candlewick.live.stream import Stream
from candlewick.transport import Link

TICK_S = 1.0
KINDS = 100
"""So many kinds of unknown frames are counted apart: damaged frames call themselves anything."""
NAMED_S = 5.0
"""Where nothing at all was heard after this, streams named in the URL are asked for in words: not every server reads it."""

Rejecter = Callable[[str, bytes, DecodeError], None]
"""Called with the connection's name, a frame that could not be read, and why."""


class Connection:
    """A `Listener` that lives as long as its link."""

    def __init__(
        self,
        name: str,
        venue: Venue,
        streams: Sequence[Stream],
        clock: Clock,
        reject: Rejecter,
        unknown: dict[str, int],
    ) -> None:
        """`unknown` counts frames of kinds that are not known here."""
        self.name = name
        self.opened_at = clock.monotonic()
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Why it ended, once it has."""
        self.renewal: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Why it should be replaced, once it should."""
        self._venue = venue
        self._receivers: Mapping[bytes, Callable[[bytes], None]] = {s.name.encode(): s.receive for s in streams}
        self._name_at = venue.name_at
        self._clock = clock
        self._reject = reject
        self._unknown = unknown
        self._alive = False
        self._paused = False
        self._named: Sequence[str] = ()
        self._link: Link | None = None
        self._timer: Timer | None = None
        self.session = Session(venue, self.opened_at)

    def start(self, link: Link, subscribe: Sequence[str], *, named: Sequence[str] = (), paused: bool) -> None:
        """The link is open: ask for the streams its URL did not name; `named` are those it did."""
        self._link = link
        self._named = named
        self.session.subscribe(subscribe)
        if paused:
            self.pause()
        self._tick()

    def frame(self, payload: bytes) -> None:
        """One whole text message."""
        self._alive = True
        name_at = self._name_at
        receive = self._receivers.get(payload[name_at : payload.find(b'"', name_at)])
        try:
            if receive is not None:
                receive(payload)
            else:
                self._other(payload)
        except DecodeError as error:
            self._reject(self.name, payload, error)

    def _other(self, payload: bytes) -> None:
        """A frame that does not begin as data of these streams usually does."""
        if (receive := self._receivers.get(self._venue.stream_of(payload))) is not None:
            receive(payload)
            return
        message = self._venue.control(payload)
        if isinstance(message, Unknown):
            what = message.what if message.what in self._unknown or len(self._unknown) < KINDS else "others"
            self._unknown[what] = self._unknown.get(what, 0) + 1
            return
        if (renew := self.session.control(message, self._clock.monotonic())) is not None:
            self.ask_renewal(renew.reason)

    def heard(self) -> None:
        """A ping or a pong."""
        self._alive = True

    def closed(self, reason: str) -> None:
        """The link is gone."""
        if self._timer is not None:
            self._timer.cancel()
        if not self.ended.done():
            self.ended.set_result(reason)

    def ask_renewal(self, reason: str) -> None:
        """Have it replaced."""
        if not self.renewal.done():
            self.renewal.set_result(reason)

    def resubscribe(self, names: Sequence[str]) -> None:
        """Ask for these streams anew."""
        self.session.resubscribe(names)

    def pause(self) -> None:
        """Read nothing more for now."""
        self._paused = True
        if self._link is not None:
            self._link.pause()

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        self._alive = True
        if self._link is not None:
            self._link.resume()

    def close(self, reason: str) -> None:
        """End it politely."""
        if self._link is not None and not self.ended.done():
            self._link.close(1000, reason)

    def _tick(self) -> None:
        if self._link is None or self.ended.done():
            return
        now = self._clock.monotonic()
        if self._alive or self._paused:  # a socket that is not read cannot be heard, and is not dead for it
            self.session.heard(now)
            self._alive = False
            self._named = ()
        elif self._named and now - self.opened_at >= NAMED_S:
            self.session.subscribe(self._named)
            self._named = ()
        for action in self.session.due(now):
            if isinstance(action, Send):
                self._link.send(action.text)
            elif isinstance(action, Ping):
                self._link.ping()
            elif isinstance(action, Renew):
                self.ask_renewal(action.reason)
            elif isinstance(action, GiveUp):
                self.closed(action.reason)
                self._link.abort()
                return
        wait_s = min(TICK_S, max(self.session.next_due - now, 0.02))
        self._timer = self._clock.call_later(wait_s, self._tick)
