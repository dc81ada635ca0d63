"""Processes and threads that read a store while it is written, folded and grown."""

import multiprocessing
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path

import lmdb
import numpy as np
import pytest

import candlewick.stores.lmdb
from candlewick.errors import StoreError
from candlewick.market import MINUTE, Interval, Market, Series
from candlewick.stores.lmdb import LmdbReader, LmdbStore
from candlewick.stores.store import ROW, Rows, Source

START = 1_700_000_040_000_000
SERIES = Series(Market.SPOT, "BTCUSDT", Interval("1m"))
OTHER = Series(Market.SPOT, "ETHUSDT", Interval("1m"))
BATCHES = 125
ENDS = np.cumsum([1 + at * 7 % 61 + 600 * (at % 25 == 24) for at in range(BATCHES)]).tolist()
TOTAL = ENDS[-1]


def rows_until(count: int, number: int) -> Rows:
    """The first `count` candles of a series: values tell their place, so that a torn or mixed read shows."""
    rows = np.zeros(count, ROW)
    rows["series"], rows["source"] = number, Source.LIVE
    rows["open_time"] = START + np.arange(count) * MINUTE
    rows["close_time"] = rows["open_time"] + MINUTE - 1_000
    for at, name in enumerate(("open", "high", "low", "close", "volume", "quote_volume")):
        rows[name] = (np.arange(count) * 37 % 1_009 + at) / 100
    rows["trades"] = np.arange(count)
    return rows


def check_reads(reader: LmdbReader) -> int:
    """Read until all is there; every read must be what some number of whole writes left. How many reads."""
    whole = {number: rows_until(TOTAL, number) for number in (0, 1)}
    reads, seen = 0, 0
    while seen < TOTAL:
        infos = {info.series: info.rows for info in reader.series()}
        rows = reader.read(SERIES)
        others = reader.read(OTHER, columns=["open_time", "close"])
        newest = reader.read(SERIES, last=10)
        assert len(rows) in (0, *ENDS)
        assert rows.tobytes() == whole[0][: len(rows)].tobytes()
        assert infos.get(SERIES, 0) <= len(rows) <= len(others)  # both grow by the same writes, one is read later
        assert np.array_equal(others["close"], whole[1]["close"][: len(others)])
        if len(rows):
            assert newest["open_time"][-1] >= rows["open_time"][-1]
            assert np.all(np.diff(newest["open_time"]) == MINUTE)
        assert len(rows) >= seen
        seen = len(rows)
        reads += 1
    return reads


def read_in_process(folder: Path, results: Connection) -> None:
    """Say that the store is open, then check reads to the end."""
    reader = LmdbStore.open(folder, write=False)
    results.send("ready")
    results.send(check_reads(reader))
    reader.close()


def test_readers_see_whole_writes_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes and a thread read while the writer writes, folds and grows its map from a quarter megabyte."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    store = LmdbStore.open(tmp_path / "store", write=True, map_size=1 << 18)
    numbers = [store.number(series) for series in (SERIES, OTHER)]
    pipes = [context.Pipe(duplex=False) for _ in range(2)]
    readers = [context.Process(target=read_in_process, args=(tmp_path / "store", sending)) for _, sending in pipes]
    for process in readers:
        process.start()
    for receiving, _ in pipes:
        assert receiving.recv() == "ready"
    reads_here: list[int] = []
    here = LmdbStore.open(tmp_path / "store", write=False)
    thread = threading.Thread(target=lambda: reads_here.append(check_reads(here)))
    thread.start()
    monkeypatch.setattr(candlewick.stores.lmdb, "_JOURNAL_ROWS", 400)
    monkeypatch.setattr(candlewick.stores.lmdb, "_JOURNAL_ROWS_MOST", 400)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)  # else the thread, which never rests, keeps the writer waiting at every step
    try:
        begin = 0
        for end in ENDS:
            parts = [rows_until(end, number)[begin:] for number in numbers]
            assert store.write(np.concatenate(parts)).inserted == 2 * (end - begin)
            begin = end
    finally:
        sys.setswitchinterval(interval)
    for process, (receiving, _) in zip(readers, pipes, strict=True):
        assert receiving.recv() > 1
        process.join()
        assert process.exitcode == 0
    thread.join()
    assert reads_here[0] > 1
    assert store.size > 1 << 18
    here.close()
    store.close()


def test_reader_stays_with_what_is_folded_under_it(tmp_path: Path) -> None:
    """A reader that has seen the journal sees the same rows after they moved to blocks."""
    with_writer = LmdbStore.open(tmp_path, write=True)
    with_writer.number(SERIES)
    rows = rows_until(300, 0)
    reader = LmdbStore.open(tmp_path, write=False)
    for at in range(0, 300, 10):
        with_writer.write(rows[at : at + 10])
        if at % 50 == 0:
            with_writer.fold(1_000)
        assert reader.read(SERIES).tobytes() == rows[: at + 10].tobytes()
        assert reader.series() == with_writer.series()
    reader.close()
    with_writer.close()


def test_reader_goes_on_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader whose process fails to open the same store for writing is not disturbed."""
    LmdbStore.open(tmp_path, write=True).close()
    reader = LmdbStore.open(tmp_path, write=False)
    real = lmdb.open

    def refuse(path: str, **options: object) -> object:
        if not options["readonly"]:
            raise lmdb.Error("for the test")
        return real(path, **options)

    with monkeypatch.context() as patched:
        patched.setattr(lmdb, "open", refuse)
        with pytest.raises(StoreError, match="for the test"):
            LmdbStore.open(tmp_path, write=True)
    assert reader.series() == []
    LmdbStore.open(tmp_path, write=True).close()
    assert reader.series() == []
    reader.close()


def test_writer_and_reader_share_a_process(tmp_path: Path) -> None:
    """A reader that was there first goes on when its process begins to write the same store, and after it ends."""
    first = LmdbStore.open(tmp_path, write=True)
    number = first.number(SERIES)
    first.close()
    reader = LmdbStore.open(tmp_path, write=False)
    assert len(reader.read(SERIES)) == 0
    writer = LmdbStore.open(tmp_path, write=True)
    writer.write(rows_until(5, number))
    assert len(reader.read(SERIES)) == 5
    writer.close()
    assert len(reader.read(SERIES)) == 5
    reader.close()
