"""Opening WebSockets over real loopback sockets, and why one did not open."""

import asyncio
import socket
from contextlib import suppress

import pytest

from candlewick.clock import SECOND
from candlewick.errors import Banned, RateLimited, Unreachable
from tests.integration.websocket_peer import (
    LONG,
    NOW,
    TEXT,
    Behaviour,
    Ear,
    Peer,
    dial,
    play,
    stay,
    wire,
)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever proxy this machine uses, the loopback is not behind it."""
    monkeypatch.setenv("NO_PROXY", "*")


def _answers(status: str, *headers: str, body: bytes = b"") -> Behaviour:
    async def server(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
        peer.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await peer.writer.drain()

    return server


@pytest.mark.parametrize(("status", "wait_s"), [("403 Forbidden", 300), ("418 I'm a teapot", 120), ("451 Legal", 300)])
def test_dialing_tells_a_ban(status: str, wait_s: int) -> None:
    """403, 418 and 451 are bans: until the time the server says, or a cautious one."""

    async def told(url: str, ear: Ear) -> None:
        with pytest.raises(Banned, match=f"refused the WebSocket with {status[:3]}.*: go away") as failure:
            await dial(url, ear)
        assert failure.value.until == NOW + 40 * SECOND
        assert ear.reasons == []

    async def untold(url: str, ear: Ear) -> None:
        with pytest.raises(Banned, match="not trying again before 2023-11-1") as failure:
            await dial(url, ear)
        assert failure.value.until == NOW + wait_s * SECOND

    play(_answers(status, "Retry-After: 40", body=b"go away"), told)
    play(_answers(status), untold)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [(["Retry-After: 7"], 7), (["Retry-After: Fri, 31 Dec 2027 23:59:59 GMT"], 60), ([], 60)],
)
def test_dialing_tells_a_rate_limit(headers: list[str], wait_s: int) -> None:
    """429 says for how long, or a minute is assumed."""

    async def story(url: str, ear: Ear) -> None:
        with pytest.raises(RateLimited, match="429 Too Many Requests") as failure:
            await dial(url, ear)
        assert failure.value.retry_after == wait_s

    play(_answers("429 Too Many Requests", *headers), story)


async def _silent(peer: Peer) -> None:
    await asyncio.Event().wait()


async def _gone(peer: Peer) -> None:
    await peer.reader.readuntil(b"\r\n\r\n")


async def _wrong_key(peer: Peer) -> None:
    await peer.reader.readuntil(b"\r\n\r\n")
    peer.writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"
    )
    await stay(peer)


async def _no_http(peer: Peer) -> None:
    peer.writer.write(b"220 smtp.example.com ESMTP\r\n\r\n")
    await stay(peer)


@pytest.mark.parametrize(
    ("server", "words"),
    [
        (_answers("500 Internal Server Error", body=b"<html>oops</html>"), "refused the WebSocket with 500.*oops"),
        (_answers("404 Not Found"), "refused the WebSocket with 404 Not Found$"),
        (_answers("200 OK", body=b"<html>hello</html>"), "refused the WebSocket with 200 OK"),
        (_silent, "did not open a WebSocket within 0.2 s"),
        (_gone, "ended the connection instead of opening a WebSocket"),
        (_wrong_key, "is no WebSocket server: .*sec-websocket-accept"),
        (_no_http, "is no WebSocket server: "),
    ],
)
def test_dialing_says_why_there_is_no_websocket(server: Behaviour, words: str) -> None:
    """Whatever answers in its place, or does not: in words, with the place; the listener hears nothing."""

    async def story(url: str, ear: Ear) -> None:
        with pytest.raises(Unreachable, match=words) as failure:
            await dial(url, ear, timeout_s=0.2)
        assert "127.0.0.1:" in str(failure.value)
        assert ear.reasons == []

    play(server, story)


def test_dialing_says_when_nothing_listens() -> None:
    """Refused, and where."""

    async def story() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # bound, but not listening
            port = taken.getsockname()[1]
            with pytest.raises(Unreachable, match=f"connection refused: nothing listens at 127.0.0.1:{port}"):
                await dial(f"ws://127.0.0.1:{port}/ws", Ear())
            with pytest.raises(Unreachable, match=f"connection refused: nothing listens at localhost:{port}"):
                await dial(f"ws://localhost:{port}/ws", Ear())

    asyncio.run(story())


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("wss://nowhere.invalid/ws", "the name in nowhere.invalid:443 is not known"),
        ("http://127.0.0.1/ws", "scheme isn't ws or wss"),
    ],
)
def test_dialing_names_an_address_that_cannot_be(url: str, words: str) -> None:
    """Unknown names and other schemes."""
    with pytest.raises(Unreachable, match=words):
        asyncio.run(dial(url, Ear()))


def test_dialing_names_a_server_without_tls() -> None:
    """A server that speaks no TLS is asked for it."""

    async def story(url: str, ear: Ear) -> None:
        with pytest.raises(Unreachable, match=r"TLS with 127\.0\.0\.1"):
            await dial(url.replace("ws:", "wss:"), ear)

    play(_no_http, story)


def test_dialing_can_be_called_off() -> None:
    """Cancelled while the server hesitates: its late upgrade is dropped, and the listener never hears of it."""
    asked, called_off, dropped = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def server(peer: Peer) -> None:
        peer.request = await peer.reader.readuntil(b"\r\n\r\n")
        asked.set()
        await called_off.wait()
        peer.accept(wire(TEXT, LONG))
        with suppress(ConnectionError):
            await stay(peer)
        dropped.set()

    async def story(url: str, ear: Ear) -> None:
        task = asyncio.ensure_future(dial(url, ear))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        called_off.set()
        async with asyncio.timeout(60):
            await dropped.wait()
        assert (ear.frames, ear.reasons) == ([], [])

    play(server, story)


def test_dialing_uses_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a proxy the WebSocket goes through a tunnel, as REST does."""
    asked: list[bytes] = []

    async def proxy(peer: Peer) -> None:
        asked.append(await peer.reader.readuntil(b"\r\n\r\n"))
        peer.writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await peer.upgrade(wire(TEXT, LONG))
        await stay(peer)

    async def story(url: str, ear: Ear) -> None:
        monkeypatch.delenv("NO_PROXY")
        monkeypatch.setenv("HTTP_PROXY", url.replace("ws:", "http:").removesuffix("/stream"))
        link = await dial("ws://exchange.test:9443/stream", ear)
        await ear.until(lambda: ear.frames == [LONG])
        link.abort()
        await ear.end()

    play(proxy, story)
    assert asked[0].startswith(b"CONNECT exchange.test:9443 HTTP/1.1")
