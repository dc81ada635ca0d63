"""Keeps account of the trades a run delivers, and compares them with what the exchange had."""

from collections.abc import Sequence
from math import inf

from candlewick.events import Event, TradeHole
from candlewick.exchanges.exchange import StreamKind
from candlewick.market import Trade
from candlewick.simulator.exchange import Exchange
from candlewick.simulator.trades import raw_trades


class Tradebook:
    """Every trade of one kind that a run told, and every hole it named."""

    def __init__(self, kind: StreamKind | None) -> None:
        self._kind = kind
        self.told: dict[str, list[Trade]] = {}
        self.holes: dict[str, list[TradeHole]] = {}

    def take(self, symbol: str, trade: Trade) -> None:
        """A trade was told."""
        self.told.setdefault(symbol, []).append(trade)

    def hear(self, event: Event) -> None:
        """Something happened."""
        if isinstance(event, TradeHole):
            self.holes.setdefault(event.stream.partition("@")[0].upper(), []).append(event)

    def compare(self, exchange: Exchange, symbols: Sequence[str], end: int, wrong: list[str]) -> None:
        """Say what is wrong: ids told twice, never told nor named, or unknown to the exchange.

        Only ids count from the first one told on: what happened before was nobody's to tell.
        """
        if self._kind is None:
            return
        for symbol in symbols:
            told = [trade.trade_id for trade in self.told.get(symbol, ())]
            truth = _ids(exchange, symbol, end, self._kind)
            if not told:
                wrong.append(f"{symbol}: no trade at all of {len(truth)}")
                continue
            seen = set(told)
            wrong += [f"{symbol}: {one} is no trade" for one in self.told[symbol] if not _can_be(one)][:3]
            if len(seen) < len(told):
                twice = sorted({one for one in seen if told.count(one) > 1})[:3] if len(told) < 100_000 else []
                wrong.append(f"{symbol}: {len(told) - len(seen)} trades were told twice: {twice}")
            if unknown := sorted(seen - truth - _ids(exchange, symbol, exchange.clock.now() + 1, self._kind))[:3]:
                wrong.append(f"{symbol}: trades that never were: {unknown}")
            named = self._named(symbol)
            silent = sorted(one for one in truth - seen if one > told[0] and one not in named)
            if silent:
                wrong.append(f"{symbol}: {len(silent)} trades lost without a word: {silent[:3]} to {silent[-1]}")

    def _named(self, symbol: str) -> set[int]:
        """Ids in holes that were not filled entirely."""
        return {
            one
            for hole in self.holes.get(symbol, ())
            if hole.recovered < hole.trades
            for one in range(hole.first_id, hole.first_id + min(hole.trades, 2_000_000))
        }


def _can_be(trade: Trade) -> bool:
    return 0 < trade.price < inf and 0 < trade.quantity < inf and trade.time > 0


def _ids(exchange: Exchange, symbol: str, end: int, kind: StreamKind) -> set[int]:
    """Every id of the exchange from its start to `end`."""
    trades = exchange.candles[symbol].tape.trades(exchange.start, end)
    if kind is StreamKind.AGG_TRADE:
        return {trade.number for trade in trades}
    return {number for trade in trades for number, _ in raw_trades(trade)}
