"""What no source had: which reason, and from where to where."""

from itertools import pairwise

import pytest

from candlewick.history.archive_plan import Way
from candlewick.market import DAY, Interval, Span, parse_time
from candlewick.services.loading.holes import LATER, NOT_PUBLISHED, Asked, Sorted, Trading, sort_holes
from candlewick.stores.store import Reason

NOW = parse_time("2026-03-05T15:16:47")
EVER = Span(-(1 << 62), 1 << 62)
HOLE = Span(parse_time("2026-02-24T03:00"), parse_time("2026-03-05T15:00"))
LATE_FROM = parse_time("2026-02-25")
"""Its file is late until eight days after its day, which is today."""
NO_FILES = Asked(EVER, Way.MONTHLY, "listing", NOW, NOT_PUBLISHED)
REST_SHOWS = Asked(HOLE, Way.REST, "klines", NOW, LATER)


def _sorted(holes: list[Span], *, can_ask: bool) -> Sorted:
    asked, unasked = ([NO_FILES, REST_SHOWS], []) if can_ask else ([NO_FILES], [EVER])
    return sort_holes(Interval("1h"), holes, asked, unasked, Trading(), NOW)


def test_hole_is_pending_only_where_its_file_is_late_and_else_missing_if_rest_cannot_be_asked() -> None:
    """A hole that reaches to today does not make its beginning, whose file should be long there, wait for a file."""
    found = _sorted([HOLE], can_ask=False)
    assert [(one.span, one.reason) for one in found.absences] == [(Span(LATE_FROM, HOLE.end), Reason.PENDING)]
    assert found.missing == [Span(HOLE.start, LATE_FROM)]


def test_hole_is_pending_only_where_its_file_is_late_and_else_an_outage_if_rest_shows_it() -> None:
    """Where both were asked and no file is to be expected any more, it is an outage."""
    found = _sorted([HOLE], can_ask=True)
    assert [(one.span, one.reason) for one in found.absences] == [
        (Span(HOLE.start, LATE_FROM), Reason.EXCHANGE_OUTAGE), (Span(LATE_FROM, HOLE.end), Reason.PENDING),
    ]  # fmt: skip
    assert found.missing == []


@pytest.mark.parametrize("can_ask", [True, False])
def test_reason_of_a_time_does_not_depend_on_the_hole_around_it(can_ask: bool) -> None:
    """Each hour by itself gets the reason that it gets as part of the whole hole."""
    hours = [Span(*pair) for pair in pairwise([*Interval("1h").grid(HOLE), HOLE.end])]
    whole, single = _sorted([HOLE], can_ask=can_ask), _sorted(hours, can_ask=can_ask)
    assert single.missing == whole.missing
    reasons = {one.span.start: one.reason for one in single.absences}
    assert reasons == {
        hour.start: one.reason
        for hour in hours
        for one in whole.absences
        if one.span.start <= hour.start < one.span.end
    }


def test_candles_of_monthly_files_are_late_for_45_days() -> None:
    """A week that ended more than 45 days ago is an outage, the next one is pending."""
    week = Interval("1w")
    late_from = week.floor(NOW - 45 * DAY)
    hole = Span(late_from - 7 * DAY, late_from + 14 * DAY)
    asked = [NO_FILES, Asked(hole, Way.REST, "klines", NOW, LATER)]
    found = sort_holes(week, [hole], asked, [], Trading(), NOW)
    assert [(one.span, one.reason) for one in found.absences] == [
        (Span(hole.start, late_from), Reason.EXCHANGE_OUTAGE), (Span(late_from, hole.end), Reason.PENDING),
    ]  # fmt: skip
