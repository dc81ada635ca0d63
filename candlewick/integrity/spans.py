"""Arithmetic of half-open spans of time: lists that are in order and whose members neither overlap nor touch. Pure."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from candlewick.market import Span


def join(spans: Iterable[Span]) -> list[Span]:
    """The same times, as few spans as can be."""
    joined: list[Span] = []
    for span in sorted(spans):
        if span.start >= span.end:
            continue
        if joined and span.start <= joined[-1].end:
            joined[-1] = Span(joined[-1].start, max(joined[-1].end, span.end))
        else:
            joined.append(span)
    return joined


def common(one: Sequence[Span], other: Sequence[Span]) -> list[Span]:
    """The times that lie in both."""
    found: list[Span] = []
    left = right = 0
    while left < len(one) and right < len(other):
        both = Span(max(one[left].start, other[right].start), min(one[left].end, other[right].end))
        if both.start < both.end:
            found.append(both)
        if one[left].end <= other[right].end:
            left += 1
        else:
            right += 1
    return found


def without(spans: Sequence[Span], taken: Sequence[Span]) -> list[Span]:
    """The times of `spans` that do not lie in `taken`."""
    if not spans:
        return []
    start, end = spans[0].start, spans[-1].end
    free: list[Span] = []
    for span in taken:
        if start < span.start:
            free.append(Span(start, min(span.start, end)))
        start = max(start, span.end)
        if start >= end:
            break
    if start < end:
        free.append(Span(start, end))
    return common(spans, free)


def within(times: NDArray[np.int64], spans: Sequence[Span]) -> NDArray[np.bool_]:
    """Which of the ordered `times` lie in one of `spans`."""
    inside = np.zeros(len(times), np.bool_)
    for start, end in spans:
        first, last = np.searchsorted(times, [start, end])
        inside[first:last] = True
    return inside
