"""What a database has, as a document that two databases can be compared by; and what it should have.

`expected.plain.json` and `expected.timescale.json` are such documents, of databases that were just migrated; a test
compares them with what the migrations make, and writes them anew where CANDLEWICK_RENEW is set.
"""

# ruff: noqa: S608 - the pieces are of this module

import json
from functools import cache
from importlib.resources import files

import asyncpg

Description = dict[str, dict[str, str]]
"""By kind of thing (columns, indexes, constraints, functions, triggers), then by name: its definition."""

_OWN = "relnamespace = current_schema()::regnamespace AND NOT relispartition"
_NOT_AN_EXTENSION = "NOT EXISTS (SELECT FROM pg_depend WHERE objid = {} AND deptype = 'e')"

_QUERIES = {
    "columns": f"""
        SELECT relname || '.' || attname, format_type(atttypid, atttypmod)
            || CASE WHEN collname = 'C' THEN ' collate "C"' ELSE '' END || CASE WHEN attnotnull THEN ' not null' ELSE '' END
        FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
            LEFT JOIN pg_collation ON pg_collation.oid = attcollation
        WHERE {_OWN} AND relkind IN ('r', 'p', 'v', 'm') AND {_NOT_AN_EXTENSION.format("pg_class.oid")}""",
    "indexes": f"""
        SELECT relname, replace(pg_get_indexdef(pg_class.oid), ' ON ONLY ', ' ON ') FROM pg_class
        WHERE {_OWN} AND relkind IN ('i', 'I')""",
    "constraints": f"""
        SELECT relname || '.' || conname, pg_get_constraintdef(c.oid) FROM pg_constraint c JOIN pg_class ON pg_class.oid = conrelid
        WHERE {_OWN} AND contype IN ('c', 'p', 'u')""",
    "functions": f"""
        SELECT oid::regprocedure::text, pg_get_function_result(oid) FROM pg_proc
        WHERE pronamespace = current_schema()::regnamespace AND {_NOT_AN_EXTENSION.format("pg_proc.oid")}""",
    "triggers": f"""
        SELECT relname || '.' || tgname, tgfoid::regproc::text FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
        WHERE {_OWN} AND NOT tgisinternal AND tgname NOT LIKE 'ts\\_%'""",
}


async def describe(connection: asyncpg.Connection) -> Description:
    """What the connection's schema has."""
    found: Description = {}
    async with connection.transaction(readonly=True):
        # names without their schema, whatever search path the session came with
        await connection.execute("SELECT set_config('search_path', quote_ident(current_schema()), true)")
        for what, query in _QUERIES.items():
            rows = await connection.fetch(query)
            schema = await connection.fetchval("SELECT quote_ident(current_schema()) || '.'")
            found[what] = {row[0]: row[1].replace(f" ON {schema}", " ON ") for row in sorted(rows)}
    return found


@cache
def expected(kind: str) -> Description:
    """What a database of a kind has once it is migrated."""
    text = files(__package__).joinpath(f"expected.{kind}.json").read_text(encoding="utf-8")
    document: Description = json.loads(text)
    return document
