"""The HTTP server on a real socket, with a made-up run behind it."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Coroutine

import aiohttp
import msgspec
import pytest

from candlewick.config import Settings
from candlewick.errors import ConfigError, StoreError, UsageError
from candlewick.market import Series
from candlewick.services.status import RepairResult, Status
from candlewick.web.server import WebServer, start
from tests.unit.web.statuses import DATABASE, DOWN, good, series


class Run:
    """A run that only shows itself and notes what it is asked to repair."""

    def __init__(self, status: Status | None = None, error: Exception | None = None) -> None:
        self.asked: list[Series | None] = []
        self._status, self._error = status or good(), error

    def status(self) -> Status:
        return self._status

    async def repair(self, series: Series | None) -> list[RepairResult]:
        self.asked.append(series)
        if self._error:
            raise self._error
        return [
            RepairResult(
                market="spot", symbol="BTCUSDT", interval="1m", start=60_000, end=120_000, expected=1, recovered=1, absent=0, missing=0
            )
        ]  # fmt: skip


Check = Callable[[aiohttp.ClientSession, str], Coroutine[None, None, None]]


def serve(run: Run, check: Check, **settings: object) -> None:
    """Start a server on a free port, let `check` talk to it, and close it."""

    async def scenario() -> None:
        server = await start(run, Settings(**({"feeder_port": 0} | settings)))
        try:
            async with aiohttp.ClientSession() as session:
                await check(session, server.url)
        finally:
            await server.close()

    asyncio.run(scenario())


async def ask(call: Awaitable[aiohttp.ClientResponse]) -> tuple[int, aiohttp.ClientResponse, bytes]:
    response = await call
    return response.status, response, await response.read()


def test_server_answers_every_path() -> None:
    """Each path has its status, its type, and says that nothing is to be cached."""
    kinds = {"/health": "application/json", "/ready": "application/json", "/live": "application/json",
             "/status": "application/json", "/metrics": "text/plain", "/": "text/html"}  # fmt: skip

    async def check(session: aiohttp.ClientSession, url: str) -> None:
        for path, kind in kinds.items():
            code, response, body = await ask(session.get(url + path, headers={"Accept": "application/x-unheard-of"}))
            assert (path, code, response.content_type) == (path, 200, kind)
            assert response.headers["Cache-Control"] == "no-store"
            assert b"hidden" not in body
            assert body

    serve(Run(), check)


def test_server_says_503_when_nothing_is_written() -> None:
    """A run without a connection is unhealthy and not ready, and still alive."""

    async def check(session: aiohttp.ClientSession, url: str) -> None:
        codes = {
            path: (await ask(session.get(url + path)))[0] for path in ("/health", "/ready", "/live", "/metrics", "/")
        }
        assert codes == {"/health": 503, "/ready": 503, "/live": 200, "/metrics": 200, "/": 200}

    serve(Run(good(connections=(DOWN,))), check)


def test_status_travels_whole() -> None:
    """`/status` is the status itself, but for the store's password."""

    async def check(session: aiohttp.ClientSession, url: str) -> None:
        _, _, body = await ask(session.get(url + "/status"))
        read = msgspec.json.decode(body, type=Status)
        assert read.store.location == "postgresql://u:***@h/d"
        assert msgspec.structs.replace(read, store=good().store) == good()

    serve(Run(), check)


def test_page_says_what_is_fed() -> None:
    """Where a shared database is fed the page says how that is."""

    async def check(session: aiohttp.ClientSession, url: str) -> None:
        _, _, body = await ask(session.get(url + "/"))
        assert "Fed to postgresql://mltrader@db:5432/candles: connected, 150 rows written, 3 to send." in body.decode()

    serve(Run(good(outputs=(DATABASE,))), check)


