"""Frames as the exchange sends them."""

import json

from candlewick.market import MINUTE
from tests.unit.services.workbench import START


def kline_frame(
    open_time: int, *, closed: bool = True, price: float = 100.0, symbol: str = "BTCUSDT", code: str = "1m",
    length: int = MINUTE,
) -> bytes:  # fmt: skip
    """A frame of a kline stream."""
    body = {
        "t": open_time // 1000, "T": (open_time + length) // 1000 - 1, "s": symbol, "i": code, "f": 1, "L": 3,
        "o": str(price), "c": str(price), "h": str(price + 1), "l": str(price - 1), "v": "2", "n": 3, "x": closed,
        "q": str(2 * price), "V": "1", "Q": str(price), "B": "0",
    }  # fmt: skip
    event = {"e": "kline", "E": (open_time + length) // 1000 + 20, "s": symbol, "k": body}
    return _wrapped(f"{symbol.lower()}@kline_{code}", event)


def agg_trade_frame(number: int, *, symbol: str = "BTCUSDT", time: int = START) -> bytes:
    """A frame of an aggTrade stream."""
    event = {
        "e": "aggTrade", "E": time // 1000, "s": symbol, "a": number, "p": "100", "q": "1", "f": number, "l": number,
        "T": time // 1000, "m": False, "M": True,
    }  # fmt: skip
    return _wrapped(f"{symbol.lower()}@aggTrade", event)


def trade_frame(number: int, *, symbol: str = "BTCUSDT", time: int = START) -> bytes:
    """A frame of a trade stream."""
    event = {
        "e": "trade", "E": time // 1000, "s": symbol, "t": number, "p": "100", "q": "1", "T": time // 1000, "m": False,
        "M": True,
    }  # fmt: skip
    return _wrapped(f"{symbol.lower()}@trade", event)


def quote_frame(update: int, bid: float, *, symbol: str = "BTCUSDT") -> bytes:
    """A frame of a bookTicker stream."""
    event = {"u": update, "s": symbol, "b": str(bid), "B": "1", "a": str(bid + 1), "A": "2"}
    return _wrapped(f"{symbol.lower()}@bookTicker", event)


def _wrapped(stream: str, event: dict[str, object]) -> bytes:
    return json.dumps({"stream": stream, "data": event}, separators=(",", ":")).encode()
