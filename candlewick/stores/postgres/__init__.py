"""The shared database: PostgreSQL, with TimescaleDB's features where that extension is there."""
