"""Claims on work: of all processes at one database, one at a time has the claim of a name.

A claim is a lock of the session that took it (advisory lock), on a connection used for nothing else. The server drops it
with that session: a process that is killed, or whose machine is gone, gives its claims to whoever asks next. A process
whose connection is lost has lost its claims too, and is told.
"""

import asyncio
import contextlib
from hashlib import blake2b

import asyncpg

from candlewick.errors import StoreDown
from candlewick.stores.postgres.connection import Database, Limits, explained

_ALIVE = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
"""So that the server lets go of the claims of a machine that vanished within half a minute."""
_WAIT_S = 5.0


class Claim:
    """The right to do one piece of work, until it is released or lost."""

    def __init__(self, name: str, claims: "Claims") -> None:
        self.name = name
        self.lost = asyncio.Event()
        """Set when the connection is lost that held it: somebody else may have it now."""
        self._claims = claims

    async def release(self) -> None:
        """Let others have it; nothing happens to one that is lost."""
        await self._claims.give_back(self)


class Claims:
    """What this process has claimed at one database."""

    def __init__(self, url: str, *, application: str = "candlewick claims") -> None:
        self._url, self._application = url, application
        self._stack = contextlib.AsyncExitStack()
        self._database: Database | None = None
        self._connection: asyncpg.Connection | None = None
        self._held: dict[str, Claim] = {}
        self._turn = asyncio.Lock()
        """A connection does one thing at a time."""

    async def take(self, name: str) -> Claim | None:
        """The claim of a name; None while somebody has it, in this process or in another.

        Raises:
            StoreDown: the database does not answer.
        """
        taking = asyncio.ensure_future(self._take(name))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            # The server may have given it already: nobody would ever release it.
            taking.add_done_callback(self._unwanted)
            raise

    async def check(self) -> None:
        """Ask whether the session that holds the claims is alive.

        Raises:
            StoreDown: it is not, or it does not answer: the claims are lost, and say so.
        """
        if self._held:
            async with self._turn:
                await self._ask("SELECT 1")

    async def give_back(self, claim: Claim) -> None:
        """See `Claim.release`."""
        async with self._turn:
            if self._held.get(claim.name) is not claim:
                return
            del self._held[claim.name]
            with contextlib.suppress(StoreDown):  # the session is gone, and the lock with it
                await self._ask("SELECT pg_advisory_unlock($1)", _key(claim.name))

    async def close(self) -> None:
        """Release everything."""
        async with self._turn:
            await self._drop()

    async def _take(self, name: str) -> Claim | None:
        async with self._turn:
            if name in self._held:
                return None
            if not await self._ask("SELECT pg_try_advisory_lock($1)", _key(name)):
                return None
            claim = self._held[name] = Claim(name, self)
            return claim

    def _unwanted(self, taking: "asyncio.Future[Claim | None]") -> None:
        if not taking.cancelled() and taking.exception() is None and (claim := taking.result()) is not None:
            releasing = asyncio.ensure_future(claim.release())
            releasing.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _ask(self, sql: str, *values: object) -> object:
        connection = await self._open()
        try:
            with explained(connection_place(self._database)):
                return await connection.fetchval(sql, *values, timeout=_WAIT_S)
        except StoreDown:
            await self._drop()
            raise

    async def _open(self) -> asyncpg.Connection:
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        await self._drop()
        limits = Limits(least=1, most=1, wait_s=_WAIT_S)
        self._database = await Database.open(self._url, limits, application=self._application)
        connection = await self._stack.enter_async_context(self._database.acquire())
        connection.add_termination_listener(lambda _: self._lose())
        self._connection = connection
        with explained(self._database.place):
            await connection.execute(_ALIVE)
        return connection

    async def _drop(self) -> None:
        """End the session, and every claim with it."""
        self._lose()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
        stack, self._stack = self._stack, contextlib.AsyncExitStack()
        with contextlib.suppress(StoreDown):
            await stack.aclose()
        if self._database is not None:
            await self._database.close()
            self._database = None

    def _lose(self) -> None:
        for claim in self._held.values():
            claim.lost.set()
        self._held.clear()


def connection_place(database: Database | None) -> str:
    """Where the claims are held, for messages."""
    return "" if database is None else database.place


def _key(name: str) -> int:
    """What the server knows a claim by: 63 bits of a hash."""
    digest = blake2b(f"candlewick:{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
