"""The statements that write candles. Times travel as microseconds since 1970, numbers as decimal text.

PostgreSQL's own text of a double is not always the shortest one, which is what `rows.numeric` writes.
"""

# ruff: noqa: S608 - put together of names of columns, numbers and quoted names of series

from collections.abc import Mapping

import numpy as np

from candlewick.market import Series, format_time
from candlewick.stores.postgres.rows import COLUMNS
from candlewick.stores.store import Rows, Source

KEYS = COLUMNS[:4]
VALUES = COLUMNS[4:-1]
"""What two sources must agree on."""

_MOST_NAMED = 200
_NUMERIC_COLUMNS = COLUMNS[4:12]
_TYPES = {"market": "text", "symbol": "text", "interval": "text", "source": "smallint"} | dict.fromkeys(
    _NUMERIC_COLUMNS, "text"
)


def _time(microseconds: str) -> str:
    return f"(timestamptz 'epoch' + {microseconds} * interval '1 microsecond')"


def _listed(names: tuple[str, ...], form: str = "{}") -> str:
    return ", ".join(form.format(name) for name in names)


def _given(name: str) -> str:
    if name in _NUMERIC_COLUMNS:
        return f"given.{name}::numeric"
    return _time(f"given.{name}") if name in {"time", "close_time"} else f"given.{name}"


def _alone(name: str) -> str:
    value = f"${COLUMNS.index(name) + 1}::{_TYPES.get(name, 'bigint')}"
    if name in _NUMERIC_COLUMNS:
        return f"{value}::numeric"
    return _time(value) if name in {"time", "close_time"} else value


_ALL = _listed(COLUMNS)
_ARRAYS = ", ".join(f"${at}::{_TYPES.get(name, 'bigint')}[]" for at, name in enumerate(COLUMNS, 1))

GIVEN = f"SELECT {', '.join(map(_given, COLUMNS))} FROM unnest({_ARRAYS}) AS given ({_ALL})"
"""Rows out of one array a column (`merge.arrays`)."""

_ONE = f"VALUES ({', '.join(map(_alone, COLUMNS))})"


def _inserted(rows: str) -> str:
    return f"INSERT INTO candles ({_ALL}) {rows} ON CONFLICT DO NOTHING RETURNING 1"


def _positioned(rows: str, count: str) -> str:
    return f"""
WITH inserted AS ({_inserted(rows)}), moved AS (
    UPDATE output_positions SET position = $18, updated_at = now()
    WHERE store_id = $16 AND output = $17 AND position = $19 AND (SELECT count(*) FROM inserted) = {count} RETURNING 1
) SELECT (SELECT count(*) FROM inserted), (SELECT count(*) FROM moved)"""


INSERT_GIVEN = f"WITH inserted AS ({_inserted(GIVEN)}) SELECT count(*) FROM inserted"
"""Adds those that are not held, and says how many that were."""

INSERT_GIVEN_AND_POSITION = _positioned(GIVEN, "cardinality($1::text[])")
"""The same, and moves an output's position from $19 to $18 if that was all of them; how many were added, and moved."""

INSERT_ONE_AND_POSITION = _positioned(_ONE, "1")
"""The same for one row, out of a value a column."""

PARTITIONS = f"SELECT ensure_candle_partitions({_time('$1::bigint')}, {_time('$2::bigint')})"

BEGIN_WEEKS = f"""
SELECT ARRAY(
    SELECT (extract(epoch FROM week) * 1000000)::bigint FROM unnest(begin_candle_weeks(ARRAY(
        SELECT {_time("week")} FROM unnest($1::bigint[]) AS weeks (week)
    ))) AS begun (week)
)"""
"""Makes tables, to be filled and attached in the same transaction, for those of the weeks that have none; which those are."""

ATTACH_WEEKS = f"""
SELECT attach_candle_weeks(ARRAY(SELECT {_time("week")} FROM unnest($1::bigint[]) AS weeks (week)))"""
"""Makes their indexes and lets them be seen."""

HELD_RANGES = f"""
SELECT given.number FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[]) WITH ORDINALITY
    AS given (market, symbol, interval, first, last, number)
WHERE EXISTS (
    SELECT FROM candles c WHERE c.market = given.market AND c.symbol = given.symbol AND c.interval = given.interval
    AND c.time BETWEEN {_time("given.first")} AND {_time("given.last")}
)"""
"""Which ranges of series, numbered from 1, have any candle."""

