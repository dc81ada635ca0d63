"""The whole store against itself."""

from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import pytest
from msgspec.structs import replace

from candlewick.certificates.audit import verify_store
from candlewick.certificates.issue import certify
from candlewick.market import DAY, MINUTE, Series, Span
from candlewick.stores import open_store
from candlewick.stores.memory import MemoryStore
from candlewick.stores.provenance import Verdict, keep_certificate, keep_file_records
from candlewick.stores.store import Absence, Reason, Rows, SeriesInfo, Source
from candlewick.stores.tables import BLOCK_KEY, NUMBER_KEY, TOTALS
from tests.unit.certificates.held import EVIDENCE, MISSING, OUTAGE, SERIES, T0, candles, fill, records, tamper

NOW = T0 + 100 * DAY
OTHER = Series.parse("spot:ETHUSDT:1h")


@pytest.fixture
def store() -> MemoryStore:
    """The sample with its certificate, another series beside it, and one without candles."""
    one = MemoryStore()
    fill(one)
    keep_certificate(one, SERIES, certify(one, SERIES).to_json())
    one.write(candles(one.number(OTHER), 100, OTHER))
    one.number(Series.parse("spot:EMPTY:1m"))
    return one


def found_in(store: MemoryStore) -> list[str]:
    return [one.what for one in verify_store(store, NOW) if not one.is_note]


def test_whole_store_has_no_findings(store: MemoryStore) -> None:
    """What was written and certified agrees with itself; later rows and live ones are no contradiction."""
    assert verify_store(store, NOW) == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda rows: rows["high"].__setitem__(50, 1.0), {"rule", "value"}),
        (lambda rows: rows["close"].__setitem__(50, np.nan), {"rule", "value"}),
        (lambda rows: rows["open_time"].__setitem__(50, T0 + 50 * MINUTE + 1), {"rule", "damaged"}),
        (lambda rows: rows["open_time"].__setitem__(50, T0 + 51 * MINUTE), {"order", "rule", "damaged"}),
        (lambda rows: rows["source"].__setitem__(50, 9), {"source", "damaged"}),
        (lambda rows: rows["source"].__setitem__(-1, Source.ARCHIVE), {"source"}),
    ],
)
def test_rows_that_cannot_be_are_found(store: MemoryStore, change: "Callable[[Rows], None]", what: set[str]) -> None:
    """Broken rules, order, unknown sources, and archive rows of no file."""
    tamper(store, change)
    assert set(found_in(store)) >= what


def test_candles_that_are_not_over_are_found(store: MemoryStore) -> None:
    """Held against an earlier time, the newest candles have not ended."""
    found = verify_store(store, T0 + 5 * DAY)
    assert "it breaks the rule in-future" in {one.detail for one in found}
    assert {one.what for one in found} == {"rule"}
    assert len([one for one in found if one.series == str(SERIES)]) == 101  # the others are counted
    assert "more rows break rules" in [one.detail.partition(" ")[2] for one in found if one.span is None]


