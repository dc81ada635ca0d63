"""`candlewick gap-handler` as a process: from its first word until what was begun is kept."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from random import Random

from candlewick.clock import SystemClock
from candlewick.config import Settings
from candlewick.history.archive import MAX_FILE_BYTES
from candlewick.history.http import AiohttpHttp
from candlewick.services.gap_handler.book import APPLICATION
from candlewick.services.gap_handler.handler import GapHandler
from candlewick.services.gap_handler.results import Keeper
from candlewick.services.supervisor import Server
from candlewick.stores.store import Store

Serve = Callable[[Keeper, Settings], Awaitable[Server]]


async def run(settings: Settings, serve: Serve) -> int:
    """Work until SIGTERM, SIGINT or a call of `/shutdown`; returns the exit code.

    Answers under way are finished first (`Server.close`), then what works by itself is ended.

    Raises:
        ConfigError: it cannot start: the database is not named, or the port is taken.
    """
    http, clock = AiohttpHttp(max_body_bytes=MAX_FILE_BYTES), SystemClock()
    opener = partial(open_shared, settings)
    handler = GapHandler(settings, http, opener, clock=clock, random=Random())  # noqa: S311 - jitter is no secret
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, handler.told_to_stop.set)
    server = None
    running: asyncio.Task[None] | None = None
    try:
        server = await serve(handler, settings)
        handler.observer.started(settings, server.url, takes_in=False, shares=True)
        running = loop.create_task(handler.run())
        stopping = loop.create_task(handler.told_to_stop.wait())
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
    finally:
        if server is not None:
            await server.close()
        if running is not None:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
        await http.close()
    handler.observer.stopped()
    return 0


def open_shared(settings: Settings) -> Store:
    """The shared database as a store.

    Raises:
        StoreDown: it does not answer.
    """
    from candlewick.stores.postgres.connection import Limits  # noqa: PLC0415 - its driver is heavy
    from candlewick.stores.postgres.store import PostgresStore  # noqa: PLC0415 - likewise

    limits = Limits(least=1, most=settings.db_max_conns, idle_s=settings.db_idle_timeout)
    return PostgresStore.open(settings.database_url, write=True, application=APPLICATION, limits=limits)
