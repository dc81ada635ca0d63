-- TimescaleDB's chunks, seven days each.

ALTER TABLE candles ADD CONSTRAINT candles_1m_pkey PRIMARY KEY (market, symbol, interval, time);
SELECT create_hypertable('candles', 'time', chunk_time_interval => interval '7 days', create_default_indexes => false);
ALTER TABLE candles SET (
    timescaledb.compress,
    timescaledb.compress_segmentby = 'market, symbol, interval',
    timescaledb.compress_orderby = 'time DESC'
);

-- TimescaleDB makes chunks by itself.
CREATE FUNCTION ensure_candle_partitions(range_from timestamptz, range_to timestamptz) RETURNS integer
LANGUAGE sql IMMUTABLE RETURN 0;

CREATE FUNCTION begin_candle_weeks(weeks timestamptz[]) RETURNS timestamptz[]
LANGUAGE sql IMMUTABLE RETURN ARRAY[]::timestamptz[];

CREATE FUNCTION attach_candle_weeks(weeks timestamptz[]) RETURNS void LANGUAGE sql IMMUTABLE RETURN NULL::void;

-- Drops every chunk of a hypertable that lies before the cutoff as a whole, and returns how many rows went with them.
CREATE FUNCTION drop_chunks_before(hypertable regclass, cutoff timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET timezone = 'UTC' SET lock_timeout = '30s' AS $$
DECLARE
    part regclass;
    rows_in_part bigint;
    dropped bigint := 0;
BEGIN
    IF hypertable NOT IN ('candles'::regclass, 'predictions'::regclass, 'features'::regclass) THEN
        RAISE EXCEPTION '% is kept', hypertable USING ERRCODE = 'insufficient_privilege';
    END IF;
    FOR part IN SELECT show_chunks(hypertable, older_than => cutoff) LOOP
        EXECUTE format('SELECT count(*) FROM %s', part) INTO rows_in_part;
        dropped := dropped + rows_in_part;
    END LOOP;
    PERFORM drop_chunks(hypertable, older_than => cutoff);
    RETURN dropped;
END $$;

CREATE FUNCTION drop_candles_before(cutoff timestamptz) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN RETURN drop_chunks_before('candles', cutoff); END $$;

CREATE FUNCTION drop_predictions_before(cutoff timestamptz) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN RETURN drop_chunks_before('predictions', cutoff); END $$;

CREATE FUNCTION drop_features_before(cutoff timestamptz) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN RETURN drop_chunks_before('features', cutoff); END $$;
