-- The primary key answers what is asked of one series. This serves questions that name none; a summary of blocks of rows
-- (BRIN) costs writers next to nothing.
CREATE INDEX idx_candles_1m_time_desc ON candles USING brin (time);
