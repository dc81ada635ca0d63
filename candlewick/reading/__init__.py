"""What users read: databases, frames and files of candles."""
