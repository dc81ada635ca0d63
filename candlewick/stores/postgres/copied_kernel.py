"""The compiled way from COPY BINARY to columns, where there is one: `copied_kernel.c`, through ctypes.

`hatch_build.py` compiles it when the package is built or installed for editing. Where it could not, the database itself
makes doubles of its numerics, which takes it several times longer. It holds no lock of Python.
"""

import ctypes
from collections.abc import Sequence
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from candlewick.compiled import library

LIBRARY = Path(__file__).with_name("libcopied_kernel.so")

_INTERFACE = 1


class Kind(IntEnum):
    """What a field is on the wire; numbered as in the library."""

    SOURCE = 1
    TIME = 2
    COUNT = 3
    NUMBER = 4


_LEAST = {Kind.SOURCE: 6, Kind.TIME: 12, Kind.COUNT: 4, Kind.NUMBER: 4}
"""Bytes that a field takes at least, with its length."""
_MADE = {Kind.SOURCE: np.uint8, Kind.TIME: np.int64, Kind.COUNT: np.int64, Kind.NUMBER: np.float64}


class Kernel:
    """The function of the library."""

    def __init__(self, library: ctypes.CDLL) -> None:
        number, address = ctypes.c_int64, ctypes.c_void_p
        self._rows = library.candlewick_copied_rows
        self._rows.restype = number
        self._rows.argtypes = (address, number, ctypes.c_int32, ctypes.c_char_p, address, address)

    def decode(self, data: bytes, kinds: Sequence[Kind]) -> tuple[list[npt.NDArray[Any]], int]:
        """The columns of the whole rows at the beginning of `data`, and how many bytes they took.

        Raises:
            ValueError: they are of another form.
        """
        room = len(data) // (2 + sum(_LEAST[kind] for kind in kinds)) + 1
        columns: list[npt.NDArray[Any]] = [np.empty(room, _MADE[kind]) for kind in kinds]
        targets = (ctypes.c_void_p * len(kinds))(*(column.ctypes.data for column in columns))
        used = ctypes.c_int64()
        count = self._rows(data, len(data), len(kinds), bytes(kinds), targets, ctypes.byref(used))
        if count < 0:
            raise ValueError(f"no rows of {len(kinds)} fields of these kinds")
        return [column[:count] for column in columns], used.value


@cache
def loaded() -> Kernel | None:
    """The library beside this file; None where it was not compiled, or is of another version of this file."""
    found = library(LIBRARY, "candlewick_copied_interface", _INTERFACE)
    return None if found is None else Kernel(found)
