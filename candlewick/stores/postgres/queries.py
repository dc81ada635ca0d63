"""What is asked of the shared database: candles of a range, what is held, and what is known about it.

Each question takes a connection and leaves its transaction alone. Times go in and come out as int64 microseconds UTC.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import asyncpg
import numpy.typing as npt

from candlewick.errors import StoreDamaged, UsageError
from candlewick.market import Interval, Market, Series, Span
from candlewick.stores import rule
from candlewick.stores.postgres.copied import FIELDS, Copied, selected
from candlewick.stores.store import Absence, Quarantined, Reason, SeriesInfo

Columns: TypeAlias = dict[str, npt.NDArray[Any]]

HERE = ""
"""Who records what is written into the database itself, and not brought from a store."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LATEST = (datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH) // _MICROSECOND

_OF_SERIES = "market = $1 AND symbol = $2 AND interval = $3"

_COUNTED = """
WITH held AS (
    SELECT market, symbol, interval, count(*) AS candles, min(time) AS first, max(time) AS last
    FROM candles {where} GROUP BY market, symbol, interval
)
SELECT market, symbol, interval, number, coalesce(candles, 0) AS candles, first, last
FROM held FULL JOIN (SELECT * FROM series {where}) AS numbered USING (market, symbol, interval)
ORDER BY number, market, symbol, interval"""
# Each series is found through the index from the one before it.
_STEPS = """
WITH RECURSIVE held AS (
    (SELECT market, symbol, interval FROM candles ORDER BY market, symbol, interval LIMIT 1)
    UNION ALL
    SELECT following.* FROM held CROSS JOIN LATERAL (
        SELECT market, symbol, interval FROM candles AS c
        WHERE (c.market, c.symbol, c.interval) > (held.market, held.symbol, held.interval)
        ORDER BY market, symbol, interval LIMIT 1
    ) AS following
)"""
_STEPS_OF_SYMBOL = """
WITH RECURSIVE held AS (
    SELECT first_of.* FROM unnest($2::text[]) AS of_market CROSS JOIN LATERAL (
        SELECT market, symbol, interval FROM candles AS c WHERE c.market = of_market AND c.symbol = $1
        ORDER BY interval LIMIT 1
    ) AS first_of
    UNION ALL
    SELECT following.* FROM held CROSS JOIN LATERAL (
        SELECT market, symbol, interval FROM candles AS c
        WHERE c.market = held.market AND c.symbol = $1 AND c.interval > held.interval ORDER BY interval LIMIT 1
    ) AS following
)"""
_FOUND = """, known AS (
    SELECT market, symbol, interval, number
    FROM held FULL JOIN (SELECT * FROM series {where}) AS numbered USING (market, symbol, interval)
)
SELECT k.*, (earliest.time IS NOT NULL)::int AS candles, earliest.time AS first, latest.time AS last
FROM known AS k
LEFT JOIN LATERAL (
    SELECT time FROM candles AS c WHERE c.market = k.market AND c.symbol = k.symbol AND c.interval = k.interval
    ORDER BY time LIMIT 1
) AS earliest ON true
LEFT JOIN LATERAL (
    SELECT time FROM candles AS c WHERE c.market = k.market AND c.symbol = k.symbol AND c.interval = k.interval
    ORDER BY time DESC LIMIT 1
) AS latest ON true
ORDER BY number, market, symbol, interval"""

_ADD_REASONS = """
INSERT INTO gap_reasons (market, symbol, interval, recorded_by, gap_start, gap_end, reason, evidence)
SELECT $1, $2, $3, $4, given.*
FROM unnest($5::timestamptz[], $6::timestamptz[], $7::text[], $8::text[]) AS given (gap_start, gap_end, reason, evidence)
WHERE $4 <> '' OR NOT EXISTS (
    SELECT FROM gap_reasons AS o
    WHERE o.market = $1 AND o.symbol = $2 AND o.interval = $3 AND o.recorded_by <> $4 AND o.reason = given.reason
    AND o.evidence = given.evidence AND o.gap_start <= given.gap_start AND o.gap_end >= given.gap_end
)"""


def to_datetime(time: int) -> datetime:
    """A time as the driver takes it; one that no calendar has is at its edge."""
    return _EPOCH + timedelta(microseconds=min(max(time, 0), _LATEST))


def to_time(moment: datetime) -> int:
    """Microseconds UTC of what the driver gives."""
    return (moment - _EPOCH) // _MICROSECOND


