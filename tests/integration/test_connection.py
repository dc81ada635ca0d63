"""WebSockets over real loopback sockets, against a server written from RFC 6455 that can misbehave in any way."""

import asyncio
import base64
import gc
import hashlib
import re
import socket
import struct
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import pytest

from candlewick.clock import SECOND, ManualClock
from candlewick.errors import Banned, RateLimited, Unreachable
from candlewick.live import connection
from candlewick.live.connection import PicowsDialer
from candlewick.transport import Link

NOW = 1_700_000_000 * SECOND
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
LONG = (
    b'{"e":"aggTrade","s":"BTCUSDT","p":"16850.01000000","q":"0.00100000","T":1672515782136,"x":"' + b"0" * 100 + b'"}'
)


class Ear:
    """A listener that writes down what it hears."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.pings = 0
        self.reasons: list[str] = []
        self._changed = asyncio.Event()

    def frame(self, payload: bytes) -> None:
        assert not self.reasons, "a frame after the end"
        self.frames.append(payload)
        self._changed.set()

    def heard(self) -> None:
        assert not self.reasons, "a ping after the end"
        self.pings += 1
        self._changed.set()

    def closed(self, reason: str) -> None:
        self.reasons.append(reason)
        self._changed.set()

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not true():
                self._changed.clear()
                await self._changed.wait()

    async def end(self) -> str:
        await self.until(lambda: bool(self.reasons))
        await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=0.02)  # anything more?
        assert len(self.reasons) == 1
        return self.reasons[0]


class Frame(NamedTuple):
    """A frame that the client sent, unmasked."""

    opcode: int
    payload: bytes


def wire(opcode: int, payload: bytes, *, fin: bool = True, length: int | None = None) -> bytes:
    """A frame as a server sends it; `length` is what it claims to have."""
    size = len(payload) if length is None else length
    head = bytes([fin << 7 | opcode])
    if size < 126:
        return head + bytes([size]) + payload
    return (
        head
        + (bytes([126]) + struct.pack(">H", size) if size < 65536 else bytes([127]) + struct.pack(">Q", size))
        + payload
    )


def goodbye(code: int, words: str = "") -> bytes:
    return wire(CLOSE, struct.pack(">H", code) + words.encode())


class Peer:
    """The server's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.request = b""

    async def upgrade(self, more: bytes = b"") -> None:
        """Do the handshake; `more` comes in the same segment."""
        self.request = await self.reader.readuntil(b"\r\n\r\n")
        self.accept(more)

    def accept(self, more: bytes = b"") -> None:
        """Answer the handshake."""
        found = re.search(rb"Sec-WebSocket-Key: (\S+)", self.request)
        assert found is not None
        digest = hashlib.sha1(found[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        self.writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
            + base64.b64encode(digest) + b"\r\n\r\n" + more
        )  # fmt: skip

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    async def receive(self) -> Frame:
        """The next frame of the client; it must be masked."""
        head = await self.reader.readexactly(2)
        assert head[1] & 0x80
        size = head[1] & 0x7F
        assert size < 126
        mask = await self.reader.readexactly(4)
        payload = await self.reader.readexactly(size)
        return Frame(head[0] & 0xF, bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload)))

    def reset(self) -> None:
        """Drop the connection with RST."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Behaviour = Callable[[Peer], Awaitable[None]]
Story = Callable[[str, Ear], Awaitable[None]]


@asynccontextmanager
async def serving(behaviour: Behaviour) -> AsyncIterator[str]:
    """The URL of a server that treats each connection so; nothing of it is left behind."""
    open_ones: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_ones[task] = writer
        with suppress(asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            await behaviour(Peer(reader, writer))
        writer.close()

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/stream"
    finally:
        server.close()
        for task in open_ones:
            task.cancel()
        await asyncio.gather(*open_ones, return_exceptions=True)
        for writer in open_ones.values():
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in open_ones.values()), return_exceptions=True)


def play(behaviour: Behaviour, story: Story) -> None:
    """Let a story happen against a server; every server task that fails, fails the test."""

    async def run() -> None:
        failures: list[BaseException] = []

        async def watched(peer: Peer) -> None:
            try:
                await behaviour(peer)
            except AssertionError as failure:
                failures.append(failure)

        async with serving(watched) as url:
            await story(url, Ear())
        assert not failures, failures

    asyncio.run(run())


async def dial(url: str, ear: Ear, *, timeout_s: float = 5.0, max_message_bytes: int = 1 << 20) -> Link:
    return await PicowsDialer(ManualClock(NOW), timeout_s=timeout_s, max_message_bytes=max_message_bytes).dial(url, ear)


async def stay(peer: Peer) -> None:
    """Keep the connection open and read what comes."""
    while await peer.reader.read(65536):
        pass


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever proxy this machine uses, the loopback is not behind it."""
    monkeypatch.setenv("NO_PROXY", "*")


