"""The shared database loses nothing and has nothing twice, wherever the wire to it breaks; nor in compressed chunks."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import asyncpg
import msgspec
import pytest

import candlewick
from candlewick.analysis.resample import resample
from candlewick.clock import SystemClock
from candlewick.errors import OutputDown, OutputError
from candlewick.market import MINUTE, Interval, Span
from candlewick.outputs import feed
from candlewick.outputs.outbox import OutboxStatus
from candlewick.outputs.output import Batch, Position
from candlewick.stores.lmdb import LmdbStore
from candlewick.stores.memory import MemoryStore
from candlewick.stores.postgres.connection import Limits
from candlewick.stores.store import Absence, Reason, Source
from tests.acceptance.feeder_under_fire import (
    FOLLOWED,
    INTERVALS,
    OLD,
    SYMBOLS,
    Range,
    hold_history,
    is_whole,
    market_now,
    memory_mb,
    past,
    write_faults,
)
from tests.acceptance.feeding import feeding, health, query, wait_until_level
from tests.acceptance.processes import Child, ask, simulated, url_of, wait_for
from tests.acceptance.sharing import CURE, MINUTES, POISON, SERIES, START, MortalOutput, Story, audit, positions_of
from tests.acceptance.wire import Break, Cut, Wire
from tests.conftest import execute, migrated
from tests.contracts.output_bench import MANY_S, Faults, Run, run_killed, running
from tests.servers.postgres import PostgresServer

HOWS = (
    *(Break.BEFORE, Break.HALF, Break.AFTER) * 3, *(Break.LATE,) * 3, Break.ORPHANED, Break.STUCK, Break.KILLED,
)  # fmt: skip


def _life(store: LmdbStore, url: str, story: Story, steps: int, end: Callable[[], None] | None = None) -> Run | None:
    """One process that writes the store and feeds the database: killed by `end` in the midst of it, or level at its end."""
    faults = Faults()

    async def whole(run: Run) -> None:
        await story.go_on(run, steps)
        if end is not None:
            faults.dead = True
            end()
        assert await run.box.drain(MANY_S)

    return run_killed(store, MortalOutput(url, clock=SystemClock()), faults, whole)


def _break_everywhere(folder: Path, url: str, server: PostgresServer, seed: int, cuts: int) -> Counter[Break]:
    """Tell a story over a wire that is cut so many times, over several lives; the database ends up with the store."""
    draw, story, left = Random(seed), Story(seed), cuts

    def kill() -> None:
        server.kill()
        server.start()

    def next_cut() -> Cut | None:
        nonlocal left
        if not left:
            return None
        left -= 1
        return Cut(draw.randint(1, draw.choice((8, 150))), draw.choice(HOWS), draw.uniform(0.0, 0.05))

    path, poisoned = folder / "store", False
    store = LmdbStore.open(path, write=True)
    story.history(store, 400)
    with Wire(server.port, kill=kill) as wire:
        wire.arm(next_cut)
        while len(wire.broken) < cuts:
            end = draw.choice((None, wire.sever))
            _life(store, wire.url(url), story, draw.randint(5, 40), end)
            store.close()
            store = LmdbStore.open(path, write=True)
            if draw.random() < 0.4:
                _insist(url, CURE if poisoned else POISON)
                poisoned = not poisoned
        wire.disarm()
        _insist(url, CURE)
        run = _life(store, wire.url(url), story, 5)
        assert run is not None
        status = run.box.status()
        assert (status.behind_rows, status.connected, status.error) == (0, True, None)
        assert store.states("refused:") == {}
        wrong = audit(store, url).wrong
        assert wrong == [], f"seed {seed}, cut at {wire.broken}"
        broken = Counter(how for _, how in wire.broken)
    store.close()
    return broken


def _insist(url: str, statement: str) -> None:
    """Execute a statement at a server that may just be starting again."""
    until = time.monotonic() + 90.0
    while True:
        try:
            execute(url, statement)
        except (OSError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError):
            assert time.monotonic() < until
            time.sleep(0.02)
        else:
            return


@pytest.fixture
def small_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loads of a few rows: a snapshot and what is caught up with are many transactions."""
    monkeypatch.setattr(feed, "MOST_ROWS", 60)
    monkeypatch.setattr(feed, "CHANGES_AT_ONCE", 16)


@pytest.mark.usefixtures("small_loads")
def test_wire_that_breaks_anywhere_loses_nothing(
    tmp_path: Path, schema_url: str, postgres_server: PostgresServer
) -> None:
    """Ten cuts between any two statements and answers of a random story: store and database are equal, nothing is twice."""
    broken = _break_everywhere(tmp_path, schema_url, postgres_server, seed=1, cuts=10)
    assert broken.total() == 10


