"""Where on its interval's grid a candle stands, and which block of the store holds it.

Slot 0 of an interval is the candle that contains the Unix epoch; block `b` holds slots `b * BLOCK_SLOTS` and the
`BLOCK_SLOTS - 1` after it. Anybody can compute both from an open time, so a block is the same everywhere.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from candlewick.market import Interval

BLOCK_SLOTS = 8_640
"""Grid times in one block: 6 days of 1m, 30 days of 5m, 360 days of 1h. Larger ones read a little faster, but the newest
block of a series is written again with every fold."""

Int64s: TypeAlias = npt.NDArray[np.int64]


def slots(interval: Interval, times: Int64s) -> Int64s:
    """The slot each time falls in."""
    if interval.is_fixed:
        return (times - interval.floor(0)) // interval.nominal
    return times.astype("M8[us]").astype("M8[M]").astype(np.int64) // interval.months


def slot_starts(interval: Interval, numbers: Int64s) -> Int64s:
    """The open time of each slot, in microseconds UTC."""
    if interval.is_fixed:
        return numbers * interval.nominal + interval.floor(0)
    return (numbers * interval.months).astype("M8[M]").astype("M8[us]").astype(np.int64)


def blocks(interval: Interval, times: Int64s) -> Int64s:
    """The number of the block each time falls in."""
    return slots(interval, times) // BLOCK_SLOTS


def block_of(interval: Interval, time: int) -> int:
    """The number of the block that `time` falls in."""
    return int(blocks(interval, np.array([time], np.int64))[0])
