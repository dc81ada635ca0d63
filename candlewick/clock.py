"""The only reader of time.

Market time is what the exchange's clock says; `SystemClock` follows it (`set_now`), so that a wrong clock on this
machine never decides whether a candle is over. `speed` above 1 is simulated time: an hour of market time passes in
`3600 / speed` seconds, and every wait shrinks alike. Under an event loop with virtual time nothing here changes.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

SECOND = 1_000_000


class Timer(Protocol):
    """A call that was planned and can be called off."""

    def cancel(self) -> None:
        """Call it off."""


class Clock(Protocol):
    """Market time, and waiting in it."""

    def now(self) -> int:
        """Market time in microseconds UTC."""

    def monotonic(self) -> float:
        """Seconds of market time since an arbitrary moment; never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds` of market time."""

    def call_later(self, seconds: float, call: Callable[[], object]) -> Timer:
        """Call `call` after `seconds` of market time."""


def _seconds_since_boot() -> float:
    # CLOCK_BOOTTIME goes on while the machine is suspended: a laptop that slept an hour must know that it did.
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class SystemClock:
    """This machine's clock, corrected by the exchange's when it is known."""

    def __init__(
        self, *, start: int | None = None, speed: float = 1.0, monotonic: Callable[[], float] | None = None
    ) -> None:
        """`start`: market time now, in microseconds (this machine's time when None)."""
        self._monotonic = monotonic or _seconds_since_boot
        self.speed = speed
        self._base = self._monotonic()
        self._passed_s = self._base
        """What `monotonic` showed at `_base`: it goes on from there when the speed changes."""
        self._start = system_now() if start is None else start

    def now(self) -> int:
        """Market time in microseconds UTC."""
        return self._start + int((self._monotonic() - self._base) * self.speed * SECOND)

    def monotonic(self) -> float:
        """Seconds of market time since an arbitrary moment."""
        return self._passed_s + (self._monotonic() - self._base) * self.speed

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds` of market time."""
        await asyncio.sleep(seconds / self.speed)  # noqa: TID251 - here is the Clock

    def call_later(self, seconds: float, call: Callable[[], object]) -> Timer:
        """Call `call` after `seconds` of market time."""
        return asyncio.get_running_loop().call_later(max(0.0, seconds) / self.speed, call)

    def set_now(self, now: int, speed: float | None = None) -> int:
        """Follow the exchange's clock from here on; returns by how many microseconds this one was behind it."""
        behind = now - self.now()
        self._passed_s, self._base, self._start = self.monotonic(), self._monotonic(), now
        if speed is not None:
            self.speed = speed
        return behind


class ManualClock:
    """A clock that stands still until it is moved: for tests of one stage."""

    def __init__(self, now: int = 0) -> None:
        self._now = now
        self._waiting: list[tuple[int, int, Callable[[], object]]] = []
        self._count = 0

    def now(self) -> int:
        """Market time in microseconds UTC."""
        return self._now

    def monotonic(self) -> float:
        """Seconds of market time."""
        return self._now / SECOND

    async def sleep(self, seconds: float) -> None:
        """Wait until somebody moves the clock far enough."""
        done = asyncio.get_running_loop().create_future()
        self.call_later(seconds, lambda: None if done.done() else done.set_result(None))
        await done

    def call_later(self, seconds: float, call: Callable[[], object]) -> Timer:
        """Call `call` once the clock has been moved by `seconds`."""
        entry = (self._now + int(seconds * SECOND), self._count, call)
        self._count += 1
        self._waiting.append(entry)
        return _Entry(self._waiting, entry)

    def advance(self, seconds: float) -> None:
        """Move time, calling what falls due in order."""
        target = self._now + int(seconds * SECOND)
        while due := sorted(entry for entry in self._waiting if entry[0] <= target):
            self._waiting.remove(due[0])
            self._now = max(self._now, due[0][0])
            due[0][2]()
        self._now = target


class _Entry:
    def __init__(
        self, waiting: list[tuple[int, int, Callable[[], object]]], entry: tuple[int, int, Callable[[], object]]
    ) -> None:
        self._waiting, self._entry = waiting, entry

    def cancel(self) -> None:
        if self._entry in self._waiting:
            self._waiting.remove(self._entry)


def system_now() -> int:
    """This machine's own time in microseconds UTC, right or wrong."""
    return time.time_ns() // 1000  # noqa: TID251 - here is the Clock
