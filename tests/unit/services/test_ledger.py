"""What each series expects next: closes in order, closes that were skipped, closes that are late."""

from itertools import pairwise

import pytest

from candlewick.market import DAY, HOUR, MINUTE, SECOND, Interval, Market, Series, Span, parse_time
from candlewick.services.ledger import ASK_FIRST_S, ASK_MOST_S, FUTURE_S, Expectation, Ledger, grace_s

START = parse_time("2026-11-01T00:00:00")


def expected(code: str = "1m", *, threshold_s: float = 70.0, frontier: int = START) -> Expectation:
    series = Series(Market.SPOT, "BTCUSDT", Interval(code))
    return Ledger().expect(series, frontier, frontier, threshold_s)


def late_at(one: Expectation, start: int, step: int = SECOND // 4) -> int:
    """When a close is first overdue, asked four times a second."""
    now = start
    while one.overdue(now) is None:
        now += step
    return now


@pytest.mark.parametrize("code", ["1s", "1m", "1h", "1w", "1M"])
def test_expectation_follows_closes_in_order(code: str) -> None:
    """Each close, told when its candle is over, moves what is expected by one candle and skips nothing."""
    one = expected(code, frontier=Interval(code).floor(START))
    for _ in range(50):
        opens, ends = one.frontier, one.series.interval.next(one.frontier)
        assert one.closed(opens, ends + SECOND // 10) is None
        assert (one.frontier, one.last_close, one.stale) == (ends, ends, False)


@pytest.mark.parametrize("code", ["1s", "1m", "1M"])
def test_expectation_names_closes_that_were_skipped(code: str) -> None:
    """A close that comes before its time names every candle before it, once."""
    one = expected(code, frontier=Interval(code).floor(START))
    interval, first = one.series.interval, one.frontier
    second = interval.next(first)
    third = interval.next(second)
    now = interval.next(third)
    assert one.closed(third, now) == Span(first, third)
    assert one.frontier == now
    assert one.closed(second, now) is None
    assert one.closed(third, now) is None
    assert one.frontier == now


def test_expectation_takes_a_close_that_is_a_moment_early() -> None:
    """The exchange's word that a candle is over counts, though our clock be some seconds behind."""
    one = expected()
    assert one.closed(START, START + MINUTE - 2 * SECOND) is None
    assert one.frontier == START + MINUTE


@pytest.mark.parametrize("code", ["1s", "1m", "1h", "1M"])
@pytest.mark.parametrize(
    "damaged",
    [
        START + 100 * 366 * DAY,
        START * 1000,
        2**62 * 1000,
        -(2**62),
        0,
        START - 1000 * DAY,
        START + 1000,
        START + MINUTE + 1,
    ],
)
def test_expectation_is_not_moved_by_a_damaged_time(code: str, damaged: int) -> None:
    """A time far ahead, long past or off the grid is no close: nothing is skipped and nothing moves."""
    one = expected(code, frontier=Interval(code).floor(START))
    before = one.frontier
    now = one.series.interval.next(before) + 5 * MINUTE
    assert one.closed(damaged, now) is None
    assert (one.frontier, one.last_close, one.stale) == (before, 0, False)


def test_expectation_is_not_moved_by_a_candle_that_is_not_over() -> None:
    """A close of the candle that is still going on is no close."""
    one = expected()
    now = START + MINUTE - FUTURE_S * SECOND - 1
    assert one.closed(START, now) is None
    assert one.frontier == START
    assert one.closed(START + MINUTE, START + MINUTE + SECOND) is None
    assert one.frontier == START


@pytest.mark.parametrize(
    ("code", "threshold_s", "expected_s"),
    [
        ("1s", 70, 69),
        ("1m", 70, 10),
        ("1h", 70, 10),
        ("1M", 70, 10),
        ("1s", 5, 5),
        ("1m", 5, 5),
        ("1h", 5, 5),
        ("1M", 5, 5),
        ("1m", 200, 140),
        ("1h", 7200, 3600),
    ],
)
def test_close_is_overdue_at_the_right_second(code: str, threshold_s: float, expected_s: float) -> None:
    """The threshold counts from the last close, but a close is never given less than 10 s, nor more than it says."""
    one = expected(code, threshold_s=threshold_s)
    assert grace_s(one.series, threshold_s) == expected_s
    ends = one.series.interval.next(START)
    late = late_at(one, ends - 10 * SECOND)
    assert late == ends + int(expected_s * SECOND)
    assert one.stale


def test_overdue_close_names_every_candle_that_is_over() -> None:
    """What is asked for reaches from the close that did not come to the last candle that is over."""
    one = expected()
    assert one.overdue(START + MINUTE + 10 * SECOND) == Span(START, START + MINUTE)
    one.hurry()
    assert one.overdue(START + 10 * MINUTE + 59 * SECOND) == Span(START, START + 10 * MINUTE)


def test_overdue_month_is_asked_for_when_it_is_over() -> None:
    """November has 30 days: its candle is asked for on the first of December."""
    one = expected("1M")
    late = late_at(one, parse_time("2026-11-30T23:59:50"))
    assert late == parse_time("2026-12-01T00:00:10")
    one.hurry()
    assert one.overdue(late) == Span(START, parse_time("2026-12-01"))


def test_overdue_close_is_asked_for_ever_less_often() -> None:
    """Pauses between askings double up to two minutes, and the series stays stale between them."""
    one = expected()
    asked = []
    for now in range(START + MINUTE, START + HOUR, SECOND):
        if one.overdue(now) is not None:
            asked.append((now - START - MINUTE) // SECOND)
        assert one.stale == (now >= START + MINUTE + 10 * SECOND)
    pauses = [later - sooner for sooner, later in pairwise(asked)]
    assert asked[0] == 10
    assert pauses[:5] == [ASK_FIRST_S, 20, 40, 80, ASK_MOST_S]
    assert set(pauses[4:]) == {ASK_MOST_S}


def test_overdue_close_is_asked_for_at_once_when_the_way_is_open_again() -> None:
    """`hurry` ends the pause and begins the askings anew."""
    one = expected()
    for now in range(START + MINUTE, START + 10 * MINUTE, SECOND):
        one.overdue(now)
    now = START + 10 * MINUTE
    assert one.overdue(now) is None
    one.hurry()
    assert one.overdue(now) == Span(START, now)
    assert one.overdue(now + 9 * SECOND) is None
    assert one.overdue(now + 10 * SECOND) is not None


@pytest.mark.parametrize("way", ["close", "repair"])
def test_series_is_no_longer_stale_when_its_close_came(way: str) -> None:
    """A late close ends what was overdue, from the stream or from REST; the next one is given its time again."""
    one = expected()
    now = START + MINUTE + 30 * SECOND
    assert one.overdue(now) is not None
    if way == "close":
        assert one.closed(START, now) is None
    else:
        one.mended(START, START + MINUTE, whole=False)
    assert (one.stale, one.frontier, one.last_close) == (False, START + MINUTE, START + MINUTE)
    assert one.overdue(now) is None
    assert late_at(one, now) == START + 2 * MINUTE + 10 * SECOND


@pytest.mark.parametrize(
    ("start", "until", "frontier"),
    [(0, 5, 5), (3, 5, 5), (4, 5, 3), (0, 3, 3), (0, 2, 3), (5, 9, 3)],
)
def test_repair_moves_the_frontier_only_where_it_reaches(start: int, until: int, frontier: int) -> None:
    """What REST answered moves what is expected if it covers it, and never back."""
    one = expected(frontier=START + 3 * MINUTE)
    one.mended(START + start * MINUTE, START + until * MINUTE, whole=False)
    assert one.frontier == START + frontier * MINUTE
    assert one.confirmed == START + 3 * MINUTE


def test_repair_up_to_the_frontier_is_the_last_close() -> None:
    """History that was filled up to now ends with the newest candle, though no close has come yet; what is late stays so."""
    one = expected(frontier=START)
    one.mended(START - 9 * MINUTE, START - MINUTE, whole=True)
    assert one.last_close == 0
    assert one.overdue(START + 2 * MINUTE) is not None
    one.mended(START - 9 * MINUTE, START, whole=True)
    assert (one.last_close, one.frontier, one.stale) == (START, START, True)


@pytest.mark.parametrize(
    ("start", "until", "whole", "confirmed"),
    [(0, 5, True, 5), (2, 5, True, 5), (0, 5, False, 2), (3, 5, True, 2), (0, 2, True, 2)],
)
def test_repair_confirms_only_what_was_asked_for_whole(start: int, until: int, whole: bool, confirmed: int) -> None:
    """REST vouches for what it was asked for altogether, without a piece left out before it."""
    one = Expectation(Series(Market.SPOT, "BTCUSDT", Interval("1m")), START + 9 * MINUTE, START + 2 * MINUTE, 0)
    one.mended(START + start * MINUTE, START + until * MINUTE, whole=whole)
    assert one.confirmed == START + confirmed * MINUTE
    assert one.frontier == START + 9 * MINUTE


def test_ledger_lists_what_is_late() -> None:
    """Of all series those are named whose close is late, each with its own grid."""
    ledger = Ledger()
    for symbol, code in (("BTCUSDT", "1m"), ("ETHUSDT", "1m"), ("BTCUSDT", "5m")):
        ledger.expect(Series(Market.SPOT, symbol, Interval(code)), START, START, 70.0)
    minute, other, _ = ledger.series
    now = START + MINUTE + 10 * SECOND
    assert list(ledger.overdue(now - SECOND)) == []
    ledger.series[other].closed(START, now - SECOND)
    assert list(ledger.overdue(now)) == [(minute, Span(START, START + MINUTE))]
