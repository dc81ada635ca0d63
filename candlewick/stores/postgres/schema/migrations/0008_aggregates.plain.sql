-- Longer candles from one-minute candles, computed when they are asked for.

CREATE VIEW candles_5m AS
SELECT market, symbol, date_bin('5 minutes', time, '1970-01-01 00:00:00+00') AS time,
    (array_agg(open ORDER BY time))[1] AS open, max(high) AS high, min(low) AS low,
    (array_agg(close ORDER BY time DESC))[1] AS close, sum(volume) AS volume,
    sum(quote_asset_volume) AS quote_asset_volume, sum(taker_buy_base_asset_volume) AS taker_buy_base_asset_volume,
    sum(taker_buy_quote_asset_volume) AS taker_buy_quote_asset_volume, sum(number_of_trades)::bigint AS number_of_trades,
    (array_agg(close_time ORDER BY time DESC))[1] AS close_time, count(*) AS candles, count(*) = 5 AS complete
FROM candles WHERE interval = '1m'
GROUP BY 1, 2, 3;

CREATE VIEW candles_15m AS
SELECT market, symbol, date_bin('15 minutes', time, '1970-01-01 00:00:00+00') AS time,
    (array_agg(open ORDER BY time))[1] AS open, max(high) AS high, min(low) AS low,
    (array_agg(close ORDER BY time DESC))[1] AS close, sum(volume) AS volume,
    sum(quote_asset_volume) AS quote_asset_volume, sum(taker_buy_base_asset_volume) AS taker_buy_base_asset_volume,
    sum(taker_buy_quote_asset_volume) AS taker_buy_quote_asset_volume, sum(number_of_trades)::bigint AS number_of_trades,
    (array_agg(close_time ORDER BY time DESC))[1] AS close_time, count(*) AS candles, count(*) = 15 AS complete
FROM candles WHERE interval = '1m'
GROUP BY 1, 2, 3;

CREATE VIEW candles_1h AS
SELECT market, symbol, date_bin('1 hour', time, '1970-01-01 00:00:00+00') AS time,
    (array_agg(open ORDER BY time))[1] AS open, max(high) AS high, min(low) AS low,
    (array_agg(close ORDER BY time DESC))[1] AS close, sum(volume) AS volume,
    sum(quote_asset_volume) AS quote_asset_volume, sum(taker_buy_base_asset_volume) AS taker_buy_base_asset_volume,
    sum(taker_buy_quote_asset_volume) AS taker_buy_quote_asset_volume, sum(number_of_trades)::bigint AS number_of_trades,
    (array_agg(close_time ORDER BY time DESC))[1] AS close_time, count(*) AS candles, count(*) = 60 AS complete
FROM candles WHERE interval = '1m'
GROUP BY 1, 2, 3;

CREATE VIEW candles_4h AS
SELECT market, symbol, date_bin('4 hours', time, '1970-01-01 00:00:00+00') AS time,
    (array_agg(open ORDER BY time))[1] AS open, max(high) AS high, min(low) AS low,
    (array_agg(close ORDER BY time DESC))[1] AS close, sum(volume) AS volume,
    sum(quote_asset_volume) AS quote_asset_volume, sum(taker_buy_base_asset_volume) AS taker_buy_base_asset_volume,
    sum(taker_buy_quote_asset_volume) AS taker_buy_quote_asset_volume, sum(number_of_trades)::bigint AS number_of_trades,
    (array_agg(close_time ORDER BY time DESC))[1] AS close_time, count(*) AS candles, count(*) = 240 AS complete
FROM candles WHERE interval = '1m'
GROUP BY 1, 2, 3;

