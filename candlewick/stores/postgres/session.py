"""The shared database for code that is not asynchronous: a pool of connections on an event loop of its own."""

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from candlewick.errors import StoreError
from candlewick.stores.postgres.connection import Database, Limits

T = TypeVar("T")
P = ParamSpec("P")

_END_S = 10.0


class Session:
    """Connections that any thread may use; each call waits for its answer and leaves the other threads alone."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=_serve, args=(self._loop,), name="candlewick-postgres", daemon=True)
        self._thread.start()
        self._process = os.getpid()
        self._opened: list[Database] = []
        self.place = ""
        # Also where nobody closed it, at the end of the program or before: the server is told goodbye.
        self._end = weakref.finalize(self, _end, self._loop, self._thread, self._process, self._opened)

    @classmethod
    def open(cls, url: str, limits: Limits, *, application: str) -> Self:
        """Connect, as `Database.open` does.

        Raises:
            StoreDown, StoreError: as that says.
        """
        self = cls()
        try:
            database = self._wait(Database.open(url, limits, application=application))
        except BaseException:
            self._end()
            raise
        self._opened.append(database)
        self.place = database.place
        return self

    def ask(self, question: Callable[Concatenate[Any, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `question` returns, given a connection and the arguments.

        Raises:
            StoreDown, StoreError: the database's trouble; or it was closed.
        """
        return self._wait(self._asked(question, *args, **kwargs))

    def change(self, question: Callable[Concatenate[Any, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same inside a transaction, which is durable once this returns."""
        return self._wait(self._changed(question, *args, **kwargs))

    def close(self) -> None:
        """Close the connections; idempotent."""
        self._end()

    async def _asked(
        self, question: Callable[Concatenate[Any, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        async with self._opened[0].acquire() as connection:
            return await question(connection, *args, **kwargs)

    async def _changed(
        self, question: Callable[Concatenate[Any, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        async with self._transaction() as connection:
            return await question(connection, *args, **kwargs)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Any]:
        async with self._opened[0].acquire() as connection, connection.transaction():
            yield connection

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        if self._process != os.getpid() or not self._end.alive:
            work.close()
            closed = "is closed: open it again"
            elsewhere = f"was opened in process {self._process}: open it in this one"
            raise StoreError(f"the database at {self.place} {closed if self._process == os.getpid() else elsewhere}")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # the caller was interrupted: so is the statement
            raise


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread, process: int, opened: Sequence[Database]) -> None:
    """Close what is open, then stop the loop; its thread ends with it. After a fork only the parent has the thread."""
    if process != os.getpid():
        return

    async def leave() -> None:
        for database in opened:
            await database.close()
        loop.stop()

    asyncio.run_coroutine_threadsafe(leave(), loop)
    if threading.current_thread() is not thread:  # a garbage collection may happen in any of them
        thread.join(_END_S)
