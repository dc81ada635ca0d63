"""The shared database as a store: faults, threads, several writers, versions, and what numbers become in SQL."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import pytest

from candlewick.clock import SystemClock
from candlewick.errors import StoreDown, StoreError, UsageError
from candlewick.market import DAY, MINUTE, Interval, Market, Series, Span
from candlewick.outputs.output import Batch, Position
from candlewick.outputs.postgres import PostgresOutput
from candlewick.stores import open_store
from candlewick.stores.postgres.store import PostgresReader, PostgresStore
from candlewick.stores.store import Absence, ChangeRange, Reason, Rows, Source
from tests.conftest import execute, migrated
from tests.integration.shared_database.seeding import MINUTES, T0, fill, walk
from tests.servers.postgres import PostgresServer


def minutes(store: PostgresStore, count: int, source: Source = Source.REST, first: int = 0) -> Rows:
    return walk(store, MINUTES, range(T0 + first * MINUTE, T0 + (first + count) * MINUTE, MINUTE), source, 7)


@pytest.fixture
def store(schema_url: str) -> Iterator[PostgresStore]:
    """A shared database, open for writing."""
    opened = PostgresStore.open(schema_url, write=True)
    yield opened
    opened.close()


def fetched(url: str, sql: str) -> list[Any]:
    async def ask() -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            return list(await connection.fetch(sql))
        finally:
            await connection.close()

    return asyncio.run(ask())


def test_every_supported_version_holds_the_same(each_postgres_url: str) -> None:
    """What a store is given comes back bit by bit from the oldest version and from the newest."""
    migrated(each_postgres_url)
    with_numbers = open_store(each_postgres_url, write=True)
    fill(with_numbers)
    rows = with_numbers.read(MINUTES)
    assert len(rows) == 4_253
    assert with_numbers.write(rows).unchanged == len(rows)
    assert len(with_numbers.revisions(MINUTES)) > 25
    with_numbers.close()


def test_compressed_candles_are_read_and_written(timescale_url: str) -> None:
    """In TimescaleDB compressed chunks read as they did, take corrections and late candles, and count right."""
    migrated(timescale_url)
    store = PostgresStore.open(timescale_url, write=True)
    rows = minutes(store, 3_000)
    late = rows[1_000:1_005].copy()
    store.write(np.delete(rows, slice(1_000, 1_005)))
    compressed = fetched(timescale_url, "SELECT count(compress_chunk(c)) FROM show_chunks('candles') AS c")[0][0]
    assert compressed > 0
    corrected = rows[:50].copy()
    corrected["trades"] += 1
    result = store.write(np.concatenate((corrected, late)))
    assert (result.inserted, len(result.changed)) == (5, 50)
    rows[:50] = corrected
    assert store.read(MINUTES).tobytes() == rows.tobytes()
    assert store.read(MINUTES, last=7).tobytes() == rows[-7:].tobytes()
    (counted,), (quick,) = store.series(), store.series(counted=False)
    assert counted == (MINUTES, 3_000, T0, T0 + 2_999 * MINUTE)
    assert quick == counted._replace(rows=1)
    assert len(store.revisions(MINUTES)) == 50
    store.close()


def test_reading_goes_on_after_the_server_was_killed(
    postgres_server: PostgresServer, schema_url: str, store: PostgresStore
) -> None:
    """While it is down each call says so at once; once it is back the same reader answers, with all that was committed."""
    rows = minutes(store, 500)
    store.write(rows)
    postgres_server.kill()
    for _ in range(2):
        with pytest.raises(StoreDown, match="does not answer"):
            store.read(MINUTES)
    postgres_server.start()
    assert store.read(MINUTES).tobytes() == rows.tobytes()
    assert store.write(rows).unchanged == 500


def test_write_that_fails_keeps_nothing(schema_url: str, store: PostgresStore) -> None:
    """A row that the database refuses is refused in its words, and nothing of the call is kept."""
    rows = minutes(store, 10)
    rows["volume"][5] = -1.0
    with pytest.raises(StoreError, match="candles_1m_volume_positive"):
        store.write(rows)
    assert len(store.read(MINUTES)) == 0
    rows["volume"][5] = np.inf
    with pytest.raises(UsageError, match="infinite value"):
        store.write(rows)
    rows["volume"][5] = 1.0
    rows["series"][5] = 7
    with pytest.raises(UsageError, match="no series has number 7"):
        store.write(rows)
    assert store.series() == [(MINUTES, 0, None, None)]


def test_zero_has_no_sign(schema_url: str, store: PostgresStore) -> None:
    """What was written as -0.0 is 0.0, also when it is written again."""
    rows = minutes(store, 1)
    rows["taker_buy_volume"] = -0.0
    assert store.write(rows).inserted == 1
    assert store.write(rows).unchanged == 1
    assert str(store.read(MINUTES)["taker_buy_volume"][0]) == "0.0"


def test_store_is_no_source_for_outputs(schema_url: str, store: PostgresStore) -> None:
    """It logs no changes and says so; its name is its own and stays."""
    with pytest.raises(StoreError, match="cannot feed outputs: they follow a local store"):
        store.log_changes()
    assert store.change_range() == ChangeRange(1, 0)
    store.write(minutes(store, 3))
    assert store.changes(0, 10) == []
    store.drop_changes(5)
    again = PostgresStore.open(schema_url, write=True)
    assert again.identity() == store.identity()
    assert len(bytes.fromhex(store.identity())) == 16
    again.close()


def test_writers_agree_on_numbers_and_rows(schema_url: str) -> None:
    """Several stores that write the same series at once give each series one number, and keep each candle once."""
    names = [Series(Market.SPOT, f"S{at}USDT", Interval("1m")) for at in range(5)]

    def run(seed: int) -> tuple[list[int], int]:
        store = PostgresStore.open(schema_url, write=True)
        numbers = [store.number(one) for one in (names if seed % 2 else names[::-1])]
        inserted = 0
        for part in range(0, 300, 60):
            rows = minutes(store, 60, first=part)
            for series in names:
                rows["series"] = store.number(series)
                inserted += store.write(rows).inserted
        store.close()
        return sorted(numbers), inserted

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(run, range(4)))
    assert [numbers for numbers, _ in done] == [done[0][0]] * 4
    assert sum(inserted for _, inserted in done) == 5 * 300
    reader = PostgresStore.open(schema_url, write=False)
    assert {one.series: one.rows for one in reader.series() if one.rows} == dict.fromkeys(names, 300)
    assert len({*done[0][0]}) == 5
    reader.close()


def test_threads_share_a_reader(schema_url: str, store: PostgresStore) -> None:
    """Many threads ask at once, each gets its own answer, with no more connections than the pool has."""
    rows = minutes(store, 400)
    store.write(rows)
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda at: store.read(MINUTES, T0 + at * MINUTE, T0 + (at + 3) * MINUTE), range(200)))
    assert all(part.tobytes() == rows[at : at + 3].tobytes() for at, part in enumerate(found))
    open_now = fetched(schema_url, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'candlewick'")
    assert 1 <= open_now[0][0] <= 4


def test_closing_ends_its_thread_and_connections(schema_url: str) -> None:
    """After close, and where a reader is forgotten without it, no thread and no connection is left."""
    before = threading.active_count()
    reader = PostgresReader.at(schema_url)
    forgotten = PostgresReader.at(schema_url, application="forgotten")
    reader.close()
    reader.close()
    with pytest.raises(StoreError, match="closed"):
        reader.absences(MINUTES)
    del forgotten
    gc.collect()
    assert threading.active_count() == before
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name IN ('candlewick', 'forgotten')"
    assert fetched(schema_url, count)[0][0] == 0


def test_other_process_is_told_to_open_it_itself(schema_url: str) -> None:
    """A child of a fork cannot use its parent's connections; it hears so at once and the parent goes on."""
    script = (
        "import os, sys, warnings; warnings.simplefilter('ignore')\n"
        "from candlewick.stores import open_store\n"
        "store = open_store(sys.argv[1], write=False)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    try: store.series()\n"
        "    except Exception as error: print(type(error).__name__, error, flush=True)\n"
        "    store.close(); os._exit(0)\n"
        "os.waitpid(pid, 0); print(store.series()); store.close()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, schema_url], capture_output=True, text=True, check=True, timeout=60
    )
    first, second = done.stdout.splitlines()
    assert first.startswith("StoreError")
    assert "was opened in process" in first
    assert second == "[]"


