"""Claims on work: of all processes at one database, one at a time has the claim of a name.

A claim is a lock of the session that took it (advisory lock), on a connection used for nothing else. The server drops it
with that session: a process that is killed, or whose machine is gone, gives its claims to whoever asks next. A process
whose connection is lost has lost its claims too, and is told.
"""

import asyncio
import contextlib
from hashlib import blake2b

import asyncpg

from candlewick.errors import StoreError
from candlewick.stores.postgres.connection import explained, place_of

_ALIVE = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
"""So that the server lets go of the claims of a machine that vanished within half a minute."""
_WAIT_S = 10.0


class Claim:
    """The right to do one piece of work, until it is released or lost."""

    def __init__(self, name: str, claims: "Claims") -> None:
        self.name = name
        self.lost = asyncio.Event()
        """Set when the connection is lost that held it: somebody else may have it now."""
        self._claims = claims

    async def release(self) -> None:
        """Let others have it; nothing happens to one that is lost. A caller that is cancelled has given it back too."""
        await asyncio.shield(self._claims.give_back(self))


class Claims:
    """What this process has claimed at one database."""

    def __init__(self, url: str, *, application: str = "candlewick claims") -> None:
        self._url, self._place = url, place_of(url)
        self._settings = _ALIVE | {"application_name": application}
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
            with contextlib.suppress(StoreError):  # the session is gone, and the lock with it
                await self._ask("SELECT pg_advisory_unlock($1)", _key(claim.name))

    async def close(self) -> None:
        """Release everything."""
        async with self._turn:
            self._drop()

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
            with explained(self._place):
                return await connection.fetchval(sql, *values, timeout=_WAIT_S)
        except StoreError:
            self._drop()
            raise

    async def _open(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._drop()
            with explained(self._place):
                self._connection = await asyncpg.connect(self._url, timeout=_WAIT_S, server_settings=self._settings)
            self._connection.add_termination_listener(self._ended)
        return self._connection

    def _drop(self) -> None:
        """End the session, and every claim with it."""
        self._lose()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    def _ended(self, connection: asyncpg.Connection) -> None:
        if connection is self._connection:
            self._lose()

    def _lose(self) -> None:
        for claim in self._held.values():
            claim.lost.set()
        self._held.clear()


def _key(name: str) -> int:
    """What the server knows a claim by: 63 bits of a hash."""
    digest = blake2b(f"candlewick:{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
