"""The compiled way to leaves, where there is one: `leaf_kernel.c`, through ctypes.

`hatch_build.py` compiles it when the package is built or installed for editing. Where it could not, `loaded` is None,
and `encoding.py` makes the same leaves, several times slower. Its calls hold no lock of Python.
"""

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from candlewick.certificates.encoding import COLUMNS, Columns, Leaf, column_words, joined, title_of
from candlewick.compiled import library
from candlewick.market import Series
from candlewick.stores.grid import BLOCK_SLOTS, Int64s

LIBRARY = Path(__file__).with_name("libleaf_kernel.so")

LANES = 8
"""Blocks that are hashed at once: so many take the time of one."""

_INTERFACE = 1
_LONGEST = 200
"""Bytes of the name of a series; the library has room for no more."""
_JOB = np.dtype([(name, "<u8") for name in ("title", "title_size", "first", "rows", "slot", "leaf")])
_LEAF = np.dtype([("digest", "<u1", 32), ("sums", "<u8", (4, len(COLUMNS)))])


class Kernel:
    """The functions of the library."""

    def __init__(self, library: ctypes.CDLL) -> None:
        address = ctypes.c_void_p
        self._leaves = library.candlewick_leaves
        self._leaves.restype = None
        self._leaves.argtypes = (address, ctypes.c_int64, address, address)

    def leaves(
        self, columns: Columns, slots: Int64s, blocks: Sequence[tuple[int, slice]], series: Series
    ) -> list[Leaf]:
        """The leaves of blocks, each a number and the rows that are its; `slots` are those of all rows."""
        found = self._made(columns, slots, blocks, series)
        return [
            Leaf(rows.stop - rows.start, one["digest"].tobytes(), joined(*one["sums"][:2]), joined(*one["sums"][2:]))
            for one, (_, rows) in zip(found, blocks, strict=True)
        ]

    def digests(self, columns: Columns, blocks: Sequence[tuple[int, slice]], series: Series) -> list[bytes]:
        """The hashes of such leaves alone."""
        return [one["digest"].tobytes() for one in self._made(columns, None, blocks, series)]

    def _made(
        self, columns: Columns, slots: Int64s | None, blocks: Sequence[tuple[int, slice]], series: Series
    ) -> npt.NDArray[np.void]:
        words = [column_words(columns, name) for name in COLUMNS]
        places = None if slots is None else np.ascontiguousarray(slots, "<i8")
        size = len(words[0])
        leaves = np.zeros(len(blocks), _LEAF)
        titles = [title_of(series, block, rows.stop - rows.start) for block, rows in blocks]
        assert all(0 <= rows.start <= rows.stop <= size and rows.stop - rows.start <= BLOCK_SLOTS for _, rows in blocks)
        kept = [np.frombuffer(title, np.uint8) for title in titles]
        jobs = np.zeros(len(blocks), _JOB)
        jobs["title"], jobs["title_size"] = [each.ctypes.data for each in kept], [each.size for each in kept]
        jobs["first"], jobs["rows"] = [rows.start for _, rows in blocks], [rows.stop - rows.start for _, rows in blocks]
        jobs["slot"] = np.array([block * BLOCK_SLOTS for block, _ in blocks], np.int64).view(np.uint64)
        jobs["leaf"] = leaves.ctypes.data + np.arange(len(blocks)) * _LEAF.itemsize
        table = np.array([each.ctypes.data for each in words], np.uint64)
        self._leaves(jobs.ctypes.data, len(jobs), table.ctypes.data, None if places is None else places.ctypes.data)
        return leaves


def kernel_for(series: Series) -> Kernel | None:
    """The library, if it can make leaves of `series`."""
    return loaded() if len(str(series).encode()) <= _LONGEST else None


@cache
def loaded() -> Kernel | None:
    """The library beside this file; None where it was not compiled, or is of another version of this file."""
    found = library(LIBRARY, "candlewick_leaf_interface", _INTERFACE)
    return None if found is None else Kernel(found)
