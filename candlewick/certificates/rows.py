"""What differs in the rows of one block, in words: the row and the column where the sums tell, else the block."""

import numpy as np

from candlewick.certificates.encoding import COLUMNS, Columns, Leaf, leaf_of_words, slots_in_block, value_of, words_of
from candlewick.certificates.finding import Finding, shown_time
from candlewick.certificates.locate import Change, Home, changed_columns, changed_values, missing_row
from candlewick.market import Span
from candlewick.stores.grid import BLOCK_SLOTS, slot_starts

_TIMES = frozenset({"open_time", "close_time"})


def differences(certified: Leaf, held: Columns, home: Home, span: Span) -> list[Finding]:
    """Every difference of the rows held in a block, none of which lies outside the certified ranges.

    Rows that are gone are named here only with what they were; which they are the ranges tell.
    """
    series = str(home.series)
    words = words_of(held)
    places = slots_in_block(home.series.interval, home.block, held["open_time"]).astype(np.uint64)
    now = leaf_of_words(words, places, home.series, home.block)
    if now == certified:
        return []
    row = missing_row(certified, now, words, places, home)
    if row is not None:
        values = ", ".join(f"{name} {_shown(name, word)}" for name, word in zip(COLUMNS, row, strict=True))
        return [Finding(series, _candle(home, row[0]), "row", f"row: certified {values}, now gone")]
    changes = changed_values(certified, now, words, places, home)
    if changes:
        return [_named(change, home) for change in changes]
    if now.rows < certified.rows:
        text = f"{certified.rows} rows were certified, now there are {now.rows}"
    elif now[2:] == certified[2:]:
        text = f"the SHA-256 certified is {certified.sha256.hex()}, of the rows it is {now.sha256.hex()}"
    else:
        text = "several values are not those certified, or stand in other rows"
    columns = ", ".join(changed_columns(certified, now)) or "no column's sums"
    whole = f"to {shown_time(span.end)} (block {home.block})"
    return [Finding(series, span, "block", f"{whole}: {text}; changed: {columns}")]


def _shown(column: str, word: int) -> str:
    """The value of a word as people read it."""
    value = value_of(column, word)
    if column in _TIMES:
        return shown_time(int(value))
    return repr(value)


def _named(change: Change, home: Home) -> Finding:
    slot = np.array([home.block * BLOCK_SLOTS + change.slot], np.int64)
    start = int(slot_starts(home.series.interval, slot)[0])
    span = Span(start, home.series.interval.next(start))
    then, now = _shown(change.column, change.certified), _shown(change.column, change.now)
    return Finding(str(home.series), span, "value", f"{change.column}: certified {then}, now {now}")


def _candle(home: Home, word: int) -> Span:
    time = int(value_of("open_time", word))
    return Span(time, home.series.interval.next(time))
