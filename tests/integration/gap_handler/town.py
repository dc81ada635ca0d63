"""A gap handler between a real database and the simulated exchange, all on real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
import asyncpg

from candlewick.clock import SystemClock
from candlewick.config import Settings
from candlewick.errors import ExchangeError
from candlewick.history.http import AiohttpHttp
from candlewick.market import MINUTE, SECOND, Interval, Market, Series, Span, format_time, parse_time
from candlewick.services.gap_handler.handler import GapHandler
from candlewick.services.gap_handler.service import open_shared
from candlewick.simulator.exchange import Exchange
from candlewick.simulator.faults import Fault
from candlewick.simulator.server import Server, serve
from candlewick.simulator.settings import SimulatorSettings
from candlewick.stores.memory import MemoryStore
from candlewick.stores.postgres.store import PostgresStore
from candlewick.stores.store import Quarantined, Source, Store, to_rows
from candlewick.transport import Answer
from candlewick.web import gap_handler
from candlewick.web.listening import WebServer
from candlewick.web.openapi import gap_handler_document
from tests.contracts.openapi_rules import answer_faults

T = TypeVar("T")

DOCUMENT = gap_handler_document()
START = parse_time("2026-11-02T12:00:30")
"""When the simulated exchange opens; the minute that is going on then is number 0."""
M1 = Interval("1m")
BTC = Series(Market.SPOT, "BTCUSDT", M1)
ETH = Series(Market.SPOT, "ETHUSDT", M1)


def minute(number: int) -> int:
    return START - START % MINUTE + number * MINUTE


def span(first: int, last: int) -> Span:
    return Span(minute(first), minute(last))


class Shared(MemoryStore):
    """A store in memory that outlives whoever opened it, as a database does."""

    def close(self) -> None:
        return


class Wire(AiohttpHttp):
    """HTTP that writes down what is asked of REST, and fails or garbles where a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.failing: Callable[[str, dict[str, str]], ExchangeError | None] = lambda _path, _params: None
        self.garble: Callable[[list[Any]], list[Any]] = lambda rows: rows
        self.delay_s = 0.0

    async def get(self, url: str, params: tuple[tuple[str, str], ...], timeout_s: float) -> Answer:
        path = urlsplit(url).path
        self.asked.append((path, dict(params)))
        await asyncio.sleep(self.delay_s)  # noqa: TID251 - a database takes real time
        if (error := self.failing(path, dict(params))) is not None:
            raise error
        answer = await super().get(url, params, timeout_s)
        if path.endswith("/klines") and answer.status == 200:
            return answer._replace(body=json.dumps(self.garble(json.loads(answer.body))).encode())
        return answer

    @property
    def klines(self) -> list[dict[str, str]]:
        return [params for path, params in self.asked if path.endswith("/klines")]


