-- Functions on candles and predictions. Everywhere the last parameters name the series; left out it is the default one.

-- Derived columns of one candle, as the view candles_1m has them.
CREATE FUNCTION compute_candle_derived_columns(
    high numeric, low numeric, close numeric, volume numeric, taker_buy_base_asset_volume numeric,
    OUT spread_bps numeric, OUT taker_buy_ratio numeric, OUT mid_price numeric
) LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN close > 0 THEN round((high - low) / close * 10000, 4) END,
           CASE WHEN volume > 0 THEN round(taker_buy_base_asset_volume / volume, 4) END,
           (high + low) * 0.5
$$;

-- Inserts a candle, or updates the one that is held where any value differs: the one before goes to candle_revisions.
-- A value that is not given leaves what is held. Returns whether anything changed.
CREATE FUNCTION upsert_candle(
    candle_time timestamptz, candle_open numeric, candle_high numeric, candle_low numeric, candle_close numeric,
    candle_volume numeric, quote_volume numeric DEFAULT NULL, taker_buy_base_volume numeric DEFAULT NULL,
    taker_buy_quote_volume numeric DEFAULT NULL, trades bigint DEFAULT NULL,
    for_symbol text DEFAULT default_symbol(), for_interval text DEFAULT '1m', for_market text DEFAULT default_market()
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    held candles;
    given candles;
BEGIN
    PERFORM ensure_candle_partitions(candle_time, candle_time + interval '1 microsecond');
    given := ROW(for_market, for_symbol, for_interval, candle_time, candle_open, candle_high, candle_low, candle_close,
                 candle_volume, quote_volume, taker_buy_base_volume, taker_buy_quote_volume, trades,
                 (candle_time AT TIME ZONE 'UTC' + candle_interval(for_interval)) AT TIME ZONE 'UTC'
                     - interval '1 millisecond', 2)::candles;
    INSERT INTO candles SELECT given.* ON CONFLICT (market, symbol, interval, time) DO NOTHING;
    IF FOUND THEN
        RETURN true;
    END IF;
    -- Locks the row: rows of a compressed chunk cannot be locked by SELECT, and UPDATE takes them out of it.
    UPDATE candles c SET source = c.source
    WHERE c.market = for_market AND c.symbol = for_symbol AND c.interval = for_interval AND c.time = candle_time
    RETURNING c.* INTO held;
    given.quote_asset_volume := coalesce(quote_volume, held.quote_asset_volume);
    given.taker_buy_base_asset_volume := coalesce(taker_buy_base_volume, held.taker_buy_base_asset_volume);
    given.taker_buy_quote_asset_volume := coalesce(taker_buy_quote_volume, held.taker_buy_quote_asset_volume);
    given.number_of_trades := coalesce(trades, held.number_of_trades);
    given.close_time := coalesce(held.close_time, given.close_time);
    given.source := greatest(held.source, given.source);
    IF (given.open, given.high, given.low, given.close, given.volume, given.quote_asset_volume,
        given.taker_buy_base_asset_volume, given.taker_buy_quote_asset_volume, given.number_of_trades)
       IS NOT DISTINCT FROM
       (held.open, held.high, held.low, held.close, held.volume, held.quote_asset_volume,
        held.taker_buy_base_asset_volume, held.taker_buy_quote_asset_volume, held.number_of_trades) THEN
        RETURN false;
    END IF;
    INSERT INTO candle_revisions SELECT nextval(pg_get_serial_sequence('candle_revisions', 'id')), now(), held.*;
    UPDATE candles c SET
        open = given.open, high = given.high, low = given.low, close = given.close, volume = given.volume,
        quote_asset_volume = given.quote_asset_volume,
        taker_buy_base_asset_volume = given.taker_buy_base_asset_volume,
        taker_buy_quote_asset_volume = given.taker_buy_quote_asset_volume,
        number_of_trades = given.number_of_trades, close_time = given.close_time, source = given.source
    WHERE c.market = for_market AND c.symbol = for_symbol AND c.interval = for_interval AND c.time = candle_time;
    RETURN true;
END $$;

-- Upserts an array of objects with the columns of candles_1m as keys; returns how many there were.
CREATE FUNCTION bulk_insert_candles(
    candle_array jsonb,
    for_symbol text DEFAULT default_symbol(), for_interval text DEFAULT '1m', for_market text DEFAULT default_market()
) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    PERFORM upsert_candle(
        one.time, one.open, one.high, one.low, one.close, one.volume, one.quote_asset_volume,
        one.taker_buy_base_asset_volume, one.taker_buy_quote_asset_volume, one.number_of_trades,
        for_symbol, for_interval, for_market
    ) FROM jsonb_to_recordset(candle_array) AS one (
        "time" timestamptz, open numeric, high numeric, low numeric, close numeric, volume numeric,
        quote_asset_volume numeric, taker_buy_base_asset_volume numeric, taker_buy_quote_asset_volume numeric,
        number_of_trades bigint
    );
    RETURN jsonb_array_length(candle_array);
END $$;

-- Open times of a series in a range: of fixed intervals from the epoch, of weeks from Monday, of months from the first.
CREATE FUNCTION candle_grid(range_start timestamptz, range_end timestamptz, code text) RETURNS SETOF timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT moment AT TIME ZONE 'UTC'
    FROM generate_series(
        CASE right(code, 1)
            WHEN 'M' THEN date_trunc('year', range_start AT TIME ZONE 'UTC')
            WHEN 'w' THEN date_bin(candle_interval(code), range_start AT TIME ZONE 'UTC', '1970-01-05')
            ELSE date_bin(candle_interval(code), range_start AT TIME ZONE 'UTC', '1970-01-01') END,
        range_end AT TIME ZONE 'UTC' - interval '1 microsecond',
        candle_interval(code)
    ) AS moment
    WHERE moment >= range_start AT TIME ZONE 'UTC'
$$;

-- Every open time in a range, with its candle where there is one. Compiling such a query takes longer than running it (jit).
CREATE FUNCTION get_candles_with_gaps(
    range_start timestamptz, range_end timestamptz,
    for_symbol text DEFAULT default_symbol(), for_interval text DEFAULT '1m', for_market text DEFAULT default_market()
) RETURNS TABLE (
    "time" timestamptz, open numeric, high numeric, low numeric, close numeric, volume numeric, is_gap boolean, reason text
) LANGUAGE sql STABLE SET jit = off AS $$
    SELECT moment, c.open, c.high, c.low, c.close, c.volume, c.time IS NULL,
           CASE WHEN c.time IS NULL THEN coalesce(known.reason, 'missing') END
    FROM candle_grid(range_start, range_end, for_interval) AS moment
    LEFT JOIN candles c
        ON c.market = for_market AND c.symbol = for_symbol AND c.interval = for_interval AND c.time = moment
        AND c.time >= range_start AND c.time < range_end
    LEFT JOIN gap_reasons known
        ON known.market = for_market AND known.symbol = for_symbol AND known.interval = for_interval
        AND known.gap_start <= moment AND known.gap_end > moment
    ORDER BY moment
$$;

-- Holes between candles that are held, as far as they lie in a range, less what has a known reason. It looks at the rows
-- as they are when it is asked, so that the order in which they came makes no hole.
CREATE FUNCTION detect_candle_gap(
    range_start timestamptz, range_end timestamptz,
    for_symbol text DEFAULT default_symbol(), for_interval text DEFAULT '1m', for_market text DEFAULT default_market()
) RETURNS TABLE (gap_start timestamptz, gap_end timestamptz, candles_missing integer)
LANGUAGE sql STABLE SET jit = off AS $$
    WITH held AS (
        (SELECT c.time FROM candles c
         WHERE c.market = for_market AND c.symbol = for_symbol AND c.interval = for_interval AND c.time < range_start
         ORDER BY c.time DESC LIMIT 1)
        UNION ALL
        SELECT c.time FROM candles c
        WHERE c.market = for_market AND c.symbol = for_symbol AND c.interval = for_interval
            AND c.time >= range_start AND c.time < range_end
        UNION ALL
        (SELECT c.time FROM candles c
         WHERE c.market = for_market AND c.symbol = for_symbol AND c.interval = for_interval AND c.time >= range_end
         ORDER BY c.time LIMIT 1)
    ), width AS MATERIALIZED (
        SELECT candle_interval(for_interval) AS step
    ), steps AS (
        SELECT (held.time AT TIME ZONE 'UTC' + width.step) AT TIME ZONE 'UTC' AS due,
               lead(held.time) OVER (ORDER BY held.time) AS next
        FROM held, width
    ), holes AS (
        SELECT tstzrange(greatest(due, range_start), least(next, range_end)) AS span
        FROM steps WHERE next > due AND greatest(due, range_start) < least(next, range_end)
    ), known AS (
        SELECT coalesce(range_agg(tstzrange(r.gap_start, r.gap_end)), '{}') AS spans FROM gap_reasons r
        WHERE r.market = for_market AND r.symbol = for_symbol AND r.interval = for_interval
    ), rest AS (
        SELECT unnest(tstzmultirange(holes.span) - known.spans) AS span FROM holes, known
    ), counted AS (
        SELECT lower(span) AS gap_start, upper(span) AS gap_end,
               (SELECT count(*)::integer FROM candle_grid(lower(span), upper(span), for_interval)) AS missing
        FROM rest
    )
    SELECT counted.gap_start, counted.gap_end, missing FROM counted WHERE missing > 0 ORDER BY counted.gap_start
$$;

-- Marks every gap_detected row that lies in [gap_from, gap_to) as resolved, and logs what was recovered, once.
CREATE FUNCTION mark_gap_resolved(
    gap_from timestamptz, gap_to timestamptz, recovered integer,
    for_symbol text DEFAULT default_symbol(), for_interval text DEFAULT '1m', for_market text DEFAULT default_market()
) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    marked integer;
BEGIN
    UPDATE data_quality_logs SET
        resolved = true, resolved_at = now(),
        candles_recovered = CASE WHEN gap_start = gap_from AND gap_end = gap_to THEN recovered ELSE candles_missing END
    WHERE event_type = 'gap_detected' AND NOT resolved AND gap_start >= gap_from AND gap_end <= gap_to
        AND coalesce(market, default_market()) = for_market AND coalesce(symbol, default_symbol()) = for_symbol
        AND coalesce(interval, '1m') = for_interval;
    GET DIAGNOSTICS marked = ROW_COUNT;
    INSERT INTO data_quality_logs (
        event_type, gap_start, gap_end, candles_recovered, source, resolved, resolved_at, market, symbol, interval
    ) VALUES ('gap_backfilled', gap_from, gap_to, recovered, 'gap_handler', true, now(), for_market, for_symbol, for_interval)
    ON CONFLICT (market, symbol, interval, event_type, gap_start, gap_end)
        WHERE event_type IN ('gap_detected', 'gap_backfilled')
        DO UPDATE SET candles_recovered = excluded.candles_recovered, resolved_at = excluded.resolved_at;
    RETURN marked;
END $$;

-- Scores predictions whose target is past, by the candles that end then: at most `most` of them, oldest targets first.
--   actual_close  close of the one-minute candle that ends at target_time
--   accuracy      1 where the direction is right, against the close when the prediction was made; else 0
--   rmse          of one row: the absolute error, in the quote asset
--   mape          of one row: the absolute error as a fraction of the actual close; 0.01 is one percent
-- Only predictions made within `look_back` are looked at: older chunks are compressed, and stay untouched.
CREATE FUNCTION compute_accuracy(
    most integer DEFAULT 10000, at timestamptz DEFAULT now(), look_back interval DEFAULT '30 days'
) RETURNS integer LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    scored integer;
BEGIN
    UPDATE predictions p SET
        actual_close = due.actual,
        accuracy = CASE WHEN due.before IS NOT NULL THEN (
            sign(due.actual - due.before) = coalesce(p.predicted_direction, sign(p.predicted_close - due.before))
        )::integer END,
        rmse = abs(p.predicted_close - due.actual),
        mape = abs(p.predicted_close - due.actual) / due.actual,
        resolved_at = at
    FROM (
        SELECT q.market, q.symbol, q.prediction_time, q.id, ended.close AS actual, begun.close AS before
        FROM predictions q
        JOIN candles ended ON ended.market = q.market AND ended.symbol = q.symbol AND ended.interval = '1m'
            AND ended.time = date_trunc('minute', q.target_time) - interval '1 minute'
            AND ended.time >= at - look_back - interval '2 minutes' AND ended.time < at
        LEFT JOIN candles begun ON begun.market = q.market AND begun.symbol = q.symbol AND begun.interval = '1m'
            AND begun.time = date_trunc('minute', q.prediction_time) - interval '1 minute'
            AND begun.time >= at - look_back - interval '2 minutes' AND begun.time < at
        WHERE q.actual_close IS NULL AND q.target_time <= at - interval '5 minutes'
            AND q.prediction_time >= at - look_back AND q.prediction_time < at
        ORDER BY q.target_time
        LIMIT most
    ) AS due
    WHERE p.market = due.market AND p.symbol = due.symbol AND p.prediction_time = due.prediction_time AND p.id = due.id
        AND p.prediction_time >= at - look_back AND p.prediction_time < at;
    GET DIAGNOSTICS scored = ROW_COUNT;
    RETURN scored;
END $$;

-- Deletes what is older than the settings keep. Candles go by whole partitions or chunks of seven days, never a row too
-- early, so up to seven days more are there; of predictions and features likewise where TimescaleDB keeps them.
CREATE FUNCTION cleanup_old_data(at timestamptz DEFAULT now())
RETURNS TABLE (candles_deleted bigint, predictions_deleted bigint, features_deleted bigint, logs_deleted bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    cutoff timestamptz;
BEGIN
    cutoff := months_before(at, schema_setting('candles_months'));
    candles_deleted := CASE WHEN cutoff IS NULL THEN 0 ELSE drop_candles_before(cutoff) END;
    cutoff := months_before(at, schema_setting('predictions_months'));
    predictions_deleted := CASE WHEN cutoff IS NULL THEN 0 ELSE drop_predictions_before(cutoff) END;
    cutoff := months_before(at, schema_setting('features_months'));
    features_deleted := CASE WHEN cutoff IS NULL THEN 0 ELSE drop_features_before(cutoff) END;
    cutoff := months_before(at, schema_setting('quality_months'));
    DELETE FROM data_quality_logs WHERE resolved AND coalesce(resolved_at, created_at) < cutoff;
    GET DIAGNOSTICS logs_deleted = ROW_COUNT;
    RETURN NEXT;
END $$;

CREATE FUNCTION run_scheduled_cleanup(at timestamptz DEFAULT now()) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    counts jsonb;
BEGIN
    SELECT to_jsonb(done) INTO counts FROM cleanup_old_data(at) done;
    INSERT INTO data_quality_logs (event_type, source, resolved, resolved_at, created_at, details)
    VALUES ('cleanup', 'system', true, at, at, counts);
    RETURN counts;
END $$;

CREATE FUNCTION run_scheduled_accuracy(at timestamptz DEFAULT now()) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    scored integer;
    total bigint := 0;
BEGIN
    LOOP
        scored := compute_accuracy(10000, at);
        total := total + scored;
        EXIT WHEN scored = 0;
    END LOOP;
    RETURN jsonb_build_object('predictions_scored', total);
END $$;

CREATE FUNCTION run_scheduled_partitions(at timestamptz DEFAULT now()) RETURNS jsonb LANGUAGE sql
RETURN jsonb_build_object('partitions_made', ensure_candle_partitions(at - interval '7 days', at + interval '28 days'));
