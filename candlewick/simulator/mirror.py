"""A mirror of real archive files: the archive as it is served, and REST with the same rows, of both markets at once."""

import json
from collections import Counter
from pathlib import Path

from candlewick.clock import Clock, SystemClock
from candlewick.errors import UsageError
from candlewick.market import DAY, Market, Span
from candlewick.simulator.archive import Archive
from candlewick.simulator.candles import Row
from candlewick.simulator.desk import KLINES_MOST, LIMITS, Desk, ping, read_limit, read_range, read_symbol
from candlewick.simulator.faults import KINDS, Fault
from candlewick.simulator.gateway import Door
from candlewick.simulator.http_server import HttpServer
from candlewick.simulator.inprocess import LocalHttp
from candlewick.simulator.mirror_folder import Folder
from candlewick.simulator.mirror_rows import Rows
from candlewick.simulator.query import BadRequest, Params, Query, Reply
from candlewick.simulator.session import Session
from candlewick.simulator.streams import INTERVALS
from candlewick.simulator.trouble import Trouble
from candlewick.transport import Http

_ENDED = 40 * DAY  # a symbol without files for that long is not traded any more
_QUOTES = ("USDT", "FDUSD", "TUSD", "BUSD", "USDC", "USD", "BTC", "ETH", "BNB", "EUR", "TRY", "BRL", "JPY")
_STRUCK = ("rest", "files", "archive")
_TICK = "0.00000001"


class Mirror:
    """Serves a folder laid out as the archive (`data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2023-03-01.zip`).

    Bare CSV files are zipped, and a CHECKSUM is computed unless a file `<name>.zip.CHECKSUM` stands beside. The folder is
    looked at for every request: files may be added, replaced and removed meanwhile.
    """

    def __init__(
        self, folder: Path, *, clock: Clock | None = None, truth: Path | None = None, faults: tuple[Fault, ...] = ()
    ) -> None:
        """`clock`: what time it is there, which decides what is published (None: the real time).

        `truth`: a folder of the same layout whose rows REST gives instead, for tests in which the files are spoiled.
        `faults`: what goes wrong with REST and the archive, by the clock since now; make it in a running event loop
        where one of them begins later or ends.

        Raises:
            UsageError: a folder does not hold `data/`, or a fault strikes what a mirror does not have.
        """
        if odd := sorted({fault.kind for fault in faults if KINDS[fault.kind].strikes not in _STRUCK}):
            raise UsageError(f"a mirror has REST and the archive alone: {', '.join(odd)} cannot happen there")
        self._clock = clock or SystemClock()
        files = Folder(Path(folder))
        rows = Rows(files if truth is None else Folder(Path(truth)))
        trouble = Trouble(_Place(self._clock), faults)
        desks = {"api": _Rest(Market.SPOT, self._clock, rows), "fapi": _Rest(Market.USDM, self._clock, rows)}
        self._door = Door(trouble, Archive(files, trouble, self._clock), desks)
        self._server: HttpServer | None = None
        self.asked: Counter[str] = Counter()
        """How often each path was asked for; listings by `?` and their prefix."""

    def answer(self, path: str, params: Params) -> Reply:
        """The answer to `GET path?params`: files below `/data/`, REST below `/api/` and `/fapi/`, else a listing."""
        prefix = dict(params).get("prefix")
        self.asked[path if prefix is None else f"?{prefix}"] += 1
        return self._door.answer(path, params)

    def http(self) -> Http:
        """A client of it without sockets, whatever host its URLs name."""
        return LocalHttp(self.answer, self._clock, 0.0)

    async def serve(self, port: int = 0, host: str = "127.0.0.1") -> str:
        """Listen (port 0: a free one); returns the URL. `close` ends it.

        Raises:
            OSError: the port cannot be had.
        """
        server = HttpServer(self.answer, self._clock)
        await server.start(host, port)
        self._server = server
        return f"http://{server.host}:{server.port}"

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            await self._server.close()
            self._server = None


