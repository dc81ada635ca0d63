"""Takes over what stood in a database before: tables of the documented names that are not this schema's.

Nothing is deleted. Tables, views and functions whose names are needed move to the schema `candlewick_before`, with all
they hold, and stay there until somebody drops them. Their rows are copied into the new tables; candles that no candle can
be are kept in `quarantined`.
"""

# ruff: noqa: S608 - names are of this module, or of the catalogue and quoted

from typing import NamedTuple

import asyncpg

from candlewick.stores.postgres.schema.versions import created

SCHEMA = "candlewick_before"

_MOVE = {"r": "TABLE", "p": "TABLE", "f": "FOREIGN TABLE", "v": "VIEW", "m": "MATERIALIZED VIEW", "S": "SEQUENCE"}


class Column(NamedTuple):
    """A column of a new table: where its value may come from, and what it is where nothing has it."""

    name: str
    kind: str
    sources: tuple[str, ...] = ()
    usual: str = "NULL"


class Takeover(NamedTuple):
    """Rows of an old table that become rows of a new one. `fits` is what they must keep; others are set aside."""

    old: str
    new: str
    columns: tuple[Column, ...]
    fits: str
    order: str = "1"


_MARKET = Column("market", "text", ("market",), "default_market()")
_SYMBOL = Column("symbol", "text", ("symbol",), "default_symbol()")
_CREATED = Column("created_at", "timestamptz", ("created_at",), "now()")
_UPDATED = Column("updated_at", "timestamptz", ("updated_at", "created_at"), "now()")

_FRAMES = (
    "CASE {0}::text WHEN '60' THEN '1m' WHEN '300' THEN '5m' WHEN '900' THEN '15m' WHEN '3600' THEN '1h' "
    "WHEN '14400' THEN '4h' WHEN '86400' THEN '1d' ELSE {0}::text END"
)