def test_connection_delivers_every_message_whole() -> None:
    """Short, long, very long and binary messages, in order, as the bytes that were sent."""
    messages = [b"{}", LONG, b"", b"x" * 125, b"y" * 126, b"z" * 70_000, b'{"id":1}']

    async def server(peer: Peer) -> None:
        await peer.upgrade(wire(TEXT, b"with the upgrade"))
        peer.send(*(wire(TEXT, one) for one in messages), wire(BINARY, b"\x00\xff"), wire(BINARY, b"\x00" * 200))
        await stay(peer)

    async def story(url: str, ear: Ear) -> None:
        link = await dial(url, ear)
        await ear.until(lambda: len(ear.frames) == len(messages) + 3)
        assert ear.frames == [b"with the upgrade", *messages, b"\x00\xff", b"\x00" * 200]
        link.abort()
        assert await ear.end() == "dropped here"

    play(server, story)


def test_connection_joins_fragments_around_control_frames() -> None:
    """A message in parts arrives once, whole; a ping between its parts is answered and heard at its time."""
    parts = [LONG[:50], LONG[50:], b"!" * 200, b""]

    async def server(peer: Peer) -> None:
        await peer.upgrade()
        peer.send(wire(TEXT, parts[0], fin=False), wire(PING, b"now"), wire(0, parts[1], fin=False))
        assert await peer.receive() == (PONG, b"now")
        peer.send(wire(0, parts[2], fin=False), wire(0, parts[3]), wire(TEXT, LONG), wire(TEXT, b"short"))
        await stay(peer)

    async def story(url: str, ear: Ear) -> None:
        link = await dial(url, ear)
        await ear.until(lambda: len(ear.frames) == 3)
        assert ear.frames == [b"".join(parts), LONG, b"short"]
        assert ear.pings == 1
        link.abort()
        await ear.end()

    play(server, story)


def test_connection_answers_pings_and_hears_pongs() -> None:
    """The payload of a ping comes back; a pong to the own ping is heard."""

    async def server(peer: Peer) -> None:
        await peer.upgrade()
        peer.send(wire(PING, b"1700000000000"))
        assert await peer.receive() == (PONG, b"1700000000000")
        assert await peer.receive() == (PING, b"")
        peer.send(wire(PONG, b""))
        await stay(peer)

    async def story(url: str, ear: Ear) -> None:
        link = await dial(url, ear)
        await ear.until(lambda: ear.pings == 1)
        link.ping()
        await ear.until(lambda: ear.pings == 2)
        link.abort()
        await ear.end()

    play(server, story)


def test_connection_sends_text() -> None:
    """What is sent arrives as one masked text message."""

    async def server(peer: Peer) -> None:
        await peer.upgrade()
        assert await peer.receive() == (TEXT, b'{"method":"SUBSCRIBE"}')
        peer.send(goodbye(1000))

    async def story(url: str, ear: Ear) -> None:
        link = await dial(url, ear)
        link.send(b'{"method":"SUBSCRIBE"}')
        assert (await ear.end()).endswith("said goodbye: 1000 normal end")

    play(server, story)


