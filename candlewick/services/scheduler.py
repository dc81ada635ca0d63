"""Asks the shared database every minute whether one of its jobs is due, and runs it: where pg_cron does not.

Any number of services may do so: each job is run once for each time it is due (`stores.postgres.jobs`).
"""

import json

from candlewick.clock import Clock
from candlewick.errors import StoreDown, StoreError
from candlewick.events import JobDone, JobFailed
from candlewick.services.following import Tell
from candlewick.stores.postgres.connection import Database, Limits
from candlewick.stores.postgres.jobs import run_due

EVERY_S = 60.0
FIRST_S = 5.0
DAY_S = 86400.0
_LIMITS = Limits(least=0, most=1, statement_s=3600.0)
"""One connection of its own, which goes when nobody needs it: a cleanup may take its time."""


class Scheduler:
    """Runs the jobs of one database."""

    def __init__(self, url: str, *, clock: Clock, tell: Tell, application: str = "candlewick jobs") -> None:
        self._url, self._clock, self._tell, self._application = url, clock, tell, application
        self._failures = 0

    async def run(self) -> None:
        """Look soon, then every minute until cancelled."""
        wait_s = FIRST_S
        while True:
            await self._clock.sleep(wait_s)
            await self.look()
            wait_s = EVERY_S

    async def look(self) -> None:
        """Run what is due now; trouble is told, once for as long as it lasts.

        At the first time it may be that somebody still makes the tables, and a database that is down is for outputs to tell.
        """
        try:
            database = await Database.open(self._url, _LIMITS, application=self._application)
            try:
                async with database.acquire() as connection:
                    runs = await run_due(connection, self._clock.now())
            finally:
                await database.close()
        except StoreError as error:
            self._failures += not isinstance(error, StoreDown)
            if self._failures == 2:
                self._tell(JobFailed("schedule", str(error), EVERY_S))
            return
        self._failures = 0
        for one in runs:
            if one.error:
                self._tell(JobFailed(one.job, one.error, DAY_S))
            else:
                self._tell(JobDone(one.job, one.scheduled_for, json.dumps(one.result)))
