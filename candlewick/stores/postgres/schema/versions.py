"""The migrations that come with the program, and those a database has had."""

import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import asyncpg

from candlewick.errors import StoreError, StoreTooNew

PLAIN, TIMESCALE = "plain", "timescale"
"""The two kinds of database; where a migration has two files, each is for one of them."""

_CREATED = re.compile(r"^CREATE (?:MATERIALIZED )?(?:TABLE|VIEW) (\w+)", re.MULTILINE)


class Migration(NamedTuple):
    """One step from a version of the schema to the next."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of its text, in hexadecimal."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


@cache
def migrations(kind: str) -> tuple[Migration, ...]:
    """Every migration for a kind of database, in order."""
    found = []
    for file in sorted(files(__package__).joinpath("migrations").iterdir(), key=lambda one: one.name):
        name, _, rest = file.name.partition(".")
        if rest in {"sql", f"{kind}.sql"}:
            number, _, words = name.partition("_")
            found.append(Migration(int(number), words, file.read_text(encoding="utf-8")))
    return tuple(found)


def newest(kind: str) -> int:
    """The version that all migrations lead to."""
    return migrations(kind)[-1].version


@cache
def relations() -> frozenset[str]:
    """The names of all tables and views of the schema."""
    texts = [one.sql for kind in (PLAIN, TIMESCALE) for one in migrations(kind)]
    return frozenset({"schema_migrations"}.union(*map(_CREATED.findall, texts)))


async def applied(connection: asyncpg.Connection) -> dict[int, str]:
    """Checksums of the migrations a database has had, by version; empty where it has no schema of ours."""
    if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
        return {}
    rows = await connection.fetch("SELECT version, checksum FROM schema_migrations ORDER BY version")
    return {row["version"]: row["checksum"] for row in rows}


async def kind_of(connection: asyncpg.Connection) -> str:
    """Which kind of database a schema of ours was made for."""
    found = await connection.fetchval("SELECT value FROM schema_settings WHERE key = 'kind'")
    return str(found)


def require_known(held: dict[int, str], kind: str) -> None:
    """That a database has had no migration but ours, as they are.

    Raises:
        StoreTooNew: it has had one that this program does not know.
        StoreError: one has another text than it had then.
    """
    known = {one.version: one for one in migrations(kind)}
    for version, checksum in held.items():
        if version > newest(kind):
            raise StoreTooNew(
                f"the schema of the database is version {version}, this program knows {newest(kind)}: install the "
                "version of candlewick that made it, or a later one"
            )
        if version not in known or known[version].checksum != checksum:
            raise StoreError(
                f"migration {version} of the database is not the one of this program: it was made by a development "
                "version; install that one, or restore the database from a copy"
            )
