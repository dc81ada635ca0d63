"""Sums of doubles are the nearest doubles of the sums of their decimals."""

import random
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from candlewick.analysis.exact import MOST_PLACES, decimals, divided, odd_ones, sums, whole_sum
from candlewick.errors import UsageError


def text(draw: random.Random, digits: int, places: int) -> str:
    """A decimal of at most so many digits, so many of them after the point."""
    units = draw.randrange(10 ** draw.randrange(1, digits + 1))
    return f"{units // 10**places}.{units % 10**places:0{places}d}" if places else str(units)


def nearest(texts: list[str]) -> float:
    total = sum(map(Fraction, texts), Fraction(0))
    return total.numerator / total.denominator


MIXES: dict[str, Callable[[random.Random], str]] = {
    "quantities": lambda draw: text(draw, 12, 5),
    "cheap coins": lambda draw: text(draw, 15, 0),
    "eight decimals": lambda draw: text(draw, 15, 8),
    "fifteen decimals": lambda draw: text(draw, 15, 15),
    "every kind": lambda draw: text(draw, 15, draw.randrange(16)),
    "mostly whole": lambda draw: text(draw, 15, draw.choice([0] * 30 + [8])),
    "huge": lambda draw: (
        text(draw, 15, 2) if draw.random() < 0.9 else f"{draw.randrange(10**15)}e{draw.randrange(280)}"
    ),
    "tiny": lambda draw: f"{draw.randrange(10**6)}e-{draw.randrange(200, 320)}",
    "of both signs": lambda draw: draw.choice(["-", ""]) + text(draw, 15, 8),
    "zeros": lambda draw: draw.choice(["0", "-0.0", "0.00000000"]),
}


@pytest.mark.parametrize("mix", MIXES)
def test_sums_are_the_nearest_doubles_of_decimal_sums(mix: str) -> None:
    """Whatever the decimals, groups of any size, with and without some left out, sum as fractions do."""
    draw = random.Random(mix)
    for _ in range(12):
        texts = [MIXES[mix](draw) for _ in range(draw.randrange(1, 400))]
        # What a double stands for is its shortest text; of fifteen digits that is the text it was read from.
        values = np.array([float(one) for one in texts])
        starts = np.array(sorted({0, *(draw.randrange(len(texts)) for _ in range(20))}))
        only = np.array([draw.random() < 0.5 for _ in texts])
        cuts = [slice(a, b) for a, b in zip(starts, [*starts[1:], len(texts)], strict=True)]
        shortest = [repr(value) for value in values.tolist()]
        assert sums(values, starts).tolist() == [nearest(shortest[cut]) for cut in cuts]
        assert decimals(values).sums(starts, only).tolist() == [
            nearest([one for one, counts in zip(shortest[cut], only[cut], strict=True) if counts]) for cut in cuts
        ]


def test_sums_are_exact_far_above_what_doubles_count() -> None:
    """A hundred thousand amounts of twenty million, to the eighth decimal, sum to the last digit of a double."""
    draw = random.Random(1)
    units = [draw.randrange(2**50, 2**51) for _ in range(100_000)]
    values = np.array([one / 10**8 for one in units])
    assert decimals(values).exact is None
    assert sum(units) > 2**63
    assert sums(values, np.array([0, 5])).tolist() == [sum(units[:5]) / 10**8, sum(units[5:]) / 10**8]


def test_decimals_take_the_fewest_places_that_hold_all() -> None:
    """What a sample does not show is found all the same, and what no power of ten holds is marked."""
    values = np.arange(10_000) / 4
    assert (decimals(values).places, decimals(values).exact) == (2, None)
    values[77] = 0.12345678
    assert (decimals(values).places, decimals(values).exact) == (8, None)
    values[78] = 1e-300
    found = decimals(values)
    assert found.exact is not None
    assert np.flatnonzero(~found.exact).tolist() == [78]
    assert decimals(np.array([1e-15])).places == MOST_PLACES
    assert decimals(np.array([1.5, 0.123456789]), 8).exact is not None


def test_decimals_are_never_another_text_of_the_same_double() -> None:
    """Above 45 million two amounts of eight decimals may be one double: then the shortest text counts."""
    for seed in range(200):
        value = float(f"{70_000_000 + seed}.3")
        assert sums(np.array([value, 0.00000001]), np.array([0, 1])).tolist() == [value, 1e-8]
        assert sums(np.array([value, 0.00000001]), np.array([0])).tolist() == [nearest([repr(value), "0.00000001"])]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_sums_refuse_what_is_no_number(value: float) -> None:
    """No decimal stands behind it."""
    with pytest.raises(UsageError, match="finite"):
        sums(np.array([1.0, value]), np.array([0]))


def test_sums_of_no_groups_are_none() -> None:
    """Nothing in, nothing out."""
    assert sums(np.zeros(0), np.zeros(0, np.int64)).tolist() == []


def test_divided_rounds_once() -> None:
    """Sums above 2**53 are divided as integers: rounding them first would round twice."""
    draw = random.Random(4)
    units = np.array([draw.randrange(2**56, 2**60) for _ in range(5000)])
    starts = np.arange(0, 5000, 2)
    exact = [(a + b) / 10**8 for a, b in units.reshape(-1, 2).tolist()]
    assert divided(units, starts, 8).tolist() == exact
    assert exact != [float(a + b) / 10**8 for a, b in units.reshape(-1, 2).tolist()]


def test_whole_sum_knows_no_overflow() -> None:
    """Integers of 63 bits and both signs add up beyond 64."""
    values = np.array([2**62, 2**62 + 1, 2**63 - 1, -1, -(2**63)])
    assert whole_sum(values) == sum(values.tolist()) == 2**63 - 1
    assert whole_sum(values[:3]) == 2**64


def test_odd_ones_are_given_by_group() -> None:
    """Each group with an odd member comes once, with all its odd members."""
    odd = np.array([False, True, True, False, False, False, True])
    found = [(group, members, of_it.tolist()) for group, members, of_it in odd_ones(odd, np.array([0, 2, 4, 5]))]
    assert found == [(0, slice(0, 2), [1]), (1, slice(2, 4), [2]), (3, slice(5, 7), [6])]
    assert list(odd_ones(np.zeros(3, np.bool_), np.array([0]))) == []
