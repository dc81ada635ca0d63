"""What the roles may and may not do."""

import asyncio
from collections.abc import Iterator

import asyncpg
import numpy as np
import pytest

from candlewick.market import MINUTE, Interval, Market, Series, parse_time
from candlewick.stores.postgres.merge import merge_fresh
from candlewick.stores.postgres.schema import Status, check, migrate
from candlewick.stores.store import ROW, Source
from tests.integration.schema.asked import asked, fetched
from tests.servers.postgres import PostgresServer

WRITES = (
    "INSERT INTO candles_1m (time, open, high, low, close, volume) VALUES ('2026-03-01Z', 1, 2, 1, 2, 3)",
    "INSERT INTO candles_1m (time, open, high, low, close, volume) VALUES ('2041-03-01Z', 1, 2, 1, 2, 3)",
    "SELECT upsert_candle('2026-03-02Z', 1, 2, 1, 2, 3)",
    "UPDATE candles_1m SET volume = 4",
    "DELETE FROM candles_1m",
    "INSERT INTO data_quality_logs (event_type, source) VALUES ('error', 'system')",
    "INSERT INTO predictions (model_name, prediction_time, target_time, horizon, predicted_close) VALUES ('m', now(), now() + interval '1 minute', 1, 1)",
    "INSERT INTO feature_cache (time, features_json) VALUES (now(), '{}')",
    "SELECT run_scheduled_cleanup()",
    "SELECT run_scheduled_accuracy()",
    "SELECT run_scheduled_partitions()",
)
READS = (
    "SELECT * FROM candles_1m",
    "SELECT * FROM candles_1h",
    "SELECT * FROM feature_cache",
    "SELECT * FROM v_data_quality_summary",
    "SELECT * FROM certificates",
    "SELECT * FROM get_candles_with_gaps(now() - interval '1 hour', now())",
    "SELECT * FROM detect_candle_gap(now() - interval '1 hour', now())",
    "SELECT * FROM validate_schema()",
    "SELECT * FROM schema_migrations",
)
OWNERS = (
    "DROP TABLE candles",
    "ALTER TABLE candles ADD x int",
    "TRUNCATE candles",
    "UPDATE schema_settings SET value = '1'",
    "DELETE FROM schema_migrations",
    "CREATE OR REPLACE FUNCTION cleanup_old_data(timestamptz) RETURNS int LANGUAGE sql AS 'SELECT 1'",
)


@pytest.fixture
def users(postgres_server: PostgresServer, schema_url: str) -> Iterator[dict[str, str]]:
    """Addresses of a writer, a reader and a stranger."""
    database = schema_url.rpartition("/")[2]
    for name in ("a_writer", "a_reader", "a_stranger"):
        postgres_server.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
    postgres_server.execute("GRANT candlewick_writer TO a_writer")
    postgres_server.execute("GRANT candlewick_reader TO a_reader")
    yield {name: postgres_server.url_of(database, f"a_{name}:x") for name in ("writer", "reader", "stranger")}
    for name in ("a_writer", "a_reader", "a_stranger"):
        fetched(schema_url, f"DROP OWNED BY {name}")
        postgres_server.execute(f"DROP ROLE {name}")


def refused(url: str, statements: tuple[str, ...]) -> list[str]:
    """The statements that a user has not the right to."""

    async def ask(connection: asyncpg.Connection) -> list[str]:
        found = []
        for statement in statements:
            try:
                await connection.execute(statement)
            except asyncpg.InsufficientPrivilegeError:
                found.append(statement)
        return found

    return asked(url, ask)


def test_writer_reads_and_writes_but_owns_nothing(users: dict[str, str]) -> None:
    """A writer may change every row, have partitions made and run the jobs; it may change no table and no setting."""
    assert refused(users["writer"], READS + WRITES) == []
    assert refused(users["writer"], OWNERS) == list(OWNERS)


def test_reader_reads_everything_and_changes_nothing(users: dict[str, str]) -> None:
    """A reader may ask every table, view and function that only reads."""
    assert refused(users["reader"], READS) == []
    kept = [one for one in WRITES if "run_scheduled_accuracy" not in one and not one.startswith("SELECT upsert")]
    assert refused(users["reader"], (*kept, *OWNERS)) == [*kept, *OWNERS]
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        fetched(users["reader"], "SELECT upsert_candle('2026-03-02Z', 1, 2, 1, 2, 3)")


