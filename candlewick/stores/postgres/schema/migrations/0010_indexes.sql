-- The primary key answers what is asked of one series. These serve questions that name none; summaries of blocks of rows
-- (BRIN) cost writers next to nothing.
CREATE INDEX idx_candles_1m_time_desc ON candles USING brin (time);
CREATE INDEX idx_candles_1m_spread_bps ON candles USING brin (((high - low) / close)) WHERE close > 0;
CREATE INDEX idx_candles_1m_time_spread ON candles USING brin (time, ((high - low) / close));
