"""Mends holes in trade streams: what the ids skipped is asked from REST, what cannot be had is named.

Holes of one stream that lie near each other share a page; streams take turns page by page, so that a long hole holds
up nobody. While REST fails a hole stays open: the exchange keeps trades for long, so only time is lost.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush

from candlewick.clock import Clock
from candlewick.errors import ExchangeError, Refused, UsageError
from candlewick.events import Event, TradeHole
from candlewick.exchanges.exchange import StreamKind
from candlewick.history.client import RestClient
from candlewick.integrity.continuity import Hole
from candlewick.market import Trade
from candlewick.services.streams import TradeReceiver

PATIENCE_S = 2.0
"""Frames may come late or in another order; a hole that closes by itself is none."""
ASK_AGAIN_S = 10.0
"""REST may be some seconds behind the stream: what it does not have is asked for once more after this."""
RETRY_S = (5.0, 10.0, 20.0, 40.0, 60.0)
"""Between attempts while REST fails,"""
GIVE_UP_S = 6 * 3600.0
"""and for how long."""
PAGE = 1000
MOST = 1_000_000
"""Trades asked for in one hole: seven hours of the busiest market at its usual pace."""


class _Open:
    """A hole that is looked after."""

    __slots__ = ("asked_again", "due", "end", "found_at", "hole", "next_id", "recovered")

    def __init__(self, hole: Hole, now: float) -> None:
        self.hole = hole
        self.found_at = now
        self.due = now + PATIENCE_S
        self.next_id = hole.first_id
        self.end = hole.first_id + min(hole.count, MOST)
        self.recovered = 0
        self.asked_again = False


class TradeMender:
    """Asks for skipped trades, page by page, and about trades whose ids nothing confirms."""

    def __init__(self, client: RestClient, clock: Clock, tell: Callable[[Event], None]) -> None:
        self._client, self._clock, self._tell = client, clock, tell
        self._open: dict[TradeReceiver, list[_Open]] = {}
        self._turns: list[tuple[float, int, TradeReceiver]] = []
        self._count = 0
        self._wake = asyncio.Event()
        self._doubts: deque[tuple[float, TradeReceiver, Trade]] = deque()
        self._doubt = asyncio.Event()
        self._failures = 0
        self.skipped = self.lost = self.recovered = 0

    def mend(self, receiver: TradeReceiver, hole: Hole) -> None:
        """Have a hole looked after."""
        self.skipped += hole.count
        one = _Open(hole, self._clock.monotonic())
        waiting = self._open.setdefault(receiver, [])
        waiting.append(one)
        if len(waiting) == 1:
            self._queue(receiver, one.due)

    def doubt(self, receiver: TradeReceiver, trade: Trade) -> None:
        """Have a trade looked up, should no other have confirmed it until then."""
        self._doubts.append((self._clock.monotonic() + PATIENCE_S, receiver, trade))
        self._doubt.set()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._mend_holes())
            tasks.create_task(self._settle_doubts())

    async def _settle_doubts(self) -> None:
        while True:
            if not self._doubts:
                self._doubt.clear()
                await self._doubt.wait()
            due, receiver, trade = self._doubts.popleft()
            await self._clock.sleep(max(0.0, due - self._clock.monotonic()))
            if receiver.believed.held is not trade:
                continue
            try:
                page = await self._page(receiver, trade.trade_id, 1)
            except ExchangeError:
                continue  # the client has told why; the next frame of the stream will decide
            except UsageError:
                receiver.settle(trade, real=True)  # nobody can be asked, and nothing is asked for on its account
                continue
            receiver.settle(trade, real=any(_same(trade, one) for one in page))

    def _queue(self, receiver: TradeReceiver, due: float) -> None:
        self._count += 1
        heappush(self._turns, (due, self._count, receiver))
        self._wake.set()

    async def _mend_holes(self) -> None:
        while True:
            self._wake.clear()
            if not self._turns:
                await self._wake.wait()
            due, _, receiver = heappop(self._turns)
            await self._clock.sleep(max(0.0, due - self._clock.monotonic()))
            try:
                await self._take_turn(receiver)
                self._failures = 0
            except ExchangeError as error:
                await self._failed(receiver, error)
            if waiting := self._open[receiver]:
                self._queue(receiver, min(one.due for one in waiting))
            else:
                del self._open[receiver]

    async def _take_turn(self, receiver: TradeReceiver) -> None:
        """Ask for one page of what a stream lacks, from its first hole on."""
        now = self._clock.monotonic()
        ready = sorted((one for one in self._open[receiver] if one.due <= now), key=lambda one: one.next_id)
        if not ready:
            return
        first = ready[0].next_id
        together = [one for one in ready if one.next_id < first + PAGE]
        limit = min(PAGE, max(one.end for one in together) - first)
        page = {trade.trade_id: trade for trade in await self._page(receiver, first, limit)}
        # What lies before the last id of a full page and is not in it, the exchange does not have.
        reached = max(page, default=first) + 1 if len(page) >= limit else first + limit
        for one in together:
            end = min(one.end, reached)
            found = [page[number] for number in range(one.next_id, end) if number in page]
            one.recovered += sum(map(receiver.recovered, found))
            one.next_id = max(one.next_id, end)
            if one.next_id >= one.end:
                self._done(receiver, one)

    def _done(self, receiver: TradeReceiver, one: _Open) -> None:
        """REST was asked for all of a hole."""
        asked = Hole(one.hole.first_id, one.end - one.hole.first_id)
        if not one.asked_again and receiver.believed.continuity.is_open(asked):
            one.asked_again = True
            one.next_id = one.hole.first_id
            one.due = self._clock.monotonic() + ASK_AGAIN_S
            return
        self._close(
            receiver,
            one,
            f"more than {MOST} in one hole" if one.hole.count > MOST else "the exchange has none of these",
        )

    def _close(self, receiver: TradeReceiver, one: _Open, reason: str) -> None:
        """Say what became of a hole."""
        self._open[receiver].remove(one)
        lost = receiver.believed.continuity.give_up(one.hole)
        self.recovered += one.recovered
        self.lost += lost
        if one.recovered or lost:
            told = reason if lost else "recovered"
            self._tell(TradeHole(receiver.name, one.hole.first_id, one.hole.count, one.hole.count - lost, told))

    async def _failed(self, receiver: TradeReceiver, error: ExchangeError) -> None:
        """REST failed: wait, unless asking again cannot help."""
        refused = isinstance(error, Refused)
        now = self._clock.monotonic()
        for one in list(self._open[receiver]):
            if one.due <= now and (refused or now - one.found_at > GIVE_UP_S):
                self._close(receiver, one, str(error))
        if not refused:
            await self._clock.sleep(RETRY_S[min(self._failures, len(RETRY_S) - 1)])
            self._failures += 1

    async def _page(self, receiver: TradeReceiver, from_id: int, limit: int) -> list[Trade]:
        ask = self._client.agg_trades if receiver.kind is StreamKind.AGG_TRADE else self._client.trades
        return await ask(receiver.symbol, from_id, limit)


def _same(trade: Trade, other: Trade) -> bool:
    """Whether REST's trade is the stream's: under a spoiled id there may be another one, of another time."""
    return trade.trade_id == other.trade_id and trade.time // 1000 == other.time // 1000
