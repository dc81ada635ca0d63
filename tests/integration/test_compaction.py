"""Compaction: it gives space back, changes nothing, and may be killed, refused or read through at any moment."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import lmdb
import numpy as np
import pytest

from candlewick.cli import main
from candlewick.errors import StoreBusy, StoreDamaged, StoreError, StoreFull
from candlewick.market import MINUTE, Interval, Market, Series, Span
from candlewick.stores import compaction
from candlewick.stores.compaction import WORKPLACE, compact, fingerprint
from candlewick.stores.environment import Environment
from candlewick.stores.lmdb import LmdbStore
from candlewick.stores.memory import MemoryStore
from candlewick.stores.store import ROW, Absence, Quarantined, Reason, Rows, Source, Store

START = 1_700_000_040_000_000
MINUTES = Series(Market.SPOT, "BTCUSDT", Interval("1m"))
MONTHS = Series(Market.USDM, "ETHUSDT", Interval("1M"))
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])


def rows_at(number: int, times: np.ndarray, source: Source, seed: int) -> Rows:
    rows = np.zeros(len(times), ROW)
    rows["series"], rows["source"], rows["open_time"] = number, source, times
    rows["close_time"] = times + MINUTE - 1_000
    rng = np.random.default_rng(seed)
    for name in ("open", "high", "low", "close", "volume", "quote_volume"):
        rows[name] = rng.integers(1, 1_000_000, len(times)) / 100
    return rows


def minutes(number: int, first: int, count: int, source: Source = Source.LIVE, seed: int = 0) -> Rows:
    return rows_at(number, START + np.arange(first, first + count) * MINUTE, source, seed)


def fill(store: Store) -> None:
    """Everything a store can hold, and much that was written again."""
    number, months = store.number(MINUTES), store.number(MONTHS)
    for at in range(0, 6_000, 600):
        store.write(minutes(number, at, 600, seed=at))
    store.write(minutes(number, 100, 900, Source.REST, seed=7))
    for seed in range(20):
        store.write(minutes(number, 5_900 + seed, 300, seed=seed))
        store.set_state("filler", bytes(200_000))
    store.set_state("filler", None)
    firsts = np.arange(600, 640).astype("M8[M]").astype("M8[us]").astype(np.int64)
    store.write(rows_at(months, firsts, Source.ARCHIVE, 1))
    store.set_absences(MINUTES, [Absence(Span(0, START), Reason.NOT_LISTED, '{"asked": []}')])
    store.quarantine([Quarantined(str(MINUTES), "off-grid", "live", START, b"[1, 2]")] * 3)
    store.set_states({"listing:spot:BTCUSDT": b"{}", "file:x": b"1"})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that has a lot to give back, with rows in its journal."""
    place = tmp_path_factory.mktemp("compaction") / "store"
    store = LmdbStore.open(place, write=True)
    fill(store)
    store.close()
    return place


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(made, tmp_path / "store")


def told(folder: Path) -> dict[str, str]:
    reader = LmdbStore.open(folder, write=False)
    found = fingerprint(reader)
    reader.close()
    return found


def test_compaction_gives_space_back_and_changes_nothing(folder: Path) -> None:
    """The file is smaller, all that is told is the same, and a second time changes nothing more."""
    before = told(folder)
    first = compact(folder)
    assert first.after == (folder / "data.mdb").stat().st_size < first.before * 0.6
    assert told(folder) == before
    assert (first.series, first.candles) == (2, sum(one.rows for one in _infos(folder)))
    assert sorted(path.name for path in folder.iterdir()) == ["data.mdb", "lock.mdb", "writer.lock"]
    second = compact(folder)
    assert (second.before, second.sha256) == (first.after, first.sha256)
    assert second.after <= first.after + 65_536


def _infos(folder: Path) -> list[object]:
    reader = LmdbStore.open(folder, write=False)
    infos = reader.series()
    reader.close()
    return infos


def test_store_goes_on_after_compaction(folder: Path) -> None:
    """Writes, revisions and folds after it come to what they come to without it."""
    compact(folder)
    stores: list[Store] = [MemoryStore(), LmdbStore.open(folder, write=True)]
    fill(stores[0])
    for store in stores:
        store.write(minutes(store.number(MINUTES), 3_000, 4_000, Source.ARCHIVE, seed=9))
        store.write(minutes(store.number(MINUTES), 7_000, 10, seed=10))
    assert fingerprint(stores[0]) == fingerprint(stores[1])
    stores[1].close()
    assert told(folder) == fingerprint(stores[0])


