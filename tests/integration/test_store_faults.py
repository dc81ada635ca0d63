"""What a store does when the disk is full, when another process writes it, and when it is not what it should be."""

import multiprocessing
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import lmdb
import numpy as np
import pytest

from candlewick.errors import StoreBusy, StoreDamaged, StoreError, StoreFull, StoreTooNew
from candlewick.market import MINUTE, Interval, Market, Series
from candlewick.stores.lmdb import LmdbStore
from candlewick.stores.store import ROW, Rows, Source
from candlewick.stores.writer_lock import Writer, writer_of

START = 1_700_000_040_000_000
SERIES = Series(Market.SPOT, "BTCUSDT", Interval("1m"))


def rows_from(first: int, count: int, number: int = 0) -> Rows:
    rows = np.zeros(count, ROW)
    rows["series"], rows["source"] = number, Source.LIVE
    rows["open_time"] = START + (first + np.arange(count)) * MINUTE
    rows["close"] = np.random.default_rng(first).random(count)  # does not compress
    return rows


def fill_up(store: LmdbStore) -> int:
    """Write 100 rows at a time until there is no space; how many rows were acknowledged."""
    for count in range(0, 10_000_000, 100):
        try:
            store.write(rows_from(count, 100))
        except StoreFull:
            return count
    pytest.fail("the disk is never full")


def check_full(store: LmdbStore, make_room: "Iterator[None]") -> None:
    """After `StoreFull` all that was acknowledged is there, and the same call succeeds once there is room."""
    store.number(SERIES)
    count = fill_up(store)
    assert count > 1_000
    rows = np.concatenate([rows_from(at, 100) for at in range(0, count + 100, 100)])
    assert store.read(SERIES).tobytes() == rows[:count].tobytes()
    with pytest.raises(StoreFull, match="make room"):
        store.write(rows[count:])
    assert store.series()[0].rows == count
    next(make_room)
    assert store.write(rows[count:]).inserted == 100
    store.close()
    again = LmdbStore.open(store.path, write=True)
    assert again.read(SERIES).tobytes() == rows.tobytes()
    again.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "candlewick-test", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_store_outlives_a_full_disk(small_disk: Path) -> None:
    """On a full file system nothing acknowledged is lost; after something is deleted the same write succeeds."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(600_000))

    def make_room() -> Iterator[None]:
        ballast.unlink()
        yield

    check_full(LmdbStore.open(small_disk / "store", write=True), make_room())


def test_store_has_no_room_to_begin(small_disk: Path) -> None:
    """A store that cannot even be made says that the disk is full, and can be made once it is not."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2_097_152 - 3 * 4_096))
    with pytest.raises(StoreFull):
        LmdbStore.open(small_disk / "store", write=True)
    ballast.unlink()
    LmdbStore.open(small_disk / "store", write=True).close()


