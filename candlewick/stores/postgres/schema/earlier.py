"""The tables that systems before had, and how their columns become those of the schema."""

from typing import NamedTuple


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

FRAMES = (
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


EARLIER_RELATIONS = frozenset({one.old for one in TAKEOVERS}) | {
    "v_model_performance", "v_data_quality_summary", "v_active_ensemble", "v_latest_candles",
}  # fmt: skip
EARLIER_FUNCTIONS = [
    "compute_candle_derived_columns", "detect_candle_gap", "upsert_candle", "bulk_insert_candles", "compute_accuracy",
    "cleanup_old_data", "run_scheduled_cleanup", "update_ensemble_timestamp", "ensure_single_active_ensemble",
    "get_candles_with_gaps", "mark_gap_resolved", "validate_schema",
]  # fmt: skip
"""What the systems before had; with those names and other arguments calls would be ambiguous."""
