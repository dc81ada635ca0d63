"""Candles and trades in whole ticks and lots, and their text as the exchange prints it."""

from typing import NamedTuple

from candlewick.market import Market
from candlewick.simulator.settings import Listing


class Bar(NamedTuple):
    """What a span of trades adds up to. Prices in ticks, quantities in lots, quote amounts in ticks times lots.

    `first` and `last` are numbers of aggregate trades.
    """

    open: int
    high: int
    low: int
    close: int
    lots: int
    quote: int
    buy_lots: int
    buy_quote: int
    first: int
    last: int

    @property
    def trades(self) -> int:
        """How many raw trades it holds."""
        return last_raw(self.last) - first_raw(self.first) + 1


def merge(one: Bar | None, two: Bar | None) -> Bar | None:
    """The bar of both spans, `one` being the earlier."""
    if one is None or two is None:
        return one or two
    return Bar(
        one.open,
        max(one.high, two.high),
        min(one.low, two.low),
        two.close,
        one.lots + two.lots,
        one.quote + two.quote,
        one.buy_lots + two.buy_lots,
        one.buy_quote + two.buy_quote,
        one.first,
        two.last,
    )


class Trade(NamedTuple):
    """One aggregate trade: a taker's order at one price. `time` in microseconds UTC."""

    number: int
    time: int
    ticks: int
    lots: int
    buyer_is_maker: bool


def first_raw(number: int) -> int:
    """The id of the first raw trade of an aggregate: every fourth aggregate has two of them, all others one."""
    return number + (number + 3) // 4


def last_raw(number: int) -> int:
    """The id of the last raw trade of an aggregate."""
    return first_raw(number) + (not number % 4)


class Printer:
    """Text of one listing's numbers: eight decimals on spot, the symbol's own precision on USD-M."""

    __slots__ = ("_lots_places", "_lots_scale", "_price_places", "_price_scale", "_quote_places", "_quote_scale")

    def __init__(self, market: Market, listing: Listing) -> None:
        price, lot = listing.price_decimals, listing.lot_decimals
        if market is Market.SPOT:
            self._price_places = self._lots_places = self._quote_places = 8
            self._price_scale, self._lots_scale = 10 ** (8 - price), 10 ** (8 - lot)
            self._quote_scale = 10 ** (8 - price - lot)
        else:
            self._price_places, self._lots_places, self._quote_places = price, lot, price + lot
            self._price_scale = self._lots_scale = self._quote_scale = 1

    def price(self, ticks: int) -> str:
        """A price."""
        return decimal(ticks * self._price_scale, self._price_places)

    def quantity(self, lots: int) -> str:
        """An amount of the base asset."""
        return decimal(lots * self._lots_scale, self._lots_places)

    def amount(self, quote: int) -> str:
        """An amount of the quote asset."""
        return decimal(quote * self._quote_scale, self._quote_places)


def decimal(value: int, places: int) -> str:
    """`value` divided by ten to the `places`, exactly."""
    if not places:
        return str(value)
    if value < 0:
        return "-" + decimal(-value, places)
    digits = str(value).zfill(places + 1)
    return f"{digits[:-places]}.{digits[-places:]}"