def test_fingerprint_tells_every_change() -> None:
    """Each thing that a store tells is in it: a bit of a candle, a source, a reason, a state, a quarantined text."""
    changes: list[Callable[[Store], object]] = [
        lambda store: store.write(minutes(0, 3_000, 1, Source.REST, seed=77)),
        lambda store: store.write(store.read(MONTHS)[:0]),
        lambda store: store.write(minutes(0, 9_999, 1)),
        lambda store: store.set_absences(MINUTES, [Absence(Span(0, START), Reason.DELISTED, '{"asked": []}')]),
        lambda store: store.set_absences(MINUTES, [Absence(Span(0, START), Reason.NOT_LISTED, "{}")]),
        lambda store: store.set_state("file:x", b"2"),
        lambda store: store.quarantine([Quarantined(str(MINUTES), "off-grid", "live", START, b"")]),
    ]
    seen = set()
    for change in changes:
        store = MemoryStore()
        fill(store)
        change(store)
        seen.add(json.dumps(fingerprint(store)))
    assert len(seen) == len(changes)


def test_series_in_another_order_have_the_same_fingerprint() -> None:
    """Numbers of series are the store's own business."""
    stores = [MemoryStore(), MemoryStore()]
    stores[1].number(MONTHS)
    for store in stores:
        fill(store)
    assert fingerprint(stores[0]) == fingerprint(stores[1])


def test_readers_read_on_and_go_over(folder: Path) -> None:
    """A reader of this process sees the same before, during and after, and then what is written later."""
    reader = LmdbStore.open(folder, write=False)
    before = reader.read(MINUTES).tobytes()
    with reader._environment.reading() as txn:
        file = (folder / "data.mdb").stat().st_ino
        assert _compact_elsewhere(folder) == 0
        assert txn.get(b"format", db=reader._environment.databases["meta"]) == b"1"
    assert (folder / "data.mdb").stat().st_ino != file
    assert reader.read(MINUTES).tobytes() == before
    with LmdbWriter(folder) as store:
        store.write(minutes(0, 20_000, 5))
        assert reader.read(MINUTES)["open_time"][-1] == START + 20_004 * MINUTE
    reader.close()


def test_reader_goes_over_to_a_store_that_was_made_anew(folder: Path, tmp_path: Path) -> None:
    """Where the store was removed and another made, nothing is told of the new one by what was known of the old one."""
    reader = LmdbStore.open(folder, write=False)
    assert reader.read(MINUTES).size
    other = tmp_path / "other"
    with LmdbWriter(other) as store:
        store.write(rows_at(store.number(MONTHS), np.array([START]), Source.REST, 3))
        store.write(minutes(store.number(MINUTES), 0, 7, seed=5))
        expected = fingerprint(store)
    shutil.rmtree(folder)
    assert reader.read(MINUTES).size, "the old one can be read as long as no other is there"
    other.rename(folder)
    assert fingerprint(reader) == expected
    reader.close()


def test_reader_of_a_former_writer_goes_over(folder: Path) -> None:
    """A process that wrote and only reads now does not stay with the old file."""
    with LmdbWriter(folder):
        reader = LmdbStore.open(folder, write=False)
    assert _compact_elsewhere(folder) == 0
    assert _write_elsewhere(folder) == 0
    assert reader.read(MINUTES)["open_time"][-1] == START + 30_000 * MINUTE
    reader.close()


def _write_elsewhere(folder: Path) -> int:
    child = CONTEXT.Process(target=write_one, args=(folder,))
    child.start()
    child.join()
    return int(child.exitcode or 0)


def write_one(folder: Path) -> None:
    """Write one candle."""
    with LmdbWriter(folder) as store:
        store.write(minutes(0, 30_000, 1))


class LmdbWriter:
    """A writer in a `with`."""

    def __init__(self, folder: Path) -> None:
        self.store = LmdbStore.open(folder, write=True)

    def __enter__(self) -> LmdbStore:
        return self.store

    def __exit__(self, *_: object) -> None:
        self.store.close()


def _compact_elsewhere(folder: Path) -> int:
    child = CONTEXT.Process(target=compact, args=(folder,))
    child.start()
    child.join()
    return int(child.exitcode or 0)


def read_on(folder: Path, pipe: Connection, follow: bool) -> None:
    """Tell the number and the last time of the rows whenever asked, as a reader does, or one that never goes over."""
    reader = LmdbStore.open(folder, write=False)
    if not follow:
        Environment._is_replaced = lambda _: False
    while pipe.recv():
        rows = reader.read(MINUTES)
        pipe.send((len(rows), fingerprint(reader)))
    reader.close()


@pytest.mark.parametrize("follow", [True, False])
def test_readers_in_other_processes_read_on(folder: Path, follow: bool) -> None:
    """They share the lock file with the new file's writer, and read whole states: the new ones, or always the old one."""
    here, there = CONTEXT.Pipe()
    child = CONTEXT.Process(target=read_on, args=(folder, there, follow))
    child.start()
    here.send(True)
    assert here.recv()[1] == told(folder)
    before = told(folder)
    for at in range(5):
        compact(folder)
        for write in range(3):  # odd and even transactions
            with LmdbWriter(folder) as store:
                store.write(minutes(0, 20_000 + 10 * at + write, 1))
            here.send(True)
            assert here.recv()[1] == (told(folder) if follow else before)
    here.send(False)
    child.join()
    assert child.exitcode == 0
    assert len(lmdb.open(str(folder), readonly=True, max_dbs=9).readers().splitlines()) >= 1


