-- The store of a feeder and the gap handler find out by themselves why candles are not there: neither removes what the other
-- one knows. Where both say something of the same times, what is final counts.

ALTER TABLE gap_reasons
    ADD COLUMN recorded_by text COLLATE "C" NOT NULL DEFAULT '',
    DROP CONSTRAINT gap_reasons_pkey,
    ADD CONSTRAINT gap_reasons_pkey PRIMARY KEY (market, symbol, interval, gap_start, recorded_by);

CREATE OR REPLACE FUNCTION get_candles_with_gaps(
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
    LEFT JOIN LATERAL (
        SELECT r.reason FROM gap_reasons r
        WHERE c.time IS NULL AND r.market = for_market AND r.symbol = for_symbol AND r.interval = for_interval
            AND r.gap_start <= moment AND r.gap_end > moment
        ORDER BY r.reason = 'pending', r.gap_start LIMIT 1
    ) AS known ON true
    ORDER BY moment
$$;
