"""One market of Binance behind the contract of `exchanges/exchange.py`."""

from collections.abc import Mapping, Sequence

from candlewick.errors import ExchangeError
from candlewick.exchanges.binance import archive_names, parse, rest, streams, trouble
from candlewick.exchanges.binance.archive import BinanceArchive
from candlewick.exchanges.exchange import Archive, Control, ExchangeInfo, Request, StreamKind, Subscription, Venue
from candlewick.market import Candle, Interval, Market, Trade


class BinanceVenue:
    """Spot and USD-M differ in data only: the rows of `streams`, `rest` and `archive_names`."""

    decoders = parse.DECODERS
    name_at = len(parse.PREFIX)
    stream_of = staticmethod(parse.stream_of)

    def __init__(
        self,
        market: Market,
        stream_rules: streams.StreamRules,
        rest_rules: rest.RestRules,
        archive_rules: archive_names.ArchiveRules,
    ) -> None:
        self.market = market
        self.archive: Archive = BinanceArchive(archive_rules)
        self.stream_url = stream_rules.url
        self.api_url = rest_rules.url
        self.intervals = tuple(map(Interval, stream_rules.intervals))
        self.stream_limits = stream_rules.limits
        self.rest_limits = rest_rules.limits
        self.page_sizes = rest_rules.klines.weights
        self._streams = stream_rules
        self._rest = rest_rules

    def route(self, kind: StreamKind) -> str:
        """`/market` or `/public` on USD-M, nothing on spot."""
        return self._streams.routes[kind]

    def stream_name(self, subscription: Subscription) -> str:
        """See `streams.stream_name`."""
        return streams.stream_name(self._streams, subscription)

    def connect_url(self, base: str, route: str, names: Sequence[str]) -> str:
        """See `streams.connect_url`."""
        return streams.connect_url(base, route, names)

    def subscribe(self, names: Sequence[str], message_id: int) -> bytes:
        """The control message that subscribes to `names`."""
        return streams.control_message("SUBSCRIBE", names, message_id)

    def unsubscribe(self, names: Sequence[str], message_id: int) -> bytes:
        """The control message that ends the subscription to `names`."""
        return streams.control_message("UNSUBSCRIBE", names, message_id)

    def control(self, frame: bytes) -> Control:
        """See `parse.parse_control`."""
        return parse.parse_control(frame)

    def ping(self) -> Request:
        """Is it there."""
        return self._rest.ping.request()

    def time(self) -> Request:
        """What time it is there."""
        return self._rest.time.request()

    def exchange_info(self) -> Request:
        """What it lists."""
        return self._rest.exchange_info.request()

    def klines(self, symbol: str, interval: Interval, start: int, end: int, limit: int) -> Request:
        """Candles that open in `[start, end)`."""
        return self._rest.klines.candles(symbol, interval, start, end, limit)

    def agg_trades(self, symbol: str, from_id: int, limit: int) -> Request:
        """Aggregate trades from `from_id` on."""
        return self._rest.agg_trades.trades_from(symbol, from_id, limit)

    def trades(self, symbol: str, from_id: int, limit: int) -> Request | None:
        """Raw trades from `from_id` on; None on USD-M, which wants a key."""
        endpoint = self._rest.trades
        return None if endpoint is None else endpoint.trades_from(symbol, from_id, limit)

    def read_time(self, body: bytes) -> int:
        """See `rest.read_time`."""
        return rest.read_time(body)

    def read_exchange_info(self, body: bytes) -> ExchangeInfo:
        """See `rest.read_exchange_info`."""
        return rest.read_exchange_info(body)

    def read_klines(self, body: bytes) -> list[Candle]:
        """See `rest.read_klines`."""
        return rest.read_klines(body)

    def read_agg_trades(self, body: bytes) -> list[Trade]:
        """See `rest.read_agg_trades`."""
        return rest.read_agg_trades(body)

    def read_trades(self, body: bytes) -> list[Trade]:
        """See `rest.read_trades`."""
        return rest.read_trades(body)

    def used_weight(self, headers: Mapping[str, str]) -> int | None:
        """See `rest.used_weight`."""
        return rest.used_weight(headers)

    def error(self, status: int, headers: Mapping[str, str], body: bytes, now: int) -> ExchangeError:
        """See `trouble.meaning`."""
        return trouble.meaning(status, headers, body, now)


class Binance:
    """The exchange: its spot and USD-M futures markets."""

    name = "binance"

    def __init__(self) -> None:
        self.venues: Mapping[Market, Venue] = {
            Market.SPOT: BinanceVenue(Market.SPOT, streams.SPOT, rest.SPOT, archive_names.SPOT),
            Market.USDM: BinanceVenue(Market.USDM, streams.USDM, rest.USDM, archive_names.USDM),
        }
