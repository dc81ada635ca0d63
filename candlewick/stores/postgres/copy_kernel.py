"""The compiled way from rows to COPY BINARY, where there is one: `copy_kernel.c`, through ctypes.

`hatch_build.py` compiles it when the package is built or installed for editing. Where it could not, `rows.py` makes the
same bytes, many times slower. It holds no lock of Python.
"""

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from candlewick.compiled import library
from candlewick.stores.store import Rows

LIBRARY = Path(__file__).with_name("libcopy_kernel.so")

_INTERFACE = 2
_MOST_NUMERIC = 44  # as in the library
_REST = 8 * _MOST_NUMERIC + 3 * 12 + 6


class Kernel:
    """The function of the library."""

    def __init__(self, library: ctypes.CDLL) -> None:
        number, address = ctypes.c_int64, ctypes.c_void_p
        self._rows = library.candlewick_copy_rows
        self._rows.restype = number
        self._rows.argtypes = (address, number, ctypes.c_char_p, address, address, number, address, number, address)

    def encode(
        self, rows: Rows, prefixes: Sequence[bytes], which: npt.NDArray[np.int64], slow: Callable[[Rows], bytes]
    ) -> bytes:
        """Rows, contiguous, one after the other, each after that of `prefixes` which `which` has for it.

        `slow` makes rows of unusual doubles.
        """
        sizes = [len(one) for one in prefixes]
        starts, longest = np.cumsum([0, *sizes]), max(sizes)
        room = len(rows) * (longest + _REST)
        made = np.empty(room, np.uint8)
        written = ctypes.c_int64()
        joined, parts, done, start = b"".join(prefixes), [], 0, 0
        while done < len(rows):
            done += self._rows(
                rows.ctypes.data + done * rows.itemsize, len(rows) - done,
                joined, starts.ctypes.data, which[done:].ctypes.data, longest,
                made.ctypes.data + start, room - start, ctypes.byref(written),
            )  # fmt: skip
            parts.append(made[start : start + written.value].tobytes())
            start += written.value
            if done < len(rows):
                parts.append(slow(rows[done : done + 1]))
                done += 1
        return b"".join(parts)


@cache
def loaded() -> Kernel | None:
    """The library beside this file; None where it was not compiled, or is of another version of this file."""
    found = library(LIBRARY, "candlewick_copy_interface", _INTERFACE)
    return None if found is None else Kernel(found)
