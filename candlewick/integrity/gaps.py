"""Which candles should be there and are not, and for what reason."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from candlewick.market import Interval, Series, Span
from candlewick.stores.store import Absence, Reason

OpenTimes: TypeAlias = NDArray[np.int64]
"""Sorted, each once."""


class Gap(NamedTuple):
    """Adjacent grid times of a series without a candle, all for one reason."""

    series: Series
    span: Span
    candles: int
    reason: Reason


def find_gaps(series: Series, held: OpenTimes, absences: Sequence[Absence], within: Span | None = None) -> list[Gap]:
    """Every gap between the first and the last of the open times `held`, or in all of `within`, oldest first.

    `absences` are disjoint and sorted, as a store returns them; where one covers a held candle, the candle counts.
    """
    if within is not None:
        first, last = np.searchsorted(held, within)
        held = held[first:last]
    elif not held.size:
        return []
    interval = series.interval
    known = within or Span(int(held[0]), int(held[-1]) + 1)
    gaps: list[Gap] = []
    for span, reason in _explained(_holes(held, interval, known), interval, absences):
        if gaps and gaps[-1].reason is reason and gaps[-1].span.end == span.start:
            span = Span(gaps.pop().span.start, span.end)  # noqa: PLW2901 - grown backwards
        gaps.append(Gap(series, span, interval.count(span), reason))
    return gaps


def missing_spans(held: OpenTimes, interval: Interval, span: Span, absences: Sequence[Absence]) -> list[Span]:
    """What of `span` has neither a candle nor a reason, oldest first; each span starts and ends on the grid.

    `held` may reach beyond `span`; `absences` are disjoint and sorted.
    """
    first, last = np.searchsorted(held, [span.start, span.end])
    holes = _holes(held[first:last], interval, span)
    return [hole for hole, reason in _explained(holes, interval, absences) if reason is Reason.MISSING]


def _holes(held: OpenTimes, interval: Interval, span: Span) -> Iterator[Span]:
    """Runs of grid times in `span` that are not in `held`, which lies within it."""
    start, end = interval.ceil(span.start), interval.ceil(span.end)
    if not interval.is_fixed:
        for time in [*held.tolist(), end]:
            if start < time:
                yield Span(start, time)
            start = interval.next(time)
        return
    if not held.size:
        if start < end:
            yield Span(start, end)
        return
    if start < held[0]:
        yield Span(start, int(held[0]))
    for index in np.flatnonzero(np.diff(held) > interval.nominal).tolist():
        yield Span(int(held[index]) + interval.nominal, int(held[index + 1]))
    if held[-1] + interval.nominal < end:
        yield Span(int(held[-1]) + interval.nominal, end)


def _explained(holes: Iterator[Span], interval: Interval, absences: Sequence[Absence]) -> Iterator[tuple[Span, Reason]]:
    """The holes cut where the recorded reason changes."""
    position = 0
    for start, end in holes:
        time = start
        while position < len(absences) and absences[position].span.end <= start:
            position += 1
        for absence in absences[position:]:
            first = interval.ceil(max(absence.span.start, time))
            if first >= end:
                break
            last = min(interval.ceil(absence.span.end), end)
            if first >= last:
                continue
            if time < first:
                yield Span(time, first), Reason.MISSING
            yield Span(first, last), absence.reason
            time = last
        if time < end:
            yield Span(time, end), Reason.MISSING
