"""The ledger against what the archive states now."""

import asyncio
from pathlib import Path
from random import Random

import pytest

from candlewick.certificates.audit import verify_store
from candlewick.certificates.finding import Finding
from candlewick.exchanges.exchange import load as load_exchange
from candlewick.history.archive import ArchiveClient
from candlewick.market import Market
from candlewick.services.online import compare_ledger
from candlewick.stores.memory import MemoryStore
from candlewick.stores.provenance import file_records, keep_file_records
from tests.unit.services.loading.archivist import NOW, SERIES, Archivist

BEGIN, END = "2023-02-07T05:00", "2023-04-20"


@pytest.fixture
def archivist(tmp_path: Path) -> Archivist:
    """The archive from which was loaded."""
    return Archivist(tmp_path)


@pytest.fixture
def store(archivist: Archivist) -> MemoryStore:
    """What was loaded from it, with one file whose CHECKSUM was another's already then."""
    archivist.spoil_checksum("2023-03")
    one = MemoryStore()
    archivist.load(one, BEGIN, END)
    return one


def compared(archivist: Archivist, store: MemoryStore) -> list[Finding]:
    venue = load_exchange("binance").venues[Market.SPOT]
    client = ArchiveClient(
        venue.archive, "http://files", "http://list", archivist.http, archivist.clock, archivist.events.append,
        random=Random(1), attempts=2,
    )  # fmt: skip
    return asyncio.run(compare_ledger(store, {Market.SPOT: client}))


def test_files_that_are_as_they_were_are_not_mentioned(archivist: Archivist, store: MemoryStore) -> None:
    """Nothing to say of files whose CHECKSUM is what it was; the store agrees with itself too."""
    assert len(file_records(store, SERIES)) > 2
    assert compared(archivist, store) == []
    assert verify_store(store, NOW) == []


def test_replaced_file_is_named_with_both_hashes(archivist: Archivist, store: MemoryStore) -> None:
    """A file that the archive has published anew since it was loaded."""
    record = next(one for one in file_records(store, SERIES) if "2023-02.zip" in one.name)
    again = Archivist(archivist.files.parent / "again")
    again.put("2023-02", archivist.take("2023-02")[:-1])
    again.spoil_checksum("2023-03")
    (found,) = compared(again, store)
    assert (found.what, found.span) == ("replaced", record.span)
    assert f"file {record.name} sha256: {record.sha256} on " in found.detail
    assert "now the archive states " in found.detail


def test_checksum_that_is_gone_is_named(archivist: Archivist, store: MemoryStore) -> None:
    """The archive states none any more."""
    archivist.http.answer("2023-02.zip.CHECKSUM", 404)
    (found,) = compared(archivist, store)
    assert found.what == "replaced"
    assert found.detail.endswith("now the archive has no CHECKSUM of it")


def test_archive_that_does_not_answer_proves_nothing(archivist: Archivist, store: MemoryStore) -> None:
    """What could not be compared is said so, file by file, and the others are compared."""
    archivist.http.answer("2023-02.zip.CHECKSUM", None)
    (found,) = compared(archivist, store)
    assert (found.what, found.is_note) == ("online", False)
    assert "could not be compared" in found.detail


def test_name_that_no_archive_has_is_named(archivist: Archivist, store: MemoryStore) -> None:
    """A forged entry of the ledger."""
    one = file_records(store, SERIES)[0]
    keep_file_records(store, SERIES, [type(one)("nowhere.zip", one.span, 1, "a" * 64, "a" * 64, one.verdict, 1, NOW)])
    (found,) = compared(archivist, store)
    assert found.detail == "file nowhere.zip is not the name of a file of the archive"
