"""Filling holes for those who ask for it: flat candles, each marked as made."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from candlewick.exchanges.exchange import Columns
from candlewick.market import Interval, Span
from candlewick.reading.held import Candles, grid, within

_PRICES = frozenset({"open", "high", "low", "close"})


class Filled:
    """Candles at every grid time between the first and the last (see `Candles`), with the field `filled`.

    A candle that is not there is given the close before it as its four prices, and no trades. First and last stay what
    they are when they are first asked for.
    """

    def __init__(self, candles: Candles) -> None:
        self.series = candles.series
        self._candles = candles

    def bounds(self) -> Span | None:
        """See `Candles.bounds`."""
        return self._bounds

    @cached_property
    def _bounds(self) -> Span | None:
        return self._candles.bounds()  # of derived candles it takes a look at many

    def read(self, start: int | None, end: int | None, fields: Sequence[str], last: int | None = None) -> Columns:
        """See `Candles.read`; `filled` comes in any case."""
        interval = self.series.interval
        span = within(self._bounds, start, end)
        span = Span(interval.ceil(span.start), interval.ceil(span.end))
        if last is not None:
            span = Span(_back(interval, span, last), span.end)
        needed = list(dict.fromkeys([*fields, "open_time", "close"]))
        filled = fill_flat(self._candles.read(*span, needed), interval, span, self._close_before(span))
        return {name: filled[name] for name in [*fields, "filled"]}

    def _close_before(self, span: Span) -> float:
        before = self._candles.read(None, span.start, ["close"], last=1)["close"]
        return float(before[0]) if len(before) else 0.0  # then `span` begins with the first candle, or is empty


def fill_flat(held: Columns, interval: Interval, span: Span, close_before: float) -> Columns:
    """The candles `held`, which lie in `span`, and one of no trades at each other open time in it.

    `close_before` is the close of the candle before `span`; `held` must have `open_time` and `close`. The result has
    `filled` besides: which rows were made.
    """
    times = grid(interval, span)
    is_made = np.ones(len(times), np.bool_)
    is_made[_places(interval, times, held["open_time"])] = False
    is_held = ~is_made
    made = np.flatnonzero(is_made)
    closes = np.concatenate([[close_before], held["close"]])[np.searchsorted(held["open_time"], times[made])]
    filled: Columns = {"filled": is_made}
    for name, values in held.items():
        if name == "open_time":
            filled[name] = times
            continue
        filled[name] = np.zeros(len(times), values.dtype)
        filled[name][is_held] = values
        if name in _PRICES:
            filled[name][made] = closes
        elif name == "close_time":
            filled[name][made] = _close_times(interval, times[made])
    return filled


def _places(interval: Interval, times: npt.NDArray[np.int64], held: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where in the grid `times` the open times `held` are."""
    if not interval.is_fixed or not len(times):
        return np.searchsorted(times, held)
    places: npt.NDArray[np.int64] = (held - times[0]) // interval.nominal
    return places


def _close_times(interval: Interval, times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    if interval.is_fixed:
        return times + (interval.nominal - 1000)
    return np.array([interval.close(time) for time in times.tolist()], np.int64)


def _back(interval: Interval, span: Span, count: int) -> int:
    """The open time `count` candles before the end of `span`, but not before its start."""
    if interval.is_fixed:
        return max(span.start, span.end - count * interval.nominal)
    return interval.grid(span)[-count:][0] if span.start < span.end else span.start
