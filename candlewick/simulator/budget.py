"""The weight limit of the REST interface, and the bans that follow who ignores it (binance.md 3.5)."""

from typing import NamedTuple

from candlewick.clock import Clock
from candlewick.market import MINUTE, SECOND

_PATIENCE = 5  # requests that may still come while 429 is being answered
_BAN_S = 120.0
_LONGEST_BAN_S = 3 * 86400.0


class Refused(NamedTuple):
    """Why a request is not answered; `wait_s` for the Retry-After header."""

    status: int
    message: str
    wait_s: int


class Budget:
    """Weight used in this UTC minute, by everybody."""

    def __init__(self, clock: Clock, limit: int) -> None:
        self.used = 0
        """Weight used in the minute of the last request."""
        self._clock = clock
        self._limit = limit
        self._minute = 0
        self._limited_until = 0
        self._ignored = 0
        self._banned_until = 0
        self._ban_s = _BAN_S

    def charge(self, weight: int, *, limited_s: float | None = None, banned_s: float | None = None) -> Refused | None:
        """Count a request; why it is refused, or None.

        `limited_s` and `banned_s`: refuse for so long from now on, whatever was used.
        """
        now = self._clock.now()
        if now // MINUTE != self._minute:
            self._minute, self.used = now // MINUTE, 0
        self.used += weight
        if now < self._banned_until:
            return self._banned(now)
        if banned_s is not None:
            self._banned_until = now + round(banned_s * SECOND)
            return self._banned(now)
        if now >= self._limited_until:
            self._ignored = 0
            if limited_s is not None:
                self._limited_until = now + round(limited_s * SECOND)
            elif self.used > self._limit:
                self._limited_until = (now // MINUTE + 1) * MINUTE
        if now >= self._limited_until:
            return None
        self._ignored += 1
        if self._ignored > _PATIENCE:
            self._banned_until = now + round(self._ban_s * SECOND)
            self._ban_s = min(_LONGEST_BAN_S, 2 * self._ban_s)
            self._limited_until = 0
            return self._banned(now)
        message = (
            f"Too much request weight used; current limit is {self._limit} request weight per 1 MINUTE. "
            "Please use WebSocket Streams for live updates to avoid polling the API."
        )
        return Refused(429, message, _whole_seconds(self._limited_until - now))

    def _banned(self, now: int) -> Refused:
        message = (
            f"Way too much request weight used; IP banned until {self._banned_until // 1000}. "
            "Please use WebSocket Streams for live updates to avoid bans."
        )
        return Refused(418, message, _whole_seconds(self._banned_until - now))


def _whole_seconds(time: int) -> int:
    return max(1, -(-time // SECOND))
