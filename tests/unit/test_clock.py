"""Market time: how fast it passes, how it follows the exchange, and how it stands still for tests."""

import asyncio

import pytest

from candlewick.clock import ManualClock, SystemClock, system_now
from candlewick.market import SECOND, parse_time
from candlewick.simulator.inprocess import run_virtual

START = parse_time("2026-11-02T09:17:23")


class Boot:
    """A monotonic clock of a machine, moved by hand."""

    def __init__(self) -> None:
        self.seconds = 5000.0

    def __call__(self) -> float:
        return self.seconds


def test_system_clock_starts_with_the_time_of_this_machine() -> None:
    """Until the exchange has said what time it is, this machine's time counts."""
    before = system_now()
    now = SystemClock().now()
    assert before <= now <= system_now()


@pytest.mark.parametrize("speed", [1.0, 60.0, 0.5])
def test_system_clock_passes_at_its_speed(speed: float) -> None:
    """A real second is `speed` seconds of market time, on both faces of the clock."""
    boot = Boot()
    clock = SystemClock(start=START, speed=speed, monotonic=boot)
    monotonic = clock.monotonic()
    boot.seconds += 10
    assert clock.now() == START + int(10 * speed * SECOND)
    assert clock.monotonic() - monotonic == 10 * speed


def test_system_clock_follows_the_exchange() -> None:
    """`set_now` moves market time either way, says by how much it was behind, and leaves the monotonic face alone."""
    boot = Boot()
    clock = SystemClock(start=START, monotonic=boot)
    boot.seconds += 10
    monotonic = clock.monotonic()
    assert clock.set_now(START + 12 * SECOND) == 2 * SECOND
    assert clock.set_now(START + 11 * SECOND) == -SECOND
    assert clock.now() == START + 11 * SECOND
    assert clock.monotonic() == monotonic
    boot.seconds += 1
    assert clock.now() == START + 12 * SECOND


def test_system_clock_never_goes_back_when_its_speed_changes() -> None:
    """Whoever measures with `monotonic` over a change of speed measures no negative time and no leap of hours."""
    boot = Boot()
    clock = SystemClock(start=START, speed=1.0, monotonic=boot)
    for speed in (60.0, 0.5, 1.0):
        before = clock.monotonic()
        clock.set_now(START, speed)
        assert clock.monotonic() == pytest.approx(before)
        boot.seconds += 2
        assert clock.monotonic() - before == pytest.approx(2 * speed)
        assert clock.now() == START + int(2 * speed * SECOND)


def test_system_clock_waits_in_market_time() -> None:
    """At sixtyfold speed a minute of market time is a second of the machine, for sleeping and for planned calls."""

    async def story() -> tuple[float, float, list[float]]:
        loop = asyncio.get_running_loop()
        clock = SystemClock(start=START, speed=60.0, monotonic=loop.time)
        called: list[float] = []
        clock.call_later(90.0, lambda: called.append(loop.time()))
        clock.call_later(-5.0, lambda: called.append(loop.time()))
        clock.call_later(30.0, lambda: called.append(-1.0)).cancel()
        await clock.sleep(120.0)
        return loop.time(), (clock.now() - START) / SECOND, called

    assert run_virtual(story()) == (2.0, 120.0, [0.0, 1.5])


def test_manual_clock_calls_in_order_of_their_moments() -> None:
    """Moving time makes the planned calls in order, each at its own moment; equal moments in the order of planning."""
    clock = ManualClock(START)
    called: list[tuple[str, float]] = []

    def note(name: str) -> None:
        called.append((name, (clock.now() - START) / SECOND))

    clock.call_later(3, lambda: note("late"))
    clock.call_later(1, lambda: clock.call_later(1, lambda: note("planned meanwhile")))
    clock.call_later(2, lambda: note("second"))
    gone = clock.call_later(2, lambda: note("never"))
    clock.call_later(9, lambda: note("too far"))
    gone.cancel()
    gone.cancel()
    clock.advance(5)
    assert called == [("second", 2.0), ("planned meanwhile", 2.0), ("late", 3.0)]
    assert (clock.now(), clock.monotonic()) == (START + 5 * SECOND, START / SECOND + 5)


def test_manual_clock_wakes_sleepers() -> None:
    """Who sleeps on a clock that stands still wakes when it has been moved far enough."""

    async def story() -> list[bool]:
        clock = ManualClock()
        sleeper = asyncio.ensure_future(clock.sleep(10))
        await asyncio.sleep(0)  # noqa: TID251 - one turn of the loop
        states = []
        for seconds in (9.0, 1.0):
            clock.advance(seconds)
            await asyncio.sleep(0)  # noqa: TID251 - one turn of the loop
            states.append(sleeper.done())
        given_up = asyncio.ensure_future(clock.sleep(1))
        await asyncio.sleep(0)  # noqa: TID251 - one turn of the loop
        given_up.cancel()
        await asyncio.wait([given_up])
        clock.advance(2)
        return states

    assert asyncio.run(story()) == [False, True]