def write_up_to_a_limit(folder: Path, results: Connection) -> None:
    """The same, with a limit on the size of files in place of a full disk."""

    def make_room() -> Iterator[None]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        yield

    store = LmdbStore.open(folder, write=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
    check_full(store, make_room())
    results.send("done")


def test_store_outlives_a_file_size_limit(tmp_path: Path) -> None:
    """A file that may not grow is a full disk."""
    context = multiprocessing.get_context("forkserver")
    receiving, sending = context.Pipe(duplex=False)
    child = context.Process(target=write_up_to_a_limit, args=(tmp_path / "store", sending))
    child.start()
    sending.close()
    assert receiving.recv() == "done"
    child.join()


def test_store_has_one_writer(tmp_path: Path) -> None:
    """A second writer is told who is writing and where it answers; readers are let in; after the first it may."""
    assert writer_of(tmp_path) is None
    store = LmdbStore.open(tmp_path, write=True)
    with pytest.raises(StoreBusy, match=f"process {os.getpid()}: stop it"):
        LmdbStore.open(tmp_path, write=True)
    store.announce("http://127.0.0.1:8080")
    with pytest.raises(StoreBusy, match=f"process {os.getpid()}, which answers at http://127.0.0.1:8080"):
        LmdbStore.open(tmp_path, write=True)
    assert writer_of(tmp_path) == Writer(os.getpid(), "http://127.0.0.1:8080")
    LmdbStore.open(tmp_path, write=False).close()
    store.close()
    assert writer_of(tmp_path) is None
    LmdbStore.open(tmp_path, write=True).close()


def hold(folder: Path, results: Connection) -> None:
    """Be the writer until killed."""
    store = LmdbStore.open(folder, write=True)
    store.number(SERIES)
    results.send(os.getpid())
    results.poll(None)


def test_killed_writer_leaves_no_lock(tmp_path: Path) -> None:
    """Another process is refused while the writer lives, and let in when it was killed."""
    context = multiprocessing.get_context("forkserver")
    here, there = context.Pipe()
    child = context.Process(target=hold, args=(tmp_path, there))
    child.start()
    pid = here.recv()
    with pytest.raises(StoreBusy, match=f"process {pid}"):
        LmdbStore.open(tmp_path, write=True)
    child.kill()
    child.join()
    assert writer_of(tmp_path) is None
    store = LmdbStore.open(tmp_path, write=True)
    assert store.number(SERIES) == 0
    store.close()


def test_store_leaves_a_newer_format_alone(tmp_path: Path) -> None:
    """A store of a newer format is not opened, and not one byte of it changes."""
    LmdbStore.open(tmp_path, write=True).close()
    with lmdb.open(str(tmp_path), max_dbs=9) as env:
        meta = env.open_db(b"meta")
        with env.begin(write=True) as txn:
            txn.put(b"format", b"3", db=meta)
    before = (tmp_path / "data.mdb").read_bytes()
    for write in (True, False):
        with pytest.raises(StoreTooNew, match=r"has format 3, this program reads up to 2: upgrade"):
            LmdbStore.open(tmp_path, write=write)
    assert (tmp_path / "data.mdb").read_bytes() == before
    assert writer_of(tmp_path) is None


def test_store_says_why_it_does_not_open(tmp_path: Path) -> None:
    """Nothing there, a file, another program's database, and plain garbage each have their own words."""
    with pytest.raises(StoreError, match=r"no store at .*nothing: write one first"):
        LmdbStore.open(tmp_path / "nothing", write=False)
    assert not (tmp_path / "nothing").exists()
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="is a file"):
        LmdbStore.open(tmp_path / "file", write=True)
    with lmdb.open(str(tmp_path / "other")) as env, env.begin(write=True) as txn:
        txn.put(b"a", b"b")
    before = (tmp_path / "other" / "data.mdb").read_bytes()
    for write in (True, False):
        with pytest.raises(StoreError, match="not a store"):
            LmdbStore.open(tmp_path / "other", write=write)
    assert (tmp_path / "other" / "data.mdb").read_bytes() == before
    (tmp_path / "garbage").mkdir()
    (tmp_path / "garbage" / "data.mdb").write_bytes(b"not a database" * 1_000)
    for write in (True, False):
        with pytest.raises(StoreDamaged, match="not a store, or is damaged"):
            LmdbStore.open(tmp_path / "garbage", write=write)


def test_store_in_a_folder_that_may_not_be_written(small_disk: Path) -> None:
    """For writing it is refused with the reason; for reading it opens."""
    folder = small_disk / "store"
    store = LmdbStore.open(folder, write=True)
    store.write(rows_from(0, 10, store.number(SERIES)))
    store.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreError, match="cannot be written"):
        LmdbStore.open(folder, write=True)
    reader = LmdbStore.open(folder, write=False)
    assert len(reader.read(SERIES)) == 10
    reader.close()


def flip(folder: Path, database: bytes, at: int) -> None:
    """Change one bit of the first value of a database, behind the store's back."""
    with lmdb.open(str(folder), max_dbs=9) as env:
        db = env.open_db(database)
        with env.begin(write=True) as txn, txn.cursor(db=db) as cursor:
            cursor.first()
            value = bytearray(cursor.value())
            value[at % len(value)] ^= 1 << at % 8
            cursor.put(cursor.key(), bytes(value))


@pytest.mark.parametrize("at", [0, 5, 9, 100, 5_000, 12_345])
def test_store_notices_a_damaged_block(tmp_path: Path, at: int) -> None:
    """One changed bit of a block is reported with the series and the block, wherever it is."""
    store = LmdbStore.open(tmp_path, write=True)
    store.write(rows_from(0, 3_000, store.number(SERIES)))
    store.close()
    flip(tmp_path, b"blocks", at)
    reader = LmdbStore.open(tmp_path, write=False)
    if at == 5:  # padding of the header, which means nothing
        assert len(reader.read(SERIES)) == 3_000
    else:
        with pytest.raises(StoreDamaged, match=rf"block {START // MINUTE // 8_640} of spot:BTCUSDT:1m at"):
            reader.read(SERIES)
    reader.close()


def test_store_notices_a_damaged_journal(tmp_path: Path) -> None:
    """One changed bit of a journal entry is reported, to readers and to the next writer."""
    store = LmdbStore.open(tmp_path, write=True)
    store.write(rows_from(0, 3, store.number(SERIES)))
    store.fold = lambda _: False  # as if it had been killed
    store.close()
    flip(tmp_path, b"journal", 77)
    reader = LmdbStore.open(tmp_path, write=False)
    with pytest.raises(StoreDamaged, match="entry 1 of the journal"):
        reader.read(SERIES)
    reader.close()
    with pytest.raises(StoreDamaged, match="entry 1 of the journal"):
        LmdbStore.open(tmp_path, write=True)
    assert writer_of(tmp_path) is None
