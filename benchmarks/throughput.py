"""How many frames a second go all the way: closed klines until they are durable, aggregate trades to a consumer."""

import asyncio
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec

from benchmarks import frames
from benchmarks.blaster import Blaster, blaster
from benchmarks.place import alone, folder
from benchmarks.rig import ingesting
from benchmarks.table import Result
from candlewick.clock import SystemClock
from candlewick.events import CandlesStored, Event
from candlewick.exchanges.binance.wire import WrappedAggTrade
from candlewick.exchanges.exchange import StreamKind
from candlewick.live.connection import PicowsDialer
from candlewick.market import MINUTE, Trade
from candlewick.stores.lmdb import LmdbStore
from candlewick.stores.memory import MemoryStore

SYMBOLS = 200
ROUNDS = 3


class Rate(NamedTuple):
    per_s: float
    cpu_us: float


async def _receive_klines(place: Path, server: Blaster, closed: int, total: int) -> Rate:
    done = asyncio.Event()
    finished_ns = stored = 0

    def tell(event: Event) -> None:
        nonlocal stored, finished_ns
        if isinstance(event, CandlesStored):
            stored += event.inserted
            if stored >= closed:
                finished_ns = time.monotonic_ns()
                done.set()

    store = LmdbStore.open(place, write=True)
    try:
        async with ingesting(server, frames.symbols(SYMBOLS), StreamKind.KLINE, store, tell=tell) as ingest:
            used = time.process_time()
            server.start("blast")
            async with asyncio.timeout(120):
                await done.wait()
            used = time.process_time() - used
            recorder = ingest.recorder
            assert (stored, recorder.rejected, recorder.refused, recorder.revised) == (closed, 0, 0, 0), recorder
            began_ns, _ = server.result()
            ends = frames.FIRST_MINUTE_MS * 1000 + closed // SYMBOLS * MINUTE
            assert {one.frontier for one in ingest.ledger.series.values()} == {ends}, "some came out of turn"
        assert sum(one.rows for one in store.series()) == closed, "not everything is in the store"
    finally:
        store.close()
    return Rate(total / (finished_ns - began_ns) * 1e9, used / total * 1e6)


def kline_round(server: Blaster, minutes: int, updates: int) -> Rate:
    closed = SYMBOLS * minutes
    with folder() as place:
        return asyncio.run(_receive_klines(place, server, closed, closed * (updates + 1)))


async def _receive_trades(server: Blaster, names: list[str], each: int) -> Rate:
    done = asyncio.Event()
    expected = len(names) * each
    count = finished_ns = 0

    def consume(symbol: str, trade: Trade) -> None:  # noqa: ARG001 - the contract's
        nonlocal count, finished_ns
        count += 1
        if count == expected:
            finished_ns = time.monotonic_ns()
            done.set()

    async with ingesting(server, names, StreamKind.AGG_TRADE, MemoryStore(), on_trade=consume) as ingest:
        used = time.process_time()
        server.start("blast")
        async with asyncio.timeout(120):
            await done.wait()
        used = time.process_time() - used
        began_ns, _ = server.result()
        await asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.2)  # the last repeats
        repeats = sum(one.believed.continuity.duplicates for one in ingest.trade_streams)
        assert (count, repeats) == (expected, len(names) * (each // frames.REPEATED)), (count, repeats)
        assert ingest.trades.skipped == 0, "a hole where there is none"
    total = expected + repeats
    return Rate(total / (finished_ns - began_ns) * 1e9, used / total * 1e6)


class _Bare:
    """Decodes what it is told and forgets it: the least that any use of the frames costs here."""

    def __init__(self, expected: int) -> None:
        self._left = expected
        self._decode = msgspec.json.Decoder(WrappedAggTrade, strict=False).decode
        self.finished: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def frame(self, payload: bytes) -> None:
        self._decode(payload)
        self._left -= 1
        if not self._left:
            self.finished.set_result(time.monotonic_ns())

    def heard(self) -> None:
        pass

    def closed(self, reason: str) -> None:
        pass


async def _receive_bare(server: Blaster, total: int) -> Rate:
    bare = _Bare(total)
    link = await PicowsDialer(SystemClock()).dial(server.url, bare)
    server.ask("wait", 0.2)
    used = time.process_time()
    server.start("blast")
    finished_ns = await bare.finished
    used = time.process_time() - used
    began_ns, _ = server.result()
    link.abort()
    return Rate(total / (finished_ns - began_ns) * 1e9, used / total * 1e6)


def bare_round(server: Blaster, total: int) -> Rate:
    """The same frames, received and decoded and nothing else: how fast this machine is now."""
    return asyncio.run(_receive_bare(server, total))


def trade_round(server: Blaster, names: list[str], each: int) -> Rate:
    return asyncio.run(_receive_trades(server, names, each))


def judge(what: str, rates: list[Rate], target: float | None) -> Result:
    found = sorted(rate.per_s for rate in rates)
    cpu_us = median(rate.cpu_us for rate in rates)
    note = f"median of {len(rates)}, best {found[-1]:,.0f}; {cpu_us:.2f} us CPU a frame"
    return Result(what, median(found), "/s", target, note=note)


def _kline_rates(minutes: int, updates: int) -> list[Rate]:
    with blaster(frames.kline_blocks, SYMBOLS, minutes, updates) as server:
        return [alone(kline_round, server, minutes, updates) for _ in range(ROUNDS)]


def klines() -> list[Result]:
    return [
        judge("closed klines, socket to synced LMDB store", _kline_rates(1_500, 0), 200_000),
        judge("klines of which 1 in 30 is closed, likewise", _kline_rates(60, 29), 200_000),
    ]
