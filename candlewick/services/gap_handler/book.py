"""The shared database as the gap handler uses it besides candles: the log of gaps, claims, and whether it answers."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from candlewick.clock import Clock
from candlewick.errors import StoreDown, StoreError
from candlewick.histogram import Histogram
from candlewick.market import Interval, Market, Series, Span
from candlewick.services.schema import prepare
from candlewick.stores.postgres import quality
from candlewick.stores.postgres.claims import Claim, Claims
from candlewick.stores.postgres.connection import Database, Limits, place_of
from candlewick.stores.postgres.quality import Counts, OpenGap
from candlewick.stores.postgres.schema import SchemaOptions, default_series
from candlewick.stores.provenance import GapRecord

SOURCE = "gap_handler"
LATENCIES_S = tuple(0.001 * 2**power for power in range(10))
APPLICATION = "candlewick gap-handler"


class Book:
    """Connections to one database. Everything raises StoreDown where it does not answer, and counts that."""

    def __init__(self, url: str, market: Market, limits: Limits, clock: Clock) -> None:
        self.place = place_of(url)
        self.latency = Histogram(LATENCIES_S)
        """Seconds of the database's answers, those to the store included."""
        self.errors = 0
        self._url, self._market, self._limits, self._clock = url, market, limits, clock
        self._database: Database | None = None
        self._claims = Claims(url, application=f"{APPLICATION} claims")
        self._default = Series(Market.SPOT, "BTCUSDT", Interval("1m"))

    async def open(self, options: SchemaOptions) -> None:
        """Connect, and bring the schema up to date.

        Raises:
            StoreDown: it does not answer.
            StoreError: it cannot be used as it is.
        """
        await prepare(self._url, options, APPLICATION)
        database = await Database.open(self._url, self._limits, application=APPLICATION)
        try:
            async with database.acquire() as connection:
                self._default = await default_series(connection)
        except StoreError:
            await database.close()
            raise
        self._database = database

    async def close(self) -> None:
        """Release every claim and every connection."""
        await self._claims.close()
        if self._database is not None:
            await self._database.close()

    async def ping(self, timeout_s: float) -> None:
        """Ask whether it is there, and the session of the claims too."""
        if self._database is None:
            raise StoreDown(f"the database at {self.place} has not answered yet")
        await self._database.ping(timeout_s)
        await self._claims.check()

    async def claim(self, name: str) -> Claim | None:
        """The claim of a piece of work; None while somebody has it."""
        with self.timed():
            return await self._claims.take(name)

    async def keep_gap(self, record: GapRecord) -> None:
        """See `quality.keep_gap`."""
        async with self._connection() as connection:
            await quality.keep_gap(connection, record, SOURCE)

    async def log_error(self, message: str, series: Series | None = None) -> None:
        """See `quality.log_error`."""
        async with self._connection() as connection:
            await quality.log_error(connection, message, SOURCE, series, at=self._clock.now())

    async def unresolved(self, series: Series | None = None, span: Span | None = None) -> list[OpenGap]:
        """See `quality.unresolved`."""
        async with self._connection() as connection:
            return await quality.unresolved(connection, self._market, self._default, series=series, span=span)

    async def resolve(self, gap: OpenGap, recovered: int) -> bool:
        """See `quality.resolve`."""
        async with self._connection() as connection:
            return await quality.resolve(connection, gap, recovered, self._clock.now(), SOURCE)

    async def counts(self) -> Counts:
        """See `quality.counts`."""
        async with self._connection() as connection:
            return await quality.counts(connection, self._market, self._default, self._clock.now())

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count how long the database takes for what is done inside, or that it fails."""
        began = self._clock.monotonic()
        try:
            yield
        except StoreError:
            self.errors += 1
            raise
        self.latency.observe(self._clock.monotonic() - began)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        if self._database is None:
            raise StoreDown(f"the database at {self.place} has not answered yet")
        with self.timed():
            async with self._database.acquire() as connection:
                yield connection
