-- PostgreSQL's own partitions, a week each from Monday 00:00 UTC.

ALTER TABLE candles RENAME TO candle_columns;
CREATE TABLE candles (LIKE candle_columns INCLUDING ALL) PARTITION BY RANGE (time);
DROP TABLE candle_columns;

ALTER TABLE candles ADD CONSTRAINT candles_1m_pkey PRIMARY KEY (market, symbol, interval, time);

-- Whoever may write may have partitions made: it runs with the rights of the schema's owner. A partition is attached, not
-- created in place, because that needs no lock that a writer or a reader of the table would wait for. It gets its indexes
-- then; whoever fills it before, in the same transaction, has them made of rows that are there, in half the time.
-- Returns those of the weeks that had no partition.
CREATE FUNCTION begin_candle_weeks(weeks timestamptz[]) RETURNS timestamptz[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET timezone = 'UTC' AS $$
DECLARE
    week timestamptz;
    name text;
    begun timestamptz[] := '{}';
BEGIN
    FOREACH week IN ARRAY weeks LOOP
        week := date_bin('7 days', week, '1970-01-05 00:00:00+00');
        name := 'candles_' || to_char(week, 'YYYYMMDD');
        IF to_regclass(name) IS NULL THEN
            PERFORM pg_advisory_xact_lock(hashtextextended('candlewick partitions', 0));
            -- to_regclass may still answer from what this connection knew before it waited
            IF NOT EXISTS (SELECT FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
                           WHERE inhparent = 'candles'::regclass AND child.relname = name) THEN
                EXECUTE format('CREATE TABLE %I (LIKE candles INCLUDING ALL EXCLUDING INDEXES)', name);
                begun := begun || week;
            END IF;
        END IF;
    END LOOP;
    RETURN begun;
END $$;

CREATE FUNCTION attach_candle_weeks(weeks timestamptz[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET timezone = 'UTC' AS $$
DECLARE
    week timestamptz;
BEGIN
    FOREACH week IN ARRAY weeks LOOP
        EXECUTE format('ALTER TABLE candles ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                       'candles_' || to_char(week, 'YYYYMMDD'), week, week + interval '7 days');
    END LOOP;
END $$;

CREATE FUNCTION ensure_candle_partitions(range_from timestamptz, range_to timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET timezone = 'UTC' AS $$
DECLARE
    begun timestamptz[] := begin_candle_weeks(ARRAY(
        SELECT generate_series(date_bin('7 days', range_from, '1970-01-05 00:00:00+00'),
                               range_to - interval '1 microsecond', '7 days')));
BEGIN
    PERFORM attach_candle_weeks(begun);
    RETURN cardinality(begun);
END $$;

-- Drops every partition that lies before the cutoff as a whole, and returns how many rows went with them.
CREATE FUNCTION drop_candles_before(cutoff timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET timezone = 'UTC' SET lock_timeout = '30s' AS $$
DECLARE
    part regclass;
    rows_in_part bigint;
    dropped bigint := 0;
BEGIN
    FOR part IN
        SELECT child.oid FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
        WHERE inhparent = 'candles'::regclass AND child.relname ~ '^candles_\d{8}$'
            AND to_date(right(child.relname, 8), 'YYYYMMDD') + 7 <= (cutoff AT TIME ZONE 'UTC')
        ORDER BY child.relname
    LOOP
        EXECUTE format('SELECT count(*) FROM %s', part) INTO rows_in_part;
        EXECUTE format('DROP TABLE %s', part);
        dropped := dropped + rows_in_part;
    END LOOP;
    RETURN dropped;
END $$;

CREATE FUNCTION drop_predictions_before(cutoff timestamptz) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE dropped bigint;
BEGIN
    DELETE FROM predictions WHERE prediction_time < cutoff;
    GET DIAGNOSTICS dropped = ROW_COUNT;
    RETURN dropped;
END $$;

CREATE FUNCTION drop_features_before(cutoff timestamptz) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE dropped bigint;
BEGIN
    DELETE FROM features WHERE time < cutoff;
    GET DIAGNOSTICS dropped = ROW_COUNT;
    RETURN dropped;
END $$;
