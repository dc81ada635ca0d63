"""A WebSocket server in a process of its own that sends ready-made bytes as fast as they are taken, or paced.

It does what a stream server must (upgrade, answers to pings, subscriptions and goodbyes) with blocking sockets and
threads: sending costs it little, so that the receiver is what is measured.
"""

import base64
import hashlib
import json
import multiprocessing
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.place import SERVER_CORE, pin

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3
_PONG, _CLOSE, _TEXT = 0xA, 0x8, 0x1


class Blaster:
    """The server as those see it who use it, one at a time; it can be handed to a process that is started."""

    def __init__(self, pipe: Connection, port: int) -> None:
        self._pipe = pipe
        self.url = f"ws://127.0.0.1:{port}"

    def start(self, what: str, *args: Any) -> None:
        """Have it `wait`, `blast`, send `paced`, or one `block` of each connection."""
        self._pipe.send((what, args))

    def result(self) -> Any:
        """What came of it; times are `time.monotonic_ns()`, which all processes share."""
        return self._pipe.recv()

    def ask(self, what: str, *args: Any) -> Any:
        """Do it and wait."""
        self.start(what, *args)
        return self.result()


@contextmanager
def blaster(make: Callable[..., list[list[bytes]]], *args: Any) -> Iterator[Blaster]:
    """A server whose connections are sent what `make(*args)` makes over there: blocks of bytes for each, in order."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, make, args), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Blaster(ours, ours.recv())
    finally:
        process.terminate()
        process.join()


class _Taker:
    """One connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.lock = threading.Lock()
        self.asked_at = time.monotonic()

    def send(self, block: bytes) -> None:
        with self.lock:
            self.sock.sendall(block)

    def frame(self, code: int, payload: bytes) -> None:
        self.send(bytes((0x80 | code, len(payload))) + payload)

    def serve(self) -> None:
        """Upgrade, then answer until the other side is gone."""
        stream = self.sock.makefile("rb")
        key = b""
        while (line := stream.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            if name.lower() == b"sec-websocket-key":
                key = value.strip()
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        self.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        while len(head := stream.read(2)) == 2:
            code, length = head[0] & 15, head[1] & 127
            if length == 126:
                (length,) = struct.unpack(">H", stream.read(2))
            mask, body = stream.read(4), stream.read(length)
            payload = bytes(byte ^ mask[at & 3] for at, byte in enumerate(body))
            self._answer(code, payload)
            if code == _CLOSE:
                break

    def _answer(self, code: int, payload: bytes) -> None:
        if code == 0x9:
            self.frame(_PONG, payload)
        elif code == _CLOSE:
            self.frame(_CLOSE, payload)
        elif code == _TEXT:
            self.asked_at = time.monotonic()
            self.frame(_TEXT, b'{"result":null,"id":%d}' % (json.loads(payload).get("id") or 0))


class _Server:
    def __init__(self, content: list[list[bytes]]) -> None:
        self.content = content
        self.takers: list[_Taker] = []
        self.sent = 0
        self.listening = socket.create_server(("127.0.0.1", 0))

    def accept(self) -> None:
        while True:
            sock, _ = self.listening.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            taker = _Taker(sock)
            self.takers.append(taker)
            threading.Thread(target=self._serve, args=(taker,), daemon=True).start()

    def _serve(self, taker: _Taker) -> None:
        with suppress(OSError):  # the other side went
            taker.serve()
        self.takers.remove(taker)
        taker.sock.close()

    def wait(self, quiet_s: float, most_s: float = 60.0) -> bool:
        """Until as many connected as there is content for, and none has asked for anything for `quiet_s`."""
        ends = time.monotonic() + most_s
        while time.monotonic() < ends:
            takers = list(self.takers)
            quiet = all(time.monotonic() - one.asked_at > quiet_s for one in takers)
            if len(takers) == len(self.content) and quiet:
                return True
            time.sleep(0.02)
        return False

    def blast(self, rate: float = 0.0) -> tuple[int, int]:
        """Everything, at once or so many blocks a second; when the first and after the last."""
        senders = [
            threading.Thread(target=_send_all, args=(taker, blocks, rate))
            for taker, blocks in zip(self.takers, self.content, strict=False)
        ]
        began = time.monotonic_ns()
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        return began, time.monotonic_ns()

    def part(self, number: int, parts: int) -> int:
        """One of so many parts of the first connection's blocks; how many frames were sent with it and before it."""
        every = self.content[0]
        first, end = len(every) * number // parts, len(every) * (number + 1) // parts
        for block in every[first:end]:
            self.takers[0].send(block)
            self.sent += block.count(b"\x81\x7e")
        return self.sent

    def paced(self, gap_s: float) -> list[int]:
        """Every block of the first connection, one every `gap_s`; when each was sent."""
        sent, taker = [], self.takers[0]
        due = time.monotonic_ns()
        for block in self.content[0]:
            while (left := due - time.monotonic_ns()) > 0:
                if left > 200_000:
                    time.sleep((left - 150_000) / 1e9)
            sent.append(time.monotonic_ns())
            taker.sock.sendall(block)
            due += int(gap_s * 1e9)
        return sent

    def block(self, number: int) -> tuple[int, int]:
        """One block of each connection; when the first and after the last."""
        began = time.monotonic_ns()
        for taker, blocks in zip(self.takers, self.content, strict=False):
            taker.send(blocks[number])
        return began, time.monotonic_ns()


def _send_all(taker: _Taker, blocks: list[bytes], rate: float) -> None:
    began = time.monotonic()
    with suppress(OSError):  # the receiver has enough
        for number, block in enumerate(blocks):
            if rate and (ahead_s := began + number / rate - time.monotonic()) > 0:
                time.sleep(ahead_s)
            taker.send(block)


def _serve(pipe: Connection, make: Callable[..., list[list[bytes]]], args: tuple[Any, ...]) -> None:
    pin(SERVER_CORE)
    server = _Server(make(*args))
    pipe.send(server.listening.getsockname()[1])
    threading.Thread(target=server.accept, daemon=True).start()
    parent = os.getppid()
    while os.getppid() == parent:
        if not pipe.poll(1.0):
            continue
        what, given = pipe.recv()
        pipe.send(getattr(server, what)(*given))