def test_interrupt_ends_a_long_question(schema_url: str) -> None:
    """Ctrl-C while the database works is heard at once, and the statement is cancelled."""
    script = (
        "import sys\n"
        "from candlewick.stores.postgres.store import PostgresReader\n"
        "reader = PostgresReader.at(sys.argv[1], application='interrupted')\n"
        "async def wait(connection):\n"
        "    print('asked', flush=True)\n"
        "    await connection.execute('SELECT pg_sleep(60)')\n"
        "try: reader._session.ask(wait)\n"
        "except KeyboardInterrupt: print('interrupted')\n"
        "reader.close()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, schema_url], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "asked\n"
        os.kill(process.pid, signal.SIGINT)
        assert process.communicate(timeout=30)[0] == "interrupted\n"
    question = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'interrupted'"
    until = time.monotonic() + 40  # a session ends a moment after its process; the statement would take 60 s
    while fetched(schema_url, question)[0][0]:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_words_of_others_are_found_out(schema_url: str, store: PostgresStore) -> None:
    """A reason or a series that is none, put there by a statement of SQL, is named with what to do."""
    store.set_absences(MINUTES, [Absence(Span(T0, T0 + DAY), Reason.DELISTED, "{}")])
    execute(schema_url, "UPDATE gap_reasons SET reason = 'holiday'")
    with pytest.raises(StoreError, match=r"'holiday' is not a valid Reason.*correct that row"):
        store.absences(MINUTES)
    execute(schema_url, "INSERT INTO series (number, market, symbol, interval) VALUES (9, 'moon', 'BTCUSDT', '1m')")
    with pytest.raises(StoreError, match="moon:BTCUSDT:1m, which is no series"):
        store.series()


def test_feeder_and_gap_handler_keep_each_other_s_reasons(schema_url: str, store: PostgresStore) -> None:
    """What one of them records is replaced by itself alone; where both know something, what is final counts."""

    def absence(first: int, end: int, reason: Reason, who: str) -> Absence:
        return Absence(Span(T0 + first * MINUTE, T0 + end * MINUTE), reason, f'{{"asked": "{who}"}}')

    def feed(*absences: Absence) -> None:
        async def write() -> None:
            output = PostgresOutput(schema_url, clock=SystemClock())
            position = await output.open("a store")
            sequence = 1 if position is None else position.sequence + 1
            await output.write(Batch(minutes(store, 0), {}, {MINUTES: absences}, {}, Position(sequence), fresh=False))
            await output.close()

        asyncio.run(write())

    fed, unsure = absence(0, 5, Reason.DELISTED, "feeder"), absence(20, 30, Reason.PENDING, "feeder")
    proved = absence(22, 40, Reason.EXCHANGE_OUTAGE, "gap handler")
    feed(fed, unsure)
    assert store.absences(MINUTES) == [fed, unsure]
    read_and_proved = [fed, absence(20, 22, Reason.PENDING, "feeder"), proved]
    store.set_absences(MINUTES, read_and_proved)
    assert store.absences(MINUTES) == read_and_proved
    feed(fed)
    assert store.absences(MINUTES) == [fed, proved]
    feed()
    assert store.absences(MINUTES) == [proved]
    store.set_absences(MINUTES, [])
    assert store.absences(MINUTES) == []


def test_names_are_not_statements(schema_url: str, store: PostgresStore) -> None:
    """A symbol with quotes in it is a symbol."""
    strange = MINUTES._replace(symbol="O'BRIEN\\'; DROP TABLE candles; --")
    rows = minutes(store, 2)
    rows["series"] = store.number(strange)
    store.write(rows)
    assert store.read(strange).tobytes() == rows.tobytes()
    assert len(store.read(MINUTES)) == 0
