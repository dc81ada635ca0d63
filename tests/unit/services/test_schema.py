"""What the settings say of the shared database's schema."""

import pytest

from candlewick.config import Settings
from candlewick.market import Market, parse_time
from candlewick.services.schema import months_before, schema_options


def test_options_of_the_schema_are_the_settings() -> None:
    """The default series is that of the first symbol that is no pattern, and every retention is the setting's."""
    settings = Settings(
        market=Market.USDM, symbols=("*USDT", "ETHBTC", "BTCUSDT"), candles_retention_months=1,
        predictions_retention_months=2, features_retention_months=3, quality_log_retention_months=4,
        compress_after_days=5,
    )  # fmt: skip
    assert schema_options(settings) == ("usdm", "ETHBTC", 1, 2, 3, 4, 5)
    assert schema_options(Settings(symbols=("*USDT",))) == ("spot", "BTCUSDT", 13, 3, 1, 0, 7)


@pytest.mark.parametrize(
    ("time", "months", "before"),
    [
        ("2026-11-21T10:00:00", 13, "2025-10-21T10:00:00"),
        ("2026-01-31T00:00:00", 1, "2025-12-31T00:00:00"),
        ("2024-03-31T23:59:59", 1, "2024-02-29T23:59:59"),
        ("2023-03-31T23:59:59", 1, "2023-02-28T23:59:59"),
        ("2026-05-15T00:00:00", 1200, "1926-05-15T00:00:00"),
    ],
)
def test_months_are_those_of_the_calendar(time: str, months: int, before: str) -> None:
    """A month before is the same day of the month before, or its last where it has none."""
    assert months_before(parse_time(time), months) == parse_time(before)
