"""What the HTTP servers have in common: where they listen, how they stop, and what a JSON answer looks like."""

import errno
import socket
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from candlewick.config import masked
from candlewick.errors import CandlewickError, ConfigError, UsageError

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WebServer:
    """A server that listens."""

    def __init__(self, runner: web.AppRunner, url: str) -> None:
        self._runner = runner
        self.url = url

    async def close(self) -> None:
        """Stop listening, and let answers under way finish."""
        await self._runner.cleanup()


async def listen(
    app: web.Application, host: str, port: int, setting: str, *, drain_s: float, idle_s: float = 75.0
) -> WebServer:
    """Serve `app`; `setting` is the name of the one that says the port.

    `drain_s`: how long answers under way may take once the server closes; `idle_s`: how long a connection is kept that
    asks nothing.

    Raises:
        ConfigError: it cannot listen there; says why and which setting to change.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=drain_s, keepalive_timeout=idle_s)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        raise ConfigError(_cannot_listen(error, host, port, setting)) from error
    taken = runner.addresses[0][1]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - read, not bound
    if ":" in shown and not shown.startswith("["):
        shown = f"[{shown}]"
    return WebServer(runner, f"http://{shown}:{taken}")


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
