"""Candles into the bytes of a block, losing nothing.

A number the exchange wrote is a decimal, so `value * 10**places` is an integer that gives the same double back when
divided again. Integers are small once what is expected of them is taken away; the few that are not small are patches,
kept whole beside the packed ones. A column that resists is kept as it is.

This is the plain way, with numpy; `kernel.c` makes the same bytes several times as fast where it could be compiled.
"""

from typing import NamedTuple

import numpy as np

from candlewick.errors import UsageError
from candlewick.stores.blocks.layout import (
    CHECKED_FROM,
    COLUMN,
    COLUMNS,
    DATA_AT,
    DECIMALS,
    EXACT,
    HEADER,
    MOST_PLACES,
    MOST_ROWS,
    POWERS,
    PRICES,
    QUOTED,
    VERSION,
    Coding,
    Doubles,
    price_scale,
)
from candlewick.stores.blocks.packing import PATCH_BYTES, Mask, Packed, pack, pack_signed, pad
from candlewick.stores.checksum import checksum
from candlewick.stores.grid import Int64s
from candlewick.stores.store import Rows

_BYTES_A_PLACE = 0.415  # log2(10) / 8
_TABLE = np.array(POWERS[: MOST_PLACES + 1])


class _Scaled(NamedTuple):
    """A decimal column in units of its last place; where not `exact`, the integer is 0. None: exact everywhere."""

    places: int
    integers: Doubles
    exact: Mask | None


class _Column(NamedTuple):
    """A column as it is written."""

    coding: Coding
    places: int
    packed: Packed | None
    data: bytes


def encode(rows: Rows, slots: Int64s, offsets: Int64s) -> bytes:
    """The block of `rows`, ordered by open time; `slots` count from the block's first, `offsets` from the slot.

    Raises:
        UsageError: more rows than a block can count.
    """
    if len(rows) > MOST_ROWS:
        raise UsageError(f"{len(rows)} candles where a block has far fewer grid times: they are not on the grid")
    starts = np.flatnonzero(np.concatenate(([True], np.diff(slots) != 1)))
    runs = np.stack((starts, slots[starts]), axis=1).astype("<u2")
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is not exact, and is kept whole
        columns = _integer_columns(rows, offsets) | _DecimalColumns(rows).encoded()
    parts = [pad(runs.tobytes())]
    descriptors = []
    offset = DATA_AT + len(parts[0])
    for name in COLUMNS:
        coding, places, packed, data = columns[name]
        width, base, patches = (packed.width, packed.base, len(packed.patches)) if packed else (8, 0, 0)
        descriptors.append(COLUMN.pack(coding, places, width, patches, offset, checksum(data), base))
        parts.append(data)
        offset += len(data)
    header = HEADER.pack(0, VERSION, len(COLUMNS), len(runs), len(rows))
    head = b"".join((header, *descriptors, parts[0]))
    return b"".join((checksum(head[CHECKED_FROM:]).to_bytes(4, "little"), head[4:], *parts[1:]))


def _integer_columns(rows: Rows, offsets: Int64s) -> dict[str, _Column]:
    return {
        "offset": _integer_column(offsets),
        "source": _integer_column(rows["source"].astype(np.int64)),
        "close_time": _integer_column(rows["close_time"] - rows["open_time"]),
        "trades": _integer_column(rows["trades"].astype(np.int64)),
    }


def _integer_column(values: Int64s) -> _Column:
    low, high = int(values.min()), int(values.max())
    packed = pack(values, None) if low > -EXACT and high < EXACT else None
    if packed is None:
        return _Column(Coding.RAW, 0, None, values.astype("<i8").tobytes())
    return _Column(Coding.PLAIN, 0, packed, packed.data(values))


class _DecimalColumns:
    """The decimal columns of some rows, each encoded after those it is predicted from."""

    def __init__(self, rows: Rows) -> None:
        self._values = {name: np.ascontiguousarray(rows[name]) for name in DECIMALS}
        self._scaled: dict[str, _Scaled] = {}
        for group in (PRICES, tuple(QUOTED.values()), tuple(QUOTED)):
            self._scaled |= _scale(group, self._values)
        self._done: dict[str, _Column] = {}
        self._read: dict[str, Doubles] = {}
        """What a reader will have of a column before patching; nothing of a raw one."""

    def encoded(self) -> dict[str, _Column]:
        read = self._read
        self._encode("close", None)
        self._encode("open", _previous(read["close"]) if "close" in read else None)
        both = (read["open"], read["close"]) if {"open", "close"} <= read.keys() else None
        self._encode("high", np.maximum(*both) if both else None)
        self._encode("low", np.minimum(*both) if both else None)
        for quote, volume in QUOTED.items():
            self._encode(volume, None)
            self._encode(quote, self._expected_quote(quote, volume))
        return self._done

    def _expected_quote(self, quote: str, volume: str) -> Doubles | None:
        read = self._read
        if not {"high", "low", volume} <= read.keys():
            return None
        scale = price_scale(*(self._scaled[name].places for name in ("high", volume, quote)))
        expected: Doubles = np.rint(read[volume] * ((read["high"] + read["low"]) * scale))
        return expected

    def _encode(self, name: str, expected: Doubles | None) -> None:
        values, (places, integers, exact) = self._values[name], self._scaled[name]
        if expected is not None:
            packed = pack_signed(*_sane(integers - expected, expected, exact))
            if packed is not None:
                self._done[name] = _Column(Coding.PREDICTED, places, packed, packed.data(values))
                if name not in QUOTED:
                    self._read[name] = packed.stored + expected
                return
        whole = integers.astype(np.int64)
        packed = pack(whole, exact)
        if packed is None:
            self._done[name] = _Column(Coding.RAW, 0, None, values.astype("<f8").tobytes())
            return
        self._done[name] = _Column(Coding.PLAIN, places, packed, packed.data(values))
        if name not in QUOTED:
            read: Doubles = packed.stored.astype(np.float64)
            read += packed.base
            self._read[name] = read


def _previous(closes: Doubles) -> Doubles:
    return np.concatenate((closes[:1], closes[:-1]))


def _sane(rest: Doubles, expected: Doubles, exact: Mask | None) -> tuple[Int64s, Mask | None]:
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
    best: tuple[int, Doubles, Mask | None] | None = None
    least = np.inf
    for places in range(first, MOST_PLACES + 1):
        integers, exact = _exact(values, POWERS[places])
        inexact = len(values) - int(np.count_nonzero(exact))
        cost = places * _BYTES_A_PLACE * len(values) + inexact * PATCH_BYTES
        if cost < least:
            best = (places, np.where(exact, integers, 0.0), exact) if inexact else (places, integers, None)
            least = cost
        if not inexact:
            break
    assert best is not None
    places, integers, mask = best
    count = len(values) // len(names)
    cuts = [slice(at * count, (at + 1) * count) for at in range(len(names))]
    return {
        name: _Scaled(places, integers[cut], None if mask is None else mask[cut])
        for name, cut in zip(names, cuts, strict=True)
    }


def _exact(values: Doubles, power: "float | Doubles") -> tuple[Doubles, Mask]:
    """Values in units of 1 / power, and whether dividing gives the very same bits; -0.0, NaN and infinity do not."""
    integers = np.rint(values * power)
    integers += 0.0  # makes -0.0 zero
    exact = (integers / power).view(np.int64) == values.view(np.int64)
    exact &= np.abs(integers) < EXACT
    return integers, exact
