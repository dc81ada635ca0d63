-- Predictions and features in chunks of seven days too.

SELECT create_hypertable('predictions', 'prediction_time', chunk_time_interval => interval '7 days',
                         create_default_indexes => false);
ALTER TABLE predictions SET (
    timescaledb.compress,
    timescaledb.compress_segmentby = 'market, symbol, model_name',
    timescaledb.compress_orderby = 'prediction_time DESC'
);
SELECT create_hypertable('features', 'time', chunk_time_interval => interval '7 days', create_default_indexes => false);
ALTER TABLE features SET (
    timescaledb.compress,
    timescaledb.compress_segmentby = 'market, symbol',
    timescaledb.compress_orderby = 'time DESC'
);