@pytest.mark.slow
@pytest.mark.usefixtures("small_loads")
@pytest.mark.parametrize("seed", range(2, 18))
def test_two_hundred_cuts_lose_nothing(
    tmp_path: Path, schema_url: str, postgres_server: PostgresServer, seed: int
) -> None:
    """The same sixteen times, with fifteen cuts each."""
    broken = _break_everywhere(tmp_path, schema_url, postgres_server, seed=seed, cuts=15)
    assert broken.total() == 15


@pytest.mark.parametrize("first", [True, False], ids=["in a transaction", "in one statement"])
def test_stop_is_a_stop_while_the_wire_breaks(schema_url: str, postgres_server: PostgresServer, *, first: bool) -> None:
    """A write that is given up while its connection is lost is given up, and no failure that is worth another attempt."""
    store = MemoryStore()
    before, rows = (Story(1).candles(store, MINUTES, [slot], Source.LIVE) for slot in (0, 1))

    async def stop_and_break(wire: Wire, pieces: int) -> None:
        output = MortalOutput(wire.url(schema_url), clock=SystemClock(), limits=Limits(wait_s=0.5))
        await output.open(store.identity())
        if not first:
            await output.write(Batch(before, {0: MINUTES}, {}, {}, Position(0), fresh=False))
        other = await asyncpg.connect(schema_url)
        async with other.transaction():
            await other.execute("LOCK TABLE candles")
            batch = Batch(rows, {0: MINUTES}, {}, {}, Position(1), fresh=False)
            writing = asyncio.ensure_future(output.write(batch))
            while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                await asyncio.sleep(0.01)  # noqa: TID251 - until it waits there
            cuts = iter([Cut(pieces, Break.BEFORE)])
            wire.arm(lambda: next(cuts, None))
            writing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await writing
        wire.disarm()
        await other.close()
        await output.close()

    with Wire(postgres_server.port, kill=postgres_server.kill) as wire:
        for pieces in range(1, 7):
            asyncio.run(stop_and_break(wire, pieces))
        assert len(wire.broken) >= 3


def test_backlog_is_known_before_the_database_answers(
    tmp_path: Path, schema_url: str, postgres_server: PostgresServer
) -> None:
    """A process that starts while the database is away says how much waits there from before it started."""
    store, story = LmdbStore.open(tmp_path / "store", write=True), Story(1)
    assert _life(store, schema_url, story, 5) is not None
    store.write(story.candles(store, MINUTES, range(5_000, 5_050), Source.LIVE))

    async def look() -> OutboxStatus:
        async with running(store, MortalOutput(schema_url, clock=SystemClock())) as run:
            while run.box.status().error is None:
                await asyncio.sleep(0.01)  # noqa: TID251 - until it was tried
            return run.box.status()

    postgres_server.stop()
    status = asyncio.run(look())
    assert (status.connected, status.behind_rows) == (False, 50)
    store.close()


def test_connection_lost_while_it_takes_no_more_is_noticed(schema_url: str, postgres_server: PostgresServer) -> None:
    """Many candles are on their way, the network takes no more of them, and then it is gone: the write fails at once."""
    batch = Batch(past(0, 100_000, START), {0: OLD}, {}, {}, Position(1), fresh=True)

    async def write(wire: Wire) -> None:
        output = MortalOutput(wire.url(schema_url), clock=SystemClock())
        await output.open("store")
        cuts = iter([Cut(50, Break.STUCK, 0.3)])
        wire.arm(lambda: next(cuts, None))
        async with asyncio.timeout(60.0):
            with pytest.raises(OutputDown):
                await output.write(batch)
            assert await output.open("store") is None
            assert await output.write(batch._replace(rows=batch.rows[:10])) == []
        await output.close()

    with Wire(postgres_server.port, kill=postgres_server.kill) as wire:
        asyncio.run(write(wire))
        assert [how for _, how in wire.broken] == [Break.STUCK]
    assert query(schema_url, "SELECT count(*) FROM candles")[0][0] == 10


