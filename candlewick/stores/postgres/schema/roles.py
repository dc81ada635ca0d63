"""Who may do what: two group roles that have no login, to be granted to users.

The owner is whoever ran the first migration: TimescaleDB runs a table's policies in its owner's name, which therefore
must be a user.
"""

import asyncpg

WRITER, READER = "candlewick_writer", "candlewick_reader"

_OWNERS_FUNCTIONS = ("cleanup_old_data(timestamptz)", "run_scheduled_cleanup(timestamptz)")
_WRITERS_FUNCTIONS = (
    "ensure_candle_partitions(timestamptz, timestamptz)", "run_scheduled_partitions(timestamptz)",
    "begin_candle_weeks(timestamptz[])", "attach_candle_weeks(timestamptz[])",
)  # fmt: skip
_INNER_FUNCTIONS = ("drop_candles_before(timestamptz)", "drop_chunks_before(regclass, timestamptz)")


_OURS = """
SELECT quote_ident(relname) AS name, relkind = 'S' AS is_sequence FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S')
    AND NOT relispartition AND pg_has_role(relowner, 'USAGE')
    AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')
"""
"""Tables, views and sequences of this user; partitions are reached through their table, and extensions have their own."""


async def grant(connection: asyncpg.Connection) -> list[str]:
    """Make the roles where that is allowed, and give those that exist their rights; says what could not be done."""
    notes = [words for role in (WRITER, READER) if (words := await _make(connection, role))]
    for function in (*_OWNERS_FUNCTIONS, *_WRITERS_FUNCTIONS, *_INNER_FUNCTIONS):
        if await connection.fetchval("SELECT to_regprocedure($1)", function) is not None:
            await connection.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")
    held = await connection.fetch(_OURS)
    tables = ", ".join(row["name"] for row in held if not row["is_sequence"])
    sequences = ", ".join(row["name"] for row in held if row["is_sequence"])
    schema = await connection.fetchval("SELECT quote_ident(current_schema())")
    for role, statements in (
        (WRITER, _writer(schema, tables, sequences)),
        (READER, _reader(schema, tables)),
    ):
        if await exists(connection, role):
            for statement in statements:
                await connection.execute(statement)
    return notes


async def _make(connection: asyncpg.Connection, role: str) -> str:
    """Make a role where there is none; says why it could not be."""
    if await exists(connection, role):
        return ""
    try:
        async with connection.transaction():
            await connection.execute(f"CREATE ROLE {role} NOLOGIN")
    except asyncpg.InsufficientPrivilegeError:
        return f"the role {role} could not be made: this user may not create roles"
    except asyncpg.PostgresError as error:
        # roles belong to the whole server: somebody who prepares another database may be faster
        if error.sqlstate not in {"42710", "23505"}:
            raise
    return ""


def _writer(schema: str, tables: str, sequences: str) -> list[str]:
    functions = ", ".join((*_OWNERS_FUNCTIONS, *_WRITERS_FUNCTIONS))
    return [
        f"GRANT USAGE ON SCHEMA {schema} TO {WRITER}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {WRITER}",
        f"GRANT USAGE, SELECT ON SEQUENCE {sequences} TO {WRITER}",
        f"GRANT EXECUTE ON FUNCTION {functions} TO {WRITER}",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {WRITER}",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT USAGE, SELECT ON SEQUENCES TO {WRITER}",
        # what the schema itself goes by is the owner's
        f"REVOKE INSERT, UPDATE, DELETE ON schema_migrations, schema_settings FROM {WRITER}",
    ]


def _reader(schema: str, tables: str) -> list[str]:
    return [
        f"GRANT USAGE ON SCHEMA {schema} TO {READER}",
        f"GRANT SELECT ON {tables} TO {READER}",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT ON TABLES TO {READER}",
    ]


async def exists(connection: asyncpg.Connection, role: str) -> bool:
    """Whether the server has a role."""
    return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role))
