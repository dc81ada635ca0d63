"""Which symbols to follow: names and patterns against what the exchange lists."""

import pytest

from candlewick.errors import UnknownSymbol
from candlewick.market import Instrument, Market
from candlewick.services.symbols import resolve


def listing(symbol: str, status: str = "TRADING") -> Instrument:
    return Instrument(symbol, status, status == "TRADING", symbol[:-4], symbol[-4:], 0)


LISTED = [
    listing("ETHUSDT"),
    listing("BTCUSDT"),
    listing("BTCUSDC"),
    listing("LUNAUSDT", "BREAK"),
    listing("BTCUSDT_261225"),
]


def test_symbols_are_taken_as_named() -> None:
    """Names keep the order in which they were given, each once."""
    assert resolve(["ETHUSDT", "BTCUSDT", "ETHUSDT"], LISTED, Market.SPOT) == ["ETHUSDT", "BTCUSDT"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (["*USDT"], ["BTCUSDT", "ETHUSDT"]),
        (["BTC*"], ["BTCUSDC", "BTCUSDT", "BTCUSDT_261225"]),
        (["ETHUSDT", "???USD[CT]"], ["ETHUSDT", "BTCUSDC", "BTCUSDT"]),
    ],
)
def test_symbol_pattern_stands_for_what_trades_now(wanted: list[str], found: list[str]) -> None:
    """A pattern is every symbol of that shape that trades now, in order of the alphabet, after what came before it."""
    assert resolve(wanted, LISTED, Market.SPOT) == found


def test_symbol_that_is_not_listed_is_named_with_its_neighbours() -> None:
    """A slip of the pen is told with what was meant; the exchange itself would acknowledge it and stay silent."""
    with pytest.raises(UnknownSymbol, match=r"'BTCUSTD' is not listed on spot.*did you mean BTCUSDT"):
        resolve(["ETHUSDT", "BTCUSTD"], LISTED, Market.SPOT)
    with pytest.raises(UnknownSymbol, match=r"'QQQ' is not listed on usdm of the exchange$"):
        resolve(["QQQ"], LISTED, Market.USDM)


def test_symbol_that_does_not_trade_is_told_with_its_status() -> None:
    """A symbol in a break would never send a frame: the exchange's word for it is told."""
    with pytest.raises(UnknownSymbol, match="'LUNAUSDT' does not trade now: its status is BREAK"):
        resolve(["LUNAUSDT"], LISTED, Market.SPOT)


def test_symbol_pattern_without_a_match_is_refused() -> None:
    """A pattern that matches only what does not trade matches nothing."""
    with pytest.raises(UnknownSymbol, match=r"'LUNA\*' matches none of the 4 symbols"):
        resolve(["LUNA*"], LISTED, Market.SPOT)
