"""The bytes of a block that writing (`encode`) and reading (`decode`) agree on."""

import struct
from enum import IntEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

VERSION = 1

HEADER = struct.Struct("<I4xBBHI")
"""Checksum of everything from byte 8 on; then version, number of columns, number of runs, number of rows."""

COLUMN = struct.Struct("<BBBxII4xd")
"""Coding, decimal places, bytes per value, number of patches, offset of the column in the block, base."""

CHECKED_FROM = 8

INTEGERS = ("offset", "source", "close_time", "trades")
"""`offset` is the distance of an open time from its slot, 0 on the grid; `close_time` is relative to the open time."""

PRICES = ("open", "high", "low", "close")

DECIMALS = (*PRICES, "volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume")

COLUMNS = (*INTEGERS, *DECIMALS)

COLUMNS_AT = HEADER.size
DATA_AT = COLUMNS_AT + COLUMN.size * len(COLUMNS)

QUOTED = {"quote_volume": "volume", "taker_buy_quote_volume": "taker_buy_volume"}
"""The amounts that are about a volume times a price."""

PLANES: dict[int, tuple[str, ...]] = {
    0: (),
    1: ("<u1",),
    2: ("<u2",),
    3: ("<u2", "<u1"),
    4: ("<u4",),
    5: ("<u4", "<u1"),
    6: ("<u4", "<u2"),
    7: ("<u4", "<u2", "<u1"),
}
"""How a value of so many bytes is cut, low part first; each part of all rows lies together."""

MOST_PLACES = 11

POWERS = tuple(10.0**places for places in range(2 * MOST_PLACES + 1))
"""Powers of ten, exact as doubles."""

EXACT = 2.0**53
"""Integers below it are exact as doubles."""

Doubles: TypeAlias = npt.NDArray[np.float64]


class Coding(IntEnum):
    """What the packed integers of a column mean."""

    RAW = 0
    """No integers: the values themselves, 8 bytes each."""
    PLAIN = 1
    """The value is base + integer."""
    PREDICTED = 2
    """The value is base + integer + what the row's other columns let one expect."""


def previous(closes: Doubles) -> Doubles:
    """The close of the row before; the first row's own where there is none."""
    return np.concatenate((closes[:1], closes[:-1]))


def padded(size: int) -> int:
    """`size` rounded up to a multiple of 8: every array in a block begins at one."""
    return -(-size // 8) * 8


def expected_quote(volume: Doubles, prices: Doubles, factor: float) -> Doubles:
    """A quote amount as volume times mean price, in units of its last decimal place.

    `prices` is the sum of the four prices; all are scaled integers. Three roundings, in this order, so that every
    machine gets the same.
    """
    return np.rint(volume * prices * factor)


def quote_factor(price_places: int, volume_places: int, quote_places: int) -> float:
    """The factor of `expected_quote`: a quarter (mean of four), and the difference in decimal places."""
    shift = quote_places - volume_places - price_places
    return POWERS[shift] / 4 if shift >= 0 else 1 / POWERS[-shift] / 4
