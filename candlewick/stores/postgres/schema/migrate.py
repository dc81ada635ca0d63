"""Brings a database to the newest version of the schema, from an empty one or from any version before.

Everything happens in one transaction under an advisory lock: it is done once, by whoever comes first, wholly or not at
all. Where there is nothing to do nothing is locked, and no right but reading is needed.
"""

from typing import NamedTuple

import asyncpg

from candlewick.errors import StoreError
from candlewick.market import Interval, Market, Series
from candlewick.stores.postgres.schema import before, policies, roles
from candlewick.stores.postgres.schema.versions import (
    PLAIN,
    TIMESCALE,
    applied,
    kind_of,
    migrations,
    newest,
    require_known,
)

LEAST_VERSION = 15
LOCK = 0x63616E646C65  # "candle"

_LEDGER = """
CREATE TABLE schema_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


_LOADED = """
SELECT EXISTS (
    SELECT FROM pg_settings
    WHERE (name = 'shared_preload_libraries' AND setting ~ $1) OR split_part(name, '.', 1) = $2
)
"""


class SchemaOptions(NamedTuple):
    """What an installation decides: the default series' market and symbol, and how long what is kept."""

    market: str = "spot"
    symbol: str = "BTCUSDT"
    candles_months: int = 13
    predictions_months: int = 3
    features_months: int = 1
    quality_months: int = 0
    compress_after_days: int = 7


class Migrated(NamedTuple):
    """What was done. `before` and `after` are versions, 0 for none; `applied` names migrations and changed options."""

    before: int
    after: int
    applied: list[str]
    notes: tuple[str, ...] = ()
    """What an operator should know: rows taken over, rights that were missing, extensions that were not to be had."""


async def migrate(connection: asyncpg.Connection, options: SchemaOptions | None = None) -> Migrated:
    """Bring the database to the newest version, and its options to `options` (None leaves them as they are).

    Idempotent; several processes may call it at once. Errors of the driver come as they are.

    Raises:
        StoreTooNew: a newer program made the schema.
        StoreError: the server is too old, or the schema is of a development version.
    """
    await _require_server(connection)
    held = await applied(connection)
    if held:
        kind = await kind_of(connection)
        require_known(held, kind)
        if max(held) == newest(kind) and (options is None or await _options(connection) == options):
            return Migrated(max(held), max(held), [])
    notes = await _add_extensions(connection, fresh=not held)
    async with connection.transaction():
        await connection.execute("SET LOCAL statement_timeout = 0")
        await connection.execute("SET LOCAL timezone = 'UTC'")
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        return await _migrate_locked(connection, options, notes)


async def require_schema(connection: asyncpg.Connection) -> None:
    """That the database has the schema this program reads and writes.

    Raises:
        StoreTooNew: a newer program made it.
        StoreError: it has none, or an older one.
    """
    held = await applied(connection)
    if not held:
        raise StoreError("the database has no tables of candlewick: run `candlewick schema init` on it")
    kind = await kind_of(connection)
    require_known(held, kind)
    if max(held) < newest(kind):
        raise StoreError(
            f"the schema of the database is version {max(held)}, this program needs {newest(kind)}: run `candlewick schema init` on it"
        )


async def is_timescale(connection: asyncpg.Connection) -> bool:
    """Whether the schema is kept by TimescaleDB; before there is one, whether it would be."""
    if await applied(connection):
        return await kind_of(connection) == TIMESCALE
    return await _find_kind(connection) == TIMESCALE


async def default_series(connection: asyncpg.Connection) -> Series:
    """The series that candles_1m shows."""
    row = await connection.fetchrow("SELECT default_market() AS market, default_symbol() AS symbol")
    return Series(Market(row["market"]), row["symbol"], Interval("1m"))


