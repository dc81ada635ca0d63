"""What the rest of Candlewick may ask of an exchange: data and pure functions, never a socket or the time.

An exchange is one folder beside this file that exports `EXCHANGE`; `load` finds it by name. Adding one edits no
existing source file (ADDING_AN_EXCHANGE.md).
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from candlewick.errors import ConfigError, ExchangeError
from candlewick.market import Candle, Instrument, Interval, Market, Span, Trade

if TYPE_CHECKING:  # a tenth of a second for those who only want a list of commands
    import numpy as np


class StreamKind(StrEnum):
    """What a stream carries; the words of the setting STREAMS."""

    KLINE = "kline"
    TRADE = "trade"
    AGG_TRADE = "aggTrade"
    BOOK_TICKER = "bookTicker"
    TICKER = "ticker"


class Subscription(NamedTuple):
    """One stream of one instrument; `interval` only of klines."""

    kind: StreamKind
    symbol: str
    interval: Interval | None = None


class CandleUpdate(Candle, frozen=True, gc=False):
    """A candle as it stands, of the series its frame named; `closed` when it is final."""

    symbol: str
    interval: str
    closed: bool
    exchange_time: int


class TradeUpdate(Trade, frozen=True, gc=False):
    """A trade, of the symbol its frame named."""

    symbol: str


class Acknowledged(NamedTuple):
    """The exchange took the control message `id`. It proves nothing about the names in it."""

    id: int


class ControlError(NamedTuple):
    """The exchange refused a control message; `id` is None where it does not say which."""

    id: int | None
    code: int
    message: str


class ShutdownNotice(NamedTuple):
    """The exchange will close this connection soon."""

    exchange_time: int


class Unknown(NamedTuple):
    """A frame of a kind that is not known here: counted by `what`, otherwise passed over."""

    what: str


Control = Acknowledged | ControlError | ShutdownNotice | Unknown


class StreamLimits(NamedTuple):
    """What the exchange allows on its stream connections; times in seconds."""

    streams_per_connection: int
    messages_per_second: float
    """Control messages and pings together."""
    names_per_message: int
    url_names: int
    """How many names the connection's own URL may carry."""
    server_ping_s: float
    """How often the exchange pings; longer than this without a byte is suspicious."""
    lifetime_s: float
    attempts: int
    """Connection attempts in `attempts_window_s` before the address is banned."""
    attempts_window_s: float


class RestLimits(NamedTuple):
    """What the exchange allows on REST, until its own answers say otherwise."""

    weight_per_minute: int


class Request(NamedTuple):
    """One REST call: `path` with `params` in order; `weight` is what the exchange will charge."""

    path: str
    params: tuple[tuple[str, str], ...]
    weight: int


class ExchangeInfo(NamedTuple):
    """What the exchange lists, and the limits it states."""

    instruments: tuple[Instrument, ...]
    weight_per_minute: int | None


class ArchiveKind(StrEnum):
    """What a file of the archive holds."""

    KLINES = "klines"
    TRADES = "trades"
    AGG_TRADES = "aggTrades"


class ArchiveFile(NamedTuple):
    """A file that the archive may have, for whole days of one symbol."""

    name: str
    """Its path below the archive's base URL, without a slash in front; also its name in the ledger."""
    kind: ArchiveKind
    symbol: str
    interval: Interval | None
    """Only of klines."""
    span: Span
    """The day or the month it is for, from midnight to midnight UTC."""
    is_monthly: bool


class ListedFile(NamedTuple):
    """A file as the archive's listing shows it; `changed_at` in microseconds UTC."""

    name: str
    size: int
    changed_at: int
    etag: str


class ListingPage(NamedTuple):
    """A page of the listing; `marker` is what to ask on from, None on the last page."""

    files: tuple[ListedFile, ...]
    folders: tuple[str, ...]
    """Full paths, each ending in a slash."""
    marker: str | None


Columns: TypeAlias = "dict[str, np.ndarray[Any, np.dtype[Any]]]"
"""Columns of equal length by name: of candles those of `Candle`, of trades those of `Trade`; times in microseconds."""


class Archive(Protocol):
    """The exchange's public files of one market, as data and pure functions."""

    url: str
    """Default base URL of the files."""
    list_url: str
    """Default base URL of the listing."""
    published_after: int
    """Microseconds after the end of a day (of a month) within which its file usually appears."""

    def month(self, kind: ArchiveKind, symbol: str, interval: Interval | None, time: int) -> ArchiveFile:
        """The file of the calendar month that contains `time`."""

    def day(self, kind: ArchiveKind, symbol: str, interval: Interval | None, time: int) -> ArchiveFile | None:
        """The file of the day that contains `time`; None for intervals that have no daily files."""

    def parse_name(self, name: str) -> ArchiveFile | None:
        """The file a name in the listing stands for; None if it is not one of this market's (a CHECKSUM, say)."""

    def checksum_name(self, file: ArchiveFile) -> str:
        """The name of the file that holds its checksum."""

    def folder(self, kind: ArchiveKind, symbol: str, interval: Interval | None, *, is_monthly: bool) -> str:
        """The prefix under which such files are listed; with an empty symbol, that of all symbols' folders."""

    def listing_params(self, prefix: str, marker: str) -> tuple[tuple[str, str], ...]:
        """The query of a page of the listing."""

    def read_listing(self, body: bytes) -> ListingPage:
        """A page of the listing.

        Raises:
            DecodeError: it is not one.
        """

    def read_checksum(self, body: bytes, file: ArchiveFile) -> str:
        """The SHA-256, 64 lower-case hexadecimal digits, that a CHECKSUM file states for `file`.

        Raises:
            DecodeError: it is no such file, or names another one.
        """

    def read_candles(self, body: bytes, file: ArchiveFile) -> Columns:
        """The candles of a zip, in the order of its lines, as they stand: repeated, unordered and impossible ones too.

        Raises:
            DecodeError: it is no zip of one CSV, is cut short, or a line is not one of a candle; says which.
        """

    def read_trade_columns(self, body: bytes, file: ArchiveFile) -> Columns:
        """The trades (or aggregates) of a zip, in the order of its lines, as they stand.

        Besides those of `Trade` the column `quote_quantity`: what the file says, NaN where it says nothing.

        Raises:
            DecodeError: see `read_candles`.
        """