@pytest.mark.parametrize(
    ("close", "words"),
    [
        (goodbye(1008, "Pong timeout"), "said goodbye: 1008 Pong timeout"),
        (goodbye(1001), "said goodbye: 1001 going away"),
        (goodbye(4001, "bye"), "said goodbye: 4001 bye"),
        (wire(CLOSE, b""), "said goodbye: 1005 no reason given"),
    ],
)
def test_connection_answers_a_close_frame_and_says_its_code(close: bytes, words: str) -> None:
    """The other side's code and words are the reason, and it gets its close frame back."""
    answers: list[Frame] = []

    async def server(peer: Peer) -> None:
        await peer.upgrade()
        peer.send(wire(TEXT, b"last"), close)
        answers.append(await peer.receive())
        await stay(peer)

    async def story(url: str, ear: Ear) -> None:
        await dial(url, ear)
        reason = await ear.end()
        assert re.fullmatch(rf"127\.0\.0\.1:\d+ {re.escape(words)}", reason)
        assert ear.frames == [b"last"]

    play(server, story)
    assert answers[0].opcode == CLOSE


async def _cut(peer: Peer) -> None:
    await peer.upgrade()
    peer.send(wire(TEXT, LONG), wire(TEXT, LONG)[:40])
    await peer.writer.drain()


async def _reset(peer: Peer) -> None:
    await peer.upgrade()
    await peer.writer.drain()
    await peer.receive()
    peer.reset()


@pytest.mark.parametrize(
    ("server", "words"),
    [(_cut, "ended the connection without a close frame"), (_reset, "connection reset by 127.0.0.1")],
)
def test_connection_says_how_it_was_cut(server: Behaviour, words: str) -> None:
    """The end of the stream and a reset are told apart; half a message is not delivered."""

    async def story(url: str, ear: Ear) -> None:
        link = await dial(url, ear)
        link.send(b"hello")
        assert words in await ear.end()
        assert all(frame == LONG for frame in ear.frames)

    play(server, story)


def test_connection_can_be_dropped_when_nobody_is_there() -> None:
    """On a half-open connection nothing is heard, sends go nowhere, and dropping it ends it at once."""

    async def server(peer: Peer) -> None:
        await peer.upgrade()
        await asyncio.Event().wait()

    async def story(url: str, ear: Ear) -> None:
        link = await dial(url, ear)
        link.send(b"hello?")
        link.ping()
        link.abort()
        link.abort()
        assert await ear.end() == "dropped here"
        for late in (
            link.ping,
            link.pause,
            link.resume,
            link.abort,
            lambda: link.send(b"x"),
            lambda: link.close(1000, "x"),
        ):
            late()
        assert (ear.frames, ear.pings, len(ear.reasons)) == ([], 0, 1)

    play(server, story)


def test_connection_delivers_nothing_after_it_was_dropped() -> None:
    """Dropped inside a frame: what was read along with that frame is not delivered any more."""

    async def server(peer: Peer) -> None:
        await peer.upgrade()
        await peer.receive()
        peer.send(*(wire(TEXT, LONG) for _ in range(100)))
        await stay(peer)

    class Dropping(Ear):
        link: Link

        def frame(self, payload: bytes) -> None:
            super().frame(payload)
            self.link.abort()

    async def story(url: str, _: Ear) -> None:
        ear = Dropping()
        ear.link = await dial(url, ear)
        ear.link.send(b"go")
        await ear.end()
        assert len(ear.frames) == 1

    play(server, story)


@pytest.mark.parametrize(
    ("frames", "code", "words"),
    [
        ([wire(TEXT, b"x", length=17 << 20)], 1009, "exceeding max allowed size"),
        ([wire(TEXT, b"x" * 600_000, fin=False), wire(0, b"y" * 600_000)], 1009, "in fragments exceeds 1048576 bytes"),
        ([b"\x83\x00"], 1002, "invalid opcode"),
        ([b"\x81\x81\x00\x00\x00\x00x"], 1002, "masked frame from server"),
    ],
)
def test_connection_ends_when_the_other_side_breaks_the_protocol(frames: list[bytes], code: int, words: str) -> None:
    """Huge and impossible frames end it with the right code, told to both sides; nothing of them is delivered."""
    answers: list[Frame] = []

    async def server(peer: Peer) -> None:
        await peer.upgrade()
        peer.send(*frames)
        answers.append(await peer.receive())
        await stay(peer)

    async def story(url: str, ear: Ear) -> None:
        await dial(url, ear)
        reason = await ear.end()
        assert reason.startswith(f"closed here: {code} ")
        assert words in reason
        assert ear.frames == []

    play(server, story)
    assert answers[0].payload[:2] == struct.pack(">H", code)


