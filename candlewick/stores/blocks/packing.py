"""Integers in as few bytes as most of them need; the few that need more become patches."""

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from candlewick.stores.blocks.layout import PLANES, padded
from candlewick.stores.grid import Int64s

PATCH_BYTES = 10
_PATCHED = (0.0, 1 / 256, 1 / 64, 1 / 16)  # shares of the rows that are tried as patches
_RAW = 8

Mask: TypeAlias = npt.NDArray[np.bool_]


class Packed(NamedTuple):
    """Integers, less `base`, in the low `width` bytes of `stored`; those in `patches` did not fit and are 0 there."""

    base: int
    width: int
    stored: Int64s
    patches: Int64s

    def data(self, values: npt.NDArray[np.generic]) -> bytes:
        """The planes, then the patches: which rows, and their `values` whole."""
        parts = []
        shift = 0
        for plane in PLANES[self.width]:
            parts.append(pad((self.stored >> shift).astype(plane).tobytes()))
            shift += 8 * np.dtype(plane).itemsize
        if len(self.patches):
            parts.append(pad(self.patches.astype("<u2").tobytes()))
            parts.append(values[self.patches].astype(values.dtype.newbyteorder("<")).tobytes())
        return b"".join(parts)


def pack(integers: Int64s, exact: Mask | None) -> Packed | None:
    """Unsigned above a base; None if 8 bytes each are as cheap. Where not `exact`, a patch is made in any case."""
    ordered = np.sort(integers if exact is None else integers[exact])
    count = len(ordered)
    if not count:
        return None
    best = (_RAW * len(integers), 0, _RAW)
    for share in _PATCHED:
        spare = int(count * share)
        spans = ordered[count - 1 - spare :] - ordered[: spare + 1]
        at = int(spans.argmin())
        width = (int(spans[at]).bit_length() + 7) // 8
        best = min(best, (_cost(len(integers), width, count - spare), int(ordered[at]), width))
        if width == 0:
            break
    _, base, width = best
    if width >= _RAW:
        return None
    stored = integers - base
    return _patched(base, width, stored, stored.view(np.uint64), exact)


def pack_signed(integers: Int64s, exact: Mask | None) -> Packed | None:
    """Signed, with base 0; otherwise like `pack`."""
    fitting = integers if exact is None else integers[exact]
    magnitudes = np.sort(fitting ^ (fitting >> 63))  # of a negative one, what its bits need
    count = len(magnitudes)
    if not count:
        return None
    best = (_RAW * len(integers), _RAW)
    for share in _PATCHED:
        spare = int(count * share)
        largest = int(magnitudes[count - 1 - spare])
        width = (largest.bit_length() + 8) // 8 if largest else 1
        best = min(best, (_cost(len(integers), width, count - spare), width))
    width = best[1]
    if width >= _RAW:
        return None
    half = (1 << 8 * width) >> 1
    return _patched(0, width, integers.copy(), (integers + half).view(np.uint64), exact)


def _cost(rows: int, width: int, fitting: int) -> int:
    return rows * width + (rows - fitting) * PATCH_BYTES


def _patched(
    base: int, width: int, stored: Int64s, ranged: npt.NDArray[np.uint64], exact: Mask | None
) -> Packed | None:
    """Without the values that do not fit: those whose `ranged` needs more than `width` bytes."""
    misfit = ranged >= (1 << 8 * width)
    if exact is not None:
        misfit |= ~exact
    patches = misfit.nonzero()[0]
    if len(patches):
        stored[patches] = 0
        if _cost(len(stored), width, len(stored) - len(patches)) >= _RAW * len(stored):
            return None
    return Packed(base, width, stored, patches)


def pad(data: bytes) -> bytes:
    """`data` with zeros up to a multiple of 8 bytes."""
    return data.ljust(padded(len(data)), b"\0")
