"""What becomes a log line, and what of other libraries does not."""

import asyncio
import json
import logging
from collections.abc import Iterator
from io import StringIO

import pytest
from aiohttp import web

from candlewick.config import LogLevel
from candlewick.services.log import start_logging
from candlewick.web.listening import listen

LOGGERS = ("", "candlewick", "asyncpg")


@pytest.fixture
def stream() -> Iterator[StringIO]:
    """What was logged; the loggers of the tests are as before afterwards."""
    before = [(logging.getLogger(name), logging.getLogger(name).level) for name in LOGGERS]
    handlers = logging.getLogger().handlers[:]
    written = StringIO()
    start_logging(LogLevel.INFO, written)
    yield written
    logging.getLogger().handlers[:] = handlers
    for logger, level in before:
        logger.setLevel(level)


def lines(stream: StringIO) -> list[tuple[str, str, bool]]:
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    return [(one["level"], one["message"], "exception" in one) for one in found]


def test_requests_that_are_not_http_write_no_lines(stream: StringIO) -> None:
    """Whoever connects cannot fill the log; an error of our own still has its line."""

    async def broken(_: web.Request) -> web.Response:
        raise ZeroDivisionError

    async def story() -> None:
        app = web.Application()
        app.add_routes([web.get("/broken", broken)])
        server = await listen(app, "127.0.0.1", 0, "FEEDER_PORT", drain_s=0.1)
        for junk in (b"GET / HTTP/9.x\r\n\r\n", b"GET /broken HTTP/1.1\r\nHost: h\r\nno header\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
            writer.write(junk)
            assert b" 400 " in await reader.readline()
            writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        writer.write(b"GET /broken HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        assert b" 500 " in await reader.readline()
        writer.close()
        await server.close()

    asyncio.run(story())
    assert [(level, has_traceback) for level, _, has_traceback in lines(stream)] == [("ERROR", True)]


def test_warnings_of_other_libraries_are_lines_but_those_of_a_pool_that_cannot_connect(stream: StringIO) -> None:
    """A database that is down is told by whoever needs it, once, and not by the driver again and again."""
    logging.getLogger("asyncpg").warning("Failed to restore the pool connection floor", exc_info=OSError())
    logging.getLogger("asyncio").warning("slow")
    logging.getLogger("asyncio").info("not worth it")
    logging.getLogger("candlewick").info("own")
    assert lines(stream) == [("WARN", "slow", False), ("INFO", "own", False)]
