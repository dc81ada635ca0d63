"""The streams: what is pushed, when, and how its frames look (binance.md 1.4, 1.5, 2.3, 2.4).

A stream says when its next event is due (`due`) and makes the messages of that moment (`fire`); the exchange keeps the
order of time. Streams are shared by all connections that asked for them.
"""

from collections.abc import Iterator
from typing import Protocol

from candlewick.market import DAY, MINUTE, SECOND, Interval, Market
from candlewick.simulator.bars import Bar, Trade, first_raw, last_raw, merge
from candlewick.simulator.candles import Candles
from candlewick.simulator.wire import Message

_LAG = 3000  # from a trade to its push, microseconds
_SPOT_CODES = "1s 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M".split()
INTERVALS = {Market.SPOT: tuple(_SPOT_CODES), Market.USDM: tuple(_SPOT_CODES[1:])}
_NEVER = 1 << 62
_QUOTE_ROUTES = {"bookTicker"}


class Stream(Protocol):
    """One stream of one symbol, from when somebody asks for it."""

    name: str

    def due(self) -> int:
        """When it has something to do next, in microseconds UTC."""

    def fire(self, now: int) -> Iterator[Message]:
        """What it sends at that moment; moves on to the next."""


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
        self._symbol = candles.listing.symbol
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
            self._seen = min(now - _LAG + 1000, self._end)
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
        update = _NEVER if trade is None else max(self._pushed + self._spacing, trade + _LAG)
        self._closing = update >= self._end
        self._due = self._close_due() if self._closing else update

    def _close_due(self) -> int:
        if self._spot:
            # A few milliseconds after the boundary, traded in or not; after the last trade's own push.
            return self._end + _LAG + 1000 + self._end // SECOND * 2654435761 % 5 * 1000
        # The first trade of the next candle, or a timer of two seconds.
        first = self._candles.tape.next_trade(self._end, self._end + 2 * SECOND)
        return self._end + 2 * SECOND + 4000 if first is None else first + _LAG

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
        return self._held

    def _message(self, now: int, until: int, *, is_close: bool) -> Message:
        opened, bar = self._open, self._bar(until)

        def early() -> Message | None:
            before = self._candles.bar(self._interval, opened, until - (until - opened) // 20)
            return None if before in (bar, None) else Message(self.name, self._text(opened, now, before, is_close=True))

        return Message(self.name, self._text(opened, now, bar, is_close=is_close), is_close=is_close, early=early)

    def _text(self, opened: int, now: int, bar: Bar | None, *, is_close: bool) -> "_KlineText":
        return _KlineText(self._candles, self._interval, opened, now, bar, is_close)


class _KlineText:
    """The JSON of a kline event, made when a connection needs it."""

    __slots__ = ("bar", "candles", "interval", "is_close", "now", "open_time")

    def __init__(
        self, candles: Candles, interval: Interval, open_time: int, now: int, bar: Bar | None, is_close: bool
    ) -> None:
        self.candles, self.interval, self.open_time = candles, interval, open_time
        self.now, self.bar, self.is_close = now, bar, is_close

    def __call__(self, micro: bool) -> str:
        candles, bar = self.candles, self.bar
        printer, symbol = candles.printer, candles.listing.symbol
        close_time = candles.close_time(self.interval, self.open_time)
        if micro:
            event, opened, closed = (
                self.now,
                self.open_time,
                close_time + (999 if close_time % SECOND == 999_000 else 0),
            )
        else:
            event, opened, closed = self.now // 1000, self.open_time // 1000, close_time // 1000
        if bar is None:  # binance.md 1.5: an idle close has no trades and the last price everywhere
            price = printer.price(candles.tape.last_price(self.open_time))
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
            f'"i":"{self.interval.code}","f":{first},"L":{last},"o":"{opening}","c":"{price}","h":"{high}","l":"{low}",'
            f'"v":"{volume}","n":{count},"x":{"true" if self.is_close else "false"},"q":"{amount}","V":"{bought}",'
            f'"Q":"{bought_amount}","B":"0"}}}}'
        )


