"""Mends holes in trade streams: what the ids skipped is asked from REST, what cannot be had is named."""

import asyncio
from collections.abc import Callable

from candlewick.clock import Clock
from candlewick.errors import CandlewickError
from candlewick.events import Event, TradeHole
from candlewick.exchanges.exchange import StreamKind
from candlewick.history.client import RestClient
from candlewick.integrity.continuity import Hole
from candlewick.market import Trade
from candlewick.services.streams import TradeReceiver

PATIENCE_S = 2.0
"""Frames may come late or in another order; a hole that closes by itself is none."""
PAGE = 1000
MOST = 1_000_000
"""Trades asked for in one hole: seven hours of the busiest market at its usual pace."""


class TradeMender:
    """Asks for skipped trades, hole by hole, and about trades whose ids nothing confirms."""

    def __init__(self, client: RestClient, clock: Clock, tell: Callable[[Event], None]) -> None:
        self._client, self._clock, self._tell = client, clock, tell
        self._holes: asyncio.Queue[tuple[TradeReceiver, Hole]] = asyncio.Queue()
        self._doubts: asyncio.Queue[tuple[TradeReceiver, Trade]] = asyncio.Queue()
        self.skipped = self.lost = self.recovered = 0

    def mend(self, receiver: TradeReceiver, hole: Hole) -> None:
        """Have a hole looked after."""
        self.skipped += hole.count
        self._holes.put_nowait((receiver, hole))

    def doubt(self, receiver: TradeReceiver, trade: Trade) -> None:
        """Have a trade looked up, should no other have confirmed it until then."""
        self._doubts.put_nowait((receiver, trade))

    async def run(self) -> None:
        """Work until cancelled, one thing at a time: history waits for what is live."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._mend_holes())
            tasks.create_task(self._settle_doubts())

    async def _settle_doubts(self) -> None:
        while True:
            receiver, trade = await self._doubts.get()
            await self._clock.sleep(PATIENCE_S)
            if receiver.believed.held is not trade:
                continue
            try:
                page = await self._page(receiver, trade.trade_id, 1)
            except CandlewickError:
                continue  # the client has told why; the next frame of the stream will decide
            receiver.settle(trade, real=any(one.trade_id == trade.trade_id for one in page))

    async def _mend_holes(self) -> None:
        while True:
            receiver, hole = await self._holes.get()
            await self._clock.sleep(PATIENCE_S)
            recovered, reason = 0, "recovered"
            try:
                recovered = await self._ask(receiver, hole)
            except CandlewickError as error:
                reason = str(error)
            lost = receiver.believed.continuity.give_up(hole)
            if lost and reason == "recovered":
                reason = f"more than {MOST} in one hole" if hole.count > MOST else "the exchange has none of these ids"
            self.recovered += recovered
            self.lost += lost
            if recovered or lost:
                self._tell(TradeHole(receiver.name, hole.first_id, hole.count, recovered, reason))

    async def _ask(self, receiver: TradeReceiver, hole: Hole) -> int:
        """How many of the hole's trades REST had."""
        next_id, end, recovered = hole.first_id, hole.first_id + min(hole.count, MOST), 0
        while next_id < end:
            page = await self._page(receiver, next_id, min(PAGE, end - next_id))
            wanted = [trade for trade in page if next_id <= trade.trade_id < end]
            recovered += sum(map(receiver.recovered, wanted))
            if not wanted:
                break
            next_id = wanted[-1].trade_id + 1
        return recovered

    async def _page(self, receiver: TradeReceiver, from_id: int, limit: int) -> list[Trade]:
        ask = self._client.agg_trades if receiver.kind is StreamKind.AGG_TRADE else self._client.trades
        return await ask(receiver.symbol, from_id, limit)
