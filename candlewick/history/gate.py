"""Lets requests out: the most urgent first, a few at a time, as the budget grants them."""

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from candlewick.clock import SECOND, Clock, Timer
from candlewick.errors import Banned, RateLimited
from candlewick.history.budget import URGENT, Budget


class Turn:
    """A request that waits or is under way; `patience_s` is the longest pause it stays for."""

    def __init__(self, weight: int, priority: int, number: int, patience_s: float) -> None:
        self.weight, self.priority, self.number, self.patience_s = weight, priority, number, patience_s
        self.used_weight: int | None = None
        """What the answer says is used in this minute; to be set by whoever got the answer."""
        self.granted_at = 0
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __lt__(self, other: "Turn") -> bool:
        return (self.priority, self.number) < (other.priority, other.number)


class Gate:
    """The queue before a budget."""

    def __init__(self, budget: Budget, clock: Clock, in_flight: int) -> None:
        """`in_flight`: how many requests may be under way at once; the last place is kept for urgent ones."""
        self.in_flight = 0
        self._budget, self._clock, self._most = budget, clock, in_flight
        self._queue: list[Turn] = []
        self._count = 0
        self._timer: Timer | None = None

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self._queue)

    @asynccontextmanager
    async def passing(self, weight: int, priority: int, patience_s: float) -> AsyncIterator[Turn]:
        """Wait for a turn, and keep the place while the request is under way.

        Raises:
            RateLimited, Banned: the exchange has imposed a pause longer than `patience_s`.
        """
        self._count += 1
        turn = Turn(weight, priority, self._count, patience_s)
        heapq.heappush(self._queue, turn)
        self._release()
        try:
            await turn.granted
            yield turn
        finally:
            if not turn.granted.done() or turn.granted.cancelled():
                self._queue = [one for one in self._queue if one is not turn]
                heapq.heapify(self._queue)
            elif turn.granted.exception() is None:
                self.in_flight -= 1
                self._budget.answered(turn.weight, turn.used_weight, turn.granted_at, self._clock.now())
            self._release()

    def _release(self) -> None:
        """Let out what may go; come back when more may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._clock.now()
        if (pause := self._budget.pause(now)) is not None:
            self._send_away(pause, now)
        while self._queue:
            first = self._queue[0]
            if first.granted.done():  # cancelled with others, and not yet taken out by itself
                heapq.heappop(self._queue)
                continue
            if self.in_flight >= self._most - (first.priority > URGENT and self._most > 1):
                return
            if (wait_s := self._budget.ask(first.weight, now, first.priority)) > 0:
                self._timer = self._clock.call_later(wait_s, self._release)
                return
            heapq.heappop(self._queue)
            self.in_flight += 1
            first.granted_at = now
            first.granted.set_result(None)

    def _send_away(self, pause: RateLimited | Banned, now: int) -> None:
        """Those who would wait too long learn it now."""
        left_s = pause_left_s(pause, now)
        staying = []
        for turn in self._queue:
            if left_s <= turn.patience_s:
                staying.append(turn)
            elif not turn.granted.done():
                turn.granted.set_exception(self._budget.pause(now) or pause)
        self._queue = staying
        heapq.heapify(self._queue)


def pause_left_s(pause: RateLimited | Banned, now: int) -> float:
    """How long a pause still lasts."""
    return (pause.until - now) / SECOND if isinstance(pause, Banned) else pause.retry_after
