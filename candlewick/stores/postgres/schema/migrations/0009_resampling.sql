-- Longer candles of one series and range from its shorter ones, in any whole number of them, straight from the rows.
CREATE FUNCTION resample_candles(
    target_interval text, range_start timestamptz, range_end timestamptz,
    for_symbol text DEFAULT default_symbol(), for_interval text DEFAULT '1m', for_market text DEFAULT default_market()
) RETURNS TABLE (
    "time" timestamptz, open numeric, high numeric, low numeric, close numeric, volume numeric, quote_asset_volume numeric,
    taker_buy_base_asset_volume numeric, taker_buy_quote_asset_volume numeric, number_of_trades bigint,
    close_time timestamptz, candles bigint, complete boolean
) LANGUAGE sql STABLE SET jit = off AS $$
    WITH width AS MATERIALIZED (
        SELECT candle_interval(target_interval) AS step,
            CASE right(target_interval, 1) WHEN 'w' THEN timestamptz '1970-01-05 00:00:00+00'
                ELSE timestamptz '1970-01-01 00:00:00+00' END AS origin,
            extract(epoch FROM candle_interval(target_interval)) / extract(epoch FROM candle_interval(for_interval)) AS whole
    )
    SELECT date_bin(width.step, c.time, width.origin) AS opens,
        (array_agg(c.open ORDER BY c.time))[1], max(c.high), min(c.low), (array_agg(c.close ORDER BY c.time DESC))[1],
        sum(c.volume), sum(c.quote_asset_volume), sum(c.taker_buy_base_asset_volume), sum(c.taker_buy_quote_asset_volume),
        sum(c.number_of_trades)::bigint, (array_agg(c.close_time ORDER BY c.time DESC))[1], count(*), count(*) = width.whole
    FROM candles c, width
    WHERE c.market = for_market AND c.symbol = for_symbol AND c.interval = for_interval
        AND c.time >= range_start AND c.time < range_end
    GROUP BY opens, width.whole ORDER BY opens
$$;
