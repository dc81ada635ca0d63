"""Candles merged into a real PostgreSQL, and into a real TimescaleDB: the write rule, whatever is held and whoever writes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import asyncpg
import numpy as np
import numpy.typing as npt
import pytest

from candlewick.market import DAY, MINUTE, Series
from candlewick.stores import rule
from candlewick.stores.postgres import statements
from candlewick.stores.postgres.merge import Merged, arrays, merge, merge_fresh
from candlewick.stores.postgres.rows import COLUMNS, NUMERICS, copy_parts
from candlewick.stores.store import ROW, Rows, Source
from tests.conftest import migrated
from tests.servers.postgres import DEBIAN
from tests.unit.stores.postgres.test_copy_rows import doubles

BTC, ETH, DAILY = Series.parse("spot:BTCUSDT:1m"), Series.parse("usdm:ETHUSDT:1m"), Series.parse("spot:BTCUSDT:1d")
NAMES = {1: BTC, 2: ETH, 3: DAILY}
START = 1_700_006_400_000_000 // DAY * DAY
MANY = 3_000


def candles(slots: npt.ArrayLike, source: Source = Source.REST, *, number: int = 1, close: float = 100.25) -> Rows:
    rows = np.zeros(np.size(slots), ROW)
    rows["series"], rows["source"] = number, source
    rows["open_time"] = START + np.asarray(slots, np.int64) * MINUTE
    rows["close_time"] = rows["open_time"] + MINUTE - 1000
    rows["open"], rows["high"], rows["low"], rows["close"] = 100.5, 100.75, 100.125, close
    rows["volume"], rows["quote_volume"], rows["trades"] = 12.12345, 1234.12345678, 7
    rows["taker_buy_volume"], rows["taker_buy_quote_volume"] = 1e-8, 617.06172839
    return rows


def run(url: str, story: Callable[[asyncpg.Connection], Awaitable[None]]) -> None:
    async def whole() -> None:
        connection = await asyncpg.connect(url)
        try:
            await story(connection)
        finally:
            await connection.close()

    asyncio.run(whole())


async def held(connection: asyncpg.Connection, table: str = "candles") -> list[tuple[Any, ...]]:
    """What is there, as it would be written: COPY's own bytes, row by row."""
    found = await connection.fetch(f"SELECT * FROM {table} ORDER BY market, symbol, interval, time, source")
    return [tuple(row)[2:] if table == "candle_revisions" else tuple(row) for row in found]


async def expected(connection: asyncpg.Connection, rows: Rows) -> list[tuple[Any, ...]]:
    """The same of rows, by way of a table without any rule."""
    await connection.execute("CREATE TEMP TABLE IF NOT EXISTS expected (LIKE candles); TRUNCATE expected")

    async def data() -> AsyncIterator[bytes]:
        yield b"".join(copy_parts(rows, NAMES))

    await connection.copy_to_table("expected", source=data(), format="binary")
    found = await connection.fetch("SELECT * FROM expected ORDER BY market, symbol, interval, time, source")
    return [tuple(row) for row in found]


