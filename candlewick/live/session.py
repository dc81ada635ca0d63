"""What to say on one connection, when, and when it must be given up: a machine without a socket.

It is told what happened and what time it is (seconds of a monotonic clock), and answers what to do. Control messages
and own pings share the exchange's allowance of inbound messages, so they leave evenly spaced.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from candlewick.exchanges.exchange import Acknowledged, Control, ControlError, ShutdownNotice, StreamLimits, Venue

QUIET_S = 10.0
"""Nothing heard for so long: ask with a ping of our own (a quiet USD-M socket says nothing for 3 minutes)."""
ANSWER_S = 8.0
"""No answer to it for so long: the connection is half-open."""
RENEW_BEFORE_S = 3600.0
"""Renew this long before the exchange would cut the connection."""


class Send(NamedTuple):
    """Send this text."""

    text: bytes


class Ping(NamedTuple):
    """Send a ping."""


class GiveUp(NamedTuple):
    """The other side is not there any more: drop the connection without a word."""

    reason: str


class Renew(NamedTuple):
    """Open another connection for the same streams, then end this one."""

    reason: str


Action = Send | Ping | GiveUp | Renew


class Session:
    """The protocol state of one open connection."""

    def __init__(self, venue: Venue, opened_at: float, lifetime_s: float | None = None) -> None:
        """`lifetime_s`: how long to keep it before renewing; an hour less than the exchange allows when None."""
        self._venue = venue
        self._limits: StreamLimits = venue.stream_limits
        self._outbox: deque[bytes] = deque()
        self._message_id = 0
        self._next_send_at = opened_at
        self.heard_at = opened_at
        self._asked_at: float | None = None
        self._renew_at = opened_at + (lifetime_s or self._limits.lifetime_s - RENEW_BEFORE_S)
        self._renewing = False
        self.unanswered: dict[int, float] = {}
        """Control messages sent and not yet acknowledged, with when they were sent."""
        self.errors = 0

    def subscribe(self, names: Iterable[str]) -> None:
        """Ask for streams, in as many messages as it takes, as fast as the exchange allows."""
        self._queue(tuple(names), self._venue.subscribe)

    def resubscribe(self, names: Sequence[str]) -> None:
        """Ask for streams anew that were asked for before."""
        self._queue(names, self._venue.unsubscribe)
        self._queue(names, self._venue.subscribe)

    def _queue(self, names: Sequence[str], message: Callable[[Sequence[str], int], bytes]) -> None:
        size = self._limits.names_per_message
        for start in range(0, len(names), size):
            self._message_id += 1
            self._outbox.append(message(names[start : start + size], self._message_id))

    @property
    def settled(self) -> bool:
        """Whether everything was asked for and answered."""
        return not self._outbox and not self.unanswered

    def heard(self, now: float) -> None:
        """Something came: a frame, a ping or a pong."""
        self.heard_at = now
        self._asked_at = None

    def control(self, message: Control, now: float) -> Renew | None:
        """The exchange said something that is no data."""
        if isinstance(message, Acknowledged):
            self.unanswered.pop(message.id, None)
        elif isinstance(message, ControlError):
            self.errors += 1
            if message.id is not None:
                self.unanswered.pop(message.id, None)
        elif isinstance(message, ShutdownNotice) and not self._renewing:
            self._renewing = True
            return Renew("the exchange announced a shutdown")
        self.heard_at = now
        return None

    def due(self, now: float) -> list[Action]:
        """What is to be done by now."""
        actions: list[Action] = []
        quiet_s = now - self.heard_at
        if self._asked_at is not None and now - self._asked_at >= ANSWER_S:
            return [GiveUp(f"half-open: nothing heard for {quiet_s:.0f} s, own ping unanswered")]
        if now >= self._renew_at and not self._renewing:
            self._renewing = True
            actions.append(Renew("it nears the exchange's limit of connection age"))
        if now >= self._next_send_at:
            if self._outbox:
                self.unanswered[self._message_id - len(self._outbox) + 1] = now
                actions.append(Send(self._outbox.popleft()))
                self._next_send_at = now + 1 / self._limits.messages_per_second
            elif quiet_s >= QUIET_S and self._asked_at is None:
                self._asked_at = now
                actions.append(Ping())
                self._next_send_at = now + 1 / self._limits.messages_per_second
        return actions

    @property
    def next_due(self) -> float:
        """When `due` should be asked next, at the latest."""
        when = min(self.heard_at + QUIET_S, self._renew_at if not self._renewing else float("inf"))
        if self._asked_at is not None:
            when = self._asked_at + ANSWER_S
        return min(when, self._next_send_at) if self._outbox else max(when, self._next_send_at)
