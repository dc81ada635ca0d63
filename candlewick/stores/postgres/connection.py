"""Connections to the shared database: a pool that outlives the server's restarts, and errors that say what to do.

asyncpg keeps the floor and the idle limit of the pool; it drops connections that were lost and dials again when one is
asked for. Whatever goes wrong between `acquire` and its end comes out as StoreDown, which is worth trying again, or as
another StoreError, which is not until somebody has changed something.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

from candlewick.errors import StoreDown, StoreError
from candlewick.stores.postgres.failures import failure

_LOCK_TIMEOUT_MS = 30_000
_IDLE_IN_TRANSACTION_MS = 60_000
_CLOSE_S = 5.0
_GOODBYE_S = 1.0  # a service that stops has ten seconds for everything
_ANSWER_S = 10.0  # beyond the server's own limit: one that was stopped in its tracks keeps none
_DEAD_PEER_MS = 20_000  # a host that vanished says nothing; the system would wait for a quarter of an hour

_DRIVER = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)

# The pool tells of every failed attempt to keep its floor, with a traceback. Who asks for a connection learns of it.
logging.getLogger("asyncpg").addHandler(logging.NullHandler())


class Limits(NamedTuple):
    """How many connections are kept, and for how long."""

    least: int = 2
    most: int = 5
    idle_s: float = 300.0
    """Connections above `least` that nobody used for so long are closed."""
    lifetime_s: float = 1800.0
    """Older ones are closed after use, so that a database that moved is found again."""
    wait_s: float = 10.0
    """For a connection that is free, or for the server to take one."""
    statement_s: float = 300.0
    """Longer statements are given up by the server."""


_LIMITS = Limits()


class Database:
    """A pool of connections to one database."""

    def __init__(self, pool: asyncpg.Pool, place: str, limits: Limits, born: dict[int, float]) -> None:
        self._pool = pool
        self._limits = limits
        self._born = born
        self.place = place

    @classmethod
    async def open(cls, url: str, limits: Limits = _LIMITS, *, application: str) -> Self:
        """Connect; sessions are in UTC and show `application` in `pg_stat_activity`.

        TLS is as `sslmode`, `sslrootcert`, `sslcert` and `sslkey` in the URL say, `prefer` where they say nothing.

        Raises:
            StoreDown: nobody answers there, or it takes nobody now.
            StoreError: the URL, the password, the certificate or the database is wrong.
        """
        place = place_of(url)
        _check_files(url)
        born: dict[int, float] = {}

        async def begin(connection: asyncpg.Connection) -> None:
            pid = connection.get_server_pid()
            born[pid] = asyncio.get_running_loop().time()
            connection.add_termination_listener(lambda _: born.pop(pid, None))
            _notice_dead_peers(connection)

        settings = {
            "application_name": application,
            "timezone": "UTC",
            "jit": "off",  # its start costs more than it saves in statements that are all alike
            "statement_timeout": str(round(limits.statement_s * 1000)),
            "lock_timeout": str(_LOCK_TIMEOUT_MS),
            "idle_in_transaction_session_timeout": str(_IDLE_IN_TRANSACTION_MS),
        }
        try:
            with explained(place):
                pool = await asyncpg.create_pool(
                    url,
                    min_size=limits.least,
                    max_size=limits.most,
                    max_inactive_connection_lifetime=limits.idle_s,
                    max_queries=2**62,  # `lifetime_s` is what ends them
                    init=begin,
                    timeout=limits.wait_s,
                    command_timeout=limits.statement_s + _ANSWER_S,
                    server_settings=settings,
                )
        except (ValueError, OverflowError) as error:  # the port is none, a limit is none
            raise StoreError(f"the address {place} or the limits of its pool cannot be used: {error}") from error
        return cls(pool, place, limits, born)

    @property
    def size(self) -> int:
        """Open connections now."""
        return int(self._pool.get_size())

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of the pool, back in it afterwards: rolled back, unlocked, its settings as they were.

        Raises:
            StoreDown: the server does not answer, went away meanwhile, or every connection stays in use; a statement
                ran into a deadlock, a timeout or a full disk. The same may be asked again.
            StoreError: what else the server refused, in its words.
        """
        with explained(self.place):
            connection = await self._young()
            try:
                yield connection
            except BaseException:
                with contextlib.suppress(*_DRIVER):  # what went wrong first counts, a cancellation above all
                    await self._pool.release(connection)
                raise
            await self._pool.release(connection)

    async def ping(self, timeout_s: float) -> float:
        """Seconds the database took to answer.

        Raises:
            StoreDown: it did not within `timeout_s`.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        with explained(self.place):
            async with asyncio.timeout(timeout_s), self.acquire() as connection:
                try:
                    await connection.fetchval("SELECT 1")
                except BaseException:
                    connection.terminate()  # to give it back takes an answer too
                    raise
        return loop.time() - began

    async def close(self) -> None:
        """Let go of every connection, those in use after a moment too; idempotent."""
        try:
            async with asyncio.timeout(_GOODBYE_S):
                await self._pool.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._pool.terminate()

    async def _young(self) -> asyncpg.Connection:
        """A connection that has not outlived `lifetime_s`."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            connection = await self._pool.acquire(timeout=self._limits.wait_s)
            born = self._born.get(connection.get_server_pid())
            if born is None or born >= began or loop.time() - born <= self._limits.lifetime_s:
                return connection
            try:
                await connection.close(timeout=_CLOSE_S)
            finally:
                await self._pool.release(connection)


