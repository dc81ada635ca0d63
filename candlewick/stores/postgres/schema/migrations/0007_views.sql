-- The documented names, over the default series where they know of no other.

CREATE VIEW candles_1m AS
SELECT time, open, high, low, close, volume, quote_asset_volume, taker_buy_base_asset_volume, taker_buy_quote_asset_volume,
    number_of_trades,
    CASE WHEN close > 0 THEN round((high - low) / close * 10000, 4) END AS spread_bps,
    CASE WHEN volume > 0 THEN round(taker_buy_base_asset_volume / volume, 4) END AS taker_buy_ratio,
    (high + low) * 0.5 AS mid_price,
    market, symbol
FROM candles
WHERE market = default_market() AND symbol = default_symbol() AND interval = '1m';

-- UPDATE and DELETE need no help. INSERT may name the derived columns, which are computed, and needs a partition.
CREATE FUNCTION insert_candle_1m() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.market := coalesce(NEW.market, default_market());
    NEW.symbol := coalesce(NEW.symbol, default_symbol());
    PERFORM ensure_candle_partitions(NEW.time, NEW.time + interval '1 microsecond');
    INSERT INTO candles (
        market, symbol, interval, time, open, high, low, close, volume, quote_asset_volume, taker_buy_base_asset_volume,
        taker_buy_quote_asset_volume, number_of_trades, close_time
    ) VALUES (
        NEW.market, NEW.symbol, '1m', NEW.time, NEW.open, NEW.high, NEW.low, NEW.close, NEW.volume, NEW.quote_asset_volume,
        NEW.taker_buy_base_asset_volume, NEW.taker_buy_quote_asset_volume, NEW.number_of_trades,
        NEW.time + interval '59.999 seconds'
    );
    SELECT spread_bps, taker_buy_ratio, mid_price INTO NEW.spread_bps, NEW.taker_buy_ratio, NEW.mid_price
    FROM compute_candle_derived_columns(NEW.high, NEW.low, NEW.close, NEW.volume, NEW.taker_buy_base_asset_volume);
    RETURN NEW;
END $$;
CREATE TRIGGER candles_1m_insert INSTEAD OF INSERT ON candles_1m FOR EACH ROW EXECUTE FUNCTION insert_candle_1m();

CREATE VIEW feature_cache AS
SELECT time, features_json, version, is_valid, created_at, updated_at, market, symbol
FROM features
WHERE market = default_market() AND symbol = default_symbol();

CREATE VIEW v_predictions AS
SELECT model_name AS model_id, symbol, prediction_time AS time, predicted_close AS prediction, confidence,
    actual_close AS actual, accuracy, created_at, resolved_at
FROM predictions;

CREATE VIEW v_model_performance AS
SELECT market, symbol, model_name, horizon,
    count(*) AS predictions, count(actual_close) AS scored, avg(accuracy) AS accuracy, sqrt(avg(rmse * rmse)) AS rmse,
    avg(mape) AS mape, avg(confidence) AS confidence, max(prediction_time) AS last_prediction
FROM predictions
WHERE prediction_time >= now() - interval '7 days'
GROUP BY market, symbol, model_name, horizon;

CREATE VIEW v_data_quality_summary AS
SELECT event_type, source, count(*) AS events, sum(candles_missing) AS candles_missing,
    sum(candles_recovered) AS candles_recovered, count(*) FILTER (WHERE NOT resolved) AS unresolved,
    max(created_at) AS last_event
FROM data_quality_logs
WHERE created_at >= now() - interval '30 days'
GROUP BY event_type, source;

CREATE VIEW v_active_ensemble AS
SELECT market, symbol, ensemble_name, version, models, weights, accuracy_1m, accuracy_5m, accuracy_15m, accuracy_1h,
    created_at, updated_at
FROM ensemble_models WHERE is_active;

CREATE VIEW v_latest_candles AS
SELECT * FROM candles_1m ORDER BY time DESC LIMIT 100;

CREATE VIEW v_jobs AS
SELECT DISTINCT ON (job) job, scheduled_for, started_at, finished_at, finished_at - started_at AS took, result, error
FROM job_runs ORDER BY job, scheduled_for DESC;

CREATE VIEW certificates AS
SELECT split_part(key, ':', 2) AS market, split_part(key, ':', 3) AS symbol, split_part(key, ':', 4) AS interval,
    document ->> 'range' AS range, document
FROM (
    SELECT key, convert_from(value, 'UTF8')::jsonb AS document FROM provenance WHERE key LIKE 'certificate:%'
) AS kept;