class TradeStream:
    """`trade`, `aggTrade` and `bookTicker`: everything that follows a trade at once."""

    def __init__(self, name: str, market: Market, candles: Candles, kind: str, now: int) -> None:
        self.name = name
        self._spot = market is Market.SPOT
        self._candles = candles
        self._make = {"trade": self._raw, "aggTrade": self._aggregate, "bookTicker": self._quote}[kind]
        self._waiting: list[Trade] = []
        self._read_until = now
        self._fill()

    def due(self) -> int:
        """When it pushes next."""
        return self._waiting[-1].time + _LAG if self._waiting else self._read_until

    def fire(self, now: int) -> Iterator[Message]:
        """The messages of every trade whose moment has come."""
        waiting = self._waiting
        while waiting and waiting[-1].time + _LAG <= now:
            yield from self._make(waiting.pop(), now)
        if not waiting:
            self._fill()

    def _fill(self) -> None:
        end = self._read_until + MINUTE
        self._waiting = self._candles.tape.trades(self._read_until, end)[::-1]
        self._read_until = end

    def _aggregate(self, trade: Trade, now: int) -> Iterator[Message]:
        printer, symbol = self._candles.printer, self._candles.listing.symbol
        price, quantity = printer.price(trade.ticks), printer.quantity(trade.lots)
        first, last = first_raw(trade.number), last_raw(trade.number)
        maker = "true" if trade.buyer_is_maker else "false"

        def render(micro: bool) -> str:
            unit = 1 if micro else 1000
            event, time = now // unit, trade.time // unit
            if self._spot:
                return (
                    f'{{"e":"aggTrade","E":{event},"s":"{symbol}","a":{trade.number},"p":"{price}","q":"{quantity}",'
                    f'"f":{first},"l":{last},"T":{time},"m":{maker},"M":true}}'
                )
            return (
                f'{{"e":"aggTrade","E":{event},"s":"{symbol}","a":{trade.number},"p":"{price}","q":"{quantity}",'
                f'"nq":"{quantity}","f":{first},"l":{last},"T":{time},"m":{maker},"st":1}}'
            )

        yield Message(self.name, render)

    def _raw(self, trade: Trade, now: int) -> Iterator[Message]:
        printer, symbol = self._candles.printer, self._candles.listing.symbol
        price = printer.price(trade.ticks)
        maker = "true" if trade.buyer_is_maker else "false"
        for number, lots in raw_trades(trade):

            def render(micro: bool, number: int = number, lots: int = lots) -> str:
                unit = 1 if micro else 1000
                head = f'{{"e":"trade","E":{now // unit},"s":"{symbol}","t":{number},"p":"{price}",'
                return f'{head}"q":"{printer.quantity(lots)}","T":{trade.time // unit},"m":{maker},"M":true}}'

            yield Message(self.name, render)

    def _quote(self, trade: Trade, now: int) -> Iterator[Message]:
        """The book around the trade: the price it was done at, and one tick further on the other side."""
        printer, symbol = self._candles.printer, self._candles.listing.symbol
        ticks = trade.ticks
        for step in (0, 1):
            bid, ask = (ticks, ticks + 1 + step) if trade.buyer_is_maker else (max(1, ticks - 1 - step), ticks)
            prices = f'"b":"{printer.price(bid)}","B":"{printer.quantity(trade.lots + step)}"'
            prices += f',"a":"{printer.price(ask)}","A":"{printer.quantity(trade.lots * 2 + 1)}"'
            update = 400_900_217 + 2 * trade.number + step

            def render(micro: bool, prices: str = prices, update: int = update) -> str:
                if self._spot:  # no event type and no times on spot
                    return f'{{"u":{update},"s":"{symbol}",{prices}}}'
                unit = 1 if micro else 1000
                head = f'{{"e":"bookTicker","u":{update},"E":{now // unit},"T":{trade.time // unit},"s":"{symbol}"'
                return f'{head},"ps":"{symbol}",{prices},"st":1}}'

            yield Message(self.name, render)


