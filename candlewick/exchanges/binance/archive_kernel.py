"""The compiled way from the CSV of an archive file to columns, where there is one: `archive_kernel.c`, through ctypes.

`hatch_build.py` compiles it when the package is built or installed for editing. It reads what is plainly written; all
else, and everything where it was not compiled, is polars' to read or to refuse (`archive_files.py`). It holds no lock
of Python, so that threads read different files at the same time.
"""

import ctypes
from collections.abc import Sequence
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candlewick.compiled import library

LIBRARY = Path(__file__).with_name("libarchive_kernel.so")

_INTERFACE = 1


class Kind(IntEnum):
    """What a column holds, as the library numbers it."""

    INT = 0
    DECIMAL = 1
    FLAG = 2
    TEXT = 3


_DTYPES = {Kind.INT: np.int64, Kind.DECIMAL: np.float64, Kind.FLAG: np.bool_}


class Kernel:
    """The functions of the library."""

    def __init__(self, library: ctypes.CDLL) -> None:
        number, address = ctypes.c_int64, ctypes.c_void_p
        self._lines, self._read = library.candlewick_archive_lines, library.candlewick_archive_read
        self._lines.restype = self._read.restype = number
        self._lines.argtypes = (address, number)
        self._read.argtypes = (address, number, address, number, number)

    def read(
        self, text: bytes, start: int, columns: Sequence[tuple[str | None, Kind]]
    ) -> dict[str, NDArray[Any]] | None:
        """The lines from byte `start` on as columns by name; None if there are none, or one is not plainly written.

        `columns`: of a line, in order; those without a name are checked to be there. One of text cannot have a name.
        """
        if not text.endswith(b"\n"):
            if text.endswith(b"\r"):
                return None
            text += b"\n"
        data = np.frombuffer(text, np.uint8)[start:]
        place = data.ctypes.data
        rows = self._lines(place, data.size)
        found = {name: np.empty(rows, _DTYPES[kind]) for name, kind in columns if name is not None}
        table = np.array([(kind, 0 if name is None else found[name].ctypes.data) for name, kind in columns], np.uint64)
        if not rows or self._read(place, data.size, table.ctypes.data, len(columns), rows) != rows:
            return None
        return found


@cache
def loaded() -> Kernel | None:
    """The library beside this file; None where it was not compiled, or is of another version of this file."""
    found = library(LIBRARY, "candlewick_archive_interface", _INTERFACE)
    return None if found is None else Kernel(found)
