"""Candles of a higher interval made from those of a lower one, and where they differ from the exchange's own."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from candlewick.analysis.grid import floors, require_divides
from candlewick.analysis.resample import resample
from candlewick.errors import UsageError
from candlewick.exchanges.exchange import Columns
from candlewick.integrity.gaps import missing_spans
from candlewick.market import Interval, Series, Span
from candlewick.reading.held import bounds_of, windows, within
from candlewick.reading.styles import FIELDS
from candlewick.stores.provenance import listing_of
from candlewick.stores.store import FINAL_REASONS, ROW, VALUES, SeriesInfo, StoreReader

_SOURCE_ROWS = 500_000
_FAR = 1 << 62
_ONE_MINUTE = Interval("1m")
_NONE = np.empty(0, np.int64)
_NO_VALUES = np.empty(0, np.float64)


class Part(NamedTuple):
    """Derived candles of a window, and the times in it of which it is not known whether there was a candle."""

    window: Span
    columns: Columns
    unknown: list[Span]


class Derived:
    """Candles of an interval made exactly from those of a lower one (see `Candles`).

    A candle is given only if each of the lower ones is held, or is known not to exist: none is made of half its parts
    because some are still missing here, or because it is not over.
    """

    def __init__(self, reader: StoreReader, series: Series, source: Series) -> None:
        self.series = series
        self.source = source
        self._reader = reader

    def bounds(self) -> Span | None:
        """See `Candles.bounds`."""
        last = self.read(None, None, ["open_time"], last=1)["open_time"]
        if not len(last):
            return None
        firsts = (part.columns["open_time"] for part in self.parts(None, None, ["open_time"]))
        first = next(int(times[0]) for times in firsts if len(times))
        return Span(first, int(last[0]) + 1)

    def read(self, start: int | None, end: int | None, fields: Sequence[str], last: int | None = None) -> Columns:
        """See `Candles.read`."""
        if last is not None:
            return self._newest(start, end, fields, last)
        parts = [part.columns for part in self.parts(start, end, fields)]
        return {name: np.concatenate([np.empty(0, ROW[name]), *(part[name] for part in parts)]) for name in fields}

    def parts(self, start: int | None, end: int | None, fields: Sequence[str]) -> Iterator[Part]:
        """The candles that open in `[start, end)`, part by part, so that few lower candles are in memory at a time."""
        source, target = self.source.interval, self.series.interval
        bounds = bounds_of(self._reader, self.source)
        if bounds is None:
            return
        span = within(Span(target.floor(bounds.start), bounds.end), start, end)
        absences = [one for one in self._reader.absences(self.source) if one.reason in FINAL_REASONS]
        traded = self._traded()
        needed = list(dict.fromkeys(["open_time", *fields]))
        for window in windows(target, span, max(1, _SOURCE_ROWS * source.nominal // target.nominal)):
            lower = self._reader.columns(self.source, *window, columns=needed)
            unknown = _clipped(missing_spans(lower["open_time"], source, window, absences), traded)
            made = _resampled(lower, source, target)
            keep = ~covered(made["open_time"], unknown, target)
            yield Part(window, {name: made[name][keep] for name in needed}, unknown)

    def _newest(self, start: int | None, end: int | None, fields: Sequence[str], count: int) -> Columns:
        """The newest `count`: as many grid times back as it takes."""
        target = self.series.interval
        bounds = bounds_of(self._reader, self.source)
        span = within(bounds and Span(target.floor(bounds.start), bounds.end), start, end)
        reach = count + 1
        while True:
            first = max(span.start, span.end - reach * target.nominal)
            found = self.read(first, span.end, fields)
            if len(found[fields[0]]) >= count or first == span.start:
                return {name: values[-count:] for name, values in found.items()}
            reach *= 4

    def _traded(self) -> Span:
        """Outside of it the symbol is known not to have traded."""
        listing = listing_of(self._reader, self.source.market, self.source.symbol)
        interval = self.source.interval
        return Span(
            interval.floor(listing.first) if listing.first else -_FAR,
            interval.next(interval.floor(listing.last)) if listing.last else _FAR,
        )


def find_lower(known: Sequence[SeriesInfo], series: Series) -> Series | None:
    """The series that `series` is derived from: 1m where it is held, else the longest interval that divides it."""
    fitting = [
        one.series
        for one in known
        if one.rows and one.series[:2] == series[:2] and _divides(one.series.interval, series.interval)
    ]
    return max(fitting, key=lambda one: (one.interval is _ONE_MINUTE, one.interval.nominal), default=None)


def _divides(lower: Interval, higher: Interval) -> bool:
    """Whether each candle of `higher` consists of whole candles of `lower`, and of more than one."""
    try:
        require_divides(lower, higher)
    except UsageError:
        return False
    return lower is not higher


class Disagreements(NamedTuple):
    """Values in which derived and stored candles differ, by time; NaN where there is no such candle."""

    open_time: npt.NDArray[np.int64]
    column: list[str]
    stored: npt.NDArray[np.float64]
    derived: npt.NDArray[np.float64]


def compare(reader: StoreReader, derived: Derived, start: int | None, end: int | None) -> Disagreements:
    """Where the stored candles of an interval differ from those derived from a lower one; close times in milliseconds.

    Candles of which a part is missing in the lower series are left out: nothing is known against them.
    """
    times: list[npt.NDArray[np.int64]] = []
    names: list[npt.NDArray[np.int64]] = []
    stored_values: list[npt.NDArray[np.float64]] = []
    derived_values: list[npt.NDArray[np.float64]] = []
    for part in derived.parts(start, end, FIELDS):
        stored = reader.columns(derived.series, *part.window, columns=FIELDS)
        known = ~covered(stored["open_time"], part.unknown, derived.series.interval)
        stored = {name: values[known] for name, values in stored.items()}
        every = np.union1d(stored["open_time"], part.columns["open_time"])
        for at, name in enumerate(VALUES):
            ours, theirs = _aligned(every, part.columns, name), _aligned(every, stored, name)
            differ = ours != theirs  # NaN, where one side has no candle, differs from everything
            times.append(every[differ])
            names.append(np.full(int(differ.sum()), at, np.int64))
            stored_values.append(theirs[differ])
            derived_values.append(ours[differ])
    time, name_at = np.concatenate([*times, _NONE]), np.concatenate([*names, _NONE])
    order = np.lexsort((name_at, time))
    return Disagreements(
        time[order],
        [VALUES[at] for at in name_at[order].tolist()],
        np.concatenate([*stored_values, _NO_VALUES])[order],
        np.concatenate([*derived_values, _NO_VALUES])[order],
    )


def covered(times: npt.NDArray[np.int64], spans: Sequence[Span], interval: Interval) -> npt.NDArray[np.bool_]:
    """Which candles of an interval, by open time, have a part in any of the spans."""
    hit = np.zeros(len(times), np.bool_)
    for start, end in spans:
        first, stop = np.searchsorted(times, [interval.floor(start), end])
        hit[first:stop] = True
    return hit


def _aligned(every: npt.NDArray[np.int64], columns: Columns, name: str) -> npt.NDArray[np.float64]:
    """A column at each of the times, NaN where it has none."""
    out = np.full(len(every), np.nan)
    values = columns[name] // 1000 if name == "close_time" else columns[name]
    out[np.searchsorted(every, columns["open_time"])] = values
    return out


def _resampled(lower: Columns, source: Interval, target: Interval) -> Columns:
    """Candles of `target`; where a part's value is not a number, because nobody gave it, neither is the candle's."""
    ungiven = {name: np.isnan(values) for name, values in lower.items() if values.dtype == np.float64}
    ungiven = {name: where for name, where in ungiven.items() if where.any()}
    known = {
        name: np.where(ungiven[name], 0.0, values) if name in ungiven else values for name, values in lower.items()
    }
    made = dict(resample(known, source, target).columns)
    for name, where in ungiven.items():
        parts = np.isin(made["open_time"], floors(lower["open_time"][where], target))
        made[name] = np.where(parts, np.nan, made[name])
    return made


def _clipped(spans: Sequence[Span], limits: Span) -> list[Span]:
    cut = [Span(max(one.start, limits.start), min(one.end, limits.end)) for one in spans]
    return [one for one in cut if one.start < one.end]
