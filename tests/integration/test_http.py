"""HTTP over real loopback sockets: every way a server can fail comes out in words."""

import asyncio
import gzip
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from candlewick.errors import Unreachable
from candlewick.history.http import AiohttpHttp
from candlewick.transport import Answer

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever proxy this machine uses, the loopback is not behind it."""
    monkeypatch.setenv("NO_PROXY", "*")


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    """The port of a server that treats each connection so; nothing of it is left behind."""
    open_ones: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_ones[task] = writer
        with suppress(asyncio.CancelledError):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in open_ones:
            task.cancel()
        await asyncio.gather(*open_ones, return_exceptions=True)
        await asyncio.gather(*(writer.wait_closed() for writer in open_ones.values()), return_exceptions=True)


def served(handler: Handler, *, times: int = 1, timeout_s: float = 5.0, max_body_bytes: int = 1 << 20) -> list[Answer]:
    """What `times` requests in a row get from such a server."""

    async def story() -> list[Answer]:
        async with serving(handler) as port:
            http = AiohttpHttp(max_body_bytes=max_body_bytes)
            url = f"http://127.0.0.1:{port}/api/v3/klines"
            try:
                return [await http.get(url, (("symbol", "BTCUSDT"), ("limit", "2")), timeout_s) for _ in range(times)]
            finally:
                await http.close()

    return asyncio.run(story())


def answering(raw: bytes) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        await writer.drain()

    return handler


def plain(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def test_http_gives_status_headers_and_body() -> None:
    """Names of headers come in lower case, the body as it is."""
    answer = served(answering(plain(b"[]", "200 OK", "X-MBX-USED-WEIGHT-1M: 12")))[0]
    assert (answer.status, answer.headers["x-mbx-used-weight-1m"], answer.body) == (200, "12", b"[]")


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "418 I'm a teapot", "503 Unavailable"])
def test_http_gives_answers_of_any_status(status: str) -> None:
    """What a status means is the exchange's to say."""
    answer = served(answering(plain(b"<html>no</html>", status, "Retry-After: 7")))[0]
    assert (answer.status, answer.headers["retry-after"], answer.body) == (int(status[:3]), "7", b"<html>no</html>")


def test_http_unpacks_gzip() -> None:
    """A packed answer is asked for and comes out unpacked."""
    asked = b""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked = await reader.readuntil(b"\r\n\r\n")
        writer.write(plain(gzip.compress(b"[1,2,3]" * 1000), "200 OK", "Content-Encoding: gzip"))
        await writer.drain()

    assert served(handler)[0].body == b"[1,2,3]" * 1000
    assert re.search(rb"Accept-Encoding: .*gzip", asked)
    assert asked.startswith(b"GET /api/v3/klines?symbol=BTCUSDT&limit=2 HTTP/1.1\r\n")


def test_http_keeps_connections_for_the_next_request() -> None:
    """Five requests, one connection."""
    connections = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await reader.readline():
            await reader.readuntil(b"\r\n\r\n")
            writer.write(plain(b"{}"))

    assert len(served(handler, times=5)) == 5
    assert connections == 1


