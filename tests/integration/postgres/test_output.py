"""The shared database as an output: what only SQL has, beside tests/contracts/test_output_contract.py."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import msgspec
import numpy as np
import pytest

from candlewick.clock import SystemClock
from candlewick.errors import OutputDown, OutputError
from candlewick.market import MINUTE, Series, Span
from candlewick.outputs.output import Batch, Position
from candlewick.outputs.postgres import PostgresOutput
from candlewick.stores.provenance import GapRecord
from candlewick.stores.store import ROW, Rows
from tests.servers.postgres import PostgresServer

SERIES = Series.parse("spot:BTCUSDT:1m")
START = 1_700_006_400_000_000


def candles(*slots: int) -> Rows:
    rows = np.zeros(len(slots), ROW)
    rows["source"] = 2
    rows["open_time"] = START + np.array(slots, np.int64) * MINUTE
    rows["close_time"] = rows["open_time"] + MINUTE - 1000
    rows["open"] = rows["high"] = rows["low"] = rows["close"] = 100.5
    return rows


def batch(rows: Rows, sequence: int = 1, *, fresh: bool = False, **states: bytes) -> Batch:
    named = {key.replace("_", ":", 1): value for key, value in states.items()}
    return Batch(rows, {0: SERIES}, {}, named, Position(sequence), fresh)


def run(url: str, story: Callable[[PostgresOutput], Awaitable[None]], least_time: int = 0) -> None:
    async def whole() -> None:
        output = PostgresOutput(url, clock=SystemClock(), least_time=lambda: least_time)
        try:
            await story(output)
        finally:
            await output.close()

    asyncio.run(whole())


async def asked(url: str, sql: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(sql)]
    finally:
        await connection.close()


TIMES = "SELECT extract(epoch FROM time)::bigint FROM candles ORDER BY time"


def slots(found: list[tuple[Any, ...]]) -> list[int]:
    return [(int(row[0]) * 1_000_000 - START) // MINUTE for row in found]


@pytest.mark.parametrize("fresh", [False, True])
def test_one_bad_row_in_a_thousand_is_found_and_the_rest_is_kept(schema_url: str, fresh: bool) -> None:
    """It is refused in the database's words and leaves a row in its log; its neighbours and the position are there."""

    async def story(output: PostgresOutput) -> None:
        rows = candles(*range(1000))
        rows["high"][437] = 1.0
        assert await output.open("a" * 32) is None
        refused = await output.write(batch(rows, 7, fresh=fresh))
        assert [int(one.what["open_time"][0]) for one in refused] == [START + 437 * MINUTE]
        assert "candles_1m_high_check" in refused[0].words
        assert slots(await asked(schema_url, TIMES)) == [slot for slot in range(1000) if slot != 437]
        assert await output.open("a" * 32) == Position(7)
        logged = await asked(schema_url, "SELECT event_type, source, error_message FROM data_quality_logs")
        assert [row[:2] for row in logged] == [("error", "data_feeder")]
        assert "2023-11-15T07:17:00Z" in logged[0][2]

    run(schema_url, story)


def test_row_that_a_trigger_raises_at_is_refused(schema_url: str) -> None:
    """What a trigger of the operator does not want is that row's fault, not the server's."""

    async def story(output: PostgresOutput) -> None:
        await asked(
            schema_url,
            "CREATE OR REPLACE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.number_of_trades = 13"
            " THEN RAISE EXCEPTION 'not on Sundays'; END IF; RETURN NEW; END $$",
        )
        await asked(schema_url, "CREATE TRIGGER no BEFORE INSERT ON candles FOR EACH ROW EXECUTE FUNCTION no()")
        rows = candles(1, 2, 3)
        rows["trades"][1] = 13
        await output.open("a" * 32)
        refused = await output.write(batch(rows))
        assert [one.words for one in refused] == ["not on Sundays"]
        assert slots(await asked(schema_url, TIMES)) == [1, 3]

    run(schema_url, story)


def test_rows_that_retention_would_drop_are_not_written(schema_url: str) -> None:
    """The output passes over them, they do not count as written, and its position goes on."""

    async def story(output: PostgresOutput) -> None:
        await output.open("a" * 32)
        assert await output.write(batch(candles(1, 2, 3))) == []
        assert await output.write(batch(candles(0), 2)) == []
        assert slots(await asked(schema_url, TIMES)) == [2, 3]
        assert output.written == 2
        assert await output.open("a" * 32) == Position(2)

    run(schema_url, story, least_time=START + 2 * MINUTE)


