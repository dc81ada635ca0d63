"""What should be there and is not, and why."""

import random
from itertools import pairwise

import numpy as np
import pytest

from candlewick.integrity.gaps import Gap, OpenTimes, find_gaps, missing_spans
from candlewick.market import DAY, MINUTE, Interval, Market, Series, Span, parse_time
from candlewick.stores.store import Absence, Reason

MINUTES = Series(Market.SPOT, "BTCUSDT", Interval("1m"))
MONTHS = Series(Market.SPOT, "BTCUSDT", Interval("1M"))
START = parse_time("2023-03-24T12:00")


def held(*minutes: int) -> OpenTimes:
    return np.array([START + minute * MINUTE for minute in minutes], dtype=np.int64)


def span(first: int, end: int) -> Span:
    return Span(START + first * MINUTE, START + end * MINUTE)


def absent(first: int, end: int, reason: Reason = Reason.EXCHANGE_OUTAGE) -> Absence:
    return Absence(span(first, end), reason, "{}")


def test_whole_series_has_no_gap() -> None:
    """Neither has an empty one, nor one of a single candle."""
    for minutes in ((), (5,), range(100)):
        assert find_gaps(MINUTES, held(*minutes), []) == []


def test_missing_candles_are_gaps_of_their_own_length() -> None:
    """One minute is a gap as much as an hour is."""
    assert find_gaps(MINUTES, held(0, 1, 3, 4, 64), []) == [
        Gap(MINUTES, span(2, 3), 1, Reason.MISSING),
        Gap(MINUTES, span(5, 64), 59, Reason.MISSING),
    ]


def test_recorded_absence_gives_its_reason() -> None:
    """Where the reason is known it is told; what lies around it is missing."""
    gaps = find_gaps(MINUTES, held(0, 10), [absent(3, 5), absent(5, 6, Reason.PENDING)])
    assert [(gap.span, gap.candles, gap.reason) for gap in gaps] == [
        (span(1, 3), 2, Reason.MISSING),
        (span(3, 5), 2, Reason.EXCHANGE_OUTAGE),
        (span(5, 6), 1, Reason.PENDING),
        (span(6, 10), 4, Reason.MISSING),
    ]


def test_adjacent_absences_of_one_reason_are_one_gap() -> None:
    """Evidence may have come in pieces."""
    gaps = find_gaps(MINUTES, held(0, 5), [absent(1, 3), absent(3, 5)])
    assert gaps == [Gap(MINUTES, span(1, 5), 4, Reason.EXCHANGE_OUTAGE)]


def test_absence_that_covers_a_candle_gives_way_to_it() -> None:
    """A candle that is held is held, whatever was recorded; the outage is then told in two."""
    gaps = find_gaps(MINUTES, held(0, 4, 8), [absent(-10, 20)])
    assert [(gap.span, gap.reason) for gap in gaps] == [
        (span(1, 4), Reason.EXCHANGE_OUTAGE),
        (span(5, 8), Reason.EXCHANGE_OUTAGE),
    ]


def test_absence_that_names_no_grid_time_explains_nothing() -> None:
    """Half a minute between two open times is not a candle."""
    between = Absence(Span(START + MINUTE + 1, START + 2 * MINUTE), Reason.EXCHANGE_OUTAGE, "{}")
    assert find_gaps(MINUTES, held(0, 3), [between]) == [Gap(MINUTES, span(1, 3), 2, Reason.MISSING)]


def test_months_are_missing_by_the_calendar() -> None:
    """February is one candle as much as March is."""
    times = [parse_time(f"2024-{month:02d}-01") for month in (1, 4, 5, 7)]
    gaps = find_gaps(MONTHS, np.array(times, dtype=np.int64), [])
    assert gaps == [
        Gap(MONTHS, Span(parse_time("2024-02-01"), times[1]), 2, Reason.MISSING),
        Gap(MONTHS, Span(parse_time("2024-06-01"), times[3]), 1, Reason.MISSING),
    ]