async def _migrate_locked(connection: asyncpg.Connection, options: SchemaOptions | None, notes: list[str]) -> Migrated:
    held = await applied(connection)
    fresh = not held
    kind = await _find_kind(connection) if fresh else await kind_of(connection)
    require_known(held, kind)
    await _set_search_path(connection)
    done: list[str] = []
    moved = await before.move_away(connection) if fresh else None
    if fresh:
        await connection.execute(_LEDGER)
    for migration in migrations(kind):
        if migration.version not in held:
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
                migration.version, migration.name, migration.checksum,
            )  # fmt: skip
            done.append(f"{migration.version} {migration.name}")
            if migration.version == 1:
                await _set(connection, "kind", kind)
                done += await _set_options(connection, options or SchemaOptions())
    if options is not None and not fresh:
        done += await _set_options(connection, options)
    if moved is not None:
        notes += await before.take_over(connection, moved)
    await connection.execute("SELECT run_scheduled_partitions()")
    notes += await policies.apply(connection, kind)
    notes += await roles.grant(connection)
    return Migrated(max(held, default=0), newest(kind), done, tuple(notes))


async def _require_server(connection: asyncpg.Connection) -> None:
    version = connection.get_server_version().major
    if version < LEAST_VERSION:
        raise StoreError(f"the server is PostgreSQL {version}: candlewick needs {LEAST_VERSION} or later")


async def _add_extensions(connection: asyncpg.Connection, *, fresh: bool) -> list[str]:
    """Add the extensions that the server has to the database; says why one could not be added."""
    notes = []
    for name in ("timescaledb", "pg_cron"):
        row = await connection.fetchrow("SELECT installed_version FROM pg_available_extensions WHERE name = $1", name)
        if row is None or row["installed_version"] is not None or (name == "timescaledb" and not fresh):
            continue
        why = await _why_not(connection, name)
        if not why:
            try:
                await connection.execute(f"CREATE EXTENSION IF NOT EXISTS {name} CASCADE")
            except asyncpg.PostgresError as error:
                if connection.is_closed():
                    raise
                why = str(error)
        if why:
            notes.append(f"{name} could not be added, and the schema does without: {why}")
    return notes


async def _why_not(connection: asyncpg.Connection, name: str) -> str:
    """Why an extension cannot be added, where that is known without trying.

    TimescaleDB ends the session of whoever adds it to a server that has not loaded it.
    """
    if not await connection.fetchval(_LOADED, name, name.removeprefix("pg_")):
        return "it is not in shared_preload_libraries of the server"
    place = await connection.fetchval("SELECT current_setting('cron.database_name', true)")
    if name == "pg_cron" and place != await connection.fetchval("SELECT current_database()"):
        return f"it works for the database {place} alone (cron.database_name)"
    return ""


async def _find_kind(connection: asyncpg.Connection) -> str:
    # The Apache edition of TimescaleDB has neither compression nor continuous aggregates: there our own ways are better.
    found = await connection.fetchval(
        """SELECT current_setting('timescaledb.license', true) IS DISTINCT FROM 'apache'
        FROM pg_extension WHERE extname = 'timescaledb'"""
    )
    return TIMESCALE if found else PLAIN


async def _set_search_path(connection: asyncpg.Connection) -> None:
    """For this transaction, and for functions that keep the search path they were made under."""
    await connection.execute(
        """SELECT set_config('search_path', concat_ws(', ', quote_ident(current_schema()), (
            SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace
            WHERE extname = 'timescaledb' AND nspname <> current_schema()
        ), 'pg_temp'), true)"""
    )


async def _options(connection: asyncpg.Connection) -> SchemaOptions:
    rows = await connection.fetch("SELECT key, value FROM schema_settings")
    held = {row["key"]: row["value"] for row in rows}
    plain = SchemaOptions()._asdict()
    return SchemaOptions(**{name: type(usual)(held[name]) if name in held else usual for name, usual in plain.items()})


async def _set_options(connection: asyncpg.Connection, options: SchemaOptions) -> list[str]:
    rows = await connection.fetch("SELECT key, value FROM schema_settings")
    held = {row["key"]: row["value"] for row in rows}
    changed = {name: str(value) for name, value in options._asdict().items() if held.get(name) != str(value)}
    for name, value in changed.items():
        await _set(connection, name, value)
    return [f"{name} = {value}" for name, value in changed.items()]


async def _set(connection: asyncpg.Connection, key: str, value: str) -> None:
    await connection.execute(
        "INSERT INTO schema_settings VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value", key, value
    )
