"""Whatever is altered in a store, an export or a certificate is found; what is untouched is left in peace."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from random import Random
from types import ModuleType
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from candlewick.certificates.audit import verify_store
from candlewick.certificates.check import verify
from candlewick.certificates.document import Certificate
from candlewick.certificates.issue import certify
from candlewick.errors import DecodeError
from candlewick.market import DAY
from candlewick.stores import open_store
from candlewick.stores.memory import MemoryStore
from candlewick.stores.provenance import keep_certificate, keep_file_records
from tests.acceptance import alterations
from tests.unit.certificates.held import SERIES, T0, export, fill, load_verifier, records, tamper

FEW, MANY = 1, 17
"""How often each way of altering is tried, in the short run and in the long one."""


class World(NamedTuple):
    """What was certified, in memory and on disk, and its export."""

    certificate: Certificate
    folder: Path
    lines: list[str]
    verifier: ModuleType


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The sample."""
    folder = tmp_path_factory.mktemp("certified")
    store = open_store(f"lmdb://{folder}", write=True)
    fill(store)
    certificate = certify(store, SERIES)
    lines = export(store)
    store.close()
    return World(certificate, folder, lines, load_verifier())


def independent(world: World, document: bytes, lines: Iterable[str]) -> int:
    """How much the independent verifier finds; what it prints goes nowhere."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        return int(world.verifier.verify(document, iter(lines)))


def in_memory(world: World) -> MemoryStore:
    store = MemoryStore()
    fill(store)
    keep_certificate(store, SERIES, world.certificate.to_json())
    return store


def seeds(times: int) -> Iterator[Random]:
    for seed in range(times):
        yield Random(seed)


def check_rows(world: World, times: int) -> int:
    """Rows altered in a store: found in it, by its own audit, and in its export."""
    document, unnoticed, tried = world.certificate.to_json(), [], 0
    for change in alterations.ROWS:
        for random in seeds(times):
            store = in_memory(world)
            before = store.read(SERIES).tobytes()
            tamper(store, lambda rows: change(random, rows))  # noqa: B023 - called at once
            assert store.read(SERIES).tobytes() != before
            if change is alterations.stale_day:
                stale = [replace(one, sha256="5" * 64, checksum="5" * 64) for one in records()[:1]]
                keep_file_records(store, SERIES, stale)
            tried += 1
            found = verify(world.certificate, store)
            audit = [one for one in verify_store(store, T0 + 99 * DAY) if not one.is_note]
            if not found or (not audit and {one.what for one in found} != {"row added"}):
                unnoticed.append(f"{change.__name__} in the store")
            if not independent(world, document, export(store)):
                unnoticed.append(f"{change.__name__} in its export")
    assert unnoticed == []
    return tried


def check_sayings(world: World, times: int) -> int:
    """Reasons, evidence and the ledger altered in a store."""
    unnoticed, tried = [], 0
    for change in alterations.SAYINGS:
        for random in seeds(times):
            store = in_memory(world)
            change(random, store)
            tried += 1
            if not verify(world.certificate, store):
                unnoticed.append(change.__name__)
            if certify(store, SERIES).sha256 == world.certificate.sha256:
                unnoticed.append(f"{change.__name__} in another certificate")
    assert unnoticed == []
    return tried


def check_blocks(world: World, folder: Path, times: int) -> int:
    """Bytes of blocks altered on disk."""
    unnoticed = []
    for seed, random in enumerate(seeds(times)):
        place = folder / str(seed)
        shutil.copytree(world.folder, place)
        how = alterations.damage_block(random, place, world.certificate)
        reader = open_store(f"lmdb://{place}", write=False)
        if not verify(world.certificate, reader):
            unnoticed.append(f"block {how}")
        if not verify_store(reader, T0 + 99 * DAY):
            unnoticed.append(f"block {how}, by the audit")
        reader.close()
        shutil.rmtree(place)
    assert unnoticed == []
    return times


def check_exports(world: World, times: int) -> int:
    """Lines altered in an export."""
    document, unnoticed, tried = world.certificate.to_json(), [], 0
    for change in alterations.EXPORTS:
        for random in seeds(times):
            lines = list(world.lines)
            change(random, lines)
            assert lines != world.lines
            tried += 1
            text = "".join(lines)
            if not independent(world, document, StringIO(text, newline="\n")):
                unnoticed.append(change.__name__)
    assert unnoticed == []
    return tried


def check_certificates(world: World, times: int) -> int:
    """Certificates altered, and forged with hashes that fit."""
    store, unnoticed = in_memory(world), []
    for random in seeds(times):
        is_sealed = random.random() < 0.5
        forgery = (alterations.forge if is_sealed else alterations.alter_document)(random, world.certificate)
        try:
            found = bool(verify(Certificate.from_json(forgery.document), store))
        except DecodeError:
            found = True
        if not found:
            unnoticed.append(forgery.name)
        if forgery.rows_differ and not independent(world, forgery.document, world.lines):
            unnoticed.append(f"{forgery.name}, by the independent verifier")
    assert unnoticed == []
    return times


def test_untouched_data_raises_no_complaint(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    """Store, reopened store, export and certificate as they are: no verifier says anything."""
    assert verify(world.certificate, in_memory(world)) == []
    assert verify_store(in_memory(world), T0 + 99 * DAY) == []
    reader = open_store(f"lmdb://{world.folder}", write=False)
    assert verify(Certificate.from_json(world.certificate.to_json()), reader) == []
    assert verify_store(reader, T0 + 99 * DAY) == []
    reader.close()
    assert world.verifier.verify(world.certificate.to_json(), iter(world.lines)) == 0
    assert capfd.readouterr().out == ""


def test_altered_rows_are_found(world: World) -> None:
    """Each way to alter rows of a store, by both verifiers."""
    assert check_rows(world, FEW) == len(alterations.ROWS)


def test_altered_reasons_and_ledgers_are_found(world: World) -> None:
    """Each way to alter what a store says of its rows."""
    assert check_sayings(world, FEW) == len(alterations.SAYINGS)


def test_damaged_blocks_are_found(world: World, tmp_path: Path) -> None:
    """Blocks truncated, flipped, deleted, replaced, and damaged in the file."""
    assert check_blocks(world, tmp_path, 12) == 12


def test_altered_exports_are_found(world: World) -> None:
    """Each way to alter a CSV."""
    assert check_exports(world, FEW) == len(alterations.EXPORTS)


def test_altered_certificates_are_found(world: World) -> None:
    """Documents with one sign changed, and lies whose hashes fit."""
    assert check_certificates(world, 20) == 20


@pytest.mark.slow
def test_a_thousand_alterations_are_found(world: World, tmp_path: Path) -> None:
    """All of them many times over: none goes unnoticed."""
    tried = check_rows(world, MANY)
    tried += check_sayings(world, MANY)
    tried += check_blocks(world, tmp_path, 200)
    tried += check_exports(world, 2 * MANY)
    tried += check_certificates(world, 250)
    assert tried >= 1_000