@pytest.fixture(params=["newest", "oldest", "timescale"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database with the schema: on the newest and the oldest PostgreSQL, and on TimescaleDB."""
    if request.param == "timescale":
        address: str = request.getfixturevalue("timescale_url")
        migrated(address)
        yield address
    elif request.param == "newest":
        yield request.getfixturevalue("schema_url")
    else:
        server = request.getfixturevalue("postgres_servers")(DEBIAN)
        server.revive()
        address = server.new_database()
        migrated(address)
        yield address
        server.drop_database(address)


class Interfering:
    """A connection; once, after a statement that begins so, something else happens."""

    def __init__(self, connection: asyncpg.Connection, begins: str, happens: Callable[[], Awaitable[object]]) -> None:
        self._connection, self._begins, self._happens = connection, begins, happens
        self.happened = 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return getattr(self._connection, name)

    async def execute(self, sql: str, *args: object) -> str:
        done: str = await self._connection.execute(sql, *args)
        if sql.startswith(self._begins) and not self.happened:
            self.happened += 1
            await self._happens()
        return done


def test_merge_follows_the_write_rule(url: str) -> None:
    """Whatever two sources say, one after the other, few rows or many: the database holds what the rule says."""

    async def story(connection: asyncpg.Connection) -> None:
        random = np.random.default_rng(3)
        truth: dict[tuple[int, int], Rows] = {}
        revised = 0
        for step in range(8):
            size, spread = [(3, 20), (60, 90), (MANY, 2 * MANY)][step % 3]
            slots = np.sort(random.choice(spread, size, replace=False))
            parts = [candles(slots, Source(int(random.integers(1, 4))), number=int(random.integers(1, 3)))]
            rows = np.concatenate(parts)
            rows["source"] = random.integers(1, 4, len(rows))
            rows["trades"] += random.integers(0, 2, len(rows))
            changed = inserted = 0
            for row in rows:
                key = int(row["series"]), int(row["open_time"])
                new = np.array([row], ROW)
                if key not in truth:
                    inserted, truth[key] = inserted + 1, new
                    continue
                outcome = rule.judge(truth[key], new)
                changed += int(outcome[0] == rule.Outcome.CHANGED)
                if rule.to_keep(outcome)[0]:
                    truth[key] = new
            done = await (merge if step % 2 else merge_fresh)(connection, rows, NAMES)
            revised += changed
            assert done == Merged(inserted, changed, len(rows) - inserted - changed)
        assert await held(connection) == await expected(connection, np.concatenate(list(truth.values())))
        assert await connection.fetchval("SELECT count(*) FROM candle_revisions") == revised > 0

    run(url, story)


@pytest.mark.parametrize("field", [name for name in ROW.names or () if name not in {"series", "source", "open_time"}])
def test_difference_in_any_column_is_a_difference(schema_url: str, field: str) -> None:
    """A correction of any column replaces the candle, and what it replaced is kept."""

    async def story(connection: asyncpg.Connection) -> None:
        old = candles([5], Source.REST)
        new = old.copy()
        new[field] += {"close_time": -1000, "trades": 1, "high": 0.5, "low": -0.5}.get(field, 0.0001)
        await merge(connection, old, NAMES)
        assert await merge(connection, new, NAMES) == Merged(0, 1, 0)
        assert await merge(connection, new, NAMES) == Merged(0, 0, 1)
        assert await held(connection) == await expected(connection, new)
        assert await held(connection, "candle_revisions") == await expected(connection, old)

    run(schema_url, story)


def test_late_and_corrected_candles_reach_compressed_chunks(timescale_url: str) -> None:
    """Chunks that are compressed take candles that were missing and corrections of those that were not, few and many."""
    migrated(timescale_url)

    async def story(connection: asyncpg.Connection) -> None:
        every = candles(range(2 * MANY))
        await merge_fresh(connection, np.concatenate((every[::2], candles(range(50), number=2))), NAMES)
        for chunk in await connection.fetch("SELECT show_chunks('candles')::text"):
            await connection.execute(f"SELECT compress_chunk('{chunk[0]}')")
        late = every[1:2]
        wrong = candles([10], close=100.375)
        assert await merge(connection, late, NAMES) == Merged(1, 0, 0)
        assert await merge(connection, wrong, NAMES) == Merged(0, 1, 0)
        assert await merge(connection, every, NAMES) == Merged(MANY - 1, 1, MANY)
        assert await merge(connection, every, NAMES) == Merged(0, 0, 2 * MANY)
        both = np.concatenate((every, candles(range(50), number=2)))
        assert await held(connection) == await expected(connection, both)

    run(timescale_url, story)


@pytest.mark.parametrize("many", [False, True])
def test_two_writers_at_once_leave_what_the_rule_says(schema_url: str, many: bool) -> None:
    """Two merge overlapping candles at the same time, again and again: no error, no row twice, none lost."""
    size = MANY if many else 40

    async def writer(seed: int, source: Source) -> None:
        connection = await asyncpg.connect(schema_url)
        random = np.random.default_rng(seed)
        try:
            for _ in range(4 if many else 25):
                slots = np.sort(random.choice(2 * size, size, replace=False))
                await merge(
                    connection, candles(slots, source, close=100.25 if source == Source.LIVE else 100.375), NAMES
                )
        finally:
            await connection.close()

    async def both() -> None:
        await asyncio.gather(writer(1, Source.LIVE), writer(2, Source.ARCHIVE))

    asyncio.run(both())

    async def story(connection: asyncpg.Connection) -> None:
        random = np.random.default_rng(2)
        settled = {int(slot) for _ in range(4 if many else 25) for slot in random.choice(2 * size, size, replace=False)}
        found = await connection.fetch("SELECT time, source, close FROM candles")
        assert {row["time"].timestamp() for row in found if row["source"] == Source.ARCHIVE} == {
            (START + slot * MINUTE) / 1e6 for slot in settled
        }
        assert all(str(row["close"]) == ("100.25" if row["source"] == Source.LIVE else "100.375") for row in found)

    run(schema_url, story)


def test_what_another_writer_changed_is_compared_again(schema_url: str) -> None:
    """A row that is changed between the look and the writing is not overwritten by what was decided before."""

    async def story(connection: asyncpg.Connection) -> None:
        other = await asyncpg.connect(schema_url)
        await merge(connection, candles([1, 2], Source.LIVE), NAMES)
        begins = statements.COLLECT_CHANGES.partition("{")[0]
        between = Interfering(
            connection, begins, lambda: merge(other, candles([1], Source.ARCHIVE, close=100.5), NAMES)
        )
        assert await merge(between, candles([1, 2], Source.LIVE, close=100.625), NAMES) == Merged(0, 1, 1)
        assert between.happened
        await other.close()
        found = await connection.fetch("SELECT source, close::text FROM candles ORDER BY time")
        assert [tuple(row) for row in found] == [(3, "100.5"), (1, "100.625")]

    run(schema_url, story)


def test_partitions_are_made_for_the_weeks_that_have_candles(schema_url: str) -> None:
    """Candles of far apart years make their own partitions and none between."""

    async def story(connection: asyncpg.Connection) -> None:
        before = await connection.fetchval("SELECT count(*) FROM pg_inherits WHERE inhparent = 'candles'::regclass")
        rows = candles([0, 1, 7 * 1440, 300 * 1440])
        assert (await merge(connection, rows, NAMES)).inserted == 4
        after = await connection.fetchval("SELECT count(*) FROM pg_inherits WHERE inhparent = 'candles'::regclass")
        assert after - before == 3

    run(schema_url, story)


def test_every_double_comes_back_from_the_database(url: str) -> None:
    """Written by COPY or by statement, a double is the same decimal in the database, and the same double afterwards."""

    async def story(connection: asyncpg.Connection) -> None:
        values = doubles()
        values = np.abs(values[values != 0])[:: max(1, len(values) // 16_000)]
        table = np.resize(values, (-(-len(values) // 8), 8))
        rows = np.zeros(len(table), ROW)
        rows["series"] = 1
        rows["open_time"] = START + np.arange(len(rows)) * MINUTE
        for at, name in enumerate(NUMERICS):
            rows[name] = table[:, at]
        await connection.execute("CREATE TEMP TABLE plain (LIKE candles)")

        async def data() -> AsyncIterator[bytes]:
            yield b"".join(copy_parts(rows, NAMES))

        await connection.copy_to_table("plain", source=data(), format="binary")
        given = statements.GIVEN
        await connection.execute(f"INSERT INTO plain {given}", *arrays(rows, NAMES))
        columns = ", ".join(f"{name}::text" for name in COLUMNS)
        found = await connection.fetch(f"SELECT DISTINCT {columns} FROM plain ORDER BY time")
        assert len(found) == len(rows), "COPY and the statement wrote different decimals"
        numbers = np.array([[float(text) for text in row[4:12]] for row in found])
        assert (numbers == table).all()

    run(url, story)
