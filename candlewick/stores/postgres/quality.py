"""The log of what was wrong with the data: `data_quality_logs`, with one row for every gap, whoever reports it.

Every function here is one step of its caller's transaction, or one of its own. A row without market, symbol and interval,
as the documented statements write it, is about the series that the database calls its default.
"""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import asyncpg

from candlewick.errors import UsageError
from candlewick.market import DAY, Interval, Market, Series, Span
from candlewick.stores.provenance import GapRecord

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_WORDS = 2000
_CALENDAR = _EPOCH, datetime(9800, 1, 1, tzinfo=UTC)
"""PostgreSQL's calendar is longer than Python's, and without ends: rows beyond these are about nobody's candles."""


class OpenGap(NamedTuple):
    """A row of a gap that is not resolved."""

    number: int
    series: Series
    span: Span
    candles: int | None
    """As the row says, which may say nothing."""
    source: str


class Counts(NamedTuple):
    """What the log says of a market."""

    unresolved_gaps: int
    candles_missing: int
    """In the unresolved ones."""
    backfills_24h: int
    recovered_24h: int


async def keep_gap(connection: asyncpg.Connection, record: GapRecord, source: str) -> None:
    """Have exactly one `gap_detected` row for a gap, resolved once it is closed, and one `gap_backfilled` row if any came.

    May be told the same twice, and of one gap by several reporters with other bounds: a gap inside one that is open is
    not written again, and one around it widens it.
    """
    series = Series.parse(record.series)
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", f"quality:{series}")
        if record.closed_at is None:
            await _keep_open(connection, series, record, source)
        else:
            await _keep_closed(connection, series, record, source)


async def log_error(
    connection: asyncpg.Connection, message: str, source: str, series: Series | None = None, *, at: int | None = None
) -> None:
    """Write one `error` row; `at` is the database's own time where it is not given."""
    await connection.execute(
        "INSERT INTO data_quality_logs (event_type, market, symbol, interval, source, error_message, created_at)"
        " VALUES ('error', $1, $2, $3, $4, $5, coalesce($6, now()))",
        *(_key(series) if series else (None, None, None)), source, message[:_MOST_WORDS],
        None if at is None else to_datetime(at),
    )  # fmt: skip


async def unresolved(
    connection: asyncpg.Connection, market: Market, default: Series, *, series: Series | None = None,
    span: Span | None = None, limit: int = 10_000,
) -> list[OpenGap]:  # fmt: skip
    """Gaps of a market that are not resolved, oldest first; of one series, and where they meet `span`, if those are given.

    Anybody may write rows: one whose interval is none, or that lies outside the calendar, is nobody's to repair and is
    left out.
    """
    rows = await connection.fetch(
        "SELECT id, coalesce(market, $1) AS market, coalesce(symbol, $2) AS symbol, coalesce(interval, $3) AS interval,"
        " gap_start, gap_end, candles_missing, coalesce(source, '') AS source FROM data_quality_logs"
        " WHERE event_type = 'gap_detected' AND NOT resolved AND coalesce(market, $1) = $4"
        " AND ($5::text IS NULL OR (coalesce(symbol, $2) = $5 AND coalesce(interval, $3) = $6))"
        " AND ($7::timestamptz IS NULL OR (gap_start < $8 AND gap_end > $7))"
        " AND gap_start >= $10 AND gap_end < $11 ORDER BY gap_start, id LIMIT $9",
        *_key(default), market.value, *((series.symbol, series.interval.code) if series else (None, None)),
        *((to_datetime(span.start), to_datetime(span.end)) if span else (None, None)), limit,
        *_CALENDAR,
    )  # fmt: skip
    gaps = []
    for row in rows:
        try:
            named = Series(Market(row["market"]), row["symbol"], Interval(row["interval"]))
        except UsageError:
            continue
        span_of_row = Span(to_time(row["gap_start"]), to_time(row["gap_end"]))
        gaps.append(OpenGap(row["id"], named, span_of_row, row["candles_missing"], row["source"]))
    return gaps


