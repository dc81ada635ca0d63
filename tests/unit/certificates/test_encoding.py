"""Canonical rows, leaves and the tree, against plain Python written from docs/certificates.md."""

import hashlib
import struct

import numpy as np
import pytest

from candlewick.certificates.encoding import COLUMNS, Leaf, leaf_of, value_of, words_of
from candlewick.certificates.tree import root_of
from candlewick.market import Series
from candlewick.stores.grid import BLOCK_SLOTS, block_of, blocks, slots
from candlewick.stores.store import Rows
from tests.unit.certificates.held import SERIES, T0, candles


def columns_of(rows: Rows) -> dict[str, np.ndarray]:
    return {name: rows[name] for name in COLUMNS}


def plain_leaf(rows: Rows, series: Series, block: int) -> Leaf:
    """The leaf as the page says it, row by row."""
    packed = [struct.pack("<q5dqdq2d", *(row[name].item() for name in COLUMNS)) for row in rows]
    head = b"\x00" + f"candlewick leaf 1\n{series}\n{block}\n{len(rows)}\n".encode()
    words = [struct.unpack("<11Q", one) for one in packed]
    places = (slots(series.interval, rows["open_time"]) - block * BLOCK_SLOTS).tolist()
    sums = tuple(sum(row[column] for row in words) for column in range(11))
    moments = tuple(sum(row[column] * slot for row, slot in zip(words, places, strict=True)) for column in range(11))
    return Leaf(len(rows), hashlib.sha256(head + b"".join(packed)).digest(), sums, moments)


def plain_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, by its recursion."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + plain_root(leaves[:split]) + plain_root(leaves[split:])).digest()


@pytest.mark.parametrize("name", ["spot:BTCUSDT:1m", "usdm:ETHUSDT:1w", "spot:BTCUSDT:1M", "spot:A:1s"])
def test_leaf_is_what_the_page_says(name: str) -> None:
    """The hash and the sums of a block are those that plain Python comes to, on every kind of grid."""
    series = Series.parse(name)
    rows = candles(0, 300, series, series.interval.ceil(T0))
    rows = np.delete(rows, [5, 6, 77])
    for block in np.unique(blocks(series.interval, rows["open_time"])).tolist():
        part = rows[blocks(series.interval, rows["open_time"]) == block]
        assert leaf_of(columns_of(part), series, block) == plain_leaf(part, series, block)


def test_sums_are_exact_at_their_largest() -> None:
    """A full block of the largest words adds up without an overflow."""
    rows = candles(0, BLOCK_SLOTS, start=BLOCK_SLOTS * SERIES.interval.nominal * block_of(SERIES.interval, T0))
    for name in COLUMNS[1:]:
        rows[name] = np.array([-1], "<i8").view(rows[name].dtype)[0]
    with np.errstate(all="ignore"):
        leaf = leaf_of(columns_of(rows), SERIES, block_of(SERIES.interval, T0))
    assert leaf.sums[1:] == tuple([((1 << 64) - 1) * BLOCK_SLOTS] * 10)
    assert leaf.moments[1:] == tuple([((1 << 64) - 1) * sum(range(BLOCK_SLOTS))] * 10)


def test_every_bit_of_a_row_changes_its_leaf() -> None:
    """Each bit of each word, the series, the block and the number of rows is hashed."""
    rows = candles(0, 2)
    block = block_of(SERIES.interval, T0)
    words = words_of(columns_of(rows))
    seen = {leaf_of(columns_of(rows), SERIES, block).sha256}
    seen.add(leaf_of(columns_of(rows), Series.parse("usdm:BTCUSDT:1m"), block).sha256)
    seen.add(leaf_of(columns_of(rows), SERIES, block + 1).sha256)
    seen.add(leaf_of(columns_of(rows[:1]), SERIES, block).sha256)
    for line, name in enumerate(COLUMNS[1:], 1):
        for bit in range(64):
            columns = columns_of(rows)
            word = np.array([int(words[line, 0]) ^ 1 << bit, int(words[line, 1])], "<u8")
            columns[name] = word.view(columns[name].dtype)
            seen.add(leaf_of(columns, SERIES, block).sha256)
    assert len(seen) == 4 + 10 * 64


def test_value_of_a_word_is_the_value_it_was() -> None:
    """Words read back as the numbers they came from, of every column."""
    rows = candles(0, 1)
    words = words_of(columns_of(rows))
    assert [value_of(name, int(word)) for name, (word,) in zip(COLUMNS, words, strict=True)] == [
        rows[name][0].item() for name in COLUMNS
    ]


def test_root_is_that_of_the_rfc() -> None:
    """For every number of leaves up to 70 the root is the recursion's, and no leaf passes for a node."""
    leaves = [hashlib.sha256(bytes([number])).digest() for number in range(70)]
    roots = [root_of(leaves[:count]) for count in range(71)]
    assert roots == [plain_root(leaves[:count]) for count in range(71)]
    assert len(set(roots)) == 71
