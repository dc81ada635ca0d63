"""An event loop with virtual time: when nothing is ready it is the next timer's moment at once."""

import asyncio
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from heapq import heappop, heappush
from typing import Any, TypeVar

T = TypeVar("T")


class DeadlockError(RuntimeError):
    """Everybody waits and no timer is set: nothing would ever happen again."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Virtual time, one thread, no sockets: the same program always runs the same way.

    Functions given to an executor run at once, inside the call. A program that waits for something outside the loop
    is stopped by `DeadlockError`.
    """

    _ready: deque[events.Handle]
    _stopping: bool

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._planned: list[tuple[float, int, events.TimerHandle]] = []
        self._count = 0

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def call_at(  # type: ignore[override]  # the stubs count the arguments with a type variable tuple
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,  # noqa: ANN401 - asyncio's own signature
        context: Context | None = None,
    ) -> events.TimerHandle:
        """Plan a call; calls of one moment are made in the order they were planned."""
        handle = events.TimerHandle(when, callback, args, self, context)
        self._count += 1
        heappush(self._planned, (when, self._count, handle))
        return handle

    def run_in_executor(self, _executor: Any, func: Callable[..., T], *args: Any) -> "asyncio.Future[T]":  # type: ignore[override]  # noqa: ANN401 - asyncio's own signature
        """Run `func` here and now; returns a future that is done."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever awaits the future
            future.set_exception(error)
        return future

    def _run_once(self) -> None:
        """Make the calls that are ready; where there are none, move to the next timer's moment first."""
        ready, planned = self._ready, self._planned
        if not ready and not self._stopping:
            while planned and planned[0][2].cancelled():
                heappop(planned)
            if not planned:
                raise DeadlockError("everybody waits and no timer is set")
            self._now = max(self._now, planned[0][0])
        while planned and planned[0][0] <= self._now:
            ready.append(heappop(planned)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()  # noqa: SLF001 - this is what asyncio's own loop does

    def _timer_handle_cancelled(self, handle: events.TimerHandle) -> None:
        """A cancelled timer is dropped when its moment comes."""

    def _write_to_self(self) -> None:
        """Nobody else's thread may wake the loop."""


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a program in virtual time, to its end.

    Raises:
        DeadlockError: everybody waits and no timer is set.
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
