"""The truth about candles."""

from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from candlewick.market import DAY, HOUR, MINUTE, SECOND, Interval, Market, Span, parse_time
from candlewick.simulator.candles import Candles, Row
from candlewick.simulator.settings import SimulatorSettings, listings

START = parse_time("2026-11-02T10:00:00")
LISTINGS = {listing.symbol: listing for listing in listings(SimulatorSettings())}


def candles(symbol: str = "SOLUSDT", market: Market = Market.SPOT, outages: Sequence[Span] = ()) -> Candles:
    return Candles(market, LISTINGS[symbol], 1, START, list(outages))


def combined(rows: list[Row]) -> list[Any]:
    """What smaller rows add up to: all values but the open time."""
    numbers = [[Decimal(value) for value in row] for row in rows]
    sums = [sum(row[field] for row in numbers) for field in (5, 7, 8, 9, 10)]
    return [numbers[0][1], max(r[2] for r in numbers), min(r[3] for r in numbers), numbers[-1][4], rows[-1][6], *sums]


def flat(row: Row) -> list[Any]:
    return [
        Decimal(row[1]),
        Decimal(row[2]),
        Decimal(row[3]),
        Decimal(row[4]),
        row[6],
        *map(Decimal, (row[5], *row[7:11])),
    ]


@pytest.mark.parametrize("market", list(Market))
@pytest.mark.parametrize("code", ["3m", "5m", "15m", "1h", "4h", "1d"])
def test_candles_of_a_minute_add_up_to_longer_ones(market: Market, code: str) -> None:
    """Every longer candle of two days has exactly the values its minutes add up to."""
    held, interval = candles(market=market), Interval(code)
    start = START - START % DAY - 2 * DAY
    for row in held.rows(interval, start, start + 2 * DAY):
        opened = row[0] * 1000
        minutes = held.rows(Interval("1m"), opened, interval.next(opened))
        assert combined(minutes) == flat(row)


def test_candles_of_a_second_add_up_to_a_minute() -> None:
    """Sixty one-second candles, idle ones too, have the volume and trades of their minute."""
    held = candles("BTCUSDT")
    seconds = held.rows(Interval("1s"), START, START + MINUTE)
    assert len(seconds) == 60
    # Not the open: a second without trades has the last price, a minute the one of its first trade.
    assert combined(seconds)[4:] == flat(held.row(Interval("1m"), START))[4:]


def test_candles_grow_towards_their_end_the_same_in_steps_and_at_once() -> None:
    """An open month asked for again and again equals the same month asked for once."""
    held, fresh, interval = candles(), candles(), Interval("1M")
    opened = interval.floor(START)
    for until in range(START, START + 5 * HOUR, 17 * MINUTE):
        last = held.bar(interval, opened, until)
    assert last == fresh.bar(interval, opened, until)


def test_candles_of_idle_minutes_are_flat() -> None:
    """A minute without trades has the last price everywhere, no volume and no trades."""
    rows = candles("WANUSDT").rows(Interval("1m"), START, START + 6 * HOUR)
    assert len(rows) == 360
    for before, row in pairwise(rows):
        if row[8] == 0:
            assert row[1:6] == [before[4], before[4], before[4], before[4], "0.00000000"]
            assert row[7:] == ["0.00000000", 0, "0.00000000", "0.00000000", "0"]


def test_candles_are_absent_in_an_outage_on_spot() -> None:
    """Minutes within the outage are absent; the one before it, and the longer ones around, close early."""
    stopped = START + 41 * SECOND + 646_000
    held = candles(outages=[Span(stopped, START + HOUR + 30 * MINUTE)])
    minutes = held.rows(Interval("1m"), START, START + 2 * HOUR)
    assert [row[0] * 1000 for row in minutes] == [START, *range(START + 90 * MINUTE, START + 2 * HOUR, MINUTE)]
    assert minutes[0][6] == stopped // 1000
    assert held.row(Interval("15m"), START)[6] == stopped // 1000
    assert held.row(Interval("1h"), START)[6] == stopped // 1000
    assert not held.exists(Interval("15m"), START + 15 * MINUTE)
    assert held.row(Interval("1h"), START + HOUR)[6] == (START + 2 * HOUR) // 1000 - 1


def test_candles_are_flat_in_an_outage_on_usdm() -> None:
    """On USD-M the minutes of a halt are there, without volume and with ordinary close times."""
    held = candles(market=Market.USDM, outages=[Span(START, START + HOUR)])
    rows = held.rows(Interval("1m"), START, START + HOUR)
    assert len(rows) == 60
    assert {row[8] for row in rows} == {0}
    assert {row[1] for row in rows} == {rows[0][4]}
    assert [row[6] for row in rows] == [row[0] + 59_999 for row in rows]


def test_candles_begin_with_the_listing() -> None:
    """There is no candle before the one in which the instrument was listed."""
    held = candles("DOGEUSDT")
    rows = held.rows(Interval("1m"), START - 3 * DAY, START)
    assert rows[0][0] * 1000 == Interval("1m").floor(held.listed_at)
    assert held.rows(Interval("1d"), START - 10 * DAY, START)[0][0] * 1000 == Interval("1d").floor(held.listed_at)


def test_candles_end_where_trading_stopped() -> None:
    """A symbol in BREAK answers with its history and nothing after it."""
    rows = candles("OLDUSDT").rows(Interval("1h"), START - 5 * DAY, START)
    assert rows[-1][0] * 1000 == START - 3 * DAY - HOUR


def test_candles_print_eight_decimals_on_spot_and_own_precision_on_usdm() -> None:
    """Spot text has eight decimals everywhere, USD-M text as many as tick and lot have."""
    spot, usdm = candles().row(Interval("1m"), START), candles(market=Market.USDM).row(Interval("1m"), START)
    assert {len(spot[field].split(".")[1]) for field in (1, 2, 3, 4, 5, 7, 9, 10)} == {8}
    assert [len(usdm[field].split(".")[1]) for field in (1, 5, 7)] == [2, 3, 5]
    assert [Decimal(v) for v in spot] == [Decimal(v) for v in usdm]
    whole = candles("DOGEUSDT", Market.USDM).row(Interval("1m"), START)
    assert "." not in whole[5]
