"""Streams that follow every trade: `trade`, `aggTrade` and `bookTicker` (binance.md 1.4, 2.3)."""

from collections.abc import Iterable

from candlewick.market import MINUTE, Market
from candlewick.simulator.bars import Trade, first_raw, last_raw
from candlewick.simulator.candles import Candles
from candlewick.simulator.wire import LAG, Message

_FIRST_UPDATE = 400_900_217


class TradeStream:
    """Messages made of each trade, a moment after it."""

    def __init__(self, name: str, market: Market, candles: Candles, kind: str, now: int) -> None:
        self.name = name
        self._spot = market is Market.SPOT
        self._candles = candles
        self._kind = kind
        self._waiting: list[Trade] = []
        self._read_until = now
        self._fill()

    def due(self) -> int:
        """When it pushes next."""
        return self._waiting[-1].time + LAG if self._waiting else self._read_until

    def fire(self, now: int) -> Iterable[Message]:
        """The messages of every trade whose moment has come."""
        waiting, messages = self._waiting, []
        while waiting and waiting[-1].time + LAG <= now:
            messages += self._messages(waiting.pop(), now)
        if not waiting:
            self._fill()
        return messages

    def _fill(self) -> None:
        end = self._read_until + MINUTE
        self._waiting = self._candles.tape.trades(self._read_until, end)[::-1]
        self._read_until = end

    def _messages(self, trade: Trade, now: int) -> list[Message]:
        if self._kind == "aggTrade":
            return [_Aggregate(self.name, self._candles, self._spot, trade, now)]
        if self._kind == "trade":
            return [_Raw(self.name, self._candles, trade, now, *raw) for raw in raw_trades(trade)]
        return [_Quote(self.name, self._candles, self._spot, trade, now, step) for step in (0, 1)]


class _Aggregate(Message):
    """An aggTrade event."""

    __slots__ = ("_candles", "_now", "_spot", "_trade")

    def __init__(self, name: str, candles: Candles, spot: bool, trade: Trade, now: int) -> None:
        Message.__init__(self, name)
        self._candles, self._spot, self._trade, self._now = candles, spot, trade, now

    def render(self, micro: bool) -> str:
        """See `Message`."""
        trade, printer, unit = self._trade, self._candles.printer, 1 if micro else 1000
        quantity = printer.quantity(trade.lots)
        least = "" if self._spot else f'"nq":"{quantity}",'
        return (
            f'{{"e":"aggTrade","E":{self._now // unit},"s":"{self._candles.listing.symbol}","a":{trade.number},'
            f'"p":"{printer.price(trade.ticks)}","q":"{quantity}",{least}"f":{first_raw(trade.number)},'
            f'"l":{last_raw(trade.number)},"T":{trade.time // unit},"m":{_word(trade.buyer_is_maker)},'
            + ('"M":true}' if self._spot else '"st":1}')
        )


class _Raw(Message):
    """A trade event."""

    __slots__ = ("_candles", "_lots", "_now", "_number", "_trade")

    def __init__(self, name: str, candles: Candles, trade: Trade, now: int, number: int, lots: int) -> None:
        Message.__init__(self, name)
        self._candles, self._trade, self._now, self._number, self._lots = candles, trade, now, number, lots

    def render(self, micro: bool) -> str:
        """See `Message`."""
        trade, printer, unit = self._trade, self._candles.printer, 1 if micro else 1000
        return (
            f'{{"e":"trade","E":{self._now // unit},"s":"{self._candles.listing.symbol}","t":{self._number},'
            f'"p":"{printer.price(trade.ticks)}","q":"{printer.quantity(self._lots)}","T":{trade.time // unit},'
            f'"m":{_word(trade.buyer_is_maker)},"M":true}}'
        )


class _Quote(Message):
    """A bookTicker event: the price a trade was done at, and a few ticks further on the other side."""

    __slots__ = ("_candles", "_now", "_spot", "_step", "_trade")

    def __init__(self, name: str, candles: Candles, spot: bool, trade: Trade, now: int, step: int) -> None:
        Message.__init__(self, name)
        self._candles, self._spot, self._trade, self._now, self._step = candles, spot, trade, now, step

    def render(self, micro: bool) -> str:
        """See `Message`; on spot it has no event type and no times."""
        trade, printer, step = self._trade, self._candles.printer, self._step
        symbol, update = self._candles.listing.symbol, _FIRST_UPDATE + 2 * trade.number + step
        bid = trade.ticks if trade.buyer_is_maker else max(1, trade.ticks - 1 - step)
        ask = max(bid + 1, trade.ticks + (1 + step if trade.buyer_is_maker else 0))
        prices = (
            f'"b":"{printer.price(bid)}","B":"{printer.quantity(trade.lots + step)}",'
            f'"a":"{printer.price(ask)}","A":"{printer.quantity(trade.lots * 2 + 1)}"'
        )
        if self._spot:
            return f'{{"u":{update},"s":"{symbol}",{prices}}}'
        unit = 1 if micro else 1000
        return (
            f'{{"e":"bookTicker","u":{update},"E":{self._now // unit},"T":{trade.time // unit},"s":"{symbol}",'
            f'"ps":"{symbol}",{prices},"st":1}}'
        )


def raw_trades(trade: Trade) -> list[tuple[int, int]]:
    """Id and lots of the raw trades of an aggregate."""
    first = first_raw(trade.number)
    if last_raw(trade.number) == first:
        return [(first, trade.lots)]
    return [(first, trade.lots // 2), (first + 1, trade.lots - trade.lots // 2)]


def _word(value: bool) -> str:
    return "true" if value else "false"
