"""A certificate against a store: each difference is named, and nothing else."""

from pathlib import Path

import lmdb
import numpy as np
import pytest
from msgspec.structs import replace

from candlewick.certificates.check import verify
from candlewick.certificates.document import Certificate
from candlewick.certificates.encoding import COLUMNS
from candlewick.certificates.finding import Finding
from candlewick.certificates.issue import certify
from candlewick.market import MINUTE, SECOND, Span, format_time
from candlewick.stores import open_store
from candlewick.stores.memory import MemoryStore
from candlewick.stores.provenance import keep_file_records
from candlewick.stores.store import ROW, Absence, Reason, Rows, Source
from candlewick.stores.tables import BLOCK_KEY
from tests.unit.certificates.held import EVIDENCE, MISSING, OUTAGE, SERIES, T0, candles, fill, records, tamper

VALUES = [name for name in COLUMNS if name != "open_time"]


@pytest.fixture
def store() -> MemoryStore:
    """The sample."""
    one = MemoryStore()
    fill(one)
    return one


@pytest.fixture
def certificate(store: MemoryStore) -> Certificate:
    """Its certificate."""
    return certify(store, SERIES)


def kinds(found: list[Finding]) -> list[tuple[str, int | None]]:
    """What was found and at which minute after T0."""
    return [(one.what, None if one.span is None else (one.span.start - T0) // MINUTE) for one in found]


def test_untouched_store_has_no_findings(store: MemoryStore, certificate: Certificate) -> None:
    """The store that was certified proves its certificate, read back from its JSON too."""
    assert verify(certificate, store) == []
    assert verify(Certificate.from_json(certificate.to_json()), store) == []


@pytest.mark.parametrize("column", VALUES)
def test_changed_value_is_named(store: MemoryStore, certificate: Certificate, column: str) -> None:
    """The row, the column, the certified value and the one that is there now."""

    def change(rows: Rows) -> None:
        rows[column][7_000] += 1

    before = store.read(SERIES)[column][7_000].item()
    tamper(store, change)
    (found,) = verify(certificate, store)
    assert kinds([found]) == [("value", 7_000)]
    now = store.read(SERIES)[column][7_000].item()
    shown = [format_time(one) if column == "close_time" else repr(one) for one in (before, now)]
    start = format_time(T0 + 7_000 * MINUTE)
    assert str(found) == f"{SERIES} {start} {column}: certified {shown[0]}, now {shown[1]}"


def test_changed_sign_and_exponent_are_named(store: MemoryStore, certificate: Certificate) -> None:
    """Differences in the highest bits of a word are located like any other, also in the first and the last slot."""

    def change(rows: Rows) -> None:
        rows["close"][0] *= 2
        rows["open"][0] *= -1
        rows["volume"][-1] = np.inf

    tamper(store, change)
    assert kinds(verify(certificate, store)) == [("value", 0), ("value", 0), ("value", 19_999)]


def test_two_values_of_a_column_name_the_block(store: MemoryStore, certificate: Certificate) -> None:
    """Where the sums cannot tell, the block's range and the columns are named."""

    def change(rows: Rows) -> None:
        rows["low"][[100, 200]] -= 1

    tamper(store, change)
    (found,) = verify(certificate, store)
    assert found.what == "block"
    assert found.span == Span(T0, certificate.blocks[0].end_ms * 1000)
    assert found.detail.endswith("changed: low")


def test_deleted_row_is_restored(store: MemoryStore, certificate: Certificate) -> None:
    """The time of a row that is gone, and from the sums every value that it had."""
    row = store.read(SERIES)[5_000]
    tamper(store, lambda rows: np.delete(rows, 5_000))
    values, missing = verify(certificate, store)
    assert kinds([values, missing]) == [("row", 5_000), ("row missing", 5_000)]
    assert f"close {row['close'].item()!r}" in values.detail
    assert f"trades {row['trades'].item()!r}" in values.detail


def test_deleted_rows_are_named_by_their_range(store: MemoryStore, certificate: Certificate) -> None:
    """A whole block or a part of one: from when to when there are none now."""
    first, last = certificate.blocks[1].start_ms * 1000, certificate.blocks[1].end_ms * 1000
    tamper(store, lambda rows: rows[(rows["open_time"] < first) | (rows["open_time"] >= last + 10 * MINUTE)])
    found = verify(certificate, store)
    assert ("row missing", (first - T0) // MINUTE) in kinds(found)
    assert any(format_time(last + 10 * MINUTE) in one.detail for one in found)


def test_exchanged_rows_are_named(store: MemoryStore, certificate: Certificate) -> None:
    """Two rows whose values stand in each other's place: each value of both, as it was."""

    def change(rows: Rows) -> None:
        for name in VALUES:
            rows[name][[3_000, 3_210]] = rows[name][[3_210, 3_000]]

    tamper(store, change)
    assert kinds(verify(certificate, store)) == [("value", 3_000)] * 10 + [("value", 3_210)] * 10


def test_added_row_is_named(store: MemoryStore, certificate: Certificate) -> None:
    """A row in a hole, and a value changed in the same block besides: both, and the reason that is no longer one."""

    def change(rows: Rows) -> Rows:
        rows["high"][12_100 - 80] += 1
        more = candles(0, 1, start=MISSING.start)
        return np.concatenate([rows[rows["open_time"] < MISSING.start], more, rows[rows["open_time"] > MISSING.start]])

    tamper(store, change)
    assert kinds(verify(certificate, store)) == [("value", 12_101), ("row added", 12_000)]


def test_better_source_is_no_difference(store: MemoryStore, certificate: Certificate) -> None:
    """Live rows that REST confirmed and REST rows that the archive has; the other way round is one."""

    def raise_sources(rows: Rows) -> None:
        rows["source"] = np.minimum(rows["source"] + 1, Source.ARCHIVE)

    tamper(store, raise_sources)
    assert verify(certificate, store) == []

    def lower(rows: Rows) -> None:
        rows["source"][400:500] = Source.LIVE

    tamper(store, lower)
    found = verify(certificate, store)
    assert ("source", 400) in kinds(found)


@pytest.mark.parametrize(
    ("absences", "what"),
    [
        ([Absence(OUTAGE, Reason.DELISTED, EVIDENCE)], ["reason"]),
        ([Absence(OUTAGE, Reason.EXCHANGE_OUTAGE, "{}")], ["evidence"]),
        ([Absence(Span(OUTAGE.start, OUTAGE.end - MINUTE), Reason.EXCHANGE_OUTAGE, EVIDENCE)], ["reason", "reason"]),
        ([], ["reason"]),
        (
            [Absence(OUTAGE, Reason.EXCHANGE_OUTAGE, EVIDENCE), Absence(MISSING, Reason.EXCHANGE_OUTAGE, EVIDENCE)],
            ["resolved"],
        ),
    ],
)
def test_other_reasons_are_named(
    store: MemoryStore, certificate: Certificate, absences: list[Absence], what: list[str]
) -> None:
    """Another reason, other evidence, another range, none at all, and one for what was missing."""
    store.set_absences(SERIES, absences)
    assert [one.what for one in verify(certificate, store)] == what


def test_other_files_are_named(store: MemoryStore, certificate: Certificate) -> None:
    """Each thing that the ledger says otherwise of a file that the certificate names."""
    one = records()[3]
    for change, word in (
        (replace(one, sha256="ab" * 32), "sha256"),
        (replace(one, checksum="cd" * 32), "checksum"),
        (replace(one, verdict=records()[4].verdict), "verdict"),
        (replace(one, span=Span(one.span.start, one.span.end - MINUTE)), "span"),
    ):
        keep_file_records(store, SERIES, [change])
        found = verify(certificate, store)
        assert {each.what for each in found} == {"source"}
        assert any(f"file {one.name} {word}: certified" in each.detail for each in found)
    store.set_state(f"file:{SERIES}:{one.name}", None)
    (found_one,) = verify(certificate, store)
    assert found_one.detail == f"file {one.name} is not in the ledger"


def test_revised_row_is_reported_as_revised(store: MemoryStore, certificate: Certificate) -> None:
    """A row that a settled source replaced since: both values and both sources, and no damage."""
    number = store.number(SERIES)
    row = store.read(SERIES, T0 + 6_000 * MINUTE, T0 + 6_001 * MINUTE)
    then = row["close"][0].item()
    for step in (0.01, 0.02):
        row["close"] = then + step
        row["high"] = max(row["high"][0], row["close"][0])
        row["source"] = Source.ARCHIVE
        store.write(row)
    live = store.read(SERIES, T0 + 19_000 * MINUTE, T0 + 19_001 * MINUTE)
    live["trades"] += 5
    live["source"] = Source.REST
    store.write(live)
    assert number == 0
    found = verify(certificate, store)
    assert {one.what for one in found} == {"revised"}
    assert f"close: certified {then!r}, now {then + 0.02!r}; revised since (from archive, now archive)" in [
        one.detail for one in found
    ]
    assert any(one.detail.endswith("(from live, now rest)") for one in found)


def test_revision_hides_no_other_change(store: MemoryStore, certificate: Certificate) -> None:
    """A value altered in a block that has a revision is still found."""
    row = store.read(SERIES, T0, T0 + MINUTE)
    row["trades"] += 1
    store.write(row)

    def change(rows: Rows) -> None:
        rows["volume"][50] += 1

    tamper(store, change)
    assert [one.what for one in verify(certificate, store)] != ["revised"]
    assert any(one.what in {"block", "value"} for one in verify(certificate, store))


def test_damaged_block_is_a_finding(tmp_path: Path) -> None:
    """A block whose bytes were altered on disk is named with its range; all others are still checked."""
    store = open_store(f"lmdb://{tmp_path}", write=True)
    fill(store)
    certificate = certify(store, SERIES)
    store.close()
    with lmdb.open(str(tmp_path), max_dbs=16) as environment:
        blocks = environment.open_db(b"blocks", create=False)
        with environment.begin(db=blocks, write=True) as txn:
            key = BLOCK_KEY.pack(0, certificate.blocks[1].block)
            data = bytearray(txn.get(key))
            data[-100] ^= 4
            txn.put(key, bytes(data))
            key = BLOCK_KEY.pack(0, certificate.blocks[2].block)
            txn.put(key, txn.get(key)[:-8])
    reader = open_store(f"lmdb://{tmp_path}", write=False)
    found = verify(certificate, reader)
    reader.close()
    assert [(one.what, one.span and one.span.start // 1000) for one in found] == [
        ("damaged", certificate.blocks[1].start_ms), ("damaged", certificate.blocks[2].start_ms),
    ]  # fmt: skip


def test_candle_off_the_grid_is_a_finding(store: MemoryStore, certificate: Certificate) -> None:
    """An open time in wrong units or between grid times makes its block unreadable, or its row missing."""

    def shift(rows: Rows) -> None:
        rows["open_time"][8_000] += 30 * SECOND

    tamper(store, shift)
    assert [one.what for one in verify(certificate, store)] == ["damaged"]

    def scale(rows: Rows) -> Rows:
        rows["open_time"][8_000] //= 1_000
        return np.sort(rows, order="open_time")

    tamper(store, scale)
    assert ("row missing", 8_000) in kinds(verify(certificate, store))


def test_other_store_is_said_to_be_one(certificate: Certificate) -> None:
    """A store without the series, and one that has it without rows."""
    other = MemoryStore()
    assert [one.what for one in verify(certificate, other)] == ["series"]
    other.number(SERIES)
    assert "row missing" in {one.what for one in verify(certificate, other)}


def test_forged_certificate_is_found_against_the_store(store: MemoryStore, certificate: Certificate) -> None:
    """A certificate whose own hashes were made to fit again still differs from the store."""
    block = replace(certificate.blocks[2], sha256="00" * 32)
    blocks = (*certificate.blocks[:2], block, *certificate.blocks[3:])
    found = verify(replace(certificate, blocks=blocks).sealed(), store)
    assert [one.what for one in found] == ["block"]
    assert "the SHA-256 certified is 0000" in found[0].detail
    entry = replace(certificate.absences[0], evidence='{"conclusion":"asked nobody"}')
    forged = replace(certificate, absences=(entry, *certificate.absences[1:])).sealed()
    assert [one.what for one in verify(forged, store)] == ["evidence"]
    source = replace(certificate.sources[0], sha256="11" * 32, checksum="11" * 32)
    forged = replace(certificate, sources=(source, *certificate.sources[1:])).sealed()
    assert [one.what for one in verify(forged, store)] == ["source", "source"]


def test_rows_are_packed_as_the_store_has_them() -> None:
    """Every column of a row but its series and its source is certified."""
    assert sorted(COLUMNS) == sorted(set(ROW.names or ()) - {"series", "source"})
