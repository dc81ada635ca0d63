"""The streams there are: names, routes, and how the exchange asks for what is due (binance.md 1.4, 2.1, 2.3).

A stream says when its next event is due and makes the messages of that moment; the exchange keeps the order of time.
Streams are shared by all connections that asked for them.
"""

from collections.abc import Iterable
from typing import Protocol

from candlewick.market import Interval, Market
from candlewick.simulator.candles import Candles
from candlewick.simulator.klines import KlineStream
from candlewick.simulator.tickers import TickerStream
from candlewick.simulator.trades import TradeStream
from candlewick.simulator.wire import Message

_CODES = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M")
INTERVALS = {Market.SPOT: ("1s", *_CODES), Market.USDM: _CODES}


class Stream(Protocol):
    """One stream of one symbol, from when somebody asks for it."""

    name: str

    def due(self) -> int:
        """When it has something to do next, in microseconds UTC."""

    def fire(self, now: int) -> Iterable[Message]:
        """What it sends at that moment; moves on to the next."""


def open_stream(
    name: str, route: str, market: Market, listed: dict[str, Candles], now: int, idle_closes: bool
) -> Stream | None:
    """The stream of this name on this route, or None where there is none: wrong case, symbol, type or route.

    USD-M has its quotes on `/public` and the rest on `/market`; unrouted means public (binance.md 2.1).
    """
    lower, _, kind = name.partition("@")
    candles = listed.get(lower.upper())
    if candles is None or lower != lower.lower():
        return None
    if market is Market.USDM and (route == "public") != (kind == "bookTicker"):
        return None
    if kind in ("trade", "aggTrade", "bookTicker"):
        return None if kind == "trade" and market is Market.USDM else TradeStream(name, market, candles, kind, now)
    if kind == "ticker":
        return TickerStream(name, market, candles, now)
    code = kind.removeprefix("kline_")
    if code == kind or code not in INTERVALS[market]:
        return None
    return KlineStream(name, market, candles, Interval(code), now, idle_closes)
