"""How fast a PostgreSQL that was away gets the million rows that wait, what that costs both sides, and what memory it takes."""

import asyncio
import os
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import numpy as np

from benchmarks.feeder import server
from benchmarks.place import alone, folder
from benchmarks.postgres import BTC, START, candles
from benchmarks.table import Result
from candlewick.clock import SystemClock
from candlewick.market import MINUTE
from candlewick.outputs.outbox import Outbox
from candlewick.outputs.postgres import PostgresOutput
from candlewick.services.schema import prepare
from candlewick.stores.lmdb import LmdbStore
from candlewick.stores.postgres.schema import SchemaOptions
from candlewick.stores.store import Source

ROWS = 1_000_000
SHAPES = {10: 10, 100: 5, 2_000: 1}
"""Minutes in one write, by how many series there are: small ones, as the live feed makes them."""


class _Took(NamedTuple):
    seconds: float
    own_cpu_s: float
    server_cpu_s: float
    peak_mb: float
    private_mb: float


def catch_up() -> list[Result]:
    """A store went on while its database was away, with few series and with many."""
    results, peaks = [], []
    with server() as postgres:
        for series, minutes in SHAPES.items():
            url = postgres.new_database()
            with folder() as place:
                alone(_leave_behind, place / "store", url, series, minutes)
                took = alone(_bring, place / "store", url)
            note = f"PostgreSQL {postgres.version}; CPU {took.own_cpu_s:.1f} s here, {took.server_cpu_s:.1f} s there"
            what = f"postgres: catch-up with 1 M rows of {series:,} series waiting"
            results.append(Result(what, ROWS / took.seconds, "rows/s", 100_000, note=note))
            peaks.append(took)
    most = max(peaks, key=lambda one: one.peak_mb)
    note = f"{most.private_mb:.0f} of it its own, the rest files: the store is mapped"
    return [*results, Result("postgres: resident at most meanwhile", most.peak_mb, "MB", 150.0, most=True, note=note)]


def _leave_behind(place: Path, url: str, series: int, minutes: int) -> None:
    """A store whose output got the first nothing, with all the rest written since; left as a kill leaves it."""
    asyncio.run(prepare(url, SchemaOptions(), "benchmark"))
    store = LmdbStore.open(place, write=True)
    numbers = np.array([store.number(BTC._replace(symbol=f"S{at:04}USDT")) for at in range(series)])
    asyncio.run(_follow(url, store))
    asyncio.run(_with_partitions(url, ROWS // series))
    rows = candles(ROWS // series)
    rows["source"] = Source.LIVE
    for start in range(0, len(rows), minutes):
        part = rows[start : start + minutes]
        write = np.tile(part, series)
        write["series"] = np.repeat(numbers, len(part))
        store.write(write)
        while store.tidy():
            pass


async def _with_partitions(url: str, minutes: int) -> None:
    """The week that the live feed writes into has its partition."""
    connection = await asyncpg.connect(url)
    moments = [f"(timestamptz 'epoch' + {at} * interval '1 microsecond')" for at in (START, START + minutes * MINUTE)]
    await connection.execute(f"SELECT ensure_candle_partitions({', '.join(moments)})")
    await connection.close()


def _bring(place: Path, url: str) -> _Took:
    return asyncio.run(_measured(place, url))


async def _measured(place: Path, url: str) -> _Took:
    connection = await asyncpg.connect(url)
    main = await _main_process(connection)
    store = LmdbStore.open(place, write=True)
    _forget_peak()
    server_cpu_s, own_cpu_s, began = _cpu_s(main), time.process_time(), time.perf_counter()
    watch = asyncio.create_task(_most_private_mb())
    await _follow(url, store)
    seconds, own_cpu_s = time.perf_counter() - began, time.process_time() - own_cpu_s
    server_cpu_s, peak_mb = _cpu_s(main) - server_cpu_s, _peak_mb()
    watch.cancel()
    private_mb = await watch
    held = await connection.fetchval("SELECT count(*) FROM candles")
    await connection.close()
    store.close()
    if held != ROWS:
        raise RuntimeError(f"{held} candles came, not {ROWS}")
    return _Took(seconds, own_cpu_s, server_cpu_s, peak_mb, private_mb)


async def _follow(url: str, store: LmdbStore) -> None:
    """Feed a database until it has all."""

    async def on_store(call: Callable[..., Any], *args: object) -> object:
        return await asyncio.get_running_loop().run_in_executor(None, partial(call, *args))

    output = PostgresOutput(url, clock=SystemClock())
    box = Outbox(output, store, clock=SystemClock(), tell=lambda _: None, on_store=on_store)
    running = asyncio.create_task(box.run())
    if not await box.drain(3600):
        raise RuntimeError(f"it did not catch up: {box.status()}")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def _main_process(connection: asyncpg.Connection) -> int:
    """The server's process that starts all others."""
    own = await connection.fetchval("SELECT pg_backend_pid()")
    return int(_fields(own)[1])


def _cpu_s(main: int) -> float:
    """Seconds of a server's processes, those that have ended too."""
    ticks = sum(map(int, _fields(main)[11:15]))
    for name in (place.name for place in Path("/proc").iterdir()):
        with suppress(OSError):
            if name.isdigit() and int((fields := _fields(int(name)))[1]) == main:
                ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _fields(pid: int) -> list[str]:
    """Of a process, from its state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


async def _most_private_mb() -> float:
    """The most memory that is no file's, until cancelled."""
    most = 0.0
    try:
        while True:
            most = max(most, _status_mb("RssAnon"))
            await SystemClock().sleep(0.02)
    except asyncio.CancelledError:
        return most


def _forget_peak() -> None:
    with suppress(OSError):  # not Linux: the peak is that of the whole run
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> float:
    return _status_mb("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _status_mb(name: str) -> float:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0
