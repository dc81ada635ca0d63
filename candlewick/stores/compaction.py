"""Gives space back: the store is copied without its free pages, the copy is proved equal, and takes the store's place.

LMDB never makes a file smaller, so what was rewritten or removed stays as free pages. One rename puts the copy in place:
at any moment either the old file or the new one stands there, whole. Readers that have the old one open read on in
it, and go over to the new one with their next question.
"""

import hashlib
import os
import shutil
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from candlewick.errors import StoreDamaged, StoreError, StoreFull
from candlewick.market import Series
from candlewick.stores.environment import share
from candlewick.stores.grid import BLOCK_SLOTS, block_of, slot_starts
from candlewick.stores.lmdb import LmdbReader, LmdbStore
from candlewick.stores.store import Rows, StoreReader

WORKPLACE = "compacting"
"""The folder in the store's own in which the copy is made; of no use once nobody compacts."""

_BLOCKS_AT_ONCE = 16
_FOLD_ROWS = 65_536
_CHANGES_AT_ONCE = 10_000

# LMDB's meta page (0.9, 64-bit): a page header of 16 bytes that begins with the page's number, then magic, version,
# address, map size, two databases of 48 bytes (the first begins with the page size), last page, transaction id.
_PAGE_SIZE_AT, _TRANSACTION_AT = 40, 144
_MAGIC = struct.pack("<II", 0xBEEFC0DE, 1)


class Compacted(NamedTuple):
    """What it came to; `before` and `after` are the bytes of the store's file."""

    before: int
    after: int
    series: int
    candles: int
    sha256: str
    """Of everything that the store tells, computed from both files and equal."""


def compact(folder: Path) -> Compacted:
    """Give back what space can be, and prove that nothing else has changed.

    Raises:
        StoreBusy: another process writes it.
        StoreFull: there is no space for the copy; the store is as it was.
        StoreDamaged: it cannot be read, or the copy is not equal; the store is as it was.
    """
    file = folder / "data.mdb"
    if not file.exists():
        raise StoreError(f"there is no store at {folder}: name another with --store")
    store = LmdbStore.open(folder, write=True)
    workplace = folder / WORKPLACE
    try:
        _clear(workplace)
        before = file.stat().st_size
        told = _told(store)
        while store.fold(_FOLD_ROWS):
            pass
        _copy(store, workplace)
        _compare(told, workplace)
        _put_in_place(workplace / "data.mdb", file)
        _go_over(store.path)
        infos = store.series()
    finally:
        store.close()
        _clear(workplace)
    return Compacted(before, file.stat().st_size, len(infos), sum(one.rows for one in infos), _digest(told))


def fingerprint(reader: StoreReader) -> dict[str, str]:
    """The SHA-256 of each thing that a store tells, by its name.

    Candles and revisions are hashed as `ROW` with the series number 0, so that two stores that tell the same have the
    same fingerprint, wherever and in whatever order they keep it.
    """
    hashes = {}
    for info in reader.series():
        hashes[f"candles of {info.series}"] = _hash(_pieces(reader, info.series, info.first, info.last))
        hashes[f"revisions of {info.series}"] = _hash([reader.revisions(info.series)])
        absences = msgspec.msgpack.encode(reader.absences(info.series))
        hashes[f"absences of {info.series}"] = hashlib.sha256(absences).hexdigest()
    kept = [reader.states(""), reader.quarantined(1 << 30)]
    for name, value in zip(("state", "quarantine"), kept, strict=True):
        hashes[name] = hashlib.sha256(msgspec.msgpack.encode(value)).hexdigest()
    return hashes


def _told(reader: StoreReader) -> dict[str, str]:
    """The fingerprint, and that of the log of changes, which two stores that hold the same need not have in common."""
    first, last = reader.change_range()
    sha256 = hashlib.sha256(f"{first} {last}".encode())
    after = first - 1
    while changes := reader.changes(after, _CHANGES_AT_ONCE):
        sha256.update("\n".join(map(str, changes)).encode())
        after = changes[-1].sequence
    return {**fingerprint(reader), "log of changes": sha256.hexdigest()}