def test_page_needs_nothing_from_elsewhere_and_escapes() -> None:
    """The page carries its own style, runs nothing, and shows hostile text as text."""

    async def check(session: aiohttp.ClientSession, url: str) -> None:
        _, response, body = await ask(session.get(url + "/"))
        assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
        text = body.decode()
        assert "src=" not in text
        assert "http" not in text.replace("http-equiv", "")
        assert "<script>" not in text
        assert "&lt;script&gt;" in text

    serve(Run(good(series=(series("<script>alert(1)</script>"),))), check)


def test_repair_is_done_and_told() -> None:
    """POST /repair repairs all, or the followed series that its query names, and answers with the results."""
    run = Run()

    async def check(session: aiohttp.ClientSession, url: str) -> None:
        code, _, body = await ask(session.post(url + "/repair"))
        assert (code, json.loads(body)) == (
            200,
            [
                {"market": "spot", "symbol": "BTCUSDT", "interval": "1m", "from": 60_000, "to": 120_000, "expected": 1,
                 "recovered": 1, "absent": 0, "missing": 0, "error": None}
            ],
        )  # fmt: skip
        await ask(session.post(url + "/repair?symbol=btc/usdt"))
        await ask(session.post(url + "/repair?symbol=ETHUSDT&interval=1m"))
        code, _, body = await ask(session.post(url + "/repair?symbol=NONE"))
        assert code == 400
        assert "NONE" in json.loads(body)["error"]

    serve(run, check)
    assert [one and str(one) for one in run.asked] == [None, "spot:BTCUSDT:1m", "spot:BTCUSDT:1h", "spot:ETHUSDT:1m"]


def test_repair_needs_the_token_where_one_is_set() -> None:
    """Nothing is repaired for a caller without the token."""
    run = Run()

    async def check(session: aiohttp.ClientSession, url: str) -> None:
        assert (await ask(session.post(url + "/repair")))[0] == 401
        assert run.asked == []
        headers = {"Authorization": "Bearer open sesame"}
        assert (await ask(session.post(url + "/repair", headers=headers)))[0] == 200

    serve(run, check, control_token="open sesame")


@pytest.mark.parametrize(
    ("error", "code"), [(UsageError("not followed"), 400), (StoreError("postgres://u:hidden@h fails"), 503)]
)
def test_failed_repair_is_told_in_words(error: Exception, code: int) -> None:
    """Errors are JSON with the message, and without passwords."""

    async def check(session: aiohttp.ClientSession, url: str) -> None:
        answer, _, body = await ask(session.post(url + "/repair"))
        assert answer == code
        assert list(json.loads(body)) == ["error"]
        assert b"hidden" not in body

    serve(Run(error=error), check)


def test_unknown_path_and_method_are_told_as_json() -> None:
    """404 and 405 are JSON like every other answer; 405 names what is allowed."""

    async def check(session: aiohttp.ClientSession, url: str) -> None:
        code, response, _ = await ask(session.get(url + "/nothing"))
        assert (code, response.content_type) == (404, "application/json")
        code, response, _ = await ask(session.get(url + "/repair"))
        assert (code, response.headers["Allow"]) == (405, "POST")

    serve(Run(), check)


def test_port_in_use_is_told_with_the_setting() -> None:
    """A port that somebody has, or a host that is not ours, is an error that names the setting to change."""

    async def begin(**settings: object) -> WebServer:
        return await start(Run(), Settings(**settings))

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port} is in use.*FEEDER_PORT \(--port\)"):
            asyncio.run(begin(feeder_port=port))
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1 is no address of this machine: set HTTP_HOST"):
        asyncio.run(begin(http_host="192.0.2.1", feeder_port=0))


def test_closed_server_frees_its_port() -> None:
    """After `close` another server may listen at once on the same port."""

    async def scenario() -> None:
        first = await start(Run(), Settings(feeder_port=0))
        port = int(first.url.rpartition(":")[2])
        await first.close()
        second = await start(Run(), Settings(feeder_port=port))
        await second.close()

    asyncio.run(scenario())
