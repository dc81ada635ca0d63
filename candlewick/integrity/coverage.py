"""How much of each day of a series is there, what is not, and why: the numbers behind `candlewick coverage`.

Everything is counted for all days at once, so ten years of one-minute candles take a fraction of a second.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from candlewick.integrity.gaps import OpenTimes, find_gaps
from candlewick.integrity.spans import without
from candlewick.market import DAY, Interval, Series, Span
from candlewick.stores.provenance import Listing
from candlewick.stores.store import Absence, Reason, Source

Ints = NDArray[np.int64]


class State(StrEnum):
    """What a day comes to; of several the first that holds, in this order."""

    NOTHING = "nothing"
    """No candle opens on it: it lies outside of what was asked."""
    MISSING = "missing"
    """It has no candle, and some are ours to repair."""
    PARTIAL = "partial"
    """Some of its candles are missing and some are there."""
    NOT_LISTED = "not_listed"
    DELISTED = "delisted"
    PENDING = "pending"
    """Some of it is not published yet."""
    OUTAGE = "outage"
    """All that the exchange has is there; in an outage it made none."""
    LIVE = "live"
    """All is there; some candles have come live alone and wait for REST or the archive to confirm them."""
    HALT = "halt"
    """All is there; for a part of it trading was halted."""
    COMPLETE = "complete"


class Coverage(NamedTuple):
    """A series day by day; each array has one number a day, in candles."""

    series: Series
    span: Span
    first_day: int
    """Days from 1970-01-01 to the first of the days."""
    expected: Ints
    """Candles that open on the day within the span."""
    present: Ints
    certified: Ints
    """Of those present, the ones that REST or the archive vouch for."""
    halted: Ints
    """Of those present, the ones without a trade in a halt."""
    absent: Mapping[Reason, Ints]
    """Every reason, `missing` among them."""
    states: tuple[State, ...]

    @property
    def missing(self) -> Ints:
        """Candles that are ours to repair."""
        return self.absent[Reason.MISSING]

    @property
    def possible(self) -> Ints:
        """Candles expected on days on which the symbol was listed."""
        return self.expected - self.absent[Reason.NOT_LISTED] - self.absent[Reason.DELISTED]


def cover(
    series: Series,
    span: Span,
    held: OpenTimes,
    sources: NDArray[np.uint8],
    absences: Sequence[Absence],
    halts: Sequence[Span] = (),
) -> Coverage:
    """Count `span` day by day: `held` are the open times of all candles by time, `sources` where each came from.

    `absences` are disjoint and by time. A grid time in `span` with neither a candle nor a reason is missing.
    """
    first_day, last_day = span.start // DAY, -(-span.end // DAY)
    edges = np.clip(np.arange(first_day, last_day + 1) * DAY, span.start, max(span.start, span.end))
    opens = _opens(series.interval, edges, span)
    at = np.searchsorted(held, edges)
    settled = np.concatenate(([0], np.cumsum(sources >= Source.REST)))[at]
    gaps = find_gaps(series, held, absences, span)
    absent = {
        reason: _counted([(gap.span, gap.candles) for gap in gaps if gap.reason is reason], series.interval, edges)
        for reason in Reason
    }
    halted = _counted([(halt, series.interval.count(halt)) for halt in halts], series.interval, edges)
    counts = Coverage(series, span, first_day, np.diff(opens), np.diff(at), np.diff(settled), halted, absent, ())
    return counts._replace(states=_states(counts))


def usual_span(series: Series, held: OpenTimes, absences: Sequence[Absence]) -> Span:
    """From the first candle to the last, and on over known absences around them; empty where nothing is known.

    Times in which the symbol was not listed do not count.
    """
    listed = [one.span for one in absences if one.reason not in (Reason.NOT_LISTED, Reason.DELISTED)]
    if len(held):
        listed.append(Span(int(held[0]), series.interval.next(int(held[-1]))))
    if not listed:
        return Span(0, 0)
    return Span(min(one.start for one in listed), max(one.end for one in listed))


def with_listing(absences: Sequence[Absence], listing: Listing, series: Series, span: Span) -> list[Absence]:
    """The absences, and times of `span` without a reason that lie before the symbol's first or after its last trade."""
    taken = [one.span for one in absences]
    found = list(absences)
    if listing.first:
        before = Span(span.start, min(span.end, series.interval.floor(listing.first)))
        found += [Absence(one, Reason.NOT_LISTED, "") for one in without([before], taken) if one.start < one.end]
    if listing.last:
        after = Span(max(span.start, series.interval.next(series.interval.floor(listing.last))), span.end)
        found += [Absence(one, Reason.DELISTED, "") for one in without([after], taken) if one.start < one.end]
    return sorted(found, key=lambda one: one.span)


def _opens(interval: Interval, times: Ints, span: Span) -> Ints:
    """How many candles open before each of `times`, counted from anywhere."""
    if interval.is_fixed:
        return -(-(times - interval.floor(0)) // interval.nominal)
    return np.searchsorted(np.array(interval.grid(span), np.int64), times)


def _counted(spans: Sequence[tuple[Span, int]], interval: Interval, edges: Ints) -> Ints:
    """How many of the candles of disjoint spans, given with the number in each, open between each two edges."""
    if not spans:
        return np.zeros(max(0, len(edges) - 1), np.int64)
    starts = np.array([span.start for span, _ in spans], np.int64)
    ends = np.array([span.end for span, _ in spans], np.int64)
    before = np.concatenate(([0], np.cumsum([candles for _, candles in spans])))
    at = np.searchsorted(starts, edges, side="right") - 1
    around = Span(int(starts[0]), int(ends[-1]))
    inside = _opens(interval, np.minimum(edges, ends[at]), around) - _opens(interval, starts[at], around)
    return np.diff(np.where(at < 0, 0, before[at] + inside))


def _states(counts: Coverage) -> tuple[State, ...]:
    expected, present, absent = counts.expected, counts.present, counts.absent
    none = present == 0
    rules = [
        (State.NOTHING, (expected == 0) & none),
        (State.MISSING, none & (counts.missing > 0)),
        (State.PARTIAL, counts.missing > 0),
        (State.NOT_LISTED, none & (absent[Reason.NOT_LISTED] > 0)),
        (State.DELISTED, none & (absent[Reason.DELISTED] > 0)),
        (State.PENDING, absent[Reason.PENDING] > 0),
        (State.OUTAGE, absent[Reason.EXCHANGE_OUTAGE] > 0),
        (State.LIVE, counts.certified < present),
        (State.HALT, counts.halted > 0),
    ]
    order = list(State)
    chosen = np.select([mask for _, mask in rules], [order.index(state) for state, _ in rules], len(order) - 1)
    if counts.series.interval.nominal > DAY:  # a candle of several days stands for each of them
        days = np.arange(len(chosen))
        last = np.maximum.accumulate(np.where(chosen == 0, -1, days))
        chosen = np.where(last < 0, 0, chosen[last])
    return tuple(order[one] for one in chosen.tolist())
