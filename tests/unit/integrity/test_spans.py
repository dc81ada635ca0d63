"""Arithmetic of spans, held against sets of numbers."""

from random import Random

import numpy as np
import pytest

from candlewick.integrity.spans import common, join, within, without
from candlewick.market import Span


def times(spans: list[Span]) -> set[int]:
    return {time for span in spans for time in range(span.start, span.end)}


def random_spans(random: Random) -> list[Span]:
    starts = [random.randrange(0, 60) for _ in range(random.randrange(0, 7))]
    return [Span(start, start + random.randrange(0, 9)) for start in starts]


@pytest.mark.parametrize("seed", range(200))
def test_spans_are_what_sets_are(seed: int) -> None:
    """Union, intersection and difference hold the same times as those of sets, in as few spans as can be."""
    random = Random(seed)
    one, other = join(random_spans(random)), join(random_spans(random))
    for found, right in (
        (join([*one, *other]), times(one) | times(other)),
        (common(one, other), times(one) & times(other)),
        (without(one, other), times(one) - times(other)),
    ):
        assert times(found) == right
        assert found == join(found)
    ordered = np.arange(70, dtype=np.int64)
    assert set(ordered[within(ordered, one)].tolist()) == times(one)
