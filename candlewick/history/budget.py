"""What may be asked of REST, and when: requests per second, weight per minute, and pauses the exchange imposes.

A pure machine: times are market time in microseconds, answers are seconds to wait. One budget belongs to one address
of the exchange and is shared by everything in the process that asks there.
"""

from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec import Struct

from candlewick.errors import Banned, RateLimited, StoreDamaged
from candlewick.market import DAY, HOUR, MINUTE, SECOND

URGENT, REPAIR, HISTORY = 0, 1, 2
"""Priorities: a close that is missing now; a hole; what can wait."""

SHARES = (1.0, 0.9, 0.8)
"""By priority, the share of the minute's weight and of the burst that it may use up: the rest waits for the urgent."""
OF_LIMIT = 0.9
"""Share of the exchange's own limit that is used at most: what others on this address ask is seen late."""
SLOW_S = 10.0
"""So long after a pause requests go out one by one, `SLOW_RATE` a second: a crowd would bring the next pause."""
SLOW_RATE = 2.0
LONGEST = 3 * DAY
"""The longest ban the exchange speaks of (rest-api.md, "IP Limits"); a longer pause is a wrong clock."""

_LEAST_WAIT_S = 0.001
_EXTRA_MOST_S = 600.0  # the exchange's own Retry-After grows besides
_EXTRA_S = {"limit": 10.0, "ban": 60.0}
_MEMORY = {"limit": HOUR, "ban": DAY}
"""A refusal so long after the last pause is the first one again."""


class _Pause(Struct):
    """A pause as it survives a restart; `strikes` is how often in a row the exchange had to say so."""

    until: int = 0
    reason: str = ""
    kind: Literal["limit", "ban"] = "limit"
    strikes: int = 0


