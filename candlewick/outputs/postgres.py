"""The shared database as an output: rows, reasons, states and the position they belong to, in one transaction.

A few new candles and the position are one statement, committed by itself; more of them go by COPY, and everything else
in a transaction with all the looks that are needed. What the database refuses because of what it is (a constraint, a
value, a trigger) is found by halving and left out; what it refuses for any other reason is no row's fault.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any

import asyncpg
import msgspec

from candlewick.clock import Clock
from candlewick.errors import OutputDown, OutputError, StoreDown, StoreError, UsageError
from candlewick.market import Series, format_time
from candlewick.outputs.output import Batch, Position, Refused
from candlewick.stores.postgres import quality, queries, statements
from candlewick.stores.postgres.connection import Database, Limits, explained, place_of
from candlewick.stores.postgres.failures import is_rows_fault
from candlewick.stores.postgres.merge import arrays, copy, merge, merge_fresh
from candlewick.stores.provenance import GapRecord
from candlewick.stores.store import Rows

MOST_AT_ONCE = 2_500
"""Up to so many rows are taken for new, and looked at only once that proves wrong."""
_FEW = 20
"""Up to so many rows one statement is faster than a transaction with COPY."""
_GAP = "gap:"
_ANSWER_S = 20.0
"""For candles that are taken for new."""
_HELD_S = 60.0
"""A connection is kept between writes, which spares cleaning it up after each, and goes back to the pool so often."""

_LIMITS = Limits()

ALONE = "SELECT pg_advisory_xact_lock(hashtextextended('candlewick output ' || $1 || ' ' || $2, 0))"
"""Waits for whoever wrote for the same output before, whose COMMIT may still be on its way."""
POSITION = "SELECT position FROM output_positions WHERE store_id = $1 AND output = $2"
MOVE_POSITION = (
    "UPDATE output_positions SET position = $3, updated_at = now() WHERE store_id = $1 AND output = $2 AND position = $4"
    " RETURNING 1"
)
KEEP_POSITION = (
    "INSERT INTO output_positions (store_id, output, position, updated_at) VALUES ($1, $2, $3, now())"
    " ON CONFLICT (store_id, output) DO UPDATE SET position = excluded.position, updated_at = excluded.updated_at"
)


class PostgresOutput:
    """A database with the schema of `candlewick schema init`."""

    name = "postgresql"

    def __init__(
        self,
        url: str,
        *,
        limits: Limits = _LIMITS,
        least_time: Callable[[], int] = lambda: 0,
        clock: Clock,
        application: str = "candlewick",
        source: str = "data_feeder",
    ) -> None:
        """`least_time`: rows that open before it are not wanted there. `source`: who the quality log says reported.

        Raises:
            StoreError: the URL is none of PostgreSQL.
        """
        self.location = place_of(url)
        self._url, self._limits, self._least_time, self._clock = url, limits, least_time, clock
        self._application, self._source = application, source
        self._database: Database | None = None
        self._connection: asyncpg.Connection | None = None
        self._holding = AsyncExitStack()
        self._held_since = 0.0
        self._identity = ""
        self._at: str | None = None
        self.written = 0

    @property
    def pool_size(self) -> int:
        """Open connections to it now."""
        return self._database.size if self._database is not None else 0

    async def open(self, identity: str) -> Position | None:
        """Connect; where it stands with the store of this identity (`Output.open`)."""
        self._identity = identity
        with self._told():
            await self._let_go()
            if self._database is None:
                self._database = await Database.open(self._url, self._limits, application=self._application)
            async with self._held() as connection:
                await connection.execute(ALONE, identity, self.name)
                self._at = await connection.fetchval(POSITION, identity, self.name)
        return None if self._at is None else msgspec.json.decode(self._at, type=Position)

    async def write(self, batch: Batch) -> list[Refused]:
        """Take in a batch and its position (`Output.write`)."""
        batch = batch._replace(rows=self._wanted(batch.rows))
        position = msgspec.json.encode(batch.position).decode()
        plain = not batch.absences and not batch.states and len(batch.rows) <= MOST_AT_ONCE and self._at is not None
        refused: list[Refused] = []
        with self._told():
            async with self._held() as connection:
                if not (plain and await self._write_new(connection, batch, position)):
                    async with connection.transaction():
                        refused = await self._write_all(connection, batch, position)
        self._at = position
        self.written += len(batch.rows) - sum(not isinstance(one.what, str) for one in refused)
        return refused

    async def close(self) -> None:
        """Let go of it; idempotent."""
        with self._told():
            await self._let_go()
        if self._database is not None:
            await self._database.close()
            self._database = None

    def _wanted(self, rows: Rows) -> Rows:
        """Those that retention would not drop at once."""
        wanted: Rows = rows[rows["open_time"] >= self._least_time()]
        return wanted

    async def _write_new(self, connection: asyncpg.Connection, batch: Batch, position: str) -> bool:
        """Write rows and position at once if all rows are new and fine; whether they were."""
        moving = (self._identity, self.name, position, self._at)
        try:
            if len(batch.rows) > _FEW:
                await self._copy_new(connection, batch, moving)
                return True
            given: list[Any] = arrays(batch.rows, batch.series)
            statement = statements.INSERT_GIVEN_AND_POSITION
            if len(batch.rows) == 1:
                given, statement = [column[0] for column in given], statements.INSERT_ONE_AND_POSITION
            inserted, moved = await connection.fetchrow(statement, *given, *moving, timeout=_ANSWER_S)
        except (asyncpg.PostgresError, UsageError) as error:
            if isinstance(error, UsageError) or is_rows_fault(error):
                return False  # one of them is to be left out, or its partition is to be made
            raise
        if inserted == len(batch.rows):
            self._require(moved)
        return bool(inserted == len(batch.rows))

    async def _copy_new(self, connection: asyncpg.Connection, batch: Batch, moving: tuple[str | None, ...]) -> None:
        transaction = connection.transaction()
        try:
            async with asyncio.timeout(_ANSWER_S):
                await transaction.start()
                await copy(connection, batch.rows, batch.series, "candles")
                self._require(await connection.fetchval(MOVE_POSITION, *moving))
                await transaction.commit()
        except (asyncpg.PostgresError, UsageError, StoreDown):
            await transaction.rollback()  # any other failure ends the connection, which waits for nobody
            raise

    async def _write_all(self, connection: asyncpg.Connection, batch: Batch, position: str) -> list[Refused]:
        await connection.execute(ALONE, self._identity, self.name)
        self._require(self._at == await connection.fetchval(f"{POSITION} FOR UPDATE", self._identity, self.name))
        refused = await self._write_rows(connection, batch.rows, batch.series, merge_fresh if batch.fresh else merge)
        for series, absences in batch.absences.items():
            await queries.replace_absences(connection, series, absences, self._identity)
        refused += await self._write_states(connection, batch.states)
        for one in refused:
            await self._log(connection, one, batch.series)
        await connection.execute(KEEP_POSITION, self._identity, self.name, position)
        return refused

    def _require(self, stands: object) -> None:
        """That the database stands where it was left: what a backup that was put in place lacks is not passed over."""
        if not stands:
            raise StoreDown(
                f"the database at {self.location} is not at the position where it was left: it was restored, or somebody"
                " feeds it from a copy of the store"
            )

    async def _write_rows(
        self, connection: asyncpg.Connection, rows: Rows, series: Mapping[int, Series], way: Callable[..., object]
    ) -> list[Refused]:
        """Merge rows, less those that the database does not take."""
        if not len(rows):
            return []
        try:
            async with connection.transaction():
                await way(connection, rows, series)  # type: ignore[misc]
        except (asyncpg.PostgresError, UsageError) as error:
            if not isinstance(error, UsageError) and not is_rows_fault(error):
                raise
            if len(rows) == 1:
                return [Refused(rows, _words(error))]
        else:
            return []
        middle = len(rows) // 2
        first = await self._write_rows(connection, rows[:middle], series, way)
        return first + await self._write_rows(connection, rows[middle:], series, way)

    async def _write_states(self, connection: asyncpg.Connection, states: Mapping[str, bytes | None]) -> list[Refused]:
        refused = []
        gaps = {key: value for key, value in states.items() if key.startswith(_GAP)}
        rest = {key: value for key, value in states.items() if key not in gaps}
        try:
            async with connection.transaction():
                await queries.set_states(connection, rest)
            alone = gaps
        except asyncpg.PostgresError as error:
            if not is_rows_fault(error):
                raise
            alone = dict(states)
        for key, value in alone.items():
            try:
                async with connection.transaction():
                    await self._write_state(connection, key, value)
            except (asyncpg.PostgresError, msgspec.DecodeError) as error:
                if isinstance(error, asyncpg.PostgresError) and not is_rows_fault(error):
                    raise
                refused.append(Refused(key, _words(error)))
        return refused

    async def _write_state(self, connection: asyncpg.Connection, key: str, value: bytes | None) -> None:
        if not key.startswith(_GAP):
            await queries.set_states(connection, {key: value})
        elif value is not None:
            await quality.keep_gap(connection, msgspec.json.decode(value, type=GapRecord), self._source)

    async def _log(self, connection: asyncpg.Connection, one: Refused, names: Mapping[int, Series]) -> None:
        """Leave a row in the database's own log of quality for what it refused."""
        series = None
        what = f"the state {one.what}"
        if not isinstance(one.what, str):
            series = names[int(one.what["series"][0])]
            what = f"the candle of {series} that opens at {format_time(int(one.what['open_time'][0]))}"
        message = f"{what} was refused and set aside by the feeder: {one.words}"
        await quality.log_error(connection, message.replace("\0", ""), self._source, series, at=self._clock.now())

    @asynccontextmanager
    async def _held(self) -> AsyncIterator[asyncpg.Connection]:
        """The connection that is kept; after a failure the next one is another."""
        if self._database is None:
            raise StoreDown(f"the database at {self.location} was not opened: open it first")
        if (
            self._connection is None
            or self._clock.monotonic() - self._held_since > _HELD_S
            or _is_lost(self._connection)
        ):
            await self._let_go()
            self._connection = await self._holding.enter_async_context(self._database.acquire())
            self._held_since = self._clock.monotonic()
        try:
            with explained(self.location):
                yield self._connection
        except BaseException as error:
            with suppress(StoreError):  # what went wrong first counts, a cancellation above all
                await self._let_go()
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # a transaction that cannot be ended any more hides it
                raise asyncio.CancelledError from error
            raise

    async def _let_go(self) -> None:
        self._connection = None
        await self._holding.aclose()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What is wrong with the store is wrong with the output."""
        try:
            yield
        except StoreDown as error:
            raise OutputDown(str(error)) from error
        except StoreError as error:
            raise OutputError(str(error)) from error


def _is_lost(connection: asyncpg.Connection) -> bool:
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:  # the pool has taken it back
        return True


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