async def resolve(connection: asyncpg.Connection, gap: OpenGap, recovered: int, at: int, source: str) -> bool:
    """Mark a row as resolved, of which so many candles came; whether it was still open.

    The caller has made sure that every grid time of it has a candle or a reason.
    """
    done = await connection.fetchval(
        "WITH done AS (UPDATE data_quality_logs SET resolved = true, resolved_at = $8, candles_recovered = $7"
        " WHERE id = $10 AND NOT resolved RETURNING id), kept AS ("
        "INSERT INTO data_quality_logs AS held (event_type, market, symbol, interval, gap_start, gap_end, candles_missing,"
        " candles_recovered, resolved, resolved_at, created_at, source)"
        " SELECT 'gap_backfilled', $1, $2, $3, $4, $5, $6::int, $7::int, true, $8::timestamptz, $8, $9 FROM done WHERE $7 > 0"
        " ON CONFLICT (market, symbol, interval, event_type, gap_start, gap_end)"
        " WHERE event_type IN ('gap_detected', 'gap_backfilled') DO UPDATE SET candles_missing = $6, candles_recovered = $7,"
        " resolved_at = greatest(held.resolved_at, $8), created_at = greatest(held.created_at, $8), source = $9)"
        " SELECT count(*) FROM done",
        *_backfilled(gap.series, gap.span, gap.candles or recovered, recovered, at, source), gap.number,
    )  # fmt: skip
    return bool(done)


async def counts(connection: asyncpg.Connection, market: Market, default: Series, now: int) -> Counts:
    """How much of a market is open, and how much was got in the last 24 hours."""
    row = await connection.fetchrow(
        "SELECT (SELECT count(*) FROM data_quality_logs WHERE event_type = 'gap_detected' AND NOT resolved"
        "   AND coalesce(market, $1) = $2) AS gaps,"
        " (SELECT coalesce(sum(candles_missing), 0) FROM data_quality_logs WHERE event_type = 'gap_detected'"
        "   AND NOT resolved AND coalesce(market, $1) = $2) AS missing,"
        " (SELECT count(*) FROM data_quality_logs WHERE event_type = 'gap_backfilled' AND created_at >= $3"
        "   AND coalesce(market, $1) = $2) AS backfills,"
        " (SELECT coalesce(sum(candles_recovered), 0) FROM data_quality_logs WHERE event_type = 'gap_backfilled'"
        "   AND created_at >= $3 AND coalesce(market, $1) = $2) AS recovered",
        default.market.value, market.value, to_datetime(now - DAY),
    )  # fmt: skip
    assert row is not None
    return Counts(row["gaps"], int(row["missing"]), row["backfills"], int(row["recovered"]))


def to_datetime(time: int) -> datetime:
    """What the driver takes for a time in microseconds."""
    return _EPOCH + timedelta(microseconds=time)


def to_time(when: datetime) -> int:
    """Microseconds UTC of what the driver gives."""
    return (when - _EPOCH) // timedelta(microseconds=1)


