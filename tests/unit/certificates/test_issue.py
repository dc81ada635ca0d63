"""What a certificate states of a store."""

from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from candlewick.certificates.audit import verify_store
from candlewick.certificates.check import verify
from candlewick.certificates.consistency import contradictions
from candlewick.certificates.document import Certificate
from candlewick.certificates.issue import certify
from candlewick.errors import StoreDamaged, UsageError
from candlewick.market import DAY, HOUR, MINUTE, SECOND, Interval, Market, Series, Span, parse_time
from candlewick.stores import open_store
from candlewick.stores.grid import BLOCK_SLOTS
from candlewick.stores.memory import MemoryStore
from candlewick.stores.provenance import FileRecord, Verdict, keep_file_records
from candlewick.stores.store import Absence, Reason, Source, Store
from tests.unit.certificates.held import (
    ARCHIVED_UNTIL,
    END,
    EVIDENCE,
    MISSING,
    OUTAGE,
    REST_UNTIL,
    ROWS,
    SERIES,
    T0,
    candles,
    fill,
    records,
    settled,
)


@pytest.fixture
def store() -> Store:
    """The sample."""
    one = MemoryStore()
    fill(one)
    return one


def spans(entries: tuple[object, ...]) -> list[tuple[int, int]]:
    return [(one.start_ms * 1000, one.end_ms * 1000) for one in entries]  # type: ignore[attr-defined]


def test_statement_is_what_is_held(store: Store) -> None:
    """Counts, certified, unconfirmed and absent ranges with their evidence are those of the sample."""
    one = certify(store, SERIES)
    assert (one.expected, one.present, one.absent, one.missing) == (ROWS, ROWS - 81, 80, 1)
    assert one.unsettled == ROWS - 13 * 1_440
    assert not one.complete
    assert spans(one.certified) == [(T0, OUTAGE.start), (OUTAGE.end, MISSING.start), (MISSING.end, REST_UNTIL)]
    assert spans(one.unconfirmed) == [(REST_UNTIL, END)]
    assert [(each.reason, each.candles, each.evidence) for each in one.absences] == [
        (Reason.EXCHANGE_OUTAGE, 80, EVIDENCE), (Reason.MISSING, 1, ""),
    ]  # fmt: skip
    assert spans(one.absences) == [OUTAGE, MISSING]
    assert one.range == "2023-03-01T00:00:00Z to 2023-03-14T21:20:00Z"
    assert contradictions(one) == []


def test_sources_are_files_then_runs(store: Store) -> None:
    """Each file of the ledger with its hashes and the rows that lie in it, then REST and live."""
    sources = certify(store, SERIES).sources
    assert [one.file for one in sources[:11]] == [one.name for one in records()]
    assert [one.sha256 for one in sources[:11]] == [one.sha256 for one in records()]
    assert [one.verdict for one in sources[:11]] == [one.verdict.value for one in records()]
    assert [one.rows for one in sources[:11]] == [1_440] * 6 + [1_360] + [1_440] * 1 + [1_439] + [1_440] * 2
    assert [(one.source, one.start_ms * 1000, one.end_ms * 1000) for one in sources[11:]] == [
        ("rest", ARCHIVED_UNTIL, REST_UNTIL), ("live", REST_UNTIL, END),
    ]  # fmt: skip


def test_archive_rows_of_no_file_are_said_to_be_so(store: Store) -> None:
    """Rows from the archive that no file of the ledger covers are a source without a file; rejected files are none."""
    keep_file_records(store, SERIES, [
        FileRecord(one.name, one.span, one.size, one.sha256, "", Verdict.REJECTED, 0, one.fetched_at)
        for one in records()[:2]
    ])  # fmt: skip
    one = certify(store, SERIES)
    first = next(each for each in one.sources if not each.file)
    assert (first.source, first.start_ms * 1000, first.end_ms * 1000, first.rows) == (
        "archive",
        T0,
        T0 + 2 * DAY,
        2_880,
    )
    assert len([each for each in one.sources if each.file]) == 9
    assert contradictions(one) == []


