"""What the embedded store does beyond the contract: folding, revisions, whole columns, remembering across openings."""

import threading
from pathlib import Path

import numpy as np
import pytest

import candlewick.stores.lmdb
from candlewick.errors import ConfigError, StoreDown, StoreError
from candlewick.market import MINUTE, Interval, Market, Series
from candlewick.stores import open_store
from candlewick.stores.lmdb import LmdbStore
from candlewick.stores.memory import MemoryStore
from candlewick.stores.store import ROW, Rows, Source

START = 1_700_000_040_000_000
SERIES = [Series(Market.SPOT, f"S{at}USDT", Interval("1m")) for at in range(20)]


def rows_from(first: int, count: int, number: int = 0, source: Source = Source.LIVE, value: float = 1.25) -> Rows:
    rows = np.zeros(count, ROW)
    rows["series"], rows["source"] = number, source
    rows["open_time"] = START + (first + np.arange(count)) * MINUTE
    rows["close"] = value
    return rows


def opened(path: Path) -> LmdbStore:
    store = LmdbStore.open(path, write=True)
    for series in SERIES:
        store.number(series)
    return store


def test_fold_moves_a_few_series_at_a_time(tmp_path: Path) -> None:
    """Each call moves about as many rows as it is told; nothing changes for readers, and it says when it is done."""
    store = opened(tmp_path)
    for at in range(30):
        store.write(np.concatenate([rows_from(at, 1, number) for number in range(20)]))
    before, calls = [store.read(series).tobytes() for series in SERIES], 1
    infos = store.series()
    while store.fold(90):
        assert [store.read(series).tobytes() for series in SERIES] == before
        assert store.series() == infos
        calls += 1
    assert calls == 7  # three series of thirty rows a call
    assert store.pending_rows == 0
    assert not store.fold(90)
    assert [store.read(series).tobytes() for series in SERIES] == before
    assert store.series() == infos
    store.close()


def test_fold_that_was_begun_goes_on_in_another_process(tmp_path: Path) -> None:
    """Half a fold, a lost writer, and rows written in between: the next writer has all of it and folds the rest."""
    store = opened(tmp_path)
    for at in range(10):
        store.write(np.concatenate([rows_from(at, 1, number) for number in range(20)]))
    store.fold(50)
    store.write(np.concatenate([rows_from(10, 1, number, value=7.5) for number in range(20)]))
    before = [store.read(series).tobytes() for series in SERIES]
    store.fold = lambda _: False  # as if it had been killed
    store.close()
    again = opened(tmp_path)
    assert again.pending_rows == 220
    assert [again.read(series).tobytes() for series in SERIES] == before
    assert again.write(rows_from(0, 11, 3)).unchanged == 10
    while again.fold(1_000):
        pass
    assert again.pending_rows == 0
    assert [info.rows for info in again.series()] == [11] * 20
    again.close()


def test_journal_numbers_go_on_after_it_was_emptied(tmp_path: Path) -> None:
    """A writer that finds the journal empty does not write entries that blocks seem to hold already."""
    for at in range(4):
        store = opened(tmp_path)
        assert store.write(rows_from(at, 1)).inserted == 1
        assert len(store.read(SERIES[0])) == at + 1
        store.close()


def test_close_leaves_a_journal_of_many_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing folds a few series and leaves many as they are; either way all is there afterwards."""
    monkeypatch.setattr(candlewick.stores.lmdb, "_SERIES_AT_CLOSE", 3)
    for first, count, left in ((0, 3, 0), (10, 4, 4)):
        store = opened(tmp_path)
        store.write(np.concatenate([rows_from(first, 1, number) for number in range(count)]))
        store.close()
        again = opened(tmp_path)
        assert again.pending_rows == left
        assert [info.rows for info in again.series()[:4]] == [1 + left // 4, 1 + left // 4, 1 + left // 4, left // 4]
        again.close()


def test_write_bounds_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to call `fold`: writing keeps the journal about as long as its bound."""
    monkeypatch.setattr(candlewick.stores.lmdb, "_JOURNAL_ROWS", 2_000)
    monkeypatch.setattr(candlewick.stores.lmdb, "_JOURNAL_ROWS_MOST", 2_000)
    store = opened(tmp_path)
    longest = 0
    for at in range(600):
        store.write(np.concatenate([rows_from(at, 1, number) for number in range(0, 20, 2)]))
        longest = max(longest, store.pending_rows)
    assert longest < 2_600
    assert [info.rows for info in store.series()] == [600, 0] * 10
    store.close()


