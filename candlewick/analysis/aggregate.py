"""Candles made of trades, equal to the exchange's own to the last digit."""

from candlewick.analysis.exact import UNITS, amount_units, to_units
from candlewick.errors import UsageError
from candlewick.market import Candle, Interval, Trade


class CandleBuilder:
    """Candles of one interval from raw trades in the order of their ids.

    A candle is given out when a trade of a later one comes, and only if a trade of an earlier one was seen before it:
    the first, begun somewhere in the middle, never is. Where nothing was traded there is no candle; only the exchange
    knows whether it was open then. Sums are exact: kept in integers and divided once.
    """

    def __init__(self, interval: Interval) -> None:
        self.interval = interval
        self.reset()

    def reset(self) -> None:
        """Trades were lost: the candle in progress is not given out, the next one may be."""
        self._start = self._end = 0
        self._last_id = -1
        self._is_whole = False

    def add(self, trade: Trade) -> Candle | None:
        """Take a trade; returns the candle it ends, if that is whole. Trades without a quantity are annulled ones.

        Raises:
            UsageError: its id or its time lies before that of the trade before.
        """
        if trade.quantity == 0:
            return None
        if trade.first_id <= self._last_id or trade.time < self._start:
            raise UsageError(f"trade {trade.trade_id} comes after {self._last_id}: give trades in the order of ids")
        done = None
        if trade.time >= self._end:
            if self._is_whole:
                done = self.current()
            self._is_whole = self._last_id >= 0
            self._begin(trade)
        self._last_id = trade.last_id
        self._extend(trade)
        return done

    def current(self) -> Candle | None:
        """The candle in progress, whole or not."""
        if not self._end:
            return None
        return Candle(
            self._start, self._open, self._high, self._low, self._close, self._volume / UNITS, self._end - 1000,
            self._quote / UNITS, self._trades, self._taker / UNITS, self._taker_quote / UNITS,
        )  # fmt: skip

    def _begin(self, trade: Trade) -> None:
        self._start = self.interval.floor(trade.time)
        self._end = self.interval.next(self._start)
        self._open = self._high = self._low = trade.price
        self._volume = self._quote = self._taker = self._taker_quote = self._trades = 0

    def _extend(self, trade: Trade) -> None:
        price = trade.price
        self._close = price
        if price > self._high:
            self._high = price
        elif price < self._low:
            self._low = price
        quantity = to_units(trade.quantity)
        quote = amount_units(to_units(price), quantity)
        self._volume += quantity
        self._quote += quote
        self._trades += trade.last_id - trade.first_id + 1
        if not trade.buyer_is_maker:
            self._taker += quantity
            self._taker_quote += quote
