"""Open WebSockets over real loopback sockets, whatever the other side does."""

import asyncio
import gc
import re
import struct
import weakref

import pytest

from candlewick.live import connection
from candlewick.transport import Link
from tests.integration.websocket_peer import (
    BINARY,
    CLOSE,
    LONG,
    PING,
    PONG,
    TEXT,
    Behaviour,
    Ear,
    Frame,
    Peer,
    dial,
    goodbye,
    play,
    stay,
    wire,
)


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
