"""A writer that is killed at any moment: what it acknowledged is there, whole writes or nothing of them."""

import multiprocessing
import random
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

import candlewick.stores.lmdb
from candlewick.market import MINUTE, Interval, Market, Series, Span
from candlewick.stores.lmdb import LmdbStore
from candlewick.stores.memory import MemoryStore
from candlewick.stores.store import ROW, Absence, Reason, Rows, Source, Store

START = 1_700_000_040_000_000
SERIES = [Series(Market.SPOT, symbol, Interval("1m")) for symbol in ("BTCUSDT", "ETHUSDT", "ARBUSDT")]


def batch(index: int, numbers: list[int]) -> Rows:
    """The rows of write number `index`: mostly new ones, now and then a correction, now and then many."""
    rng = np.random.default_rng(index)
    count = 900 if index % 17 == 5 else int(rng.integers(1, 40))
    rows = np.zeros(count, ROW)
    if index % 5 == 3:  # what REST says of minutes that came live
        rows["series"] = numbers[index % 3]
        rows["source"] = Source.REST
        rows["open_time"] = START + (max(0, index * 25 - 400) + np.arange(count)) * MINUTE
    else:
        rows["series"] = rng.choice(numbers, count) if count < 900 else numbers[0]
        rows["source"] = Source.LIVE
        rows["open_time"] = START + (index * 25 + np.arange(count)) * MINUTE
    rows["close_time"] = rows["open_time"] + MINUTE - 1_000
    for name in ("open", "high", "low", "close", "volume", "quote_volume"):
        rows[name] = rng.integers(1, 1_000_000, count) / 100
    return rows


def make(store: Store, index: int, numbers: list[int]) -> None:
    """Write number `index` and the small things that go with it."""
    store.write(batch(index, numbers))
    if index % 7 == 0:
        reason = Absence(Span(START, START + MINUTE * (index + 1)), Reason.EXCHANGE_OUTAGE, str(index))
        store.set_absences(SERIES[1], [reason])
    store.set_state("made", str(index).encode())


def write_until_killed(folder: Path, acknowledged: Connection) -> None:
    """Go on where the store ends; say so after each write has returned."""
    candlewick.stores.lmdb._JOURNAL_ROWS_MOST = candlewick.stores.lmdb._JOURNAL_ROWS = 300  # folds all the time
    store = LmdbStore.open(folder, write=True, map_size=1 << 18)
    numbers = [store.number(series) for series in SERIES]
    made = store.state("made")
    index = 0 if made is None else int(made) + 1
    while True:
        make(store, index, numbers)
        acknowledged.send(index)
        index += 1


def contents(store: Store) -> list[bytes]:
    return [store.read(series).tobytes() for series in SERIES]


def kill_often(folder: Path, times: int, seed: int) -> tuple[int, int]:
    """Kill a writer `times` times and compare after each; how many writes were made, and how often one was cut."""
    rng = random.Random(seed)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    model = MemoryStore()
    numbers = [model.number(series) for series in SERIES]
    made, cut = -1, 0
    for _ in range(times):
        receiving, sending = context.Pipe(duplex=False)
        child = context.Process(target=write_until_killed, args=(folder, sending), daemon=True)
        child.start()
        sending.close()
        acknowledged = receiving.recv()
        enough = acknowledged + rng.randrange(25)
        while acknowledged < enough or receiving.poll(rng.random() * 0.004):
            acknowledged = receiving.recv()
            if acknowledged > enough:
                break
        child.kill()
        child.join()
        while receiving.poll():
            try:
                acknowledged = receiving.recv()
            except EOFError:
                break
        receiving.close()
        for index in range(made + 1, acknowledged + 1):
            make(model, index, numbers)
        made = acknowledged
        with_one_more = _with_one_more(model, made, numbers)
        reader = LmdbStore.open(folder, write=False)
        found = contents(reader)
        state = int(reader.state("made") or b"-1")
        counts = [info.rows * ROW.itemsize for info in reader.series()]
        reader.close()
        assert found in (contents(model), with_one_more)
        assert counts == [len(rows) for rows in found]
        assert state in (made, made + 1)
        if found != contents(model):
            cut += 1
        if state == made + 1:
            make(model, state, numbers)
            made = state
    store = LmdbStore.open(folder, write=True)
    assert contents(store) in (contents(model), _with_one_more(model, made, numbers))
    store.close()
    return made, cut


def _with_one_more(model: MemoryStore, made: int, numbers: list[int]) -> list[bytes]:
    """What is held if the write after `made` was kept though nobody was told."""
    other = MemoryStore()
    for series in SERIES:
        other.number(series)
        other.write(model.read(series))
    other.write(batch(made + 1, numbers))
    return contents(other)


def test_store_survives_being_killed(tmp_path: Path) -> None:
    """Fifteen kills at random moments lose nothing that was acknowledged and tear nothing."""
    made, _ = kill_often(tmp_path / "store", 15, seed=1)
    assert made > 15


@pytest.mark.slow
def test_store_survives_being_killed_often(tmp_path: Path) -> None:
    """A hundred kills at random moments lose nothing that was acknowledged and tear nothing."""
    made, _ = kill_often(tmp_path / "store", 100, seed=2)
    assert made > 100
