"""Whether a database has the schema it should have, and who runs its jobs."""

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

import asyncpg

from candlewick.stores.postgres.jobs import JOBS, cron_runs_here
from candlewick.stores.postgres.schema import policies, roles
from candlewick.stores.postgres.schema.describe import Description, describe, expected
from candlewick.stores.postgres.schema.versions import TIMESCALE, applied, kind_of, newest, require_known


class Status(StrEnum):
    """How something was found."""

    OK = "ok"
    MISSING = "missing"
    DIFFERENT = "different"
    NOTE = "note"


class Finding(NamedTuple):
    """One thing that was looked at."""

    name: str
    status: Status
    details: str


async def check(connection: asyncpg.Connection) -> list[Finding]:
    """Everything that should be there, and how it was found; changes nothing.

    Raises:
        StoreTooNew: a newer program made the schema.
        StoreError: it is of a development version.
    """
    held = await applied(connection)
    if not held:
        return [Finding("schema", Status.MISSING, "there is none: run `candlewick schema init`")]
    kind = await kind_of(connection)
    require_known(held, kind)
    findings = [_version(max(held), newest(kind)), await _kind(connection, kind)]
    findings += _compared(await describe(connection), expected(kind))
    findings += await (_timescale(connection) if kind == TIMESCALE else _partitions(connection))
    findings.append(await _scheduler(connection))
    findings += await _jobs(connection)
    return [*findings, *await _roles(connection)]


def _version(held: int, wanted: int) -> Finding:
    if held == wanted:
        return Finding("version", Status.OK, str(held))
    return Finding("version", Status.DIFFERENT, f"{held}, this program has {wanted}: run `candlewick schema init`")


async def _kind(connection: asyncpg.Connection, kind: str) -> Finding:
    version = connection.get_server_version()  # which puts what follows the first point last
    server = f"PostgreSQL {version.major}.{version.micro}"
    extension = await connection.fetchval("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
    if kind == TIMESCALE:
        found = f"TimescaleDB {extension} on {server}"
        return Finding("database", Status.OK if extension else Status.MISSING, found)
    more = (
        "" if extension is None else f"; TimescaleDB {extension} is there, and the tables do not use it (docs/sql.md)"
    )
    return Finding("database", Status.NOTE if extension else Status.OK, f"plain {server}{more}")


def _compared(held: Description, wanted: Description) -> Iterator[Finding]:
    """One line for each table and view, and one for everything else that is not as it should be."""
    relations = Counter(name.partition(".")[0] for name in wanted["columns"])
    there = {name.partition(".")[0] for name in held["columns"]}
    for relation, columns in relations.items():
        if relation in there:
            yield Finding(relation, Status.OK, f"{columns} columns")
        else:
            yield Finding(relation, Status.MISSING, "it was dropped: restore it from a copy")
    for what, definitions in wanted.items():
        # of a table that is gone one line is enough
        named = {name: one for name, one in definitions.items() if what != "columns" or name.partition(".")[0] in there}
        yield from _differences(_singular(what), held[what], named)
    for name in held["columns"].keys() - wanted["columns"].keys():
        if name.partition(".")[0] in relations:
            yield Finding(f"column {name}", Status.NOTE, "is not of this schema")
    for what in ("indexes", "constraints", "functions"):
        yield Finding(what, Status.OK, f"{len(wanted[what].keys() & held[what].keys())} of {len(wanted[what])}")


def _differences(what: str, held: dict[str, str], wanted: dict[str, str]) -> Iterator[Finding]:
    for name, definition in wanted.items():
        found = held.get(name)
        if found is None:
            yield Finding(f"{what} {name}", Status.MISSING, f"should be {definition}")
        elif found != definition:
            yield Finding(f"{what} {name}", Status.DIFFERENT, f"{found}; should be {definition}")


def _singular(what: str) -> str:
    return "index" if what == "indexes" else what.removesuffix("s")


async def _timescale(connection: asyncpg.Connection) -> list[Finding]:
    findings = []
    for policy in await policies.wanted(connection):
        what = policy.procedure.removeprefix("policy_")
        kept = await policies.is_kept(connection, policy)
        details = f"after {policy.after}" if policy.after else "switched off"
        findings.append(Finding(f"{what} of {policy.table}", Status.OK if kept else Status.DIFFERENT, details))
    held = await policies.refreshed(connection)
    for view in policies.AGGREGATES:
        status = Status.OK if view in held else Status.MISSING
        findings.append(Finding(f"refresh of {view}", status, "by TimescaleDB" if view in held else "no policy"))
    return findings


async def _partitions(connection: asyncpg.Connection) -> list[Finding]:
    row = await connection.fetchrow(
        """SELECT count(*) AS parts, to_regclass('candles_' || to_char(
            date_bin('7 days', now(), '1970-01-05 00:00:00+00') AT TIME ZONE 'UTC', 'YYYYMMDD')) IS NOT NULL AS now
        FROM pg_inherits WHERE inhparent = to_regclass('candles')"""
    )
    status, more = (
        (Status.OK, "") if row["now"] else (Status.NOTE, ", none for this week: it is made when a candle comes")
    )
    return [Finding("partitions of candles", status, f"{row['parts']} of seven days{more}")]


async def _scheduler(connection: asyncpg.Connection) -> Finding:
    if await cron_runs_here(connection):
        return Finding("jobs", Status.OK, "run by pg_cron (cron.job_run_details)")
    return Finding("jobs", Status.OK, "run by the feeder and the gap handler while they are up (v_jobs)")


async def _jobs(connection: asyncpg.Connection) -> list[Finding]:
    rows = (
        await connection.fetch("SELECT job, scheduled_for, finished_at, error FROM v_jobs")
        if await _has(connection, "v_jobs")
        else []
    )
    held = {row["job"]: row for row in rows}
    findings = []
    for job in JOBS:
        row = held.get(job.name)
        if row is None:
            details = f"{job.cron} UTC; not run by us yet"
        elif row["finished_at"] is None:
            details = f"began for {row['scheduled_for']:%Y-%m-%d %H:%M} and has not ended"
        else:
            how = f"failed: {row['error']}" if row["error"] else "went well"
            details = f"{job.cron} UTC; the one of {row['scheduled_for']:%Y-%m-%d %H:%M} {how}"
        findings.append(Finding(f"job {job.name}", Status.NOTE if row and row["error"] else Status.OK, details))
    return findings


async def _has(connection: asyncpg.Connection, relation: str) -> bool:
    return await connection.fetchval("SELECT to_regclass($1)", relation) is not None


async def _roles(connection: asyncpg.Connection) -> list[Finding]:
    findings = []
    for role in (roles.WRITER, roles.READER):
        there = await roles.exists(connection, role)
        details = "grant it to users" if there else "whoever ran `schema init` may not create roles"
        findings.append(Finding(f"role {role}", Status.OK if there else Status.NOTE, details))
    return findings
