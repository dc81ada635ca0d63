"""What every store does, run on each of them: the write rule, reading back, absences, quarantine, state."""

import random
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest

import candlewick.stores.lmdb
import candlewick.stores.plan
import candlewick.stores.tables
from candlewick.errors import StoreError, UsageError
from candlewick.market import DAY, MINUTE, Candle, Interval, Market, Series, Span
from candlewick.stores.environment import FIRST_MAP_SIZE
from candlewick.stores.lmdb import LmdbStore
from candlewick.stores.memory import MemoryStore
from candlewick.stores.postgres.store import PostgresStore
from candlewick.stores.store import ROW, SPAN, Absence, Quarantined, Reason, Rows, Source, Store, to_rows

MINUTES = Series(Market.SPOT, "BTCUSDT", Interval("1m"))
MONTHS = Series(Market.USDM, "ETHUSDT", Interval("1M"))
START = 1_700_000_040_000_000
VALUES = [name for name in ROW.names if name not in {"series", "source", "open_time"}]


def without_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are packed and read with numpy, as where no compiler was."""
    monkeypatch.setattr(candlewick.stores.tables, "loaded", lambda: None)
    monkeypatch.setattr(candlewick.stores.plan, "loaded", lambda: None)


LOCAL = ["memory", "lmdb", "lmdb without kernel"]


def opened_as(kind: str, request: pytest.FixtureRequest, map_size: int = FIRST_MAP_SIZE) -> Store:
    """The store of this test, of one kind; a second time it is what the first left."""
    if kind == "lmdb without kernel":
        without_kernel(request.getfixturevalue("monkeypatch"))
    if kind == "memory":
        return MemoryStore()
    if kind == "postgresql":
        return PostgresStore.open(request.getfixturevalue("emptied_url"), write=True)
    return LmdbStore.open(request.getfixturevalue("tmp_path") / "store", write=True, map_size=map_size)


@pytest.fixture(params=[*LOCAL, "postgresql"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """Every kind of store."""
    opened = opened_as(request.param, request)
    yield opened
    opened.close()


@pytest.fixture(params=LOCAL)
def local_store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """Those whose numbers are binary: in SQL they are decimal."""
    opened = opened_as(request.param, request)
    yield opened
    opened.close()


def rows_at(number: int, times: list[int], source: Source = Source.LIVE, value: float = 1.5) -> Rows:
    rows = np.zeros(len(times), ROW)
    rows["series"], rows["source"], rows["open_time"] = number, source, times
    rows["close_time"] = rows["open_time"] + MINUTE - 1000
    for name in VALUES:
        if name != "close_time":
            rows[name] = value
    return rows


def minutes(number: int, count: int, source: Source = Source.LIVE, value: float = 1.5, first: int = 0) -> Rows:
    return rows_at(number, [START + (first + at) * MINUTE for at in range(count)], source, value)


def same(left: Rows, right: Rows) -> bool:
    return left.dtype == right.dtype and left.tobytes() == right.tobytes()


def test_store_gives_back_what_was_written(store: Store) -> None:
    """Rows come back bit for bit, oldest first."""
    rows = minutes(store.number(MINUTES), 100)
    rows["volume"] = np.random.default_rng(1).random(100)
    assert store.write(rows[::-1].copy()).inserted == 100
    assert same(store.read(MINUTES), rows)


def test_store_takes_candles_as_rows(store: Store) -> None:
    """A candle written through `to_rows` has the values of the candle."""
    candle = Candle(START, 1.1, 1.4, 1.0, 1.2, 10.5, START + MINUTE - 1000, 12.25, 7, 5.5, 6.125)
    store.write(to_rows(store.number(MINUTES), Source.REST, [candle]))
    row = store.read(MINUTES)[0]
    assert [row[name].item() for name in ("open_time", *VALUES)] == [
        getattr(candle, name) for name in ("open_time", *VALUES)
    ]


def test_store_numbers_series_once(store: Store) -> None:
    """Numbers count from 0 and stay."""
    assert [store.number(series) for series in (MINUTES, MONTHS, MINUTES)] == [0, 1, 0]
    assert [info.series for info in store.series()] == [MINUTES, MONTHS]


RULE = {
    (Source.LIVE, Source.LIVE, True): "unchanged",
    (Source.LIVE, Source.REST, True): "confirmed",
    (Source.LIVE, Source.ARCHIVE, True): "confirmed",
    (Source.LIVE, Source.LIVE, False): "changed",
    (Source.LIVE, Source.REST, False): "changed",
    (Source.LIVE, Source.ARCHIVE, False): "changed",
    (Source.REST, Source.LIVE, False): "refused",
    (Source.REST, Source.REST, False): "changed",
    (Source.REST, Source.ARCHIVE, False): "changed",
    (Source.ARCHIVE, Source.LIVE, False): "refused",
    (Source.ARCHIVE, Source.REST, False): "changed",
    (Source.ARCHIVE, Source.ARCHIVE, False): "changed",
}


@pytest.mark.parametrize("count", [1, 700])
@pytest.mark.parametrize(("held", "new", "equal"), list(product(Source, Source, [True, False])))
def test_store_follows_the_write_rule(store: Store, held: Source, new: Source, equal: bool, count: int) -> None:
    """Every pair of sources, with equal and with different values, in small writes and in large ones."""
    number = store.number(MINUTES)
    before = minutes(number, count, held)
    after = minutes(number, count, new, 1.5 if equal else 2.5)
    assert store.write(before) == (count, 0, 0, (), (), 0)
    outcome = RULE.get((held, new, equal), "unchanged")
    result = store.write(after)
    assert (result.inserted, result.confirmed, result.unchanged) == (
        0, count * (outcome == "confirmed"), count * (outcome == "unchanged"),
    )  # fmt: skip
    for name, pairs in (("changed", result.changed), ("refused", result.refused)):
        assert len(pairs) == (count if outcome == name else 0)
        for at, (old, replacement) in enumerate(pairs):
            assert same(old, before[at : at + 1])
            assert same(replacement, after[at : at + 1])
    expected = {"changed": after, "refused": before}.get(outcome, before.copy())
    if equal:
        expected["source"] = max(held, new)
    assert same(store.read(MINUTES), expected)


def test_store_compares_bits(local_store: Store) -> None:
    """0.0 and -0.0 differ; the same not-a-number is the same."""
    store = local_store
    number = store.number(MINUTES)
    store.write(minutes(number, 2, value=0.0))
    changed = minutes(number, 2, value=0.0)
    changed["close"] = -0.0, np.nan
    assert len(store.write(changed).changed) == 2
    assert store.write(changed).unchanged == 2
    assert same(store.read(MINUTES), changed)


def test_store_takes_the_later_of_one_call(store: Store) -> None:
    """Within one call the later row of a time counts as later, by the same rule."""
    number = store.number(MINUTES)
    batch = np.concatenate([
        rows_at(number, [START], Source.LIVE, 1.0),
        rows_at(number, [START], Source.REST, 2.0),
        rows_at(number, [START], Source.LIVE, 3.0),
        rows_at(number, [START], Source.ARCHIVE, 2.0),
    ])  # fmt: skip
    result = store.write(batch)
    assert (result.inserted, result.unchanged, len(result.changed), len(result.refused)) == (1, 1, 1, 1)
    assert same(store.read(MINUTES), batch[3:])


def test_store_reads_spans_and_newest(store: Store) -> None:
    """`start`, `end` and `last` cut what is read as they cut a list."""
    size = 900 if isinstance(store, PostgresStore) else 9_000  # blocks of the others are full at 4,320
    rows = minutes(store.number(MINUTES), size)
    part = size - size // 9
    store.write(rows[:part])
    for at in range(part, size, 100):
        store.write(rows[at : at + 100])
    times = rows["open_time"]
    middle, end_of_part = int(times[size * 12 // 25]) - MINUTE, int(times[part - 1])
    edges = [None, START - DAY, START, START + 1, middle, end_of_part, int(times[-1]) + 1]
    for start, end, last in product(edges, edges, [None, 0, 1, 99, size * 5 // 9, 20_000]):
        inside = (times >= (start or 0)) & (times < (end if end is not None else 1 << 62))
        expected = rows[inside] if last is None else rows[inside][max(0, int(inside.sum()) - last) :]
        assert same(store.read(MINUTES, start, end, last=last), expected)


def test_store_reads_the_columns_asked_for(store: Store) -> None:
    """Named columns come in the order named; unknown ones are refused."""
    rows = minutes(store.number(MINUTES), 10)
    store.write(rows)
    read = store.read(MINUTES, columns=["close", "open_time", "series"])
    assert read.dtype.names == ("close", "open_time", "series")
    assert all(np.array_equal(read[name], rows[name]) for name in read.dtype.names)
    with pytest.raises(UsageError, match="no column colse"):
        store.read(MINUTES, columns=["colse"])


def test_store_reads_many_spans(store: Store) -> None:
    """Span after span, of several series; what is in none of them is left out."""
    numbers = [store.number(series) for series in (MINUTES, MINUTES._replace(symbol="ETHUSDT"))]
    rows = [minutes(number, 20) for number in numbers]
    for each in rows:
        store.write(each)
    times = rows[0]["open_time"].tolist()
    spans = [(numbers[1], times[3], times[5]), (numbers[0], 0, times[1] + 1), (numbers[0], times[18], times[19] + 1)]
    found = store.read_spans(np.array(spans, SPAN))
    assert found.tobytes() == np.concatenate([rows[1][3:5], rows[0][:2], rows[0][18:]]).tobytes()
    assert len(store.read_spans(np.empty(0, SPAN))) == 0


def test_store_has_nothing_of_an_unknown_series(store: Store) -> None:
    """Asking for a series that was never written finds nothing and makes nothing."""
    assert len(store.read(MINUTES)) == 0
    assert store.absences(MINUTES) == []
    assert store.series() == []


def test_store_says_what_it_holds(store: Store) -> None:
    """Rows, first and last open time of every series, however the rows came."""
    number = store.number(MINUTES)
    store.number(MONTHS)
    assert store.series() == [(MINUTES, 0, None, None), (MONTHS, 0, None, None)]
    store.write(minutes(number, 1_000, first=50))
    store.write(minutes(number, 20, first=40))
    store.write(minutes(number, 30, Source.REST, first=1_030))
    first, last = START + 40 * MINUTE, START + 1_059 * MINUTE
    assert store.series() == [(MINUTES, 1_020, first, last), (MONTHS, 0, None, None)]
    assert store.series(symbol="BTCUSDT") == [(MINUTES, 1_020, first, last)]
    assert [(one.series, one.first, one.last) for one in store.series(counted=False, symbol="BTCUSDT")] == [
        (MINUTES, first, last)
    ]
    assert [one.series for one in store.series(counted=False)] == [MINUTES, MONTHS]
    assert store.series(counted=False, symbol="DOGEUSDT") == []


@pytest.mark.parametrize("code", ["1s", "1m", "3m", "1h", "1d", "3d", "1w", "1M", "3M"])
def test_store_keeps_every_interval(store: Store, code: str) -> None:
    """Rows of any interval, on the grid and off it, come back as they were."""
    interval = Interval(code)
    series = Series(Market.SPOT, "BTCUSDT", interval)
    number = store.number(series)
    first = interval.ceil(START)
    times = [first]
    # Tables in SQL have a partition a week.
    while len(times) < (12 if isinstance(store, PostgresStore) else 600):
        times.append(interval.next(times[-1]))
    rows = rows_at(number, times)
    rows["close_time"] = [interval.close(time) for time in times]
    shifted = rows[: len(rows) // 12].copy()
    shifted["open_time"] += 1_000
    store.write(rows)
    assert store.write(shifted).inserted == len(shifted)
    both = np.sort(np.concatenate((rows, shifted)), order="open_time")
    assert same(store.read(series), both)
    middle = (both["open_time"] >= times[4]) & (both["open_time"] < times[8])
    assert same(store.read(series, times[4], times[8]), both[middle])


def test_store_refuses_rows_it_cannot_place(store: Store) -> None:
    """Rows of another layout, an unknown number, source or time are refused and nothing of the call is kept."""
    number = store.number(MINUTES)
    wrong: list[tuple[str, Any]] = [("series", number + 1), ("source", 0), ("source", 4), ("open_time", -1)]
    for name, value in wrong:
        rows = minutes(number, 3)
        rows[name][1] = value
        with pytest.raises(UsageError):
            store.write(rows)
    with pytest.raises(UsageError, match="ROW"):
        store.write(np.zeros(3))
    assert len(store.read(MINUTES)) == 0


def test_store_takes_no_rows(store: Store) -> None:
    """Writing nothing does nothing."""
    assert store.write(np.empty(0, ROW)) == (0, 0, 0, (), (), 0)


def test_store_replaces_absences(store: Store) -> None:
    """Reasons come back by time; setting replaces them all; overlapping ones are refused."""
    early = Absence(Span(START, START + MINUTE), Reason.EXCHANGE_OUTAGE, '{"asked": ["rest"]}')
    late = Absence(Span(START + MINUTE, START + DAY), Reason.DELISTED, "{}")
    store.set_absences(MINUTES, [late, early])
    assert store.absences(MINUTES) == [early, late]
    with pytest.raises(UsageError, match="overlap"):
        store.set_absences(MINUTES, [late, Absence(Span(START, START + DAY), Reason.PENDING, "{}")])
    store.set_absences(MINUTES, [late])
    assert store.absences(MINUTES) == [late]
    store.set_absences(MINUTES, [])
    assert store.absences(MINUTES) == []


def test_store_bounds_the_quarantine(store: Store) -> None:
    """The newest 10,000 entries are kept, newest first."""
    entries = [Quarantined("spot:BTCUSDT:1m", "rule", "live", at, b"\xff%d" % at) for at in range(10_050)]
    store.quarantine(entries[:6_000])
    store.quarantine(entries[6_000:])
    assert store.quarantined(3) == entries[:-4:-1]
    assert store.quarantined() == entries[:-101:-1]
    assert store.quarantined(20_000) == entries[:49:-1]
    assert store.quarantined(0) == []


def test_store_keeps_state(store: Store) -> None:
    """A value stays until it is replaced or forgotten."""
    assert store.state("wanted") is None
    store.set_state("wanted", b"1")
    store.set_state("wanted", b"2")
    assert store.state("wanted") == b"2"
    store.set_state("wanted", None)
    store.set_state("never", None)
    assert store.state("wanted") is None


def test_store_tidies_when_there_is_nothing(store: Store) -> None:
    """An empty store has nothing that could wait, and may be announced all the same."""
    store.announce("http://127.0.0.1:8080")
    assert not store.tidy()


def test_store_is_closed_for_good(store: Store) -> None:
    """Closing twice is fine; using it afterwards is an error that says so."""
    store.number(MINUTES)
    store.close()
    store.close()
    actions: list[Callable[[], object]] = [
        lambda: store.read(MINUTES), store.series, lambda: store.write(minutes(0, 1)), lambda: store.number(MONTHS),
        lambda: store.set_state("a", b"b"),
    ]  # fmt: skip
    for action in actions:
        with pytest.raises(StoreError, match="closed"):
            action()


class Model:
    """The write rule, one row after the other, in the plainest way."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, int], bytes] = {}

    def write(self, rows: Rows) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {
            "inserted": [], "confirmed": [], "unchanged": [], "changed": [], "refused": [],
        }  # fmt: skip
        size, values = ROW.itemsize, ROW.fields["open"][1]
        data, keys = rows.tobytes(), zip(rows["series"].tolist(), rows["open_time"].tolist(), strict=True)
        for at, key in enumerate(keys):
            row = data[at * size : (at + 1) * size]
            held = self.rows.get(key)
            if held is None:
                self.rows[key] = row
                found["inserted"].append(row)
            elif held[values:] == row[values:]:
                rises = row[4] > held[4]
                found["confirmed" if rises and held[4] == Source.LIVE else "unchanged"].append(row)
                self.rows[key] = row if rises else held
            elif row[4] >= Source.REST or held[4] == Source.LIVE:
                found["changed"].append((held, row))
                self.rows[key] = row
            else:
                found["refused"].append((held, row))
        return found

    def read(self, number: int) -> Rows:
        keys = sorted(key for key in self.rows if key[0] == number)
        return np.frombuffer(b"".join(self.rows[key] for key in keys), ROW)