def test_commit_of_who_is_gone_changes_nothing_later(schema_url: str, postgres_server: PostgresServer) -> None:
    """A process dies whose COMMIT is still on its way, and the next one begins: what that one writes is what stays."""
    store, key = MemoryStore(), "certificate:one"
    absences = {MINUTES: [Absence(Span(START, START + MINUTE), Reason.DELISTED, "{}")]}
    nothing = Story(1).candles(store, MINUTES, [], Source.LIVE)
    before = Batch(nothing, {}, {}, {}, Position(1), fresh=False)
    first = Batch(nothing, {}, absences, {key: b"1"}, Position(2), fresh=False)
    second = Batch(nothing, {}, {MINUTES: []}, {key: None}, Position(3), fresh=False)

    async def write(url: str, *batches: Batch) -> None:
        output = MortalOutput(url, clock=SystemClock())
        await output.open(store.identity())
        for batch in batches:
            await output.write(batch)

    with Wire(postgres_server.port, kill=postgres_server.kill) as wire:
        asyncio.run(write(wire.url(schema_url), before))
        began = wire.passed
        asyncio.run(write(wire.url(schema_url), first))
        pieces = wire.passed - began
        asyncio.run(write(wire.url(schema_url), second))
        piece = pieces  # how many there are differs a little: what is sent at once may arrive as one
        while len(wire.broken) < 4:  # from the end: the COMMIT is one of them
            cuts = iter([Cut(piece, Break.LATE, 0.5)])
            piece -= 1
            wire.arm(lambda: next(cuts, None))  # noqa: B023 - called before the next round
            with suppress(OutputError):
                asyncio.run(write(wire.url(schema_url), first))
            wire.arm(lambda: None)  # what is late is still to come
            asyncio.run(write(wire.url(schema_url), second))
            wire.disarm()
            assert query(schema_url, "SELECT key FROM provenance UNION ALL SELECT reason FROM gap_reasons") == []
            assert positions_of(schema_url) == [msgspec.to_builtins(Position(3))]


@pytest.mark.usefixtures("small_loads")
def test_late_and_corrected_candles_reach_compressed_chunks(tmp_path: Path, timescale_url: str) -> None:
    """Whatever comes for weeks that are compressed is there once, and aggregates are right once they are refreshed."""
    migrated(timescale_url)
    store, story = LmdbStore.open(tmp_path / "store", write=True), Story(3)
    story.history(store, 400)
    for _ in range(3):
        assert _life(store, timescale_url, story, 40) is not None
        assert audit(store, timescale_url).wrong == []
        execute(
            timescale_url, "SELECT compress_chunk(one, if_not_compressed => true) FROM show_chunks('candles') AS one"
        )
    assert story.done["late"] >= 3
    assert story.done["corrected"] >= 3
    assert asyncio.run(_compressed(timescale_url)) >= 3
    asyncio.run(_refresh(timescale_url))
    assert _wrong_aggregates(store, timescale_url) == []
    assert _life(store, timescale_url, story, 40) is not None
    asyncio.run(_refresh(timescale_url))
    assert _wrong_aggregates(store, timescale_url) == []
    assert audit(store, timescale_url).wrong == []
    store.close()


_COMPARED = ("open_time", "open", "high", "low", "close", "trades")


