"""Planning: months, days and REST for the fewest bytes and requests."""

from collections.abc import Sequence

import pytest

from candlewick.exchanges.exchange import ArchiveKind, ListedFile, load
from candlewick.history.archive_plan import Archived, Shelf, Step, Way, cost, next_steps, plan, rest_steps
from candlewick.integrity.spans import join
from candlewick.market import DAY, Interval, Market, Series, Span, parse_time

VENUE = load("binance").venues[Market.SPOT]
SERIES = Series(Market.SPOT, "BTCUSDT", Interval("1m"))
NOW = parse_time("2024-06-12T09:00")
UNKNOWN = Shelf({}, is_known=False)


def span(start: str, end: str) -> Span:
    return Span(parse_time(start), parse_time(end))


def files(series: Series, months: Sequence[str], days: Sequence[str]) -> Shelf:
    """A listing with these files, months of 2 MB and days of 70 kB."""
    archive, listed = VENUE.archive, {}
    found = [
        archive.month(ArchiveKind.KLINES, series.symbol, series.interval, parse_time(f"{one}-01")) for one in months
    ]
    found += [
        day for one in days if (day := archive.day(ArchiveKind.KLINES, series.symbol, series.interval, parse_time(one)))
    ]
    for file in found:
        listed[file.name] = ListedFile(file.name, 2_000_000 if file.is_monthly else 70_000, NOW, "")
    spans = [file.span for file in found]
    return Shelf(listed, True, min(one.start for one in spans), max(one.end for one in spans))


def days_of(month: str, count: int) -> list[str]:
    return [f"{month}-{day:02d}" for day in range(1, count + 1)]


FULL = files(
    SERIES, ["2024-03", "2024-04", "2024-05"],
    [*days_of("2024-03", 31), *days_of("2024-04", 30), *days_of("2024-05", 31), *days_of("2024-06", 11)],
)  # fmt: skip


def ways(steps: Sequence[Step]) -> list[tuple[Way, str]]:
    return [(step.way, step.file.name.rpartition("1m-")[2] if step.file else "") for step in steps]


def planned(needed: Sequence[Span], shelf: Shelf = FULL, series: Series = SERIES, now: int = NOW) -> list[Step]:
    return plan(Archived(VENUE.archive, series, shelf, now), needed, VENUE.page_sizes)


def test_whole_months_are_taken_whole_and_the_rest_by_days_and_rest() -> None:
    """Months that are over by their files, the days of this month by theirs, today by REST."""
    steps = planned([span("2024-04-01", "2024-06-12T08:00")])
    assert ways(steps) == [
        (Way.MONTHLY, "2024-04.zip"), (Way.MONTHLY, "2024-05.zip"),
        *((Way.DAILY, f"{day}.zip") for day in days_of("2024-06", 11)), (Way.REST, ""),
    ]  # fmt: skip
    assert steps[-1].needed == (span("2024-06-12", "2024-06-12T08:00"),)


def test_few_days_of_a_month_are_taken_by_days() -> None:
    """Five days cost less than their month, twenty cost more."""
    assert [way for way, _ in ways(planned([span("2024-04-03", "2024-04-08")]))] == [Way.DAILY] * 5
    assert [way for way, _ in ways(planned([span("2024-04-03", "2024-04-23")]))] == [Way.MONTHLY]


def test_plan_is_never_dearer_than_days_or_months_alone() -> None:
    """Whatever part of a month is needed, no other choice has fewer bytes and requests."""
    archived = Archived(VENUE.archive, SERIES, FULL, NOW)
    month = archived.file_step(archived.month(parse_time("2024-04-01")), ())
    for last in range(2, 31):
        needed = span("2024-04-01", f"2024-04-{last:02d}")
        by_days = (last - 1) * (70_000 + 2 * 100_000)
        assert sum(map(cost, planned([needed]))) == min(by_days, cost(month))


def test_month_without_a_file_is_taken_by_days() -> None:
    """A month that the listing does not show although its days are there is not probed in vain."""
    shelf = files(SERIES, ["2024-03"], [*days_of("2024-03", 31), *days_of("2024-04", 30)])
    assert [way for way, _ in ways(planned([span("2024-04-01", "2024-05-01")], shelf))] == [Way.DAILY] * 30


def test_month_is_taken_where_a_day_is_not_listed() -> None:
    """A listed month is surer than a day that may be missing."""
    shelf = files(SERIES, ["2024-04"], days_of("2024-04", 2))
    assert ways(planned([span("2024-04-02", "2024-04-04")], shelf)) == [(Way.MONTHLY, "2024-04.zip")]


