"""Databases that have the schema: PostgreSQL alone, and TimescaleDB."""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from candlewick.errors import StoreError
from candlewick.stores.postgres.schema import SchemaOptions, is_timescale, migrate

KINDS = ("plain", "timescale")
TABLES = (
    "candles, candle_revisions, gap_reasons, provenance, quarantined, data_quality_logs, predictions, ensemble_models, "
    "features, volume_profiles, job_runs"
)


@pytest.fixture(scope="module")
def migrated_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of one database with the schema for a whole module, by its parameter plain or timescale."""
    if request.param == "plain":
        server = request.getfixturevalue("postgres_server")
        template = request.getfixturevalue("schema_template")
        server.revive()
        url = server.new_database(template)
        yield url
        server.revive()
        server.drop_database(url)
    else:
        server = request.getfixturevalue("timescale_server")
        try:
            asyncio.run(empty(server.url))  # the module before may have left it as it should be
        except (asyncpg.PostgresError, StoreError, OSError):
            server.clear()
            asyncio.run(prepare(server.url))
        yield server.url


@pytest.fixture
def each_url(migrated_url: str) -> str:
    """The address of that database, without rows, its options as they are by default."""
    asyncio.run(empty(migrated_url))
    return migrated_url


async def prepare(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await migrate(connection)
    finally:
        await connection.close()


async def empty(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"TRUNCATE {TABLES}")
        if await is_timescale(connection):  # what was refreshed stays there without the rows it is made of
            named = "SELECT view_name FROM timescaledb_information.continuous_aggregates"
            for (name,) in await connection.fetch(named):
                await connection.execute(f"TRUNCATE {name}")
        await migrate(connection, SchemaOptions())
    finally:
        await connection.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what asks for `migrated_url` on both kinds, unless it is parametrized with some."""
    given = {mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")}
    if "migrated_url" in metafunc.fixturenames and "migrated_url" not in given:
        metafunc.parametrize("migrated_url", KINDS, indirect=True, scope="module")
