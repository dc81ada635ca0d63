"""Candles of one series, wherever they come from, and the windows in which long ranges are read."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from candlewick.exchanges.exchange import Columns
from candlewick.market import Interval, Series, Span
from candlewick.stores.store import StoreReader, info_of


class Candles(Protocol):
    """Candles of one series that can be read again and again; each read sees the store of that moment."""

    series: Series

    def bounds(self) -> Span | None:
        """From the first open time to just after the last, or None where there is no candle."""

    def read(self, start: int | None, end: int | None, fields: Sequence[str], last: int | None = None) -> Columns:
        """The candles that open in `[start, end)`, oldest first; of them the newest `last`."""


class Stored:
    """The candles that the store holds of a series (see `Candles`)."""

    def __init__(self, reader: StoreReader, series: Series) -> None:
        self.series = series
        self._reader = reader

    def bounds(self) -> Span | None:
        """See `Candles.bounds`."""
        return bounds_of(self._reader, self.series)

    def read(self, start: int | None, end: int | None, fields: Sequence[str], last: int | None = None) -> Columns:
        """See `Candles.read`."""
        return self._reader.columns(self.series, start, end, columns=fields, last=last)


def bounds_of(reader: StoreReader, series: Series) -> Span | None:
    """From the first open time that is held of a series to just after the last, or None."""
    info = info_of(reader, series)
    return None if info is None or info.first is None or info.last is None else Span(info.first, info.last + 1)


def within(bounds: Span | None, start: int | None, end: int | None) -> Span:
    """The part of `bounds` in `[start, end)`; an empty span where there is none."""
    if bounds is None:
        return Span(0, 0)
    first = bounds.start if start is None else max(start, bounds.start)
    stop = bounds.end if end is None else min(end, bounds.end)
    return Span(first, max(first, stop))


def windows(interval: Interval, span: Span, rows: int, first_rows: int | None = None) -> Iterator[Span]:
    """Adjacent windows that together hold every open time in `span`, each of them at most `rows`.

    The first has `first_rows`, the following ones twice as many each, until they have `rows`.
    """
    size = rows if first_rows is None else min(rows, first_rows)
    start, end = interval.ceil(span.start), interval.ceil(span.end)
    while start < end:
        stop = _after(interval, start, size, end)
        yield Span(start, stop)
        start, size = stop, min(rows, 2 * size)


def grid(interval: Interval, span: Span) -> npt.NDArray[np.int64]:
    """Every open time in `span`."""
    if not interval.is_fixed:
        return np.array(interval.grid(span), np.int64)
    return np.arange(interval.ceil(span.start), span.end, interval.nominal, dtype=np.int64)


def _after(interval: Interval, start: int, count: int, end: int) -> int:
    if interval.is_fixed:
        return min(start + count * interval.nominal, end)
    for _ in range(count):
        if start >= end:
            break
        start = interval.next(start)
    return min(start, end)
