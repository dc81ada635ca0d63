"""What `candlewick candles --revisions` shows: each value that was replaced, beside the one that replaced it."""

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from candlewick.cli.formats import number_text
from candlewick.cli.table import to_table
from candlewick.market import Series, format_time
from candlewick.stores.store import VALUES, Rows, Source, StoreReader

FIELDS = ("open_time", "column", "old", "new", "old_source", "new_source")
_APART = 86_400_000_000
"""Revised times further apart than this are read one by one."""


class Revision(NamedTuple):
    """One value of one candle that was replaced; times in microseconds."""

    open_time: int
    column: str
    old: float
    new: float
    old_source: str
    new_source: str


def revisions_of(
    store: StoreReader, series: Series, start: int | None, end: int | None, limit: int | None
) -> list[Revision]:
    """Every value replaced in candles that open in `[start, end)`, by time, then in the order it happened.

    `limit` counts replaced rows: the first ones after `start`, else the newest.
    """
    old = store.revisions(series)
    times = old["open_time"]
    inside = np.ones(len(old), np.bool_)
    inside &= times >= (0 if start is None else start)
    inside &= times < (1 << 62 if end is None else end)
    old = old[inside]
    pairs = list(zip(old, _successors(store, series, old), strict=True))
    if limit is not None:
        pairs = pairs[-limit:] if start is None else pairs[:limit]
    return [one for before, after in pairs for one in _differences(before, after)]


def to_text(revisions: list[Revision], *, bold: bool) -> str:
    """A table for people."""
    cells = [
        (format_time(one.open_time), one.column, _value(one, one.old), _value(one, one.new), *one[4:])
        for one in revisions
    ]
    return to_table(FIELDS, cells, frozenset({"old", "new"}), bold=bold)


def to_csv(revisions: list[Revision]) -> Iterator[str]:
    """A header, then a line for each value; times in epoch milliseconds."""
    yield ",".join(FIELDS) + "\n"
    for one in revisions:
        time, *rest = _in_milliseconds(one)
        yield ",".join([str(time), *(word if isinstance(word, str) else number_text(word) for word in rest)]) + "\n"


def to_json(revisions: list[Revision]) -> Iterator[str]:
    """A list with one object a line."""
    lines = [json.dumps(dict(zip(FIELDS, _in_milliseconds(one), strict=True))) for one in revisions]
    yield "[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n"


def _successors(store: StoreReader, series: Series, old: Rows) -> Iterator[np.void]:
    """What replaced each row: the next revision of its time, or the candle that is held."""
    times = old["open_time"]
    held: dict[int, np.void] = {}
    distinct = np.unique(times)
    edges = [0, *(np.flatnonzero(np.diff(distinct) > _APART) + 1).tolist(), len(distinct)]
    for first, end in pairwise(edges):
        if first < end:
            rows = store.read(series, int(distinct[first]), int(distinct[end - 1]) + 1)
            held.update((int(row["open_time"]), row) for row in rows[np.isin(rows["open_time"], distinct[first:end])])
    for index, time in enumerate(times.tolist()):
        again = index + 1 < len(old) and times[index + 1] == time
        yield old[index + 1] if again else held[time]


def _differences(before: np.void, after: np.void) -> Iterator[Revision]:
    sources = [Source(int(row["source"])).name.lower() for row in (before, after)]
    for column in VALUES:
        old, new = before[column], after[column]
        if old.tobytes() != new.tobytes():
            yield Revision(int(before["open_time"]), column, old.item(), new.item(), *sources)


def _value(one: Revision, value: float) -> str:
    return format_time(int(value)) if one.column == "close_time" else number_text(value)


def _in_milliseconds(one: Revision) -> tuple[int | float | str, ...]:
    time, column, old, new, *sources = one
    if column == "close_time":
        old, new = int(old) // 1000, int(new) // 1000
    return (time // 1000, column, old, new, *sources)
