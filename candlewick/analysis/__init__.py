"""What candles and trades mean: candles rebuilt from trades."""
