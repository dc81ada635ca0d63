-- As before, but a reader whose transaction stays open no longer holds up everybody: whoever waits to drop a partition has
-- all others wait behind it, so it waits a second only, leaves the table to them for two, and tries again for a minute.
-- Rows are counted first, while nobody is kept out.

CREATE OR REPLACE FUNCTION drop_candles_before(cutoff timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET timezone = 'UTC' SET lock_timeout = '1s' AS $$
DECLARE
    part regclass;
    parts regclass[] := ARRAY(
        SELECT child.oid FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
        WHERE inhparent = 'candles'::regclass AND child.relname ~ '^candles_\d{8}$'
            AND to_date(right(child.relname, 8), 'YYYYMMDD') + 7 <= (cutoff AT TIME ZONE 'UTC')
        ORDER BY child.relname);
    rows_in_part bigint;
    dropped bigint := 0;
    attempts integer := 20;
BEGIN
    FOREACH part IN ARRAY parts LOOP
        EXECUTE format('SELECT count(*) FROM %s', part) INTO rows_in_part;
        dropped := dropped + rows_in_part;
    END LOOP;
    FOREACH part IN ARRAY parts LOOP
        LOOP
            BEGIN
                EXECUTE format('DROP TABLE %s', part);
                EXIT;
            EXCEPTION WHEN lock_not_available THEN
                attempts := attempts - 1;
                IF attempts = 0 THEN
                    RAISE EXCEPTION 'candles are in use: a transaction that has read them stays open (see pg_stat_activity)'
                        USING ERRCODE = 'lock_not_available';
                END IF;
                PERFORM pg_sleep(2);
            END;
        END LOOP;
    END LOOP;
    RETURN dropped;
END $$;
