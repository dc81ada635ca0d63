"""Where trading stood still although the exchange went on writing candles: its halts on USD-M.

There a halt leaves no hole but flat rows without a trade (binance.md 4). A symbol that is seldom traded has such rows
too; docs/validation.md, "Halts", says how the two are told apart.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from candlewick.exchanges.exchange import Columns
from candlewick.market import Market, Series, Span

NEEDED = ("open_time", "open", "high", "low", "close", "trades")
"""The columns that `find_halts` looks at."""

AROUND = 1_440
"""Rows on each side that a run is held against: of 1m a day."""
_CHANCE = 1e-9
_FEWEST = 60
"""With fewer rows around it a run is judged by its length alone."""
_RIVALS = 2

Ints = npt.NDArray[np.int64]


class _Runs(NamedTuple):
    """Idle rows that follow each other: the first row of each run and how many there are."""

    starts: Ints
    lengths: Ints


def find_halts(columns: Columns, series: Series) -> list[Span]:
    """Where a symbol was halted, oldest first; `columns` are rows of one series by time, with at least `NEEDED`.

    A run of rows in which nothing was traded at the last price is a halt if `AROUND` rows before and after it, as
    often idle as they are, would bring a run so long in less than one of a billion such stretches, and if at most two
    other runs among them are a third as long. A run longer than `AROUND` with next to nothing around it is one too.
    """
    if series.market is not Market.USDM or not len(columns["open_time"]):
        return []
    idle = _idle(columns)
    runs = _runs(idle)
    if not len(runs.starts):
        return []
    times = columns["open_time"]
    halted = _halted(runs, idle)
    spans = []
    for start, length in zip(runs.starts[halted].tolist(), runs.lengths[halted].tolist(), strict=True):
        spans += _adjacent(times[start : start + length], series)
    return spans


def _idle(columns: Columns) -> npt.NDArray[np.bool_]:
    """Which rows are flat at the close of the row before, without a trade."""
    close = columns["close"]
    idle: npt.NDArray[np.bool_] = (
        (columns["trades"] == 0) & (columns["high"] == columns["low"]) & (columns["open"] == close)
    )
    idle[1:] &= columns["open"][1:] == close[:-1]
    return idle


def _runs(idle: npt.NDArray[np.bool_]) -> _Runs:
    at = np.flatnonzero(idle)
    if not len(at):
        return _Runs(at, at)
    edges = np.concatenate(([0], np.flatnonzero(np.diff(at) != 1) + 1, [len(at)]))
    return _Runs(at[edges[:-1]], np.diff(edges))


def _adjacent(times: npt.NDArray[Any], series: Series) -> list[Span]:
    """The rows of a run as spans; rows that are missing in it part it."""
    # Of months too: those that are adjacent are at most 31 days apart, all others more.
    edges = np.concatenate(([0], np.flatnonzero(np.diff(times) > series.interval.nominal) + 1, [len(times)]))
    ends = [series.interval.next(int(times[edge - 1])) for edge in edges[1:]]
    return [Span(int(times[edge]), end) for edge, end in zip(edges[:-1], ends, strict=True)]


def _halted(runs: _Runs, idle: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which runs are halts."""
    count = len(idle)
    idle_before = np.concatenate(([0], np.cumsum(idle)))
    starts, ends = runs.starts, runs.starts + runs.lengths
    first, last = np.maximum(starts - AROUND, 0), np.minimum(ends + AROUND, count)
    around = last - first - runs.lengths
    idle_around = idle_before[last] - idle_before[first] - runs.lengths
    # The chance that a row is idle, by the rule of succession: never 0, however lively it was around.
    chance = (idle_around + 1) / (around + 2)
    unlikely = np.log(AROUND) + runs.lengths * np.log(chance) < np.log(_CHANCE)
    halted = np.where(around >= _FEWEST, unlikely, runs.lengths >= AROUND)
    for at in np.flatnonzero(halted).tolist():
        near = slice(np.searchsorted(ends, first[at], "right"), np.searchsorted(starts, last[at]))
        rivals = np.count_nonzero(runs.lengths[near] * 3 >= runs.lengths[at]) - 1
        halted[at] = rivals <= _RIVALS
    return halted