def test_live_rows_are_certified_once_rest_confirms_them(store: Store) -> None:
    """The same rows from REST turn an unconfirmed range into a certified one, joined to the one it touches."""
    before = certify(store, SERIES)
    rows = settled(store.number(SERIES), with_live=False)
    store.write(rows[rows["open_time"] >= REST_UNTIL])
    after = certify(store, SERIES)
    assert after.unconfirmed == ()
    assert spans(after.certified)[-1] == (MISSING.end, END)
    assert (after.root, after.content) == (before.root, before.content)
    assert verify(before, store) == []


def test_certified_ranges_never_span_a_hole() -> None:
    """With any minutes gone, ranges are exactly the runs of adjacent candles, and each time is stated once."""
    random = np.random.default_rng(5)
    for _ in range(20):
        store = MemoryStore()
        rows = candles(store.number(SERIES), 500)
        rows["source"] = random.integers(1, 4, 500)
        rows = rows[random.random(500) > 0.1]
        store.write(rows)
        one = certify(store, SERIES, Span(T0, T0 + 500 * MINUTE))
        assert contradictions(one) == []
        held = set(rows["open_time"][rows["source"] > Source.LIVE].tolist())
        stated = [list(range(start, end, MINUTE)) for start, end in spans(one.certified)]
        assert [time for part in stated for time in part] == sorted(held)
        assert all(part[0] - MINUTE not in held and part[-1] + MINUTE not in held for part in stated)


def test_same_contents_give_the_same_bytes(tmp_path: Path) -> None:
    """Whatever the order and the size of writes, in memory or on disk, before or after it is opened again."""
    memory = MemoryStore()
    fill(memory)
    disk = open_store(f"lmdb://{tmp_path}", write=True)
    disk.number(Series.parse("spot:OTHER:1m"))
    rows = settled(disk.number(SERIES))
    order = np.random.default_rng(3).permutation(len(rows))
    for part in np.array_split(order, 7):
        disk.write(rows[part])
    fill(disk)
    first = certify(disk, SERIES).to_json()
    disk.close()
    again = open_store(f"lmdb://{tmp_path}", write=False)
    assert certify(again, SERIES).to_json() == first == certify(memory, SERIES).to_json()
    again.close()


def test_content_does_not_depend_on_files(store: Store) -> None:
    """Another ledger and other evidence change the digest, not the content hash."""
    before = certify(store, SERIES)
    store.set_absences(SERIES, [Absence(OUTAGE, Reason.EXCHANGE_OUTAGE, '{"asked":[]}')])
    keep_file_records(store, SERIES, [replace(records()[0], sha256="ab" * 32, checksum="ab" * 32)])
    after = certify(store, SERIES)
    assert after.content == before.content
    assert after.sha256 != before.sha256


def test_range_is_moved_forward_to_the_grid(store: Store) -> None:
    """A range stands for the candles that open in it."""
    one = certify(store, SERIES, Span(T0 + 1, T0 + 10 * MINUTE + SECOND))
    assert one.span == Span(T0 + MINUTE, T0 + 11 * MINUTE)
    assert one.present == one.expected == 10
    assert one.complete


def test_range_may_reach_beyond_what_is_held(store: Store) -> None:
    """What lies outside is missing, or absent for a recorded reason; no block is made up for it."""
    early = Absence(Span(T0 - 30 * DAY, T0), Reason.NOT_LISTED, "{}")
    late = Absence(Span(END, END + HOUR), Reason.PENDING, "{}")
    store.set_absences(SERIES, [early, *store.absences(SERIES), late])
    one = certify(store, SERIES, Span(T0 - 20 * DAY, END + 2 * HOUR))
    assert [(each.reason.value, each.candles) for each in one.absences] == [
        ("not_listed", 28_800), ("exchange_outage", 80), ("missing", 1), ("pending", 60), ("missing", 60),
    ]  # fmt: skip
    assert len(one.blocks) == len(certify(store, SERIES).blocks)
    assert contradictions(one) == []
    assert verify(one, store) == []


@pytest.mark.parametrize(("reason", "complete"), [("exchange_outage", True), ("delisted", True), ("pending", False)])
def test_complete_only_with_final_reasons(reason: str, complete: bool) -> None:  # noqa: FBT001 - a table
    """What is still to be published keeps a range from being complete, an outage does not."""
    store = MemoryStore()
    rows = candles(store.number(SERIES), 100)
    rows["source"] = Source.REST
    store.write(np.delete(rows, slice(40, 50)))
    store.set_absences(SERIES, [Absence(Span(T0 + 40 * MINUTE, T0 + 50 * MINUTE), Reason(reason), "{}")])
    assert certify(store, SERIES).complete is complete


