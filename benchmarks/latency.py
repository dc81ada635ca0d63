"""How long a closed candle takes from its frame to the disk: one after the other, and 2,000 at a minute's end."""

import asyncio
import os
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks import frames
from benchmarks.blaster import Blaster, blaster
from benchmarks.place import alone, folder
from benchmarks.rig import VENUE, ingesting
from benchmarks.table import Result
from candlewick.events import CandlesStored, Event
from candlewick.exchanges.exchange import StreamKind
from candlewick.histogram import Histogram
from candlewick.stores.lmdb import LmdbStore

PACED_SYMBOLS = 50
PACED_FRAMES = 5_000
PACED_GAP_S = 0.001
WARM_UP = 200
PAGE = 4096
DISK_WRITES = 500
SYMBOLS = 2_000
BOUNDARIES = 20


class Samples(Histogram):
    """Keeps every duration the recorder observes, and when, beside counting it."""

    __slots__ = ("durable_ns", "seconds")

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self.durable_ns: list[int] = []

    def observe_many(self, seconds: npt.NDArray[np.float64]) -> None:
        self.durable_ns += [time.monotonic_ns()] * len(seconds)
        self.seconds += seconds.tolist()
        super().observe_many(seconds)


async def _paced(place: Path, server: Blaster) -> tuple[list[float], list[float]]:
    done = asyncio.Event()
    stored = 0

    def tell(event: Event) -> None:
        nonlocal stored
        if isinstance(event, CandlesStored):
            stored += event.inserted
            if stored == PACED_FRAMES:
                done.set()

    store = LmdbStore.open(place, write=True)
    try:
        async with ingesting(server, frames.symbols(PACED_SYMBOLS), StreamKind.KLINE, store, tell=tell) as ingest:
            samples = ingest.recorder.durability = Samples()
            server.start("paced", PACED_GAP_S)
            async with asyncio.timeout(60):
                await done.wait()
            sent_ns = server.result()
    finally:
        store.close()
    since_sent = [(durable - sent) / 1e6 for sent, durable in zip(sent_ns, samples.durable_ns, strict=True)]
    return [seconds * 1e3 for seconds in samples.seconds], since_sent


def paced_round(server: Blaster) -> tuple[list[float], list[float]]:
    with folder() as place:
        return asyncio.run(_paced(place, server))


def disk_round() -> list[float]:
    """What the disk takes to keep a page, which no store can do without: milliseconds, as often as `DISK_WRITES`."""
    took = []
    with folder() as place:
        file = os.open(place / "page", os.O_CREAT | os.O_RDWR)
        try:
            os.pwrite(file, b"\1" * PAGE, 0)
            os.fsync(file)
            for _ in range(DISK_WRITES):
                began = time.perf_counter()
                os.pwrite(file, os.urandom(PAGE), 0)
                os.fsync(file)
                took.append((time.perf_counter() - began) * 1e3)
        finally:
            os.close(file)
    return took


def latency() -> list[Result]:
    with blaster(frames.kline_blocks, PACED_SYMBOLS, PACED_FRAMES // PACED_SYMBOLS, 0, 1) as server:
        received, sent = alone(paced_round, server)
    disk = alone(disk_round)
    rate = f"{1 / PACED_GAP_S:,.0f} closed klines/s"
    note = f"{rate}; since it was sent: p50 {_percentile(sent, 50):.2f}, p99 {_percentile(sent, 99):.2f} ms"
    worst = f"slowest {max(received[WARM_UP:]):.2f} ms of {len(received) - WARM_UP:,}"
    return [
        Result("frame received to durable, p50", _percentile(received, 50), "ms", 1.0, most=True, note=note),
        Result("frame received to durable, p99", _percentile(received, 99), "ms", 5.0, most=True, note=worst),
        Result(
            "the disk alone: a page written and synced, p50",
            float(np.median(disk)),
            "ms",
            note=f"p99 {np.percentile(disk, 99):.2f}, slowest {max(disk):.2f} ms of {len(disk)}",
        ),
    ]


def _percentile(samples: list[float], percent: float) -> float:
    return float(np.percentile(samples[WARM_UP:], percent))


async def _boundaries(place: Path, server: Blaster) -> tuple[list[float], list[float]]:
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[int] = loop.create_future()
    stored = 0

    def tell(event: Event) -> None:
        nonlocal stored
        if isinstance(event, CandlesStored):
            stored += event.inserted
            if stored == SYMBOLS:
                waiting.set_result(time.monotonic_ns())

    since_last, since_first = [], []
    store = LmdbStore.open(place, write=True)
    try:
        async with ingesting(server, frames.symbols(SYMBOLS), StreamKind.KLINE, store, tell=tell):
            for minute in range(BOUNDARIES + 1):
                server.start("block", minute)
                async with asyncio.timeout(30):
                    durable_ns = await waiting
                first_ns, last_ns = server.result()
                since_last.append((durable_ns - last_ns) / 1e6)
                since_first.append((durable_ns - first_ns) / 1e6)
                waiting, stored = loop.create_future(), 0
                await loop.run_in_executor(None, time.sleep, 0.1)
    finally:
        store.close()
    return since_last[1:], since_first[1:]  # the first pays for what is imported and mapped then


def boundary_round(server: Blaster) -> tuple[list[float], list[float]]:
    with folder() as place:
        return asyncio.run(_boundaries(place, server))


def boundary() -> list[Result]:
    most = VENUE.stream_limits.streams_per_connection
    connections = [min(most, SYMBOLS - start) for start in range(0, SYMBOLS, most)]
    with blaster(frames.boundary_blocks, connections, BOUNDARIES + 1) as server:
        since_last, since_first = alone(boundary_round, server)
    note = (
        f"slowest of {len(since_last)} minutes (median {np.median(since_last):.1f}); "
        f"since the first frame: slowest {max(since_first):.1f}, median {np.median(since_first):.1f} ms"
    )
    what = f"{SYMBOLS:,} symbols close: last frame sent to all durable"
    return [Result(what, max(since_last), "ms", 100.0, most=True, note=note)]
