"""The bytes of a block back into candles: whole columns, or some consecutive rows of them.

This is the plain way, with numpy; `kernel.c` does the same several times as fast where it could be compiled.
"""

import struct
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from candlewick.errors import StoreDamaged
from candlewick.stores.blocks.layout import (
    CHECKED_FROM,
    COLUMN,
    COLUMNS,
    COLUMNS_AT,
    DATA_AT,
    HEADER,
    INTEGERS,
    MOST_ROWS,
    PLANES,
    POWERS,
    QUOTED,
    VERSION,
    Coding,
    Doubles,
    padded,
    price_scale,
)
from candlewick.stores.checksum import Bytes, checksum
from candlewick.stores.grid import Int64s

_DESCRIPTORS = struct.Struct("<" + COLUMN.format[1:] * len(COLUMNS))
_COLUMNS = len(COLUMNS)
_FIELDS = 7
_OFFSET = 4
_INDEX = {name: _FIELDS * at for at, name in enumerate(COLUMNS)}
_INT64 = np.dtype("<i8")
_DOUBLE = np.dtype("<f8")
_UINT16 = np.dtype("<u2")
_RAW, _PREDICTED = int(Coding.RAW), int(Coding.PREDICTED)
_Parts = tuple[np.dtype[Any], ...]
_UNSIGNED: dict[int, _Parts] = {width: tuple(np.dtype(plane) for plane in planes) for width, planes in PLANES.items()}
_SIGNED: dict[int, _Parts] = {
    width: (*parts[:-1], np.dtype(parts[-1].str.replace("u", "i"))) for width, parts in _UNSIGNED.items() if parts
}


class _Column(NamedTuple):
    coding: int
    places: int
    width: int
    patches: int
    offset: int
    checksum: int
    base: float


class Block:
    """A block's bytes and what is in them; `data` must stay alive and unchanged while it is used.

    Its head is checked when anything is read, each column when it is, so that reading one does not touch the others.
    Messages call it `name`, or block `number` of `name`.

    Raises:
        StoreDamaged: the bytes are not what was written.
    """

    __slots__ = ("_columns", "_descriptors", "_expected", "_name", "_number", "_runs", "data", "rows", "size")

    rows: int

    def __init__(self, data: Bytes, name: str, number: int | None = None) -> None:
        self._name = name
        self._number = number
        self.data = data
        self.size = size = len(data)
        if size < DATA_AT or size % 8:
            raise self.damaged(f"it is {size} bytes long")
        self._expected, version, columns, self._runs, self.rows = HEADER.unpack_from(data)
        if version != VERSION or columns != _COLUMNS:
            raise self.damaged(f"it has version {version} and {columns} columns")
        if not 0 < self.rows <= MOST_ROWS:
            raise self.damaged(f"it says that it has {self.rows} rows")
        self._descriptors: tuple[Any, ...] = ()
        self._columns: dict[str, _Column] = {}

    def slots(self, start: int = 0, end: int | None = None) -> Int64s:
        """The slots of rows `start` to `end`, counted from the block's first."""
        self._check_head()
        end = self.rows if end is None else end
        runs = np.frombuffer(self.data, _UINT16, 2 * self._runs, DATA_AT).astype(np.int64)
        firsts, slots = runs[::2], runs[1::2]
        if not self._runs or firsts[0] or (np.diff(firsts, append=self.rows) <= 0).any():
            raise self.damaged("its runs are not in order")
        if self._runs == 1:
            return np.arange(runs[1] + start, runs[1] + end)
        return np.arange(start, end) + np.repeat(slots - firsts, np.diff(firsts, append=self.rows))[start:end]

    def offsets(self, start: int = 0, end: int | None = None) -> Int64s | None:
        """How far the open times of rows `start` to `end` are from their slots; None if all are on the grid."""
        column = self.column("offset")
        if column.width == 0 and not column.patches and not column.base:
            return None
        values = np.empty((self.rows if end is None else end) - start, np.int64)
        self.fill({"offset": values}, start, end)
        return values

    def fill(self, out: Mapping[str, npt.NDArray[Any]], start: int = 0, end: int | None = None) -> None:
        """Write rows `start` to `end` of each column that `out` names; `close_time` is relative to the open time.

        Raises:
            StoreDamaged: a column is not what was written.
        """
        end = self.rows if end is None else end
        if start == end:
            return
        try:
            with np.errstate(all="ignore"):  # what nobody has written may overflow
                self._fill(_Part(self, start, end, out), out)
        except (ValueError, IndexError, KeyError, OverflowError) as error:
            raise self.senseless(str(error)) from None

    def damaged(self, what: str) -> StoreDamaged:
        """The error of a block that is not what was written."""
        name = self._name if self._number is None else f"block {self._number} of {self._name}"
        return StoreDamaged(f"{name} is damaged: {what}; restore a copy of the store, or load it again")

    def senseless(self, why: str) -> StoreDamaged:
        """The error of a block whose checksums match and which cannot be read all the same."""
        return self.damaged(f"its columns make no sense ({why})")

    def _fill(self, part: "_Part", out: Mapping[str, npt.NDArray[Any]]) -> None:
        decimals = []
        for name, target in out.items():
            column = self.column(name)
            if column.coding == _RAW:
                target[:] = part.plane(_INT64 if name in INTEGERS else _DOUBLE, column.offset)
            elif name in INTEGERS:
                part.integers(column, target)
            else:
                part.scaled(name)
                decimals.append((name, column, target))
        for name, column, target in decimals:  # only now: the integers of one column predict those of others
            np.divide(part.scaled(name), POWERS[column.places], out=target)
            if column.patches:
                part.patch(column, _DOUBLE, target)

    def column(self, name: str) -> _Column:
        """Where a column is and what it means, once its bytes have been checked."""
        column = self._columns.get(name)
        if column is None:
            self._check_head()
            at = _INDEX[name]
            column = _Column._make(self._descriptors[at : at + _FIELDS])
            following = at + _FIELDS + _OFFSET
            end = self._descriptors[following] if following < len(self._descriptors) else len(self.data)
            if not DATA_AT <= column.offset <= end <= len(self.data) or column.offset % 8 or end % 8:
                raise self.senseless(f"{name} lies from {column.offset} to {end}")
            if checksum(memoryview(self.data)[column.offset : end]) != column.checksum:
                raise self.damaged(f"the checksum of its {name} does not match")
            self._columns[name] = column
        return column

    def _check_head(self) -> None:
        if self._descriptors:
            return
        head = DATA_AT + padded(4 * self._runs)
        if head > len(self.data) or checksum(memoryview(self.data)[CHECKED_FROM:head]) != self._expected:
            raise self.damaged("the checksum of its head does not match")
        self._descriptors = _DESCRIPTORS.unpack_from(self.data, COLUMNS_AT)


