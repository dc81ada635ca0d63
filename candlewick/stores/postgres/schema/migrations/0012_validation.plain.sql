CREATE FUNCTION validate_schema() RETURNS TABLE (check_name text, status text, details text) LANGUAGE sql STABLE AS $$
    SELECT 'TimescaleDB extension', 'MISSING', 'plain PostgreSQL: partitions, views and our own jobs take its place'
    UNION ALL
    SELECT 'candles partitions', CASE WHEN count(*) > 0 THEN 'OK' ELSE 'MISSING' END, count(*) || ' partitions of seven days'
    FROM pg_inherits WHERE inhparent = to_regclass('candles')
    UNION ALL
    SELECT name || ' table', CASE WHEN to_regclass(name) IS NULL THEN 'MISSING' ELSE 'OK' END, ''
    FROM unnest(ARRAY['candles', 'predictions', 'features', 'ensemble_models', 'data_quality_logs', 'volume_profiles']) name
    UNION ALL
    SELECT name || ' view', CASE WHEN to_regclass(name) IS NULL THEN 'MISSING' ELSE 'OK' END, ''
    FROM unnest(ARRAY['candles_1m', 'candles_5m', 'candles_15m', 'candles_1h', 'candles_4h', 'feature_cache']) name
    UNION ALL
    SELECT 'candles retention', CASE WHEN value IS NULL THEN 'MISSING' ELSE 'OK' END,
           value || ' months, by the job "cleanup"'
    FROM (SELECT schema_setting('candles_months')) AS kept (value)
    UNION ALL
    SELECT 'pg_cron extension', CASE WHEN EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron') THEN 'OK'
           ELSE 'MISSING' END, 'without it the feeder and the gap handler run the jobs (view v_jobs)'
$$;
