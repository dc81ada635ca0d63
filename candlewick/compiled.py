"""Finds the libraries that `hatch_build.py` has compiled; whoever uses one has another way where there is none."""

import ctypes
import sys
from pathlib import Path


def library(path: Path, interface: str, version: int) -> ctypes.CDLL | None:
    """The library at `path`, if its function `interface` answers `version`.

    None: it was not compiled, it is of another version of the source, or this machine's numbers are not little-endian,
    which all of them rely on.
    """
    if sys.byteorder != "little":
        return None
    try:
        found = ctypes.CDLL(str(path))
        answer = getattr(found, interface)
    except (OSError, AttributeError):
        return None
    answer.restype = ctypes.c_int32
    return found if answer() == version else None