TAKEOVERS = (
    Takeover(
        "candles_1m", "candles",
        (
            _MARKET,
            _SYMBOL,
            Column("interval", "frame", ("interval", "time_frame", "timeframe"), "'1m'"),
            Column("time", "timestamptz", ("time", "open_time", "timestamp")),
            *(Column(name, "numeric", (name,)) for name in ("open", "high", "low", "close", "volume")),
            Column("quote_asset_volume", "numeric", ("quote_asset_volume",)),
            Column("taker_buy_base_asset_volume", "numeric", ("taker_buy_base_asset_volume", "taker_buy_volume")),
            Column("taker_buy_quote_asset_volume", "numeric", ("taker_buy_quote_asset_volume",)),
            Column("number_of_trades", "bigint", ("number_of_trades", "trade_count")),
            Column("source", "smallint", (), "1"),
        ),
        "interval ~ '^[0-9]{1,4}[smhdwM]$' AND time IS NOT NULL AND high >= greatest(low, open, close) AND low <= least(open, close) "
        "AND low > 0 AND volume >= 0 AND volume < 'Infinity' AND high < 'Infinity' AND num_nulls(open, high, low, close, volume) = 0",
        "time",
    ),
    Takeover(
        "predictions", "predictions",
        (
            Column("id", "bigint", ("id",), "nextval(pg_get_serial_sequence('predictions', 'id'))"),
            _MARKET,
            _SYMBOL,
            Column("model_name", "text", ("model_name", "model_id")),
            Column("prediction_time", "timestamptz", ("prediction_time",)),
            Column("target_time", "timestamptz", ("target_time",)),
            Column("horizon", "integer", ("horizon",)),
            Column("predicted_close", "numeric", ("predicted_close", "prediction")),
            Column("predicted_direction", "smallint", ("predicted_direction",)),
            Column("confidence", "numeric", ("confidence",)),
            Column("actual_close", "numeric", ("actual_close", "actual")),
            *(Column(name, "numeric", (name,)) for name in ("accuracy", "rmse", "mape")),
            _CREATED,
            Column("resolved_at", "timestamptz", ("resolved_at",)),
        ),
        "num_nulls(model_name, prediction_time, target_time, horizon, predicted_close) = 0 AND target_time > prediction_time "
        "AND horizon IN (1, 5, 15, 30, 60, 240, 1440) AND coalesce(predicted_direction, 0) IN (-1, 0, 1) "
        "AND coalesce(confidence, 0) BETWEEN 0 AND 1 AND coalesce(accuracy, 0) BETWEEN 0 AND 1",
    ),
    Takeover(
        "ensemble_models", "ensemble_models",
        (
            Column("id", "bigint", ("id",), "nextval(pg_get_serial_sequence('ensemble_models', 'id'))"),
            _MARKET,
            _SYMBOL,
            Column("ensemble_name", "text", ("ensemble_name",)),
            Column("version", "integer", ("version",), "1"),
            Column("models", "text[]", ("models",)),
            Column("weights", "numeric[]", ("weights",)),
            *(Column(f"accuracy_{one}", "numeric", (f"accuracy_{one}",)) for one in ("1m", "5m", "15m", "1h")),
            _CREATED,
            _UPDATED,
            Column("is_active", "boolean", ("is_active",), "false"),
        ),
        "num_nulls(ensemble_name, models, weights) = 0 AND cardinality(models) = cardinality(weights)",
    ),
    Takeover(
        "feature_cache", "features",
        (
            _MARKET,
            _SYMBOL,
            Column("time", "timestamptz", ("time",)),
            Column("features_json", "jsonb", ("features_json",)),
            Column("version", "text", ("version",), "'1'"),
            Column("is_valid", "boolean", ("is_valid",), "true"),
            _CREATED,
            _UPDATED,
        ),
        "num_nulls(time, features_json) = 0",
    ),
    Takeover(
        "data_quality_logs", "data_quality_logs",
        (
            Column("id", "bigint", ("id",), "nextval(pg_get_serial_sequence('data_quality_logs', 'id'))"),
            Column("event_type", "text", ("event_type",)),
            Column("gap_start", "timestamptz", ("gap_start",)),
            Column("gap_end", "timestamptz", ("gap_end",)),
            Column("candles_missing", "integer", ("candles_missing",)),
            Column("candles_recovered", "integer", ("candles_recovered",)),
            Column("source", "text", ("source",)),
            Column("error_message", "text", ("error_message",)),
            Column("resolved", "boolean", ("resolved",), "false"),
            Column("resolved_at", "timestamptz", ("resolved_at",)),
            _CREATED,
            _MARKET,
            _SYMBOL,
            Column("interval", "text", (), "'1m'"),
        ),
        "event_type IN ('gap_detected', 'gap_backfilled', 'duplicate_found', 'error', 'cleanup') AND (event_type NOT LIKE 'gap%' "
        "OR gap_end > gap_start) AND (source IS NULL OR source IN ('data_feeder', 'gap_handler', 'websocket', 'rest_api', "
        "'manual', 'system'))",
        "resolved DESC, id",
    ),
    Takeover(
        "volume_profiles", "volume_profiles",
        (
            _MARKET,
            _SYMBOL,
            Column("date", "date", ("date",)),
            *(
                Column(name, "double precision", (name,))
                for name in (
                    "total_volume", "vwap", "poc", "value_area_high", "value_area_low", "value_area_volume",
                    "value_area_percentage", "price_increment", "min_price", "max_price",
                )
            ),
            Column("candle_count", "integer", ("candle_count",)),
            Column("last_updated", "bigint", ("last_updated",)),
            _CREATED,
            _UPDATED,
        ),
        "num_nulls(date, total_volume, vwap, poc, value_area_high, value_area_low, value_area_volume, value_area_percentage, "
        "price_increment, min_price, max_price, candle_count, last_updated) = 0",
    ),
)  # fmt: skip


async def move_away(connection: asyncpg.Connection) -> list[str]:
    """Move what has a name that the schema needs; returns the names of the tables and views that were moved."""
    names = created()
    relations = await connection.fetch(
        """SELECT relname, relkind FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relname = ANY($1::text[]) AND relkind IN ('r', 'p', 'f', 'v', 'm')""",
        list(names["relations"]),
    )
    routines = await connection.fetch(
        """SELECT oid::regprocedure::text AS signature FROM pg_proc p
        WHERE pronamespace = current_schema()::regnamespace AND proname = ANY($1::text[])
            AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = p.oid AND deptype = 'e')""",
        list(names["functions"]),
    )
    if relations or routines:
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    for row in relations:
        kind = _MOVE[row["relkind"].decode() if isinstance(row["relkind"], bytes) else row["relkind"]]
        await connection.execute(f'ALTER {kind} "{row["relname"]}" SET SCHEMA {SCHEMA}')
    for row in routines:
        await connection.execute(f"ALTER ROUTINE {row['signature']} SET SCHEMA {SCHEMA}")
    return sorted(row["relname"] for row in relations)


