CREATE FUNCTION validate_schema() RETURNS TABLE (check_name text, status text, details text) LANGUAGE sql STABLE AS $$
    SELECT 'TimescaleDB extension', CASE WHEN count(*) > 0 THEN 'OK' ELSE 'MISSING' END, coalesce(max(extversion), '')
    FROM pg_extension WHERE extname = 'timescaledb'
    UNION ALL
    SELECT name || ' hypertable', CASE WHEN h.hypertable_name IS NULL THEN 'MISSING' ELSE 'OK' END,
           coalesce(h.num_chunks || ' chunks', '')
    FROM unnest(ARRAY['candles', 'predictions', 'features']) name
    LEFT JOIN timescaledb_information.hypertables h ON h.hypertable_name = name AND h.hypertable_schema = current_schema()
    UNION ALL
    SELECT name || ' table', CASE WHEN to_regclass(name) IS NULL THEN 'MISSING' ELSE 'OK' END, ''
    FROM unnest(ARRAY['ensemble_models', 'data_quality_logs', 'volume_profiles']) name
    UNION ALL
    SELECT name || ' view', CASE WHEN to_regclass(name) IS NULL THEN 'MISSING' ELSE 'OK' END, ''
    FROM unnest(ARRAY['candles_1m', 'candles_5m', 'candles_15m', 'candles_1h', 'candles_4h', 'feature_cache']) name
    UNION ALL
    SELECT 'candles ' || policy.what || ' policy',
           CASE WHEN j.job_id IS NOT NULL OR schema_setting(policy.setting) = 0 THEN 'OK' ELSE 'MISSING' END,
           coalesce(j.config ->> 'compress_after', j.config ->> 'drop_after', 'switched off')
    FROM (VALUES ('compression', 'policy_compression', 'compress_after_days'),
                 ('retention', 'policy_retention', 'candles_months')) AS policy (what, proc, setting)
    LEFT JOIN timescaledb_information.jobs j
        ON j.proc_name = policy.proc AND j.hypertable_name = 'candles' AND j.hypertable_schema = current_schema()
    UNION ALL
    SELECT 'pg_cron extension', CASE WHEN EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron') THEN 'OK'
           ELSE 'MISSING' END, 'without it the feeder and the gap handler run the jobs (view v_jobs)'
$$;
