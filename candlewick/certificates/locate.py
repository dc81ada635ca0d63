"""Which value of a block was changed: from the sums of the certificate and what the rows now add up to.

A changed value changes its column's sum by a difference, and its moment by that difference times its slot: one division
names the slot, one subtraction restores the value. Nothing found so counts before the block restored with it hashes to
what was certified.
"""

from typing import NamedTuple

import numpy as np

from candlewick.certificates.encoding import COLUMNS, Leaf, Words, leaf_of_words
from candlewick.market import Series
from candlewick.stores.grid import BLOCK_SLOTS

_WORD = 1 << 64


class Home(NamedTuple):
    """Which block of which series."""

    series: Series
    block: int


class Change(NamedTuple):
    """One value: the word that was certified and the one that is there now."""

    slot: int
    column: str
    certified: int
    now: int


def changed_columns(certified: Leaf, now: Leaf) -> list[str]:
    """The columns that add up to something else."""
    return [
        name
        for at, name in enumerate(COLUMNS)
        if (certified.sums[at], certified.moments[at]) != (now.sums[at], now.moments[at])
    ]


def changed_values(certified: Leaf, now: Leaf, words: Words, places: Words, home: Home) -> list[Change]:
    """The values that were changed, if at most one of each column was, or if two rows were exchanged; else none."""
    if certified.rows != now.rows:
        return []
    restored = words.copy()
    changes = []
    for line, name in enumerate(COLUMNS):
        difference = now.sums[line] - certified.sums[line]
        moment = now.moments[line] - certified.moments[line]
        if difference == moment == 0:
            continue
        if difference == 0 or moment % difference:
            return _exchanged(certified, now, words, places, home)
        at = int(np.searchsorted(places, max(0, moment // difference)))
        word = int(words[line, at]) - difference if at < len(places) else -1
        if at == len(places) or int(places[at]) != moment // difference or not 0 <= word < _WORD:
            return []
        changes.append(Change(int(places[at]), name, word, int(words[line, at])))
        restored[line, at] = word
    return changes if _is(certified, restored, places, home) else []


def missing_row(certified: Leaf, now: Leaf, words: Words, places: Words, home: Home) -> tuple[int, ...] | None:
    """The words of the one row that is gone, if one is and nothing else was changed."""
    if certified.rows != now.rows + 1:
        return None
    row = tuple(before - after for before, after in zip(certified.sums, now.sums, strict=True))
    slot, rest = divmod(certified.moments[0] - now.moments[0], row[0] or 1)
    if rest or not 0 <= slot < BLOCK_SLOTS or any(not 0 <= word < _WORD for word in row):
        return None
    at = int(np.searchsorted(places, slot))
    whole = np.insert(words, at, np.array(row, np.uint64), axis=1)
    return row if _is(certified, whole, np.insert(places, at, slot), home) else None


def _exchanged(certified: Leaf, now: Leaf, words: Words, places: Words, home: Home) -> list[Change]:
    """The values of two rows that stand in each other's place, if that is all.

    Their slots differ by `apart`, and each column's moment by `apart` times what its two values differ by.
    """
    shifts = {
        line: now.moments[line] - certified.moments[line]
        for line in range(len(COLUMNS))
        if now.moments[line] != certified.moments[line]
    }
    if any(now.sums[line] != certified.sums[line] for line in range(len(COLUMNS))):
        return []
    line, shift = next(iter(shifts.items()))
    for step in range(1, len(places)):
        apart = places[step:] - places[:-step]
        # Modulo 2^64, as numpy computes; what it lets through by chance does not hash.
        for first in np.flatnonzero(apart * (words[line, step:] - words[line, :-step]) == np.uint64(shift % _WORD)):
            pair = [int(first), int(first) + step]
            restored = words.copy()
            for other in shifts:
                restored[other, pair] = words[other, pair[::-1]]
            if _is(certified, restored, places, home):
                return [
                    Change(int(places[at]), COLUMNS[other], int(restored[other, at]), int(words[other, at]))
                    for at in pair
                    for other in shifts
                ]
    return []


def _is(certified: Leaf, words: Words, places: Words, home: Home) -> bool:
    return leaf_of_words(words, places, home.series, home.block).sha256 == certified.sha256
