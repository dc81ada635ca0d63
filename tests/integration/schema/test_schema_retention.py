"""What the nightly jobs delete and count, on both kinds of database."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from candlewick.stores.postgres.schema import SchemaOptions, migrate
from tests.integration.schema.asked import asked, fetched, seed

NOW = datetime(2026, 3, 31, 2, tzinfo=UTC)
"""13 months before is 2025-02-28, the last day of that month."""


async def fill(connection: asyncpg.Connection) -> None:
    """Rows on both sides of every limit."""
    for month, day in ((1, 6), (2, 5), (2, 27), (3, 20)):
        await seed(connection, datetime(2025, month, day, tzinfo=UTC), 10)
    for days in (200, 80, 1):
        await connection.execute(
            "INSERT INTO predictions (model_name, prediction_time, target_time, horizon, predicted_close) "
            "VALUES ('gru', $1, $1::timestamptz + interval '1 minute', 1, 1)",
            NOW - timedelta(days=days),
        )
        await connection.execute(
            "INSERT INTO features (time, features_json) VALUES ($1, '{}')", NOW - timedelta(days=days)
        )
        await connection.execute(
            "INSERT INTO data_quality_logs (event_type, resolved, resolved_at, created_at) VALUES "
            "('error', true, $1::timestamptz, $1), ('error', false, NULL, $1)",
            NOW - timedelta(days=days),
        )


def test_cleanup_deletes_by_calendar_months_and_counts_rows(each_url: str) -> None:
    """Whole weeks before the limit go, nothing newer does, and each of the four counts is of rows, not of chunks."""

    async def ask(connection: asyncpg.Connection) -> tuple[dict[str, Any], list[Any]]:
        await fill(connection)
        counts = dict(await connection.fetchrow("SELECT * FROM cleanup_old_data($1)", NOW))
        left = await connection.fetch("SELECT DISTINCT date_trunc('day', time) AS day FROM candles_1m ORDER BY 1")
        return counts, [row["day"].date().isoformat() for row in left]

    counts, left = asked(each_url, ask)
    assert counts == {"candles_deleted": 20, "predictions_deleted": 1, "features_deleted": 2, "logs_deleted": 0}
    assert left == ["2025-02-27", "2025-03-20"]


def test_nothing_that_should_stay_is_deleted_a_day_early(each_url: str) -> None:
    """A week that lies only partly before the limit stays whole."""

    async def ask(connection: asyncpg.Connection) -> int:
        await seed(connection, datetime(2025, 2, 25, tzinfo=UTC), 10 * 1440)
        await connection.execute("SELECT cleanup_old_data($1)", NOW)
        return int(await connection.fetchval("SELECT count(*) FROM candles WHERE time >= '2025-02-28 02:00+00'"))

    assert asked(each_url, ask) == 7 * 1440 - 120


def test_one_retention_holds_everywhere(each_url: str) -> None:
    """The months of the settings are those that the cleanup goes by, 0 keeps everything, and resolved log rows go by theirs."""

    async def ask(connection: asyncpg.Connection) -> tuple[dict[str, Any], dict[str, Any]]:
        await fill(connection)
        call = "SELECT * FROM cleanup_old_data($1)"
        await migrate(connection, SchemaOptions(candles_months=0, predictions_months=0, features_months=0))
        kept = dict(await connection.fetchrow(call, NOW))
        await migrate(
            connection, SchemaOptions(candles_months=12, predictions_months=2, features_months=12, quality_months=2)
        )
        return kept, dict(await connection.fetchrow(call, NOW))

    kept, done = asked(each_url, ask)
    assert set(kept.values()) == {0}
    assert done == {
        "candles_deleted": 40,
        "predictions_deleted": 2,
        "features_deleted": 0,
        "logs_deleted": 2,
    }


def test_scheduled_cleanup_commits_and_logs_a_row(each_url: str) -> None:
    """The job deletes and leaves one row of event type cleanup with what it deleted."""

    async def ask(connection: asyncpg.Connection) -> None:
        await fill(connection)
        await connection.execute("SELECT run_scheduled_cleanup($1)", NOW)

    asked(each_url, ask)
    assert fetched(each_url, "SELECT count(*) FROM candles") == [(20,)]
    logged = fetched(
        each_url,
        "SELECT source, resolved, (details ->> 'candles_deleted')::integer FROM data_quality_logs WHERE event_type = 'cleanup'",
    )
    assert logged == [("system", True, 20)]


def test_cleanup_drops_chunks_that_hold_nothing_recent(each_url: str) -> None:
    """Running it again deletes nothing more, and new rows may come for the same range."""

    async def ask(connection: asyncpg.Connection) -> list[int]:
        await fill(connection)
        call = "SELECT candles_deleted FROM cleanup_old_data($1)"
        first, second = await connection.fetchval(call, NOW), await connection.fetchval(call, NOW)
        await seed(connection, datetime(2025, 1, 6, tzinfo=UTC), 5)
        return [first, second, await connection.fetchval(call, NOW)]

    assert asked(each_url, ask) == [20, 0, 5]


@pytest.mark.parametrize("migrated_url", ["timescale"], indirect=True)
def test_retention_counts_rows_of_compressed_chunks(each_url: str) -> None:
    """A compressed chunk is dropped with the right count."""

    async def ask(connection: asyncpg.Connection) -> int:
        await fill(connection)
        await connection.execute(
            "SELECT compress_chunk(c) FROM show_chunks('candles', older_than => $1::timestamptz) c", NOW
        )
        return int(await connection.fetchval("SELECT candles_deleted FROM cleanup_old_data($1)", NOW))

    assert asked(each_url, ask) == 20


@pytest.mark.parametrize("migrated_url", ["plain"], indirect=True)
def test_partition_is_made_without_waiting_for_readers_or_writers(each_url: str) -> None:
    """While a transaction has read and written the table, another one has a partition made; it is made once, and both use it."""

    async def both() -> list[int]:
        start = datetime(2031, 1, 1, tzinfo=UTC)
        call = "SELECT ensure_candle_partitions($1, $2)"
        busy, other = [await asyncpg.connect(each_url) for _ in range(2)]
        await other.execute("SET lock_timeout = '5s'")
        async with busy.transaction():
            await seed(busy, start - timedelta(days=60), 5)
            await busy.fetchval("SELECT count(*) FROM candles")
            # the lock under which partitions are made is the busy one's until it commits: others make theirs afterwards
            waiting = asyncio.ensure_future(other.fetchval(call, start, start + timedelta(days=15)))
            await busy.fetchval("SELECT pg_sleep(0)")
        made = [await waiting]
        async with busy.transaction():
            await busy.execute(
                "INSERT INTO candles_1m (time, open, high, low, close, volume) VALUES ($1, 1, 1, 1, 1, 1)", start
            )
            made.append(await other.fetchval(call, start + timedelta(days=30), start + timedelta(days=31)))
            made.append(await busy.fetchval(call, start, start + timedelta(days=15)))
        made.append(await other.fetchval("SELECT count(*) FROM candles_20301230"))
        await busy.close()
        await other.close()
        return made

    assert asyncio.run(both()) == [3, 1, 0, 1]


@pytest.mark.parametrize("migrated_url", ["plain"], indirect=True)
def test_cleanup_holds_up_nobody_while_a_reader_stays(each_url: str) -> None:
    """While a transaction that has read candles stays open, others read and write them, and the cleanup goes on after it."""
    waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query ~ '^SELECT candles_deleted' AND wait_event = 'relation')"

    async def ask() -> tuple[bool, int]:
        reader, cleaner, writer = [await asyncpg.connect(each_url) for _ in range(3)]
        await fill(writer)
        async with asyncio.timeout(120):
            async with reader.transaction():
                await reader.fetchval("SELECT count(*) FROM candles")
                cleaning = asyncio.ensure_future(
                    cleaner.fetchval("SELECT candles_deleted FROM cleanup_old_data($1)", NOW)
                )
                while not await writer.fetchval(waits):
                    assert not cleaning.done()
                await seed(writer, NOW, 5)
                is_waiting = not cleaning.done()
            deleted = await cleaning
        for one in (reader, cleaner, writer):
            await one.close()
        return is_waiting, int(deleted)

    assert asyncio.run(ask()) == (True, 20)
