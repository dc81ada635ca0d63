"""The compiled way between blocks and columns, where there is one: `kernel.c`, through ctypes.

`hatch_build.py` compiles it when the package is built or installed for editing. Where it could not, `loaded` is None,
and `encode` and `decode` do the same with numpy, bit for bit, several times slower. Its calls hold no lock of Python,
so that threads read and write different blocks at the same time.
"""

import ctypes
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from candlewick.compiled import library
from candlewick.errors import StoreDamaged, UsageError
from candlewick.stores.blocks.layout import COLUMNS
from candlewick.stores.store import ROW, Rows, Source

LIBRARY = Path(__file__).with_name("libkernel.so")

JOB = np.dtype([("data", "<u8"), ("size", "<u8"), ("to", "<u8"), ("first", "<u8"), ("end", "<u8"), ("start", "<i8")])
"""Rows `first` to `end` of the block of `size` bytes at the address `data`, to row `to` of the targets; `start` is the
time of the block's first slot."""

Jobs = npt.NDArray[np.void]

_INTERFACE = 2
_TARGETS = ("open_time", *COLUMNS[1:], "series")
_FIELDS = tuple(name for name in ROW.names or () if name not in {"series", "source"})
_PLACES = {name: at for at, name in enumerate(_TARGETS)}
_OFF_GRID, _NOT_THE_SAME = -1, -2


class Room(NamedTuple):
    """What packing needs: a place for the block and one to work in, for so many rows."""

    block: npt.NDArray[np.uint8]
    scratch: npt.NDArray[np.uint8]
    rows: int


class Kernel:
    """The functions of the library."""

    def __init__(self, library: ctypes.CDLL) -> None:
        number, address = ctypes.c_int64, ctypes.c_void_p
        self._read = library.candlewick_read
        self._read.restype = number
        self._read.argtypes = (address, number, address, number, ctypes.c_uint32)
        self._encode = library.candlewick_encode
        self._encode.restype = number
        self._encode.argtypes = (address, number, number, number, address, address)
        self._rows = library.candlewick_rows
        self._rows.restype = None
        self._rows.argtypes = (address, number, ctypes.c_uint32, ctypes.c_uint8, address)
        self._most, self._room = library.candlewick_most, library.candlewick_room
        self._most.restype = self._room.restype = number
        self._most.argtypes = self._room.argtypes = (number,)

    def read(self, jobs: Jobs, columns: npt.NDArray[np.int64], length: int, series: int) -> int:
        """Do jobs of one series whose candles are `length` long; `columns` are `targets`.

        Returns how many were done: if not all, the block of the next one is not what was written. Whoever calls keeps
        what the addresses name alive, and has checked that every job ends within its targets.
        """
        return int(self._read(jobs.ctypes.data, len(jobs), columns.ctypes.data, length, series))

    def rows(self, series: int, source: Source, columns: Mapping[str, npt.NDArray[Any]]) -> Rows:
        """Rows of one series and source made of the other columns of `ROW`."""
        fields = [np.ascontiguousarray(columns[name], ROW[name]) for name in _FIELDS]
        count = len(fields[0])
        if any(field.shape != (count,) for field in fields):
            raise UsageError("columns of different lengths are no rows")
        rows: Rows = np.empty(count, ROW)
        table = np.array([field.ctypes.data for field in fields], np.uint64)
        self._rows(table.ctypes.data, count, series, int(source), rows.ctypes.data)
        return rows

    def room(self, rows: int) -> Room:
        """Memory to pack up to so many rows in: new memory costs half as much as the packing itself."""
        return Room(np.empty(self._most(rows), np.uint8), np.empty(self._room(rows), np.uint8), rows)

    def encode(self, rows: Rows, start: int, length: int, room: Room) -> bytes:
        """The block of `rows`, of one series and by time, read back and compared; `start` is the time of its first slot.

        Raises:
            UsageError: the rows are not of this block.
            StoreDamaged: it does not read back as they are.
        """
        rows = np.ascontiguousarray(rows)
        assert len(rows) <= room.rows
        size = self._encode(
            rows.ctypes.data, len(rows), start, length, room.block.ctypes.data, room.scratch.ctypes.data
        )
        if size == _OFF_GRID:
            raise UsageError(f"{len(rows)} candles are not one block: too many, not in order, or not on the grid")
        if size == _NOT_THE_SAME:
            raise StoreDamaged("a block does not read back as it was written: report this")
        return room.block[:size].tobytes()


def targets(columns: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.int64]:
    """Addresses and strides of the arrays that columns of `ROW` are to be written to, as `Kernel.read` takes them."""
    found = np.zeros((len(_TARGETS), 2), np.int64)
    for name, column in columns.items():
        found[_PLACES[name]] = column.__array_interface__["data"][0], column.strides[0]
    return found


def address(data: Any) -> int:  # noqa: ANN401  # bytes or a view of them
    """Where bytes lie in memory; they must be kept alive while it is used."""
    return int(np.frombuffer(data, np.uint8).__array_interface__["data"][0])


@cache
def loaded() -> Kernel | None:
    """The library beside this file; None where it was not compiled, or is of another version of this file."""
    found = library(LIBRARY, "candlewick_interface", _INTERFACE)
    return None if found is None else Kernel(found)


def main() -> None:
    """Say which way is used."""
    if loaded() is None:
        sys.stderr.write(
            "candlewick: WARNING: the store's kernel is not compiled; reading and writing long histories takes several "
            "times as long. Install a C compiler (cc, or name one in CC), then install candlewick again.\n"
        )
    else:
        sys.stdout.write("candlewick: the store's kernel is compiled and used\n")


if __name__ == "__main__":
    main()
