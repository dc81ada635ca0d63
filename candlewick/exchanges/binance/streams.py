"""Binance's streams: where they are served, what they are called, how they are asked for, and what is allowed."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from candlewick.errors import UsageError
from candlewick.exchanges.exchange import StreamKind, StreamLimits, Subscription

_INTERVALS = ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M")

_WORDS = {
    StreamKind.TRADE: "trade",
    StreamKind.AGG_TRADE: "aggTrade",
    StreamKind.BOOK_TICKER: "bookTicker",
    StreamKind.TICKER: "ticker",
}


class StreamRules(NamedTuple):
    """What one market's streams have of their own."""

    url: str
    intervals: tuple[str, ...]
    routes: Mapping[StreamKind, str]
    limits: StreamLimits


SPOT = StreamRules(
    url="wss://stream.binance.com:9443",
    intervals=_INTERVALS,
    routes=dict.fromkeys(StreamKind, ""),
    # web-socket-streams.md, "General WSS information" and "WebSocket Limits": 1024 streams, 5 messages a second with
    # pings counted, a ping every 20 s, 24 h, 300 attempts in 5 minutes. Below the hard numbers on purpose: the
    # rolling window is strict and a violation costs the connection.
    limits=StreamLimits(
        streams_per_connection=1000,
        messages_per_second=3,
        names_per_message=100,
        url_names=100,
        server_ping_s=20,
        lifetime_s=24 * 3600,
        attempts=300,
        attempts_window_s=300,
    ),
)

USDM = StreamRules(
    url="wss://fstream.binance.com",
    intervals=_INTERVALS[1:],  # no 1s
    # "Important WebSocket Change Notice" of 2026-03-06: a stream asked for on another route is acknowledged and stays
    # silent. `trade` is documented nowhere; those who receive it do so on /public.
    routes={
        StreamKind.KLINE: "/market",
        StreamKind.AGG_TRADE: "/market",
        StreamKind.TICKER: "/market",
        StreamKind.BOOK_TICKER: "/public",
        StreamKind.TRADE: "/public",
    },
    # "Websocket Market Streams": 10 messages a second (the testnet allows 5), a ping every 3 minutes, 24 h.
    limits=SPOT.limits._replace(messages_per_second=4, server_ping_s=180),
)


def stream_name(rules: StreamRules, subscription: Subscription) -> str:
    """`btcusdt@kline_1m`: the symbol in lower case, the rest case-sensitive.

    Raises:
        UsageError: the market has no candles of that interval.
    """
    symbol = subscription.symbol.lower()
    if subscription.kind is not StreamKind.KLINE:
        return f"{symbol}@{_WORDS[subscription.kind]}"
    interval = subscription.interval
    if interval is None or interval.code not in rules.intervals:
        raise UsageError(f"Binance has no {interval} candles of {subscription.symbol}: use {' '.join(rules.intervals)}")
    return f"{symbol}@kline_{interval.code}"


def connect_url(base: str, route: str, names: Sequence[str]) -> str:
    """The address of a combined connection that delivers `names` from the start, or nothing yet where there are none.

    Names are percent-encoded: symbols need not be ASCII.
    """
    root = base.rstrip("/").removesuffix("/ws").removesuffix("/stream")
    query = "?streams=" + "/".join(quote(name, safe="@") for name in names) if names else ""
    return f"{root}{route}/stream{query}"


def control_message(method: str, names: Sequence[str], message_id: int) -> bytes:
    """`{"method":"SUBSCRIBE","params":["btcusdt@kline_1m"],"id":1}`."""
    return msgspec.json.encode({"method": method, "params": list(names), "id": message_id})