def test_candles_are_counted_once(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What agrees is not counted again series by series: a shared database reads every row for it."""
    counts = []
    series = store.series

    def counting(*, counted: bool = True, symbol: str | None = None) -> list[SeriesInfo]:
        counts.append(symbol if counted else "")
        return series(counted=counted, symbol=symbol)

    monkeypatch.setattr(store, "series", counting)
    assert verify_store(store, NOW) == []
    assert [one for one in counts if one != ""] == [None]


@pytest.mark.parametrize(
    ("absence", "what"),
    [
        (Absence(Span(T0, T0 + MINUTE), Reason.EXCHANGE_OUTAGE, EVIDENCE), "absence"),
        (Absence(MISSING, Reason.EXCHANGE_OUTAGE, ""), "evidence"),
        (Absence(MISSING, Reason.MISSING, "{}"), "absence"),
    ],
)
def test_reasons_that_cannot_be_are_found(store: MemoryStore, absence: Absence, what: str) -> None:
    """Over candles that are held, without evidence, or one that is never recorded."""
    outage = Absence(OUTAGE, Reason.EXCHANGE_OUTAGE, EVIDENCE)
    store.set_absences(SERIES, sorted([outage, absence], key=lambda one: one.span))
    assert found_in(store) == [what]


def test_overlapping_reasons_are_found(store: MemoryStore) -> None:
    """Two reasons for one time, in a store whose order was broken."""
    longer = Absence(Span(OUTAGE.start, OUTAGE.end), Reason.EXCHANGE_OUTAGE, EVIDENCE)
    again = Absence(Span(OUTAGE.end - MINUTE, OUTAGE.end), Reason.DELISTED, EVIDENCE)
    store._absences[SERIES] = [longer, again]
    assert found_in(store) == ["absence"]


def test_files_that_cannot_be_are_found(store: MemoryStore) -> None:
    """Rejected files that gave rows, matched ones whose hashes differ, rows of files that are not in the ledger."""
    one = records()[2]
    keep_file_records(store, SERIES, [replace(one, verdict=Verdict.REJECTED)])
    assert "rejected, but gave 1440 rows" in " ".join(each.detail for each in verify_store(store, NOW))
    keep_file_records(store, SERIES, [replace(one, sha256="ab" * 32)])
    assert "is matched: sha256 abab" in " ".join(each.detail for each in verify_store(store, NOW))
    store.set_state(f"file:{SERIES}:{one.name}", None)
    assert "1440 rows are from the archive, but from no file" in " ".join(
        each.detail for each in verify_store(store, NOW)
    )


def test_kept_certificate_is_checked(store: MemoryStore) -> None:
    """A value changed since is found by it; what was revised, brought or explained lawfully is a note."""
    row = store.read(SERIES, T0, T0 + MINUTE)
    row["trades"] += 1
    row["source"] = Source.ARCHIVE
    more = candles(store.number(SERIES), 1, start=MISSING.start)
    store.write(np.concatenate([row, more]))
    found = verify_store(store, NOW)
    assert {one.what for one in found} == {"revised", "row added"}
    assert all(one.is_note for one in found)

    def change(rows: Rows) -> None:
        rows["taker_buy_volume"][15_000] -= 0.00001

    tamper(store, change)
    assert found_in(store) == ["value"]
    keep_certificate(store, SERIES, b"{}")
    assert found_in(store) == ["document"]
    keep_certificate(store, SERIES, certify(store, OTHER).to_json())
    assert found_in(store) == ["document"]


def test_replaced_row_without_its_successor_is_found(store: MemoryStore) -> None:
    """Where a row was revised, one must be held."""
    row = store.read(SERIES, T0 + MINUTE, T0 + 2 * MINUTE)
    row["trades"] += 1
    row["source"] = Source.ARCHIVE
    store.write(row)
    keep_certificate(store, SERIES, None)
    assert found_in(store) == []
    tamper(store, lambda rows: np.delete(rows, 1))
    assert found_in(store) == ["row missing"]


def test_damage_on_disk_does_not_stop_the_rest(tmp_path: Path) -> None:
    """Damaged blocks, counts and entries are findings of their series; the others are checked as ever."""
    store = open_store(f"lmdb://{tmp_path}", write=True)
    fill(store)
    store.write(candles(store.number(OTHER), 10_000, OTHER))
    first = certify(store, SERIES).blocks[1]
    store.close()
    with lmdb.open(str(tmp_path), max_dbs=16) as environment:
        blocks = environment.open_db(b"blocks", create=False)
        totals = environment.open_db(b"totals", create=False)
        state = environment.open_db(b"state", create=False)
        with environment.begin(write=True) as txn:
            key = BLOCK_KEY.pack(0, first.block)
            data = bytearray(txn.get(key, db=blocks))
            data[1_000] ^= 1
            txn.put(key, bytes(data), db=blocks)
            counted = np.frombuffer(txn.get(NUMBER_KEY.pack(1), db=totals), TOTALS).copy()
            counted["rows"] += 1
            txn.put(NUMBER_KEY.pack(1), counted.tobytes(), db=totals)
            txn.put(f"file:{OTHER}:x".encode(), b"{", db=state)
    reader = open_store(f"lmdb://{tmp_path}", write=False)
    found = verify_store(reader, T0 + 1_000 * DAY)
    reader.close()
    assert [(one.series, one.what) for one in found] == [
        (str(SERIES), "damaged"), (str(OTHER), "count"), (str(OTHER), "damaged"),
    ]  # fmt: skip
    assert found[0].span is not None
    assert found[0].span.start == first.start_ms * 1000
    assert found[1].detail == "rows: the store counts 10001, there is 10000"
