"""Asks the shared database every few seconds whether it is there: with a candle a minute a write would tell too late."""

from candlewick.clock import Clock
from candlewick.errors import StoreError
from candlewick.stores.postgres.connection import Database, Limits

EVERY_S = 5.0
TIMEOUT_S = 5.0
"""A database that takes longer is not there."""
_LIMITS = Limits(least=1, most=1, wait_s=TIMEOUT_S, statement_s=TIMEOUT_S)


class Pulse:
    """One connection, for this alone."""

    def __init__(self, url: str, *, clock: Clock, application: str) -> None:
        self._url, self._clock, self._application = url, clock, application
        self._database: Database | None = None
        self._complaint: str | None = None

    def complaint(self) -> str | None:
        """What was wrong when it was asked last; None where nothing was."""
        return self._complaint

    async def run(self) -> None:
        """Ask until cancelled."""
        try:
            while True:
                await self._clock.sleep(EVERY_S)
                await self.ask()
        finally:
            await self.close()

    async def ask(self) -> None:
        """Ask now."""
        try:
            if self._database is None:
                self._database = await Database.open(self._url, _LIMITS, application=self._application)
            await self._database.ping(TIMEOUT_S)
        except StoreError as error:
            self._complaint = str(error)
            await self.close()
        else:
            self._complaint = None

    async def close(self) -> None:
        """Let go of the connection."""
        if self._database is not None:
            database, self._database = self._database, None
            await database.close()
