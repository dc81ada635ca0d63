-- Longer candles from one-minute candles, kept by TimescaleDB. What is newer than the last refresh is computed when asked
-- for; what came late into older ranges is there from the next refresh on.

CREATE MATERIALIZED VIEW candles_5m WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT market, symbol, time_bucket('5 minutes', time) AS time,
    first(open, time) AS open, max(high) AS high, min(low) AS low,
    last(close, time) AS close, sum(volume) AS volume,
    sum(quote_asset_volume) AS quote_asset_volume, sum(taker_buy_base_asset_volume) AS taker_buy_base_asset_volume,
    sum(taker_buy_quote_asset_volume) AS taker_buy_quote_asset_volume, sum(number_of_trades)::bigint AS number_of_trades,
    last(close_time, time) AS close_time, count(*) AS candles, count(*) = 5 AS complete
FROM candles WHERE interval = '1m'
GROUP BY 1, 2, 3
WITH NO DATA;

CREATE MATERIALIZED VIEW candles_15m WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT market, symbol, time_bucket('15 minutes', time) AS time,
    first(open, time) AS open, max(high) AS high, min(low) AS low,
    last(close, time) AS close, sum(volume) AS volume,
    sum(quote_asset_volume) AS quote_asset_volume, sum(taker_buy_base_asset_volume) AS taker_buy_base_asset_volume,
    sum(taker_buy_quote_asset_volume) AS taker_buy_quote_asset_volume, sum(number_of_trades)::bigint AS number_of_trades,
    last(close_time, time) AS close_time, count(*) AS candles, count(*) = 15 AS complete
FROM candles WHERE interval = '1m'
GROUP BY 1, 2, 3
WITH NO DATA;

CREATE MATERIALIZED VIEW candles_1h WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT market, symbol, time_bucket('1 hour', time) AS time,
    first(open, time) AS open, max(high) AS high, min(low) AS low,
    last(close, time) AS close, sum(volume) AS volume,
    sum(quote_asset_volume) AS quote_asset_volume, sum(taker_buy_base_asset_volume) AS taker_buy_base_asset_volume,
    sum(taker_buy_quote_asset_volume) AS taker_buy_quote_asset_volume, sum(number_of_trades)::bigint AS number_of_trades,
    last(close_time, time) AS close_time, count(*) AS candles, count(*) = 60 AS complete
FROM candles WHERE interval = '1m'
GROUP BY 1, 2, 3
WITH NO DATA;

CREATE MATERIALIZED VIEW candles_4h WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT market, symbol, time_bucket('4 hours', time) AS time,
    first(open, time) AS open, max(high) AS high, min(low) AS low,
    last(close, time) AS close, sum(volume) AS volume,
    sum(quote_asset_volume) AS quote_asset_volume, sum(taker_buy_base_asset_volume) AS taker_buy_base_asset_volume,
    sum(taker_buy_quote_asset_volume) AS taker_buy_quote_asset_volume, sum(number_of_trades)::bigint AS number_of_trades,
    last(close_time, time) AS close_time, count(*) AS candles, count(*) = 240 AS complete
FROM candles WHERE interval = '1m'
GROUP BY 1, 2, 3
WITH NO DATA;

