"""HTTP on a real socket: answers of a function, sent late, broken off or never where it says so."""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from candlewick.clock import Clock
from candlewick.simulator.query import Params, Reply

_HUNG_S = 60.0  # market seconds after which a client that is never answered is dropped
_PIECES = 20

Answers = Callable[[str, Params], Reply]
Upgrade = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class HttpServer:
    """Answers GET requests at one port; `upgrade` takes those for a WebSocket."""

    def __init__(self, answer: Answers, clock: Clock, upgrade: Upgrade | None = None) -> None:
        self.host = ""
        self.port = 0
        self._answer = answer
        self._clock = clock
        self._upgrade = upgrade
        self._runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=0.5)

    async def start(self, host: str, port: int) -> None:
        """Listen; port 0 picks a free one.

        Raises:
            OSError: the port cannot be had.
        """
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        try:
            await site.start()
        except OSError:
            await self.close()
            raise
        self.host, self.port = self._runner.addresses[0][:2]

    async def close(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._upgrade is not None and request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._upgrade(request)
        if request.method != "GET":
            return web.Response(status=405)
        reply = self._answer(request.path, tuple(request.query.items()))
        if reply.status == 0:
            await self.hang(request)
        if reply.delay_s:
            await self._clock.sleep(reply.delay_s)
        if not reply.whole:
            return await self._break(request, reply)
        if reply.spread_s:
            return await self._trickle(request, reply)
        return web.Response(status=reply.status, body=reply.body, headers=reply.headers)

    async def _break(self, request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
        """Send half an answer and reset the connection."""
        response = web.StreamResponse(status=reply.status, headers=reply.headers)
        response.content_length = 2 * len(reply.body) + 1
        await response.prepare(request)
        await response.write(reply.body)
        drop(request)
        return response

    async def _trickle(self, request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
        """Send the body in pieces."""
        response = web.StreamResponse(status=reply.status, headers=reply.headers)
        response.content_length = len(reply.body)
        await response.prepare(request)
        size = -(-len(reply.body) // _PIECES)
        for start in range(0, len(reply.body), size):
            await response.write(reply.body[start : start + size])
            await self._clock.sleep(reply.spread_s / _PIECES)
        return response

    async def hang(self, request: web.BaseRequest) -> None:
        """Answer nothing until the client has enough of it."""
        waited = 0.0
        while waited < _HUNG_S and request.transport is not None and not request.transport.is_closing():
            await self._clock.sleep(1.0)
            waited += 1.0
        drop(request)


def drop(request: web.BaseRequest) -> None:
    """Reset the connection of a request."""
    if isinstance(request.transport, asyncio.Transport):
        request.transport.abort()