async def _keep_open(connection: asyncpg.Connection, series: Series, record: GapRecord, source: str) -> None:
    start, end, at = _times(record)
    rows = await connection.fetch(
        "SELECT id, gap_start, gap_end, resolved, resolved_at FROM data_quality_logs WHERE event_type = 'gap_detected'"
        " AND market = $1 AND symbol = $2 AND interval = $3 AND gap_start < $5 AND gap_end > $4"
        " AND gap_start >= $6 AND gap_end < $7 ORDER BY id",
        *_key(series), start, end, *_CALENDAR,
    )  # fmt: skip
    for row in rows:
        if (row["gap_start"], row["gap_end"]) == (start, end):
            if row["resolved"] and (row["resolved_at"] is None or row["resolved_at"] < at):
                # What was there has gone again; told of late, an old finding reopens nothing.
                await connection.execute(
                    "UPDATE data_quality_logs SET resolved = false, resolved_at = NULL, candles_recovered = NULL,"
                    " candles_missing = $2, source = $3, created_at = $4 WHERE id = $1",
                    row["id"], record.candles, source, at,
                )  # fmt: skip
            return
    touching = [row for row in rows if not row["resolved"]]
    if any(row["gap_start"] <= start and end <= row["gap_end"] for row in touching):
        return
    grown = [row["id"] for row in touching if start <= row["gap_start"] and row["gap_end"] <= end]
    if grown:
        await connection.execute(
            "UPDATE data_quality_logs SET gap_start = $2, gap_end = $3, candles_missing = $4 WHERE id = $1",
            grown[0], start, end, record.candles,
        )  # fmt: skip
    else:
        await _insert(connection, series, record, source)


async def _keep_closed(connection: asyncpg.Connection, series: Series, record: GapRecord, source: str) -> None:
    start, end, _ = _times(record)
    assert record.closed_at is not None
    await _insert(connection, series, record, source)  # where nobody reported it yet
    await connection.execute(
        "UPDATE data_quality_logs SET resolved = true, resolved_at = $6, candles_recovered = CASE"
        " WHEN gap_start = $4 AND gap_end = $5 THEN $7::int WHEN $8 THEN candles_missing END"
        " WHERE event_type = 'gap_detected' AND NOT resolved AND market = $1 AND symbol = $2 AND interval = $3"
        " AND gap_start >= $4 AND gap_end <= $5 AND created_at <= $6",  # told of late, it closes no newer one
        *_key(series), start, end, to_datetime(record.closed_at), record.recovered, not record.absent,
    )  # fmt: skip
    if record.recovered:
        await _keep_backfilled(
            connection, series, record.span, record.candles, record.recovered, record.closed_at, source
        )


async def _insert(connection: asyncpg.Connection, series: Series, record: GapRecord, source: str) -> None:
    start, end, at = _times(record)
    await connection.execute(
        "INSERT INTO data_quality_logs (event_type, market, symbol, interval, gap_start, gap_end, candles_missing,"
        " source, created_at) VALUES ('gap_detected', $1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
        *_key(series), start, end, record.candles, source, at,
    )  # fmt: skip


async def _keep_backfilled(
    connection: asyncpg.Connection, series: Series, span: Span, missing: int, recovered: int, at: int, source: str
) -> None:
    """One row for one gap; one that came back and was filled again shows the last time."""
    await connection.execute(
        "INSERT INTO data_quality_logs AS held (event_type, market, symbol, interval, gap_start, gap_end, candles_missing,"
        " candles_recovered, resolved, resolved_at, created_at, source)"
        " VALUES ('gap_backfilled', $1, $2, $3, $4, $5, $6, $7, true, $8, $8, $9)"
        " ON CONFLICT (market, symbol, interval, event_type, gap_start, gap_end)"
        " WHERE event_type IN ('gap_detected', 'gap_backfilled') DO UPDATE SET candles_missing = $6, candles_recovered = $7,"
        " resolved_at = greatest(held.resolved_at, $8), created_at = greatest(held.created_at, $8), source = $9",
        *_backfilled(series, span, missing, recovered, at, source),
    )  # fmt: skip


def _backfilled(
    series: Series, span: Span, missing: int, recovered: int, at: int, source: str
) -> tuple[str, str, str, datetime, datetime, int, int, datetime, str]:
    return *_key(series), to_datetime(span.start), to_datetime(span.end), missing, recovered, to_datetime(at), source


def _key(series: Series) -> tuple[str, str, str]:
    return series.market.value, series.symbol, series.interval.code


def _times(record: GapRecord) -> tuple[datetime, datetime, datetime]:
    return to_datetime(record.span.start), to_datetime(record.span.end), to_datetime(record.detected_at)
