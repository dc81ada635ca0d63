"""Histograms: one at a time or many, the counts are the same."""

import numpy as np

from candlewick.histogram import Distribution, Histogram


def test_histogram_counts_bounds_as_inside() -> None:
    """A value on a bound belongs to the bucket it ends; one beyond all bounds to the last."""
    histogram = Histogram((1.0, 2.0))
    for seconds in (0.5, 1.0, 1.5, 2.0, 99.0):
        histogram.observe(seconds)
    assert histogram.snapshot() == Distribution(bounds=(1.0, 2.0), counts=(2, 2, 1), total_s=104.0)


def test_histogram_observes_many_as_one_by_one() -> None:
    """An array gives the counts that its values give one by one, negative ones counting as zero."""
    values = np.concatenate([np.random.default_rng(1).exponential(0.1, 1000), [-1.0, 0.0, 0.001, 1e9]])
    many, single = Histogram(), Histogram()
    many.observe_many(values)
    many.observe_many(np.array([]))
    for value in values.tolist():
        single.observe(value)
    assert many.snapshot().counts == single.snapshot().counts
    assert many.snapshot().count == len(values)
    assert abs(many.snapshot().total_s - single.snapshot().total_s) < 1.0
