"""A wire to a server that breaks where a test says: a TCP proxy that counts what passes and cuts at an exact piece of it."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from enum import StrEnum
from typing import Any, NamedTuple, Self

JOIN_S = 30.0


class Break(StrEnum):
    """How a wire breaks at a piece: what one side sent at once, a statement or an answer."""

    BEFORE = "before"
    """The piece is lost: a statement that never came, or the answer to one that was executed."""
    HALF = "half"
    AFTER = "after"
    """The piece arrives, and nothing else does: a COMMIT that is executed though nobody waits for its answer."""
    LATE = "late"
    """As before, but a statement arrives all the same when its sender is long gone and may have begun anew."""
    ORPHANED = "orphaned"
    """As before, but for a while the server does not notice that nobody is there."""
    STUCK = "stuck"
    """For a while nothing is taken from who sends, then it breaks."""
    KILLED = "killed"
    """The server is killed and started again at the piece."""


class Cut(NamedTuple):
    """Where a wire breaks next: after so many pieces more, both ways and all connections counted."""

    pieces: int
    how: Break
    wait_s: float = 0.0
    """How late, or orphaned for how long."""


class Wire:
    """Leads connections to a port of this machine. It works in a thread of its own; `cut` may be set from any."""

    def __init__(self, port: int, *, kill: Callable[[], None]) -> None:
        """`kill` has the server killed and started again; it is called in a thread."""
        self.port = 0
        self.passed = 0
        """Pieces so far."""
        self.broken: list[tuple[int, Break]] = []
        """Where it was cut, and how."""
        self.draw: Callable[[], Cut | None] = lambda: None
        """Asked for the next cut, at once and after each."""
        self._there, self._kill = port, kill
        self._next: tuple[int, Cut] | None = None
        self._links: set[_Link] = set()
        self._work: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wire")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(JOIN_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(JOIN_S)
        self._loop.close()

    def url(self, url: str) -> str:
        """The same address by way of this wire."""
        assert f":{self._there}/" in url
        return url.replace(f":{self._there}/", f":{self.port}/")

    def arm(self, draw: Callable[[], Cut | None]) -> None:
        """Have it cut wherever `draw` says from now on; None: not any more."""
        self.draw = draw
        self._arm()

    def disarm(self) -> None:
        """Have it whole from now on, what is late and who is orphaned included."""
        self.arm(lambda: None)
        asyncio.run_coroutine_threadsafe(self._settle(), self._loop).result(JOIN_S)

    def sever(self) -> None:
        """Cut every connection now, as when the process at this end dies."""
        asyncio.run_coroutine_threadsafe(self._sever(), self._loop).result(JOIN_S)

    def _arm(self) -> None:
        cut = self.draw()
        self._next = None if cut is None else (self.passed + cut.pieces, cut)

    def due(self) -> Cut | None:
        """Count a piece; how the wire breaks at it, if it does."""
        self.passed += 1
        if self._next is None or self.passed < self._next[0]:
            return None
        cut = self._next[1]
        self.broken.append((self.passed, cut.how))
        self._arm()
        return cut

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Have something done that nobody waits for before the end."""
        task = self._loop.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def kill(self) -> None:
        """Kill the server and have it back."""
        async with self._killing:
            await asyncio.to_thread(self._kill)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._over, self._killing = asyncio.Event(), asyncio.Lock()
        server = await asyncio.start_server(self._lead, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()
        await self._settle()
        await self._sever()
        await asyncio.sleep(0)  # noqa: TID251 - a network has no Clock

    async def _settle(self) -> None:
        while self._work:
            await asyncio.wait(self._work)

    async def _sever(self) -> None:
        for link in list(self._links):
            link.hang_up()
        while self._links:
            await asyncio.sleep(0.001)  # noqa: TID251 - as above

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection("127.0.0.1", self._there)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(self, writer, there[1])
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(link.pump(reader, there[1], up=True))
                tasks.create_task(link.pump(there[0], writer, up=False))
        finally:
            self._links.discard(link)


class _Link:
    """One connection that goes by way of the wire."""

    def __init__(self, wire: Wire, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._wire, self._client, self._server = wire, client, server
        self._is_over = False

    def hang_up(self) -> None:
        """Break both ends."""
        self._is_over = True
        self._client.transport.abort()
        self._server.transport.abort()

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        """Pass on pieces until an end breaks."""
        with suppress(OSError):
            while (piece := await reader.read(1 << 16)) and not self._is_over:
                cut = self._wire.due()
                if cut is not None:
                    await self._break(cut, piece, writer, up=up)
                    return
                writer.write(piece)
                await writer.drain()
        if not self._is_over:
            self.hang_up()

    async def _break(self, cut: Cut, piece: bytes, writer: asyncio.StreamWriter, *, up: bool) -> None:
        self._is_over = True
        if cut.how is Break.KILLED:
            await self._wire.kill()
        elif cut.how is Break.STUCK:
            await asyncio.sleep(cut.wait_s)  # noqa: TID251 - a network has no Clock
        elif cut.how in {Break.LATE, Break.ORPHANED} and up:
            self._client.transport.abort()
            self._wire.spawn(self._leave(piece if cut.how is Break.LATE else b"", cut.wait_s))
            return
        elif cut.how in {Break.HALF, Break.AFTER}:
            writer.write(piece if cut.how is Break.AFTER else piece[: len(piece) // 2])
            if writer is self._server:
                self._client.transport.abort()
                with suppress(OSError):
                    writer.close()  # what was sent is delivered first
                    await writer.wait_closed()
                return
            with suppress(OSError):
                await writer.drain()
        self.hang_up()

    async def _leave(self, piece: bytes, wait_s: float) -> None:
        """The server's end goes on without the other one."""
        await asyncio.sleep(wait_s)  # noqa: TID251 - a network has no Clock
        self._server.write(piece)
        with suppress(OSError):
            self._server.close()
            await self._server.wait_closed()