def random_rows(rng: random.Random, numbers: list[Series]) -> Rows:
    """A batch that often repeats itself, goes back in time, and is now and then long."""
    parts = []
    for _ in range(rng.choice([1, 1, 2, 5])):
        number = rng.randrange(len(numbers))
        interval = numbers[number].interval
        count = rng.choice([1, 1, 2, 10, 60, 900])
        at = interval.ceil(START + rng.randrange(6_000) * interval.nominal)
        times = []
        for _ in range(count):
            times.append(at)
            at = interval.next(at)
        part = rows_at(number, times, rng.choice(list(Source)), rng.choice([1.5, 1.5, 2.25, 0.1 + 0.2]))
        part["volume"] = np.arange(count) % 7
        parts.append(part)
    batch = np.concatenate(parts)
    if rng.random() < 0.3:
        np.random.default_rng(rng.randrange(1 << 30)).shuffle(batch)
    return batch


def check_against(store: Store, model: Model, numbers: list[Series], rng: random.Random) -> None:
    """One series whole, and a random span of it."""
    number = rng.randrange(len(numbers))
    held = model.read(number)
    assert same(store.read(numbers[number]), held)
    if len(held):
        low, high = sorted(rng.choice(held["open_time"]) for _ in range(2))
        inside = held[(held["open_time"] >= low) & (held["open_time"] < high)]
        last = rng.choice([None, 1, 7, 700])
        expected = inside if last is None else inside[-last:]
        assert same(store.read(numbers[number], int(low), int(high), last=last), expected)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", [*LOCAL, "postgresql"])