class _Part:
    """Some consecutive rows of a block, being decoded into the arrays of `out`."""

    __slots__ = ("_block", "_data", "_end", "_known", "_out", "_rows", "_start")

    def __init__(self, block: Block, start: int, end: int, out: Mapping[str, npt.NDArray[Any]]) -> None:
        self._block = block
        self._data = block.data
        self._rows = block.rows
        self._start = start
        self._end = end
        self._out = out
        self._known: dict[str | float, Doubles] = {}

    def plane(self, kind: np.dtype[Any], offset: int) -> npt.NDArray[Any]:
        return np.frombuffer(self._data, kind, self._end - self._start, offset + self._start * kind.itemsize)

    def integers(self, column: _Column, target: npt.NDArray[Any]) -> None:
        parts = _UNSIGNED[column.width]
        if parts:
            np.add(self.plane(parts[0], column.offset), int(column.base), out=target, dtype=np.int64, casting="unsafe")
            self._add_upper(column, parts, target)
        else:
            target.fill(int(column.base))
        if column.patches:
            self.patch(column, _INT64, target)

    def scaled(self, name: str) -> Doubles:
        """A decimal column in units of its last place, before patching; in the target of the column if it fits."""
        values = self._known.get(name)
        if values is None:
            column = self._block.column(name)
            target = self._out.get(name)
            values = target if target is not None and target.flags.c_contiguous else np.empty(self._end - self._start)
            if column.coding == _PREDICTED:
                self._predicted(name, column, values)
            else:
                parts = _UNSIGNED[column.width]
                if parts:
                    np.add(self.plane(parts[0], column.offset), column.base, out=values)
                    self._add_upper(column, parts, values)
                else:
                    values.fill(column.base)
            self._known[name] = values
        return values

    def _predicted(self, name: str, column: _Column, values: Doubles) -> None:
        parts = _SIGNED[column.width]
        stored = self.plane(parts[0], column.offset)
        if name == "open":
            closes = self.scaled("close")
            before = self._close_before() if self._start else closes[0]
            np.add(stored[1:], closes[:-1], out=values[1:])
            values[0] = stored[0] + before
        elif name == "high":
            np.add(stored, np.maximum(self.scaled("open"), self.scaled("close")), out=values)
        elif name == "low":
            np.add(stored, np.minimum(self.scaled("open"), self.scaled("close")), out=values)
        else:
            volume = QUOTED[name]
            scale = price_scale(*(self._block.column(each).places for each in ("high", volume, name)))
            expected = self.scaled(volume) * self._mean_price(scale)
            np.rint(expected, out=expected)
            np.add(stored, expected, out=values)
        self._add_upper(column, parts, values)

    def _mean_price(self, scale: float) -> Doubles:
        price = self._known.get(scale)
        if price is None:
            price = self.scaled("high") + self.scaled("low")
            price *= scale
            self._known[scale] = price
        return price

    def _close_before(self) -> float:
        close = _Part(self._block, self._start - 1, self._start, {})
        return float(close.scaled("close")[0])

    def _add_upper(self, column: _Column, parts: _Parts, values: npt.NDArray[Any]) -> None:
        """Add the planes above the lowest, each worth 256 times as much for every byte below it."""
        offset, scale = column.offset, 1
        for below, part in pairwise(parts):
            offset += padded(self._rows * below.itemsize)
            scale <<= 8 * below.itemsize
            values += np.multiply(self.plane(part, offset), scale, dtype=values.dtype)

    def patch(self, column: _Column, kind: np.dtype[Any], target: npt.NDArray[Any]) -> None:
        offset = column.offset + sum(padded(self._rows * part.itemsize) for part in _UNSIGNED[column.width])
        rows = np.frombuffer(self._data, _UINT16, column.patches, offset)
        values = np.frombuffer(self._data, kind, column.patches, offset + padded(2 * column.patches))
        if self._end - self._start < self._rows:
            first, last = rows.searchsorted((self._start, self._end))
            rows, values = rows[first:last] - self._start, values[first:last]
        target[rows] = values