@pytest.mark.parametrize("code", ["1s", "1h", "1w", "1M"])
def test_every_grid_can_be_certified(code: str) -> None:
    """Weeks and months too: their blocks, ranges and counts agree with themselves and with the store."""
    series = Series(Market.SPOT, "BTCUSDT", Interval(code))
    store = MemoryStore()
    rows = candles(store.number(series), 300, series, series.interval.ceil(parse_time("2001-01-01")))
    rows["source"] = Source.ARCHIVE
    store.write(np.delete(rows, [100, 101]))
    one = certify(store, series)
    assert (one.expected, one.present, one.missing) == (300, 298, 2)
    assert verify(one, store) == []


def test_halts_of_usdm_are_stated() -> None:
    """Flat candles without trades on USD-M are halts; the rows stay certified."""
    series = Series.parse("usdm:BTCUSDT:1m")
    store = MemoryStore()
    rows = candles(store.number(series), 6_000, series)
    rows["source"] = Source.ARCHIVE
    still = slice(3_000, 3_120)
    for name in ("open", "high", "low", "close"):
        rows[name][still] = rows["close"][2_999]
    for name in ("volume", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume"):
        rows[name][still] = 0
    store.write(rows)
    one = certify(store, series)
    assert spans(one.halts) == [(T0 + 3_000 * MINUTE, T0 + 3_120 * MINUTE)]
    assert spans(one.certified) == [(T0, T0 + 6_000 * MINUTE)]
    assert verify(one, store) == []


def test_what_cannot_be_certified_is_refused(store: Store) -> None:
    """An unknown series, one without candles, a range without grid times, and a candle off the grid."""
    with pytest.raises(UsageError, match="no candle of spot:NOSUCH:1m"):
        certify(store, Series.parse("spot:NOSUCH:1m"))
    empty = Series.parse("spot:EMPTY:1m")
    store.number(empty)
    with pytest.raises(UsageError, match="no candle"):
        certify(store, empty)
    with pytest.raises(UsageError, match="widen the range"):
        certify(store, SERIES, Span(T0 + 1, T0 + 2))
    rows = candles(store.number(SERIES), 1, start=T0 + 30 * SECOND)
    store.write(rows)
    with pytest.raises(StoreDamaged, match="off the grid"):
        certify(store, SERIES)


def test_long_ranges_are_read_in_parts() -> None:
    """More blocks than are read at once give the same leaves as each block by itself."""
    series = Series.parse("spot:BTCUSDT:1d")
    store = MemoryStore()
    rows = candles(store.number(series), 100, series)
    rows["source"] = Source.REST
    far = rows.copy()
    far["open_time"] += 40 * BLOCK_SLOTS * DAY
    far["close_time"] += 40 * BLOCK_SLOTS * DAY
    store.write(np.concatenate([rows, far]))
    one = certify(store, series)
    assert [each.rows for each in one.blocks] == [100, 100]
    alone = certify(store, series, Span(T0, T0 + 100 * DAY))
    assert alone.blocks[0].sha256 == one.blocks[0].sha256
    assert Certificate.from_json(one.to_json()) == one


@pytest.mark.parametrize("code", ["3d", "1w"])
def test_candle_that_outlasts_its_file_is_that_files(code: str) -> None:
    """A candle that opens in a month and ends in the next is vouched for by the month's file, and the store is sound."""
    store = MemoryStore()
    series = Series(Market.SPOT, "BTCUSDT", Interval(code))
    start = series.interval.ceil(T0)
    month = Span(parse_time("2023-03-01"), parse_time("2023-04-01"))
    count = series.interval.count(month)
    rows = candles(store.number(series), count, series, start)
    rows["source"] = Source.ARCHIVE
    store.write(rows)
    file = FileRecord("month.zip", month, 9, "a" * 64, "a" * 64, Verdict.MATCHED, count, T0 + 60 * DAY)
    keep_file_records(store, series, [file])
    one = certify(store, series)
    assert [(each.file, each.rows) for each in one.sources] == [("month.zip", count)]
    assert one.end_ms * 1000 > month.end
    assert contradictions(one) == []
    assert verify(one, store) == []
    assert verify_store(store, T0 + 60 * DAY) == []
