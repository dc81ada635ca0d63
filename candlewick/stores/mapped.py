"""Letting go of a mapped file: what was read of it counts as memory of this process, as long as nobody says otherwise.

The pages stay in the system's own memory as long as it has room, and are there again, at once, when they are read.
"""

import ctypes
import mmap
from pathlib import Path

_MAPS = Path("/proc/self/maps")


def let_go(file: Path) -> None:
    """Have the pages of a file that is mapped for reading count no more, where the system can.

    Nobody may map or unmap the file meanwhile. Threads that read it go on reading it.
    """
    if not hasattr(mmap, "MADV_DONTNEED") or not _MAPS.exists():
        return
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    name = str(file)
    for line in _MAPS.read_text().splitlines():
        # Only what is never written through memory: dirty pages would be none of ours to drop.
        if line.endswith(name) and line.split()[1] == "r--s":
            first, end = (int(edge, 16) for edge in line.split()[0].split("-"))
            advise(first, end - first, mmap.MADV_DONTNEED)