async def take_over(connection: asyncpg.Connection, moved: list[str]) -> list[str]:
    """Copy the rows of the tables that were moved; says in words what became of them."""
    notes = [await _copy(connection, one) for one in TAKEOVERS if one.old in moved]
    others = sorted(set(moved) - {one.old for one in TAKEOVERS})
    if others:
        notes.append(f"moved to the schema {SCHEMA}, as their names are needed: {', '.join(others)}")
    return notes


async def _copy(connection: asyncpg.Connection, one: Takeover) -> str:
    old = f"{SCHEMA}.{one.old}"
    rows = await connection.fetch(
        """SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute
        WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped""",
        old,
    )
    types = {row["attname"]: row["type"] for row in rows}
    names = ", ".join(column.name for column in one.columns)
    mapped = ", ".join(f"{_value(column, types)} AS {column.name}" for column in one.columns)
    source = f"(SELECT {mapped}, to_jsonb(old) AS whole FROM {old} AS old) AS row"
    if one.new == "candles":
        await connection.execute(
            f"SELECT ensure_candle_partitions(week, week + interval '1 second') FROM (SELECT DISTINCT "
            f"date_bin('7 days', time, '1970-01-05 00:00:00+00') AS week FROM {source} WHERE {one.fits}) AS weeks"
        )
    done = await connection.execute(
        f"INSERT INTO {one.new} ({names}) SELECT {names} FROM {source} WHERE {one.fits} ORDER BY {one.order} "
        "ON CONFLICT DO NOTHING"
    )
    aside = await connection.execute(
        f"INSERT INTO quarantined (series, rule, source, raw) SELECT '', 'taken over from {one.old}', 'manual', "
        f"convert_to(whole::text, 'UTF8') FROM {source} WHERE ({one.fits}) IS NOT TRUE"
    )
    if one.new == "candles":
        await connection.execute(
            "UPDATE candles SET close_time = (time AT TIME ZONE 'UTC' + candle_interval(interval)) AT TIME ZONE 'UTC' "
            "- interval '1 millisecond'"
        )
    if "id" in types:
        await connection.execute(
            f"SELECT setval(pg_get_serial_sequence('{one.new}', 'id'), greatest((SELECT max(id) FROM {one.new}), 1))"
        )
    total = await connection.fetchval(f"SELECT count(*) FROM {old}")
    kept, refused = int(done.split()[-1]), int(aside.split()[-1])
    words = f"{one.old}: {kept} of {total} rows taken over into {one.new}"
    if refused:
        words += f", {refused} that do not fit kept in quarantined"
    if total - kept - refused:
        words += f", {total - kept - refused} that repeat others left"
    return f"{words}; the old table is {old}, to be dropped when it is not wanted any more"


def _value(column: Column, types: dict[str, str]) -> str:
    """The expression that makes a new column of an old row."""
    found = next((name for name in column.sources if name in types), None)
    if found is None:
        return f"({column.usual})::{'text' if column.kind == 'frame' else column.kind}"
    value = f'old."{found}"'
    if column.kind == "frame":
        return _FRAMES.format(value)
    if column.kind == "timestamptz" and types[found].startswith("timestamp") and "without" in types[found]:
        value = f"({value} AT TIME ZONE 'UTC')"  # documented without a time zone: it was UTC
    elif column.kind == "timestamptz" and types[found] in {"bigint", "integer"}:
        value = f"to_timestamp({value} / 1000.0)"
    elif types[found] in {"double precision", "real"}:
        value = f"{value}::text"  # the shortest decimals, where a cast to numeric would round
    value = f"{value}::{column.kind}"
    return value if column.usual == "NULL" else f"coalesce({value}, {column.usual})"
