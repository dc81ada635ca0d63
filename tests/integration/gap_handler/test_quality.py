"""One row for every gap, whoever reports it and however often."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from candlewick.market import HOUR, SECOND, Interval, Market, Series, Span
from candlewick.stores.postgres import quality
from candlewick.stores.provenance import GapRecord
from tests.integration.gap_handler.town import BTC, minute, span

Rows = list[tuple[Any, ...]]
FOUND = minute(0)
DEFAULT = Series(Market.SPOT, "BTCUSDT", Interval("1m"))


def record(first: int, last: int, *, at: int = FOUND, closed: int | None = None, recovered: int = 0) -> GapRecord:
    absent = 0 if closed is None else last - first - recovered
    return GapRecord(str(BTC), span(first, last), last - first, at, "a test", closed, recovered, absent)


def told(url: str, *tellings: Callable[[asyncpg.Connection], Awaitable[object]]) -> Rows:
    """The log after some tellings: type, minutes, missing, recovered, resolved, source."""

    async def story() -> Rows:
        connection = await asyncpg.connect(url)
        try:
            for telling in tellings:
                await telling(connection)
            rows = await connection.fetch(
                "SELECT event_type, gap_start, gap_end, candles_missing, candles_recovered, resolved, source"
                " FROM data_quality_logs WHERE event_type LIKE 'gap%' ORDER BY event_type, gap_start, gap_end"
            )
        finally:
            await connection.close()
        return [(row[0], _number(row[1]), _number(row[2]), *row[3:]) for row in rows]

    return asyncio.run(story())


def _number(when: Any) -> int:  # noqa: ANN401 - the driver's
    return (quality.to_time(when) - minute(0)) // (minute(1) - minute(0))


def keep(one: GapRecord, source: str = "data_feeder") -> Callable[[asyncpg.Connection], Awaitable[object]]:
    return lambda connection: quality.keep_gap(connection, one, source)


def test_gap_is_written_once_however_often_it_is_told(shared_url: str) -> None:
    """The same finding, from the same or another reporter, is one row; so is one inside it."""
    rows = told(
        shared_url,
        keep(record(-10, -5)),
        keep(record(-10, -5)),
        keep(record(-10, -5), "gap_handler"),
        keep(record(-8, -6)),
    )
    assert rows == [("gap_detected", -10, -5, 5, None, False, "data_feeder")]


def test_gap_that_grows_widens_its_row(shared_url: str) -> None:
    """A finding around an open one takes its place; one that only meets it is another gap."""
    rows = told(shared_url, keep(record(-10, -5)), keep(record(-10, -2)), keep(record(-4, 0), "gap_handler"))
    assert rows == [
        ("gap_detected", -10, -2, 8, None, False, "data_feeder"),
        ("gap_detected", -4, 0, 4, None, False, "gap_handler"),
    ]


def test_closed_gap_is_resolved_with_what_came(shared_url: str) -> None:
    """Closing resolves the row and adds one of what was recovered, once, and for a gap nobody told before too."""
    closed = record(-10, -5, closed=FOUND + HOUR, recovered=4)
    expected = [
        ("gap_backfilled", -10, -5, 5, 4, True, "data_feeder"),
        ("gap_detected", -10, -5, 5, 4, True, "data_feeder"),
    ]
    assert told(shared_url, keep(record(-10, -5)), keep(closed), keep(closed)) == expected
    other = record(-30, -20, closed=FOUND + HOUR, recovered=0)
    assert told(shared_url, keep(other))[1:2] == [("gap_detected", -30, -20, 10, 0, True, "data_feeder")]


def test_finding_told_late_reopens_nothing(shared_url: str) -> None:
    """An old finding leaves a resolved row as it is; one that is newer than the resolution opens it again."""
    closed = record(-10, -5, closed=FOUND + HOUR, recovered=5)
    assert told(shared_url, keep(closed), keep(record(-10, -5)))[1][5] is True
    again = record(-10, -5, at=FOUND + 2 * HOUR)
    rows = told(shared_url, keep(again, "gap_handler"), keep(closed))
    assert rows[1] == ("gap_detected", -10, -5, 5, None, False, "gap_handler")


def test_row_is_resolved_by_one_of_many(shared_url: str) -> None:
    """Who resolves a row that somebody has resolved changes nothing, and is told so."""
    done: list[bool] = []

    async def both(connection: asyncpg.Connection) -> None:
        (gap,) = await quality.unresolved(connection, Market.SPOT, DEFAULT)
        assert (gap.series, gap.span, gap.candles, gap.source) == (BTC, span(-10, -5), 5, "data_feeder")
        done.extend([await quality.resolve(connection, gap, one, FOUND, "gap_handler") for one in (5, 3)])
        assert await quality.unresolved(connection, Market.SPOT, DEFAULT) == []

    rows = told(shared_url, keep(record(-10, -5)), both)
    assert done == [True, False]
    assert [row[4] for row in rows] == [5, 5]


def test_open_gaps_are_those_of_a_market_oldest_first(shared_url: str) -> None:
    """Rows of other markets and of other spans are left out where they are not asked for."""
    usdm = GapRecord("usdm:BTCUSDT:1m", span(-10, -5), 5, FOUND, "a test")

    async def nonsense(connection: asyncpg.Connection) -> None:
        await connection.execute(
            "INSERT INTO data_quality_logs (event_type, market, symbol, interval, gap_start, gap_end) VALUES"
            " ('gap_detected', 'spot', 'BTCUSDT', 'sometimes', now(), now() + interval '1 h'),"
            " ('gap_detected', 'spot', 'BTCUSDT', '1m', '-infinity', now())"
        )

    async def look(connection: asyncpg.Connection) -> None:
        found = await quality.unresolved(connection, Market.SPOT, DEFAULT)
        assert [one.span for one in found] == [span(-40, -30), span(-10, -5)]
        near = await quality.unresolved(
            connection, Market.SPOT, DEFAULT, series=BTC, span=Span(minute(-12), minute(-8))
        )
        assert [one.span for one in near] == [span(-10, -5)]
        counts = await quality.counts(connection, Market.SPOT, DEFAULT, FOUND)
        assert (counts.unresolved_gaps, counts.candles_missing, counts.backfills_24h) == (2, 15, 0)

    async def alike(connection: asyncpg.Connection) -> None:
        found = await quality.unresolved(connection, Market.SPOT, DEFAULT)
        assert [one.span for one in found] == [span(-40, -30), span(-10, -5)]
        await connection.execute("DELETE FROM data_quality_logs WHERE NOT isfinite(gap_start)")

    told(shared_url, keep(record(-10, -5)), keep(record(-40, -30)), keep(usdm), look, nonsense, alike)


def test_error_has_a_row_of_its_own(shared_url: str) -> None:
    """Errors are logged with their words, cut where they are endless, and at the time that is told."""

    async def look(connection: asyncpg.Connection) -> None:
        await quality.log_error(connection, "x" * 10_000, "gap_handler", BTC, at=FOUND)
        row = await connection.fetchrow(
            "SELECT symbol, length(error_message), created_at, resolved FROM data_quality_logs"
        )
        assert row is not None
        assert (row[0], row[1], quality.to_time(row[2])) == ("BTCUSDT", 2000, FOUND)

    told(shared_url, look)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("4713-01-02 BC", "4712-01-02 BC"),
        ("1950-01-01", "200000-01-01"),
        ("9999-12-31 23:00", "9999-12-31 23:59:59"),
        ("-infinity", "infinity"),
    ],
)
def test_row_outside_the_calendar_is_left_alone(shared_url: str, start: str, end: str) -> None:
    """PostgreSQL has times that no program here has: a row of them is not open, and hides no other."""

    async def write(connection: asyncpg.Connection) -> None:
        await connection.execute(
            "INSERT INTO data_quality_logs (event_type, market, symbol, interval, gap_start, gap_end)"
            f" VALUES ('gap_detected', 'spot', 'BTCUSDT', '1m', '{start}', '{end}')"  # noqa: S608 - the driver has no such times
        )

    async def look(connection: asyncpg.Connection) -> None:
        open_gaps = await quality.unresolved(connection, Market.SPOT, DEFAULT)
        assert [one.span for one in open_gaps] == [span(-10, -5)]
        await connection.execute(
            "DELETE FROM data_quality_logs WHERE gap_start <> to_timestamp($1)", minute(-10) / SECOND
        )

    rows = told(shared_url, write, keep(record(-10, -5)), look)
    assert rows == [("gap_detected", -10, -5, 5, None, False, "data_feeder")]
