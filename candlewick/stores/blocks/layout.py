"""The bytes of a block that writing (`encode`) and reading (`decode`) agree on."""

import struct
from enum import IntEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

VERSION = 1

HEADER = struct.Struct("<I4xBBHI")
"""Checksum of what is between byte 8 and the first column; version, number of columns, of runs, of rows."""

COLUMN = struct.Struct("<BBBxIIId")
"""Coding, decimal places, bytes per value; number of patches, offset in the block, checksum; base."""

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
"""How an integer of so many bytes is cut, low part first; each part of all rows lies together. The highest part of a
signed integer is signed."""

MOST_ROWS = 0xFFFF

MOST_PLACES = 11

POWERS = tuple(10.0**places for places in range(2 * MOST_PLACES + 1))
"""Powers of ten, exact as doubles."""

EXACT = 2.0**53
"""Integers below it are exact as doubles."""

Doubles: TypeAlias = npt.NDArray[np.float64]


class Coding(IntEnum):
    """What the packed integers of a column mean."""

    RAW = 0
    """There are none: the values themselves, 8 bytes each."""
    PLAIN = 1
    """The value is base + unsigned integer."""
    PREDICTED = 2
    """The value is what the other columns let one expect + signed integer; base is 0."""


def padded(size: int) -> int:
    """`size` rounded up to a multiple of 8: every array in a block begins at one."""
    return -(-size // 8) * 8


def price_scale(price_places: int, volume_places: int, quote_places: int) -> float:
    """What makes of high + low the mean of both, in units that times a volume give units of the quote amount."""
    shift = quote_places - volume_places - price_places
    return POWERS[shift] / 2 if shift >= 0 else 1 / POWERS[-shift] / 2
