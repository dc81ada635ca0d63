"""Names, addresses and messages of the streams."""

import json

import pytest

from candlewick.errors import ConfigError, UsageError
from candlewick.exchanges.binance import EXCHANGE
from candlewick.exchanges.exchange import StreamKind, Subscription, Venue, load
from candlewick.market import Interval, Market


def test_load_finds_the_exchange_by_name() -> None:
    """The folder's name is the exchange's name; another one is a mistake in a setting."""
    assert load("binance") is EXCHANGE
    assert {market: venue.market for market, venue in EXCHANGE.venues.items()} == {one: one for one in Market}
    with pytest.raises(ConfigError):
        load("nowhere")


def test_intervals_are_those_each_market_has(spot: Venue, usdm: Venue) -> None:
    """USD-M has all of spot's intervals but the second."""
    codes = [interval.code for interval in spot.intervals]
    assert " ".join(codes) == "1s 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M"
    assert [interval.code for interval in usdm.intervals] == codes[1:]


@pytest.mark.parametrize(
    ("subscription", "name"),
    [
        (Subscription(StreamKind.KLINE, "BTCUSDT", Interval("1m")), "btcusdt@kline_1m"),
        (Subscription(StreamKind.KLINE, "BTCUSDT", Interval("1M")), "btcusdt@kline_1M"),
        (Subscription(StreamKind.TRADE, "BTCUSDT"), "btcusdt@trade"),
        (Subscription(StreamKind.AGG_TRADE, "币安人生USDT"), "币安人生usdt@aggTrade"),
        (Subscription(StreamKind.BOOK_TICKER, "BTCUSDT_261225"), "btcusdt_261225@bookTicker"),
        (Subscription(StreamKind.TICKER, "1000SHIBUSDT"), "1000shibusdt@ticker"),
    ],
)
def test_stream_name_is_lower_case_but_for_the_kind(spot: Venue, subscription: Subscription, name: str) -> None:
    """The exchange acknowledges a misspelt name and then sends nothing, so the spelling is ours to get right."""
    assert spot.stream_name(subscription) == name


@pytest.mark.parametrize("interval", [None, Interval("7m")])
def test_stream_name_of_an_interval_the_market_lacks_is_refused(spot: Venue, interval: Interval | None) -> None:
    """A stream that cannot exist is a mistake of the caller."""
    with pytest.raises(UsageError, match="1m 3m"):
        spot.stream_name(Subscription(StreamKind.KLINE, "BTCUSDT", interval))


def test_stream_name_of_seconds_is_refused_on_usdm(usdm: Venue) -> None:
    """USD-M has no candles of a second."""
    with pytest.raises(UsageError):
        usdm.stream_name(Subscription(StreamKind.KLINE, "BTCUSDT", Interval("1s")))


def test_route_parts_usdm_streams_in_two(spot: Venue, usdm: Venue) -> None:
    """On USD-M a stream asked for on the other route stays silent for ever; spot has one route."""
    assert {spot.route(kind) for kind in StreamKind} == {""}
    assert (
        usdm.route(StreamKind.KLINE) == usdm.route(StreamKind.AGG_TRADE) == usdm.route(StreamKind.TICKER) == "/market"
    )
    assert usdm.route(StreamKind.BOOK_TICKER) == usdm.route(StreamKind.TRADE) == "/public"


@pytest.mark.parametrize(
    ("base", "route", "names", "url"),
    [
        ("wss://host:9443", "", ["a@trade", "b@kline_1m"], "wss://host:9443/stream?streams=a@trade/b@kline_1m"),
        ("wss://host:9443/ws", "", ["a@trade"], "wss://host:9443/stream?streams=a@trade"),
        ("ws://127.0.0.1:8000/ws/", "", [], "ws://127.0.0.1:8000/stream"),
        ("ws://127.0.0.1:8000/stream", "", [], "ws://127.0.0.1:8000/stream"),
        ("wss://host", "/market", ["a@aggTrade"], "wss://host/market/stream?streams=a@aggTrade"),
        ("wss://host/ws", "/public", [], "wss://host/public/stream"),
        ("wss://host", "", ["币usdt@trade"], "wss://host/stream?streams=%E5%B8%81usdt@trade"),
    ],
)
def test_connect_url_is_a_combined_stream(spot: Venue, base: str, route: str, names: list[str], url: str) -> None:
    """The base may come as users know it, and names are encoded."""
    assert spot.connect_url(base, route, names) == url


@pytest.mark.parametrize("market", list(Market))
def test_full_connect_url_stays_below_four_kilobytes(market: Market) -> None:
    """As many of the longest names as one address may carry still make an address that servers take."""
    venue = EXCHANGE.venues[market]
    name = venue.stream_name(Subscription(StreamKind.KLINE, "X" * 17, Interval("15m")))
    names = [name] * venue.stream_limits.url_names
    assert len(venue.connect_url(venue.stream_url, "/market", names)) < 4096


def test_control_messages_are_what_the_exchange_documents(spot: Venue) -> None:
    """Method, names and id, in that order."""
    names = ["btcusdt@aggTrade", "币usdt@trade"]
    assert json.loads(spot.subscribe(names, 1)) == {"method": "SUBSCRIBE", "params": names, "id": 1}
    assert spot.subscribe(names[:1], 7) == b'{"method":"SUBSCRIBE","params":["btcusdt@aggTrade"],"id":7}'
    assert json.loads(spot.unsubscribe(names, 312)) == {"method": "UNSUBSCRIBE", "params": names, "id": 312}


def test_limits_stay_below_what_the_exchange_allows(spot: Venue, usdm: Venue) -> None:
    """A violation costs the connection or the address, so there is room to every limit."""
    for venue, per_second, ping_s in ((spot, 5, 20), (usdm, 5, 180)):
        limits = venue.stream_limits
        assert limits.streams_per_connection < 1024
        assert limits.messages_per_second < per_second
        assert limits.server_ping_s == ping_s
        assert (limits.lifetime_s, limits.attempts, limits.attempts_window_s) == (86400, 300, 300)