def _pieces(reader: StoreReader, series: Series, first: int | None, last: int | None) -> Iterator[Rows]:
    """All rows of a series, some blocks at a time."""
    if first is None or last is None:
        return
    interval = series.interval
    blocks = range(block_of(interval, first), block_of(interval, last) + 1, _BLOCKS_AT_ONCE)
    for block in blocks:
        edges = np.array([block, block + _BLOCKS_AT_ONCE], np.int64) * BLOCK_SLOTS
        start, end = slot_starts(interval, edges).tolist()
        yield reader.read(series, start, end)


def _hash(pieces: Iterable[Rows]) -> str:
    sha256 = hashlib.sha256()
    for rows in pieces:
        canonical = rows if rows.flags.writeable else rows.copy()  # what `read` returns is nobody else's
        canonical["series"] = 0
        sha256.update(canonical.data)
    return sha256.hexdigest()


def _digest(hashes: dict[str, str]) -> str:
    return hashlib.sha256(msgspec.json.encode(hashes, order="sorted")).hexdigest()


def _copy(store: LmdbStore, workplace: Path) -> None:
    """A compact copy in the workplace, as another state of the same file."""
    environment = share(store.path, write=True)
    try:
        # Readers in other processes share the lock file, which names the newest transaction: in the old file the one
        # before it must tell the same, in the copy that very one must be there.
        format_ = environment.databases["meta"]
        for _ in range(2):
            environment.commit(lambda txn: txn.put(b"format", bytes(txn.get(b"format", db=format_)), db=format_))
        workplace.mkdir()
        transaction = environment.copy(workplace)
    except OSError as error:
        raise StoreError(f"{workplace} cannot be made: {error.strerror}") from error
    finally:
        environment.release()
    _number(workplace / "data.mdb", transaction)


def _number(file: Path, transaction: int) -> None:
    """Have the newest state in an LMDB file be that of `transaction`; odd ones lie in the second page, even in the first.

    Raises:
        StoreDamaged: the file is not laid out as LMDB 0.9 does.
    """
    with file.open("r+b") as opened:
        size = int.from_bytes(opened.read(_PAGE_SIZE_AT + 4)[_PAGE_SIZE_AT:], "little")
        opened.seek(0)
        pages = [bytearray(opened.read(size)) for _ in range(2)]
        whole = size >= 512 and len(pages[1]) == size and all(page[16:24] == _MAGIC for page in pages)
        if not whole or [struct.unpack_from("<Q", page, _TRANSACTION_AT)[0] for page in pages] != [0, 1]:
            raise StoreDamaged(
                f"{file} is not laid out as LMDB 0.9 does it: the store cannot be compacted, report this"
            )
        newest = transaction % 2
        if newest == 0:
            pages.reverse()
        for number, page in enumerate(pages):
            struct.pack_into("<Q", page, 0, number)
        struct.pack_into("<Q", pages[newest], _TRANSACTION_AT, transaction)
        opened.seek(0)
        opened.writelines(pages)


def _compare(told: dict[str, str], workplace: Path) -> None:
    reader = LmdbReader.at(workplace)
    try:
        copied = _told(reader)
    finally:
        reader.close()
    different = [name for name in {**told, **copied} if told.get(name) != copied.get(name)]
    if different:
        raise StoreDamaged(
            f"the copy of {workplace.parent} is not equal in: {', '.join(different)}; nothing was changed"
        )


def _put_in_place(copy: Path, file: Path) -> None:
    """Durable before, atomic, durable after."""
    try:
        for path in (copy, copy.parent):
            _sync(path)
        copy.replace(file)
        _sync(file.parent)
    except OSError as error:
        raise StoreFull(f"the copy at {copy} cannot take the place of {file} ({error.strerror})") from error


def _go_over(path: Path) -> None:
    """Have this process read and write the file that is there now."""
    environment = share(path, write=True)
    environment.reopen()
    environment.release()


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _clear(workplace: Path) -> None:
    """Remove what is left of a copy."""
    shutil.rmtree(workplace, ignore_errors=True)
