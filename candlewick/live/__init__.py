"""Now: connections to the exchange's streams, kept open, watched and renewed."""