async def _compressed(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        count = (
            "SELECT count(*) FROM timescaledb_information.chunks WHERE hypertable_name = 'candles' AND is_compressed"
        )
        return int(await connection.fetchval(count))
    finally:
        await connection.close()


async def _refresh(url: str) -> None:
    """All of every continuous aggregate, and not only what is new enough for their policies."""
    connection = await asyncpg.connect(url)
    try:
        names = "SELECT format('%I.%I', view_schema, view_name) FROM timescaledb_information.continuous_aggregates"
        for (name,) in await connection.fetch(names):
            await connection.execute(f"CALL refresh_continuous_aggregate('{name}', NULL, NULL)")
    finally:
        await connection.close()


def _wrong_aggregates(store: LmdbStore, url: str) -> list[str]:
    """Longer candles of the database that are not what ours are, by the candles of the store."""
    wrong = []
    for code in ("5m", "15m", "1h", "4h"):
        rows = query(
            url,
            f"SELECT market, symbol, (extract(epoch FROM time) * 1000000)::bigint, open, high, low, close, number_of_trades,"
            f" candles FROM candles_{code}",  # noqa: S608 - of constants
        )
        theirs = {tuple(row[:3]): (*map(float, row[3:7]), *row[7:]) for row in rows}
        ours = {}
        for series in (one for one in SERIES if one.interval.code == "1m"):
            made = resample(store.columns(series, columns=_COMPARED), series.interval, Interval(code))
            columns = [made.columns[name].tolist() for name in _COMPARED]
            for time_, *values in zip(*columns, made.rows_in.tolist(), strict=True):
                ours[str(series.market), series.symbol, time_] = tuple(values)
        wrong += [
            f"{code} {key}: {theirs.get(key)} is not {ours.get(key)}"
            for key in ours.keys() | theirs.keys()
            if ours.get(key) != theirs.get(key)
        ]
    return wrong


def _fire(folder: Path, server: PostgresServer, database: str, seed: int, hits: int, rows: int) -> Range:
    """Hit a feeder and its database so many times; what the record holds is in the database then, once."""
    record, script = folder / "record", write_faults(folder / "faults.json")
    words = ("--speed", "60", "--seed", str(seed), "--symbols", ",".join(SYMBOLS), "--faults", str(script))
    with simulated(folder / "exchange", *words) as place:
        hold_history(record, rows, market_now(place))
        settings = feeding(place, record, database, SYMBOLS=",".join(SYMBOLS), INTERVALS=",".join(INTERVALS))
        fire = Range(folder, settings, server, database, seed)
        try:
            fire.hit(min(hits, 4), calm=0.0)
            fire.hit(hits - 4)
            fire.settle(record)
        finally:
            fire.feeder.kill()
    store = LmdbStore.open(record, write=False)
    found = audit(store, database)
    store.close()
    assert found.wrong == [], f"seed {seed}, {fire.hits}"
    assert found.rows > rows
    assert _different_frames(record, database) == []
    return fire


def _different_frames(record: Path, database: str) -> list[str]:
    """Series whose candles are others to who opens the one and the other."""
    with candlewick.open(f"lmdb://{record}") as ours, candlewick.open(database) as theirs:
        return [
            str(series)
            for series in (*FOLLOWED, OLD)
            if not ours.candles(series.symbol, series.interval.code).equals(
                theirs.candles(series.symbol, series.interval.code)
            )
        ]


def test_feeder_under_fire_loses_nothing(tmp_path: Path, database_url: str, postgres_server: PostgresServer) -> None:
    """Four hits at feeder and server: every row of the record is in the database once, every gap resolved."""
    fire = _fire(tmp_path, postgres_server, database_url, seed=1, hits=4, rows=60_000)
    assert fire.hits.total() == 4


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "rows"), [(2, 250_000), (3, 20_000), (4, 250_000), (5, 20_000)])
def test_sixty_hits_lose_nothing(
    tmp_path: Path, database_url: str, postgres_server: PostgresServer, seed: int, rows: int
) -> None:
    """Four times fifteen, some while the history that was held before is brought over, which takes its time or does not."""
    fire = _fire(tmp_path, postgres_server, database_url, seed=seed, hits=15, rows=rows)
    assert fire.hits.total() == 15
    assert fire.snapshots or rows < 250_000


@pytest.mark.slow
@pytest.mark.parametrize("restarted", [False, True])
def test_ten_minutes_without_the_database_cost_no_memory(
    tmp_path: Path, database_url: str, postgres_server: PostgresServer, restarted: bool
) -> None:
    """The feeder says what is wrong, holds no more memory than before, killed meanwhile or not, and catches up."""
    record = tmp_path / "record"
    with simulated(tmp_path / "exchange", "--speed", "60", "--symbols", ",".join(SYMBOLS)) as place:
        settings = feeding(place, record, database_url, SYMBOLS=",".join(SYMBOLS), INTERVALS=",".join(INTERVALS))
        feeder = Child(tmp_path, "feeder", **settings)
        try:
            wait_until_level(feeder)
            before = most = memory_mb(feeder)
            postgres_server.kill()
            began = market_now(place)
            while market_now(place) < began + 10 * MINUTE:
                if restarted and market_now(place) > began + 5 * MINUTE:
                    feeder.kill()
                    feeder, restarted = Child(tmp_path, "feeder", **settings), False
                    url_of(feeder)
                most = max(most, memory_mb(feeder))
                time.sleep(0.1)
            document = health(feeder)
            assert (document["status"], document["database_status"]) == ("degraded", "disconnected")
            assert any("postgresql" in reason for reason in document["reasons"])
            assert document["outputs"][0]["error"]
            assert document["outputs"][0]["behind_rows"] >= 2 * 9 * 60  # those from before its start among them
            assert ask(f"{url_of(feeder)}/ready")[0] == 503
            postgres_server.start()
            wait_until_level(feeder)
            most = max(most, memory_mb(feeder))
            wait_for(lambda: is_whole(record), feeder)
            assert feeder.stop() == 0
        finally:
            feeder.kill()
    store = LmdbStore.open(record, write=False)
    found = audit(store, database_url)
    store.close()
    assert found.wrong == []
    assert found.rows > 2 * 10 * 60
    assert most < min(before + 40, 150)
