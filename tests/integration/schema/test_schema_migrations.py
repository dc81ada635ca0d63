"""How a database comes to the newest version: from nothing, from an earlier schema, twice, and at the same time."""

import asyncio
import subprocess
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest

from candlewick.errors import StoreError, StoreTooNew
from candlewick.stores.postgres.schema import (
    Migrated,
    SchemaOptions,
    Status,
    check,
    default_series,
    migrate,
    require_schema,
)
from candlewick.stores.postgres.schema.versions import PLAIN, TIMESCALE, migrations, newest
from tests.integration.schema.asked import asked, fetched
from tests.servers.postgres import PostgresServer

EARLIER = """
CREATE DOMAIN price_type AS numeric(20, 8) CHECK (VALUE >= 0);
CREATE TABLE candles_1m (
    time timestamptz PRIMARY KEY,
    open numeric(20, 8) NOT NULL, high numeric(20, 8) NOT NULL, low numeric(20, 8) NOT NULL, close numeric(20, 8) NOT NULL,
    volume numeric(20, 8) NOT NULL, quote_asset_volume numeric(20, 8), taker_buy_base_asset_volume numeric(20, 8),
    taker_buy_quote_asset_volume numeric(20, 8), number_of_trades bigint,
    spread_bps numeric(10, 4), taker_buy_ratio numeric(5, 4), mid_price numeric(20, 8)
);
CREATE INDEX idx_candles_1m_time_desc ON candles_1m (time DESC);
CREATE TABLE predictions (
    id bigserial, model_name text NOT NULL, prediction_time timestamptz NOT NULL, target_time timestamptz NOT NULL,
    horizon integer NOT NULL, predicted_close numeric(20, 8) NOT NULL, predicted_direction smallint,
    confidence numeric(5, 4), actual_close numeric(20, 8), accuracy numeric(5, 4), rmse numeric(20, 8), mape numeric(5, 4),
    created_at timestamptz DEFAULT now(), PRIMARY KEY (id, prediction_time)
);
CREATE TABLE ensemble_models (
    id bigserial PRIMARY KEY, ensemble_name text NOT NULL, version integer DEFAULT 1, models text[], weights numeric[],
    accuracy_1m numeric(5, 4), created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now(),
    is_active boolean DEFAULT false
);
CREATE TABLE feature_cache (
    time timestamptz PRIMARY KEY, features_json jsonb NOT NULL, is_valid boolean DEFAULT true, updated_at timestamptz DEFAULT now()
);
CREATE TABLE data_quality_logs (
    id bigserial PRIMARY KEY, event_type text NOT NULL, gap_start timestamptz, gap_end timestamptz, candles_missing integer,
    candles_recovered integer, source text, error_message text, resolved boolean DEFAULT false, resolved_at timestamptz,
    created_at timestamptz DEFAULT now()
);
CREATE FUNCTION upsert_candle(timestamptz, numeric, numeric, numeric, numeric, numeric, numeric DEFAULT NULL) RETURNS void
    LANGUAGE sql AS 'SELECT';
CREATE FUNCTION detect_candle_gap() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER gaps AFTER INSERT ON candles_1m FOR EACH ROW EXECUTE FUNCTION detect_candle_gap();
CREATE VIEW v_latest_candles AS SELECT * FROM candles_1m ORDER BY time DESC LIMIT 100;
INSERT INTO candles_1m SELECT moment, 100.12345678, 110, 90, 105.5, 3, 300, 1, 100, 42, 1, 0.3, 100
    FROM generate_series('2024-02-29 18:00'::timestamptz, '2024-03-01 06:00', '1 minute') moment;
INSERT INTO candles_1m (time, open, high, low, close, volume) VALUES ('2024-04-01', 1, 0.5, 2, 1, -1);
INSERT INTO predictions (model_name, prediction_time, target_time, horizon, predicted_close, confidence)
    SELECT 'lgb', moment, moment + interval '5 minutes', 5, 101, 0.5 FROM generate_series('2024-03-01'::timestamptz, '2024-03-02', '1 hour') moment;
INSERT INTO ensemble_models (ensemble_name, models, weights, is_active) VALUES ('e', '{a,b}', '{0.4,0.6}', true);
INSERT INTO feature_cache VALUES ('2024-03-01', '{"close": 1}');
INSERT INTO data_quality_logs (event_type, gap_start, gap_end, candles_missing, source) VALUES
    ('gap_detected', '2024-03-02 00:01', '2024-03-02 00:05', 4, 'system'),
    ('gap_detected', '2024-03-02 00:01', '2024-03-02 00:05', 4, 'system'),
    ('error', NULL, NULL, NULL, 'data_feeder');
"""
ROWS = 12 * 60 + 1  # over the end of a leap February


