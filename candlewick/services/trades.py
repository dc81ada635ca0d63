"""Mends holes in trade streams: what the ids skipped is asked from REST, what cannot be had is named."""

import asyncio
from collections.abc import Callable

from candlewick.clock import Clock
from candlewick.errors import CandlewickError
from candlewick.events import Event, TradeHole
from candlewick.exchanges.exchange import StreamKind
from candlewick.history.client import RestClient
from candlewick.integrity.continuity import Hole
from candlewick.services.streams import TradeReceiver

PATIENCE_S = 2.0
"""Frames may come late or in another order; a hole that closes by itself is none."""
PAGE = 1000


class TradeMender:
    """Asks for skipped trades, hole by hole."""

    def __init__(self, client: RestClient, clock: Clock, tell: Callable[[Event], None]) -> None:
        self._client, self._clock, self._tell = client, clock, tell
        self._queue: asyncio.Queue[tuple[TradeReceiver, Hole]] = asyncio.Queue()
        self.skipped = self.lost = self.recovered = 0

    def mend(self, receiver: TradeReceiver, hole: Hole) -> None:
        """Have a hole looked after."""
        self.skipped += hole.count
        self._queue.put_nowait((receiver, hole))

    async def run(self) -> None:
        """Work until cancelled, one hole at a time: history waits for what is live."""
        while True:
            receiver, hole = await self._queue.get()
            await self._clock.sleep(PATIENCE_S)
            recovered, reason = 0, "recovered"
            try:
                recovered = await self._ask(receiver, hole)
            except CandlewickError as error:
                reason = str(error)
            lost = receiver.continuity.give_up(hole)
            if lost and reason == "recovered":
                reason = "the exchange has none of these ids"
            self.recovered += recovered
            self.lost += lost
            if recovered or lost:
                self._tell(TradeHole(receiver.name, hole.first_id, hole.count, recovered, reason))

    async def _ask(self, receiver: TradeReceiver, hole: Hole) -> int:
        """How many of the hole's trades REST had."""
        ask = self._client.agg_trades if receiver.kind is StreamKind.AGG_TRADE else self._client.trades
        next_id, end, recovered = hole.first_id, hole.first_id + hole.count, 0
        while next_id < end:
            page = await ask(receiver.symbol, next_id, min(PAGE, end - next_id))
            wanted = [trade for trade in page if next_id <= trade.trade_id < end]
            recovered += sum(map(receiver.recovered, wanted))
            if not wanted:
                break
            next_id = wanted[-1].trade_id + 1
        return recovered
