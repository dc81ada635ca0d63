"""The jobs of the shared database: when they are due, and who runs them.

Where pg_cron works for this database it runs them; else every service asks `run_due` each minute, and the table
`job_runs` has one row for each time a job was due: whoever inserts it runs the job. A job that was due while nothing ran
is run once when something does.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import asyncpg

_LOCK = 0x6A6F6273  # "jobs"

_CLAIM = """
INSERT INTO job_runs AS held (job, scheduled_for, started_at) VALUES ($1, $2, $3)
ON CONFLICT (job, scheduled_for) DO UPDATE SET started_at = excluded.started_at
    WHERE held.finished_at IS NULL
RETURNING true
"""
_DONE = """
UPDATE job_runs SET finished_at = started_at + (clock_timestamp() - $3::timestamptz), result = $4::jsonb, error = $5
WHERE job = $1 AND scheduled_for = $2
"""
_CRON = """
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron')
    AND coalesce(current_setting('cron.database_name', true), '') = current_database()
"""


class Job(NamedTuple):
    """Something the database does regularly. `commands` run one by one, each by itself: VACUUM takes no transaction."""

    name: str
    hour: int
    minute: int
    weekday: int | None
    """0 is Monday; None every day."""
    commands: tuple[str, ...]
    """SQL; `{at}` stands for the time it is run for."""

    @property
    def cron(self) -> str:
        """When, in UTC, as cron writes it."""
        day = "*" if self.weekday is None else str((self.weekday + 1) % 7)
        return f"{self.minute} {self.hour} * * {day}"

    def cron_name(self, number: int) -> str:
        """What pg_cron calls the command of that number."""
        return f"candlewick_{self.name}" + (f"_{number + 1}" if len(self.commands) > 1 else "")

    def in_cron(self, command: str) -> str:
        """The command as pg_cron runs it."""
        return command.format(at="now()")

    def last_due(self, now: int) -> datetime:
        """The last time it was due at or before `now`, in microseconds UTC."""
        moment = datetime.fromtimestamp(now // 1_000_000, UTC)
        due = moment.replace(hour=self.hour, minute=self.minute, second=0, microsecond=0)
        if due > moment:
            due -= timedelta(days=1)
        if self.weekday is not None:
            due -= timedelta(days=(due.weekday() - self.weekday) % 7)
        return due


JOBS = (
    Job("partitions", 1, 0, None, ("SELECT run_scheduled_partitions({at})",)),
    Job("cleanup", 2, 0, None, ("SELECT run_scheduled_cleanup({at})",)),
    Job("accuracy", 3, 0, None, ("SELECT run_scheduled_accuracy({at})",)),
    Job(
        "vacuum", 4, 0, 6,
        tuple(f"VACUUM (ANALYZE) {name}" for name in ("candles", "predictions", "features", "data_quality_logs")),
    ),
)  # fmt: skip


class JobRun(NamedTuple):
    """A job that was run. `error` is empty where it went well."""

    job: str
    scheduled_for: int
    result: dict[str, Any]
    error: str


async def run_due(connection: asyncpg.Connection, now: int) -> list[JobRun]:
    """Run every job that is due at `now` (microseconds UTC) and that nobody has run; nothing where pg_cron does.

    A job that fails is kept with the database's words, and runs again when it is due next. Errors of the connection come
    as they are: the job is then run again by whoever asks next.
    """
    if await cron_runs_here(connection):
        return []
    rows = await connection.fetch(
        "SELECT job, max(scheduled_for) AS last FROM job_runs WHERE finished_at IS NOT NULL GROUP BY job"
    )
    done = {row["job"]: row["last"] for row in rows}
    runs = []
    for job in JOBS:
        due = job.last_due(now)
        if job.name not in done or done[job.name] < due:
            run = await _claimed(connection, job, due, now)
            if run is not None:
                runs.append(run)
    return runs


async def cron_runs_here(connection: asyncpg.Connection) -> bool:
    """Whether pg_cron is loaded, works for this database, and has our jobs."""
    if not await connection.fetchval(_CRON):
        return False
    return bool(
        await connection.fetchval("SELECT EXISTS (SELECT FROM cron.job WHERE jobname = $1)", JOBS[0].cron_name(0))
    )


async def _claimed(connection: asyncpg.Connection, job: Job, due: datetime, now: int) -> JobRun | None:
    """Run it under a lock, which falls when its holder dies: what was not finished then is run again."""
    key = JOBS.index(job)
    if not await connection.fetchval("SELECT pg_try_advisory_lock($1::integer, $2::integer)", _LOCK, key):
        return None
    try:
        at = datetime.fromtimestamp(now / 1_000_000, UTC)
        if not await connection.fetchval(_CLAIM, job.name, due, at):
            return None
        began = await connection.fetchval("SELECT clock_timestamp()")
        result, error = await _run(connection, job, at)
        await connection.execute(_DONE, job.name, due, began, json.dumps(result), error or None)
        return JobRun(job.name, int(due.timestamp()) * 1_000_000, result, error)
    finally:
        if not connection.is_closed():
            await connection.execute("SELECT pg_advisory_unlock($1::integer, $2::integer)", _LOCK, key)


async def _run(connection: asyncpg.Connection, job: Job, at: datetime) -> tuple[dict[str, Any], str]:
    result: dict[str, Any] = {}
    for command in job.commands:
        # VACUUM takes no parameters, so the time is written into the text
        sql = command.format(at=f"timestamptz '{at.isoformat()}'")
        try:
            if sql.startswith("SELECT"):
                result |= json.loads(await connection.fetchval(f"{sql}::text"))
            else:
                await connection.execute(sql)
        except asyncpg.PostgresError as error:
            if connection.is_closed():
                raise
            return result, f"{sql}: {error}"
    return result, ""
