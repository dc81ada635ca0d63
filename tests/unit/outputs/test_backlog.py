"""What the log names becomes few spans, and these become pieces of a size."""

import random

import numpy as np
import numpy.typing as npt
import pytest

from candlewick.market import Interval, Market, Series
from candlewick.outputs.backlog import Backlog, joined, split
from candlewick.stores.store import OTHER_ROWS, SPAN, Spans, Touched

LENGTHS = np.array([1, 5, 60], np.int64)
NEAR = 2 * LENGTHS
BTC = Series(Market.SPOT, "BTCUSDT", Interval("1m"))


def spans_of(*spans: tuple[int, int, int]) -> Spans:
    return np.array(list(spans), SPAN)


def random_spans(rng: random.Random, count: int) -> Spans:
    found = []
    for _ in range(count):
        number = rng.randrange(3)
        start = rng.randrange(300) * int(LENGTHS[number])
        found.append((number, start, start + rng.choice([0, 0, 1, 7, 40]) * int(LENGTHS[number]) + 1))
    return spans_of(*found)


def slots_in(spans: Spans) -> list[tuple[int, int]]:
    """Every slot of a series that the spans hold, as often as they hold it."""
    return [
        (number, slot)
        for number, start, end in spans.tolist()
        for slot in range(start // int(LENGTHS[number]), -(-end // int(LENGTHS[number])))
    ]


def test_spans_that_are_near_are_one() -> None:
    """By series and time; what overlaps, touches or is near is one span, what is apart is not, nor another series."""
    found = joined(
        spans_of((1, 100, 106), (0, 10, 12), (0, 3, 8), (0, 0, 30), (0, 33, 34), (1, 35, 36), (0, 35, 36)), NEAR
    )
    assert found.tolist() == [(0, 0, 30), (0, 33, 36), (1, 35, 36), (1, 100, 106)]
    assert joined(spans_of(), NEAR).tolist() == []


@pytest.mark.parametrize("seed", range(5))
def test_joined_spans_hold_all_and_little_else(seed: int) -> None:
    """Nothing is left out or twice; what is in between is near on both sides; between spans is more than that."""
    rng = random.Random(seed)
    for count in (1, 5, 50, 300):
        spans = random_spans(rng, count)
        found = joined(spans, NEAR)
        slots = slots_in(found)
        assert len(slots) == len(set(slots))
        assert slots == sorted(slots)
        named = set(slots_in(spans))
        assert named <= set(slots)
        for number, slot in set(slots) - named:
            assert {(number, at) for at in (slot - 2, slot - 1, slot + 1, slot + 2)} & named
        for before, after in zip(found.tolist(), found[1:].tolist(), strict=False):
            assert before[0] != after[0] or after[1] - before[2] > NEAR[before[0]]


@pytest.mark.parametrize("seed", range(5))
def test_pieces_have_the_size_that_was_asked_for(seed: int) -> None:
    """Each has room for exactly so many candles, but for the last; together they are what was split."""
    rng = random.Random(seed)
    spans = rest = joined(random_spans(rng, 200), 0 * NEAR)
    pieces = []
    for _ in range(10_000):
        most = rng.randrange(1, 40)
        some, rest = split(rest, LENGTHS, most)
        pieces.append(some)
        assert _room(some, LENGTHS) == most or not len(rest)
        if not len(rest):
            break
    assert len(pieces) > 10
    assert slots_in(np.concatenate(pieces)) == slots_in(spans)


def _room(spans: Spans, lengths: npt.NDArray[np.int64]) -> int:
    return sum(-(-(end - start) // int(lengths[number])) for number, start, end in spans.tolist())


def test_backlog_is_as_large_as_what_it_names() -> None:
    """Rows as often as they were kept; reasons and states once, as what they may weigh."""
    backlog = Backlog()
    for _ in range(3):
        backlog.add(Touched(7, 4, spans_of((0, 5, 6), (0, 4, 5)), [BTC], ["file:a", "file:b"]), NEAR)
    assert (backlog.rows, backlog.size) == (12, 12 + 3 * OTHER_ROWS)
    assert backlog.spans.tolist() == [(0, 4, 6)]
    assert (list(backlog.absences), list(backlog.states)) == ([BTC], ["file:a", "file:b"])
