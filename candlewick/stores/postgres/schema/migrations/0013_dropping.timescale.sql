-- As before, but a reader whose transaction stays open no longer holds up everybody: whoever waits to drop a chunk has all
-- others wait behind it, so it waits a second only, leaves the table to them for two, and tries again for a minute.

CREATE OR REPLACE FUNCTION drop_chunks_before(hypertable regclass, cutoff timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET timezone = 'UTC' SET lock_timeout = '1s' AS $$
DECLARE
    part regclass;
    rows_in_part bigint;
    dropped bigint := 0;
    attempts integer := 20;
BEGIN
    IF hypertable NOT IN ('candles'::regclass, 'predictions'::regclass, 'features'::regclass) THEN
        RAISE EXCEPTION '% is kept', hypertable USING ERRCODE = 'insufficient_privilege';
    END IF;
    FOR part IN SELECT show_chunks(hypertable, older_than => cutoff) LOOP
        EXECUTE format('SELECT count(*) FROM %s', part) INTO rows_in_part;
        dropped := dropped + rows_in_part;
    END LOOP;
    LOOP
        BEGIN
            PERFORM drop_chunks(hypertable, older_than => cutoff);
            RETURN dropped;
        EXCEPTION WHEN lock_not_available THEN
            attempts := attempts - 1;
            IF attempts = 0 THEN
                RAISE EXCEPTION '% are in use: a transaction that has read them stays open (see pg_stat_activity)', hypertable
                    USING ERRCODE = 'lock_not_available';
            END IF;
            PERFORM pg_sleep(2);
        END;
    END LOOP;
END $$;