class Venue(Protocol):
    """One market of an exchange: its streams and its REST interface as data and pure functions."""

    market: Market
    stream_url: str
    """Default base URL of the streams."""
    api_url: str
    """Default base URL of REST."""
    intervals: tuple[Interval, ...]
    stream_limits: StreamLimits
    rest_limits: RestLimits
    archive: Archive
    page_sizes: tuple[tuple[int, int], ...]
    """Candle page sizes worth asking for, as (rows, weight), smallest first."""
    name_at: int
    """Where the stream's name begins in a wrapped frame as the exchange usually writes it; it ends at a quote."""
    decoders: Mapping[StreamKind, Callable[[bytes], Any]]
    """By kind, what turns one whole frame (wrapped or not) into `CandleUpdate`, `TradeUpdate`, `Quote` or `Ticker`.

    Raises DecodeError for a frame that is not of that kind or is cut, mangled or impossible to read.
    """

    def route(self, kind: StreamKind) -> str:
        """The path under the base URL on which streams of `kind` are served; kinds of one route share connections."""

    def stream_name(self, subscription: Subscription) -> str:
        """The exchange's name of a stream, as it stands in URLs, messages and wrapped frames."""

    def connect_url(self, base: str, route: str, names: Sequence[str]) -> str:
        """Where to connect for `names`; `base` may end in `/ws`, which is dropped."""

    def subscribe(self, names: Sequence[str], message_id: int) -> bytes:
        """The control message that subscribes to `names`."""

    def unsubscribe(self, names: Sequence[str], message_id: int) -> bytes:
        """The control message that ends the subscription to `names`."""

    def stream_of(self, frame: bytes) -> bytes:
        """The stream name a wrapped data frame begins with, or b"" for any other frame (control, notice, unknown)."""

    def control(self, frame: bytes) -> Control:
        """What a frame that is no data of a known stream means.

        Raises:
            DecodeError: it is not JSON.
        """

    def ping(self) -> Request:
        """Is it there."""

    def time(self) -> Request:
        """What time it is there; read by `read_time`."""

    def exchange_info(self) -> Request:
        """What it lists; read by `read_exchange_info`."""

    def klines(self, symbol: str, interval: Interval, start: int, end: int, limit: int) -> Request:
        """Candles that open in `[start, end)` (microseconds), oldest first, at most `limit`; read by `read_klines`."""

    def agg_trades(self, symbol: str, from_id: int, limit: int) -> Request:
        """Aggregate trades from `from_id` on; read by `read_agg_trades`."""

    def trades(self, symbol: str, from_id: int, limit: int) -> Request | None:
        """Raw trades from `from_id` on, or None where the exchange does not serve them without a key."""

    def read_time(self, body: bytes) -> int:
        """Microseconds UTC."""

    def read_exchange_info(self, body: bytes) -> ExchangeInfo:
        """Everything listed, whatever its status; unknown statuses and fields are passed over."""

    def read_klines(self, body: bytes) -> list[Candle]:
        """The candles of a page, the unfinished last one included.

        Raises:
            DecodeError: the body is not such a page.
        """

    def read_agg_trades(self, body: bytes) -> list[Trade]:
        """The aggregate trades of a page."""

    def read_trades(self, body: bytes) -> list[Trade]:
        """The raw trades of a page."""

    def used_weight(self, headers: Mapping[str, str]) -> int | None:
        """The weight used in this minute as an answer's headers state it (names in lower case), or None."""

    def error(self, status: int, headers: Mapping[str, str], body: bytes, now: int) -> ExchangeError:
        """What an answer with `status` >= 400 means: Banned, RateLimited, ServerTrouble or Refused."""


class Exchange(Protocol):
    """A folder beside this file."""

    name: str
    venues: Mapping[Market, Venue]


def load(name: str) -> Exchange:
    """The exchange called `name`.

    Raises:
        ConfigError: there is no folder of that name.
    """
    try:
        module = import_module(f"candlewick.exchanges.{name}")
    except ModuleNotFoundError as error:
        raise ConfigError(f"exchange {name!r} is not one of those Candlewick has") from error
    exchange: Exchange = module.EXCHANGE
    return exchange
