"""The shared database as the feeder's settings make it: its schema, its connections, what is written and what is told."""

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import asyncpg
import pytest

from candlewick.clock import ManualClock
from candlewick.config import Settings
from candlewick.errors import OutputDown, OutputError
from candlewick.events import Event, OutputWritten
from candlewick.market import DAY, MINUTE, Candle, Interval, Market, Series, parse_time
from candlewick.outputs.output import Batch, Position
from candlewick.services.shared_database import SharedDatabase
from candlewick.stores.store import Rows, Source, to_rows
from tests.servers.postgres import PostgresServer

NOW = parse_time("2026-11-21T12:00:00")
BTC = Series(Market.SPOT, "BTCUSDT", Interval("1m"))


class Desk:
    """A shared database with the settings of a feeder."""

    def __init__(self, url: str, **settings: object) -> None:
        self.url, self.events = url, list[Event]()
        own = Settings(store=url, **settings)  # type: ignore[arg-type]
        self.output = SharedDatabase(own, ManualClock(NOW), self.events.append)

    async def write(self, *times: int) -> None:
        rows = to_rows(0, Source.LIVE, [_candle(one) for one in times])
        await self.output.write(_batch(rows))

    async def ask(self, text: str) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.url)
        try:
            return list(await connection.fetch(text))
        finally:
            await connection.close()


def _candle(time: int) -> Candle:
    return Candle(time, 1.0, 2.0, 0.5, 1.5, 0.0, time + MINUTE - 1000, 0.0, 0, 0.0, 0.0)


def _batch(rows: Rows) -> Batch:
    return Batch(rows, {0: BTC}, {}, {}, Position(1), fresh=False)


def _play(url: str, story: Callable[[Desk], Awaitable[None]], **settings: object) -> None:
    async def main() -> None:
        desk = Desk(url, **settings)
        try:
            await story(desk)
        finally:
            await desk.output.close()

    asyncio.run(main())


def test_first_contact_makes_the_schema(database_url: str) -> None:
    """An empty database has its tables, with the feeder's own symbol as the default series, once it was reached."""

    async def story(desk: Desk) -> None:
        assert await desk.output.open("a store") is None
        await desk.write(NOW - MINUTE)
        (row,) = await desk.ask("SELECT symbol, close, volume FROM candles_1m")
        assert (row["symbol"], float(row["close"])) == ("BTCUSDT", 1.5)
        assert row["volume"] == 0  # and not missing

    _play(database_url, story)


def test_database_is_prepared_when_it_can_be_reached(database_url: str, postgres_server: PostgresServer) -> None:
    """While it is down each attempt says so; the first that reaches it makes the schema."""

    async def story(desk: Desk) -> None:
        postgres_server.stop()
        with pytest.raises(OutputDown):
            await desk.output.open("a store")
        postgres_server.start()
        assert await desk.output.open("a store") is None
        await desk.write(NOW - MINUTE)

    _play(database_url, story)


def test_database_that_cannot_be_used_says_what_to_do(database_url: str) -> None:
    """A database that does not exist is no outage: the words name it and what helps."""
    missing = database_url.rpartition("/")[0] + "/nowhere"

    async def story(desk: Desk) -> None:
        with pytest.raises(OutputError, match="createdb"):
            await desk.output.open("a store")

    _play(missing, story)


def test_pool_has_the_connections_of_the_settings(database_url: str) -> None:
    """DB_POOL_MIN connections stay open, under the feeder's name, and the number shown is theirs."""

    async def story(desk: Desk) -> None:
        await desk.output.open("a store")
        name = "SELECT pid FROM pg_stat_activity WHERE application_name = 'candlewick feeder' AND datname = current_database()"
        assert len(await desk.ask(name)) == desk.output.pool_size == 4

    _play(database_url, story, db_pool_min=4, db_pool_max=4)


def test_settings_reach_the_pool() -> None:
    """DB_POOL_MIN, DB_POOL_MAX and DB_IDLE_TIMEOUT are its limits; a connection lives 30 minutes and is waited for 10 s."""
    settings = Settings(store="postgresql://u:p@h/d", db_pool_min=1, db_pool_max=3, db_idle_timeout=7.0)
    output = SharedDatabase(settings, ManualClock(NOW), lambda _: None)
    assert output._limits[:5] == (1, 3, 7.0, 1800.0, 10.0)


@pytest.mark.parametrize(("months", "kept"), [(1, 1), (13, 2), (0, 3)])
def test_what_would_be_dropped_at_once_is_not_written(database_url: str, months: int, kept: int) -> None:
    """Candles older than CANDLES_RETENTION_MONTHS are left out; 0 keeps all."""

    async def story(desk: Desk) -> None:
        await desk.output.open("a store")
        await desk.write(NOW - 500 * DAY, NOW - 100 * DAY, NOW - MINUTE)
        assert (await desk.ask("SELECT count(*) FROM candles"))[0][0] == kept

    _play(database_url, story, candles_retention_months=months)


def test_every_write_is_told(database_url: str) -> None:
    """Rows, milliseconds and the running total; a write of nothing but a position is not worth a line."""

    async def story(desk: Desk) -> None:
        await desk.output.open("a store")
        await desk.write(NOW - 3 * MINUTE, NOW - 2 * MINUTE)
        await desk.write(NOW - MINUTE)
        await desk.write()
        told = [one for one in desk.events if isinstance(one, OutputWritten)]
        assert [(one.rows, one.refused, one.total) for one in told] == [(2, 0, 2), (1, 0, 3)]

    _play(database_url, story)


def test_partial_write_is_told_as_such(database_url: str) -> None:
    """Where the database takes some rows only, the line counts those, and those that were refused."""

    async def story(desk: Desk) -> None:
        await desk.output.open("a store")
        await desk.ask("ALTER TABLE candles ADD CONSTRAINT poison CHECK (extract(minute FROM time) <> 58)")
        await desk.write(NOW - 3 * MINUTE, NOW - 2 * MINUTE, NOW - MINUTE)
        (told,) = (one for one in desk.events if isinstance(one, OutputWritten))
        assert (told.rows, told.refused, told.total) == (2, 1, 2)

    _play(database_url, story)


def test_password_is_in_no_place_that_is_shown() -> None:
    """Where the output is, as health shows it, has no password."""
    output = SharedDatabase(Settings(store="postgresql://u:hidden@h:5433/d"), ManualClock(NOW), lambda _: None)
    assert output.location == "postgresql://u@h:5433/d"
    assert urlsplit(output.location).password is None
