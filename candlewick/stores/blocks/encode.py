"""Candles into the bytes of a block, losing nothing.

A number the exchange wrote is a decimal, so `value * 10**places` is an integer that gives the same double back when
divided again. Integers are small once what is expected of them is taken away; the few that are not small are patches,
kept whole beside the packed ones. A column that resists is kept as it is.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from candlewick.errors import UsageError
from candlewick.stores.blocks.layout import (
    CHECKED_FROM,
    COLUMN,
    COLUMNS,
    DATA_AT,
    EXACT,
    HEADER,
    MOST_PLACES,
    PLANES,
    POWERS,
    PRICES,
    QUOTED,
    VERSION,
    Coding,
    Doubles,
    expected_quote,
    padded,
    previous,
    quote_factor,
)  # fmt: skip
from candlewick.stores.checksum import checksum
from candlewick.stores.grid import Int64s
from candlewick.stores.store import Rows

_PATCH_BYTES = 10
_PATCHED = (0.0, 1 / 256, 1 / 64, 1 / 16)  # shares of the rows that are tried as patches
_BYTES_A_PLACE = 0.415  # log2(10) / 8
_TABLE = np.array(POWERS[: MOST_PLACES + 1])
_Mask = npt.NDArray[np.bool_]


class _Scaled(NamedTuple):
    """A decimal column in units of its last place; where it is not `exact`, the integer is 0. None: it is everywhere."""

    places: int
    integers: Doubles
    exact: _Mask | None


class _Packed(NamedTuple):
    """Integers as base + a few bytes each; those in `patches` did not fit and are stored as 0."""

    base: int
    width: int
    stored: npt.NDArray[np.uint64]
    patches: Int64s

    @property
    def size(self) -> int:
        return len(self.stored) * self.width + len(self.patches) * _PATCH_BYTES


class _Column(NamedTuple):
    """A column as it is written, and the integers a reader will get from it before patching; None if it is raw."""

    coding: Coding
    places: int
    packed: _Packed | None
    data: bytes
    integers: Doubles | None


def encode(rows: Rows, slots: Int64s, offsets: Int64s) -> bytes:
    """The block of `rows`, ordered by open time; `slots` count from the block's first, `offsets` from the slot.

    Raises:
        UsageError: more rows than a block can count.
    """
    if len(rows) > 0xFFFF:
        raise UsageError(f"{len(rows)} candles where a block has far fewer grid times: they are not on the grid")
    starts = np.flatnonzero(np.concatenate(([True], np.diff(slots) != 1)))
    runs = np.stack((starts, slots[starts]), axis=1).astype("<u2")
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is not exact, and is kept whole
        columns = _integer_columns(rows, offsets) | _decimal_columns(rows)
    parts = [_pad(runs.tobytes())]
    descriptors = []
    offset = DATA_AT + len(parts[0])
    for name in COLUMNS:
        coding, places, packed, data, _ = columns[name]
        width, base, patches = (packed.width, packed.base, len(packed.patches)) if packed else (8, 0, 0)
        descriptors.append(COLUMN.pack(coding, places, width, patches, offset, base))
        parts.append(data)
        offset += len(data)
    header = HEADER.pack(0, VERSION, len(COLUMNS), len(runs), len(rows))
    block = bytearray().join((header, *descriptors, *parts))
    block[:4] = checksum(memoryview(block)[CHECKED_FROM:]).to_bytes(4, "little")
    return bytes(block)


def _integer_columns(rows: Rows, offsets: Int64s) -> dict[str, _Column]:
    values = {
        "offset": offsets,
        "source": rows["source"].astype(np.int64),
        "close_time": rows["close_time"] - rows["open_time"],
        "trades": rows["trades"].astype(np.int64),
    }
    return {name: _integer_column(column) for name, column in values.items()}


def _integer_column(values: Int64s) -> _Column:
    low, high = int(values.min()), int(values.max())
    packed = _pack(values, None) if low > -EXACT and high < EXACT else None
    if packed is None:
        return _Column(Coding.RAW, 0, None, values.astype("<i8").tobytes(), None)
    return _Column(Coding.PLAIN, 0, packed, _data(packed, values), None)


def _decimal_columns(rows: Rows) -> dict[str, _Column]:
    """Each column after those it is predicted from."""
    values = {name: np.ascontiguousarray(rows[name]) for name in COLUMNS[4:]}
    scaled: dict[str, _Scaled] = {}
    for group in (PRICES, tuple(QUOTED.values()), tuple(QUOTED)):
        scaled |= _scale(group, values)
    done: dict[str, _Column] = {}

    def column(name: str, expected: Doubles | None) -> Doubles | None:
        done[name] = _decimal_column(values[name], scaled[name], expected)
        return done[name].integers

    closes = column("close", None)
    opens = column("open", None if closes is None else previous(closes))
    if closes is None or opens is None:
        highs, lows = column("high", None), column("low", None)
    else:
        highs, lows = column("high", np.maximum(opens, closes)), column("low", np.minimum(opens, closes))
    prices = None
    if opens is not None and highs is not None and lows is not None and closes is not None:
        prices = opens + highs + lows + closes
    for quote, base in QUOTED.items():
        volume = column(base, None)
        expected = None
        if volume is not None and prices is not None:
            factor = quote_factor(scaled["close"].places, scaled[base].places, scaled[quote].places)
            expected = expected_quote(volume, prices, factor)
        column(quote, expected)
    return done


def _decimal_column(values: Doubles, scaled: _Scaled, expected: Doubles | None) -> _Column:
    places, integers, exact = scaled
    if expected is not None:
        rest = integers - expected
        packed = _pack(*_sane(rest, expected, exact))
        if packed is not None:
            read = _integers(packed) + expected
            return _Column(Coding.PREDICTED, places, packed, _data(packed, values), read)
    packed = _pack(integers.astype(np.int64), exact)
    if packed is not None:
        return _Column(Coding.PLAIN, places, packed, _data(packed, values), _integers(packed))
    return _Column(Coding.RAW, 0, None, values.astype("<f8").tobytes(), None)


def _sane(rest: Doubles, expected: Doubles, exact: _Mask | None) -> tuple[Int64s, _Mask | None]:
    """What is left of an expectation, and where adding the two again is exact."""
    if np.abs(expected).max() >= EXACT or np.abs(rest).max() >= EXACT:
        sane = (np.abs(expected) < EXACT) & (np.abs(rest) < EXACT)
        exact = sane if exact is None else exact & sane
        rest = np.where(sane, rest, 0.0)
    return rest.astype(np.int64), exact


def _scale(names: tuple[str, ...], columns: dict[str, Doubles]) -> dict[str, _Scaled]:
    """The columns in units of one decimal place, the one that costs least."""
    values = np.concatenate([columns[name] for name in names])
    sample = values[:: max(1, len(values) // 64), None]
    first = int(_exact(sample, _TABLE)[1].sum(axis=0).argmax())
    best: _Scaled | None = None
    least = np.inf
    for places in range(first, MOST_PLACES + 1):
        integers, exact = _exact(values, POWERS[places])
        inexact = len(values) - int(np.count_nonzero(exact))
        cost = places * _BYTES_A_PLACE * len(values) + inexact * _PATCH_BYTES
        if cost < least:
            best = (
                _Scaled(places, np.where(exact, integers, 0.0), exact) if inexact else _Scaled(places, integers, None)
            )
            least = cost
        if not inexact:
            break
    assert best is not None
    count = len(values) // len(names)
    cuts = [slice(at * count, (at + 1) * count) for at in range(len(names))]
    return {
        name: _Scaled(best.places, best.integers[cut], None if best.exact is None else best.exact[cut])
        for name, cut in zip(names, cuts, strict=True)
    }


def _exact(values: Doubles, power: float | Doubles) -> tuple[Doubles, _Mask]:
    """Values in units of 1 / power, and whether dividing gives the very same bits; -0.0, NaN and infinity do not."""
    integers = np.rint(values * power)
    integers += 0.0  # makes -0.0 zero
    exact = (integers / power).view(np.int64) == values.view(np.int64)
    exact &= np.abs(integers) < EXACT
    return integers, exact


def _pack(integers: Int64s, exact: _Mask | None) -> _Packed | None:
    """The cheapest way to keep them, trying some of the outliers as patches; None if raw is as cheap."""
    window = _window(integers if exact is None else integers[exact])
    if window is None:
        return None
    base, width = window
    stored = (integers - base).view(np.uint64)
    misfit = stored >= (1 << 8 * width)
    if exact is not None:
        misfit |= ~exact
    patches = misfit.nonzero()[0]
    if len(patches):
        stored[patches] = 0
    packed = _Packed(base, width, stored, patches)
    return packed if packed.size < 8 * len(integers) else None


def _window(integers: Int64s) -> tuple[int, int] | None:
    """Base and bytes per value of the range that is cheapest, values outside it being patches."""
    count = len(integers)
    if not count:
        return None
    ordered = np.sort(integers)
    if ordered[0] == ordered[-1]:
        return int(ordered[0]), 0
    best = (8.0 * count, 0, 8)
    for share in _PATCHED:
        spare = int(count * share)
        spans = ordered[count - 1 - spare :] - ordered[: spare + 1]
        at = int(spans.argmin())
        width = (int(spans[at]).bit_length() + 7) // 8
        best = min(best, (count * width + spare * _PATCH_BYTES, int(ordered[at]), width))
    _, base, width = best
    return (base, width) if width < 8 else None


def _integers(packed: _Packed) -> Doubles:
    return packed.stored.astype(np.float64) + float(packed.base)


def _data(packed: _Packed, values: Int64s | Doubles) -> bytes:
    """The planes of the stored integers, then the patches: their rows, their values."""
    parts = []
    shift = 0
    for plane in PLANES[packed.width]:
        parts.append(_pad((packed.stored >> np.uint64(shift)).astype(plane).tobytes()))
        shift += 8 * np.dtype(plane).itemsize
    if len(packed.patches):
        parts.append(_pad(packed.patches.astype("<u2").tobytes()))
        parts.append(values[packed.patches].astype(values.dtype.newbyteorder("<")).tobytes())
    return b"".join(parts)


def _pad(data: bytes) -> bytes:
    return data.ljust(padded(len(data)), b"\0")