def place_of(url: str) -> str:
    """Where a URL leads, without passwords: `postgresql://user@host:port/database`.

    Raises:
        StoreError: it is no URL of PostgreSQL.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise StoreError(f"the address of the database cannot be read: {error}") from None
    if parts.scheme not in {"postgresql", "postgres"}:
        raise StoreError(f"{_scheme(url)} is no address of a PostgreSQL: write postgresql://user@host:5432/database")
    if "@" in parts.path + parts.query + parts.fragment or parts.netloc.count("@") > 1:
        raise StoreError(
            "the address of the database cannot be read: in its password write %40 for @, %2F for /, %3A for :, "
            "%3F for ?, %23 for # and %25 for %"
        )
    named = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    login, _, where = parts.netloc.rpartition("@")
    user = unquote(login.partition(":")[0]) or named.get("user", "")
    host = where or ":".join(one for one in (named.get("host", "localhost"), named.get("port", "")) if one)
    database = unquote(parts.path.removeprefix("/")) or named.get("dbname") or named.get("database") or user
    return f"postgresql://{user + '@' if user else ''}{host}/{database}"


@contextlib.contextmanager
def explained(place: str) -> Iterator[None]:
    """Turns what the driver raises inside into StoreDown or another StoreError; `place` is part of the message.

    The driver's own error stays the cause (`__cause__`).
    """
    try:
        yield
    except _DRIVER as error:
        first = error.__context__  # a transaction that cannot be ended any more says so instead of why
        if not isinstance(error, asyncpg.InterfaceError) or not isinstance(first, asyncpg.PostgresError):
            first = error
        again, words = failure(first, place)
        raise (StoreDown if again else StoreError)(words) from first


def _check_files(url: str) -> None:
    """That the files of TLS are there; the driver's words for it are those of a server that is not."""
    for name, values in parse_qs(urlsplit(url).query).items():
        path = Path(values[-1]).expanduser()
        if name in {"sslrootcert", "sslcert", "sslkey"} and not path.is_file():
            raise StoreError(f"{name} in the address of the database names {path}, which is no file")


def _scheme(url: str) -> str:
    """The part of something that is no URL that cannot hold a password."""
    return repr(url.partition(":")[0]) if ":" in url else "this"


def _notice_dead_peers(connection: asyncpg.Connection) -> None:
    """Have the system close a connection whose peer is silent to the network, where it knows how."""
    made = connection._transport.get_extra_info("socket")  # noqa: SLF001 - asyncpg takes no socket and gives none
    if made is None or made.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", 10),
        ("TCP_KEEPINTVL", 5),
        ("TCP_KEEPCNT", 2),
        ("TCP_USER_TIMEOUT", _DEAD_PEER_MS),
    ):
        if hasattr(socket, option):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
