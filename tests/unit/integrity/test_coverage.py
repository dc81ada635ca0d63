"""Coverage day by day, held against counting candle by candle."""

import random

import numpy as np
import pytest

from candlewick.integrity.coverage import Coverage, State, cover, usual_span, with_listing
from candlewick.integrity.gaps import OpenTimes
from candlewick.market import DAY, HOUR, MINUTE, Interval, Market, Series, Span, parse_time
from candlewick.stores.provenance import Listing
from candlewick.stores.store import Absence, Reason, Source

HOURS = Series(Market.SPOT, "BTCUSDT", Interval("1h"))
START = parse_time("2023-03-20")


def day(number: int, hour: int = 0) -> int:
    return START + number * DAY + hour * HOUR


def hours(*spans: tuple[int, int]) -> OpenTimes:
    return np.array([START + hour * HOUR for first, end in spans for hour in range(first, end)], np.int64)


def settled(held: OpenTimes) -> np.ndarray:
    return np.full(len(held), Source.ARCHIVE, np.uint8)


def absent(start: int, end: int, reason: Reason) -> Absence:
    return Absence(Span(start, end), reason, "{}")


def test_each_day_has_its_state() -> None:
    """One day of every kind, in one series."""
    held = hours((24, 48), (48, 60), (72, 80), (96, 120), (120, 144), (144, 150), (240, 241))
    sources = settled(held)
    sources[(held >= day(4)) & (held < day(5))] = Source.LIVE
    absences = [
        absent(day(0), day(1), Reason.NOT_LISTED),
        absent(day(2, 12), day(3), Reason.EXCHANGE_OUTAGE),
        absent(day(6, 6), day(7), Reason.PENDING),
        absent(day(7), day(8), Reason.EXCHANGE_OUTAGE),
        absent(day(9), day(10), Reason.DELISTED),
    ]
    found = cover(HOURS, Span(day(0), day(10, 1)), held, sources, absences, [Span(day(5, 3), day(5, 5))])
    assert found.states == (
        State.NOT_LISTED, State.COMPLETE, State.OUTAGE, State.PARTIAL, State.LIVE, State.HALT, State.PENDING,
        State.OUTAGE, State.MISSING, State.DELISTED, State.COMPLETE,
    )  # fmt: skip
    assert found.expected.tolist() == [24] * 10 + [1]
    assert found.present.tolist() == [0, 24, 12, 8, 24, 24, 6, 0, 0, 0, 1]
    assert found.certified.tolist() == [0, 24, 12, 8, 0, 24, 6, 0, 0, 0, 1]
    assert found.halted.tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0]
    assert found.missing.tolist() == [0, 0, 0, 16, 0, 0, 0, 0, 24, 0, 0]
    assert found.possible.tolist() == [0, 24, 24, 24, 24, 24, 24, 24, 24, 0, 1]


def slowly(found: Coverage, held: set[int], absences: list[Absence]) -> dict[str, list[int]]:
    """The same numbers, candle by candle."""
    counted = {name: [0] * len(found.states) for name in ("expected", "present", *Reason)}
    for time in found.series.interval.grid(found.span):
        at = time // DAY - found.first_day
        counted["expected"][at] += 1
        if time in held:
            counted["present"][at] += 1
        else:
            reasons = [one.reason for one in absences if one.span.start <= time < one.span.end]
            counted[reasons[0] if reasons else Reason.MISSING][at] += 1
    return counted


@pytest.mark.parametrize("code", ["15m", "1h", "8h", "1d", "3d", "1w", "1M"])
@pytest.mark.parametrize("seed", range(8))
def test_counts_are_those_of_each_candle(code: str, seed: int) -> None:
    """Random holes, reasons and spans that begin and end within days."""
    rng = random.Random(f"{code}{seed}")
    interval = Interval(code)
    series = HOURS._replace(interval=interval)
    length = max(12 * DAY, 30 * interval.nominal)
    grid = interval.grid(Span(START, START + length))
    held = sorted(rng.sample(grid, len(grid) * 3 // 4))
    edges = sorted(START + rng.randrange(length // MINUTE) * MINUTE for _ in range(12))
    absences = [
        absent(start, end, rng.choice([one for one in Reason if one is not Reason.MISSING]))
        for start, end in zip(edges[::2], edges[1::2], strict=True)
        if start < end
    ]
    start = START - rng.randrange(3 * DAY)
    span = Span(start, start + rng.randrange(1, length + 3 * DAY))
    times = np.array(held, np.int64)
    found = cover(series, span, times, settled(times), absences)
    expected = slowly(found, set(held), absences)
    assert found.expected.tolist() == expected["expected"]
    assert found.present.tolist() == expected["present"]
    assert {reason: counts.tolist() for reason, counts in found.absent.items()} == {
        reason: expected[reason] for reason in Reason
    }
    total = sum(counts for counts in found.absent.values())
    assert (found.expected == found.present + total).all()


def test_candle_of_several_days_stands_for_each_of_them() -> None:
    """A week that is there makes seven complete days; before the first week there is nothing."""
    weeks = HOURS._replace(interval=Interval("1w"))
    held = np.array([day(0)], np.int64)
    found = cover(weeks, Span(day(-1), day(14)), held, settled(held), [])
    assert found.states == (State.NOTHING, *[State.COMPLETE] * 7, *[State.MISSING] * 7)


def test_usual_span_holds_all_that_is_known() -> None:
    """From the first to the end of the last candle, and over what is pending; not over years before the listing."""
    held = hours((0, 10))
    pending = absent(day(0, 10), day(1), Reason.PENDING)
    unlisted = absent(day(-900), day(0), Reason.NOT_LISTED)
    assert usual_span(HOURS, held, []) == Span(day(0), day(0, 10))
    assert usual_span(HOURS, held, [unlisted, pending]) == Span(day(0), day(1))
    assert usual_span(HOURS, held[:0], []) == Span(0, 0)
    assert cover(HOURS, Span(0, 0), held[:0], settled(held[:0]), []).states == ()


def test_listing_gives_reasons_where_there_are_none() -> None:
    """Before the first trade it was not listed, after the last it is delisted; recorded reasons stay."""
    recorded = absent(day(1), day(2), Reason.EXCHANGE_OUTAGE)
    listing = Listing(first=day(3, 2) + 5 * MINUTE, last=day(5, 7) + MINUTE, source="archive")
    assert with_listing([recorded], listing, HOURS, Span(day(0), day(8))) == [
        Absence(Span(day(0), day(1)), Reason.NOT_LISTED, ""),
        recorded,
        Absence(Span(day(2), day(3, 2)), Reason.NOT_LISTED, ""),
        Absence(Span(day(5, 8), day(8)), Reason.DELISTED, ""),
    ]
    assert with_listing([recorded], Listing(), HOURS, Span(day(0), day(8))) == [recorded]
    assert with_listing([], listing, HOURS, Span(day(4), day(5))) == []