def raw_trades(trade: Trade) -> list[tuple[int, int]]:
    """Id and lots of the raw trades of an aggregate."""
    first = first_raw(trade.number)
    if last_raw(trade.number) == first:
        return [(first, trade.lots)]
    return [(first, trade.lots // 2), (first + 1, trade.lots - trade.lots // 2)]


class TickerStream:
    """`<symbol>@ticker`: statistics of the last 24 hours, when they changed."""

    def __init__(self, name: str, market: Market, candles: Candles, now: int) -> None:
        self.name = name
        self._spot = market is Market.SPOT
        self._candles = candles
        self._step = SECOND if self._spot else 2 * SECOND
        self._told = now
        self._due = now - now % self._step + self._step
        self._minute = 0
        self._day: Bar | None = None

    def due(self) -> int:
        """When it pushes next."""
        return self._due

    def fire(self, now: int) -> Iterator[Message]:
        """The statistics, if somebody traded since."""
        traded = self._candles.tape.next_trade(self._told, now) is not None
        self._told = now
        self._due = now - now % self._step + self._step
        if traded:
            text = self._text(now)
            yield Message(self.name, lambda micro: text(micro))

    def _text(self, now: int) -> "_TickerText":
        minute = now - now % MINUTE
        if minute != self._minute:
            self._minute = minute
            self._day = self._candles.tape.bar(minute - DAY + MINUTE, minute)
        return _TickerText(self._candles, self._spot, now, merge(self._day, self._candles.tape.bar(minute, now)))


class _TickerText:
    """The JSON of a ticker event."""

    def __init__(self, candles: Candles, spot: bool, now: int, bar: Bar | None) -> None:
        self._candles, self._spot, self._now, self._bar = candles, spot, now, bar

    def __call__(self, micro: bool) -> str:
        bar, printer, unit = self._bar, self._candles.printer, 1 if micro else 1000
        if bar is None:
            raise AssertionError("a ticker is made after a trade")
        before = printer.price(self._candles.tape.last_price(self._now - self._now % MINUTE - DAY + MINUTE))
        mean = bar.quote // max(1, bar.lots)
        opened = (self._now - self._now % MINUTE - DAY + MINUTE) // unit
        book = (
            f'"x":"{before}","b":"{printer.price(max(1, bar.close - 1))}","B":"{printer.quantity(7)}",'
            f'"a":"{printer.price(bar.close + 1)}","A":"{printer.quantity(9)}",'
        )
        return (
            f'{{"e":"24hrTicker","E":{self._now // unit},"s":"{self._candles.listing.symbol}",'
            f'"p":"{printer.price(bar.close - bar.open)}","P":"{(bar.close / bar.open - 1) * 100:.3f}",'
            f'"w":"{printer.price(mean)}",{book if self._spot else ""}"c":"{printer.price(bar.close)}",'
            f'"Q":"{printer.quantity(2)}","o":"{printer.price(bar.open)}","h":"{printer.price(bar.high)}",'
            f'"l":"{printer.price(bar.low)}","v":"{printer.quantity(bar.lots)}","q":"{printer.amount(bar.quote)}",'
            f'"O":{opened},"C":{self._now // unit},"F":{first_raw(bar.first)},"L":{last_raw(bar.last)},"n":{bar.trades}'
            + ("}" if self._spot else f',"ps":"{self._candles.listing.symbol}","st":1}}')
        )


def open_stream(
    name: str, route: str, market: Market, listed: dict[str, Candles], now: int, idle_closes: bool
) -> Stream | None:
    """The stream of this name on this route, or None where there is none: wrong case, symbol, type or route.

    USD-M has its quotes on `/public` and the rest on `/market`; unrouted means public (binance.md 2.1).
    """
    lower, _, kind = name.partition("@")
    candles = listed.get(lower.upper())
    if candles is None or lower != lower.lower():
        return None
    if market is Market.USDM and (route == "public") != (kind in _QUOTE_ROUTES):
        return None
    if kind in ("trade", "aggTrade", "bookTicker"):
        return None if kind == "trade" and market is Market.USDM else TradeStream(name, market, candles, kind, now)
    if kind == "ticker":
        return TickerStream(name, market, candles, now)
    code = kind.removeprefix("kline_")
    if code == kind or code not in INTERVALS[market]:
        return None
    return KlineStream(name, market, candles, Interval(code), now, idle_closes)
