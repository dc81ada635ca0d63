"""What follows the store of a run hears of everything in order, and has the last word at the stop."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from candlewick.clock import Clock
from candlewick.events import Event, FeedUp
from candlewick.services.following import OnStore, Tell
from candlewick.services.status import OutputStatus
from candlewick.services.supervisor import STOP_S
from candlewick.stores.memory import MemoryStore
from candlewick.stores.store import Rows, Store
from tests.unit.services.test_supervisor import BTC, Theatre, play


class Shadow:
    """Follows a store and writes down what it hears."""

    def __init__(self, store: Store, clock: Clock, on_store: OnStore, tell: Tell) -> None:
        self.store, self.on_store = store, on_store
        self.events: list[Event] = []
        self.sequences: list[int] = []
        self.rows: list[int] = []
        self.finished: list[tuple[float, int]] = []
        self.running = False
        self.failing: Callable[[], None] = lambda: None
        store.log_changes()

    def hear(self, event: Event) -> None:
        self.events.append(event)

    def stored(self, rows: "Rows | None", sequence: int) -> None:
        self.sequences.append(sequence)
        self.rows += [] if rows is None else rows["open_time"].tolist()

    async def run(self) -> None:
        self.running = True
        try:
            while True:
                await asyncio.sleep(1)  # noqa: TID251 - virtual time, without a clock of its own
                self.failing()
        finally:
            self.running = False

    async def finish(self, within_s: float) -> None:
        assert self.running
        held = await self.on_store(self.store.read, BTC)
        self.finished.append((within_s, len(held)))

    def status(self) -> tuple[OutputStatus, ...]:
        return (OutputStatus(name="shadow", connected=True),)


def _shadowed(story: Callable[[Theatre, Shadow], Any]) -> Shadow:
    shadows: list[Shadow] = []

    def follow(store: Store, clock: Clock, on_store: OnStore, tell: Tell) -> Shadow:
        shadows.append(Shadow(store, clock, on_store, tell))
        return shadows[0]

    async def told(theatre: Theatre) -> None:
        await story(theatre, shadows[0])

    play(told, follow=follow)
    return shadows[0]


def test_follower_hears_of_every_commit_and_event() -> None:
    """Every row that was new is handed over, under sequences that only grow, and so is what happens."""

    async def story(theatre: Theatre, shadow: Shadow) -> None:
        await theatre.pass_s(200)
        assert theatre.run.status().outputs == (OutputStatus(name="shadow", connected=True),)

    shadow = _shadowed(story)
    assert shadow.sequences == sorted(set(shadow.sequences))
    assert any(isinstance(event, FeedUp) for event in shadow.events)
    assert isinstance(shadow.store, MemoryStore)
    assert sorted(shadow.rows) == shadow.store.read(BTC)["open_time"].tolist()


def test_follower_finishes_after_the_last_commit() -> None:
    """At the stop the follower still runs when everything received is in the store, is told how long it has, and ends."""

    async def story(theatre: Theatre, shadow: Shadow) -> None:
        await theatre.pass_s(100)
        theatre.run.stop_by = asyncio.get_running_loop().time() + 3
        await theatre.stop()
        assert not shadow.running

    shadow = _shadowed(story)
    ((within_s, held),) = shadow.finished
    assert held == len(shadow.store.read(BTC)) > 0
    assert 0 < within_s <= 3 < STOP_S


def test_follower_that_fails_ends_the_run() -> None:
    """A defect in what follows is not passed over: the run ends with it."""

    def fail() -> None:
        raise ZeroDivisionError

    async def story(theatre: Theatre, shadow: Shadow) -> None:
        await theatre.pass_s(100)
        shadow.failing = fail
        with pytest.raises(ExceptionGroup) as failure:
            await theatre.pass_s(10)
        assert isinstance(failure.value.exceptions[0], ZeroDivisionError)

    assert _shadowed(story).finished == []


def test_run_without_a_database_loads_no_driver() -> None:
    """What a plain run is made of has neither the database's driver nor the outputs in it."""
    words = "import sys, candlewick.cli.run, candlewick.services.supervisor, candlewick.web.server; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True).stdout.split()
    assert "candlewick.services.supervisor" in loaded
    assert {"asyncpg", "candlewick.outputs.outbox", "candlewick.stores.postgres", "polars"}.isdisjoint(loaded)
