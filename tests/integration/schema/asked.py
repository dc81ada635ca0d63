"""How tests of the schema ask a database."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import asyncpg

T = TypeVar("T")

START = datetime(2026, 3, 2, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

_SEED = """
INSERT INTO candles (
    market, symbol, interval, time, open, high, low, close, volume, quote_asset_volume, taker_buy_base_asset_volume,
    taker_buy_quote_asset_volume, number_of_trades, close_time
)
SELECT $1, $2, '1m', moment, 100 + n % 7, 110 + n % 11, 90 - n % 5, 101 + n % 7, n % 13 + 0.1, n + 0.01, 0.05, 0.07, n,
    moment + interval '59.999 seconds'
FROM generate_series(0, $4::integer - 1) AS n, LATERAL (SELECT $3::timestamptz + n * interval '1 minute') AS at (moment)
"""


def asked(url: str, ask: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
    """What `ask` returns, given a connection."""

    async def connected() -> T:
        connection = await asyncpg.connect(url, server_settings={"timezone": "UTC"})
        try:
            return await ask(connection)
        finally:
            await connection.close()

    return asyncio.run(connected())


def fetched(url: str, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Rows of a statement."""
    return asked(url, lambda connection: _fetch(connection, sql, values))


async def _fetch(connection: asyncpg.Connection, sql: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await connection.fetch(sql, *values)]


async def seed(
    connection: asyncpg.Connection, start: datetime, minutes: int, symbol: str = "BTCUSDT", market: str = "spot"
) -> None:
    """Candles of one minute each, all different, from `start` on."""
    await connection.execute("SELECT ensure_candle_partitions($1, $2)", start, start + minutes * MINUTE)
    await connection.execute(_SEED, market, symbol, start, minutes)