async def known_series(connection: asyncpg.Connection, *, counted: bool, symbol: str | None) -> list[SeriesInfo]:
    """Every series, or those of one symbol, in order of their numbers; last those that have none.

    Unless `counted`, every series with candles is said to have one: that is quick, and most of all for one symbol.

    Raises:
        StoreDamaged: something in the tables is called what no series is called.
    """
    # without the market the index, of which it is the first column, would be of no use before PostgreSQL 18
    where = "" if symbol is None else "WHERE symbol = $1 AND market = ANY($2::text[])"
    values: list[Any] = [] if symbol is None else [symbol, [one.value for one in Market]]
    quick = (_STEPS if symbol is None else _STEPS_OF_SYMBOL) + _FOUND
    sql = _COUNTED if counted else quick
    found = await connection.fetch(sql.format(where=where), *values)
    return [
        SeriesInfo(
            _series(row["market"], row["symbol"], row["interval"]),
            row["candles"],
            None if row["first"] is None else to_time(row["first"]),
            None if row["last"] is None else to_time(row["last"]),
        )
        for row in found
    ]


async def kept_since(connection: asyncpg.Connection, now: int) -> int:
    """Candles that open before may have been let go; 0 where all are kept."""
    cutoff = await connection.fetchval("SELECT months_before($1, schema_setting('candles_months'))", to_datetime(now))
    return 0 if cutoff is None else to_time(cutoff)


async def numbers(connection: asyncpg.Connection) -> dict[Series, int]:
    """The numbers that were given.

    Raises:
        StoreDamaged: something in the table is called what no series is called.
    """
    found = await connection.fetch("SELECT market, symbol, interval, number FROM series")
    return {_series(*row[:3]): row[3] for row in found}


async def candles(
    connection: asyncpg.Connection,
    series: Series,
    start: int | None,
    end: int | None,
    names: Sequence[str],
    last: int | None = None,
) -> Columns:
    """Fields of the candles that open in `[start, end)`, oldest first; of them the newest `last`."""
    conditions, values = [_OF_SERIES], _key(series)
    for time, sign in ((start, ">="), (end, "<")):
        if time is not None:
            values.append(to_datetime(time))
            conditions.append(f"time {sign} ${len(values)}")
    sql = f"SELECT {selected(names)} FROM candles WHERE {' AND '.join(conditions)} ORDER BY time"  # noqa: S608 - of constants
    found = await _copied(connection, sql if last is None else f"{sql} DESC LIMIT {last}", values, names)
    return found if last is None else {name: column[::-1] for name, column in found.items()}


async def held_candles(connection: asyncpg.Connection, series: Series, runs: Sequence[Span]) -> Columns:
    """All fields of the candles that open in the runs, which are disjoint and in order; by time.

    Until the transaction ends, whoever asks the same of the series waits. Rows are not locked: compressed ones cannot be.
    """
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('candlewick ' || $1, 0))", str(series))
    values = [*_key(series), to_datetime(runs[0].start), to_datetime(runs[-1].end)]
    within = f"{_OF_SERIES} AND time >= $4 AND time < $5"
    source = "candles"
    if len(runs) > 1:
        values += [[to_datetime(run.start) for run in runs], [to_datetime(run.end) for run in runs]]
        source = "unnest($6::timestamptz[], $7::timestamptz[]) AS run (since, until) JOIN candles ON time >= since AND time < until"
    sql = f"SELECT {selected(list(FIELDS))} FROM {source} WHERE {within} ORDER BY time"  # noqa: S608 - of constants
    return await _copied(connection, sql, values, list(FIELDS))


async def revisions(connection: asyncpg.Connection, series: Series) -> Columns:
    """All fields of the candles that others have replaced, by time, then in the order they were replaced."""
    sql = f"SELECT {selected(list(FIELDS))} FROM candle_revisions WHERE {_OF_SERIES} ORDER BY time, id"  # noqa: S608 - of constants
    return await _copied(connection, sql, _key(series), list(FIELDS))


async def absences(connection: asyncpg.Connection, series: Series) -> list[Absence]:
    """Recorded reasons, by time; what several recorded about the same times only once.

    Raises:
        StoreDamaged: a reason is none.
    """
    rows = await connection.fetch(
        f"SELECT gap_start, gap_end, reason, evidence FROM gap_reasons WHERE {_OF_SERIES} ORDER BY gap_start",  # noqa: S608 - of constants
        *_key(series),
    )
    try:
        found = [Absence(Span(to_time(row[0]), to_time(row[1])), Reason(row[2]), row[3]) for row in rows]
    except ValueError as error:
        raise StoreDamaged(f"gap_reasons has a reason for {series} that is none ({error}): correct that row") from None
    return rule.disjoint(found)


