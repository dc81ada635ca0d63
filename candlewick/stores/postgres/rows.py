"""Rows of the store in PostgreSQL's binary format, as COPY takes them.

A double becomes the numeric of its shortest decimal text, which is the exchange's own: read back as a double it is the
same. `copy_kernel.c` does it where it was compiled; what it leaves, and everything without it, is done here.
"""

import math
import struct
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial

import numpy as np

from candlewick.errors import UsageError
from candlewick.market import Series
from candlewick.stores.postgres import copy_kernel
from candlewick.stores.store import ROW, Rows

COLUMNS = (
    "market", "symbol", "interval", "time", "open", "high", "low", "close", "volume", "quote_asset_volume",
    "taker_buy_base_asset_volume", "taker_buy_quote_asset_volume", "number_of_trades", "close_time", "source",
)  # fmt: skip
"""Of the table `candles`, in the order of COPY."""

NUMERICS = (
    "open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume",
)  # fmt: skip
"""The fields of `ROW` that are numeric there, in that order."""

EPOCH_2000 = 946_684_800_000_000
"""What PostgreSQL counts its microseconds from, in microseconds since 1970."""

_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
_TRAILER = struct.pack("!h", -1)
_LENGTH, _TIME, _TAIL = struct.Struct("!i"), struct.Struct("!iq"), struct.Struct("!iqiqih")
_NEGATIVE = 0x4000
_PART = 2048
"""Rows; a server begins with the first part while the next is made."""


def copy_parts(rows: Rows, series: Mapping[int, Series]) -> Iterator[bytes]:
    """Rows as the input of `COPY candles (<COLUMNS>) FROM STDIN (FORMAT binary)`, in parts of some hundred kilobytes.

    Raises:
        UsageError: a number of a series is not in `series`, or a value is no finite number.
    """
    rows = np.ascontiguousarray(rows, ROW)
    kernel = copy_kernel.loaded()
    yield _HEADER
    for start in range(0, len(rows), _PART):
        part = rows[start : start + _PART]
        numbers, which = np.unique(part["series"], return_inverse=True)
        named = {number: series.get(number) for number in numbers.tolist()}
        prefixes = {number: _prefix(one) for number, one in named.items() if one is not None}
        if len(prefixes) < len(named):
            raise UsageError(f"rows name series {min(set(named) - set(prefixes))}, which nobody described")
        slow = partial(_slow, prefixes=prefixes)
        yield slow(part) if kernel is None else kernel.encode(part, [*prefixes.values()], which, slow)
    yield _TRAILER


def decimals(value: float) -> tuple[int, int]:
    """The shortest decimal that only this double is nearest to: an integer, and how many of its digits are places.

    Negative places are zeros before the point. The integer ends in no zero that is a place.
    """
    text, _, exponent = repr(value).partition("e")
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    number, places = int(whole + fraction), len(fraction) - int(exponent or 0)
    return (number, places) if number else (0, 0)


@lru_cache(4096)
def numeric(value: float) -> bytes:
    """The same as a field of COPY BINARY: its length and PostgreSQL's groups of four decimal digits."""
    if not math.isfinite(value):
        raise UsageError("a row holds an infinite value, or one that is not a number: it is no candle")
    number, places = decimals(value)
    sign = _NEGATIVE if number < 0 else 0
    lowest = -places // 4
    number = abs(number) * 10 ** (-4 * lowest - places)
    groups = []
    while number:
        number, group = divmod(number, 10_000)
        groups.append(group)
    weight = lowest + len(groups) - 1 if groups else 0
    while groups and not groups[0]:
        del groups[0]
    size = len(groups)
    return struct.pack(f"!ihhHH{size}H", 8 + 2 * size, size, weight, sign, max(places, 0), *reversed(groups))


@lru_cache(8192)
def _prefix(series: Series) -> bytes:
    """How every row of a series begins: the number of its fields and those that name the series."""
    fields = [str(name).encode() for name in (series.market, series.symbol, series.interval)]
    return struct.pack("!h", len(COLUMNS)) + b"".join(_LENGTH.pack(len(one)) + one for one in fields)


def _slow(rows: Rows, prefixes: Mapping[int, bytes]) -> bytes:
    """What the library makes of rows; `prefixes` by number of series."""
    return b"".join(
        prefixes[number]
        + _TIME.pack(8, opened - EPOCH_2000)
        + numeric(first) + numeric(high) + numeric(low) + numeric(last) + numeric(volume)
        + numeric(quote) + numeric(taker) + numeric(taker_quote)
        + _TAIL.pack(8, trades, 8, closed - EPOCH_2000, 2, source)
        for number, source, opened, first, high, low, last, volume, closed, quote, trades, taker, taker_quote in rows.tolist()
    )  # fmt: skip
