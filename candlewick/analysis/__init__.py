"""What candles and trades mean: candles rebuilt from trades, and longer candles from shorter ones."""