def test_tidy_folds_a_long_journal_one_series_a_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a short journal there is nothing to tidy; with a long one each call moves one series until all are moved."""
    monkeypatch.setattr(candlewick.stores.lmdb, "_JOURNAL_ROWS", 0)
    monkeypatch.setattr(candlewick.stores.lmdb, "_JOURNAL_ROWS_A_SERIES", 5)
    store = opened(tmp_path)
    for at in range(5):
        assert not store.tidy()
        assert store.pending_rows == 20 * at
        store.write(np.concatenate([rows_from(at, 1, number) for number in range(20)]))
    calls = 1
    while store.tidy():
        calls += 1
    assert calls == 20
    assert store.pending_rows == 0
    assert [info.rows for info in store.series()] == [5] * 20
    store.close()


def test_many_rows_go_to_blocks_at_once(tmp_path: Path) -> None:
    """A month of one series does not pass through the journal, but for times the journal has."""
    store = opened(tmp_path)
    store.write(rows_from(50, 10))
    rows = rows_from(0, 5_000, source=Source.REST)
    result = store.write(rows)
    assert (result.inserted, result.confirmed) == (4_990, 10)
    assert store.pending_rows == 20
    assert store.read(SERIES[0]).tobytes() == rows.tobytes()
    store.close()
    reader = LmdbStore.open(tmp_path, write=False)
    assert reader.read(SERIES[0]).tobytes() == rows.tobytes()
    assert reader.series()[0].rows == 5_000
    reader.close()


def test_replaced_rows_are_kept(tmp_path: Path) -> None:
    """Every row that another replaced can be had, in order."""
    store = opened(tmp_path)
    for value in (1.0, 2.0, 3.0):
        store.write(rows_from(5, 1, value=value))
    store.write(rows_from(4, 2, 1, value=9.0))
    store.write(np.concatenate([rows_from(4, 1, source=Source.REST, value=value) for value in (5.0, 6.0, 6.0)]))
    assert store.revisions(SERIES[0])["close"].tolist() == [5.0, 1.0, 2.0]
    assert len(store.revisions(SERIES[1])) == 0
    assert len(store.revisions(Series(Market.USDM, "X", Interval("1m")))) == 0
    store.close()


def test_columns_are_the_columns_of_read(tmp_path: Path) -> None:
    """Whole columns have the values of the rows, in spans across blocks and journal, in one thread or several."""
    store = opened(tmp_path)
    count = 60_000
    rows = rows_from(0, count)
    rows["trades"] = np.arange(count)
    rows["volume"] = np.arange(count) / 100
    store.write(rows[: count - 100])
    store.write(rows[count - 100 :])
    for start, end, last in ((None, None, None), (START + 77 * MINUTE, None, None), (None, None, 9_000)):
        expected = store.read(SERIES[0], start, end, last=last)
        columns = store.columns(SERIES[0], start, end, last=last)
        assert list(columns) == list(ROW.names)
        for name, values in columns.items():
            assert np.array_equal(values, expected[name])
    assert list(store.columns(SERIES[0], columns=["volume", "open_time"])) == ["volume", "open_time"]
    store.close()


def test_store_is_used_from_many_threads(tmp_path: Path) -> None:
    """Threads that write and read at once leave what each has written."""
    store = opened(tmp_path)
    failed: list[Exception] = []

    def work(number: int) -> None:
        try:
            for at in range(20):
                store.write(rows_from(at, 1, number))
                assert len(store.read(SERIES[number])) == at + 1
        except Exception as error:  # noqa: BLE001  # shown below
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert [info.rows for info in store.series()[:5]] == [20, 20, 20, 20, 0]
    store.close()


def test_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails half way is as if it had not been, in memory too: the same call does all of it."""
    store = opened(tmp_path)
    store.write(rows_from(0, 5))
    calls = 0

    def fail(*_: object) -> bytes:
        nonlocal calls
        calls += 1
        raise StoreError("for the test")

    batch = np.concatenate([rows_from(3, 10, 0), rows_from(0, 3, 1), rows_from(100, 600, 2)])
    with monkeypatch.context() as patched:
        patched.setattr("candlewick.stores.changes.pack_entry", fail)
        with pytest.raises(StoreError, match="for the test"):
            store.write(batch)
    assert calls == 1
    assert [info.rows for info in store.series()[:3]] == [5, 0, 0]
    result = store.write(batch)
    assert (result.inserted, result.unchanged) == (611, 2)
    assert [info.rows for info in store.series()[:3]] == [13, 3, 600]
    store.close()


def test_open_store_names_its_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """URLs of each kind, relative folders, and what is not one."""
    assert isinstance(open_store("memory://", write=True), MemoryStore)
    monkeypatch.chdir(tmp_path)
    store = open_store("lmdb://data", write=True)
    assert isinstance(store, LmdbStore)
    assert store.location == f"lmdb://{tmp_path / 'data'}"
    reader = open_store(f"lmdb://{tmp_path}/data", write=False)
    assert not isinstance(reader, LmdbStore)
    reader.close()
    store.close()
    with pytest.raises(StoreDown, match=r"postgresql://user@127\.0\.0\.1:1/db does not answer"):
        open_store("postgresql://user@127.0.0.1:1/db", write=True)
    for url in ("lmdb://", "data", "sqlite:///x", ""):
        with pytest.raises(ConfigError):
            open_store(url, write=True)