_OLD = _listed(("source", *VALUES), "old_{}")
STAGING = f"""
CREATE TEMPORARY TABLE IF NOT EXISTS candle_staging (LIKE candles) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS candle_changes (
    LIKE candles, {_listed(_NUMERIC_COLUMNS, "old_{} numeric")}, old_number_of_trades bigint,
    old_close_time timestamptz, old_source smallint, is_other boolean, PRIMARY KEY ({_listed(KEYS)})
) ON COMMIT DELETE ROWS;
TRUNCATE pg_temp.candle_staging"""
"""Two tables of the session: what is to be merged, and what of it is to replace something."""

ANALYSED = """
ANALYZE pg_temp.candle_staging;
SET LOCAL enable_nestloop = off"""
"""For many rows: nobody has counted what is new in `candles`, and taken for little it would be looked up row by row."""

_OTHER = f"({_listed(VALUES, 's.{}')}) IS DISTINCT FROM ({_listed(VALUES, 'c.{}')})"
_REPLACES = (
    f"CASE WHEN {_OTHER} THEN s.source >= {Source.REST:d} OR c.source < {Source.REST:d} ELSE s.source > c.source END"
)

COMPARE = f"""
SELECT count(*), count(*) FILTER (WHERE {_REPLACES}) FROM pg_temp.candle_staging s JOIN candles c ON {{same}}"""
"""How many are held, and how many of those are to be replaced."""

INSERT_MISSING = f"""
INSERT INTO candles ({_ALL}) SELECT {_listed(COLUMNS, "s.{}")} FROM pg_temp.candle_staging s
LEFT JOIN candles c ON {{same}} WHERE c.time IS NULL ON CONFLICT DO NOTHING"""

COLLECT_CHANGES = f"""
DELETE FROM pg_temp.candle_changes;
INSERT INTO pg_temp.candle_changes ({_ALL}, {_OLD}, is_other)
SELECT {_listed(COLUMNS, "s.{}")}, {_listed(("source", *VALUES), "c.{}")}, {_OTHER}
FROM pg_temp.candle_staging s JOIN candles c ON {{same}} WHERE {_REPLACES}"""

CHANGE = f"""
WITH replaced AS (
    INSERT INTO candles AS c ({_ALL}) SELECT {_ALL} FROM pg_temp.candle_changes
    ON CONFLICT ({_listed(KEYS)}) DO UPDATE SET
        {", ".join(f"{name} = excluded.{name}" for name in (*VALUES, "source"))}
    WHERE EXISTS (
        SELECT FROM pg_temp.candle_changes d WHERE {" AND ".join(f"d.{name} = c.{name}" for name in KEYS)}
        AND d.old_source = c.source AND ({_listed(VALUES, "d.old_{}")}) IS NOT DISTINCT FROM ({_listed(VALUES, "c.{}")})
    ) RETURNING {_listed(KEYS, "c.{}")}
), revised AS (
    INSERT INTO candle_revisions ({_ALL})
    SELECT {_listed(KEYS, "d.{}")}, {_listed((*VALUES, "source"), "d.old_{}")}
    FROM pg_temp.candle_changes d JOIN replaced r ON {" AND ".join(f"d.{name} = r.{name}" for name in KEYS)}
    WHERE d.is_other ORDER BY {_listed(KEYS, "d.{}")} RETURNING 1
) SELECT (SELECT count(*) FROM replaced), (SELECT count(*) FROM revised)"""
"""Replaces what is still as it was when it was compared; how many rows, and how many of them by other values."""


def same_candle(rows: Rows, series: Mapping[int, Series]) -> str:
    """The condition that a row `c` of `candles` is the same candle as `s`, with bounds that spare most of the table."""
    known = [series[number] for number in np.unique(rows["series"]).tolist()]
    times = rows["open_time"]
    parts = [f"c.{name} = s.{name}" for name in KEYS]
    parts += [f"c.time >= '{format_time(int(times.min()))}'", f"c.time <= '{format_time(int(times.max()))}'"]
    if len(known) <= _MOST_NAMED:
        for name in KEYS[:3]:
            words = sorted({str(getattr(one, name)) for one in known})
            parts.append(f"c.{name} IN ({', '.join(map(quoted, words))})")
    return " AND ".join(parts)


def quoted(text: str) -> str:
    """Text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"
