"""Longer candles in the database, against our own, on both kinds of database."""

from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import asyncpg
import numpy as np
import pytest

from candlewick.analysis.resample import resample
from candlewick.market import Interval
from tests.integration.schema.asked import MINUTE, START, asked, seed

AGGREGATES = ("5m", "15m", "1h", "4h")
SUMS = ("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume")
NAMES = {
    "open": "open", "high": "high", "low": "low", "close": "close", "volume": "volume", "quote_volume": "quote_asset_volume",
    "taker_buy_volume": "taker_buy_base_asset_volume", "taker_buy_quote_volume": "taker_buy_quote_asset_volume",
    "trades": "number_of_trades",
}  # fmt: skip
EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
COLUMNS = (
    "time", "open", "high", "low", "close", "volume", "close_time", "quote_asset_volume", "number_of_trades",
    "taker_buy_base_asset_volume", "taker_buy_quote_asset_volume",
)  # fmt: skip


async def refresh(connection: asyncpg.Connection) -> None:
    """Run the policies of refresh, which a database with workers runs by itself."""
    if await connection.fetchval("SELECT value = 'timescale' FROM schema_settings WHERE key = 'kind'"):
        jobs = await connection.fetch(
            "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = 'policy_refresh_continuous_aggregate'"
        )
        for job in jobs:
            await connection.execute(f"CALL run_job({job['job_id']})")


async def ours(connection: asyncpg.Connection, interval: str) -> list[tuple[Any, ...]]:
    """What candlewick makes of the rows that the database holds."""
    rows = await connection.fetch("SELECT * FROM candles WHERE interval = '1m' ORDER BY time")
    columns = {name: np.array([float(row[column]) for row in rows]) for name, column in NAMES.items()}
    columns["trades"] = columns["trades"].astype(np.int64)
    columns["open_time"] = np.array([(row["time"] - EPOCH) // timedelta(microseconds=1) for row in rows])
    made = resample(columns, Interval("1m"), Interval(interval))
    return [
        (
            EPOCH + timedelta(microseconds=int(made.columns["open_time"][n])),
            *(float(made.columns[name][n]) for name in NAMES),
            int(made.rows_in[n]),
            bool(made.rows_in[n] == made.expected[n]),
        )
        for n in range(len(made.rows_in))
    ]


async def theirs(connection: asyncpg.Connection, interval: str) -> list[tuple[Any, ...]]:
    """What the database makes of them."""
    rows = await connection.fetch(
        f"SELECT time, {', '.join(NAMES.values())}, candles, complete FROM candles_{interval} ORDER BY time"
    )
    return [(row[0], *map(float, row[1:-2]), row[-2], row[-1]) for row in rows]


async def compare(connection: asyncpg.Connection) -> None:
    for interval in AGGREGATES:
        assert await theirs(connection, interval) == await ours(connection, interval)


def test_aggregates_agree_with_our_own_intervals(each_url: str) -> None:
    """Candles of 5m, 15m, 1h and 4h equal ours before and after a refresh, holes in them included."""

    async def ask(connection: asyncpg.Connection) -> None:
        await seed(connection, START + 7 * MINUTE, 1000)
        await connection.execute(
            "DELETE FROM candles WHERE time BETWEEN $1 AND $2", START + 200 * MINUTE, START + 230 * MINUTE
        )
        await compare(connection)
        await refresh(connection)
        await compare(connection)

    asked(each_url, ask)


def test_late_and_corrected_rows_are_in_aggregates_after_a_refresh(each_url: str) -> None:
    """Rows that fill a hole, come before everything else, change or go are seen from the next refresh on."""

    async def ask(connection: asyncpg.Connection) -> None:
        await seed(connection, START, 600)
        await connection.execute(
            "DELETE FROM candles WHERE time BETWEEN $1 AND $2", START + 100 * MINUTE, START + 130 * MINUTE
        )
        await refresh(connection)
        await seed(connection, START + 100 * MINUTE, 20)
        await seed(connection, START - timedelta(days=30), 300)
        await connection.execute("SELECT upsert_candle($1, 1000, 2000, 1, 1500, 7)", START + 59 * MINUTE)
        await connection.execute("DELETE FROM candles WHERE time = $1", START + 400 * MINUTE)
        await refresh(connection)
        await compare(connection)

    asked(each_url, ask)


@pytest.mark.parametrize("migrated_url", ["timescale"], indirect=True)
def test_late_row_in_a_compressed_chunk_reaches_the_aggregates(each_url: str) -> None:
    """A candle that is inserted into, or corrected in, a compressed chunk is held once and counted."""

    async def ask(connection: asyncpg.Connection) -> tuple[int, Decimal]:
        await seed(connection, START, 300)
        await connection.execute("DELETE FROM candles WHERE time = $1", START + 10 * MINUTE)
        await refresh(connection)
        await connection.execute("SELECT compress_chunk(c) FROM show_chunks('candles') c")
        upsert = "SELECT upsert_candle($1, 100, 5000, 90, 101, 1)"
        for minute in (10, 20, 20):
            await connection.execute(upsert, START + minute * MINUTE)
        await connection.execute(
            "INSERT INTO candles_1m (time, open, high, low, close, volume) VALUES ($1, 1, 2, 1, 2, 3)",
            START + 300 * MINUTE,
        )
        await refresh(connection)
        held = await connection.fetchval("SELECT count(*) FROM candles")
        return held, await connection.fetchval("SELECT high FROM candles_5m WHERE time = $1", START + 20 * MINUTE)

    assert asked(each_url, ask) == (301, 5000)


@pytest.mark.data
def test_aggregates_of_recorded_candles_agree_with_our_own_intervals(each_url: str, recordings: Path) -> None:
    """Days of real candles, with the outage of 24 March 2023 in them, come to the same candles in the database."""
    folder = recordings / "archive/data/spot/daily/klines/BTCUSDT/1m"
    lines = []
    for day in (23, 24):
        with ZipFile(folder / f"BTCUSDT-1m-2023-03-{day}.zip") as file:
            lines += file.read(file.namelist()[0]).decode().splitlines()
    rows = [line.split(",") for line in lines]

    async def ask(connection: asyncpg.Connection) -> None:
        times = [EPOCH + timedelta(milliseconds=int(row[0])) for row in rows]
        await connection.execute("SELECT ensure_candle_partitions($1, $2)", times[0], times[-1] + MINUTE)
        await connection.copy_records_to_table(
            "candles",
            records=[
                (
                    time,
                    *map(Decimal, row[1:6]),
                    EPOCH + timedelta(milliseconds=int(row[6])),
                    Decimal(row[7]),
                    int(row[8]),
                    *map(Decimal, row[9:11]),
                )
                for time, row in zip(times, rows, strict=True)
            ],
            columns=COLUMNS,
        )
        await refresh(connection)
        await compare(connection)
        hours = {row[0].strftime("%d %H"): row[-2:] for row in await theirs(connection, "1h")}
        assert hours["24 12"] == (40, False)
        assert "24 13" not in hours

    asked(each_url, ask)
