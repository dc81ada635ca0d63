"""What the log of changes names, gathered before it is read: which spans of which series, and what else. Pure."""

import numpy as np
import numpy.typing as npt

from candlewick.market import Series
from candlewick.stores.store import OTHER_ROWS, SPAN, Spans, Touched


class Backlog:
    """What some of the log touched. What lies together is one span, however many writes it took."""

    def __init__(self) -> None:
        self.rows = 0
        """As many rows the log names."""
        self.spans: Spans = np.empty(0, SPAN)
        """By series, then time, without overlap."""
        self.absences: dict[Series, None] = {}
        self.states: dict[str, None] = {}

    @property
    def size(self) -> int:
        """How much there is to bring over, in rows."""
        return self.rows + OTHER_ROWS * (len(self.absences) + len(self.states))

    def add(self, touched: Touched, near: npt.NDArray[np.int64]) -> None:
        """Take in more of the log; spans of a series, by number, are one if no more than `near` lies between them."""
        self.rows += touched.rows
        self.spans = joined(np.concatenate((self.spans, touched.spans)), near)
        self.absences |= dict.fromkeys(touched.absences)
        self.states |= dict.fromkeys(touched.states)


def joined(spans: Spans, near: npt.NDArray[np.int64]) -> Spans:
    """Spans by series, then time, those as one that overlap or of which no more than `near` lies between."""
    if not len(spans):
        return spans
    spans = spans[np.lexsort((spans["start"], spans["series"]))]
    series, starts = spans["series"].astype(np.int64), np.ascontiguousarray(spans["start"])
    # The furthest end so far within each series: ends as ranks, so that those of a later series are beyond all before.
    ends, ranks = np.unique(spans["end"], return_inverse=True)
    reached = ends[np.maximum.accumulate(series * len(ends) + ranks) - series * len(ends)]
    apart = (np.diff(series) != 0) | (starts[1:] - reached[:-1] > near[series[1:]])
    first = np.concatenate(([0], np.flatnonzero(apart) + 1))
    found = np.empty(len(first), SPAN)
    found["series"], found["start"] = series[first], starts[first]
    found["end"] = reached[np.concatenate((first[1:], [len(spans)])) - 1]
    return found


def split(spans: Spans, lengths: npt.NDArray[np.int64], most: int) -> tuple[Spans, Spans]:
    """The first spans that have room for `most` candles of the length that their series has, and the rest."""
    some = spans[:most]  # each has room for one
    length = lengths[some["series"]]
    room = -(-(some["end"] - some["start"]) // length)
    total = np.cumsum(room)
    last = int(np.searchsorted(total, most))
    if last == len(some):
        return some, spans[last:]
    middle = some["start"][last] + (most - total[last] + room[last]) * length[last]
    some, rest = some[: last + 1].copy(), spans[last:]
    if middle >= some["end"][-1]:
        return some, rest[1:]
    rest = rest.copy()
    some["end"][-1] = rest["start"][0] = middle
    return some, rest
