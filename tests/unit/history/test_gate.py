"""Who may ask first."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from candlewick.clock import ManualClock
from candlewick.errors import Banned, RateLimited
from candlewick.history.budget import HISTORY, REPAIR, URGENT, Budget
from candlewick.history.gate import Gate
from candlewick.market import HOUR, SECOND

START = 1_700_000_040 * SECOND


class Desk:
    """Sends requests through a gate and writes down who got through."""

    def __init__(self, in_flight: int = 4, **limits: int) -> None:
        self.clock = ManualClock(START)
        self.budget = Budget(**{"requests_per_s": 1000, "burst": 1000} | limits)
        self.gate = Gate(self.budget, self.clock, in_flight)
        self.through: list[str] = []
        self.done = asyncio.Event()

    async def ask(self, name: str, priority: int, weight: int = 1, patience_s: float = 100.0) -> None:
        async with self.gate.passing(weight, priority, patience_s):
            self.through.append(name)
            await self.done.wait()

    def send(self, name: str, priority: int, weight: int = 1, patience_s: float = 100.0) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(self.ask(name, priority, weight, patience_s))

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.wait([asyncio.get_running_loop().create_task(_nothing())])


async def _nothing() -> None:
    return


def on_desk(story: Callable[[Desk], Awaitable[None]], **limits: int) -> None:
    async def tell() -> None:
        await story(Desk(**limits))

    asyncio.run(tell())


def test_gate_bounds_what_is_under_way() -> None:
    """Three of four places are for everybody, the last one for the urgent."""

    async def story(desk: Desk) -> None:
        tasks = [desk.send(f"history {n}", HISTORY) for n in range(6)]
        await desk.settle()
        assert (desk.gate.in_flight, desk.gate.waiting) == (3, 3)
        tasks.append(desk.send("urgent", URGENT))
        await desk.settle()
        assert (desk.gate.in_flight, desk.through[-1]) == (4, "urgent")
        desk.done.set()
        await asyncio.gather(*tasks)
        assert (desk.gate.in_flight, desk.gate.waiting, len(desk.through)) == (0, 0, 7)

    on_desk(story)


def test_gate_lets_the_urgent_go_first() -> None:
    """When the next minute begins those who came last but matter most go before those who came first."""

    async def story(desk: Desk) -> None:
        desk.budget.ask(100, START, URGENT)
        tasks = [desk.send(name, priority) for name, priority in (("c", HISTORY), ("b", REPAIR), ("a", URGENT))]
        await desk.settle()
        assert desk.through == []
        desk.budget.answered(100, None, START, START)
        desk.clock.advance(60.0)
        await desk.settle()
        assert desk.through == ["a", "b", "c"]
        desk.done.set()
        await asyncio.gather(*tasks)

    on_desk(story, weight_per_minute=100)


def test_gate_frees_the_place_of_one_who_gave_up() -> None:
    """Cancelling a request, waiting or under way, lets the next one go."""

    async def story(desk: Desk) -> None:
        first, second, third = (desk.send(name, REPAIR) for name in ("first", "second", "third"))
        await desk.settle()
        second.cancel()
        await desk.settle()
        assert desk.gate.waiting == 1
        first.cancel()
        await desk.settle()
        assert desk.through == ["first", "third"]
        third.cancel()
        await desk.settle()
        assert (desk.gate.in_flight, desk.gate.waiting) == (0, 0)

    on_desk(story, in_flight=1)


def test_gate_frees_the_place_of_one_cancelled_as_it_was_let_out() -> None:
    """A grant that nobody took any more is given back."""

    async def story(desk: Desk) -> None:
        task = desk.send("gone", REPAIR)
        await asyncio.wait([asyncio.get_running_loop().create_task(_nothing())])
        task.cancel()
        await desk.settle()
        assert (desk.gate.in_flight, desk.gate.waiting) == (0, 0)
        assert desk.budget.used(START + 60 * SECOND) == 0

    on_desk(story)


def test_gate_survives_many_cancelled_together() -> None:
    """Of waiters that are all cancelled at once none is let out, and those that come later are."""

    async def story(desk: Desk) -> None:
        tasks = [desk.send(f"history {n}", HISTORY) for n in range(8)]
        await desk.settle()
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in results] == [asyncio.CancelledError] * 8
        assert (desk.gate.in_flight, desk.gate.waiting) == (0, 0)
        desk.done.set()
        await desk.send("later", HISTORY)
        assert desk.through[-1] == "later"

    on_desk(story)


def test_gate_sends_away_who_cannot_wait_for_the_end_of_a_ban() -> None:
    """Those in the queue and those who come later learn at once what forbids asking; the patient stay."""

    async def story(desk: Desk) -> None:
        blocker = desk.send("blocker", URGENT)
        await desk.settle()
        waiting = [desk.send("patient", REPAIR, patience_s=7200.0), desk.send("hasty", REPAIR, patience_s=60.0)]
        await desk.settle()
        desk.budget.refused(Banned("418: banned", START + HOUR), START)
        blocker.cancel()
        await desk.settle()
        later = desk.send("later", URGENT, patience_s=60.0)
        await desk.settle()
        assert all(isinstance(task.exception(), Banned) for task in (waiting[1], later))
        assert desk.gate.waiting == 1
        desk.done.set()
        desk.clock.advance(3601.0)
        await waiting[0]
        assert desk.through == ["blocker", "patient"]

    on_desk(story, in_flight=1)


@pytest.mark.parametrize("patience_s", [29.0, 31.0])
def test_gate_compares_the_pause_with_the_patience(patience_s: float) -> None:
    """A pause that is short enough is waited for."""

    async def story(desk: Desk) -> None:
        desk.budget.refused(RateLimited("429", 30.0), START)
        task = desk.send("one", URGENT, patience_s=patience_s)
        desk.done.set()
        await desk.settle()
        assert task.done() == (patience_s < 30.0)
        desk.clock.advance(31.0)
        assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], RateLimited) == (patience_s < 30.0)

    on_desk(story)
