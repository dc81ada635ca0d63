"""When the database's jobs run, and who runs them: tested by moving the time."""

import asyncio
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from candlewick.stores.postgres.jobs import JOBS, Job, JobRun, run_due
from candlewick.stores.postgres.schema import SchemaOptions, Status, check, migrate
from tests.integration.schema.asked import asked, fetched, seed
from tests.servers.postgres import DEBIAN, PostgresServer

SATURDAY = datetime(2026, 3, 7, 12, tzinfo=UTC)


def micros(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000


async def due(connection: asyncpg.Connection, moment: datetime) -> list[str]:
    """The jobs that run at a time."""
    runs = await run_due(connection, micros(moment))
    assert [one.error for one in runs] == [""] * len(runs)
    return [one.job for one in runs]


def job(name: str) -> Job:
    return next(one for one in JOBS if one.name == name)


@pytest.mark.parametrize(
    ("name", "cron", "now", "last"),
    [
        ("cleanup", "0 2 * * *", "2026-03-07T02:00:00", "2026-03-07T02:00:00"),
        ("cleanup", "0 2 * * *", "2026-03-07T01:59:59", "2026-03-06T02:00:00"),
        ("accuracy", "0 3 * * *", "2026-03-01T00:00:00", "2026-02-28T03:00:00"),
        ("vacuum", "0 4 * * 0", "2026-03-08T04:00:00", "2026-03-08T04:00:00"),  # a Sunday
        ("vacuum", "0 4 * * 0", "2026-03-08T03:59:00", "2026-03-01T04:00:00"),
        ("vacuum", "0 4 * * 0", "2026-03-07T12:00:00", "2026-03-01T04:00:00"),
    ],
)
def test_job_is_due_when_cron_would_run_it(name: str, cron: str, now: str, last: str) -> None:
    """Cleanup at 02:00, accuracy at 03:00, vacuum on Sunday at 04:00, all in UTC."""
    one = job(name)
    assert one.cron == cron
    assert one.last_due(micros(datetime.fromisoformat(now + "+00:00"))) == datetime.fromisoformat(last + "+00:00")


def test_each_job_runs_once_each_time_it_is_due(each_url: str) -> None:
    """Minute after minute through a weekend: every job once at its time, and a row for each."""

    async def ask(connection: asyncpg.Connection) -> dict[str, list[str]]:
        await due(connection, SATURDAY)
        ran: dict[str, list[str]] = {}
        for quarter in range(1, 4 * 36):
            moment = SATURDAY + quarter * timedelta(minutes=15)
            for name in await due(connection, moment):
                ran.setdefault(name, []).append(f"{moment:%a %H:%M}")
        return ran

    assert asked(each_url, ask) == {
        "partitions": ["Sun 01:00"],
        "cleanup": ["Sun 02:00"],
        "accuracy": ["Sun 03:00"],
        "vacuum": ["Sun 04:00"],
    }
    rows = fetched(
        each_url,
        "SELECT job, scheduled_for FROM job_runs WHERE scheduled_for > $1 AND error IS NULL ORDER BY 2",
        SATURDAY,
    )
    assert [(name, f"{moment:%H:%M}") for name, moment in rows] == [
        ("partitions", "01:00"),
        ("cleanup", "02:00"),
        ("accuracy", "03:00"),
        ("vacuum", "04:00"),
    ]


def test_job_that_was_missed_runs_once_when_back(each_url: str) -> None:
    """After a week off each job runs once, for the last time it was due, and not again."""

    async def ask(connection: asyncpg.Connection) -> list[list[str]]:
        await due(connection, SATURDAY)
        later = SATURDAY + timedelta(days=8)
        return [await due(connection, later), await due(connection, later + timedelta(minutes=1))]

    assert asked(each_url, ask) == [["partitions", "cleanup", "accuracy", "vacuum"], []]
    assert fetched(each_url, "SELECT count(*) FROM job_runs WHERE job = 'cleanup'") == [(2,)]


def test_job_is_observable(each_url: str) -> None:
    """Its row says when it was due, began and ended and what it did; v_jobs and the check tell of the last one."""

    async def ask(connection: asyncpg.Connection) -> str:
        await seed(connection, SATURDAY - timedelta(days=800), 10)
        await due(connection, SATURDAY)
        return next(one.details for one in await check(connection) if one.name == "job cleanup")

    assert "the one of 2026-03-07 02:00 went well" in asked(each_url, ask)
    row = fetched(
        each_url,
        "SELECT started_at, finished_at >= started_at, result ->> 'candles_deleted', error FROM v_jobs WHERE job = 'cleanup'",
    )
    assert row == [(SATURDAY, True, "10", None)]


def test_job_that_fails_is_told_and_holds_up_no_other(schema_url: str) -> None:
    """The database's words are kept, the other jobs run, and the one that failed runs again the next time."""

    async def ask(connection: asyncpg.Connection) -> tuple[list[JobRun], Status, list[JobRun]]:
        await connection.execute("ALTER FUNCTION cleanup_old_data(timestamptz) RENAME TO away")
        runs = await run_due(connection, micros(SATURDAY))
        status = next(one.status for one in await check(connection) if one.name == "job cleanup")
        await connection.execute("ALTER FUNCTION away(timestamptz) RENAME TO cleanup_old_data")
        return runs, status, await run_due(connection, micros(SATURDAY + timedelta(days=1)))

    runs, status, again = asked(schema_url, ask)
    errors = {one.job: one.error for one in runs}
    assert "cleanup_old_data" in errors.pop("cleanup")
    assert set(errors.values()) == {""}
    assert status is Status.NOTE
    assert [one.error for one in again if one.job == "cleanup"] == [""]


def test_two_services_run_a_job_once(schema_url: str) -> None:
    """Two that ask at the same time share the jobs between them."""

    async def both() -> list[str]:
        connections = [await asyncpg.connect(schema_url) for _ in range(2)]
        runs = await asyncio.gather(*(run_due(one, micros(SATURDAY)) for one in connections))
        for one in connections:
            await one.close()
        return sorted(one.job for some in runs for one in some)

    assert asyncio.run(both()) == sorted(one.name for one in JOBS)


def test_job_whose_runner_died_is_run_by_the_next(schema_url: str) -> None:
    """A row without an end is nobody's once its lock is gone."""

    async def ask(connection: asyncpg.Connection) -> list[str]:
        await connection.execute(
            "INSERT INTO job_runs (job, scheduled_for, started_at) VALUES ('cleanup', '2026-03-07 02:00Z', '2026-03-07 02:00Z')"
        )
        return await due(connection, SATURDAY)

    assert "cleanup" in asked(schema_url, ask)


def test_vacuum_runs_outside_a_transaction(schema_url: str) -> None:
    """Each table is vacuumed by a command of its own."""

    async def ask(connection: asyncpg.Connection) -> list[str]:
        return [one.error for one in await run_due(connection, micros(SATURDAY)) if one.job == "vacuum"]

    assert asked(schema_url, ask) == [""]
    assert all(command.startswith("VACUUM (ANALYZE) ") and ";" not in command for command in job("vacuum").commands)


def test_partitions_are_ready_before_they_are_needed(schema_url: str) -> None:
    """On plain PostgreSQL the coming four weeks always have theirs."""

    async def ask(connection: asyncpg.Connection) -> list[int]:
        await due(connection, SATURDAY + timedelta(days=3000))
        call = "SELECT ensure_candle_partitions($1, $2)"
        start = SATURDAY + timedelta(days=3000)
        return [await connection.fetchval(call, start, start + timedelta(days=28))]

    assert asked(schema_url, ask) == [0]


@pytest.fixture
def cron_url() -> Iterator[str]:
    """A database for which pg_cron is loaded."""
    if (
        not Path("/usr/share/postgresql/15/extension/pg_cron.control").exists()
        or shutil.which(DEBIAN / "postgres") is None
    ):
        pytest.skip("pg_cron is not installed (Debian: postgresql-15-cron)")
    server = PostgresServer(DEBIAN)
    with (server._data / "postgresql.conf").open("a") as file:
        file.write(
            "shared_preload_libraries = 'pg_cron'\ncron.database_name = 'postgres'\ncron.use_background_workers = on\n"
        )
    server.start()
    yield server.url
    server.close()


def test_pg_cron_gets_the_jobs_and_we_run_none(cron_url: str) -> None:
    """Each VACUUM is a job of its own, times are as documented, migrating again doubles nothing, and an earlier job ends, and our scheduler rests."""

    async def ask(connection: asyncpg.Connection) -> tuple[dict[str, tuple[str, str]], list[JobRun], str]:
        await connection.execute("CREATE EXTENSION pg_cron")
        await connection.execute("SELECT cron.schedule('nightly', '0 2 * * *', 'SELECT run_scheduled_cleanup()')")
        await connection.execute("SELECT cron.schedule('mine', '0 5 * * *', 'SELECT 1')")
        for _ in range(2):
            await migrate(connection, SchemaOptions())
        await connection.execute("SELECT cron.unschedule('mine')")
        rows = await connection.fetch("SELECT jobname, schedule, command FROM cron.job")
        scheduler = next(one.details for one in await check(connection) if one.name == "jobs")
        for row in rows:
            await connection.execute(row["command"])
        return {row[0]: (row[1], row[2]) for row in rows}, await run_due(connection, micros(SATURDAY)), scheduler

    jobs, runs, scheduler = asked(cron_url, ask)
    assert jobs["candlewick_cleanup"] == ("0 2 * * *", "SELECT run_scheduled_cleanup(now())")
    assert jobs["candlewick_accuracy"] == ("0 3 * * *", "SELECT run_scheduled_accuracy(now())")
    assert jobs["candlewick_vacuum_1"] == ("0 4 * * 0", "VACUUM (ANALYZE) candles")
    assert len(jobs) == 3 + len(job("vacuum").commands)
    assert runs == []
    assert "pg_cron" in scheduler


def test_pg_cron_of_another_database_is_no_trouble(cron_url: str) -> None:
    """A database that pg_cron does not work for is told so, and its jobs are the services'."""
    fetched(cron_url, "CREATE DATABASE other")
    url = cron_url.rpartition("/")[0] + "/other"
    done = asked(url, migrate)
    assert [note for note in done.notes if "pg_cron could not be added" in note]
    assert [one.error for one in asked(url, lambda connection: run_due(connection, micros(SATURDAY)))] == [""] * len(
        JOBS
    )
