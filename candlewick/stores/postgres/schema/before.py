"""Takes over what stood in a database before: tables of the documented names that are not this schema's.

Nothing is deleted. Tables, views and functions whose names are needed move to the schema `candlewick_before`, with all
they hold, and stay there until somebody drops them. Their rows are copied into the new tables; candles that no candle can
be are kept in `quarantined`.
"""

# ruff: noqa: S608 - names are of this module, or of the catalogue and quoted

import asyncpg

from candlewick.errors import StoreError
from candlewick.stores.postgres.schema.earlier import (
    EARLIER_FUNCTIONS,
    EARLIER_RELATIONS,
    FRAMES,
    TAKEOVERS,
    Column,
    Takeover,
)
from candlewick.stores.postgres.schema.versions import relations

SCHEMA = "candlewick_before"

_MOVE = {"r": "TABLE", "p": "TABLE", "f": "FOREIGN TABLE", "v": "VIEW", "m": "MATERIALIZED VIEW", "S": "SEQUENCE"}


async def move_away(connection: asyncpg.Connection) -> list[str]:
    """Move what has a documented name; returns the names of the tables and views that were moved.

    Raises:
        StoreError: something else has a name that the schema needs.
    """
    rows = await connection.fetch(
        """SELECT relname, relkind::text FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relname = ANY($1::text[]) AND relkind IN ('r', 'p', 'f', 'v', 'm')""",
        list(relations()),
    )
    held = {row["relname"]: row["relkind"] for row in rows}
    strange = sorted(held.keys() - EARLIER_RELATIONS)
    if strange:
        raise StoreError(
            f"the database has tables that are not candlewick's under names that it needs ({', '.join(strange)}): "
            "give it a database of its own, or move those to another schema"
        )
    routines = await connection.fetch(
        """SELECT oid::regprocedure::text AS signature FROM pg_proc p
        WHERE pronamespace = current_schema()::regnamespace AND proname = ANY($1::text[])
            AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = p.oid AND deptype = 'e')""",
        EARLIER_FUNCTIONS,
    )
    if held or routines:
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    for name, kind in held.items():
        await connection.execute(f'ALTER {_MOVE[kind]} "{name}" SET SCHEMA {SCHEMA}')
    for row in routines:
        await connection.execute(f"ALTER ROUTINE {row['signature']} SET SCHEMA {SCHEMA}")
    return sorted(held)


async def end_jobs(connection: asyncpg.Connection) -> list[str]:
    """Take earlier jobs of the same purpose from pg_cron; says which."""
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron')"):
        return []
    rows = await connection.fetch(
        """SELECT jobid, command FROM cron.job
        WHERE database = current_database() AND coalesce(jobname, '') NOT LIKE 'candlewick%' AND command ~ $1""",
        "run_scheduled_cleanup|cleanup_old_data|compute_accuracy|VACUUM.*candles_1m",
    )
    for row in rows:
        await connection.execute("SELECT cron.unschedule($1::bigint)", row["jobid"])
    return [f"the earlier job of pg_cron is ended: {row['command']}" for row in rows]


async def take_over(connection: asyncpg.Connection, moved: list[str]) -> list[str]:
    """Copy the rows of the tables that were moved; says in words what became of them."""
    notes = [await _copy(connection, one) for one in TAKEOVERS if one.old in moved]
    notes += await end_jobs(connection)
    others = sorted(set(moved) - {one.old for one in TAKEOVERS})
    if others:
        notes.append(f"moved to the schema {SCHEMA}, as their names are needed: {', '.join(others)}")
    return notes


async def _copy(connection: asyncpg.Connection, one: Takeover) -> str:
    old = f"{SCHEMA}.{one.old}"
    rows = await connection.fetch(
        """SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute
        WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped""",
        old,
    )
    types = {row["attname"]: row["type"] for row in rows}
    names = ", ".join(column.name for column in one.columns)
    mapped = ", ".join(f"{_value(column, types)} AS {column.name}" for column in one.columns)
    source = f"(SELECT {mapped}, to_jsonb(old) AS whole FROM {old} AS old) AS row"
    if one.new == "candles":
        await connection.execute(
            f"SELECT ensure_candle_partitions(week, week + interval '1 second') FROM (SELECT DISTINCT "
            f"date_bin('7 days', time, '1970-01-05 00:00:00+00') AS week FROM {source} WHERE {one.fits}) AS weeks"
        )
    done = await connection.execute(
        f"INSERT INTO {one.new} ({names}) SELECT {names} FROM {source} WHERE {one.fits} ORDER BY {one.order} "
        "ON CONFLICT DO NOTHING"
    )
    aside = await connection.execute(
        f"INSERT INTO quarantined (series, rule, source, raw) SELECT '', 'taken over from {one.old}', 'manual', "
        f"convert_to(whole::text, 'UTF8') FROM {source} WHERE ({one.fits}) IS NOT TRUE"
    )
    if one.new == "candles":
        await connection.execute(
            "UPDATE candles SET close_time = (time AT TIME ZONE 'UTC' + candle_interval(interval)) AT TIME ZONE 'UTC' "
            "- interval '1 millisecond'"
        )
    if "id" in types:
        await connection.execute(
            f"SELECT setval(pg_get_serial_sequence('{one.new}', 'id'), greatest((SELECT max(id) FROM {one.new}), 1))"
        )
    total = await connection.fetchval(f"SELECT count(*) FROM {old}")
    kept, refused = int(done.split()[-1]), int(aside.split()[-1])
    words = f"{one.old}: {kept} of {total} rows taken over into {one.new}"
    if refused:
        words += f", {refused} that do not fit kept in quarantined"
    if total - kept - refused:
        words += f", {total - kept - refused} that repeat others left"
    return f"{words}; the old table is {old}, to be dropped when it is not wanted any more"


def _value(column: Column, types: dict[str, str]) -> str:
    """The expression that makes a new column of an old row."""
    found = next((name for name in column.sources if name in types), None)
    if found is None:
        return f"({column.usual})::{'text' if column.kind == 'frame' else column.kind}"
    value = f'old."{found}"'
    if column.kind == "frame":
        return FRAMES.format(value)
    if column.kind == "timestamptz" and types[found].startswith("timestamp") and "without" in types[found]:
        value = f"({value} AT TIME ZONE 'UTC')"  # documented without a time zone: it was UTC
    elif column.kind == "timestamptz" and types[found] in {"bigint", "integer"}:
        value = f"to_timestamp({value} / 1000.0)"
    elif types[found] in {"double precision", "real"}:
        value = f"{value}::text"  # the shortest decimals, where a cast to numeric would round
    value = f"{value}::{column.kind}"
    return value if column.usual == "NULL" else f"coalesce({value}, {column.usual})"