def test_gap_states_become_rows_of_the_quality_log(schema_url: str) -> None:
    """A gap is one row, resolved when the state says so; it is no provenance; one that cannot be read is refused."""

    def record(closed_at: int | None) -> bytes:
        span = Span(START, START + 5 * MINUTE)
        return msgspec.json.encode(
            GapRecord(str(SERIES), span, 5, START, "disconnect", closed_at, 5 if closed_at else 0)
        )

    async def story(output: PostgresOutput) -> None:
        await output.open("a" * 32)
        await output.write(batch(candles(1), gap_one=record(None)))
        await output.write(batch(candles(2), 2, gap_one=record(START + 9 * MINUTE), listing_x=b"{}"))
        assert [one.what for one in await output.write(batch(candles(3), 3, gap_two=b"?"))] == ["gap:two"]
        rows = await asked(schema_url, "SELECT event_type, resolved FROM data_quality_logs ORDER BY id")
        assert rows[:2] == [("gap_detected", True), ("gap_backfilled", True)]
        assert await asked(schema_url, "SELECT key FROM provenance") == [("listing:x",)]

    run(schema_url, story)


def test_writer_killed_at_any_statement_leaves_all_or_nothing(schema_url: str, postgres_server: PostgresServer) -> None:
    """The server ends the session in the middle of a batch, wherever that is: rows and position are both there or not."""

    async def story(output: PostgresOutput) -> None:
        await output.open("a" * 32)
        await output.write(batch(candles(0), 1))
        done, sequence = [0], 1
        for step in range(12):
            sequence += 1
            rows = candles(*range(sequence * 10, sequence * 10 + 5))
            writing = asyncio.create_task(output.write(batch(rows, sequence, listing_x=b"%d" % sequence)))
            for _ in range(step * 3):
                await SystemClock().sleep(0)
            await asked(
                schema_url,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'candlewick' AND datname = current_database()",
            )
            failed = isinstance((await asyncio.gather(writing, return_exceptions=True))[0], OutputDown)
            position = None
            while position is None:
                try:
                    position = await output.open("a" * 32)
                except OutputDown:
                    failed = True
            if position.sequence == sequence:
                done += range(sequence * 10, sequence * 10 + 5)
            else:
                assert failed
            assert slots(await asked(schema_url, TIMES)) == done

    run(schema_url, story)


@pytest.mark.parametrize("rows", [1, 5, 50, 3_000], ids=lambda rows: f"{rows} rows")
def test_position_that_was_moved_by_somebody_else_is_noticed(schema_url: str, rows: int) -> None:
    """A batch is taken in only where the database stands where it was left, however the batch is written."""

    async def story(output: PostgresOutput) -> None:
        await output.open("a" * 32)
        await output.write(batch(candles(0), 1))
        await output.write(batch(candles(1), 2))
        await asked(schema_url, """UPDATE output_positions SET position = replace(position, '2', '1') RETURNING 1""")
        with pytest.raises(OutputDown, match="restored"):
            await output.write(batch(candles(*range(2, 2 + rows)), 3))
        assert await output.open("a" * 32) == Position(1)
        assert await output.write(batch(candles(*range(2, 2 + rows)), 3)) == []
        assert slots(await asked(schema_url, TIMES)) == list(range(2 + rows))
        assert await output.open("a" * 32) == Position(3)

    run(schema_url, story)


def test_output_without_a_schema_says_what_to_do(database_url: str) -> None:
    """A database without tables is an error that waiting does not mend, and names the command that does."""

    async def story(output: PostgresOutput) -> None:
        with pytest.raises(OutputError, match="candlewick schema init") as raised:
            await output.open("a" * 32)
        assert not isinstance(raised.value, OutputDown)

    run(database_url, story)


def test_output_comes_back_after_the_server_was_killed(schema_url: str, postgres_server: PostgresServer) -> None:
    """A batch that met a dead server is an OutputDown, and goes through once the server is up again."""

    async def story(output: PostgresOutput) -> None:
        await output.open("a" * 32)
        await output.write(batch(candles(1)))
        postgres_server.kill()
        with pytest.raises(OutputDown):
            await output.write(batch(candles(2), 2))
        with pytest.raises(OutputDown):
            await output.open("a" * 32)
        postgres_server.start()
        assert await output.open("a" * 32) == Position(1)
        assert await output.write(batch(candles(2), 2)) == []
        assert slots(await asked(schema_url, TIMES)) == [1, 2]

    run(schema_url, story)