def test_weeks_are_missing_from_monday_to_monday() -> None:
    """The grid of weeks does not start at the epoch."""
    series = Series(Market.SPOT, "BTCUSDT", Interval("1w"))
    monday = parse_time("2024-01-01")
    gaps = find_gaps(series, np.array([monday, monday + 21 * DAY], dtype=np.int64), [])
    assert gaps == [Gap(series, Span(monday + 7 * DAY, monday + 21 * DAY), 2, Reason.MISSING)]


def test_missing_spans_look_beyond_what_is_held() -> None:
    """Repair asks for what a span lacks at both ends too, and only in that span."""
    assert missing_spans(held(3, 4, 6, 90), MINUTES.interval, span(0, 10), []) == [span(0, 3), span(5, 6), span(7, 10)]
    assert missing_spans(held(), MINUTES.interval, span(0, 10), [absent(2, 4)]) == [span(0, 2), span(4, 10)]
    assert missing_spans(held(), MINUTES.interval, span(5, 5), []) == []


def test_missing_spans_stay_on_the_grid() -> None:
    """A span that begins and ends between open times lacks only the open times within."""
    crooked = Span(START + 1, START + 2 * MINUTE + 1)
    assert missing_spans(held(), MINUTES.interval, crooked, []) == [span(1, 3)]
    assert missing_spans(held(1), MINUTES.interval, crooked, []) == [span(2, 3)]


@pytest.mark.parametrize("code", ["1m", "3d", "1M"])
def test_gaps_agree_with_going_through_every_grid_time(code: str) -> None:
    """On random holdings and absences both functions say what a loop over the grid says."""
    draw = random.Random(code)
    series = MINUTES._replace(interval=Interval(code))
    grid = series.interval.grid(Span(parse_time("2020-01-01"), parse_time("2020-01-01") + 60 * series.interval.nominal))
    for _ in range(100):
        times = [time for time in grid if draw.random() < 0.6]
        cuts = sorted(draw.sample(grid, 6))
        absences = [
            Absence(Span(*cuts[index : index + 2]), draw.choice((Reason.PENDING, Reason.EXCHANGE_OUTAGE)), "{}")
            for index in (0, 2, 4)
        ]

        def reason(time: int, absences: list[Absence] = absences) -> Reason:
            found = (one.reason for one in absences if one.span.start <= time < one.span.end)
            return next(found, Reason.MISSING)

        array = np.array(times, dtype=np.int64)
        told = {
            time: gap.reason for gap in find_gaps(series, array, absences) for time in series.interval.grid(gap.span)
        }
        between = [time for time in grid if times[0] < time < times[-1] and time not in times]
        assert told == {time: reason(time) for time in between}
        gaps = find_gaps(series, array, absences)
        assert [gap.candles for gap in gaps] == [len(series.interval.grid(gap.span)) for gap in gaps]
        assert not any(a.span.end == b.span.start and a.reason is b.reason for a, b in pairwise(gaps))
        asked = Span(draw.choice(grid), draw.choice(grid))
        lacking = missing_spans(array, series.interval, asked, absences)
        wanted = [time for time in grid if asked.start <= time < asked.end and time not in times]
        assert [time for one in lacking for time in series.interval.grid(one)] == [
            time for time in wanted if reason(time) is Reason.MISSING
        ]


def test_gaps_within_a_span_reach_to_its_ends() -> None:
    """What lies before the first and after the last candle is told too, and nothing from outside the span."""
    gaps = find_gaps(MINUTES, held(0, 4, 5, 30), [absent(7, 9)], span(2, 10))
    assert [(gap.span, gap.reason) for gap in gaps] == [
        (span(2, 4), Reason.MISSING),
        (span(6, 7), Reason.MISSING),
        (span(7, 9), Reason.EXCHANGE_OUTAGE),
        (span(9, 10), Reason.MISSING),
    ]
    assert find_gaps(MINUTES, held(), [], span(0, 2)) == [Gap(MINUTES, span(0, 2), 2, Reason.MISSING)]
    assert find_gaps(MONTHS, held(), [], Span(START, START)) == []