def migrated(url: str, options: SchemaOptions | None = None) -> Migrated:
    return asked(url, lambda connection: migrate(connection, options))


def held(url: str, *tables: str) -> list[int]:
    return [fetched(url, f"SELECT count(*) FROM {table}")[0][0] for table in tables]


def test_empty_database_gets_every_version_once(each_postgres_url: str) -> None:
    """The first call applies everything in order, the second nothing, on the oldest server supported too."""
    first = migrated(each_postgres_url)
    assert (first.before, first.after) == (0, newest(PLAIN))
    assert [one for one in first.applied if one[0].isdigit()] == [
        f"{one.version} {one.name}" for one in migrations(PLAIN)
    ]
    assert migrated(each_postgres_url) == Migrated(newest(PLAIN), newest(PLAIN), [])


def test_changed_options_are_applied_alone(schema_url: str) -> None:
    """Options that differ are changed and named; None leaves them; the default series follows."""
    assert migrated(schema_url, SchemaOptions(market="usdm", symbol="ETHUSDT")).applied == [
        "market = usdm",
        "symbol = ETHUSDT",
    ]
    assert migrated(schema_url, None).applied == []
    assert str(asked(schema_url, default_series)) == "usdm:ETHUSDT:1m"
    assert fetched(schema_url, "SELECT upsert_candle('2026-01-01Z', 1, 1, 1, 1, 1)") == [(True,)]
    assert fetched(schema_url, "SELECT market, symbol FROM candles_1m") == [("usdm", "ETHUSDT")]


def test_several_processes_migrate_once(database_url: str) -> None:
    """Of five that come at once one migrates, and all end with the newest version."""

    async def all_at_once() -> Sequence[Migrated]:
        connections = [await asyncpg.connect(database_url) for _ in range(5)]
        done = await asyncio.gather(*(migrate(one, SchemaOptions()) for one in connections))
        for one in connections:
            await one.close()
        return done

    done = asyncio.run(all_at_once())
    assert sorted(one.before for one in done) == [0] + [newest(PLAIN)] * 4
    assert {one.after for one in done} == {newest(PLAIN)}