def test_http_says_when_nothing_listens() -> None:
    """Refused: the place, and that nothing listens there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but not listening
        port = taken.getsockname()[1]
        with pytest.raises(Unreachable, match=f"connection refused: nothing listens at 127.0.0.1:{port}"):
            asyncio.run(_get(f"http://127.0.0.1:{port}/"))


def test_http_says_when_a_name_is_not_known() -> None:
    """No such host, or nobody to ask for it."""
    with pytest.raises(Unreachable, match=r"the name in nowhere\.invalid:443 is not known"):
        asyncio.run(_get("https://nowhere.invalid/"))


async def _get(url: str) -> None:
    http = AiohttpHttp()
    try:
        await http.get(url, (), 5.0)
    finally:
        await http.close()


async def _hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def _drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"x")
        await writer.drain()
        await asyncio.wait([asyncio.ensure_future(reader.read(1))], timeout=0.01)


@pytest.mark.parametrize("handler", [_hang, _drip])
def test_http_bounds_the_time_of_a_whole_answer(handler: Handler) -> None:
    """Neither silence nor a byte now and then lasts longer than allowed."""
    with pytest.raises(Unreachable, match=r"no whole answer from 127.0.0.1:\d+ within 0.2 s"):
        served(handler, timeout_s=0.2)


async def _reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(plain(b"[" * 1000)[:-500])
    await writer.drain()
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


async def _leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (_reset, "connection reset by 127.0.0.1|was cut off or mangled"),
        (answering(plain(b"[" * 1000)[:-500]), "was cut off or mangled"),
        (answering(plain(b"no gzip at all", "200 OK", "Content-Encoding: gzip")), "was cut off or mangled"),
        (_leave, "ended the connection without an answer"),
        (answering(b"220 smtp.example.com ESMTP ready\r\n\r\n"), "does not speak HTTP as expected"),
        (answering(plain(b"x" * (2 << 20))), "answers more than 1048576 bytes"),
        (
            answering(plain(gzip.compress(b"x" * (2 << 20)), "200 OK", "Content-Encoding: gzip")),
            "answers more than 1048576 bytes",
        ),
    ],
)
def test_http_says_what_was_wrong_with_an_answer(handler: Handler, words: str) -> None:
    """Cut, mangled, endless, or no HTTP at all: each in its own words, with the place."""
    with pytest.raises(Unreachable, match=words) as failure:
        served(handler)
    assert "127.0.0.1:" in str(failure.value)


def test_http_names_a_server_without_tls() -> None:
    """A server that speaks plain HTTP is asked for TLS."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(plain(b"", "400 Bad Request"))
        await writer.drain()

    async def story() -> None:
        async with serving(handler) as port:
            await _get(f"https://127.0.0.1:{port}/")

    with pytest.raises(Unreachable, match=r"TLS with 127.0.0.1:\d+ failed"):
        asyncio.run(story())


def test_http_goes_on_after_it_was_closed() -> None:
    """Closing lets go of connections; the next request opens new ones."""

    async def story() -> list[int]:
        http = AiohttpHttp()
        statuses = []
        async with serving(answering(plain(b"{}"))) as port:
            for _ in range(2):
                statuses.append((await http.get(f"http://127.0.0.1:{port}/", (), 5.0)).status)
                await http.close()
        return statuses

    assert asyncio.run(story()) == [200, 200]


def test_http_uses_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy named by HTTP_PROXY is asked in place of the server."""

    async def story() -> bytes:
        async with serving(answering(plain(b"from the proxy"))) as port:
            monkeypatch.delenv("NO_PROXY")
            monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
            http = AiohttpHttp()
            try:
                return (await http.get("http://exchange.test/", (), 5.0)).body
            finally:
                await http.close()

    assert asyncio.run(story()) == b"from the proxy"


def test_post_sends_a_document_with_its_headers() -> None:
    """A POST arrives with its JSON and its headers, and whatever is answered comes back, an unhappy status too."""
    heard: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"Content-Length: (\d+)", head)
        assert found is not None
        heard.append(head + await reader.readexactly(int(found[1])))
        writer.write(plain(b'{"error": "busy"}', "429 Too Many Requests"))
        await writer.drain()

    async def story() -> Answer:
        async with serving(handler) as port:
            http = AiohttpHttp()
            try:
                return await http.post(
                    f"http://127.0.0.1:{port}/backfill", b'{"a": 1}', {"Authorization": "Bearer x"}, 5.0
                )
            finally:
                await http.close()

    answer = asyncio.run(story())
    assert (answer.status, answer.body) == (429, b'{"error": "busy"}')
    assert heard[0].startswith(b"POST /backfill HTTP/1.1\r\n")
    assert b"Content-Type: application/json\r\n" in heard[0]
    assert b"Authorization: Bearer x\r\n" in heard[0]
    assert heard[0].endswith(b'\r\n\r\n{"a": 1}')