def test_reader_can_check_the_schema(users: dict[str, str]) -> None:
    """Nothing is wrong, as far as a reader sees."""
    assert {one.status for one in asked(users["reader"], check)} <= {Status.OK, Status.NOTE}


def test_stranger_sees_nothing(users: dict[str, str]) -> None:
    """A user without a role reads no table."""
    assert "SELECT * FROM candles_1m" in refused(users["stranger"], READS)
    assert refused(users["stranger"], WRITES[:1]) == [WRITES[0]]


def test_tables_made_later_are_for_the_roles_too(users: dict[str, str], schema_url: str) -> None:
    """Default privileges hold for what the owner makes afterwards."""
    fetched(schema_url, "CREATE TABLE later (x int)")
    assert refused(users["reader"], ("SELECT * FROM later",)) == []
    assert refused(users["reader"], ("INSERT INTO later VALUES (1)",)) == ["INSERT INTO later VALUES (1)"]
    assert refused(users["writer"], ("INSERT INTO later VALUES (1)",)) == []


def test_writer_fills_weeks_that_are_new(users: dict[str, str], schema_url: str) -> None:
    """History goes into partitions that a writer has made, which then belong to the table like all others."""
    rows = np.zeros(3 * 7 * 1440, ROW)
    rows["source"] = Source.ARCHIVE
    rows["open_time"] = np.arange(len(rows), dtype=np.int64) * MINUTE + parse_time("2031-03-03")
    rows["close_time"] = rows["open_time"] + MINUTE - 1
    for name in ("open", "high", "low", "close"):
        rows[name] = 7.5
    series = {0: Series(Market.SPOT, "BTCUSDT", Interval("1m"))}

    async def load(connection: asyncpg.Connection) -> int:
        return (await merge_fresh(connection, rows, series)).inserted

    assert asked(users["writer"], load) == len(rows)
    assert fetched(schema_url, "SELECT count(*) FROM candles")[0][0] == len(rows)
    assert refused(users["reader"], ("SELECT begin_candle_weeks(ARRAY[now()])",)) != []


def test_writer_can_start_a_service_on_a_schema_that_is_up_to_date(users: dict[str, str]) -> None:
    """Migrating where nothing is to do needs no right but reading."""
    assert asked(users["writer"], migrate).applied == []


def test_owner_who_may_not_create_roles_gets_the_schema_and_a_note(postgres_server: PostgresServer) -> None:
    """A plain user who owns the database can initialise it; what was not allowed is said."""
    for role in ("candlewick_writer", "candlewick_reader"):
        exists = fetched(postgres_server.url, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role)
        if exists == [(True,)]:
            postgres_server.execute(f"ALTER ROLE {role} RENAME TO {role}_aside")
    postgres_server.execute("CREATE ROLE an_owner LOGIN PASSWORD 'x'")
    postgres_server.execute("CREATE DATABASE owned OWNER an_owner")
    try:
        notes = asked(postgres_server.url_of("owned", "an_owner:x"), migrate).notes
        assert [note for note in notes if "candlewick_reader could not be made" in note]
        assert fetched(postgres_server.url_of("owned", "an_owner:x"), "SELECT count(*) FROM candles_1m") == [(0,)]
    finally:
        postgres_server.execute("DROP DATABASE owned")
        postgres_server.execute("DROP ROLE an_owner")
        for role in ("candlewick_writer", "candlewick_reader"):
            exists = fetched(
                postgres_server.url, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", f"{role}_aside"
            )
            if exists == [(True,)]:
                postgres_server.execute(f"ALTER ROLE {role}_aside RENAME TO {role}")


def test_two_databases_of_a_server_may_be_prepared_at_once(postgres_server: PostgresServer) -> None:
    """The roles belong to the whole server: neither stumbles over the other's."""
    urls = [postgres_server.new_database() for _ in range(3)]

    async def all_at_once() -> None:
        connections = [await asyncpg.connect(url) for url in urls]
        await asyncio.gather(*(migrate(one) for one in connections))
        for one in connections:
            await one.close()

    asyncio.run(all_at_once())
    for url in urls:
        postgres_server.drop_database(url)
