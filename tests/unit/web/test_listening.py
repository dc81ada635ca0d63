"""How long a server waits for those who ask, on real sockets."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from candlewick.web.listening import Handler, Patience, answer_json, listen

LARGE = bytes(64 << 20)
"""More than the system takes from a server whose client does not read."""
SHORT_S = 0.2
STUCK_S = 120.0


class Place:
    """A server, and the connections to it."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def visit(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._port)


def serve(story: Callable[[Place], Awaitable[None]], patience: Patience, app: web.Application | None = None) -> None:
    """Tell a story with a server of this patience."""

    async def fine(_: web.Request) -> web.Response:
        return answer_json(200, {"fine": True})

    async def whole() -> None:
        served = app or web.Application()
        served.router.add_route("*", "/", fine)
        server = await listen(served, "127.0.0.1", 0, "PORT", drain_s=1.0, patience=patience)
        try:
            async with asyncio.timeout(STUCK_S):
                await story(Place(int(server.url.rpartition(":")[2])))
        finally:
            await server.close()

    asyncio.run(whole())


async def leave(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def status(reader: asyncio.StreamReader) -> int:
    """The status of the next answer; its headers and body are read."""
    code = int((await reader.readline()).split()[1])
    length = 0
    while (line := await reader.readline()) != b"\r\n":
        name, _, value = line.partition(b":")
        length = int(value) if name.lower() == b"content-length" else length
    await reader.readexactly(length)
    return code


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: localho"], ids=["nothing", "half a header"])
def test_connection_that_asks_nothing_is_ended(sent: bytes) -> None:
    """Whoever sends no request, or only the beginning of one, is sent off; nobody else is."""

    async def story(place: Place) -> None:
        polite_reader, polite = await place.visit()
        polite.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert await status(polite_reader) == 200
        reader, writer = await place.visit()
        writer.write(sent)
        assert await reader.read() == b""
        polite.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert await status(polite_reader) == 200
        await leave(writer)
        await leave(polite)

    serve(story, Patience(read_s=SHORT_S))


def test_header_of_a_later_request_arrives_or_the_connection_ends() -> None:
    """A connection that was answered once is kept only as long as one that is idle."""

    async def story(place: Place) -> None:
        reader, writer = await place.visit()
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HT")
        assert await status(reader) == 200
        assert await reader.read() == b""
        await leave(writer)

    serve(story, Patience(idle_s=SHORT_S))


@pytest.mark.parametrize("sent", [b"", b"{"], ids=["nothing", "a part"])
def test_body_that_does_not_arrive_is_answered_408(sent: bytes) -> None:
    """Whoever announces a body and does not send it is told."""

    async def story(place: Place) -> None:
        reader, writer = await place.visit()
        writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n" + sent)
        assert await status(reader) == 408
        await leave(writer)

    serve(story, Patience(read_s=SHORT_S))


def test_answer_that_nobody_takes_ends_the_connection() -> None:
    """A client that asks for much and reads nothing holds nothing up."""
    over = asyncio.Event()

    @web.middleware
    async def noting(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        finally:
            over.set()

    async def large(_: web.Request) -> web.Response:
        return web.Response(body=LARGE)

    app = web.Application(middlewares=[noting])
    app.router.add_get("/large", large)

    async def story(place: Place) -> None:
        reader, writer = await place.visit()
        writer.write(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await over.wait()
        (got,) = await asyncio.gather(reader.read(), return_exceptions=True)
        assert isinstance(got, ConnectionError) or len(got) < len(LARGE)
        await leave(writer)

    serve(story, Patience(send_s=SHORT_S), app)