class Town:
    """The exchange and the database; handlers come and go."""

    def __init__(self, url: str, server: Server, clock: SystemClock, store: Store) -> None:
        self.url, self.server, self.clock, self.store = url, server, clock, store

    @property
    def exchange(self) -> Exchange:
        return self.server.exchange

    def settings(self, **own: Any) -> Settings:  # noqa: ANN401 - any setting
        usual: dict[str, Any] = {
            "store": self.url, "binance_api_url": f"http://{self.server.host}:{self.server.port}", "gap_handler_port": 0,
            "rate_limit_requests_per_sec": 100.0, "burst_size": 100, "backfill_check_interval_s": 3600.0,
            "rate_limit_weight_per_minute": 6000, "backfill_timeout_seconds": 20.0,
        }  # fmt: skip
        return Settings(**(usual | own))

    @asynccontextmanager
    async def handler(
        self,
        *,
        is_ready: bool = True,
        searches: bool = False,
        ahead_s: int = 0,
        delay_s: float = 0.0,
        **own: Any,  # noqa: ANN401 - any setting
    ) -> AsyncIterator["Office"]:
        """A running gap handler with its web; waits until it has its database, unless told otherwise.

        Without `searches` the database says that somebody has just made one. `ahead_s`: so far its machine's clock goes
        wrong; `delay_s`: so late the exchange's answers come.
        """
        settings = self.settings(**own)
        if not searches:
            self.store.set_state("gap_handler:scanned:spot", str(self.clock.now()).encode())
        http = Wire()
        http.delay_s = delay_s
        clock = SystemClock(start=self.clock.now() + ahead_s * SECOND, speed=self.clock.speed)
        opener = (lambda: self.store) if isinstance(self.store, Shared) else (lambda: open_shared(settings))
        one = GapHandler(settings, http, opener, clock=clock, random=Random(1))
        web = await gap_handler.start(one, settings)
        running = asyncio.ensure_future(one.run())
        session = aiohttp.ClientSession()
        office = Office(one, web, session, running, http)
        try:
            if is_ready:
                await office.until(lambda: one.status().unresolved_gaps is not None)
            yield office
        finally:
            await session.close()
            await web.close()
            running.cancel()
            await asyncio.wait({running})
            await http.close()
            if not running.cancelled() and (error := running.exception()) is not None:
                raise error

    def keep(self, series: Series, numbers: Iterable[int], source: Source = Source.REST) -> None:
        """Have the exchange's own candles of some minutes in the store."""
        wanted = {minute(one) for one in numbers}
        rows = self.exchange.truth(series.symbol, series.interval.code, min(wanted), max(wanted) + 1)
        venue = self.settings().venue
        candles = [one for one in venue.read_klines(json.dumps(rows).encode()) if one.open_time in wanted]
        self.store.write(to_rows(self.store.number(series), source, candles))

    def held(self, series: Series = BTC) -> list[int]:
        return [(int(one) - minute(0)) // MINUTE for one in self.store.read(series)["open_time"]]

    async def quarantined(self) -> list[Quarantined]:
        return await asyncio.to_thread(self.store.quarantined)

    async def sql(self, query: str, *values: object) -> list[Any]:
        connection = await asyncpg.connect(self.url)
        try:
            return [tuple(row) for row in await connection.fetch(query, *values)]
        finally:
            await connection.close()

    async def rows(self) -> list[tuple[Any, ...]]:
        """The log of gaps: type, series, minutes, candles missing and recovered, whether resolved, by whom."""
        found = await self.sql(
            "SELECT event_type, coalesce(symbol, '-'), gap_start, gap_end, candles_missing, candles_recovered, resolved, source"
            " FROM data_quality_logs WHERE event_type LIKE 'gap%' ORDER BY event_type, symbol, gap_start, id"
        )
        return [
            (*row[:2], *(round((one.timestamp() * 1e6 - minute(0)) / MINUTE) for one in row[2:4]), *row[4:])
            for row in found
        ]


class Office:
    """A gap handler and a client of its web."""

    def __init__(
        self, handler: GapHandler, web: WebServer, session: aiohttp.ClientSession, running: "asyncio.Future[None]",
        wire: Wire,
    ) -> None:  # fmt: skip
        self.handler, self.url, self.running, self.wire = handler, web.url, running, wire
        self._session = session

    async def ask(self, method: str, path: str, body: object = None, **more: Any) -> tuple[int, Any, Mapping[str, str]]:  # noqa: ANN401 - what aiohttp takes
        """Status, content and headers of an answer, which is held against the OpenAPI document."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self._session.request(method, self.url + path, data=data, **more) as answer:
            kind = answer.content_type
            content = await (answer.json() if kind == "application/json" else answer.text())
            if answer.status not in {404, 405}:
                assert answer_faults(DOCUMENT, method, path, answer.status, kind, content) == []
            return answer.status, content, answer.headers

    async def post(self, path: str, body: object = None, **more: Any) -> tuple[int, Any]:  # noqa: ANN401 - what aiohttp takes
        return (await self.ask("POST", path, body, **more))[:2]

    async def get(self, path: str) -> tuple[int, Any]:
        return (await self.ask("GET", path))[:2]

    async def backfill(self, first: int, last: int, **more: object) -> tuple[int, Any]:
        body = {"gap_start": format_time(minute(first)), "gap_end": format_time(minute(last))}
        return await self.post("/backfill", body | more)

    async def until(self, look: Callable[[], T | None], within_s: float = 60.0) -> T:
        """What `look` sees once it is something."""
        async with asyncio.timeout(within_s):
            while not (seen := look()):
                if self.running.done():
                    self.running.result()
                await asyncio.sleep(0.01)  # noqa: TID251 - a database takes real time
        return seen

    async def when(self, look: Callable[[], Awaitable[T]], fits: Callable[[T], bool], within_s: float = 60.0) -> T:
        """What `look` returns once it fits."""
        async with asyncio.timeout(within_s):
            while not fits(seen := await look()):  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.02)  # noqa: TID251 - a database takes real time
        return seen


def visit(
    url: str, story: Callable[[Town], Awaitable[T]], *, in_memory: bool = False, speed: float = 20.0,
    faults: tuple[Fault, ...] = (), **simulator: Any,  # noqa: ANN401 - any setting
) -> T:  # fmt: skip
    """Tell a story in a town whose time passes `speed` times as fast; `in_memory`: candles are not in the database."""

    async def main() -> T:
        clock = SystemClock(start=START, speed=speed)
        server = await serve(SimulatorSettings(start=START, faults=faults, **simulator), clock)
        store: Store = Shared() if in_memory else PostgresStore.open(url, write=True, application="tests")
        try:
            return await story(Town(url, server, clock, store))
        finally:
            await server.close()
            if not in_memory:
                await asyncio.to_thread(store.close)

    return asyncio.run(main())
