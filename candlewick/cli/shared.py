"""Checks of the shared database for `candlewick doctor`: the way there, and its schema."""

from candlewick.cli.findings import Finding, Verdict
from candlewick.config import Settings, masked
from candlewick.errors import StoreError
from candlewick.stores.postgres.connection import Database, Limits
from candlewick.stores.postgres.schema import Status, check

_LIMITS = Limits(least=1, most=1, wait_s=5.0)
_PING_S = 5.0
_NAMED = 3


async def examine(settings: Settings) -> list[Finding]:
    """Whether the database answers and lets us in, how fast, what it is, and whether its schema is as it should be."""
    try:
        database = await Database.open(settings.database_url, _LIMITS, application="candlewick doctor")
    except StoreError as error:
        return [_broken(error)]
    findings = []
    try:
        seconds = await database.ping(_PING_S)
        async with database.acquire() as connection:
            version = await connection.fetchval("SHOW server_version")
            timescale = await connection.fetchval("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
            kind = f"PostgreSQL {version}" + (
                f" with TimescaleDB {timescale}" if timescale else ", without TimescaleDB"
            )
            findings.append(
                Finding("database", Verdict.OK, f"{database.place} answers in {seconds * 1000:.1f} ms: {kind}")
            )
            looked_at = await check(connection)
        wrong = [one for one in looked_at if one.status in {Status.MISSING, Status.DIFFERENT}]
        if wrong:
            named = ", ".join(f"{one.name} is {one.status.value}" for one in wrong[:_NAMED])
            named += f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
            findings.append(Finding("schema", Verdict.BROKEN, named, "run `candlewick schema init`"))
        else:
            findings.append(Finding("schema", Verdict.OK, f"all of {len(looked_at)} things are as they should be"))
    except StoreError as error:
        findings.append(_broken(error))
    finally:
        await database.close()
    return findings


def _broken(error: StoreError) -> Finding:
    remedy = "start it, or correct STORE, or DB_HOST, DB_PORT, DB_NAME, DB_USER and DB_PASSWORD"
    return Finding("database", Verdict.BROKEN, masked(str(error)), remedy)
