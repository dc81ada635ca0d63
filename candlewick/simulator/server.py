"""The exchange on real sockets: WebSocket, REST and archive on one port."""

import asyncio

from aiohttp import WSMsgType, web

from candlewick.clock import Clock
from candlewick.simulator.exchange import Exchange
from candlewick.simulator.gateway import Gateway
from candlewick.simulator.http_server import HttpServer, drop
from candlewick.simulator.session import Session
from candlewick.simulator.settings import SimulatorSettings

_UNREAD_BYTES = 16 << 20  # who reads slower than that is dropped
_TEXT, _CLOSE, _PING, _PONG = 0x81, 0x88, 0x89, 0x8A


async def serve(settings: SimulatorSettings, clock: Clock, host: str = "127.0.0.1", port: int = 0) -> "Server":
    """Start an exchange; port 0 picks a free one.

    Raises:
        OSError: the port cannot be had.
    """
    server = Server(Exchange(settings, clock), clock)
    await server.start(host, port)
    return server


class Server:
    """A running exchange: its `exchange` for the truth, its `port`."""

    def __init__(self, exchange: Exchange, clock: Clock) -> None:
        self.exchange = exchange
        self._http = HttpServer(Gateway(exchange).answer, clock, self._upgrade)

    @property
    def host(self) -> str:
        """The address it listens at; empty before `start`."""
        return self._http.host

    @property
    def port(self) -> int:
        """The port it listens at."""
        return self._http.port

    async def start(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            OSError: the port cannot be had.
        """
        await self._http.start(host, port)

    async def close(self) -> None:
        """Reset every connection and stop listening."""
        self.exchange.stop()
        await self._http.close()

    async def _upgrade(self, request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoping=False, autoclose=False, compress=False, max_msg_size=1 << 20)
        if request.transport is None or not socket.can_prepare(request).ok:
            return web.Response(status=400)
        wire = _SocketWire(request.transport)
        opened = self.exchange.connect(request.path, request.query_string, wire)
        if not isinstance(opened, Session):
            if opened.status == -1:
                await self._http.hang(request)
            if opened.status <= 0:
                drop(request)
                return web.Response(status=503)
            return web.Response(status=opened.status, text=opened.body, headers=dict(opened.headers))
        await socket.prepare(request)
        wire.open()
        try:
            await self._converse(request, socket, opened)
        finally:
            opened.gone()
            wire.end()
        return socket

    async def _converse(self, request: web.BaseRequest, socket: web.WebSocketResponse, session: Session) -> None:
        """Tell the session what the client says, to the end."""
        async for message in socket:
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                session.receive(message.data)
            elif message.type is WSMsgType.PING:
                session.pinged(bytes(message.data))
            elif message.type is WSMsgType.PONG:
                session.ponged(bytes(message.data))
        if session.deaf:
            await self._http.hang(request)


class _SocketWire:
    """Writes frames to a transport, many at once; see `wire.Wire`.

    Frames are put together here and not by aiohttp: an exchange sends tens of thousands a second.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._waiting: list[bytes] = []
        self._is_planned = True  # until the upgrade is answered
        self._loop = asyncio.get_running_loop()

    def open(self) -> None:
        """The upgrade is answered: what waits may be sent."""
        self._flush()

    def send(self, text: bytes) -> None:
        """See `wire.Wire`."""
        self._put(_TEXT, text)

    def ping(self, payload: bytes) -> None:
        """See `wire.Wire`."""
        self._put(_PING, payload)

    def pong(self, payload: bytes) -> None:
        """See `wire.Wire`."""
        self._put(_PONG, payload)

    def close(self, code: int, reason: str) -> None:
        """See `wire.Wire`."""
        self._put(_CLOSE, code.to_bytes(2, "big") + reason.encode())
        self._loop.call_later(0.5, self.end)

    def reset(self) -> None:
        """See `wire.Wire`."""
        self._waiting.clear()
        self._transport.abort()

    def end(self) -> None:
        """Close the socket once everything is written."""
        self._flush()
        self._transport.close()

    def _put(self, opcode: int, payload: bytes) -> None:
        size = len(payload)
        if size < 126:
            head = bytes((opcode, size))
        elif size < 65536:
            head = bytes((opcode, 126)) + size.to_bytes(2, "big")
        else:
            head = bytes((opcode, 127)) + size.to_bytes(8, "big")
        self._waiting += (head, payload)
        if not self._is_planned:
            self._is_planned = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_planned = False
        waiting, self._waiting = self._waiting, []
        if not waiting or self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > _UNREAD_BYTES:
            self._transport.abort()
        else:
            self._transport.write(b"".join(waiting))