class Budget:
    """Grants requests. Ask, and when granted report the answer: every grant ends in one `answered`."""

    def __init__(
        self, *, requests_per_s: float = 10.0, burst: int = 10, weight_per_minute: int = 1200,
        exchange_weight_per_minute: int | None = None, on_change: Callable[[], object] = lambda: None,
    ) -> None:  # fmt: skip
        """`on_change` is called when `dump` has something new to keep: a pause began."""
        self.on_change = on_change
        self._rate = requests_per_s
        self._burst = float(max(burst, 1))
        self._configured = weight_per_minute
        self.limit = weight_per_minute
        """Weight that may be used in a minute."""
        if exchange_weight_per_minute is not None:
            self.limit_known(exchange_weight_per_minute)
        self._tokens = self._burst
        self._tokens_at = 0
        self._minute = 0
        self._own = 0
        self._stated = 0
        self._in_flight = 0
        self._pause = _Pause()

    def limit_known(self, weight_per_minute: int) -> None:
        """The exchange states its limit: never use more than most of it, whatever was configured."""
        self.limit = max(1, min(self._configured, int(weight_per_minute * OF_LIMIT)))

    def ask(self, weight: int, now: int, priority: int = REPAIR) -> float:
        """0 when a request of `weight` may go out now, which is then charged; else in how many seconds to ask again."""
        self._advance(now)
        if now < self._pause.until:
            return (self._pause.until - now) / SECOND
        share = SHARES[min(priority, len(SHARES) - 1)]
        wait_s = max(self._weight_wait(weight, now, share), self._token_wait(now, share))
        if wait_s > 0:
            return max(wait_s, _LEAST_WAIT_S)
        self._tokens -= 1
        self._own += weight
        self._in_flight += weight
        return 0.0

    def answered(self, weight: int, used_weight: int | None, asked_at: int, now: int) -> None:
        """A granted request of `weight`, asked at `asked_at`, has come to its end.

        `used_weight` is what the answer says is used in this minute, by every process on this address; None when it
        does not say or none came.
        """
        self._advance(now)
        self._in_flight = max(0, self._in_flight - weight)
        # An answer to a question of the last minute may still count that minute.
        if used_weight is not None and asked_at // MINUTE == self._minute:
            self._stated = max(self._stated, used_weight)

    def refused(self, error: RateLimited | Banned, now: int) -> None:
        """The exchange said 429, 418, 403 or 451: nothing goes out for a while, longer each time it has to say so."""
        self._advance(now)
        kind: Literal["limit", "ban"] = "ban" if isinstance(error, Banned) else "limit"
        until = error.until if isinstance(error, Banned) else now + int(max(error.retry_after, 1.0) * SECOND)
        again = now >= self._pause.until  # else it answers what went out before the pause
        forgotten = now - self._pause.until > _MEMORY[self._pause.kind]
        strikes = 1 if forgotten else self._pause.strikes + again
        if again and strikes > 1:
            until += int(min(_EXTRA_MOST_S, _EXTRA_S[kind] * 2.0 ** min(strikes - 2, 16)) * SECOND)
        until = min(until, now + LONGEST)
        if until > self._pause.until:
            self._pause = _Pause(until, str(error), kind, strikes)
            self._tokens = 0.0
            self.on_change()

    def pause(self, now: int) -> RateLimited | Banned | None:
        """What forbids asking now, or None."""
        if now >= self._pause.until:
            return None
        if self._pause.kind == "ban":
            return Banned(self._pause.reason, self._pause.until)
        return RateLimited(self._pause.reason, (self._pause.until - now) / SECOND)

    def tokens(self, now: int) -> float:
        """How many requests might go out at once now, the minute's weight aside."""
        self._advance(now)
        return self._tokens

    def used(self, now: int) -> int:
        """Weight used in this minute as far as known, that of other processes on this address included."""
        self._advance(now)
        return max(self._own, self._stated + self._in_flight)

    def dump(self) -> bytes:
        """The pause and what led to it, for `load` after a restart."""
        return msgspec.json.encode(self._pause)

    def load(self, state: bytes, now: int) -> None:
        """Go on where `dump` was taken: a ban does not end with the process.

        Raises:
            StoreDamaged: this is no such state.
        """
        try:
            pause = msgspec.json.decode(state, type=_Pause)
        except msgspec.DecodeError as error:
            raise StoreDamaged(f"the kept state of the REST budget cannot be read ({error}): delete it") from error
        pause.until = min(pause.until, now + LONGEST)
        self._pause = pause
        self._tokens, self._tokens_at = 0.0, now

    def _advance(self, now: int) -> None:
        """Begin a new minute when it is one (a fixed UTC minute, not a sliding one); refill the bucket."""
        minute = now // MINUTE
        # The clock may be set back; by seconds that is no new minute, by more it is another time altogether.
        if minute > self._minute or minute < self._minute - 1:
            self._minute = minute
            self._own, self._stated = self._in_flight, 0  # what is under way may be counted in either
        if self._pause.until - now > LONGEST:
            self._pause = _Pause()
        elapsed_s = max(0, now - max(self._tokens_at, self._pause.until)) / SECOND
        self._tokens_at = now
        rate, most = (self._rate, self._burst) if not self._is_slow(now) else (min(SLOW_RATE, self._rate), 1.0)
        self._tokens = min(most, self._tokens + elapsed_s * rate)

    def _is_slow(self, now: int) -> bool:
        return self._pause.strikes > 0 and now < self._pause.until + int(SLOW_S * SECOND)

    def _weight_wait(self, weight: int, now: int, share: float) -> float:
        used = max(self._own, self._stated + self._in_flight)
        # A request heavier than all that is allowed has a minute to itself, or could never be asked.
        if used + weight <= int(self.limit * share) or used == 0:
            return 0.0
        return ((self._minute + 1) * MINUTE - now) / SECOND

    def _token_wait(self, now: int, share: float) -> float:
        slow = self._is_slow(now)
        needed = 1.0 if slow else 1.0 + round(self._burst * (1 - share))
        return (needed - self._tokens) / (min(SLOW_RATE, self._rate) if slow else self._rate)