def test_without_the_listing_the_threshold_decides() -> None:
    """A month's file is expected so many months after it began; until then its days are."""
    needed = [span("2024-04-01", "2024-06-01")]
    steps = planned(needed, UNKNOWN)
    assert steps[0].way is Way.MONTHLY
    assert not steps[0].is_listed
    assert {step.way for step in steps[1:]} == {Way.DAILY}
    early = plan(Archived(VENUE.archive, SERIES, UNKNOWN, NOW, threshold_months=1), needed, VENUE.page_sizes)
    assert [step.way for step in early] == [Way.MONTHLY, Way.MONTHLY]


def test_yesterday_is_for_rest_until_it_is_listed() -> None:
    """Its file appears in the course of the day; where the listing shows it, it is taken."""
    needed = [span("2024-06-11", "2024-06-12T01:00")]
    assert ways(planned(needed)) == [(Way.DAILY, "2024-06-11.zip"), (Way.REST, "")]
    assert ways(planned(needed, UNKNOWN)) == [(Way.REST, "")]


def test_intervals_above_a_day_have_months_alone() -> None:
    """A week is in the file of the month in which it opens; months are spelled 1mo in the archive."""
    for code, name in (("1w", "1w-2024-04.zip"), ("1M", "1mo-2024-04.zip"), ("3d", "3d-2024-04.zip")):
        series = Series(Market.SPOT, "BTCUSDT", Interval(code))
        shelf = files(series, ["2024-03", "2024-04", "2024-05"], [])
        steps = planned([span("2024-04-01", "2024-05-01")], shelf, series)
        assert [step.file.name.rpartition("BTCUSDT-")[2] for step in steps if step.file] == [name]
        assert len(steps) == 1


def test_what_a_file_lacks_is_asked_of_the_other_and_then_of_rest() -> None:
    """Month and day take each other's place, REST comes last, and then nobody is left."""
    hole = span("2024-04-10T05:00", "2024-04-10T06:00")
    archived = Archived(VENUE.archive, SERIES, FULL, NOW)
    month, day = archived.month(hole.start), archived.day(hole.start)
    assert day is not None

    def after(asked: set[str], rest: list[Span]) -> list[tuple[Way, str]]:
        return ways(next_steps(archived, [hole], VENUE.page_sizes, asked=asked, rest_asked=rest))

    assert after({month.name}, []) == [(Way.DAILY, "2024-04-10.zip")]
    assert after({day.name}, []) == [(Way.MONTHLY, "2024-04.zip")]
    assert after({day.name, month.name}, []) == [(Way.REST, "")]
    assert after({day.name, month.name}, [hole]) == []


def test_yesterday_that_rest_lacks_is_looked_for_in_the_archive() -> None:
    """After REST its file is asked for, and then nobody is left."""
    archived = Archived(VENUE.archive, SERIES, UNKNOWN, NOW)
    hole = span("2024-06-11T05:00", "2024-06-11T06:00")
    steps = next_steps(archived, [hole], VENUE.page_sizes, asked=(), rest_asked=[hole])
    assert ways(steps) == [(Way.DAILY, "2024-06-11.zip")]
    name = steps[0].file.name if steps[0].file else ""
    assert next_steps(archived, [hole], VENUE.page_sizes, asked={name}, rest_asked=[hole]) == []


def test_nothing_is_looked_for_before_the_first_file_or_in_an_empty_archive() -> None:
    """What the listing does not go back to is for REST."""
    assert {way for way, _ in ways(planned([span("2023-01-01", "2023-02-01")]))} == {Way.REST}
    empty = Shelf({}, is_known=True)
    assert {way for way, _ in ways(planned([span("2024-03-01", "2024-04-01")], empty))} == {Way.REST}


def test_rest_asks_near_holes_together_and_long_ones_in_pieces() -> None:
    """One page covers holes that lie close; a long span is cut, and each piece costs what its pages cost."""
    near = [span("2024-06-12T01:00", "2024-06-12T01:01"), span("2024-06-12T03:00", "2024-06-12T03:05")]
    (step,) = rest_steps(SERIES, near, VENUE.page_sizes)
    assert (step.needed, step.requests, step.weight) == (tuple(near), 1, 2)
    long = rest_steps(SERIES, [span("2024-05-01", "2024-06-01")], VENUE.page_sizes)
    assert join(one for step in long for one in step.needed) == [span("2024-05-01", "2024-06-01")]
    assert [step.requests for step in long] == [10, 10, 10, 10, 5]


@pytest.mark.parametrize("shelf", [FULL, UNKNOWN])
def test_steps_cover_what_is_needed_and_nothing_twice(shelf: Shelf) -> None:
    """Scattered needs come out as they went in, each under one step."""
    needed = [Span(time, time + 7 * DAY // 10) for time in range(parse_time("2024-02-20"), NOW - DAY, 3 * DAY)]
    steps = planned(needed, shelf)
    parts = [one for step in steps for one in step.needed]
    assert join(parts) == needed
    assert sum(one.end - one.start for one in parts) == sum(one.end - one.start for one in needed)
