"""What a database does by itself: TimescaleDB's policies, and pg_cron's jobs where that extension is there."""

from datetime import timedelta
from typing import NamedTuple

import asyncpg

from candlewick.stores.postgres.jobs import JOBS, cron_runs_here
from candlewick.stores.postgres.schema.versions import TIMESCALE

COMPRESSION, RETENTION, REFRESH = "policy_compression", "policy_retention", "policy_refresh_continuous_aggregate"

_MODELS_COMPRESS_AFTER = {"predictions": "30 days", "features": "7 days"}
AGGREGATES = {
    "candles_5m": (timedelta(minutes=5), timedelta(minutes=5)),
    "candles_15m": (timedelta(minutes=15), timedelta(minutes=15)),
    "candles_1h": (timedelta(hours=1), timedelta(minutes=15)),
    "candles_4h": (timedelta(hours=4), timedelta(minutes=30)),
}
"""How long their candles are, and how often they are refreshed: up to the last that is over."""

_KEYS = {COMPRESSION: "compress_after", RETENTION: "drop_after"}
_ADD = {
    COMPRESSION: "SELECT add_compression_policy($1::text::regclass, $2::text::interval)",
    RETENTION: "SELECT add_retention_policy($1::text::regclass, $2::text::interval)",
}
_REMOVE = {
    COMPRESSION: "SELECT remove_compression_policy($1::text::regclass, if_exists => true)",
    RETENTION: "SELECT remove_retention_policy($1::text::regclass, if_exists => true)",
}
_ADD_REFRESH = """
SELECT add_continuous_aggregate_policy(
    $1::text::regclass, start_offset => NULL, end_offset => $2::interval, schedule_interval => $3::interval)
"""
_ADD_REFRESH_IN_BATCHES = """
SELECT add_continuous_aggregate_policy(
    $1::text::regclass, start_offset => NULL, end_offset => $2::interval, schedule_interval => $3::interval,
    buckets_per_batch => $4::integer)
"""
_KNOWS_BATCHES = """
SELECT EXISTS (SELECT FROM pg_proc WHERE proname = 'add_continuous_aggregate_policy' AND 'buckets_per_batch' = ANY (proargnames))
"""
_BATCH = timedelta(days=7)
"""Of time, in each transaction of a refresh: a chunk's. One bucket each, as TimescaleDB 2.23 does, takes minutes at first."""
_HELD = """
SELECT (config ->> $2)::interval = $3::text::interval FROM timescaledb_information.jobs
WHERE proc_name = $4 AND hypertable_name = $1 AND hypertable_schema = current_schema()
"""


class Policy(NamedTuple):
    """What TimescaleDB does to a hypertable, `after` how long; None: nothing."""

    table: str
    procedure: str
    after: str | None


async def wanted(connection: asyncpg.Connection) -> list[Policy]:
    """The policies that the settings ask for."""
    months = {
        "candles": await _setting(connection, "candles_months"),
        "predictions": await _setting(connection, "predictions_months"),
        "features": await _setting(connection, "features_months"),
    }
    days = await _setting(connection, "compress_after_days")
    compress = {"candles": f"{days} days", **_MODELS_COMPRESS_AFTER}
    return [
        *(Policy(table, COMPRESSION, after if days else None) for table, after in compress.items()),
        *(Policy(table, RETENTION, f"{count} months" if count else None) for table, count in months.items()),
    ]


async def is_kept(connection: asyncpg.Connection, policy: Policy) -> bool:
    """Whether the database has the policy as it should be, or not where there should be none."""
    held = await connection.fetchval(
        _HELD, policy.table, _KEYS[policy.procedure], policy.after or "0", policy.procedure
    )
    return held is True if policy.after else held is None


async def refreshed(connection: asyncpg.Connection) -> set[str]:
    """The continuous aggregates that have a policy of refresh."""
    rows = await connection.fetch(
        """SELECT view_name FROM timescaledb_information.continuous_aggregates a
        JOIN timescaledb_information.jobs j ON j.proc_name = $1 AND j.hypertable_name IN (
            a.view_name, a.materialization_hypertable_name)
        WHERE view_schema = current_schema()""",
        REFRESH,
    )
    return {row["view_name"] for row in rows}


async def apply(connection: asyncpg.Connection, kind: str) -> list[str]:
    """Make the policies what the settings say, and give pg_cron its jobs; says what could not be done."""
    if kind == TIMESCALE:
        for policy in await wanted(connection):
            if not await is_kept(connection, policy):
                await connection.execute(_REMOVE[policy.procedure], policy.table)
                if policy.after:
                    await connection.execute(_ADD[policy.procedure], policy.table, policy.after)
        held = await refreshed(connection)
        in_batches = await connection.fetchval(_KNOWS_BATCHES)
        for view, (width, every) in AGGREGATES.items():
            if view in held:
                continue
            if in_batches:
                await connection.execute(_ADD_REFRESH_IN_BATCHES, view, width, every, _BATCH // width)
            else:
                await connection.execute(_ADD_REFRESH, view, width, every)
    return await _schedule(connection)


async def _schedule(connection: asyncpg.Connection) -> list[str]:
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron')"):
        return []
    try:
        async with connection.transaction():
            for job in JOBS:
                for number, command in enumerate(job.commands):
                    name = job.cron_name(number)
                    await connection.execute("SELECT cron.schedule($1, $2, $3)", name, job.cron, job.in_cron(command))
    except asyncpg.InsufficientPrivilegeError as error:
        return [f"pg_cron is there, but may not be used ({error}): the services run the jobs"]
    return [] if await cron_runs_here(connection) else ["pg_cron is there, but does not run: the services run the jobs"]


async def _setting(connection: asyncpg.Connection, name: str) -> int:
    return int(await connection.fetchval("SELECT schema_setting($1)", name))
