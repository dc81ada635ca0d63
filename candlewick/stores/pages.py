"""Memory for the columns of long reads: what a program drops is used for its next read.

New memory must be cleared by the system before it may be written, which takes as long as reading a store into it. So
what large columns lay in is kept when the last array that shows it is gone, marked as free to take (`MADV_FREE`): the
system takes it back whenever it needs it, and until then it counts as this process's.
"""

import ctypes
import mmap
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

_SMALLEST = 4 << 20
_MOST = 512 << 20  # bytes kept: all columns of ten years of 1m
_PAGE = 2 << 20  # a huge page: one fault where there would be five hundred
_USABLE = hasattr(mmap, "MADV_FREE") and hasattr(mmap, "MADV_HUGEPAGE")


class Pages:
    """Memory that is free, by size. Threads may share it: every step is one that no other can interrupt."""

    def __init__(self) -> None:
        self._free: list[tuple[int, mmap.mmap]] = []

    def empty(self, count: int, kind: np.dtype[Any]) -> npt.NDArray[Any]:
        """An array of whatever values, as `np.empty` makes it."""
        size = count * kind.itemsize
        if size < _SMALLEST or not _USABLE:
            return np.empty(count, kind)
        size = -(-size // _PAGE) * _PAGE
        owner = self._owner(size)
        offset = -ctypes.addressof(owner) % _PAGE
        return np.frombuffer(memoryview(owner), kind, count, offset)

    @property
    def kept(self) -> int:
        """Bytes that are kept free."""
        return sum(size for size, _ in self._free)

    def _owner(self, size: int) -> "ctypes.Array[ctypes.c_char]":
        """What keeps the memory of an array, and gives it back when the last view of it is gone."""
        memory = self._taken(size)
        if memory is None:
            memory = mmap.mmap(-1, size + _PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            memory.madvise(mmap.MADV_HUGEPAGE)
        owner = (ctypes.c_char * len(memory)).from_buffer(memory)
        given_back = weakref.finalize(owner, self._give_back, memory)
        given_back.atexit = False
        return owner

    def _taken(self, size: int) -> mmap.mmap | None:
        for entry in sorted(self._free, key=lambda entry: entry[0]):
            if size <= entry[0] <= size + size // 4:
                try:
                    self._free.remove(entry)
                except ValueError:
                    continue  # another thread was faster
                return entry[1]
        return None

    def _give_back(self, memory: mmap.mmap) -> None:
        size = len(memory) - _PAGE
        if self.kept + size <= _MOST:
            memory.madvise(mmap.MADV_FREE)
            self._free.append((size, memory))


PAGES = Pages()
"""Those of this process."""
