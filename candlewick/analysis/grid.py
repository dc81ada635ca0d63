"""Times on the grid of an interval, many at once, and what falls into one candle."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from candlewick.errors import UsageError
from candlewick.market import DAY, Interval

Ints = NDArray[np.int64]

_SMALL = 16
"""Groups of more are reduced faster one after the other than side by side."""


def floors(times: Ints, interval: Interval) -> Ints:
    """The open times of the candles that contain `times`."""
    if interval.is_fixed:
        origin, length = interval.ceil(0), interval.nominal
        # Dividing and multiplying is several times faster in numpy than the remainder.
        return (times - origin) // length * length + origin
    months = times.view("M8[us]").astype("M8[M]").astype(np.int64)
    return _month_starts(months // interval.months * interval.months)


def ends(opens: Ints, interval: Interval) -> Ints:
    """Where the candles that open at `opens`, all on the grid, end."""
    if interval.is_fixed:
        return opens + interval.nominal
    return _month_starts(opens.view("M8[us]").astype("M8[M]").astype(np.int64) + interval.months)


def starts_of(opens: Ints) -> Ints:
    """The indexes at which runs of equal values begin."""
    if not len(opens):
        return np.zeros(0, np.int64)
    return np.concatenate(([0], np.flatnonzero(opens[1:] != opens[:-1]) + 1))


def reduced(operation: np.ufunc, values: "NDArray[Any]", starts: Ints) -> "NDArray[Any]":
    """`operation.reduceat`, several times faster where all groups are of one small size; none without groups."""
    groups = len(starts)
    if not groups:
        return values[:0]
    size, rest = divmod(len(values), groups)
    if rest or not 1 < size <= _SMALL or not (starts == np.arange(0, len(values), size)).all():
        return operation.reduceat(values, starts)
    table = values.reshape(groups, size)
    result: NDArray[Any] = operation(table[:, 0], table[:, 1])
    for at in range(2, size):
        operation(result, table[:, at], out=result)
    return result


def require_divides(source: Interval, target: Interval) -> None:
    """Every candle of `target` is a whole number of candles of `source`.

    Raises:
        UsageError: it is not.
    """
    if not source.is_fixed:
        fits = not target.is_fixed and target.months % source.months == 0
    else:
        # Months begin at midnight and are any number of days long.
        length, origin = (target.nominal, target.ceil(0)) if target.is_fixed else (DAY, 0)
        fits = length % source.nominal == 0 and (origin - source.ceil(0)) % source.nominal == 0
    if not fits:
        raise UsageError(f"candles of {target} are not whole numbers of candles of {source}: take a shorter interval")


def _month_starts(months: Ints) -> Ints:
    return months.view("M8[M]").astype("M8[us]").astype(np.int64)
