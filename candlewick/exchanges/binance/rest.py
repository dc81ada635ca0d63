"""Binance's REST interface: its endpoints as rows of data, and readers of their answers."""

from collections.abc import Mapping
from typing import NamedTuple

from msgspec.json import Decoder

from candlewick.exchanges.binance import wire
from candlewick.exchanges.binance.parse import decode, to_close_time, to_time
from candlewick.exchanges.exchange import ExchangeInfo, Request, RestLimits
from candlewick.market import DAY, Candle, Instrument, Interval, Trade

_klines = Decoder(list[wire.RestKline], strict=False).decode
_agg_trades = Decoder(list[wire.RestAggTrade], strict=False).decode
_trades = Decoder(list[wire.RestTrade], strict=False).decode
_time = Decoder(wire.RestTime).decode
_exchange_info = Decoder(wire.RestExchangeInfo).decode

_WEIGHT_HEADERS = ("x-mbx-used-weight-1m", "x-mbx-used-weight")


EARLIEST = 17_167 * DAY
"""2017-01-01, when nothing was traded there yet."""


class Endpoint(NamedTuple):
    """A path and what asking it costs; of paged ones `weights` says up to how many rows which weight holds."""

    path: str
    weights: tuple[tuple[int, int], ...]

    def request(self, *params: tuple[str, str]) -> Request:
        """A request of an endpoint without pages."""
        return Request(self.path, params, self.weights[0][1])

    def page(self, limit: int, *params: tuple[str, str]) -> Request:
        """A request for at most `limit` rows, or as many as the exchange gives at once."""
        limit = min(limit, self.weights[-1][0])
        weight = next(weight for rows, weight in self.weights if limit <= rows)
        return Request(self.path, (*params, ("limit", str(limit))), weight)

    def candles(self, symbol: str, interval: Interval, start: int, end: int, limit: int) -> Request:
        """Candles that open in `[start, end)`: the exchange's `endTime` is inclusive and in milliseconds.

        Times before `EARLIEST` are refused (changelog of 2024-12): there is nothing, so later ones are asked for.
        """
        return self.page(
            limit,
            ("symbol", symbol),
            ("interval", interval.code),
            ("startTime", str(-(-max(start, EARLIEST) // 1000))),
            ("endTime", str((max(end, EARLIEST + 1) - 1) // 1000)),
        )

    def trades_from(self, symbol: str, first_id: int, limit: int) -> Request:
        """Trades from the id `first_id` on."""
        return self.page(limit, ("symbol", symbol), ("fromId", str(first_id)))


class RestRules(NamedTuple):
    """What one market's REST interface has of its own."""

    url: str
    limits: RestLimits
    ping: Endpoint
    time: Endpoint
    exchange_info: Endpoint
    klines: Endpoint
    agg_trades: Endpoint
    trades: Endpoint | None


SPOT = RestRules(
    url="https://api.binance.com",
    limits=RestLimits(weight_per_minute=6000),
    ping=Endpoint("/api/v3/ping", ((1, 1),)),
    time=Endpoint("/api/v3/time", ((1, 1),)),
    exchange_info=Endpoint("/api/v3/exchangeInfo", ((1, 20),)),
    klines=Endpoint("/api/v3/klines", ((1000, 2),)),
    agg_trades=Endpoint("/api/v3/aggTrades", ((1000, 4),)),
    trades=Endpoint("/api/v3/historicalTrades", ((1000, 25),)),
)

USDM = RestRules(
    url="https://fapi.binance.com",
    limits=RestLimits(weight_per_minute=2400),
    ping=Endpoint("/fapi/v1/ping", ((1, 1),)),
    time=Endpoint("/fapi/v1/time", ((1, 1),)),
    exchange_info=Endpoint("/fapi/v1/exchangeInfo", ((1, 1),)),
    # Documented as [1,100), [100,500), [500,1000], above; measured one row more generous.
    klines=Endpoint("/fapi/v1/klines", ((99, 1), (499, 2), (1000, 5), (1500, 10))),
    agg_trades=Endpoint("/fapi/v1/aggTrades", ((1000, 20),)),
    trades=None,  # /fapi/v1/historicalTrades wants a key
)


def read_time(body: bytes) -> int:
    """Microseconds UTC of a `/time` answer.

    Raises:
        DecodeError: it is not one.
    """
    return to_time(decode(_time, body, "time").serverTime)


def read_exchange_info(body: bytes) -> ExchangeInfo:
    """Everything listed, whatever its status.

    Raises:
        DecodeError: it is not a listing.
    """
    info = decode(_exchange_info, body, "exchangeInfo")
    instruments = tuple(
        Instrument(
            symbol=row.symbol,
            status=row.status,
            is_trading=row.status == "TRADING",
            base=row.baseAsset,
            quote=row.quoteAsset,
            listed_at=to_time(row.onboardDate),
        )
        for row in info.symbols
    )
    weights = [
        limit.limit
        for limit in info.rateLimits
        if (limit.rateLimitType, limit.interval, limit.intervalNum) == ("REQUEST_WEIGHT", "MINUTE", 1)
    ]
    return ExchangeInfo(instruments, min(weights, default=None))


def read_klines(body: bytes) -> list[Candle]:
    """The candles of a page, the unfinished last one included.

    Raises:
        DecodeError: the body is not such a page.
    """
    return [
        Candle(
            to_time(k.open_time), k.open, k.high, k.low, k.close, k.volume, to_close_time(k.close_time), k.quote_volume,
            k.trades, k.taker_buy_volume, k.taker_buy_quote_volume,
        )
        for k in decode(_klines, body, "page of klines")
    ]  # fmt: skip


def read_agg_trades(body: bytes) -> list[Trade]:
    """The aggregate trades of a page; annulled ones have no price, no quantity and -1 as raw ids.

    Raises:
        DecodeError: the body is not such a page.
    """
    page = decode(_agg_trades, body, "page of aggTrades")
    return [Trade(row.a, row.p, row.q, to_time(row.T), row.m, row.f, row.l) for row in page]


def read_trades(body: bytes) -> list[Trade]:
    """The raw trades of a page.

    Raises:
        DecodeError: the body is not such a page.
    """
    page = decode(_trades, body, "page of trades")
    return [Trade(row.id, row.price, row.qty, to_time(row.time), row.isBuyerMaker, row.id, row.id) for row in page]


def used_weight(headers: Mapping[str, str]) -> int | None:
    """The weight used in this minute, or None where the answer does not say (some answers say -1)."""
    for name in _WEIGHT_HEADERS:
        value = headers.get(name, "").strip()
        if value.isascii() and value.isdigit():
            return int(value)
    return None