def test_busy_store_is_left_alone(folder: Path) -> None:
    """Who writes it is told, and nothing is touched."""
    with LmdbWriter(folder), pytest.raises(StoreBusy, match=f"process {os.getpid()}"):
        compact(folder)
    assert not (folder / WORKPLACE).exists()


def test_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """Nothing comes of compacting nothing."""
    with pytest.raises(StoreError, match="there is no store at"):
        compact(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_unequal_copy_is_thrown_away(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What differs is named, and the store stays as it is."""
    before, number = told(folder), compaction._number

    def spoil(file: Path, transaction: int) -> None:
        env = lmdb.open(str(file.parent), max_dbs=9)
        with env.begin(write=True) as txn:
            txn.delete(b"file:x", db=env.open_db(b"state", txn=txn, create=False))
        env.close()

    monkeypatch.setattr(compaction, "_number", spoil)
    with pytest.raises(StoreDamaged, match="not equal in: state;"):
        compact(folder)
    assert told(folder) == before
    assert not (folder / WORKPLACE).exists()
    monkeypatch.setattr(compaction, "_number", number)
    compact(folder)


def test_foreign_layout_is_refused(tmp_path: Path) -> None:
    """A file whose first pages are not LMDB 0.9's is not written to."""
    file = tmp_path / "data.mdb"
    for content in (b"", bytes(16_384), b"\x01" * 100):
        file.write_bytes(content.ljust(152, b"\0"))
        with pytest.raises(StoreDamaged, match="not laid out as LMDB"):
            compaction._number(file, 7)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for a store and not for two."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=12m", "candlewick-test", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_full_disk_leaves_the_store_as_it_is(small_disk: Path, folder: Path) -> None:
    """Without room for the copy nothing changes and nothing is left; with room it is done."""
    place = small_disk / "store"
    shutil.copytree(folder, place)
    ballast = small_disk / "ballast"
    disk = os.statvfs(small_disk)
    ballast.write_bytes(bytes(disk.f_bavail * disk.f_frsize - 200_000))
    before = told(place)
    with pytest.raises(StoreFull, match="no space left"):
        compact(place)
    assert told(place) == before
    assert not (place / WORKPLACE).exists()
    ballast.unlink()
    compact(place)
    assert told(place) == before


STEPS = ("fold", "copy", "_number", "_compare", "_put_in_place", "replace", "reopen", "_clear")


def compact_and_die(folder: Path, step: str, after: bool) -> None:
    """Compact, and be killed before or after a step."""
    owner = {"fold": LmdbStore, "copy": Environment, "replace": Path, "reopen": Environment}.get(step, compaction)
    call = getattr(owner, step)

    def deadly(*args: object) -> object:
        result = call(*args) if after and step != "_clear" else None
        if step != "_clear" or (args[0] / "data.mdb").exists() or not (args[0].parent / WORKPLACE).exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, step, deadly)
    compact(folder)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", STEPS)
def test_killed_compaction_leaves_a_whole_store(folder: Path, step: str, after: bool) -> None:
    """Before and after every step: all is there, it can be written, and compacting again clears up."""
    before = told(folder)
    child = CONTEXT.Process(target=compact_and_die, args=(folder, step, after))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert told(folder) == before
    with LmdbWriter(folder) as store:
        store.set_state("written", b"after the kill")
        store.set_state("written", None)
    compact(folder)
    assert told(folder) == before
    assert not (folder / WORKPLACE).exists()


def kill_often(folder: Path, times: int, seed: int) -> int:
    """Kill compactions at random moments; how many of them had put their copy in place."""
    rng = random.Random(seed)
    before, done = told(folder), 0
    for _ in range(times):
        inode = (folder / "data.mdb").stat().st_ino
        child = CONTEXT.Process(target=compact, args=(folder,))
        child.start()
        child.join(rng.random() * 0.6)
        child.kill()
        child.join()
        assert told(folder) == before
        done += (folder / "data.mdb").stat().st_ino != inode
    return done


def test_compaction_survives_being_killed_at_random(folder: Path) -> None:
    """Ten kills at any moment."""
    kill_often(folder, 10, seed=1)


@pytest.mark.slow
def test_compaction_survives_being_killed_often(folder: Path) -> None:
    """Two hundred kills at any moment, some of them after the copy took its place and some before."""
    assert 0 < kill_often(folder, 200, seed=2) < 200


def test_command_tells_what_it_came_to(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For people and as JSON; a store that is not embedded cannot be compacted."""
    assert main(["compact", "--store", f"lmdb://{folder}"]) == 0
    out = capsys.readouterr().out
    assert "% given back" in out
    assert "unchanged: sha256" in out
    assert main(["compact", "--json", "--store", f"lmdb://{folder}"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["store", "before", "after", "series", "candles", "sha256"]
    assert found["sha256"] in out
    assert main(["compact", "--store", "memory://"]) == 2
