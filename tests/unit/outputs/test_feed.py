"""What a feed makes of a store: loads of a bounded size that end where the log ends."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from candlewick.outputs import feed
from candlewick.outputs.feed import Feed, Load, LogDropped
from candlewick.outputs.output import Position
from candlewick.stores.lmdb import LmdbStore
from candlewick.stores.memory import MemoryStore
from candlewick.stores.store import Source, Store
from tests.contracts.output_bench import FUTURES, HOURS, MINUTES, candles, outage

pytestmark = pytest.mark.usefixtures("small")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "MOST_ROWS", 40)
    monkeypatch.setattr(feed, "PLAN_ROWS", 100)
    monkeypatch.setattr(feed, "CHANGES_AT_ONCE", 30)


@pytest.fixture(params=["memory", "lmdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = MemoryStore() if request.param == "memory" else LmdbStore.open(tmp_path / "store", write=True)
    opened.log_changes()
    yield opened
    opened.close()


def loads_of(store: Store, position: Position) -> list[Load]:
    reading = Feed(store)
    reading.go_to(position)
    return list(iter(reading.next, None))


def start_of(store: Store) -> Position:
    return Position(store.change_range().first - 1)


def test_log_of_many_plans_is_read_to_its_end(store: Store) -> None:
    """Plan after plan, each read in full loads; nothing comes next only where the log has no more."""
    for slot in range(250):
        store.write(np.concatenate([candles(store, one, [slot]) for one in (MINUTES, HOURS)]))
    loads = loads_of(store, start_of(store))
    rows = np.concatenate([load.batch.rows for load in loads])
    assert loads[-1].batch.position == Position(store.change_range().last)
    assert len({load.batch.position for load in loads}) == 6
    assert sorted(rows.tolist()) == sorted(np.concatenate([store.read(MINUTES), store.read(HOURS)]).tolist())
    assert sum(load.done for load in loads) == 500
    assert [len(load.batch.rows) for load in loads] == [40, 40, 20] * 5


def test_waiting_rows_are_those_of_the_log(store: Store) -> None:
    """As often as they were kept, above one sequence and up to another."""
    for slot in range(100):
        store.write(candles(store, MINUTES, [slot, slot + 1], Source.REST, close=100.0 + slot))
    store.set_absences(MINUTES, [outage(MINUTES, 500)])
    last, reading = store.change_range().last, Feed(store)
    changes = [change for change in store.changes(0, 1000) if change.rows]
    assert reading.waiting(start_of(store).sequence, last) == sum(change.rows for change in changes) == 200
    assert reading.waiting(changes[9].sequence, changes[49].sequence) == 80
    assert reading.waiting(last, last) == 0


def test_load_is_filled_from_what_is_scattered(store: Store) -> None:
    """Spans with few rows in them are put together until there are enough."""
    for slot in range(0, 4_000, 40):
        store.write(candles(store, MINUTES, [slot, slot + 3]))
    loads = loads_of(store, start_of(store))
    assert sum(len(load.batch.rows) for load in loads) == 200
    assert all(36 <= len(load.batch.rows) <= 40 for load in loads[:2])


@pytest.mark.parametrize("begin", [0, 1, 3])
def test_snapshot_goes_on_from_any_load(store: Store, begin: int) -> None:
    """By series' names, whatever their numbers; what follows a position is what was not before it."""
    store.write(candles(store, HOURS, range(55)))
    store.write(candles(store, MINUTES, [*range(30), *range(5_000, 5_050)]))
    store.write(candles(store, FUTURES, range(33)))
    whole = loads_of(store, Position(store.change_range().last, "", 0))
    rest = loads_of(store, whole[begin].batch.position)
    assert [load.batch.position for load in rest] == [load.batch.position for load in whole[begin + 1 :]]
    rows = np.concatenate([load.batch.rows for load in (*whole[: begin + 1], *rest)])
    assert len(rows) == len(set(rows[["series", "open_time"]].tolist())) == 168
    for load in whole:
        keys = load.batch.rows[["series", "open_time"]].tolist()
        assert keys == sorted(keys)
        assert len(keys) <= 40


def test_dropped_log_is_noticed(store: Store) -> None:
    """What was dropped before it was read cannot be brought over from the log."""
    for slot in range(5):
        store.write(candles(store, MINUTES, [slot]))
    position = start_of(store)
    store.drop_changes(store.changes(0, 10)[2].sequence)
    with pytest.raises(LogDropped, match="begins after"):
        loads_of(store, position)
