"""Fixtures for every test: where the recordings of the real exchange are, and real databases."""

import asyncio
import os
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from candlewick.stores.postgres.schema import SchemaOptions, migrate
from tests.servers import timescale
from tests.servers.postgres import DEBIAN, PostgresServer, default_binaries
from tests.servers.timescale import TimescaleServer


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder with recordings of the real exchange, which may not be redistributed."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CANDLEWICK_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"recordings of the real exchange are not at {folder} (set CANDLEWICK_DATA)")
    return folder


@pytest.fixture(scope="session")
def postgres_servers() -> Iterator[Callable[[Path | None], PostgresServer]]:
    """Servers by the folder of their binaries, each started when first asked for and stopped at the end."""
    servers: dict[Path, PostgresServer] = {}

    def server_of(binaries: Path | None) -> PostgresServer:
        if binaries is None or not (binaries / "postgres").exists():
            pytest.skip(f"no PostgreSQL in {binaries or 'sight'} (set CANDLEWICK_POSTGRES_BIN to a folder that has it)")
        if binaries not in servers:
            servers[binaries] = PostgresServer(binaries)
            servers[binaries].start()
        return servers[binaries]

    yield server_of
    for server in servers.values():
        server.close()


@pytest.fixture(scope="session")
def postgres_server(postgres_servers: Callable[[Path | None], PostgresServer]) -> PostgresServer:
    """A running PostgreSQL server; a test may stop, kill or pause it."""
    return postgres_servers(default_binaries())


@pytest.fixture
def database_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The address of a fresh, empty database."""
    yield from _database(postgres_server)


@pytest.fixture(scope="session")
def schema_template(postgres_server: PostgresServer) -> str:
    """The address of a database with the schema and no rows, to be copied."""
    postgres_server.revive()
    url = postgres_server.new_database()
    migrated(url)
    return url


@pytest.fixture
def schema_url(postgres_server: PostgresServer, schema_template: str) -> Iterator[str]:
    """The address of a fresh database that has the schema."""
    yield from _database(postgres_server, schema_template)


@pytest.fixture(scope="module")
def schema_once(postgres_server: PostgresServer, schema_template: str) -> Iterator[str]:
    """The address of a database that has the schema, one for all tests of a module."""
    yield from _database(postgres_server, schema_template)


@pytest.fixture
def emptied_url(postgres_server: PostgresServer, schema_once: str) -> Iterator[str]:
    """The address of a database that has the schema and no rows: sooner there than a fresh one."""
    postgres_server.revive()
    yield schema_once
    postgres_server.revive()
    execute(
        schema_once,
        "TRUNCATE candles, candle_revisions, gap_reasons, provenance, series, quarantined RESTART IDENTITY",
        "SELECT drop_candles_before('infinity')",
    )


@pytest.fixture(params=["default", "oldest"])
def each_postgres_url(
    request: pytest.FixtureRequest, postgres_servers: Callable[[Path | None], PostgresServer]
) -> Iterator[str]:
    """A fresh, empty database, once on the default server and once on the oldest one that is supported."""
    yield from _database(postgres_servers(default_binaries() if request.param == "default" else DEBIAN))


@pytest.fixture(scope="session")
def timescale_server() -> Iterator[TimescaleServer]:
    """A running TimescaleDB with one database; skipped where it cannot be installed."""
    try:
        timescale.provision()
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"TimescaleDB for tests cannot be installed: {error}")
    server = TimescaleServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def timescale_url(timescale_server: TimescaleServer) -> str:
    """The address of a database that has the TimescaleDB extension and nothing else."""
    timescale_server.clear()
    return timescale_server.url


def migrated(url: str) -> None:
    """Make the schema in the database at an address."""
    asyncio.run(_connected(url, lambda connection: migrate(connection, SchemaOptions())))


def execute(url: str, *statements: str) -> None:
    """Run statements in the database at an address."""

    async def run(connection: asyncpg.Connection) -> None:
        for one in statements:
            await connection.execute(one)

    asyncio.run(_connected(url, run))


async def _connected(url: str, work: Callable[[asyncpg.Connection], Awaitable[object]]) -> None:
    connection = await asyncpg.connect(url)
    try:
        await work(connection)
    finally:
        await connection.close()


def _database(server: PostgresServer, template: str | None = None) -> Iterator[str]:
    server.revive()
    url = server.new_database(template)
    yield url
    server.revive()
    server.drop_database(url)
