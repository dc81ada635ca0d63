"""Holes that grow, are filled in parts, or end as absences."""

from random import Random

from candlewick.market import MINUTE, Interval, Market, Series, Span
from candlewick.services.holes import Holes

SERIES = Series(Market.SPOT, "BTCUSDT", Interval("1m"))


def _span(start: int, end: int) -> Span:
    return Span(start * MINUTE, end * MINUTE)


def test_hole_is_told_once_and_closed_once() -> None:
    """Found again, it is no news; with all its candles there it is closed."""
    holes = Holes()
    assert holes.find(SERIES, [_span(3, 5)]) == [_span(3, 5)]
    assert holes.find(SERIES, [_span(3, 5), _span(4, 5)]) == []
    assert (holes.missing(SERIES), holes.found, holes.closed) == (2, 1, 0)
    (closed,) = holes.settle(SERIES, _span(0, 10), [], [])
    assert (closed.span, closed.candles, closed.recovered, closed.reason) == (_span(3, 5), 2, 2, "recovered")
    assert (holes.missing(SERIES), holes.closed) == (0, 1)
    assert holes.settle(SERIES, _span(0, 10), [], []) == []


def test_hole_that_grows_is_one_hole() -> None:
    """An outage that goes on is told with its whole length each time, counted once and closed once."""
    holes = Holes()
    for end in range(4, 9):
        assert holes.find(SERIES, [_span(3, end)]) == [_span(3, end)]
        assert holes.settle(SERIES, _span(3, end), [], [_span(3, end)]) == []
        assert holes.missing(SERIES) == end - 3
    assert holes.found == 1
    (closed,) = holes.settle(SERIES, _span(3, 9), [_span(3, 8)], [])
    assert (closed.candles, closed.recovered, closed.reason) == (5, 0, "the exchange has none")


def test_hole_filled_in_parts_closes_with_the_last() -> None:
    """What is left of it counts as missing until then; what was not asked for stays as it was."""
    holes = Holes()
    holes.find(SERIES, [_span(10, 20)])
    assert holes.settle(SERIES, _span(0, 15), [], [_span(12, 13)]) == []
    assert holes.missing(SERIES) == 6
    assert holes.settle(SERIES, _span(12, 18), [_span(12, 13)], []) == []
    assert holes.missing(SERIES) == 2
    (closed,) = holes.settle(SERIES, _span(18, 20), [], [])
    assert (closed.span, closed.candles, closed.recovered) == (_span(10, 20), 10, 9)


def test_holes_of_other_series_are_left_alone() -> None:
    """What is known of one series says nothing of another."""
    other = SERIES._replace(symbol="ETHUSDT")
    holes = Holes()
    holes.find(SERIES, [_span(1, 2)])
    holes.find(other, [_span(1, 2)])
    assert len(holes.settle(SERIES, _span(0, 9), [], [])) == 1
    assert (holes.missing(SERIES), holes.missing(other)) == (0, 1)


def test_holes_agree_with_a_plain_set_of_minutes() -> None:
    """Whatever is found, filled and given up in whatever order, the missing minutes are those nobody accounted for."""
    draw = Random(5)
    for _ in range(200):
        holes, missing = Holes(), set[int]()
        for _ in range(20):
            start = draw.randrange(30)
            end = draw.randrange(start + 1, 32)
            if draw.random() < 0.5:
                holes.find(SERIES, [_span(start, end)])
                missing |= set(range(start, end))
                continue
            still = {minute for minute in range(start, end) if minute in missing and draw.random() < 0.5}
            holes.settle(SERIES, _span(start, end), [], [_span(minute, minute + 1) for minute in sorted(still)])
            missing = {minute for minute in missing if not start <= minute < end} | still
        assert holes.missing(SERIES) == len(missing)
        holes.settle(SERIES, _span(0, 40), [], [])
        assert holes.missing(SERIES) == 0
