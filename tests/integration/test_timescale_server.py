"""The TimescaleDB that tests run against: its SQL is the real one, and each test finds it empty."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import TypeVar

import asyncpg
import pytest

from tests.servers.timescale import TimescaleServer

T = TypeVar("T")
START = datetime(2024, 1, 1, tzinfo=UTC)
TABLE = (
    "CREATE TABLE bars (time timestamptz NOT NULL, name text, value float8); SELECT create_hypertable('bars', 'time')"
)
DAYS = """CREATE MATERIALIZED VIEW days WITH (timescaledb.continuous) AS
SELECT time_bucket('1 day', time) AS day, sum(value) AS total FROM bars GROUP BY 1 WITH NO DATA"""


def connected(url: str, run: Callable[..., Awaitable[T]], clients: int = 1) -> T:
    async def scenario() -> T:
        connections = [await asyncpg.connect(url) for _ in range(clients)]
        try:
            return await run(*connections)
        finally:
            for one in connections:
                await one.close()

    return asyncio.run(scenario())


async def fill(connection: asyncpg.Connection, rows: int = 3000) -> None:
    await connection.execute(TABLE)
    records = [(START + timedelta(hours=number), "a", float(number)) for number in range(rows)]
    await connection.copy_records_to_table("bars", records=records)


def test_copied_rows_come_back_in_binary(timescale_url: str) -> None:
    """Rows copied into a hypertable are all copied out again."""

    async def run(connection: asyncpg.Connection) -> int:
        await fill(connection)
        out = BytesIO()
        await connection.copy_from_query("SELECT time, value FROM bars", output=out, format="binary")
        return len(out.getvalue())

    head, row, trailer = 19, 2 + 2 * (4 + 8), 2
    assert connected(timescale_url, run) == head + 3000 * row + trailer


def test_chunks_compress_and_aggregates_refresh(timescale_url: str) -> None:
    """Compression, an insert into a compressed chunk, and a continuous aggregate work as they do in production."""

    async def run(connection: asyncpg.Connection) -> tuple[int, float]:
        await fill(connection)
        await connection.execute("ALTER TABLE bars SET (timescaledb.compress, timescaledb.compress_segmentby = 'name')")
        await connection.execute("SELECT compress_chunk(c) FROM show_chunks('bars') AS c")
        await connection.execute("INSERT INTO bars VALUES ($1, 'a', 1000)", START)
        await connection.execute(DAYS)
        await connection.execute("CALL refresh_continuous_aggregate('days', NULL, NULL)")
        total = await connection.fetchval("SELECT total FROM days WHERE day = $1", START)
        rows = await connection.fetchval("SELECT count(*) FROM bars")
        return rows, total

    assert connected(timescale_url, run) == (3001, sum(range(24)) + 1000.0)


@pytest.mark.parametrize("time", [1, 2])
def test_database_is_empty_for_each_test(timescale_server: TimescaleServer, timescale_url: str, time: int) -> None:
    """Whatever was made is gone the next time, without a new server."""
    port = timescale_server.port

    async def run(connection: asyncpg.Connection) -> None:
        await fill(connection, 10)
        await connection.execute(DAYS)
        await connection.execute("SELECT add_retention_policy('bars', INTERVAL '1 month')")
        await connection.execute("CREATE SCHEMA mine; CREATE TABLE mine.plain (n int); CREATE ROLE reader")
        await connection.execute("CREATE FUNCTION two() RETURNS int LANGUAGE sql AS 'SELECT 2'")
        await connection.execute("CREATE PROCEDURE job(id int, config jsonb) LANGUAGE sql AS 'SELECT 2'")
        await connection.execute("SELECT add_job('job', '1 hour')")
        await connection.execute("GRANT SELECT ON mine.plain TO reader; SET search_path TO mine")

    connected(timescale_url, run)
    timescale_server.clear()
    assert timescale_server.port == port


def test_transactions_of_clients_do_not_mix(timescale_url: str) -> None:
    """A client sees nothing of another's open transaction: it waits for its end, and a rollback leaves nothing."""

    async def run(one: asyncpg.Connection, other: asyncpg.Connection) -> tuple[int, int]:
        await fill(one, 10)
        undone = one.transaction()
        await undone.start()
        await one.execute("DELETE FROM bars")
        question = asyncio.ensure_future(other.fetchval("SELECT count(*) FROM bars WHERE value >= $1", 0.0))
        mine = await one.fetchval("SELECT count(*) FROM bars WHERE value >= $1", 0.0)
        await undone.rollback()
        return mine, await question

    assert connected(timescale_url, run, clients=2) == (0, 10)


def test_error_leaves_the_connection_usable(timescale_url: str) -> None:
    """A wrong statement, also a wrong COPY, is refused with the database's words, and the next one runs."""

    async def run(connection: asyncpg.Connection) -> int:
        with pytest.raises(asyncpg.UndefinedTableError, match="nothing"):
            await connection.fetchval("SELECT count(*) FROM nothing WHERE n = $1", 1)
        with pytest.raises(asyncpg.UndefinedTableError, match="nothing"):
            await connection.copy_records_to_table("nothing", records=[(1,)], columns=["n"])
        with pytest.raises(asyncpg.UndefinedTableError, match="nothing"):
            await connection.copy_from_query("SELECT n FROM nothing", output=BytesIO())
        return int(await connection.fetchval("SELECT 1"))

    assert connected(timescale_url, run) == 1
