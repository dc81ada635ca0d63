"""What a file of candles holds against what it should hold: order, repeats, the calendar, and the rules."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from candlewick.exchanges.exchange import Columns
from candlewick.integrity.gaps import missing_spans
from candlewick.integrity.rules import Grids, Mask, check
from candlewick.market import Series, Span, format_time
from candlewick.stores.blocks.kernel import loaded
from candlewick.stores.store import ROW, VALUES, Rows, Source


class Judgement(NamedTuple):
    """What may be taken from a file, and what was found besides."""

    rows: Rows
    """By time, each once, those that keep every rule."""
    broken: list[tuple[int, str]]
    """Open time and the rule that its row breaks, by time."""
    repeated: int
    """Rows that repeat another one exactly, dropped."""
    conflicting: list[int]
    """Open times given more than once with different values: none of those rows is kept."""
    unordered: int
    """Rows that open before the row above them."""
    outside: int
    """Rows that open outside the span, dropped."""
    missing: list[Span]
    """Grid times in the span without a row that was kept, oldest first."""
    remark: str
    """All of it in a sentence, or nothing."""


def judge(columns: Columns, series: Series, number: int, span: Span, now: int) -> Judgement:
    """Judge the candles of a file of the archive for `span`.

    `number` is the store's number of `series`; `now` is the exchange's time in microseconds.
    """
    rows, times = _rows(columns, number), np.ascontiguousarray(columns["open_time"], np.int64)
    unordered = outside = repeated = 0
    conflicting: list[int] = []
    table: Columns | None = columns
    later = times[1:] > times[:-1]
    if not later.all() or (times.size and (times[0] < span.start or times[-1] >= span.end)):
        unordered = int(np.count_nonzero(times[1:] < times[:-1]))
        inside = (times >= span.start) & (times < span.end)
        outside = int(times.size - np.count_nonzero(inside))
        rows = rows[inside]
        rows = rows[np.argsort(rows["open_time"], kind="stable")]
        rows, repeated, conflicting = _once(rows)
        table = None
    found = check(rows, Grids({number: series.interval}), now, table)
    broken: list[tuple[int, str]] = []
    if found:
        broken = [(int(rows["open_time"][one.index]), one.rule) for one in found]
        rows = np.delete(rows, [one.index for one in found])
    held = times if table is not None and not found else np.ascontiguousarray(rows["open_time"], np.int64)
    missing = missing_spans(held, series.interval, span, ())
    remark = _remark(series, span, broken, repeated, conflicting, unordered, outside, missing)
    return Judgement(rows, broken, repeated, conflicting, unordered, outside, missing, remark)


def _rows(columns: Columns, number: int) -> Rows:
    kernel = loaded()
    if kernel is not None:
        return kernel.rows(number, Source.ARCHIVE, columns)
    rows: Rows = np.empty(columns["open_time"].size, ROW)
    rows["series"], rows["source"] = number, int(Source.ARCHIVE)
    rows["open_time"] = columns["open_time"]
    for name in VALUES:
        rows[name] = columns[name]
    return rows


def _once(rows: Rows) -> tuple[Rows, int, list[int]]:
    """Sorted rows, each open time once; how many were exact repeats, and the open times with different values."""
    times = rows["open_time"]
    starts = np.flatnonzero(np.concatenate([[True], times[1:] != times[:-1]])) if rows.size else np.zeros(0, np.intp)
    if starts.size == rows.size:
        return rows, 0, []
    lengths = np.diff(np.append(starts, rows.size))
    same = _same_as(rows, np.repeat(starts, lengths))
    agree: Mask = np.logical_and.reduceat(same, starts)
    conflicting = times[starts[~agree]].tolist()
    return rows[starts[agree]], int((lengths[agree] - 1).sum()), conflicting


def _same_as(rows: Rows, firsts: NDArray[Any]) -> Mask:
    """Whether all bits of a row's values are those of the row at its place in `firsts`."""
    same = np.ones(rows.size, np.bool_)
    for name in VALUES:
        bits = np.ascontiguousarray(rows[name]).view(np.int64)
        same &= bits == bits[firsts]
    return same


def _remark(
    series: Series, span: Span, broken: Sequence[tuple[int, str]], repeated: int, conflicting: Sequence[int], unordered: int,
    outside: int, missing: Sequence[Span],
) -> str:  # fmt: skip
    rules = sorted({rule for _, rule in broken})
    absent = sum(series.interval.count(hole) for hole in missing)
    first = format_time(missing[0].start) if missing else ""
    parts = (
        (absent, f"{absent} of {series.interval.count(span)} candles missing, the first at {first}"),
        (len(broken), f"{len(broken)} break a rule ({', '.join(rules)})"),
        (repeated, f"{repeated} repeated"),
        (len(conflicting), f"{len(conflicting)} given more than once with different values"),
        (unordered, f"{unordered} out of order"),
        (outside, f"{outside} outside its time"),
    )
    return "; ".join(text for count, text in parts if count)
