"""An event loop with virtual time: when nothing is ready it is the next timer's moment at once."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Deadlock(RuntimeError):
    """Everybody waits and no timer is set: nothing would ever happen again."""


class _Jump:
    """What the loop believes to be its selector: instead of waiting it moves the time."""

    def __init__(self) -> None:
        self.now = 0.0

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise Deadlock("everybody waits and no timer is set")
        self.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    """Virtual time, one thread, no sockets: the same program always runs the same way.

    Functions given to an executor run at once, inside the call. A program that waits for something outside the loop
    is stopped by `Deadlock`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._selector = _Jump()

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._selector.now

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> "asyncio.Future[T]":  # type: ignore[override]  # noqa: ANN401, ARG002 - asyncio's own signature
        """Run `func` here and now; returns a future that is done."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever awaits the future
            future.set_exception(error)
        return future

    def _process_events(self, event_list: list[Any]) -> None:
        """No sockets, no events."""

    def _write_to_self(self) -> None:
        """Nobody else's thread may wake the loop."""


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a program in virtual time, to its end.

    Raises:
        Deadlock: everybody waits and no timer is set.
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
