"""A service brings the schema of its database up to date at its start, or finds it good enough."""

import asyncio
from collections.abc import Iterator

import pytest

from candlewick.errors import StoreDown, StoreError
from candlewick.services.schema import prepare
from candlewick.stores.postgres.connection import Database
from candlewick.stores.postgres.schema import SchemaOptions, default_series
from tests.servers.postgres import PostgresServer

ETH = SchemaOptions(symbol="ETHUSDT")


@pytest.fixture
def modest_url(database_url: str, postgres_server: PostgresServer) -> Iterator[str]:
    """The same database for a user who may write tables and make none."""
    database = database_url.rpartition("/")[2]
    postgres_server.execute("CREATE ROLE modest LOGIN PASSWORD 'word'")
    yield postgres_server.url_of(database, "modest:word")
    asyncio.run(_execute(database_url, "DROP OWNED BY modest"))
    postgres_server.execute("DROP ROLE modest")


async def _execute(url: str, *statements: str) -> None:
    database = await Database.open(url, application="test")
    async with database.acquire() as connection:
        for statement in statements:
            await connection.execute(statement)
    await database.close()


async def _symbol(url: str) -> str:
    database = await Database.open(url, application="test")
    async with database.acquire() as connection:
        series = await default_series(connection)
    await database.close()
    return series.symbol


def test_empty_database_gets_its_tables(database_url: str) -> None:
    """The first to start makes the tables; those who start at the same time, and later, find them."""

    async def main() -> None:
        await asyncio.gather(*(prepare(database_url, ETH, "test") for _ in range(3)))
        await prepare(database_url, ETH, "test")
        assert await _symbol(database_url) == "ETHUSDT"

    asyncio.run(main())


def test_writer_needs_no_right_to_make_tables(database_url: str, modest_url: str) -> None:
    """Where the schema is right a role that may only write is enough, though its settings would change an option."""

    async def main() -> None:
        await prepare(database_url, ETH, "test")
        await _execute(database_url, "GRANT candlewick_writer TO modest")
        await prepare(modest_url, ETH, "test")
        await prepare(modest_url, ETH._replace(candles_months=1), "test")

    asyncio.run(main())


def test_role_that_can_make_no_tables_is_told(modest_url: str) -> None:
    """Where there are none, and this role may not make them, the words say both."""

    async def main() -> None:
        with pytest.raises(StoreError) as failure:
            await prepare(modest_url, ETH, "test")
        assert "permission denied" in str(failure.value)
        assert "candlewick schema init" in str(failure.value)
        assert "word" not in str(failure.value)

    asyncio.run(main())


def test_database_that_is_down_is_no_wrong_schema(database_url: str, postgres_server: PostgresServer) -> None:
    """What passes by itself is told apart from what does not."""
    postgres_server.stop()
    with pytest.raises(StoreDown):
        asyncio.run(prepare(database_url, ETH, "test"))
