"""The HTTP server of a run: health, metrics, status and repair. It asks its `Operator` and decides nothing."""

import msgspec
from aiohttp import web

from candlewick.config import Settings, masked
from candlewick.errors import UsageError
from candlewick.market import Interval, Market, Series, normal_symbol
from candlewick.services.status import Operator, Status
from candlewick.web import health, page
from candlewick.web.access import refusal
from candlewick.web.listening import HEADERS, MOST_BODY_BYTES, WebServer, answer_json, listen

SHUTDOWN_S = 2.0
"""How long answers under way may take once the server closes."""


async def start(operator: Operator, settings: Settings) -> WebServer:
    """Listen at HTTP_HOST and FEEDER_PORT.

    Raises:
        ConfigError: it cannot listen there; says why and which setting to change.
    """
    app = application(operator, settings)
    return await listen(app, settings.http_host, settings.feeder_port, "FEEDER_PORT", drain_s=SHUTDOWN_S)


def application(operator: Operator, settings: Settings) -> web.Application:
    """The routes."""
    routes = _Routes(operator, settings)
    app = web.Application(client_max_size=MOST_BODY_BYTES)
    app.add_routes(
        [
            web.get("/", routes.page),
            web.get("/health", routes.health),
            web.get("/ready", routes.ready),
            web.get("/live", routes.live),
            web.get("/metrics", routes.metrics),
            web.get("/status", routes.status),
            web.post("/repair", routes.repair),
            web.get("/openapi.json", routes.openapi),
        ]
    )
    return app


class _Routes:
    def __init__(self, operator: Operator, settings: Settings) -> None:
        self._operator = operator
        self._token = settings.control_token

    async def page(self, _: web.Request) -> web.Response:
        text = page.render(self._operator.status())
        headers = HEADERS | {"Content-Security-Policy": page.POLICY}
        return web.Response(text=text, content_type="text/html", headers=headers)

    async def health(self, _: web.Request) -> web.Response:
        return answer_json(*health.health(self._operator.status()))

    async def ready(self, _: web.Request) -> web.Response:
        return answer_json(*health.ready(self._operator.status()))

    async def live(self, _: web.Request) -> web.Response:
        return answer_json(*health.live())

    async def metrics(self, _: web.Request) -> web.Response:
        from candlewick.web import metrics  # noqa: PLC0415 - a megabyte that a run nobody scrapes need not hold

        body = metrics.expose(self._operator.status())
        return web.Response(body=body, headers=HEADERS | {"Content-Type": metrics.CONTENT_TYPE})

    async def status(self, _: web.Request) -> web.Response:
        status = self._operator.status()
        store = msgspec.structs.replace(status.store, location=masked(status.store.location))
        return answer_json(200, msgspec.structs.replace(status, store=store))

    async def openapi(self, _: web.Request) -> web.Response:
        from candlewick.web.openapi import feeder_document  # noqa: PLC0415 - few ask for it

        return answer_json(200, feeder_document())

    async def repair(self, request: web.Request) -> web.Response:
        refused = refusal(self._token, request.remote, request.headers)
        if refused is not None:
            return answer_json(refused[0], {"error": refused[1]})
        results = []
        for series in self._wanted(request):
            results += await self._operator.repair(series)
        return answer_json(200, results)

    def _wanted(self, request: web.Request) -> list[Series] | list[None]:
        """The series that the query names: those followed, of the symbol and interval it gives."""
        symbol, interval = request.query.get("symbol"), request.query.get("interval")
        if symbol is None and interval is None:
            return [None]
        found = [one for one in _followed(self._operator.status()) if _fits(one, symbol, interval)]
        if not found:
            raise UsageError(f"no series of symbol {symbol or 'any'} and interval {interval or 'any'} is followed")
        return found


def _followed(status: Status) -> list[Series]:
    return [Series(Market(one.market), one.symbol, Interval(one.interval)) for one in status.series]


def _fits(one: Series, symbol: str | None, interval: str | None) -> bool:
    return (symbol is None or one.symbol == normal_symbol(symbol)) and (
        interval is None or one.interval.code == interval
    )
