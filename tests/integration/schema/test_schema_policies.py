"""What TimescaleDB is told to do by itself."""

from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from candlewick.stores.postgres.schema import SchemaOptions, is_timescale, migrate
from tests.integration.schema.asked import START, asked, seed

pytestmark = pytest.mark.parametrize("migrated_url", ["timescale"], indirect=True)

_POLICIES = """
SELECT hypertable_name, proc_name, coalesce(config ->> 'drop_after', config ->> 'compress_after') AS after
FROM timescaledb_information.jobs
WHERE hypertable_schema = 'public' AND proc_name IN ('policy_retention', 'policy_compression') ORDER BY 1, 2
"""


async def policies(connection: asyncpg.Connection) -> dict[tuple[str, str], str]:
    return {(row[0], row[1].removeprefix("policy_")): row[2] for row in await connection.fetch(_POLICIES)}


def test_hypertables_have_chunks_of_a_week(each_url: str) -> None:
    """Candles, predictions and features are hypertables with chunks of seven days."""

    async def ask(connection: asyncpg.Connection) -> list[tuple[Any, ...]]:
        assert await is_timescale(connection)
        rows = await connection.fetch(
            "SELECT hypertable_name, time_interval FROM timescaledb_information.dimensions WHERE hypertable_schema = 'public' ORDER BY 1"
        )
        return [tuple(row) for row in rows]

    assert asked(each_url, ask) == [(name, timedelta(days=7)) for name in ("candles", "features", "predictions")]


def test_policies_are_those_of_the_options(each_url: str) -> None:
    """By default 13, 3 and 1 months and 7 days; changed options change the policies, and 0 removes them."""

    async def ask(connection: asyncpg.Connection) -> list[dict[tuple[str, str], str]]:
        usual = await policies(connection)
        await migrate(connection, SchemaOptions(candles_months=24, predictions_months=0, compress_after_days=0))
        return [usual, await policies(connection)]

    usual, changed = asked(each_url, ask)
    assert usual == {
        ("candles", "compression"): "7 days",
        ("candles", "retention"): "1 year 1 mon",
        ("features", "compression"): "7 days",
        ("features", "retention"): "1 mon",
        ("predictions", "compression"): "30 days",
        ("predictions", "retention"): "3 mons",
    }
    assert ("candles", "compression") not in changed
    assert ("predictions", "retention") not in changed
    assert changed["candles", "retention"] == "2 years"


def test_compression_keeps_every_row_and_series_apart(each_url: str) -> None:
    """The compression policy, when it runs, compresses old chunks by series, and what is read stays the same."""

    async def ask(connection: asyncpg.Connection) -> tuple[int, list[asyncpg.Record], list[asyncpg.Record]]:
        for symbol in ("BTCUSDT", "ETHUSDT"):
            await seed(connection, START, 2000, symbol)
        query = "SELECT * FROM candles ORDER BY symbol, time"
        before = await connection.fetch(query)
        job = await connection.fetchval(
            "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = 'policy_compression' AND hypertable_name = 'candles'"
        )
        await connection.execute(
            "SELECT alter_job(job_id, config => jsonb_set(config, '{compress_after}', '\"1 day\"')) "
            "FROM timescaledb_information.jobs WHERE job_id = $1",
            job,
        )
        await connection.execute(f"CALL run_job({job})")
        compressed = await connection.fetchval(
            "SELECT count(*) FROM timescaledb_information.chunks WHERE hypertable_name = 'candles' AND is_compressed"
        )
        return compressed, before, await connection.fetch(query)

    compressed, before, after = asked(each_url, ask)
    assert compressed == 1
    assert before == after


def test_retention_policy_drops_whole_chunks_only(each_url: str) -> None:
    """When it runs, a chunk goes once all of it is older than the limit."""

    async def ask(connection: asyncpg.Connection) -> list[int]:
        limit = await connection.fetchval("SELECT now() - interval '13 months'")
        for days in (15, 1):
            await seed(connection, limit - timedelta(days=days), 10)
        await seed(connection, limit + timedelta(days=1), 10)
        job = await connection.fetchval(
            "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = 'policy_retention' AND hypertable_name = 'candles'"
        )
        await connection.execute(f"CALL run_job({job})")
        row = await connection.fetchrow(
            "SELECT count(*) FILTER (WHERE time < $1::timestamptz - interval '8 days'), count(*) FILTER (WHERE time >= $1::timestamptz) FROM candles",
            limit,
        )
        return list(row)

    assert asked(each_url, ask) == [0, 10]


def test_validate_schema_says_ok_of_everything_but_pg_cron(each_url: str) -> None:
    """Extension, hypertables, policies and views are OK; pg_cron, which is not there, is MISSING."""

    async def ask(connection: asyncpg.Connection) -> dict[str, str]:
        return {row["check_name"]: row["status"] for row in await connection.fetch("SELECT * FROM validate_schema()")}

    found = asked(each_url, ask)
    assert found.pop("pg_cron extension") == "MISSING"
    assert set(found.values()) == {"OK"}
    assert {
        "TimescaleDB extension",
        "candles hypertable",
        "candles compression policy",
        "candles retention policy",
    } <= set(found)
