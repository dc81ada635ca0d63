"""Kline streams: updates after trades, and one close a candle (binance.md 1.5, 2.4)."""

from collections.abc import Iterator

from candlewick.market import MINUTE, SECOND, Interval, Market
from candlewick.simulator.bars import Bar, first_raw, last_raw, merge
from candlewick.simulator.candles import Candles
from candlewick.simulator.wire import LAG, Message

_NEVER = 1 << 62


class KlineStream:
    """`<symbol>@kline_<interval>`: updates after trades, and one close."""

    def __init__(
        self, name: str, market: Market, candles: Candles, interval: Interval, now: int, idle_closes: bool
    ) -> None:
        self.name = name
        self._spot = market is Market.SPOT
        self._candles = candles
        self._interval = interval
        self._idle_closes = idle_closes
        if self._spot:
            self._spacing = SECOND if interval.code == "1s" else 2 * SECOND
        else:
            self._spacing = SECOND // 4
        self._seen = now  # trades before this have been told
        self._pushed = 0
        self._count = 0
        self._enter(interval.floor(now))
        self._plan()

    def due(self) -> int:
        """When it pushes next."""
        return self._due

    def fire(self, now: int) -> Iterator[Message]:
        """An update, or the close of the candle."""
        if self._closing:
            if self._closes():
                yield self._message(now, self._end, is_close=True)
                self._pushed = now
            self._enter(self._end)
        else:
            self._seen = min(now - LAG + 1000, self._end)
            yield self._message(now, self._seen, is_close=False)
            self._pushed = now
        self._plan()

    def _enter(self, open_time: int) -> None:
        self._open = open_time
        self._end = self._interval.next(open_time)
        self._seen = max(self._seen, open_time)
        self._held: Bar | None = None
        self._held_until = open_time

    def _plan(self) -> None:
        """Find what comes next: nothing is pushed without a trade, and the close comes before the next candle."""
        trade = self._candles.tape.next_trade(self._seen, self._end)
        update = _NEVER if trade is None else max(self._pushed + self._spacing, trade + LAG)
        self._closing = update >= self._end
        self._due = self._close_due() if self._closing else update

    def _close_due(self) -> int:
        if self._spot:
            # A few milliseconds after the boundary, traded in or not; after the last trade's own push.
            return self._end + LAG + 1000 + self._end // SECOND * 2654435761 % 5 * 1000
        # The first trade of the next candle, or a timer of two seconds.
        first = self._candles.tape.next_trade(self._end, self._end + 2 * SECOND)
        return self._end + 2 * SECOND + 4000 if first is None else first + LAG

    def _closes(self) -> bool:
        candles, interval = self._candles, self._interval
        if not candles.exists(interval, self._open):
            return False
        if self._spot and candles.interrupted(interval, self._open) is not None:
            return False  # the exchange is down at its end
        return self._idle_closes or candles.bar(interval, self._open, self._end) is not None

    def _bar(self, until: int) -> Bar | None:
        """The candle before `until`: of a long one, only what is new since the last push is added up."""
        if self._interval.nominal <= MINUTE:
            return self._candles.bar(self._interval, self._open, until)
        if until < self._held_until:
            return self._candles.bar(self._interval, self._open, until)
        self._held = merge(self._held, self._candles.tape.bar(self._held_until, until))
        self._held_until = until
        return self._candles.opened_idle(self._open, self._held)

    def _message(self, now: int, until: int, *, is_close: bool) -> Message:
        bar = self._bar(until)
        return _Kline(self.name, self._candles, self._interval, self._open, now, bar, is_close=is_close)


class _Kline(Message):
    """A kline event."""

    __slots__ = ("_bar", "_candles", "_interval", "_now", "_open")

    def __init__(
        self, name: str, candles: Candles, interval: Interval, opened: int, now: int, bar: Bar | None, *, is_close: bool
    ) -> None:
        Message.__init__(self, name, is_close=is_close)
        self._candles, self._interval, self._open, self._now, self._bar = candles, interval, opened, now, bar

    def early(self) -> Message | None:
        """See `Message`."""
        length = self._interval.nominal
        before = self._candles.bar(self._interval, self._open, self._open + length - length // 20)
        if before in (self._bar, None):
            return None
        return _Kline(self.stream, self._candles, self._interval, self._open, self._now, before, is_close=True)

    def render(self, micro: bool) -> str:
        """See `Message`."""
        candles, bar = self._candles, self._bar
        printer, symbol = candles.printer, candles.listing.symbol
        close_time = candles.close_time(self._interval, self._open)
        if micro:
            event, opened, closed = self._now, self._open, close_time + (999 if close_time % SECOND == 999_000 else 0)
        else:
            event, opened, closed = self._now // 1000, self._open // 1000, close_time // 1000
        if bar is None:  # binance.md 1.5: an idle close has no trades and the last price everywhere
            price = printer.price(candles.tape.last_price(self._open))
            first = last = -1
            count = 0
            high = low = opening = price
            volume = bought = printer.quantity(0)
            amount = bought_amount = printer.amount(0)
        else:
            first, last = first_raw(bar.first), last_raw(bar.last)
            count = last - first + 1
            opening, price = printer.price(bar.open), printer.price(bar.close)
            high, low = printer.price(bar.high), printer.price(bar.low)
            volume, amount = printer.quantity(bar.lots), printer.amount(bar.quote)
            bought, bought_amount = printer.quantity(bar.buy_lots), printer.amount(bar.buy_quote)
        return (
            f'{{"e":"kline","E":{event},"s":"{symbol}","k":{{"t":{opened},"T":{closed},"s":"{symbol}",'
            f'"i":"{self._interval.code}","f":{first},"L":{last},"o":"{opening}","c":"{price}","h":"{high}","l":"{low}",'
            f'"v":"{volume}","n":{count},"x":{"true" if self.is_close else "false"},"q":"{amount}","V":"{bought}",'
            f'"Q":"{bought_amount}","B":"0"}}}}'
        )
