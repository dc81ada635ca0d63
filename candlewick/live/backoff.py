"""When to connect again: soon, but never so often that the address is banned."""

from bisect import insort
from random import Random

from candlewick.exchanges.exchange import StreamLimits

BASE_S = 1.0
CAP_S = 8.0
JITTER = 0.2
"""Waits differ by up to this share either way, so that connections lost together do not come back together."""
LONG_LIVED_S = 60.0
"""A connection that lasted longer is replaced at once."""
SHARE_OF_ATTEMPTS = 3
"""At most one in so many of the attempts that the exchange allows: other processes may share the address."""


class Attempts:
    """Connection attempts of all connections to one exchange, counted over its window."""

    def __init__(self, limits: StreamLimits) -> None:
        self._most = max(1, limits.attempts // SHARE_OF_ATTEMPTS)
        self._window_s = limits.attempts_window_s
        self._times: list[float] = []

    def earliest(self, time: float) -> float:
        """The first moment from `time` on at which one more attempt is allowed, attempts already planned included."""
        if len(self._times) < self._most:
            return time
        return max(time, self._times[-self._most] + self._window_s)

    def note(self, time: float) -> None:
        """An attempt is made or planned at `time`."""
        insort(self._times, time)
        del self._times[: -self._most]


class Backoff:
    """The waits of one connection: 1, 2, 4, 8 s and then 8 s without end; none after a connection that lasted."""

    def __init__(
        self, attempts: Attempts, random: Random, *, base_s: float | None = None, cap_s: float = CAP_S,
        jitter: float = JITTER,
    ) -> None:  # fmt: skip
        """`base_s` is the first wait (1 s when None); the cap is never below it."""
        self._attempts, self._random, self._jitter = attempts, random, jitter
        self._base_s = BASE_S if base_s is None else base_s
        self._cap_s = max(cap_s, self._base_s)
        self._failures = 0
        self._wait_s = 0.0
        self._held_until = 0.0

    def next(self, now: float) -> float:
        """Seconds to wait before the next attempt, which is counted; `now` in seconds of a monotonic clock."""
        wait_s = self.peek(now)
        self._attempts.note(now + wait_s)
        self._grow()
        return wait_s

    def attempted(self, now: float) -> None:
        """An attempt was made without asking `next`: a renewal beside a connection that lives."""
        self._attempts.note(now)

    def peek(self, now: float) -> float:
        """What `next` would return now."""
        return self._attempts.earliest(max(now + self._wait_s, self._held_until)) - now

    def lived(self, lifetime_s: float) -> None:
        """The connection ended after so long: if that was long enough, the next attempt is immediate."""
        if lifetime_s > LONG_LIVED_S:
            self._failures = 0
            self._wait_s = 0.0

    def hold(self, until: float) -> None:
        """The exchange asked to be left alone until then."""
        self._held_until = max(self._held_until, until)

    def _grow(self) -> None:
        base_s = min(self._cap_s, self._base_s * 2.0 ** min(self._failures, 32))
        self._wait_s = base_s * self._random.uniform(1 - self._jitter, 1 + self._jitter)
        self._failures += 1
