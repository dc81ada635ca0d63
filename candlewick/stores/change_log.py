"""The log of changes on disk: one value for every logged write, of what it touched and no more.

An output that follows the log reads what stands there by then (`store.Change`).
"""

import secrets
import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from candlewick.market import Series, Span
from candlewick.stores.checksum import Bytes, checksum
from candlewick.stores.grid import Int64s
from candlewick.stores.store import OTHER_ROWS, SPAN, Change, ChangeKind, ChangeRange, Rows, Touched
from candlewick.stores.tables import SEQUENCE_KEY

ENTRY = np.dtype([("series", "<u4"), ("rows", "<u4"), ("first", "<i8"), ("last", "<i8")])
"""Rows of one series that a write kept: how many, the first and the last open time."""

Entries = npt.NDArray[np.void]

APART = 4_096
"""Rows of one write that lie further apart than so many candles make two entries: what lies between is not read."""

DROPPED = b"dropped"
"""Key in `meta`: the sequence up to which the log has been dropped."""

_HEADER = struct.Struct("<I4xBB2xI")  # checksum of everything from byte 8 on; version, kind, number of entries or bytes
_ROW_ENTRY = struct.Struct("<IIqq")
_ROWS_ENTRY = struct.Struct("<4xI16x")  # how many rows, of an entry
_VERSION = 1
_CHECKED_FROM = 8
_SKIP = 1 << 40


class LogState(NamedTuple):
    """Where the log of a store that is being written stands."""

    last: int
    """The newest sequence; 0 before the first."""
    following: int
    """What the next logged write gets."""

    @classmethod
    def after(cls, last: int) -> "LogState":
        """At the start of a writer: sequences go on at a distance nobody can guess.

        A store that was restored from an old copy and goes on never gives a sequence again that it gave after the copy
        was made, so that an output that is further than the copy finds its position missing.
        """
        return cls(last, last + 1 + secrets.randbelow(_SKIP))

    def advanced(self) -> "LogState":
        """After one more logged write."""
        return LogState(self.following, self.following + 1)


def entries_of(rows: Rows, apart: Int64s) -> Entries:
    """What rows, ordered by series and time, touch; `apart` is the distance that parts entries, by series number."""
    series, times = rows["series"].astype(np.int64), np.ascontiguousarray(rows["open_time"])
    edges = np.flatnonzero((np.diff(series) != 0) | (np.diff(times) > apart[series[:-1]])) + 1
    starts = np.concatenate(([0], edges))
    ends = np.concatenate((edges, [len(rows)]))
    entries = np.empty(len(starts), ENTRY)
    entries["series"], entries["rows"] = series[starts], ends - starts
    entries["first"], entries["last"] = times[starts], times[ends - 1]
    return entries


def pack_rows(rows: Rows, apart: Int64s) -> bytes:
    """The value of a write that kept these rows, ordered by series and time."""
    if len(rows) == 1:
        number, time = int(rows["series"][0]), int(rows["open_time"][0])
        return _packed(ChangeKind.ROWS, 1, _ROW_ENTRY.pack(number, 1, time, time))
    entries = entries_of(rows, apart)
    return _packed(ChangeKind.ROWS, len(entries), entries.tobytes())


def pack_absences(number: int) -> bytes:
    """The value of a write of a series' absences."""
    return _packed(ChangeKind.ABSENCES, 1, _ROW_ENTRY.pack(number, 0, 0, 0))


def pack_states(keys: Sequence[str]) -> bytes:
    """The value of a write of these states."""
    body = msgspec.msgpack.encode(keys)
    return _packed(ChangeKind.STATE, len(body), body)


def range_of(txn: Any, meta: Any, database: Any | None) -> ChangeRange:  # noqa: ANN401  # lmdb's own
    """What the log holds."""
    dropped = int(bytes(txn.get(DROPPED, db=meta, default=b"0")))
    if database is None:
        return ChangeRange(dropped + 1, dropped)
    with txn.cursor(db=database) as cursor:
        last = SEQUENCE_KEY.unpack(cursor.key())[0] if cursor.last() else dropped
    return ChangeRange(dropped + 1, last)


def read(txn: Any, database: Any, after: int, limit: int, series: Sequence[Series]) -> list[Change]:  # noqa: ANN401  # lmdb's own
    """Logged changes above `after`, whole writes, until there are `limit`.

    Raises:
        ValueError: a value is not what was written; says which.
    """
    found: list[Change] = []
    for sequence, kind, count, value in _values(txn, database, after):
        found.extend(_unpacked(sequence, kind, count, value, series))
        if len(found) >= limit:
            break
    return found


