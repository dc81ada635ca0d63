"""The ticker stream: statistics of the last 24 hours (binance.md 1.4, 2.3)."""

from collections.abc import Iterable

from candlewick.market import DAY, MINUTE, SECOND, Market
from candlewick.simulator.bars import Bar, first_raw, last_raw, merge
from candlewick.simulator.candles import Candles
from candlewick.simulator.wire import Message


class TickerStream:
    """`<symbol>@ticker`, every second or two while it is traded. Its day begins at a whole minute."""

    def __init__(self, name: str, market: Market, candles: Candles, now: int) -> None:
        self.name = name
        self._spot = market is Market.SPOT
        self._candles = candles
        self._step = SECOND if self._spot else 2 * SECOND
        self._told = now
        self._due = now - now % self._step + self._step
        self._opened = 0
        self._day: Bar | None = None

    def due(self) -> int:
        """When it pushes next."""
        return self._due

    def fire(self, now: int) -> Iterable[Message]:
        """The statistics, if somebody traded since."""
        tape = self._candles.tape
        traded = tape.next_trade(self._told, now) is not None
        self._told = now
        self._due = now - now % self._step + self._step
        if not traded:
            return ()
        minute = now - now % MINUTE
        if minute - DAY + MINUTE != self._opened:
            self._opened = minute - DAY + MINUTE
            self._day = tape.bar(self._opened, minute)
        bar = merge(self._day, tape.bar(minute, now))
        return () if bar is None else (_Ticker(self.name, self._candles, self._spot, self._opened, now, bar),)


class _Ticker(Message):
    """A ticker event."""

    __slots__ = ("_bar", "_candles", "_now", "_opened", "_spot")

    def __init__(self, name: str, candles: Candles, spot: bool, opened: int, now: int, bar: Bar) -> None:
        Message.__init__(self, name)
        self._candles, self._spot, self._opened, self._now, self._bar = candles, spot, opened, now, bar

    def render(self, micro: bool) -> str:
        """See `Message`; only spot tells of the book and of the price before."""
        bar, printer, unit = self._bar, self._candles.printer, 1 if micro else 1000
        symbol, last = self._candles.listing.symbol, printer.price(bar.close)
        book = ""
        if self._spot:
            before = printer.price(self._candles.tape.last_price(self._opened))
            book = (
                f'"x":"{before}","b":"{printer.price(max(1, bar.close - 1))}","B":"{printer.quantity(7)}",'
                f'"a":"{printer.price(bar.close + 1)}","A":"{printer.quantity(9)}",'
            )
        return (
            f'{{"e":"24hrTicker","E":{self._now // unit},"s":"{symbol}","p":"{printer.change(bar.close - bar.open)}",'
            f'"P":"{(bar.close / bar.open - 1) * 100:.3f}","w":"{printer.price(bar.quote // max(1, bar.lots))}",{book}'
            f'"c":"{last}","Q":"{printer.quantity(2)}","o":"{printer.price(bar.open)}","h":"{printer.price(bar.high)}",'
            f'"l":"{printer.price(bar.low)}","v":"{printer.quantity(bar.lots)}","q":"{printer.amount(bar.quote)}",'
            f'"O":{self._opened // unit},"C":{self._now // unit},"F":{first_raw(bar.first)},"L":{last_raw(bar.last)},'
            f'"n":{bar.trades}' + ("}" if self._spot else f',"ps":"{symbol}","st":1}}')
        )
