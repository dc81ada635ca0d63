"""Halts of trading on USD-M, and what only looks like one."""

import csv
from pathlib import Path

import numpy as np
import pytest

from candlewick.exchanges.exchange import Columns
from candlewick.integrity.halts import NEEDED, find_halts
from candlewick.market import DAY, HOUR, MINUTE, Interval, Market, Series, Span, parse_time

MINUTES = Series(Market.USDM, "BTCUSDT", Interval("1m"))
START = parse_time("2025-08-28")


def market(count: int, idle: np.ndarray | None = None, seed: int = 1) -> Columns:
    """Rows of a random walk; those that are `idle` repeat the close before."""
    rng = np.random.default_rng(seed)
    idle = np.zeros(count, np.bool_) if idle is None else idle
    steps = np.where(idle, 0, rng.choice([-1, 1], count))
    close = 60_000 + np.cumsum(steps) / 10
    before = np.concatenate(([close[0] if idle[0] else 60_000], close[:-1]))
    return {
        "open_time": START + np.arange(count) * MINUTE,
        "open": before,
        "high": np.maximum(before, close),
        "low": np.minimum(before, close),
        "close": close,
        "trades": np.where(idle, 0, rng.integers(1, 900, count)),
    }


def still(count: int, *runs: tuple[int, int]) -> np.ndarray:
    idle = np.zeros(count, np.bool_)
    for start, end in runs:
        idle[start:end] = True
    return idle


def span(first: int, end: int) -> Span:
    return Span(START + first * MINUTE, START + end * MINUTE)


def test_eighteen_flat_minutes_are_a_halt() -> None:
    """The halt of 2025-08-29: a symbol that trades every minute does not for 18."""
    columns = market(3_000, still(3_000, (1_500, 1_518)))
    assert find_halts(columns, MINUTES) == [span(1_500, 1_518)]


def test_halts_of_one_day_do_not_hide_each_other() -> None:
    """Two halts an hour apart are two."""
    columns = market(3_000, still(3_000, (1_000, 1_030), (1_090, 1_126)))
    assert find_halts(columns, MINUTES) == [span(1_000, 1_030), span(1_090, 1_126)]


def test_spot_has_no_halts() -> None:
    """There an outage leaves holes; flat rows are minutes without a trade."""
    columns = market(3_000, still(3_000, (1_500, 1_518)))
    assert find_halts(columns, MINUTES._replace(market=Market.SPOT)) == []


def test_two_quiet_minutes_are_no_halt() -> None:
    """However lively the symbol is."""
    assert find_halts(market(6_000, still(6_000, (3_000, 3_002))), MINUTES) == []


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("stickiness", [1, 4])
def test_seldom_traded_symbol_is_not_halted(share: float, stickiness: int) -> None:
    """Idle minutes at random, alone or in clumps, for three weeks: none of their runs is a halt."""
    rng = np.random.default_rng(3)
    count = 30_000
    idle = np.repeat(rng.random(count // stickiness) < share, stickiness)
    assert find_halts(market(count, idle), MINUTES) == []


def test_seldom_traded_symbol_is_halted_when_it_is_still_for_long() -> None:
    """A run far beyond the usual ones stands out there too."""
    idle = np.random.default_rng(3).random(6_000) < 0.5
    idle[3_000:3_180] = True
    (halt,) = find_halts(market(6_000, idle), MINUTES)
    assert halt.start <= START + 3_000 * MINUTE < START + 3_180 * MINUTE <= halt.end
    assert halt.end - halt.start < 4 * HOUR


def test_delisted_symbol_is_halted_to_the_end() -> None:
    """Flat rows for weeks after the last trade are one halt, up to the last row."""
    columns = market(40_000, still(40_000, (2_000, 40_000)))
    assert find_halts(columns, MINUTES) == [span(2_000, 40_000)]


def test_rows_that_are_all_flat_are_a_halt_from_a_day_on() -> None:
    """Without anything to compare with, a day counts and an hour does not."""
    assert find_halts(market(1_440, still(1_440, (0, 1_440))), MINUTES) == [span(0, 1_440)]
    assert find_halts(market(60, still(60, (0, 60))), MINUTES) == []


def test_missing_rows_part_a_halt() -> None:
    """What is not held is no halt; what is held around it is, however often it is parted."""
    columns = market(5_000, still(5_000, (1_000, 5_000)))
    keep = np.ones(5_000, np.bool_)
    keep[[1_500, 1_502]] = False
    parted = {name: column[keep] for name, column in columns.items()}
    assert find_halts(parted, MINUTES) == [span(1_000, 1_500), span(1_501, 1_502), span(1_503, 5_000)]


def test_flat_rows_at_another_price_are_no_halt() -> None:
    """A halt repeats the last price."""
    columns = market(3_000, still(3_000, (1_500, 1_518)))
    rising = np.arange(18) * 1.0
    for name in ("open", "high", "low", "close"):
        columns[name][1_500:1_518] += rising
    assert find_halts(columns, MINUTES) == []


def test_nothing_has_no_halts() -> None:
    """No rows, no halts."""
    assert find_halts({name: np.empty(0) for name in NEEDED}, MINUTES) == []


def test_months_are_parted_only_where_one_is_missing() -> None:
    """Months have different lengths; a symbol that is dead for years is one halt."""
    months = Series(Market.USDM, "BTCUSDT", Interval("1M"))
    columns = market(2_000, still(2_000, (100, 2_000)))
    columns["open_time"] = (np.arange(2_000)).astype("M8[M]").astype("M8[us]").astype(np.int64)
    (halt,) = find_halts(columns, months)
    assert halt.start == columns["open_time"][100]
    assert halt.end > columns["open_time"][-1] + 27 * DAY


@pytest.mark.data
def test_recorded_month_has_no_halt(recordings: Path) -> None:
    """AVAXUSDT of February 2025 was traded without a stop."""
    path = recordings / "archive/data/futures/um/monthly/klines/AVAXUSDT/1m/AVAXUSDT-1m-2025-02.csv"
    with path.open(encoding="ascii", newline="") as file:
        lines = list(csv.DictReader(file))
    columns = {
        name: np.array([float(line[name]) for line in lines]) for name in NEEDED if name not in {"open_time", "trades"}
    }
    columns["open_time"] = np.array([int(line["open_time"]) * 1000 for line in lines])
    columns["trades"] = np.array([int(line["count"]) for line in lines])
    assert len(lines) == 28 * 1_440
    assert find_halts(columns, MINUTES) == []
