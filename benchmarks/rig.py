"""The program's own pieces put together as `candlewick run` does, with a REST interface that never answers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random

from benchmarks import frames
from benchmarks.blaster import Blaster
from candlewick.clock import SystemClock, system_now
from candlewick.events import Event
from candlewick.exchanges.exchange import StreamKind, load
from candlewick.history.budget import Budget
from candlewick.history.client import RestClient
from candlewick.live.connection import PicowsDialer
from candlewick.market import Interval, Market
from candlewick.services.ingest import Ingest, Wants
from candlewick.services.recorder import OnStored
from candlewick.services.streams import TradeConsumer
from candlewick.stores.store import Store
from candlewick.transport import Answer

VENUE = load("binance").venues[Market.SPOT]


class SilentHttp:
    """REST that takes requests and leaves it at that: what is measured is the live path."""

    async def get(self, url: str, params: object, timeout_s: float) -> Answer:  # noqa: ARG002 - the contract's
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def close(self) -> None:
        pass


@asynccontextmanager
async def ingesting(
    server: Blaster, names: Sequence[str], kind: StreamKind, store: Store, *,
    tell: Callable[[Event], None] = lambda _: None, on_trade: TradeConsumer | None = None,
    on_stored: OnStored | None = None,
) -> AsyncIterator[Ingest]:  # fmt: skip
    """A running ingestion of `names`, connected and with everything subscribed."""
    # At the start of the market that the frames tell of, so that each candle is the next one, as in a live market.
    clock, random = SystemClock(start=(frames.FIRST_MINUTE_MS + 15_000) * 1000), Random(1)
    budget = Budget(requests_per_s=10, burst=10, weight_per_minute=1200)
    client = RestClient(VENUE, "http://127.0.0.1:1", SilentHttp(), budget, clock, tell, random=random)
    wants = Wants(
        symbols=names, intervals=[Interval("1m")], kinds=[kind], stream_url=server.url, history_from=clock.now(),
        gap_threshold_s=70.0, check_interval_s=300.0, reconnect_base_s=None, workers=5,
    )  # fmt: skip
    ingest = Ingest(
        VENUE, wants, store, client, PicowsDialer(clock), clock=clock, random=random, tell=tell, on_trade=on_trade,
        on_stored=on_stored,
    )  # fmt: skip
    running = asyncio.create_task(ingest.run())
    loop = asyncio.get_running_loop()
    assert await loop.run_in_executor(None, server.ask, "wait", 0.6), "nothing connected"
    clock.set_now(system_now())
    try:
        yield ingest
    finally:
        running.cancel()
        await asyncio.wait({running})
