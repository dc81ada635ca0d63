"""Slots and blocks: the same for everybody, computed from an interval and a time."""

from datetime import UTC, datetime

import numpy as np
import pytest

from candlewick.market import DAY, HOUR, Interval
from candlewick.stores.grid import BLOCK_SLOTS, block_of, blocks, slot_starts, slots

CODES = ["1s", "1m", "3m", "1h", "4h", "1d", "3d", "1w", "2w", "1M", "3M"]


@pytest.mark.parametrize("code", CODES)
def test_slots_follow_the_grid_of_the_interval(code: str) -> None:
    """Every open time has its own slot, the next open time the next slot, and times between belong to the one before."""
    interval = Interval(code)
    times = [interval.floor(1_700_000_000_000_000)]
    for _ in range(50):
        times.append(interval.next(times[-1]))
    array = np.array(times)
    numbers = slots(interval, array)
    assert np.all(np.diff(numbers) == 1)
    assert np.array_equal(slot_starts(interval, numbers), array)
    assert np.array_equal(slots(interval, array + 1), numbers)
    assert np.array_equal(slots(interval, array[1:] - 1), numbers[:-1])


@pytest.mark.parametrize("code", CODES)
def test_slot_zero_holds_the_epoch(code: str) -> None:
    """Slot 0 is the candle that contains 1970-01-01T00:00Z."""
    interval = Interval(code)
    assert slots(interval, np.array([0])).tolist() == [0]
    assert slot_starts(interval, np.array([0])).tolist() == [interval.floor(0)]


def test_blocks_have_known_edges() -> None:
    """Block numbers of times worked out by hand."""
    assert block_of(Interval("1m"), 6 * DAY - 1) == 0
    assert block_of(Interval("1m"), 6 * DAY) == 1
    assert block_of(Interval("1h"), BLOCK_SLOTS * HOUR) == 1
    when = int(datetime(2024, 3, 1, tzinfo=UTC).timestamp()) * 1_000_000
    assert slots(Interval("1M"), np.array([when])).tolist() == [(2024 - 1970) * 12 + 2]
    assert blocks(Interval("1M"), np.array([when])).tolist() == [0]
