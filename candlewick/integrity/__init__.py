"""Whether what is held is whole and possible: rules for candles, gaps, continuity of trades."""
