"""Counts durations in fixed buckets: cheap enough for every candle, small enough to be kept for ever."""

from bisect import bisect_left
from collections.abc import Collection

from msgspec import Struct

BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Distribution(Struct, frozen=True, kw_only=True):
    """What a histogram has seen. `counts[i]` lie in `(bounds[i - 1], bounds[i]]`; the last count is beyond all bounds."""

    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = (0,)
    total_s: float = 0.0

    @property
    def count(self) -> int:
        """How many values were seen."""
        return sum(self.counts)


class Histogram:
    """Durations in seconds. A negative one, as a clock that was set makes it, counts as zero."""

    __slots__ = ("_bounds", "_counts", "_total_s")

    def __init__(self, bounds: tuple[float, ...] = BOUNDS_S) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total_s = 0.0

    def observe(self, seconds: float) -> None:
        """One duration."""
        seconds = max(0.0, seconds)
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._total_s += seconds

    def observe_many(self, seconds: Collection[float]) -> None:
        """Many durations, an array of them too; none at all is fine."""
        import numpy as np  # noqa: PLC0415 - what only shows a distribution need not load it

        values = np.maximum(np.asarray(seconds, dtype=np.float64), 0.0)
        found = np.searchsorted(self._bounds, values, side="left")
        for index, count in enumerate(np.bincount(found, minlength=len(self._counts)).tolist()):
            self._counts[index] += count
        self._total_s += float(values.sum())

    def snapshot(self) -> Distribution:
        """What was seen until now."""
        return Distribution(bounds=self._bounds, counts=tuple(self._counts), total_s=self._total_s)
