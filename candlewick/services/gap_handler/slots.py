"""How many backfills may be under way at once; counted exactly, whatever becomes of them."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Slots:
    """So many places. What was asked for has all of them, what this process does on its own leaves one free."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.active = 0
        """Places that are taken."""
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """Who waits for a place."""
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether nobody else may begin."""
        return self.active >= self.most

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place at once; the caller has looked at `is_full`."""
        self.active += 1
        try:
            yield
        finally:
            self._left()

    @asynccontextmanager
    async def patient_place(self) -> AsyncIterator[None]:
        """A place, in the order of asking, as soon as one is free beside the one that is kept for requests."""
        if self._waiting or not self._has_room():
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._left()  # it was given at the very moment
                elif turn in self._waiting:
                    self._waiting.remove(turn)
                raise
        else:
            self.active += 1
        try:
            yield
        finally:
            self._left()

    def _has_room(self) -> bool:
        return self.active < max(1, self.most - 1)

    def _left(self) -> None:
        """A place is free: whoever waited longest takes it."""
        self.active -= 1
        while self._waiting and self._has_room():
            turn = self._waiting.popleft()
            if not turn.done():
                self.active += 1
                turn.set_result(None)
