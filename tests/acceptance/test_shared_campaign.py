"""The shared database loses nothing and has nothing twice, wherever the wire, the server or a process breaks."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import asyncpg
import pytest

from candlewick.clock import SystemClock
from candlewick.outputs import feed
from candlewick.outputs.output import Batch, Position
from candlewick.stores.lmdb import LmdbStore
from candlewick.stores.memory import MemoryStore
from candlewick.stores.postgres.connection import Limits
from candlewick.stores.store import Source
from tests.acceptance.sharing import CURE, MINUTES, POISON, MortalOutput, Story, audit
from tests.acceptance.wire import Break, Cut, Wire
from tests.conftest import execute
from tests.contracts.output_bench import MANY_S, Faults, Run, run_killed
from tests.servers.postgres import PostgresServer

HOWS = (
    *(Break.BEFORE, Break.HALF, Break.AFTER) * 3, *(Break.LATE,) * 3, Break.ORPHANED, Break.KILLED,
)  # fmt: skip


def _life(store: LmdbStore, url: str, story: Story, steps: int, end: Callable[[], None] | None = None) -> Run | None:
    """One process that writes the store and feeds the database: killed by `end` in the midst of it, or level at its end."""
    faults = Faults()

    async def whole(run: Run) -> None:
        await story.go_on(run, steps)
        if end is not None:
            faults.dead = True
            end()
        assert await run.box.drain(10 * MANY_S)

    return run_killed(store, MortalOutput(url, clock=SystemClock()), faults, whole)


def _break_everywhere(folder: Path, url: str, server: PostgresServer, seed: int, cuts: int) -> Counter[Break]:
    """Tell a story over a wire that is cut so many times, over several lives; the database ends up with the store."""
    draw, story, left = Random(seed), Story(seed), cuts

    def kill() -> None:
        server.kill()
        server.start()

    def next_cut() -> Cut | None:
        nonlocal left
        if not left:
            return None
        left -= 1
        return Cut(draw.randint(1, draw.choice((8, 150))), draw.choice(HOWS), draw.uniform(0.0, 0.05))

    path, poisoned = folder / "store", False
    store = LmdbStore.open(path, write=True)
    story.history(store, 400)
    with Wire(server.port, kill=kill) as wire:
        wire.arm(next_cut)
        while left:
            end = draw.choice((None, wire.sever))
            _life(store, wire.url(url), story, draw.randint(5, 40), end)
            store.close()
            store = LmdbStore.open(path, write=True)
            if draw.random() < 0.4:
                _insist(url, CURE if poisoned else POISON)
                poisoned = not poisoned
        wire.disarm()
        _insist(url, CURE)
        run = _life(store, wire.url(url), story, 5)
        assert run is not None
        status = run.box.status()
        assert (status.behind_rows, status.connected, status.error) == (0, True, None)
        assert store.states("refused:") == {}
        wrong = audit(store, url).wrong
        assert wrong == [], f"seed {seed}, cut at {wire.broken}"
        broken = Counter(how for _, how in wire.broken)
    store.close()
    return broken


def _insist(url: str, statement: str) -> None:
    """Execute a statement at a server that may just be starting again."""
    until = time.monotonic() + 30.0
    while True:
        try:
            execute(url, statement)
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.02)
        else:
            return


@pytest.fixture
def small_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loads of a few rows: a snapshot and what is caught up with are many transactions."""
    monkeypatch.setattr(feed, "MOST_ROWS", 60)
    monkeypatch.setattr(feed, "CHANGES_AT_ONCE", 16)


@pytest.mark.usefixtures("small_loads")
def test_wire_that_breaks_anywhere_loses_nothing(
    tmp_path: Path, schema_url: str, postgres_server: PostgresServer
) -> None:
    """Ten cuts between any two statements and answers of a random story: store and database are equal, nothing is twice."""
    broken = _break_everywhere(tmp_path, schema_url, postgres_server, seed=1, cuts=10)
    assert broken.total() == 10


@pytest.mark.slow
@pytest.mark.usefixtures("small_loads")
@pytest.mark.parametrize("seed", range(2, 18))
def test_two_hundred_cuts_lose_nothing(
    tmp_path: Path, schema_url: str, postgres_server: PostgresServer, seed: int
) -> None:
    """The same sixteen times, with fifteen cuts each."""
    broken = _break_everywhere(tmp_path, schema_url, postgres_server, seed=seed, cuts=15)
    assert broken.total() == 15


def test_stop_is_a_stop_while_the_wire_breaks(schema_url: str, postgres_server: PostgresServer) -> None:
    """A write that is given up while its connection is lost is given up, and no failure that is worth another attempt."""
    store = MemoryStore()
    rows = Story(1).candles(store, MINUTES, [1], Source.LIVE)

    async def stop_and_break(wire: Wire, pieces: int) -> None:
        output = MortalOutput(wire.url(schema_url), clock=SystemClock(), limits=Limits(wait_s=0.5))
        await output.open(store.identity())
        other = await asyncpg.connect(schema_url)
        async with other.transaction():
            await other.execute("LOCK TABLE candles")
            batch = Batch(rows, {0: MINUTES}, {}, {}, Position(1), fresh=False)
            writing = asyncio.ensure_future(output.write(batch))
            while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                await asyncio.sleep(0.01)  # noqa: TID251 - until it waits there
            cuts = iter([Cut(pieces, Break.BEFORE)])
            wire.arm(lambda: next(cuts, None))
            writing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await writing
        wire.disarm()
        await other.close()
        await output.close()

    with Wire(postgres_server.port, kill=postgres_server.kill) as wire:
        for pieces in range(1, 7):
            asyncio.run(stop_and_break(wire, pieces))
        assert len(wire.broken) >= 3
