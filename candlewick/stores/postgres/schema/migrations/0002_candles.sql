-- Candles of every series. Writing has to be fast: no row triggers, no derived columns (the view candles_1m computes them).
-- Numbers are exact: the shortest decimals of the double that was received, so that reading gives that double back.

CREATE TABLE candles (
    market text COLLATE "C" NOT NULL DEFAULT default_market(),
    symbol text COLLATE "C" NOT NULL DEFAULT default_symbol(),
    interval text COLLATE "C" NOT NULL DEFAULT '1m',
    time timestamptz NOT NULL,
    open numeric NOT NULL,
    high numeric NOT NULL,
    low numeric NOT NULL,
    close numeric NOT NULL,
    volume numeric NOT NULL,
    quote_asset_volume numeric,
    taker_buy_base_asset_volume numeric,
    taker_buy_quote_asset_volume numeric,
    number_of_trades bigint,
    close_time timestamptz,
    source smallint NOT NULL DEFAULT 2,
    CONSTRAINT candles_1m_high_check CHECK (high >= low AND high >= open AND high >= close),
    CONSTRAINT candles_1m_low_check CHECK (low <= open AND low <= close),
    -- numeric has NaN and infinity, and NaN is above everything
    CONSTRAINT candles_1m_volume_positive CHECK (volume >= 0 AND volume < 'Infinity'),
    CONSTRAINT candles_1m_prices_positive CHECK (open > 0 AND high > 0 AND low > 0 AND close > 0 AND high < 'Infinity')
);
