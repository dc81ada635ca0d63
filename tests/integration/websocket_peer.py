"""A WebSocket server written from RFC 6455 that can misbehave in any way, and a listener that writes down what it hears."""

import asyncio
import base64
import hashlib
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from candlewick.clock import SECOND, ManualClock
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
        async with asyncio.timeout(60):
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
