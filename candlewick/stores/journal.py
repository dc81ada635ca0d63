"""The rows that were written lately and are not in blocks yet: one entry a commit on disk, one table in memory."""

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from candlewick.stores import rule
from candlewick.stores.checksum import Bytes, checksum
from candlewick.stores.store import ROW, Rows

ENTRY_ROWS = 4_096
"""The most rows of one entry; a larger write makes several, in one transaction."""

KEY = struct.Struct(">Q")
_HEADER = struct.Struct("<I4xB3xI")  # checksum of everything from byte 8 on; version, number of rows
_VERSION = 1
_CHECKED_FROM = 8
_SMALLEST = 4_096
_ENDLESS = 1 << 62

Flags = npt.NDArray[np.bool_]


def pack_entry(rows: Rows, new: Flags) -> bytes:
    """An entry: the rows, and for each whether its time was not held before."""
    body = b"".join((_HEADER.pack(0, _VERSION, len(rows)), rows.tobytes(), new.astype(np.uint8).tobytes()))
    entry = bytearray(body.ljust(-(-len(body) // 8) * 8, b"\0"))
    entry[:4] = checksum(memoryview(entry)[_CHECKED_FROM:]).to_bytes(4, "little")
    return bytes(entry)


def unpack_entry(entry: Bytes) -> tuple[Rows, Flags]:
    """The rows and flags of an entry; they share its memory.

    Raises:
        ValueError: the bytes are not what was written.
    """
    if len(entry) <= _HEADER.size or len(entry) % 8:
        raise ValueError(f"it is {len(entry)} bytes long")
    expected, version, count = _HEADER.unpack_from(entry)
    if checksum(memoryview(entry)[_CHECKED_FROM:]) != expected:
        raise ValueError("its checksum does not match")
    if version != _VERSION:
        raise ValueError(f"it has version {version}")
    rows = np.frombuffer(entry, ROW, count, _HEADER.size)
    return rows, np.frombuffer(entry, np.bool_, count, _HEADER.size + rows.nbytes)


class View(NamedTuple):
    """The journal as it stood once: its rows, oldest first, and the columns that are searched."""

    rows: Rows
    numbers: npt.NDArray[np.uint32]
    sequences: npt.NDArray[np.int64]
    new: Flags

    def part(self, which: slice) -> "View":
        """Some of the rows."""
        return View(self.rows[which], self.numbers[which], self.sequences[which], self.new[which])

    def rows_of(self, number: int, after: int, through: int = _ENDLESS) -> Rows:
        """The rows of a series in entries after `after`, by time, each time as it stood last."""
        if not len(self.rows):
            return self.rows
        at = np.flatnonzero(self.numbers == number)
        sequences = self.sequences[at]
        at = at[(sequences > after) & (sequences <= through)]
        return rule.newest_per_time(self.rows[at])

    def by_series(self, folded: npt.NDArray[np.int64]) -> Iterator[tuple[int, Rows, Flags]]:
        """Every series with rows after its entry in `folded`: its number, its rows as they came, their flags."""
        live = np.flatnonzero(self.sequences > folded[self.numbers])
        if not len(live):
            return
        order = live[np.argsort(self.numbers[live], kind="stable")]
        for part in np.split(order, np.flatnonzero(np.diff(self.numbers[order])) + 1):
            yield int(self.numbers[part[0]]), self.rows[part], self.new[part]


class Journal:
    """The entries in memory. Views of it stay as they were while it goes on."""

    def __init__(self) -> None:
        self.size = 0
        self.last = 0
        """The number of the newest entry, 0 before the first."""
        self._table = _empty_table(_SMALLEST)

    def view(self) -> View:
        """The journal as it stands."""
        return self._table.part(slice(self.size))

    def append(self, sequence: int, rows: Rows, new: Flags) -> None:
        """Take in an entry."""
        size = self.size + len(rows)
        if size > len(self._table.rows):
            self._move(self.view(), 2 * size)
        table = self._table.part(slice(self.size, size))
        table.rows[:] = rows
        table.numbers[:] = rows["series"]
        table.sequences[:] = sequence
        table.new[:] = new
        self.size, self.last = size, sequence

    def truncate(self, size: int, last: int) -> None:
        """Forget what was appended since it had this size and last entry."""
        self.size, self.last = size, last

    def drop(self, through: int) -> None:
        """Forget entries up to and with this one."""
        view = self.view()
        gone = int(np.searchsorted(view.sequences, through, side="right"))
        if gone:
            rest = view.part(slice(gone, None))
            self._move(rest, 2 * max(len(rest.rows), _SMALLEST))
            self.size = len(rest.rows)

    def refresh(self, txn: Any, database: Any) -> None:  # noqa: ANN401  # lmdb's own; its types are optional
        """Become what the snapshot holds, which must not be older than at the last call.

        Raises:
            ValueError: an entry is damaged; its number is in the message.
        """
        with txn.cursor(db=database) as cursor:
            first = KEY.unpack(cursor.key())[0] if cursor.first() else self.last + 1
            self.drop(first - 1)
            if not cursor.set_range(KEY.pack(self.last + 1)):
                return
            for key, entry in cursor:
                sequence = KEY.unpack(key)[0]
                try:
                    self.append(sequence, *unpack_entry(entry))
                except ValueError as error:
                    raise ValueError(f"entry {sequence} of the journal: {error}") from None

    def _move(self, content: View, capacity: int) -> None:
        table = _empty_table(capacity)
        count = len(content.rows)
        table.rows[:count] = content.rows
        table.numbers[:count] = content.numbers
        table.sequences[:count] = content.sequences
        table.new[:count] = content.new
        self._table = table


def _empty_table(capacity: int) -> View:
    return View(
        np.empty(capacity, ROW),
        np.empty(capacity, np.uint32),
        np.empty(capacity, np.int64),
        np.empty(capacity, np.bool_),
    )
