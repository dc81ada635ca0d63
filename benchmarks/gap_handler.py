"""The gap handler as a process: how long 100 gaps take until they are verified and resolved in PostgreSQL."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import asyncpg

from benchmarks.table import Result, skipped
from candlewick.clock import SystemClock
from candlewick.config import Settings
from candlewick.market import DAY, MINUTE, Interval, Market, Series, format_time
from candlewick.services.schema import prepare
from candlewick.simulator.exchange import Exchange
from candlewick.simulator.server import Server
from candlewick.simulator.settings import SimulatorSettings
from candlewick.stores.postgres.schema import SchemaOptions
from candlewick.stores.postgres.store import PostgresStore
from candlewick.stores.store import Source, to_rows
from tests.servers.postgres import PostgresServer, default_binaries

GAPS, LENGTH, EVERY = 100, 100, 150
AT_ONCE = 4
BTC = Series(Market.SPOT, "BTCUSDT", Interval("1m"))


class _Meter:
    """Weight that the exchange was asked for, by its minutes; and how often it had to refuse."""

    def __init__(self, exchange: Exchange) -> None:
        self.by_minute: dict[int, int] = {}
        self.refusals = 0
        self._exchange = exchange

    def listen(self, server: Server) -> None:
        answer = server._http._answer  # noqa: SLF001 - what is measured is what arrives

        def counted(path: str, params: tuple[tuple[str, str], ...]) -> Any:
            reply = answer(path, params)
            headers = {name.lower(): value for name, value in dict(reply.headers).items()}
            used = headers.get("x-mbx-used-weight-1m")
            minute = self._exchange.clock.now() // MINUTE
            self.by_minute[minute] = max(self.by_minute.get(minute, 0), int(used or 0))
            self.refusals += reply.status in {418, 429}
            return reply

        server._http._answer = counted  # noqa: SLF001 - likewise


def gap_handler() -> list[Result]:
    binaries = default_binaries()
    if binaries is None:
        return [
            skipped("gap handler: 10,000 missing minutes in 100 gaps", "no PostgreSQL (set CANDLEWICK_POSTGRES_BIN)")
        ]
    server = PostgresServer(binaries)
    server.start()
    try:
        free = asyncio.run(_measure(server.new_database(), weight_per_minute=100_000, requests_per_s=100.0))
        bound = asyncio.run(_measure(server.new_database(), weight_per_minute=60, requests_per_s=10.0, gaps=60))
    finally:
        server.close()
    return [
        Result("gap handler: 10,000 missing minutes, verified and resolved", free["seconds"], "s", 10.0, most=True,
               note=f"100 gaps, {AT_ONCE} requests at once; {free['requests']} requests to REST"),
        Result("gap handler: one gap of 100 minutes, p50", free["p50_ms"], "ms", note="POST /backfill to its answer"),
        Result("gap handler: most weight in a minute, of 60 allowed", bound["weight"], "weight", 60, most=True,
               note=f"60 gaps in {bound['seconds']:.1f} s; {bound['refusals']} refusals by the exchange"),
    ]  # fmt: skip


async def _measure(url: str, *, weight_per_minute: int, requests_per_s: float, gaps: int = GAPS) -> dict[str, float]:
    clock = SystemClock(speed=1.0 if weight_per_minute > 1000 else 10.0)
    exchange = Exchange(SimulatorSettings(symbols=("BTCUSDT",), activity=0.1), clock)
    simulator = Server(exchange, clock)
    meter = _Meter(exchange)
    meter.listen(simulator)
    await simulator.start("127.0.0.1", 0)
    starts = await _fill(url, exchange, gaps)
    settings = {
        "STORE": url, "BINANCE_API_URL": f"http://{simulator.host}:{simulator.port}", "GAP_HANDLER_PORT": "0",
        "RATE_LIMIT_WEIGHT_PER_MINUTE": str(weight_per_minute), "RATE_LIMIT_REQUESTS_PER_SEC": str(requests_per_s),
        "BURST_SIZE": str(round(requests_per_s)), "BACKFILL_CHECK_INTERVAL_S": "100000", "LOG_LEVEL": "info",
    }  # fmt: skip
    try:
        async with aiohttp.ClientSession() as session:
            with _process(settings) as log:
                place = await _ready(session, log)
                began = time.perf_counter()
                took = await _ask(session, place, starts)
                await _resolved(url, gaps)
                seconds = time.perf_counter() - began
    finally:
        await simulator.close()
    return {
        "seconds": seconds, "p50_ms": sorted(took)[len(took) // 2] * 1000, "requests": len(took),
        "weight": float(max(meter.by_minute.values())), "refusals": meter.refusals,
    }  # fmt: skip


async def _fill(url: str, exchange: Exchange, gaps: int) -> list[int]:
    """All candles of some days but for the gaps; where the gaps begin."""
    await prepare(url, SchemaOptions(), "benchmark")
    first = (exchange.clock.now() - 12 * DAY) // DAY * DAY
    end = first + (gaps * EVERY + 60) * MINUTE
    starts = [first + (30 + number * EVERY) * MINUTE for number in range(gaps)]
    missing = {start + number * MINUTE for start in starts for number in range(LENGTH)}
    rows = exchange.truth(BTC.symbol, "1m", first, end)
    candles = [one for one in Settings().venue.read_klines(json.dumps(rows).encode()) if one.open_time not in missing]

    def keep() -> None:
        store = PostgresStore.open(url, write=True, application="benchmark")
        store.write(to_rows(store.number(BTC), Source.REST, candles))
        store.set_state("gap_handler:scanned:spot", str(exchange.clock.now()).encode())
        store.close()

    await asyncio.to_thread(keep)
    return starts


@contextmanager
def _process(settings: dict[str, str]) -> Iterator[Path]:
    import subprocess

    with TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        root = str(Path(__file__).parents[1])
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "candlewick", "gap-handler"], stderr=file, stdin=subprocess.DEVNULL, cwd=folder,
                env=kept | {"HOME": folder, "PYTHONPATH": root} | settings,
            )  # fmt: skip
        try:
            yield log
        finally:
            process.terminate()
            process.wait()


async def _ready(session: aiohttp.ClientSession, log: Path) -> str:
    """Where it answers, once it has its database."""
    for _ in range(600):
        lines = [json.loads(line) for line in _read(log).splitlines() if line.startswith("{") and line.endswith("}")]
        if place := next((line["url"] for line in lines if "url" in line), None):
            async with session.get(f"{place}/ready") as answer:
                if answer.status == 200:
                    return str(place)
        await asyncio.sleep(0.05)  # noqa: TID251 - a process is waited for
    raise RuntimeError(f"the gap handler did not start: {_read(log)[-2000:]}")


def _read(log: Path) -> str:
    return log.read_text()


async def _ask(session: aiohttp.ClientSession, place: str, starts: list[int]) -> list[float]:
    """Ask for every gap, a few at once; how long each took."""
    queue = list(reversed(starts))
    took: list[float] = []

    async def ask() -> None:
        while queue:
            start = queue.pop()
            body = {
                "gap_start": format_time(start),
                "gap_end": format_time(start + LENGTH * MINUTE),
                "candles_missing": LENGTH,
            }
            began = time.perf_counter()
            async with session.post(f"{place}/backfill", json=body) as answer:
                document = await answer.json()
            took.append(time.perf_counter() - began)
            assert (answer.status, document["status"], document["candles_recovered"]) == (200, "backfilled", LENGTH), (
                document
            )

    await asyncio.gather(*(ask() for _ in range(AT_ONCE)))
    return took


async def _resolved(url: str, gaps: int) -> None:
    """Until the log has every gap resolved and the candles are there."""
    connection = await asyncpg.connect(url)
    try:
        done = await connection.fetchval(
            "SELECT count(*) FROM data_quality_logs WHERE event_type = 'gap_detected' AND resolved"
        )
        held = await connection.fetchval("SELECT count(*) FROM candles_1m")
        assert done == gaps, f"{done} of {gaps} gaps are resolved"
        assert held >= gaps * EVERY, f"only {held} candles are there"
    finally:
        await connection.close()
