"""The scheduled jobs of a real database: each runs once when it is due, whoever asks, and trouble is told."""

import asyncio
from collections.abc import Callable, Coroutine

from candlewick.clock import ManualClock
from candlewick.events import Event, JobDone, JobFailed
from candlewick.market import parse_time
from candlewick.services.scheduler import FIRST_S, Scheduler
from candlewick.services.schema import prepare
from candlewick.stores.postgres.connection import Database
from candlewick.stores.postgres.schema import SchemaOptions
from tests.servers.postgres import PostgresServer

NOW = parse_time("2026-11-21T12:00:00")


class Day:
    """Two schedulers of one database, and a clock that is moved."""

    def __init__(self, url: str) -> None:
        self.url, self.clock = url, ManualClock(NOW)
        self.events: list[Event] = []
        self.schedulers = [Scheduler(url, clock=self.clock, tell=self.events.append) for _ in range(2)]

    async def look(self) -> list[Event]:
        """What both tell when they look at once."""
        self.events.clear()
        await asyncio.gather(*(one.look() for one in self.schedulers))
        return list(self.events)

    async def execute(self, text: str) -> None:
        database = await Database.open(self.url, application="test")
        async with database.acquire() as connection:
            await connection.execute(text)
        await database.close()


def _play(url: str, story: Callable[[Day], Coroutine[None, None, None]], *, schema: bool = True) -> None:
    async def main() -> None:
        if schema:
            await prepare(url, SchemaOptions(), "test")
        await story(Day(url))

    asyncio.run(main())


def _names(events: list[Event]) -> list[str]:
    return sorted(one.job for one in events if isinstance(one, JobDone))


def test_jobs_run_once_when_they_are_due(database_url: str) -> None:
    """Of two services that ask at the same time one runs each job; the next day it is due again at its hour."""

    async def story(day: Day) -> None:
        assert _names(await day.look()) == ["accuracy", "cleanup", "partitions", "vacuum"]
        assert await day.look() == []
        day.clock.advance(13.9 * 3600)
        assert _names(await day.look()) == ["partitions"]
        day.clock.advance(0.2 * 3600)
        assert _names(await day.look()) == ["cleanup"]
        day.clock.advance(3600)
        assert _names(await day.look()) == ["accuracy"]

    _play(database_url, story)


def test_job_that_fails_is_told_with_the_databases_words(database_url: str) -> None:
    """A job the database cannot do is an event, and does not keep others from running."""

    async def story(day: Day) -> None:
        await day.execute("ALTER FUNCTION run_scheduled_cleanup RENAME TO gone")
        events = await day.look()
        assert "cleanup" not in _names(events)
        assert "accuracy" in _names(events)
        (failed,) = (one for one in events if isinstance(one, JobFailed))
        assert failed.job == "cleanup"
        assert "run_scheduled_cleanup" in failed.reason

    _play(database_url, story)


def test_database_without_tables_is_told_once(database_url: str) -> None:
    """What keeps jobs from being asked for is told when it lasts, and not every minute."""

    async def story(day: Day) -> None:
        assert await day.look() == []
        (first, second) = await day.look()
        assert isinstance(first, JobFailed)
        assert isinstance(second, JobFailed)
        assert await day.look() == []

    _play(database_url, story, schema=False)


def test_scheduler_outlives_its_database(database_url: str, postgres_server: PostgresServer) -> None:
    """While the database is down nothing is told here, as outputs tell it; when it is back what became due is run."""

    async def story(day: Day) -> None:
        running = asyncio.ensure_future(day.schedulers[0].run())
        await asyncio.sleep(0)  # noqa: TID251 - lets it begin
        postgres_server.stop()
        assert await day.look() == []
        postgres_server.start()
        assert not running.done()
        day.clock.advance(FIRST_S)
        async with asyncio.timeout(60):
            while len(_names(day.events)) < 4:
                await asyncio.sleep(0.01)  # noqa: TID251 - the database takes real time
        running.cancel()

    _play(database_url, story)