def test_store_agrees_with_a_plain_model(
    kind: str, seed: int, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Whatever is written in whatever order, a store does what a dict would; folding and reopening change nothing."""
    rng = random.Random(seed)
    monkeypatch.setattr(candlewick.stores.lmdb, "_JOURNAL_ROWS", 500)
    store, model = opened_as(kind, request, 1 << 20), Model()
    numbers = [MINUTES, MONTHS, Series(Market.SPOT, "X", Interval("1w")), Series(Market.SPOT, "X", Interval("1s"))]
    if kind == "postgresql":  # its tables have a partition a week: centuries of candles would be tens of thousands
        numbers[1:3] = [Series(Market.USDM, "ETHUSDT", Interval("5m")), Series(Market.SPOT, "X", Interval("1m"))]
    for series in numbers:
        store.number(series)
    for _ in range(15 if kind == "postgresql" else 60):
        rows = random_rows(rng, numbers)
        expected, result = model.write(rows), store.write(rows)
        counts = tuple(len(expected[name]) for name in ("inserted", "confirmed", "unchanged"))
        assert (result.inserted, result.confirmed, result.unchanged) == counts
        for name, pairs in (("changed", result.changed), ("refused", result.refused)):
            assert sorted((old.tobytes(), new.tobytes()) for old, new in pairs) == sorted(expected[name])
        if isinstance(store, LmdbStore) and rng.random() < 0.3:
            store.fold(rng.choice([1, 100, 100_000]))
        while rng.random() < 0.5 and store.tidy():
            pass
        if kind != "memory" and rng.random() < 0.1:
            store.close()
            store = opened_as(kind, request, 1 << 20)
        check_against(store, model, numbers, rng)
    for number, info in enumerate(store.series()):
        held = model.read(number)
        edges = (held["open_time"][0], held["open_time"][-1]) if len(held) else (None, None)
        assert (info.rows, info.first, info.last) == (len(held), *edges)
    store.close()
