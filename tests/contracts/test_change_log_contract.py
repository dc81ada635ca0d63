"""What every store's log of changes does: it names all that a write left behind, in order, until it is dropped."""

import random
from collections.abc import Iterator
from pathlib import Path

import lmdb
import numpy as np
import pytest

from candlewick.errors import StoreDamaged
from candlewick.market import MINUTE, Interval, Market, Series, Span
from candlewick.stores.compaction import compact
from candlewick.stores.lmdb import LmdbReader, LmdbStore
from candlewick.stores.memory import MemoryStore
from candlewick.stores.store import ROW, SPAN, Absence, Change, ChangeKind, ChangeRange, Reason, Rows, Source, Store

MINUTES = Series(Market.SPOT, "BTCUSDT", Interval("1m"))
HOURS = Series(Market.USDM, "ETHUSDT", Interval("1h"))
START = 1_700_000_040_000_000
ABSENCE = Absence(Span(START, START + MINUTE), Reason.EXCHANGE_OUTAGE, "{}")


@pytest.fixture(params=["memory", "lmdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = MemoryStore() if request.param == "memory" else LmdbStore.open(tmp_path / "store", write=True)
    opened.number(MINUTES)
    opened.number(HOURS)
    yield opened
    opened.close()


def rows_at(series: Series, slots: list[int], source: Source = Source.LIVE, value: float = 1.5) -> Rows:
    rows = np.zeros(len(slots), ROW)
    rows["series"], rows["source"] = int(series == HOURS), source
    rows["open_time"] = START + np.array(slots, np.int64) * series.interval.nominal
    rows["close"] = value
    return rows


def touched(series: Series, first: int, last: int, rows: int) -> tuple[Series, Span, int]:
    step = series.interval.nominal
    return series, Span(START + first * step, START + last * step + 1), rows


def logged(store: Store, after: int) -> list[tuple[Series | None, Span | None, int]]:
    return [(one.series, one.span, one.rows) for one in store.changes(after, 1_000)]


def test_nothing_is_logged_until_it_is_asked_for(store: Store) -> None:
    """A store nobody follows has no log, and its writes no sequence."""
    assert store.write(rows_at(MINUTES, [0, 1])).sequence == 0
    assert store.change_range() == ChangeRange(1, 0)
    assert store.changes(0, 10) == []
    assert store.log_changes() == 0
    assert store.write(rows_at(MINUTES, [1, 2])).sequence > 0
    assert logged(store, 0) == [touched(MINUTES, 2, 2, 1)]


def test_log_names_the_rows_that_stand(store: Store) -> None:
    """Inserted, changed, confirmed and raised rows are named; unchanged and refused ones are not."""
    store.log_changes()
    store.write(rows_at(MINUTES, [0, 1, 2], Source.REST))
    after = store.change_range().last
    assert store.write(rows_at(MINUTES, [0, 1, 2], Source.REST)).sequence == 0
    assert store.write(rows_at(MINUTES, [0, 1], Source.LIVE, 9.0)).sequence == 0
    assert store.change_range().last == after
    first = store.write(rows_at(MINUTES, [1], Source.ARCHIVE)).sequence
    second = store.write(rows_at(MINUTES, [0, 2], Source.ARCHIVE, 2.5)).sequence
    assert (first, second) == (after + 1, after + 2)
    assert logged(store, after) == [touched(MINUTES, 1, 1, 1), touched(MINUTES, 0, 2, 2)]


def test_log_parts_what_lies_far_apart(store: Store) -> None:
    """Several series of one write, and rows thousands of candles apart, are entries of their own in one sequence."""
    store.log_changes()
    rows = np.concatenate([rows_at(HOURS, [5_000, 0, 1]), rows_at(MINUTES, [7, 20_000, 6, 4_100])])
    sequence = store.write(rows).sequence
    assert logged(store, 0) == [
        touched(MINUTES, 6, 4_100, 3), touched(MINUTES, 20_000, 20_000, 1),
        touched(HOURS, 0, 1, 2), touched(HOURS, 5_000, 5_000, 1),
    ]  # fmt: skip
    assert {change.sequence for change in store.changes(0, 10)} == {sequence}


def test_log_counts_a_time_once(store: Store) -> None:
    """A write that names one candle twice kept one."""
    store.log_changes()
    store.write(np.concatenate([rows_at(MINUTES, [0, 1], value=value) for value in (1.0, 2.0, 3.0)]))
    assert logged(store, 0) == [touched(MINUTES, 0, 1, 2)]


def test_log_names_absences_and_states(store: Store) -> None:
    """Reasons by series; states by key, only those that outputs want, set or forgotten."""
    store.log_changes()
    store.set_absences(HOURS, [ABSENCE])
    store.set_state("output:x", b"private")
    store.set_states({"listing:spot:BTCUSDT": b"{}", "wanted": b"1", "gap:a": None})
    first, *others = store.changes(0, 10)
    assert first == Change(first.sequence, ChangeKind.ABSENCES, HOURS, None, 0, "")
    assert others == [
        Change(first.sequence + 1, ChangeKind.STATE, None, None, 0, key) for key in ("listing:spot:BTCUSDT", "gap:a")
    ]


def test_log_is_read_in_whole_writes(store: Store) -> None:
    """A limit is passed rather than a write cut."""
    store.log_changes()
    for slot in range(4):
        store.write(np.concatenate([rows_at(MINUTES, [slot]), rows_at(HOURS, [slot])]))
    assert [len(store.changes(0, limit)) for limit in (1, 2, 3, 100)] == [2, 2, 4, 8]
    last = store.changes(0, 3)[-1].sequence
    assert len(store.changes(last, 100)) == 4
    assert store.changes(store.change_range().last, 100) == []


def test_log_tells_what_was_touched(store: Store) -> None:
    """Whole writes until they kept so many rows: the spans of the changes, reasons and states each once, up to a bound."""
    store.log_changes()
    assert store.touched(0, 10).spans.tolist() == []
    for slots in ([0, 1, 2], [5], [1]):
        store.write(rows_at(MINUTES, slots, value=float(slots[0])))
    store.write(np.concatenate((rows_at(MINUTES, [6]), rows_at(HOURS, [0, 9_000]))))
    store.set_absences(HOURS, [ABSENCE])
    store.set_states({"certificate:a": b"1", "listing:b": b"2", "private": b"3"})
    store.set_states({"certificate:a": None})
    changes = store.changes(store.change_range().first - 1, 100)
    sequences = sorted({change.sequence for change in changes})
    everything = store.touched(0, 10_000)
    numbers = {series: store.number(series) for series in (MINUTES, HOURS)}
    spans = [(numbers[one.series], *one.span) for one in changes if one.series is not None and one.span is not None]
    assert everything.spans.tolist() == spans
    assert (everything.rows, everything.absences, everything.states) == (8, [HOURS], ["certificate:a", "listing:b"])
    assert everything.through == sequences[-1]
    nothing = store.touched(sequences[-1], 10)
    assert (nothing.through, nothing.rows, len(nothing.spans)) == (sequences[-1], 0, 0)
    for rows, through in ((1, 0), (3, 0), (4, 1), (5, 2), (6, 3), (8, 3), (9, 4), (108, 4), (109, 5)):
        assert store.touched(0, rows).through == sequences[through], rows
    part = store.touched(sequences[0], 100, sequences[2])
    assert (part.through, part.rows, len(part.spans)) == (sequences[2], 2, 2)
    assert store.touched(sequences[2], 100, sequences[2]).through == sequences[2]


def test_spans_are_read_together(store: Store) -> None:
    """Rows of many spans of many series, span after span, whether the store holds them here or there."""
    series = [MINUTES, HOURS, *(MINUTES._replace(symbol=f"S{at}USDT") for at in range(5))]
    for at, one in enumerate(series):
        rows = rows_at(one, list(range(at, 20_000, 3)), Source.ARCHIVE, at)
        rows["series"] = store.number(one)
        store.write(rows)
        for slots in ([4, 9_000, 19_999], [9_000, 25_000]):
            few = rows_at(one, slots, Source.REST, slots[0])
            few["series"] = store.number(one)
            store.write(few)
    times = [START, START + MINUTE, START + 8_000 * MINUTE, START + 9_500 * MINUTE, START + 26_000 * 60 * MINUTE]
    spans = [
        (store.number(one), start, end)
        for one in (series[3], series[1], series[6])
        for start, end in ((times[0], times[1]), (times[2], times[3]), (times[3], times[4]))
    ]
    found = store.read_spans(np.array(spans, SPAN))
    one_by_one = [store.read(series[number], start, end) for number, start, end in spans]
    assert len(one_by_one[-1]) > 3_000
    assert found.tobytes() == np.concatenate(one_by_one).tobytes()
    assert len(store.read_spans(np.empty(0, SPAN))) == 0


def test_log_is_dropped_a_little_at_a_time(store: Store) -> None:
    """No more writes than one says, however many entries they have, until nothing of what was asked is left."""
    store.log_changes()
    for slot in range(10):
        store.write(np.concatenate((rows_at(MINUTES, [slot]), rows_at(HOURS, [slot]))))
    last = store.change_range().last
    first = store.changes(0, 1)[0].sequence
    assert store.drop_changes(last - 1, 4)
    assert len(store.changes(0, 100)) == 12
    assert store.change_range() == (first + 4, last)
    assert store.drop_changes(last - 1, 4)
    assert not store.drop_changes(last - 1, 4)
    assert store.change_range() == (last, last)
    assert not store.drop_changes(last - 1, 4)


def test_log_is_dropped_from_its_start(store: Store) -> None:
    """What is dropped is gone; what comes later goes on counting, also when nothing was left."""
    assert store.log_changes() == 0
    sequences = [store.write(rows_at(MINUTES, [slot])).sequence for slot in range(4)]
    store.drop_changes(sequences[1])
    assert store.change_range() == (sequences[1] + 1, sequences[3])
    assert [change.sequence for change in store.changes(0, 10)] == sequences[2:]
    store.drop_changes(sequences[0])
    store.drop_changes(sequences[3] + 100)
    assert store.change_range() == (sequences[3] + 1, sequences[3])
    assert store.write(rows_at(MINUTES, [4])).sequence == sequences[3] + 1
    assert store.log_changes() == sequences[3] + 1


def test_identity_stays(store: Store) -> None:
    """32 hexadecimal digits, the same whenever it is asked for, another's for another store."""
    name = store.identity()
    assert name == store.identity()
    assert len(bytes.fromhex(name)) == 16
    assert name != MemoryStore().identity()


@pytest.mark.parametrize("seed", range(3))
def test_who_follows_the_log_has_it_all(store: Store, seed: int) -> None:
    """Reading again what the log names gives every row as it stands, whatever was written in whatever order."""
    rng = random.Random(seed)
    store.log_changes()
    copy: dict[tuple[Series, int], bytes] = {}
    after = 0
    for _ in range(30):
        series = rng.choice([MINUTES, HOURS])
        slots = [rng.randrange(30_000) for _ in range(rng.choice([1, 3, 700]))]
        store.write(rows_at(series, slots, rng.choice(list(Source)), rng.choice([1.5, 2.5])))
        while rng.random() < 0.4 and (changes := store.changes(after, rng.choice([1, 5, 100]))):
            for change in changes:
                copy |= {
                    (change.series, row["open_time"].item()): row.tobytes()
                    for row in store.read(change.series, *change.span)
                }
            after = changes[-1].sequence
    for change in store.changes(after, 1_000_000):
        copy |= {
            (change.series, row["open_time"].item()): row.tobytes() for row in store.read(change.series, *change.span)
        }
    for series in (MINUTES, HOURS):
        assert b"".join(copy[key] for key in sorted(copy) if key[0] == series) == store.read(series).tobytes()


def test_log_outlives_the_writer(tmp_path: Path) -> None:
    """A store that was opened again logs on, above all that was, though nothing was left of the log."""
    store = LmdbStore.open(tmp_path, write=True)
    store.number(MINUTES)
    name = store.identity()
    store.log_changes()
    first = store.write(rows_at(MINUTES, [0])).sequence
    store.close()
    for slot in (1, 2):
        store = LmdbStore.open(tmp_path, write=True)
        assert store.identity() == name
        assert store.change_range().last == first
        second = store.write(rows_at(MINUTES, [slot])).sequence
        assert second > first
        assert logged(store, first) == [touched(MINUTES, slot, slot, 1)]
        store.drop_changes(second)
        store.close()
        first = second


def test_restored_store_gives_no_sequence_twice(tmp_path: Path) -> None:
    """A copy of the store that goes on gives none of the sequences that the store gave after it was copied."""
    store = LmdbStore.open(tmp_path / "store", write=True)
    store.number(MINUTES)
    store.log_changes()
    store.write(rows_at(MINUTES, [0]))
    compact_copy = tmp_path / "copy"
    compact_copy.mkdir()
    store._environment.copy(compact_copy)
    after = {store.write(rows_at(MINUTES, [slot])).sequence for slot in range(1, 50)}
    store.close()
    store = LmdbStore.open(compact_copy, write=True)
    assert after.isdisjoint({store.write(rows_at(MINUTES, [slot])).sequence for slot in range(1, 100)})
    store.close()


def test_readers_see_the_log_that_is_made_while_they_read(tmp_path: Path) -> None:
    """A reader from before there was a log follows it all the same; the store has format 2 from then on, not before."""
    store = LmdbStore.open(tmp_path, write=True)
    store.number(MINUTES)
    assert _format(store) == b"1"
    reader = LmdbStore.open(tmp_path, write=False)
    assert reader.change_range() == ChangeRange(1, 0)
    store.log_changes()
    store.write(rows_at(MINUTES, [0]))
    assert logged(reader, 0) == [touched(MINUTES, 0, 0, 1)]
    assert _format(store) == b"2"
    store.close()
    assert reader.changes(0, 10)
    reader.close()


def _format(store: LmdbReader) -> bytes:
    with store._environment.reading() as txn:
        return bytes(txn.get(b"format", db=store._environment.databases["meta"]))


def test_compaction_keeps_the_log(tmp_path: Path) -> None:
    """Who follows it goes on where it was."""
    store = LmdbStore.open(tmp_path, write=True)
    store.number(MINUTES)
    store.log_changes()
    sequences = [store.write(rows_at(MINUTES, [slot])).sequence for slot in range(5)]
    store.drop_changes(sequences[1])
    before = store.changes(0, 10), store.change_range(), store.identity()
    store.close()
    compact(tmp_path)
    store = LmdbStore.open(tmp_path, write=True)
    assert (store.changes(0, 10), store.change_range(), store.identity()) == before
    store.close()


def test_log_makes_the_file_grow(tmp_path: Path) -> None:
    """The file grows under the log as under anything else, and nothing of the log is lost by that."""
    store = LmdbStore.open(tmp_path, write=True, map_size=1 << 17)
    store.number(MINUTES)
    store.log_changes()
    slots = [slot * 5_000 for slot in range(400)]
    for part in range(40):
        store.write(rows_at(MINUTES, [slot + part for slot in slots]))
    changes = store.changes(0, 1_000_000)
    assert [change.span.start for change in changes] == [
        START + (slot + part) * MINUTE for part in range(40) for slot in slots
    ]
    store.drop_changes(changes[-1].sequence)
    assert store.changes(0, 1) == []
    store.close()


@pytest.mark.parametrize("at", [0, 9, 14, 20])
def test_damaged_log_is_noticed(tmp_path: Path, at: int) -> None:
    """A flipped bit in a value is told with the sequence it is at."""
    store = LmdbStore.open(tmp_path, write=True)
    store.number(MINUTES)
    store.log_changes()
    sequence = store.write(rows_at(MINUTES, [0, 1])).sequence
    store.close()
    with lmdb.open(str(tmp_path), max_dbs=10) as env:
        database = env.open_db(b"changes", create=False)
        with env.begin(write=True) as txn:
            key = sequence.to_bytes(8, "big")
            value = bytearray(txn.get(key, db=database))
            value[at] ^= 4
            txn.put(key, bytes(value), db=database)
    reader = LmdbStore.open(tmp_path, write=False)
    with pytest.raises(StoreDamaged, match=f"entry {sequence} of the log of changes"):
        reader.changes(0, 10)
    reader.close()
