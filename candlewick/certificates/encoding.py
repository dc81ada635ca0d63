"""The canonical bytes of candles, and what stands for a block of them in a certificate.

`docs/certificates.md` fixes all of this; another program must come to the same bytes.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from candlewick.market import Interval, Series
from candlewick.stores.grid import BLOCK_SLOTS, Int64s, slots

COLUMNS: tuple[str, ...] = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades", "taker_buy_volume",
    "taker_buy_quote_volume",
)  # fmt: skip
"""The words of a row, in this order; 8 bytes each, little-endian."""

INTEGERS = frozenset({"open_time", "close_time", "trades"})
"""The columns whose word is an int64; that of the others is a double."""

LEAF_PREFIX = b"\x00"
_TITLE = "candlewick leaf 1"
_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)

Words: TypeAlias = npt.NDArray[np.uint64]
Columns: TypeAlias = Mapping[str, npt.NDArray[Any]]


class Leaf(NamedTuple):
    """What a certificate keeps of one block: the hash that decides, and sums that find what was changed."""

    rows: int
    sha256: bytes
    sums: tuple[int, ...]
    """By column: the sum of its words, as unsigned integers."""
    moments: tuple[int, ...]
    """By column: the sum of its words, each times its slot in the block."""


def words_of(columns: Columns) -> Words:
    """The words of rows, one line a column, in the order of `COLUMNS`."""
    words = np.empty((len(COLUMNS), len(columns["open_time"])), "<u8")
    for line, name in zip(words, COLUMNS, strict=True):
        line[:] = column_words(columns, name)
    return words


def column_words(columns: Columns, name: str) -> Words:
    """The words of one column of rows."""
    return np.ascontiguousarray(columns[name], "<i8" if name in INTEGERS else "<f8").view("<u8")


def value_of(column: str, word: int) -> int | float:
    """The number that a word of a column is."""
    kind = "<i8" if column in INTEGERS else "<f8"
    value: int | float = np.array([word], "<u8").view(kind)[0].item()
    return value


def slots_in_block(interval: Interval, block: int, times: Int64s) -> Int64s:
    """Where in block `block` each of `times` is; below 0 or from `BLOCK_SLOTS` on, it is in another."""
    return slots(interval, times) - block * BLOCK_SLOTS


def leaf_of(columns: Columns, series: Series, block: int) -> Leaf:
    """The leaf of the rows of one block: `columns` are those of `COLUMNS`, by time, all in block number `block`."""
    words = words_of(columns)
    places = slots_in_block(series.interval, block, columns["open_time"]).astype(np.uint64)
    return leaf_of_words(words, places, series, block)


def leaf_of_words(words: Words, places: Words, series: Series, block: int) -> Leaf:
    """The leaf of rows given as their words and their slots in the block."""
    # Halves of 32 bits cannot overflow: a sum is below 2^46, a moment below 2^59.
    low, high = words & _LOW, words >> _HALF
    sums = joined(low.sum(axis=1), high.sum(axis=1))
    return Leaf(words.shape[1], digest_of(words, series, block), sums, joined(low @ places, high @ places))


def digest_of(words: Words, series: Series, block: int) -> bytes:
    """The leaf's hash alone."""
    digest = hashlib.sha256(title_of(series, block, words.shape[1]))
    digest.update(np.ascontiguousarray(words.T).data)
    return digest.digest()


def title_of(series: Series, block: int, rows: int) -> bytes:
    """What is hashed before a leaf's rows."""
    return LEAF_PREFIX + f"{_TITLE}\n{series}\n{block}\n{rows}\n".encode()


def joined(low: Words, high: Words) -> tuple[int, ...]:
    """Sums of words, of the sums of their lower and upper halves."""
    return tuple(lower + (upper << 32) for lower, upper in zip(low.tolist(), high.tolist(), strict=True))
