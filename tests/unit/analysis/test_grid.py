"""Grids and groups of many times are those of one time after the other."""

import random

import numpy as np
import pytest

from candlewick.analysis.grid import ends, floors, reduced, starts_of
from candlewick.market import DAY, MINUTE, Interval


@pytest.mark.parametrize("code", ["1s", "7s", "1m", "5m", "7h", "1d", "3d", "1w", "2w", "1M", "3M", "5M", "12M"])
def test_floors_and_ends_are_those_of_the_interval(code: str) -> None:
    """Before and after the epoch, on the edges of candles and a microsecond beside them."""
    interval, draw = Interval(code), random.Random(code)
    times = [draw.randrange(-9000 * DAY, 30_000 * DAY) for _ in range(300)]
    times += [interval.floor(time) + by for time in times[:100] for by in (-1, 0, 1)]
    opens = floors(np.array(times), interval)
    assert opens.tolist() == [interval.floor(time) for time in times]
    assert ends(opens, interval).tolist() == [interval.next(time) for time in opens.tolist()]


def test_starts_are_where_values_change() -> None:
    """One index for each run of equal times."""
    assert starts_of(np.array([5, 5, 6, 9, 9, 9]) * MINUTE).tolist() == [0, 2, 3]
    assert starts_of(np.array([5])).tolist() == [0]
    assert starts_of(np.zeros(0, np.int64)).tolist() == []


@pytest.mark.parametrize("operation", [np.add, np.maximum, np.minimum])
def test_reduced_equals_numpys_own(operation: np.ufunc) -> None:
    """Groups of one size, small or large, and groups that are not."""
    draw = random.Random(2)
    for size in (1, 2, 3, 15, 16, 17, 60):
        values = np.array([draw.randrange(10**6) for _ in range(size * 7)])
        even = np.arange(0, len(values), size)
        uneven = even.copy()
        uneven[2:] -= size > 1
        for starts in (even, uneven, even[:-1], even[:1]):
            assert reduced(operation, values, starts).tolist() == operation.reduceat(values, starts).tolist()
    assert reduced(operation, np.zeros(0), np.zeros(0, np.int64)).tolist() == []
