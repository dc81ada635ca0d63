"""What every output does, together with the outbox that feeds it: it comes to hold what the store holds, whatever happens."""

import asyncio
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from candlewick.clock import SystemClock
from candlewick.events import OutputBack, OutputRefused, OutputSnapshot, OutputTrouble
from candlewick.market import Series
from candlewick.outputs import feed, outbox
from candlewick.outputs.output import Output
from candlewick.stores.lmdb import LmdbStore
from candlewick.stores.memory import MemoryStore
from candlewick.stores.store import Source, Store
from tests.contracts.output_bench import (
    ALL,
    FUTURES,
    HOURS,
    MINUTES,
    Bench,
    Contents,
    Faults,
    MemoryBench,
    Run,
    candles,
    held_by,
    outage,
    poison,
    run_killed,
)
from tests.contracts.postgres_bench import PostgresBench

CERTIFICATE = b'{"format": 1}'


@pytest.fixture(params=["memory", "postgresql"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return MemoryBench() if request.param == "memory" else PostgresBench(request.getfixturevalue("schema_url"))


@pytest.fixture(params=["memory", "lmdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = MemoryStore() if request.param == "memory" else LmdbStore.open(tmp_path / "store", write=True)
    yield opened
    opened.close()


@pytest.fixture
def small_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loads of a few rows: all that is split otherwise at 50,000 is split at 40."""
    monkeypatch.setattr(feed, "MOST_ROWS", 40)
    monkeypatch.setattr(feed, "PLAN_ROWS", 100)
    monkeypatch.setattr(feed, "CHANGES_AT_ONCE", 8)


def fill(store: Store) -> None:
    store.write(candles(store, HOURS, range(30), Source.ARCHIVE))
    store.write(candles(store, MINUTES, [*range(100), *range(300, 350)], Source.REST))
    store.write(candles(store, FUTURES, range(7)))
    store.set_absences(MINUTES, [outage(MINUTES, 120), outage(MINUTES, 200)])
    store.set_states({f"certificate:{MINUTES}": CERTIFICATE, "listing:spot:BTCUSDT": b"{}", "private": b"1"})


def same(bench: Bench, *stores: Store) -> bool:
    return bench.contents() == held_by(*stores, states=bench.states)


def follow(store: Store, bench: Bench, story: Callable[[Run], Any], faults: Faults | None = None) -> Run:
    """Run an outbox while the story is told, until the output is level."""

    async def whole(run: Run) -> None:
        await story(run)
        await run.level()

    run = run_killed(store, bench.make(), faults or Faults(), whole)
    assert run is not None
    return run


async def nothing(_: Run) -> None:
    """Nothing happens."""


@pytest.mark.usefixtures("small_loads")
def test_output_gets_what_is_held_at_first(store: Store, bench: Bench) -> None:
    """The first contact brings everything over: rows, reasons, states; in batches, and says so once."""
    fill(store)
    run = follow(store, bench, nothing)
    assert same(bench, store)
    assert [event.rows for event in run.told(OutputSnapshot)] == [187]
    assert len(run.output.batches) > 4
    assert max(len(batch.rows) for batch in run.output.batches) <= 80
    assert all(batch.fresh for batch in run.output.batches)
    again = follow(store, bench, nothing)
    assert not again.told(OutputSnapshot)
    assert again.output.batches == []


def test_output_of_an_empty_store_is_level(store: Store, bench: Bench) -> None:
    """Nothing to bring over is brought over, and what comes later follows."""
    follow(store, bench, nothing)
    assert same(bench, store)

    async def first_candle(run: Run) -> None:
        await run.write(candles(store, MINUTES, [0]))

    run = follow(store, bench, first_candle)
    assert same(bench, store)
    assert not run.told(OutputSnapshot)


def test_live_candles_go_straight_to_the_output(store: Store, bench: Bench) -> None:
    """Rows that follow on what the output has are its rows as they were stored, one batch a write when it is idle."""
    fill(store)

    async def live(run: Run) -> None:
        await run.level()
        await run.write(candles(store, MINUTES, [399]))  # the first one since the store was opened follows on nothing
        await run.level()
        before = len(run.output.batches)
        read, store.read = store.read, None
        for slot in range(400, 420):
            await run.write(candles(store, MINUTES, [slot]))
            await run.level()
        store.read = read
        assert len(run.output.batches) == before + 20
        assert not run.output.batches[-1].fresh

    run = follow(store, bench, live)
    assert same(bench, store)
    assert run.box.status().latency.snapshot().count >= 20


def test_rows_are_gathered_while_the_output_is_busy(store: Store, bench: Bench) -> None:
    """Writes that come while a batch is on its way go together, by series and time."""

    async def burst(run: Run) -> None:
        await run.level()
        before = len(run.output.batches)
        for slot in range(100):
            rows = candles(store, ALL[slot % 3], [300 - slot])
            run.box.stored(rows, store.write(rows).sequence)
        await run.level()
        assert len(run.output.batches) - before <= 3

    follow(store, bench, burst)
    assert same(bench, store)


def test_corrections_follow(store: Store, bench: Bench) -> None:
    """Replaced values, raised sources, refused live rows: the output ends with what the store has."""
    fill(store)

    async def correct(run: Run) -> None:
        await run.level()
        await run.write(candles(store, MINUTES, range(10), Source.ARCHIVE))
        await run.write(candles(store, MINUTES, range(5, 15), Source.REST, close=55.5))
        await run.write(candles(store, MINUTES, range(20), Source.LIVE, close=11.0))
        await run.write(candles(store, FUTURES, [3, 900, 20_000], Source.REST, close=7.75))
        await run.write(candles(store, FUTURES, [901, 902], Source.LIVE, close=7.75))
        await run.write(candles(store, FUTURES, [901], Source.LIVE, close=9.25))

    follow(store, bench, correct)
    assert same(bench, store)


def test_reasons_and_states_follow(store: Store, bench: Bench) -> None:
    """They are replaced and forgotten in the output as in the store, though nobody tells of them."""
    fill(store)

    async def change(run: Run) -> None:
        await run.level()
        await run.on_store(store.set_absences, MINUTES, [outage(MINUTES, 121)])
        await run.on_store(store.set_absences, HOURS, [outage(HOURS, 40)])
        await run.on_store(store.set_states, {f"certificate:{MINUTES}": None, f"certificate:{HOURS}": CERTIFICATE})
        await run.level()
        assert await asyncio.to_thread(same, bench, store)
        await run.on_store(store.set_absences, MINUTES, [])

    follow(store, bench, change)
    assert same(bench, store)


@pytest.mark.usefixtures("small_loads")
def test_large_write_is_brought_over_in_parts(store: Store, bench: Bench) -> None:
    """One write of many loads fills none beyond its bounds, and moves the position only with its last part."""

    async def large(run: Run) -> None:
        await run.level()
        before = len(run.output.batches)
        await run.on_store(store.write, candles(store, MINUTES, range(500), Source.ARCHIVE))
        await run.level()
        batches = run.output.batches[before:]
        assert len(batches) >= 500 // 80
        assert max(len(batch.rows) for batch in batches) <= 80
        assert len({batch.position for batch in batches}) == 2

    follow(store, bench, large)
    assert same(bench, store)


def test_same_batch_again_changes_nothing(store: Store, bench: Bench) -> None:
    """An output takes a batch twice, whole, and is where it was."""
    fill(store)
    batches = follow(store, bench, nothing).output.batches

    async def again() -> None:
        output = bench.make()
        await output.open(store.identity())
        for batch in batches:
            assert await output.write(batch) == []
        assert await output.open(store.identity()) == batches[-1].position
        await output.close()
        await output.close()

    before = bench.contents()
    asyncio.run(again())
    assert bench.contents() == before


async def busy(run: Run) -> None:
    """A little of everything."""
    store = run.store
    await run.write(candles(store, MINUTES, [400]))
    await run.write(candles(store, MINUTES, [401, 402]))
    await run.write(poison(candles(store, MINUTES, [403])))
    await run.on_store(store.set_absences, MINUTES, [outage(MINUTES, 121)])
    await run.write(candles(store, HOURS, [5, 6], Source.ARCHIVE, close=99.5))
    await run.level()
    await run.on_store(store.set_state, f"certificate:{MINUTES}", None)
    await run.write(candles(store, MINUTES, [404]))


def without_poison(store: Store, bench: Bench) -> Contents:
    expected = held_by(store, states=bench.states)
    slot = candles(store, MINUTES, [403])["open_time"][0]
    expected.rows.pop((str(MINUTES), int(slot)), None)
    return expected


@pytest.mark.usefixtures("small_loads")
def test_kill_at_any_step_loses_nothing(bench: Bench) -> None:
    """The process is killed in every step of a run, one after the other, and each time the next one has it all."""
    kill_at, finished = 0, False
    bench.save()
    while not finished:
        kill_at += 1
        bench.restore()
        store = MemoryStore()
        fill(store)
        run = run_killed(store, bench.make(), Faults(kill_at), _busy_to_the_end)
        finished = run is not None
        follow(store, bench, nothing)
        assert bench.contents() == without_poison(store, bench), f"killed in step {kill_at}"
        poisoned = int(candles(store, MINUTES, [403])["open_time"][0])
        refused = any(key.endswith(str(poisoned)) for key in store.states("refused:"))
        assert refused == bool(len(store.read(MINUTES, poisoned, poisoned + 1))), f"killed in step {kill_at}"
    assert kill_at > 25


async def _busy_to_the_end(run: Run) -> None:
    await busy(run)
    await run.level()


@pytest.mark.usefixtures("small_loads")
@pytest.mark.parametrize("often", [0.1, 0.5])
def test_failures_at_any_step_lose_nothing(store: Store, bench: Bench, often: float) -> None:
    """The output fails before or after what it does, again and again: it is tried again, and says so."""
    rng = random.Random(5)
    fill(store)
    run = follow(store, bench, busy, Faults(fails=lambda _: rng.random() < often))
    assert bench.contents() == without_poison(store, bench)
    assert run.told(OutputTrouble)
    assert run.box.status().retries == len(run.told(OutputTrouble))
    assert run.box.status().connected


@pytest.mark.usefixtures("small_loads")
def test_output_is_level_only_at_the_end_of_the_log(
    store: Store, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage of many plans it is behind until it has the last row, with nobody who wakes it up in between."""
    monkeypatch.setattr(outbox, "LOOK_EVERY_S", 1e9)
    follow(store, bench, nothing)
    for slot in range(250):
        store.write(np.concatenate([candles(store, one, [slot]) for one in (MINUTES, HOURS)]))

    async def catch_up(run: Run) -> None:
        for _ in range(3_000):
            await run.box._clock.sleep(1)
            if run.box.status().written >= 500:
                break
        assert run.box.status().written == 500

    follow(store, bench, catch_up)
    assert same(bench, store)


def test_output_that_is_down_holds_nothing_up(store: Store, bench: Bench) -> None:
    """While it is down the store is written, the rows wait there, and all come once it is back."""
    down = False
    faults = Faults(fails=lambda _: down)

    async def outage_of_the_output(run: Run) -> None:
        nonlocal down
        await run.level()
        down = True
        for slot in range(400, 600):
            await run.write(candles(store, MINUTES, [slot]))
        assert not await run.box.drain(1.0)
        status = run.box.status()
        assert (status.connected, status.behind_rows) == (False, 200)
        assert status.error
        assert status.lag_s > 0
        down = False
        await run.level()
        status = run.box.status()
        assert (status.connected, status.error, status.behind_rows, status.lag_s) == (True, None, 0, 0.0)

    fill(store)
    run = follow(store, bench, outage_of_the_output, faults)
    assert same(bench, store)
    assert len(run.told(OutputBack)) == 1
    assert [event.retry_s for event in run.told(OutputTrouble)][:3] == [0.1, 0.2, 0.4]


def test_output_that_was_never_reached_is_waited_for(store: Store, bench: Bench) -> None:
    """What is stored before the first contact is counted and timed as what waits."""
    down = True

    async def first_contact(run: Run) -> None:
        nonlocal down
        while run.box.status().error is None:
            await SystemClock().sleep(0)
        for slot in range(3):
            await run.write(candles(store, MINUTES, [slot]))
        status = run.box.status()
        assert (status.connected, status.behind_rows) == (False, 3)
        assert status.lag_s > 0
        down = False
        await run.level()
        status = run.box.status()
        assert (status.connected, status.behind_rows, status.lag_s, status.written) == (True, 0, 0.0, 3)

    follow(store, bench, first_contact, Faults(fails=lambda _: down))
    assert same(bench, store)


def test_poison_is_set_aside_and_the_rest_goes_on(store: Store, bench: Bench) -> None:
    """Refused rows are kept in the store with the output's words, and told; rows around them arrive."""
    fill(store)
    bad = poison(candles(store, MINUTES, [60]))

    async def poisoned(run: Run) -> None:
        await run.level()
        await run.on_store(store.write, poison(candles(store, HOURS, [50])))
        for slot in range(400, 410):
            rows = candles(store, MINUTES, [slot])
            await run.write(poison(rows) if slot % 2 else rows)

    store.write(bad)
    run = follow(store, bench, poisoned)
    good = [slot for slot in range(400, 410) if slot % 2 == 0]
    times = {int(time) for time in candles(store, MINUTES, [*range(100), *range(300, 350), *good])["open_time"]}
    held = bench.contents()
    assert {time for name, time in held.rows if name == str(MINUTES)} >= times - {int(bad["open_time"][0])}
    assert len(run.told(OutputRefused)) == len(store.states(f"refused:{run.output.name}:")) >= 6
    assert run.box.status().refused >= 6
    assert all(event.words for event in run.told(OutputRefused))


def test_refused_rows_are_tried_again_at_the_next_start(store: Store, bench: Bench) -> None:
    """One that was corrected meanwhile is taken and forgotten; one that was not is refused again."""
    fill(store)

    async def poisoned(run: Run) -> None:
        await run.level()
        await run.write(poison(candles(store, MINUTES, [400, 401])))

    follow(store, bench, poisoned)
    prefix = f"refused:{bench.make().name}:"
    assert len(store.states(prefix)) == 2
    store.write(candles(store, MINUTES, [400], Source.REST))
    run = follow(store, bench, nothing)
    assert list(store.states(prefix)) == [f"{prefix}{MINUTES}:{candles(store, MINUTES, [401])['open_time'][0]}"]
    assert len(run.told(OutputRefused)) == 1

    async def corrected(run: Run) -> None:
        await run.level()
        assert run.box.status().set_aside == 1
        await run.write(candles(store, MINUTES, [401], Source.REST))
        await run.level()
        assert (run.box.status().set_aside, run.box.status().refused) == (0, 1)

    follow(store, bench, corrected)
    assert store.states(prefix) == {}
    assert same(bench, store)


def test_two_stores_feed_one_place(bench: Bench) -> None:
    """Each has a position of its own, and what they hold stands side by side."""
    first, second = MemoryStore(), MemoryStore()
    fill(first)
    second.write(candles(second, FUTURES, range(1_000, 1_020)))
    follow(first, bench, nothing)
    follow(second, bench, nothing)
    both = held_by(first, second, states=bench.states)
    assert bench.contents() == both
    for store, series in ((first, MINUTES), (second, FUTURES)):

        async def one_more(run: Run, series: Series = series) -> None:
            await run.write(candles(run.store, series, [2_000]))

        assert not follow(store, bench, one_more).told(OutputSnapshot)
    assert bench.contents() == held_by(first, second, states=bench.states)


def test_output_restored_from_a_backup_gets_what_it_lacks(
    store: Store, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its position is that of the backup: what came since is sent again from the log, or everything, if that is gone."""
    monkeypatch.setattr(outbox, "KEEP_EVERY_S", 1e9)
    fill(store)
    follow(store, bench, nothing)
    bench.save()
    for gone in (False, True):

        async def more(run: Run, gone: bool = gone) -> None:
            await run.write(candles(store, MINUTES, range(500 + 50 * gone, 550 + 50 * gone)))
            await run.level()
            if gone:
                await run.on_store(store.drop_changes, store.change_range().last)

        follow(store, bench, more)
        bench.restore()
        run = follow(store, bench, nothing)
        assert same(bench, store)
        assert bool(run.told(OutputSnapshot)) == gone


def test_output_restored_between_two_writes_gets_what_it_lacks(store: Store, bench: Bench) -> None:
    """A backup that is put in place under an outbox that runs is noticed with the next write."""
    fill(store)

    async def story(run: Run) -> None:
        await run.level()
        await asyncio.to_thread(bench.save)
        await run.write(candles(store, MINUTES, range(500, 550)))
        await run.level()
        await asyncio.to_thread(bench.restore)
        await run.write(candles(store, MINUTES, [550]))

    follow(store, bench, story)
    assert same(bench, store)


@pytest.mark.parametrize("more", [1, 200])
def test_store_restored_from_a_copy_is_brought_over_anew(tmp_path: Path, bench: Bench, more: int) -> None:
    """The output is further than the copy of the store, which may have gone on to any number: it is noticed."""
    store = LmdbStore.open(tmp_path / "store", write=True)
    fill(store)
    follow(store, bench, nothing)
    store.close()
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    store = LmdbStore.open(tmp_path / "store", write=True)

    async def lost(run: Run) -> None:
        await run.write(candles(store, MINUTES, [400, 401, 402]))

    follow(store, bench, lost)
    store.close()
    store = LmdbStore.open(tmp_path / "copy", write=True)
    for slot in range(more):
        store.write(candles(store, MINUTES, [403 + slot], Source.REST))
    run = follow(store, bench, nothing)
    assert len(run.told(OutputSnapshot)) == 1
    expected, held = held_by(store, states=bench.states), bench.contents()
    assert expected.rows.items() <= held.rows.items()
    assert (held.absences, held.states) == (expected.absences, expected.states)
    store.close()


def test_log_is_dropped_once_it_was_followed(store: Store, bench: Bench) -> None:
    """What the output has is not kept in the log; an output that was not run for a week holds it no more."""
    fill(store)

    async def live(run: Run) -> None:
        for slot in range(400, 450):
            await run.write(candles(store, MINUTES, [slot]))
        await run.level()
        last = store.change_range().last
        while store.change_range().first <= last:
            await run.box._clock.sleep(10)

    follow(store, bench, live)
    assert same(bench, store)


def test_position_of_another_output_keeps_the_log(store: Store) -> None:
    """The log is dropped no further than what every output of the store has."""
    fill(store)
    slow, quick = MemoryBench(), MemoryBench()

    class Other:
        states = quick.states

        def make(self) -> Output:
            output = quick.make()
            output.name = "other"
            return output

    follow(store, slow, nothing)
    held = store.change_range().last

    async def live(run: Run) -> None:
        for slot in range(400, 450):
            await run.write(candles(store, MINUTES, [slot]))
        await run.level()
        await run.box._clock.sleep(100)

    follow(store, Other(), live)
    assert store.change_range().first <= held + 1
    run = follow(store, slow, nothing)
    assert not run.told(OutputSnapshot)
    assert same(slow, store)


@pytest.mark.usefixtures("small_loads")
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 12))])
@pytest.mark.parametrize("kind", ["memory", "lmdb"])
def test_whatever_happens_output_equals_store(kind: str, seed: int, bench: Bench, tmp_path: Path) -> None:
    """Random writes, corrections, reasons, states, failures, kills and restarts: row by row the same in the end."""
    rng = random.Random(seed)

    def opened() -> Store:
        return LmdbStore.open(tmp_path, write=True)

    store: Store = MemoryStore() if kind == "memory" else opened()

    async def live(run: Run) -> None:
        for _ in range(rng.randrange(1, 25)):
            await something(run, rng)
            if rng.random() < 0.2:
                await run.level()

    for _ in range(8):
        often = rng.choice([0.0, 0.1, 0.4])
        faults = Faults(rng.choice([0, 0, rng.randrange(1, 60)]), lambda _, often=often: rng.random() < often)
        run_killed(store, bench.make(), faults, live)
        if rng.random() < 0.5 and isinstance(store, LmdbStore):
            store.close()
            store = opened()
    follow(store, bench, nothing)
    assert same(bench, store)
    store.close()


async def something(run: Run, rng: random.Random) -> None:
    """Anything that may happen to a store, but that a value comes back after another one.

    An output that was away sees nothing of the other one, and keeps the higher source it knows for the same value.
    """
    store, series = run.store, rng.choice(ALL)
    what = rng.random()
    close = 77.25 + store.change_range().last // 6 % 10_000_000
    if what < 0.7:
        start, count = rng.randrange(600), rng.choice([1, 1, 1, 3, 90])
        await run.write(candles(store, series, range(start, start + count), rng.choice(list(Source)), close))
    elif what < 0.8:
        await run.write(candles(store, series, sorted(rng.sample(range(30_000), 4)), rng.choice(list(Source)), close))
    elif what < 0.9:
        slots = sorted(rng.sample(range(40_000, 40_100), rng.randrange(3)))
        await run.on_store(store.set_absences, series, [outage(series, slot) for slot in slots])
    else:
        value = rng.choice([None, CERTIFICATE, b'{"format": 2}'])
        await run.on_store(store.set_state, f"certificate:{series}", value)