def test_connection_closes_politely() -> None:
    """The close frame carries code and words; its answer ends the connection, and what came before still arrives."""

    async def server(peer: Peer) -> None:
        await peer.upgrade()
        assert await peer.receive() == (CLOSE, struct.pack(">H", 1000) + b"renewed")
        peer.send(wire(TEXT, b"on its way"), goodbye(1000))
        await stay(peer)

    async def story(url: str, ear: Ear) -> None:
        link = await dial(url, ear)
        link.close(1000, "renewed")
        assert await ear.end() == "closed here: 1000 renewed"
        assert ear.frames == [b"on its way"]

    play(server, story)


def test_connection_closes_though_the_other_side_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A close frame that nobody answers is not waited for beyond its time, also while reading is paused."""
    monkeypatch.setattr(connection, "CLOSE_S", 0.05)

    async def server(peer: Peer) -> None:
        await peer.upgrade()
        await asyncio.Event().wait()

    async def story(url: str, _: Ear) -> None:
        for paused in (False, True):
            ear = Ear()
            link = await dial(url, ear)
            if paused:
                link.pause()
            link.close(1000, "x" * 200)
            assert (await ear.end()).startswith("closed here: 1000 x")

    play(server, story)


def test_connection_leaves_what_comes_in_the_socket_while_paused() -> None:
    """While paused the server's writes come to a stop: the pressure reaches it. On resuming everything arrives."""
    sent = 0
    block = wire(TEXT, LONG) * 500

    async def server(peer: Peer) -> None:
        nonlocal sent
        await peer.upgrade()
        await peer.receive()
        for _ in range(700):
            peer.send(block)
            await peer.writer.drain()
            sent += 500
        peer.send(goodbye(1000))
        await stay(peer)

    async def story(url: str, ear: Ear) -> None:
        link = await dial(url, ear)
        link.pause()
        link.send(b"go")
        before = -1
        while sent != before:  # until the server has been stuck for a while
            before = sent
            await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=0.3)
        assert 0 < sent < 350_000
        assert ear.frames == []
        link.resume()
        await ear.until(lambda: len(ear.frames) == 350_000)
        await ear.end()

    play(server, story)


def _answers(status: str, *headers: str, body: bytes = b"") -> Behaviour:
    async def server(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
        peer.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await peer.writer.drain()

    return server


@pytest.mark.parametrize(
    ("status", "wait_s"), [("403 Forbidden", 300), ("418 I'm a teapot", 120), ("451 Legal", 86_400)]
)
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
        async with asyncio.timeout(5):
            await dropped.wait()
        assert (ear.frames, ear.reasons) == ([], [])

    play(server, story)


def test_connection_hands_an_error_of_its_listener_to_the_loop() -> None:
    """A bug in a listener ends the connection, says so, and is not swallowed."""
    found: list[object] = []

    class Broken(Ear):
        def frame(self, payload: bytes) -> None:
            super().frame(payload)
            raise ZeroDivisionError

    async def server(peer: Peer) -> None:
        await peer.upgrade(wire(TEXT, LONG))
        await stay(peer)

    async def story(url: str, _: Ear) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: found.append(context.get("exception")))
        ear = Broken()
        await dial(url, ear)
        assert (await ear.end()).startswith("closed here: 1011")

    play(server, story)
    assert [type(one) for one in found] == [ZeroDivisionError]


def test_connection_frees_its_listener_without_the_collector() -> None:
    """Once it is over nothing refers to the listener or the link: no cycle waits for the garbage collector."""

    async def server(peer: Peer) -> None:
        await peer.upgrade(wire(TEXT, LONG) + wire(TEXT, b"in", fin=False) + wire(0, b" parts"))
        await peer.receive()
        peer.send(goodbye(1000))
        await stay(peer)

    async def once(url: str) -> tuple[object, object]:
        ear = Ear()
        link = await dial(url, ear)
        link.send(b"enough")
        await ear.end()
        assert ear.frames == [LONG, b"in parts"]
        return weakref.ref(ear), weakref.ref(link)

    async def story(url: str, _: Ear) -> None:
        gc.collect()
        gc.disable()
        try:
            ear, link = await once(url)
            assert callable(ear)
            assert callable(link)
            assert (ear(), link()) == (None, None)
        finally:
            gc.enable()

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
