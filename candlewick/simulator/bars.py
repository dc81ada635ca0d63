"""Candles and trades in whole ticks and lots, and their text as the exchange prints it."""

from collections.abc import Callable
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


def _decimal(decimals: int, printed: int) -> Callable[[int], str]:
    """Prints whole numbers of 1 / 10**`decimals` with `printed` decimals; only ones that are not negative."""
    whole: int = 10**decimals
    fraction = f".%0{decimals}d" if decimals else ".%.0s" if printed else "%.0s"
    text = f"%d{fraction}{'0' * (printed - decimals)}"

    def write(value: int) -> str:
        return text % divmod(value, whole)

    return write


class Printer:
    """Text of one listing's numbers: eight decimals on spot, the symbol's own precision on USD-M."""

    def __init__(self, market: Market, listing: Listing) -> None:
        price, lot = listing.price_decimals, listing.lot_decimals
        spot = market is Market.SPOT
        self.price = _decimal(price, 8 if spot else price)
        """A price, of ticks."""
        self.quantity = _decimal(lot, 8 if spot else lot)
        """An amount of the base asset, of lots."""
        self.amount = _decimal(price + lot, 8 if spot else price + lot)
        """An amount of the quote asset, of ticks times lots."""

    def change(self, ticks: int) -> str:
        """A difference of prices, with its sign."""
        return self.price(ticks) if ticks >= 0 else "-" + self.price(-ticks)