def test_migration_that_fails_leaves_nothing_behind(database_url: str) -> None:
    """Everything is one transaction: where one statement cannot be run, the database is as it was."""
    fetched(database_url, "CREATE TYPE candles AS ENUM ('in the way')")
    with pytest.raises(asyncpg.PostgresError):
        migrated(database_url)
    assert fetched(database_url, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == [(0,)]
    fetched(database_url, "DROP TYPE candles")
    assert migrated(database_url).before == 0


def test_schema_of_a_newer_program_is_refused(schema_url: str) -> None:
    """A version that this program does not know stops it, with words that say what to do."""
    fetched(schema_url, "INSERT INTO schema_migrations VALUES (999, 'later', 'x')")
    for call in (migrate, require_schema):
        with pytest.raises(StoreTooNew, match="version 999, this program knows"):
            asked(schema_url, call)


def test_migration_that_was_changed_afterwards_is_refused(schema_url: str) -> None:
    """A checksum that differs is told, and nothing is done."""
    fetched(schema_url, "UPDATE schema_migrations SET checksum = 'x' WHERE version = 3")
    with pytest.raises(StoreError, match="migration 3 of the database is not the one of this program"):
        migrated(schema_url)


def test_reader_is_told_that_there_is_no_schema(database_url: str) -> None:
    """An empty database is told from one with a schema."""
    with pytest.raises(StoreError, match="candlewick schema init"):
        asked(database_url, require_schema)


def test_earlier_database_is_taken_over_without_losing_a_row(database_url: str) -> None:
    """Rows of the one-symbol tables become rows of the default series; what does not fit is set aside; the old tables stay."""
    asked(database_url, lambda connection: connection.execute(EARLIER))
    notes = " ".join(migrated(database_url).notes)
    assert (
        f"candles_1m: {ROWS} of {ROWS + 1} rows taken over into candles, 1 that do not fit kept in quarantined" in notes
    )
    assert held(database_url, "candles_1m", "predictions", "feature_cache", "data_quality_logs", "quarantined") == [
        ROWS,
        25,
        1,
        2,
        1,
    ]
    assert held(
        database_url, *(f"candlewick_before.{one}" for one in ("candles_1m", "predictions", "data_quality_logs"))
    ) == [ROWS + 1, 25, 3]
    same = (
        "SELECT count(*) FROM candlewick_before.candles_1m old JOIN candles_1m new USING (time, open, high, low, close, volume, "
        "quote_asset_volume, taker_buy_base_asset_volume, taker_buy_quote_asset_volume, number_of_trades) WHERE symbol = 'BTCUSDT'"
    )
    assert fetched(database_url, same) == [(ROWS,)]
    assert fetched(database_url, "SELECT ensemble_name FROM v_active_ensemble") == [("e",)]


def test_database_that_was_taken_over_can_be_written(database_url: str) -> None:
    """Calls with the documented arguments are not ambiguous, no old trigger fires, and numbers go on where they were."""
    asked(database_url, lambda connection: connection.execute(EARLIER))
    migrated(database_url)
    assert fetched(database_url, "SELECT upsert_candle('2024-03-05Z', 1, 2, 1, 2, 3)") == [(True,)]
    assert held(database_url, "data_quality_logs") == [2]
    assert fetched(
        database_url,
        "INSERT INTO ensemble_models (ensemble_name, models, weights) VALUES ('f', '{a}', '{1}') RETURNING id",
    ) == [(2,)]
    assert migrated(database_url).applied == []


def test_earlier_hypertable_is_taken_over(timescale_url: str) -> None:
    """On TimescaleDB the old table may be a hypertable with compressed chunks and policies."""

    async def earlier(connection: asyncpg.Connection) -> None:
        head, sign, rows = EARLIER.partition("INSERT INTO")
        await connection.execute(head)
        await connection.execute(
            "SELECT create_hypertable('candles_1m', 'time', chunk_time_interval => interval '1 month')"
        )
        await connection.execute(sign + rows)
        await connection.execute(
            "ALTER TABLE candles_1m SET (timescaledb.compress, timescaledb.compress_orderby = 'time DESC')"
        )
        await connection.execute("SELECT compress_chunk(c) FROM show_chunks('candles_1m') c")
        await connection.execute("SELECT add_retention_policy('candles_1m', interval '13 months')")

    asked(timescale_url, earlier)
    migrated(timescale_url)
    assert held(timescale_url, "candles_1m", "predictions", "candlewick_before.candles_1m") == [ROWS, 25, ROWS + 1]


@pytest.mark.parametrize(
    ("columns", "row", "found"),
    [
        (
            "time timestamp NOT NULL, open double precision, high double precision, low double precision, close double precision, volume double precision",
            "'2024-03-01 00:00', 0.30000000000000004, 0.4, 0.1, 0.2, 1e-8",
            ("BTCUSDT", "1m", "2024-03-01T00:00:00+00:00", "0.30000000000000004", None),
        ),
        (
            "time timestamptz, open numeric, high numeric, low numeric, close numeric, volume numeric, symbol text, time_frame int, trade_count bigint, taker_buy_volume numeric",
            "'2024-03-01 00:00Z', 1.5, 2, 1, 1, 1, 'ETHUSDT', 3600, 17, 0.5",
            ("ETHUSDT", "1h", "2024-03-01T00:00:00+00:00", "1.5", 17),
        ),
    ],
)
def test_other_documented_shapes_of_candles_are_taken_over(
    database_url: str, columns: str, row: str, found: tuple[Any, ...]
) -> None:
    """Times without a zone are UTC, doubles keep every digit, and a symbol and a time frame in seconds are understood."""
    fetched(database_url, f"CREATE TABLE candles_1m ({columns})")
    fetched(database_url, f"INSERT INTO candles_1m VALUES ({row})")
    migrated(database_url)
    rows = fetched(database_url, "SELECT symbol, interval, time, open::text, number_of_trades FROM candles")
    assert [(*one[:2], one[2].isoformat(), *one[3:]) for one in rows] == [found]


def test_tables_of_somebody_else_are_left_alone(database_url: str) -> None:
    """A table with a name that is needed, but not documented, is neither moved nor written: the operator is told."""
    fetched(database_url, "CREATE TABLE series (x int)")
    with pytest.raises(StoreError, match="not candlewick's under names that it needs \\(series\\)"):
        migrated(database_url)
    assert held(database_url, "series") == [0]


def test_spread_has_no_upper_bound(schema_url: str) -> None:
    """A spread of a hundred times the price is shown, where the documented column would have overflowed."""
    fetched(schema_url, "SELECT upsert_candle('2026-01-01Z', 1, 1000, 0.001, 0.01, 1)")
    assert fetched(schema_url, "SELECT spread_bps > 999999 FROM candles_1m") == [(True,)]


def test_candles_have_no_index_that_the_primary_key_makes_needless(schema_url: str) -> None:
    """Besides the primary key there is one index of blocks, which writing hardly feels."""
    rows = fetched(
        schema_url,
        "SELECT amname FROM pg_index JOIN pg_class c ON c.oid = indexrelid JOIN pg_am a ON a.oid = relam WHERE indrelid = 'candles'::regclass",
    )
    assert sorted(rows) == [("brin",), ("btree",)]


def test_dump_can_be_restored(postgres_server: PostgresServer, schema_url: str) -> None:
    """A dump, restored into an empty database, has the rows and the schema as they were."""
    dump, restore = (postgres_server._binaries / name for name in ("pg_dump", "psql"))
    if not (dump.exists() and restore.exists()):
        pytest.skip(f"no pg_dump in {dump.parent}")
    for symbol in ("BTCUSDT", "ETHUSDT"):
        fetched(schema_url, "SELECT upsert_candle('2026-01-01Z', 1, 1, 1, 1, 1, for_symbol => $1)", symbol)
    fetched(
        schema_url,
        "INSERT INTO ensemble_models (ensemble_name, models, weights, is_active) VALUES ('e', '{a}', '{1}', true)",
    )
    copy = postgres_server.new_database()
    text = subprocess.run([dump, schema_url], check=True, capture_output=True).stdout
    subprocess.run([restore, "-X", "-q", "-v", "ON_ERROR_STOP=1", copy], input=text, check=True, capture_output=True)
    assert held(copy, "candles", "candles_1m", "v_active_ensemble") == [2, 1, 1]
    assert migrated(copy) == Migrated(newest(PLAIN), newest(PLAIN), [])
    assert [one for one in asked(copy, check) if one.status in {Status.MISSING, Status.DIFFERENT}] == []
    postgres_server.drop_database(copy)


def test_both_kinds_have_the_same_versions() -> None:
    """A step that only one kind needs has a number of its own, and numbers do not repeat."""
    for kind in (PLAIN, TIMESCALE):
        versions = [one.version for one in migrations(kind)]
        assert versions == sorted(set(versions))
    assert newest(PLAIN) == newest(TIMESCALE)