class _Place:
    """What trouble needs to know of a place without streams."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.start = clock.now()
        self.sessions: dict[int, Session] = {}


class _Rest(Desk):
    """REST of one market: time, exchangeInfo and klines."""

    def __init__(self, market: Market, clock: Clock, rows: Rows) -> None:
        base = "/api/v3" if market is Market.SPOT else "/fapi/v1"
        super().__init__(
            market,
            clock,
            {
                f"{base}/ping": ping,
                f"{base}/time": self._time,
                f"{base}/exchangeInfo": self._info,
                f"{base}/klines": self._klines,
            },
        )
        self._rows = rows

    def _time(self, query: Query) -> object:
        query.none_left()
        return {"serverTime": self._clock.now() // 1000}

    def _info(self, query: Query) -> object:
        symbols = self._rows.symbols(self._market)
        if (one := query.text("symbol")) is not None:
            symbols = {one: self._known(symbols, one)}
        elif (several := query.text("symbols")) is not None:
            try:
                symbols = {name: self._known(symbols, name) for name in json.loads(several)}
            except ValueError:
                raise BadRequest(-1100, "Illegal characters found in parameter 'symbols'.") from None
        limit = {
            "rateLimitType": "REQUEST_WEIGHT",
            "interval": "MINUTE",
            "intervalNum": 1,
            "limit": LIMITS[self._market],
        }
        return {
            "timezone": "UTC",
            "serverTime": self._clock.now() // 1000,
            "rateLimits": [limit],
            "exchangeFilters": [],
            "symbols": [self._listing(symbol, span) for symbol, span in symbols.items()],
        }

    def _klines(self, query: Query) -> list[Row]:
        symbol = read_symbol(self._market, query.need("symbol"))
        if not self._rows.knows(self._market, symbol):
            raise BadRequest(-1121, "Invalid symbol.")
        code = query.need("interval")
        if code not in INTERVALS[self._market]:
            raise BadRequest(-1120, "Invalid interval.")
        now = self._clock.now()
        start, end = read_range(self._market, query, now)
        limit = read_limit(self._market, query, 500, KLINES_MOST[self._market])
        query.none_left("timeZone")
        last = (now if end is None else min(end, now)) // 1000
        first = None if start is None else -(-start // 1000)
        return self._rows.page(self._market, symbol, code, first, last, limit)

    @staticmethod
    def _known(symbols: dict[str, Span], symbol: str) -> Span:
        if symbol not in symbols:
            raise BadRequest(-1121, "Invalid symbol.")
        return symbols[symbol]

    def _listing(self, symbol: str, span: Span) -> dict[str, object]:
        """A row of exchangeInfo; the fields of which the files know nothing have a value that is always right."""
        quote = next((quote for quote in _QUOTES if symbol.endswith(quote)), "USDT")
        is_over = span.end + _ENDED < self._clock.now()
        common: dict[str, object] = {
            "symbol": symbol,
            "baseAsset": symbol.removesuffix(quote) or symbol,
            "baseAssetPrecision": 8,
            "quoteAsset": quote,
            "quotePrecision": 8,
            "filters": [
                {"filterType": "PRICE_FILTER", "minPrice": _TICK, "maxPrice": "100000000.00000000", "tickSize": _TICK},
                {"filterType": "LOT_SIZE", "minQty": _TICK, "maxQty": "100000000.00000000", "stepSize": _TICK},
            ],
        }
        if self._market is Market.SPOT:
            return common | {
                "status": "BREAK" if is_over else "TRADING",
                "quoteAssetPrecision": 8,
                "isSpotTradingAllowed": not is_over,
                "isMarginTradingAllowed": False,
                "permissions": [],
                "permissionSets": [["SPOT"]],
            }
        return common | {
            "status": "SETTLING" if is_over else "TRADING",
            "pair": symbol,
            "contractType": "PERPETUAL",
            "onboardDate": span.start // 1000,
            "deliveryDate": 4133404800000,
            "marginAsset": quote,
            "pricePrecision": 8,
            "quantityPrecision": 8,
        }
