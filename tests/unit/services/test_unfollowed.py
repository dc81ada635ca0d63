"""The log of changes of a store whose outputs are not configured any more."""

import asyncio
from collections.abc import Callable

from candlewick.clock import SystemClock
from candlewick.errors import StoreFull
from candlewick.market import DAY, HOUR
from candlewick.outputs import standing
from candlewick.outputs.output import Position
from candlewick.outputs.standing import FORGOTTEN_AFTER, Standing
from candlewick.services.unfollowed import EVERY_S, keep_short
from candlewick.simulator.inprocess import run_virtual
from candlewick.stores.memory import MemoryStore
from candlewick.stores.store import Source
from tests.contracts.output_bench import MINUTES, START, candles
from tests.unit.services.test_supervisor import Theatre, play


def _left_behind(ran_at: int) -> MemoryStore:
    """A store whose output was last run then, and has the first of three writes."""
    store = MemoryStore()
    store.log_changes()
    for slot in range(3):
        store.write(candles(store, MINUTES, [slot], Source.REST))
    standing.keep(store, "old", Standing(Position(1), ran_at, ran_at))
    return store


def test_run_without_outputs_forgets_the_log() -> None:
    """At its start a run that feeds nothing drops the log that an output, long gone, has left."""

    async def story(theatre: Theatre) -> None:
        await theatre.pass_s(1)

    store = _left_behind(0)
    play(story, store=store)
    assert store.change_range().first > 3


def test_log_is_kept_while_an_output_may_come_back() -> None:
    """What an output that ran lately lacks stays for a week, looked at every day; then all of it goes."""
    store = _left_behind(START - HOUR)
    seen: list[int] = []
    failing = [False]

    async def on_store(call: Callable[..., object], *args: object) -> object:
        if failing[0]:
            raise StoreFull("no space")
        return call(*args)

    async def days() -> None:
        clock = SystemClock(start=START, monotonic=asyncio.get_running_loop().time)
        keeping = asyncio.ensure_future(keep_short(store, clock, on_store))
        await clock.sleep(3600)
        for day in range(9):
            await clock.sleep(EVERY_S)
            failing[0] = day == 3  # it is tried again a day later
            seen.append(store.change_range().first)
        keeping.cancel()

    run_virtual(days())
    assert FORGOTTEN_AFTER == 7 * DAY
    assert seen == [2] * 6 + [4] * 3
    assert store.states("output:") == {}
