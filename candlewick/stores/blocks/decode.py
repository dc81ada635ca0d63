"""The bytes of a block back into candles, whole columns or a slice of them at a time."""

import struct
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from candlewick.stores.blocks.layout import (
    CHECKED_FROM,
    COLUMN,
    COLUMNS,
    COLUMNS_AT,
    DATA_AT,
    HEADER,
    INTEGERS,
    PLANES,
    POWERS,
    QUOTED,
    VERSION,
    Coding,
    Doubles,
    expected_quote,
    padded,
    quote_factor,
)  # fmt: skip
from candlewick.stores.checksum import Bytes, checksum
from candlewick.stores.grid import Int64s

_DESCRIPTORS = struct.Struct("<" + COLUMN.format[1:] * len(COLUMNS))
_INDEX = {name: at * 6 for at, name in enumerate(COLUMNS)}
_PARTS = {width: tuple(np.dtype(plane) for plane in planes) for width, planes in PLANES.items()}
_INT64 = np.dtype("<i8")
_DOUBLE = np.dtype("<f8")
_UINT16 = np.dtype("<u2")
_RAW, _PREDICTED = int(Coding.RAW), int(Coding.PREDICTED)


class _Column(NamedTuple):
    coding: int
    places: int
    width: int
    patches: int
    offset: int
    base: float


class Block:
    """A block's bytes, checked, and what is in them; `data` must stay alive and unchanged while it is used.

    Raises:
        ValueError: the bytes are not what was written.
    """

    __slots__ = ("_columns", "_data", "_runs", "rows")

    rows: int

    def __init__(self, data: Bytes) -> None:
        if len(data) < DATA_AT or len(data) % 8:
            raise ValueError(f"it is {len(data)} bytes long")
        expected, version, columns, self._runs, self.rows = HEADER.unpack_from(data)
        if checksum(memoryview(data)[CHECKED_FROM:]) != expected:
            raise ValueError("its checksum does not match")
        if version != VERSION or columns != len(COLUMNS):
            raise ValueError(f"it has version {version} and {columns} columns")
        self._data = data
        self._columns = _DESCRIPTORS.unpack_from(data, COLUMNS_AT)

    def slots(self) -> Int64s:
        """The slot of each row, counted from the block's first."""
        runs = np.frombuffer(self._data, _UINT16, 2 * self._runs, DATA_AT).astype(np.int64)
        if self._runs == 1:
            return np.arange(runs[1], runs[1] + self.rows)
        firsts, slots = runs[::2], runs[1::2]
        return np.arange(self.rows) + np.repeat(slots - firsts, np.diff(firsts, append=self.rows))

    def offsets(self) -> Int64s | None:
        """How far each open time is from its slot; None where all are on the grid."""
        column = self._column("offset")
        if column.width == 0 and not column.patches and not column.base:
            return None
        values = np.empty(self.rows, np.int64)
        self.fill({"offset": values})
        return values

    def fill(self, out: Mapping[str, npt.NDArray[Any]], start: int = 0, end: int | None = None) -> None:
        """Write rows `start` to `end` of each column that `out` names; `close_time` is relative to the open time."""
        part = _Slice(self, start, self.rows if end is None else end)
        for name, target in out.items():
            column = self._column(name)
            if name in INTEGERS:
                part.integers(column, target)
            else:
                part.decimals(name, column, target)

    def _column(self, name: str) -> _Column:
        at = _INDEX[name]
        return _Column(*self._columns[at : at + 6])


class _Slice:
    """Some consecutive rows of a block. Columns that others are predicted from are decoded once."""

    __slots__ = ("_block", "_data", "_end", "_known", "_start")

    def __init__(self, block: Block, start: int, end: int) -> None:
        self._block = block
        self._data = block._data  # noqa: SLF001  # a part of the same thing
        self._start = start
        self._end = end
        self._known: dict[str, Doubles] = {}

    def integers(self, column: _Column, target: npt.NDArray[Any]) -> None:
        if column.coding == _RAW:
            target[:] = self._plane(_INT64, column.offset)
            return
        base = int(column.base)
        if column.width == 0:
            target[:] = base
        else:
            target[:] = self._stored(column, np.empty(self._end - self._start, np.int64), base)
        if column.patches:
            self._patch(column, _INT64, target)

    def decimals(self, name: str, column: _Column, target: npt.NDArray[Any]) -> None:
        if column.coding == _RAW:
            target[:] = self._plane(_DOUBLE, column.offset)
            return
        np.divide(self._scaled(name), POWERS[column.places], out=target)
        if column.patches:
            self._patch(column, _DOUBLE, target)

    def _scaled(self, name: str) -> Doubles:
        """The integers of a decimal column, before patching."""
        values = self._known.get(name)
        if values is None:
            column = self._block._column(name)  # noqa: SLF001  # a part of the same thing
            values = self._stored(column, np.empty(self._end - self._start), column.base)
            if column.coding == _PREDICTED:
                self._predict(name, column, values)
            self._known[name] = values
        return values

    def _predict(self, name: str, column: _Column, values: Doubles) -> None:
        """Add what the other columns of the row let one expect."""
        if name == "open":
            closes = self._scaled("close")
            values[1:] += closes[:-1]
            values[:1] += self._close_before() if self._start else closes[:1]
        elif name == "high":
            values += np.maximum(self._scaled("open"), self._scaled("close"))
        elif name == "low":
            values += np.minimum(self._scaled("open"), self._scaled("close"))
        else:
            volume = QUOTED[name]
            block = self._block
            price_places, volume_places = (block._column(each).places for each in ("close", volume))  # noqa: SLF001
            factor = quote_factor(price_places, volume_places, column.places)
            values += expected_quote(self._scaled(volume), self._prices(), factor)

    def _close_before(self) -> Doubles:
        return _Slice(self._block, self._start - 1, self._start)._scaled("close")  # noqa: SLF001  # another of its kind

    def _prices(self) -> Doubles:
        total = self._known.get("prices")
        if total is None:
            total = self._scaled("open") + self._scaled("high")
            total += self._scaled("low")
            total += self._scaled("close")
            self._known["prices"] = total
        return total

    def _stored(self, column: _Column, values: npt.NDArray[Any], base: float) -> npt.NDArray[Any]:
        """Base plus the stored integers, in `values`."""
        parts = _PARTS[column.width]
        if not parts:
            values.fill(base)
            return values
        np.add(self._plane(parts[0], column.offset), base, out=values, dtype=values.dtype)
        offset, scale = column.offset, 1
        for before, part in pairwise(parts):
            offset += padded(self._block.rows * before.itemsize)
            scale <<= 8 * before.itemsize
            values += np.multiply(self._plane(part, offset), scale, dtype=values.dtype)
        return values

    def _patch(self, column: _Column, kind: np.dtype[Any], target: npt.NDArray[Any]) -> None:
        offset = column.offset + sum(padded(self._block.rows * part.itemsize) for part in _PARTS[column.width])
        rows = np.frombuffer(self._data, _UINT16, column.patches, offset)
        values = np.frombuffer(self._data, kind, column.patches, offset + padded(2 * column.patches))
        if self._end - self._start < self._block.rows:
            first, last = np.searchsorted(rows, (self._start, self._end))
            rows, values = rows[first:last] - self._start, values[first:last]
        target[rows] = values

    def _plane(self, kind: np.dtype[Any], offset: int) -> npt.NDArray[Any]:
        return np.frombuffer(self._data, kind, self._end - self._start, offset + self._start * kind.itemsize)
