"""What the HTTP servers have in common: where they listen, how long they wait, how they stop, what a JSON answer looks like."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec
from aiohttp import web

from candlewick.config import masked
from candlewick.errors import CandlewickError, ConfigError, UsageError

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

MOST_BODY_BYTES = 64 << 10

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Patience(NamedTuple):
    """How long a server waits for those who ask."""

    read_s: float = 30.0
    """For a request to arrive, from the connection for the first one; the headers of a later one have `idle_s`."""
    send_s: float = 30.0
    """For its answer to be taken."""
    idle_s: float = 120.0
    """For a connection that asks nothing to ask again."""


_PATIENCE = Patience()


class WebServer:
    """A server that listens."""

    def __init__(self, server: asyncio.Server, runner: web.AppRunner, url: str) -> None:
        self._server, self._runner = server, runner
        self.url = url

    async def close(self) -> None:
        """Stop listening, and let answers under way finish."""
        self._server.close()
        await self._runner.cleanup()


async def listen(
    app: web.Application, host: str, port: int, setting: str, *, drain_s: float, answer_s: float | None = None,
    patience: Patience = _PATIENCE,
) -> WebServer:  # fmt: skip
    """Serve `app`, every error as a JSON answer; `setting` is the name of the one that says the port.

    `drain_s`: how long answers under way may take once the server closes; `answer_s`: how long any may take to be found.

    Raises:
        ConfigError: it cannot listen there; says why and which setting to change.
    """
    visitors = _Visitors(answer_s, patience)
    app.middlewares.extend((answer_errors, visitors.serve))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=drain_s, keepalive_timeout=patience.idle_s)
    await runner.setup()
    assert runner.server is not None
    try:
        server = await asyncio.get_running_loop().create_server(visitors.welcoming(runner.server), host, port)
    except OSError as error:
        await runner.cleanup()
        raise ConfigError(_cannot_listen(error, host, port, setting)) from error
    taken = server.sockets[0].getsockname()[1]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - read, not bound
    if ":" in shown and not shown.startswith("["):
        shown = f"[{shown}]"
    return WebServer(server, runner, f"http://{shown}:{taken}")


class _Visitors:
    """Waits for those who ask no longer than is good for the others: whoever stalls would keep a connection for ever."""

    def __init__(self, answer_s: float | None, patience: Patience) -> None:
        self._answer_s, self._patience = answer_s, patience
        self._silent: dict[web.RequestHandler, asyncio.TimerHandle] = {}

    def welcoming(self, server: web.Server) -> Callable[[], asyncio.Protocol]:
        """Makes connections of a server, which end if no request comes."""

        def welcome() -> asyncio.Protocol:
            visitor = server()
            loop = asyncio.get_running_loop()
            self._silent[visitor] = loop.call_later(self._patience.read_s, self._send_off, visitor)
            return visitor

        return welcome

    def _send_off(self, visitor: web.RequestHandler) -> None:
        del self._silent[visitor]
        visitor.force_close()

    @web.middleware
    async def serve(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The answer, sent; one that nobody takes ends the connection."""
        if (timer := self._silent.pop(request.protocol, None)) is not None:
            timer.cancel()
        try:
            async with asyncio.timeout(self._patience.read_s):
                await request.read()
        except TimeoutError:
            return answer_json(408, {"error": f"the request did not arrive within {self._patience.read_s:g} s"})
        async with asyncio.timeout(self._answer_s):
            response = await handler(request)
        try:
            async with asyncio.timeout(self._patience.send_s):
                await response.prepare(request)
                await response.write_eof()
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        return response


def answer_json(status: int, body: object, allow: str | None = None) -> web.Response:
    """An answer for people and programs."""
    headers = HEADERS | ({"Allow": allow} if allow else {})
    text = msgspec.json.format(msgspec.json.encode(body), indent=2)
    return web.Response(status=status, body=text + b"\n", content_type="application/json", headers=headers)


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error is a JSON answer that says what was wrong."""
    try:
        return await handler(request)
    except UsageError as error:
        return answer_json(400, {"error": str(error)})
    except CandlewickError as error:
        return answer_json(503, {"error": masked(str(error))})
    except TimeoutError:
        return answer_json(503, {"error": f"{request.method} {request.path}: no answer in time"})
    except web.HTTPException as answer:
        words = f"{request.method} {request.path}: {answer.reason}"
        return answer_json(answer.status, {"error": words}, answer.headers.get("Allow"))


def _cannot_listen(error: OSError, host: str, port: int, setting: str) -> str:
    place = f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use: stop what listens at {place}, or set {setting} (--port) to another"
    if error.errno == errno.EACCES:
        return f"port {port} needs privileges this user has not: set {setting} (--port) above 1023"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine: set HTTP_HOST (--host), such as 127.0.0.1 or 0.0.0.0"
    return f"nothing can listen at {place}: {error.strerror or error} (HTTP_HOST, {setting})"
