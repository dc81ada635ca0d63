"""The HTTP server of the gap handler: it asks its `Keeper` and decides nothing."""

from aiohttp import web

from candlewick.config import Settings, masked
from candlewick.errors import CandlewickError
from candlewick.services.gap_handler.asked import read_asked
from candlewick.services.gap_handler.results import Keeper
from candlewick.web import gap_handler_health as documents
from candlewick.web.access import refusal
from candlewick.web.listening import HEADERS, MOST_BODY_BYTES, WebServer, answer_json, listen

BESIDES_S = 30.0
"""How long an answer may take beyond the time of a backfill."""
DRAIN_S = 30.0
"""How long answers under way may take once the server closes."""
READY_S = 5.0


async def start(keeper: Keeper, settings: Settings) -> WebServer:
    """Listen at HTTP_HOST and GAP_HANDLER_PORT.

    Raises:
        ConfigError: it cannot listen there; says why and which setting to change.
    """
    app = application(keeper, settings)
    return await listen(
        app, settings.http_host, settings.gap_handler_port, "GAP_HANDLER_PORT", drain_s=DRAIN_S,
        answer_s=settings.backfill_timeout_seconds + BESIDES_S,
    )  # fmt: skip


def application(keeper: Keeper, settings: Settings) -> web.Application:
    """The routes."""
    routes = _Routes(keeper, settings)
    app = web.Application(client_max_size=MOST_BODY_BYTES)
    app.add_routes(
        [
            web.get("/health", routes.health),
            web.get("/ready", routes.ready),
            web.get("/live", routes.live),
            web.get("/metrics", routes.metrics),
            web.get("/openapi.json", routes.openapi),
            web.post("/backfill", routes.backfill),
            web.post("/backfill/unresolved", routes.unresolved),
            web.get("/backfill/historical/status", routes.historical),
            web.post("/backfill/historical/start", routes.start_historical),
            web.post("/shutdown", routes.shutdown),
        ]
    )
    return app


class _Routes:
    def __init__(self, keeper: Keeper, settings: Settings) -> None:
        self._keeper = keeper
        self._token = settings.control_token
        self._intervals = settings.venue.intervals

    async def health(self, _: web.Request) -> web.Response:
        return answer_json(*documents.health(self._keeper.status()))

    async def ready(self, _: web.Request) -> web.Response:
        try:
            await self._keeper.ping(READY_S)
        except CandlewickError as error:
            return answer_json(503, {"error": masked(str(error))})
        return web.Response(text="OK", headers=HEADERS)

    async def live(self, _: web.Request) -> web.Response:
        return web.Response(text="OK", headers=HEADERS)

    async def metrics(self, _: web.Request) -> web.Response:
        from candlewick.web import gap_handler_metrics, metrics  # noqa: PLC0415 - a megabyte that nobody may ask for

        body = gap_handler_metrics.expose(self._keeper.status())
        return web.Response(body=body, headers=HEADERS | {"Content-Type": metrics.CONTENT_TYPE})

    async def openapi(self, _: web.Request) -> web.Response:
        from candlewick.web.openapi import gap_handler_document  # noqa: PLC0415 - few ask for it

        return answer_json(200, gap_handler_document())

    async def backfill(self, request: web.Request) -> web.Response:
        if (refused := self._refused(request)) is not None:
            return refused
        asked = read_asked(await request.read(), self._keeper.default, self._intervals)
        result = await self._keeper.backfill(asked)
        return answer_json(documents.HTTP_STATUS[result.status], documents.backfilled(result))

    async def unresolved(self, request: web.Request) -> web.Response:
        if (refused := self._refused(request)) is not None:
            return refused
        return answer_json(200, documents.swept(await self._keeper.backfill_unresolved()))

    async def historical(self, _: web.Request) -> web.Response:
        return answer_json(200, documents.historical(await self._keeper.historical()))

    async def start_historical(self, request: web.Request) -> web.Response:
        if (refused := self._refused(request)) is not None:
            return refused
        if await self._keeper.start_historical():
            return answer_json(202, {"status": "started"})
        return answer_json(409, {"error": "the historical backfill is already running"})

    async def shutdown(self, request: web.Request) -> web.Response:
        if (refused := self._refused(request)) is not None:
            return refused
        self._keeper.stop()
        return answer_json(200, {"status": "shutting_down"})

    def _refused(self, request: web.Request) -> web.Response | None:
        refused = refusal(self._token, request.remote, request.headers)
        return None if refused is None else answer_json(refused[0], {"error": refused[1]})