def touched(
    txn: Any,  # noqa: ANN401  # lmdb's own
    database: Any,  # noqa: ANN401  # lmdb's own
    after: int,
    rows: int,
    through: int | None,
    series: Sequence[Series],
) -> Touched:
    """What logged writes touched (`StoreReader.touched`).

    Raises:
        ValueError: a value is not what was written; says which.
    """
    reached, kept, others = after, 0, 0
    bodies: list[bytes] = []
    absences: dict[int, None] = {}
    states: dict[str, None] = {}
    for sequence, kind, count, value in _values(txn, database, after):
        if through is not None and sequence > through:
            break
        reached = sequence
        if kind == ChangeKind.ROWS:
            body = bytes(value[_HEADER.size : _HEADER.size + count * ENTRY.itemsize])
            bodies.append(body)
            kept += sum(each for (each,) in _ROWS_ENTRY.iter_unpack(body))
        elif kind == ChangeKind.ABSENCES:
            absences |= dict.fromkeys(np.frombuffer(value, ENTRY, count, _HEADER.size)["series"].tolist())
            others += OTHER_ROWS
        else:
            states |= dict.fromkeys(_keys(value, count))
            others += OTHER_ROWS
        if kept + others >= rows:
            break
    entries = np.frombuffer(b"".join(bodies), ENTRY)
    spans = np.empty(len(entries), SPAN)
    spans["series"], spans["start"], spans["end"] = entries["series"], entries["first"], entries["last"] + 1
    return Touched(reached, kept, spans, [series[number] for number in absences], list(states))


def drop(txn: Any, meta: Any, database: Any, through: int, most: int | None) -> bool:  # noqa: ANN401  # lmdb's own
    """Forget values up to and with `through`, at most so many; whether some of them are left."""
    dropped, count = through, 0
    with txn.cursor(db=database) as cursor:
        there = cursor.first()
        while there and (sequence := SEQUENCE_KEY.unpack(cursor.key())[0]) <= through:
            if count == most:
                break
            dropped, count = sequence, count + 1
            there = cursor.delete() and cursor.first()
        else:
            dropped = through
    txn.put(DROPPED, str(dropped).encode(), db=meta)
    return dropped < through


def _packed(kind: ChangeKind, count: int, body: bytes) -> bytes:
    value = bytearray(_HEADER.pack(0, _VERSION, kind, count) + body + b"\0" * (-len(body) % 8))
    value[:4] = checksum(memoryview(value)[_CHECKED_FROM:]).to_bytes(4, "little")
    return bytes(value)


def _values(txn: Any, database: Any, after: int) -> Iterator[tuple[int, int, int, Bytes]]:  # noqa: ANN401  # lmdb's own
    """Every value above `after`, checked: its sequence, its kind, its count, and itself."""
    with txn.cursor(db=database) as cursor:
        if not cursor.set_range(SEQUENCE_KEY.pack(max(0, after + 1))):
            return
        for key, value in cursor:
            sequence = SEQUENCE_KEY.unpack(key)[0]
            if wrong := _wrong(value):
                raise ValueError(f"entry {sequence} of the log of changes: {wrong}")
            _, _, kind, count = _HEADER.unpack_from(value)
            yield sequence, kind, count, value


def _wrong(value: Bytes) -> str | None:
    """What is wrong with a value, if it is not what was written."""
    if len(value) < _HEADER.size or len(value) % 8:
        return f"it is {len(value)} bytes long"
    expected, version, _, _ = _HEADER.unpack_from(value)
    if checksum(memoryview(value)[_CHECKED_FROM:]) != expected:
        return "its checksum does not match"
    return None if version == _VERSION else f"it has version {version}"


def _keys(value: Bytes, size: int) -> list[str]:
    return msgspec.msgpack.decode(memoryview(value)[_HEADER.size : _HEADER.size + size], type=list[str])


def _unpacked(sequence: int, kind: int, count: int, value: Bytes, series: Sequence[Series]) -> list[Change]:
    if kind == ChangeKind.STATE:
        return [Change(sequence, ChangeKind.STATE, None, None, 0, key) for key in _keys(value, count)]
    entries = np.frombuffer(value, ENTRY, count, _HEADER.size).tolist()
    if kind == ChangeKind.ABSENCES:
        return [Change(sequence, ChangeKind.ABSENCES, series[number], None, 0, "") for number, *_ in entries]
    return [
        Change(sequence, ChangeKind.ROWS, series[number], Span(first, last + 1), rows, "")
        for number, rows, first, last in entries
    ]