async def replace_absences(
    connection: asyncpg.Connection, series: Series, reasons: Collection[Absence], recorded_by: str = HERE
) -> None:
    """Replace all reasons of a series that `recorded_by` recorded, and nobody else's.

    Whoever works on the database itself reads everybody's and writes them back with its own: those of others stay theirs.
    """
    who = (*_key(series), recorded_by)
    await connection.execute(f"DELETE FROM gap_reasons WHERE {_OF_SERIES} AND recorded_by = $4", *who)  # noqa: S608 - of constants
    await connection.execute(
        _ADD_REASONS, *who,
        [to_datetime(one.span.start) for one in reasons], [to_datetime(one.span.end) for one in reasons],
        [one.reason.value for one in reasons], [one.evidence for one in reasons],
    )  # fmt: skip


async def quarantined(connection: asyncpg.Connection, limit: int) -> list[Quarantined]:
    """The newest entries of the quarantine, newest first."""
    rows = await connection.fetch(
        "SELECT series, rule, source, received_at, raw FROM quarantined ORDER BY id DESC LIMIT $1", max(limit, 0)
    )
    return [Quarantined(row[0], row[1], row[2], to_time(row[3]), row[4]) for row in rows]


async def add_quarantined(connection: asyncpg.Connection, entries: Iterable[Quarantined], most: int) -> None:
    """Keep entries; the oldest beyond `most` are dropped."""
    await connection.executemany(
        "INSERT INTO quarantined (series, rule, source, received_at, raw) VALUES ($1, $2, $3, $4, $5)",
        [(one.series, one.rule, one.source, to_datetime(one.received_at), one.raw) for one in entries],
    )
    await connection.execute(
        "DELETE FROM quarantined WHERE id <= (SELECT id FROM quarantined ORDER BY id DESC OFFSET $1 LIMIT 1)", most
    )


async def states(connection: asyncpg.Connection, prefix: str) -> dict[str, bytes]:
    """Every small value whose key begins with `prefix`, by key."""
    rows = await connection.fetch("SELECT key, value FROM provenance WHERE starts_with(key, $1) ORDER BY key", prefix)
    return {row[0]: row[1] for row in rows}


async def state(connection: asyncpg.Connection, key: str) -> bytes | None:
    """The small value of a key."""
    found: bytes | None = await connection.fetchval("SELECT value FROM provenance WHERE key = $1", key)
    return found


async def set_states(connection: asyncpg.Connection, values: dict[str, bytes | None]) -> None:
    """Keep small values, or forget those that are None."""
    kept = {key: value for key, value in values.items() if value is not None}
    await connection.execute(
        "INSERT INTO provenance (key, value) SELECT * FROM unnest($1::text[], $2::bytea[]) ORDER BY 1 "
        "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        list(kept),
        list(kept.values()),
    )
    await connection.execute(
        "DELETE FROM provenance WHERE key = ANY($1::text[])", [key for key in values if key not in kept]
    )


async def number(connection: asyncpg.Connection, series: Series) -> int:
    """The number of a series, given now where it has none; numbers count from 0."""
    wanted = f"SELECT number FROM series WHERE {_OF_SERIES}"  # noqa: S608 - of constants
    found = await connection.fetchval(wanted, *_key(series))
    if found is None:
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('candlewick series', 0))")
        found = await connection.fetchval(
            "INSERT INTO series (number, market, symbol, interval) "
            "SELECT coalesce(max(number) + 1, 0), $1, $2, $3 FROM series "
            "ON CONFLICT (market, symbol, interval) DO UPDATE SET number = series.number RETURNING number",
            *_key(series),
        )
    return int(found)


async def identity(connection: asyncpg.Connection, proposed: str) -> str:
    """The database's name of its own: the one proposed, if it has none yet."""
    await connection.execute(
        "INSERT INTO schema_settings (key, value) VALUES ('identity', $1) ON CONFLICT (key) DO NOTHING", proposed
    )
    return str(await connection.fetchval("SELECT value FROM schema_settings WHERE key = 'identity'"))


async def _copied(connection: asyncpg.Connection, sql: str, values: Sequence[object], names: Sequence[str]) -> Columns:
    copied = Copied(names)
    await connection.copy_from_query(sql, *values, output=copied.take, format="binary")
    return copied.columns()


def _key(series: Series) -> list[Any]:
    return [series.market.value, series.symbol, series.interval.code]


def _series(market: str, symbol: str, interval: str) -> Series:
    try:
        return Series(Market(market), symbol, Interval(interval))
    except (ValueError, UsageError) as error:
        raise StoreDamaged(
            f"the table candles or series has {market}:{symbol}:{interval}, which is no series ({error}): correct or delete it"
        ) from None
