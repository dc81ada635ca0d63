"""The nouns of market data: markets, intervals, series, spans, candles, trades and quotes.

Time is int64 microseconds UTC everywhere. Nothing here does I/O, reads the time or knows an exchange.
"""

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import ClassVar, NamedTuple, Self

from msgspec import Struct

from candlewick.errors import UsageError

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MONDAY = 4 * DAY  # 1970-01-01 was a Thursday
_YEARS = (-1900 * 366 * DAY, 7900 * 365 * DAY)  # about as far as `datetime` reaches
_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}


class Market(StrEnum):
    """Where an instrument trades."""

    SPOT = "spot"
    USDM = "usdm"


class Interval:
    """A candle interval and its grid: `1s` to `1w` are fixed lengths, `1M` is a calendar month.

    The grid starts at the Unix epoch; weeks open on Monday, months on the 1st, at 00:00 UTC. Two intervals of one
    code are the same object.
    """

    __slots__ = ("_origin", "code", "months", "nominal")
    _known: ClassVar[dict[str, "Interval"]] = {}

    _origin: int
    code: str
    nominal: int
    """Length in microseconds; of a month, 31 days: its upper bound."""
    months: int

    def __new__(cls, code: str) -> "Interval":  # noqa: PYI034 - it is final in all but name
        """The interval of a code such as `1m`.

        Raises:
            UsageError: it is no interval.
        """
        known = cls._known.get(code)
        if known is not None:
            return known
        match = re.fullmatch(r"([1-9]\d{0,3})([smhdwM])", code)
        if match is None:
            raise UsageError(f"interval {code!r} is not one: write a number and s, m, h, d, w or M, such as 1m or 4h")
        self = super().__new__(cls)
        count, unit = int(match[1]), match[2]
        self.code = code
        self.months = count if unit == "M" else 0
        self.nominal = 31 * DAY * count if unit == "M" else count * _UNITS[unit]
        self._origin = _FIRST_MONDAY if unit == "w" else 0
        cls._known[code] = self
        return self

    def __repr__(self) -> str:
        return f"Interval({self.code!r})"

    def __str__(self) -> str:
        return self.code

    def __reduce__(self) -> tuple[type["Interval"], tuple[str]]:
        return (Interval, (self.code,))

    @property
    def is_fixed(self) -> bool:
        """Whether every candle of it lasts equally long."""
        return self.months == 0

    def floor(self, time: int) -> int:
        """The open time of the candle that contains `time`."""
        if not self.months:
            return time - (time - self._origin) % self.nominal
        index = _month(time)
        return _month_start(index - index % self.months)

    def next(self, open_time: int) -> int:
        """The open time of the candle after the one that opens at `open_time`."""
        if not self.months:
            return open_time + self.nominal
        return _month_start(_month(open_time) + self.months)

    def previous(self, open_time: int) -> int:
        """The open time of the candle before the one that opens at `open_time`."""
        return open_time - self.nominal if not self.months else self.floor(open_time - 1)

    def ceil(self, time: int) -> int:
        """The first open time that is not before `time`."""
        floor = self.floor(time)
        return floor if floor == time else self.next(floor)

    def close(self, open_time: int) -> int:
        """The close time as exchanges write it: the last millisecond that belongs to the candle."""
        return self.next(open_time) - 1000

    def count(self, span: "Span") -> int:
        """How many open times lie in `span`."""
        first = self.ceil(span.start)
        if first >= span.end:
            return 0
        if not self.months:
            return -(-(span.end - first) // self.nominal)
        return sum(1 for _ in self.grid(span))

    def grid(self, span: "Span") -> "list[int]":
        """Every open time in `span`, oldest first."""
        first = self.ceil(span.start)
        if not self.months:
            return list(range(first, span.end, self.nominal))
        times = []
        while first < span.end:
            times.append(first)
            first = self.next(first)
        return times


def _month(time: int) -> int:
    """The month that contains `time`, counted from the epoch's; a damaged time that no calendar has is at its edge."""
    when = _EPOCH + timedelta(microseconds=min(max(time, _YEARS[0]), _YEARS[1]))
    return (when.year - 1970) * 12 + when.month - 1


def _month_start(index: int) -> int:
    start = datetime(1970 + index // 12, index % 12 + 1, 1, tzinfo=UTC)
    return (start - _EPOCH) // timedelta(microseconds=1)


class Span(NamedTuple):
    """A half-open range of time `[start, end)`, in microseconds UTC."""

    start: int
    end: int

    def __str__(self) -> str:
        return f"{format_time(self.start)} to {format_time(self.end)}"


class Series(NamedTuple):
    """One instrument at one interval on one market; written `spot:BTCUSDT:1m`."""

    market: Market
    symbol: str
    interval: Interval

    def __str__(self) -> str:
        return f"{self.market}:{self.symbol}:{self.interval.code}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The series that `text` names.

        Raises:
            UsageError: it is not `market:SYMBOL:interval`.
        """
        parts = text.split(":")
        if len(parts) != 3 or parts[0] not in tuple(Market):
            raise UsageError(f"{text!r} is not a series: write market:SYMBOL:interval, such as spot:BTCUSDT:1m")
        return cls(Market(parts[0]), normal_symbol(parts[1]), Interval(parts[2]))


class Candle(Struct, frozen=True, gc=False):
    """One closed or open candle. Times in microseconds UTC, every number the nearest double to the exchange's text.

    `close_time` is what the exchange sent, to the millisecond: it is early on the last candle before an outage.
    `volume` and `taker_buy_volume` are in the base asset, the `quote` ones in the quote asset.
    """

    open_time: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    close_time: int
    quote_volume: float
    trades: int
    taker_buy_volume: float
    taker_buy_quote_volume: float


class Trade(Struct, frozen=True, gc=False):
    """One trade, or one aggregate of trades: `first_id` and `last_id` then name the raw trades it is made of."""

    trade_id: int
    price: float
    quantity: float
    time: int
    """When it was executed, by the exchange's clock."""
    buyer_is_maker: bool
    first_id: int
    last_id: int


class Quote(Struct, frozen=True, gc=False):
    """The best bid and ask. `time` is 0 where the exchange sends none (Binance spot)."""

    update_id: int
    bid: float
    bid_quantity: float
    ask: float
    ask_quantity: float
    time: int


class Ticker(Struct, frozen=True, gc=False):
    """Rolling 24 h statistics of one symbol."""

    time: int
    last: float
    open: float
    high: float
    low: float
    volume: float
    quote_volume: float
    trades: int


class Instrument(Struct, frozen=True):
    """What an exchange lists. `listed_at` is 0 where the exchange does not say; `status` is the exchange's own word."""

    symbol: str
    status: str
    is_trading: bool
    base: str
    quote: str
    listed_at: int


def normal_symbol(text: str) -> str:
    """The exchange's spelling of a symbol: `btcusdt`, `BTC/USDT` and `BTC-USDT` are all `BTCUSDT`."""
    return text.strip().replace("/", "").replace("-", "").upper()


def format_time(time: int) -> str:
    """RFC 3339 in UTC; to the second where it is whole, else to the microsecond."""
    text = (_EPOCH + timedelta(microseconds=time)).isoformat()
    return text.replace("+00:00", "Z")


def parse_time(text: str) -> int:
    """Microseconds UTC of an ISO 8601 time (UTC where no offset is given) or of epoch milliseconds.

    Raises:
        UsageError: it is neither.
    """
    if re.fullmatch(r"-?\d{9,}", text):
        return int(text) * 1000
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is not a time: write ISO 8601 such as 2024-01-31T12:00 (UTC), or epoch milliseconds"
        ) from None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return (when - _EPOCH) // timedelta(microseconds=1)
