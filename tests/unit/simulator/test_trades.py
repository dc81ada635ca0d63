"""Streams that follow trades, and the ticker."""

from collections import defaultdict
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from candlewick.market import MINUTE, Market
from candlewick.simulator.exchange import Exchange
from tests.unit.simulator.world import World, simulate


def heard(
    *names: str, seconds: float = 605.0, route: str | None = None, **settings: object
) -> tuple[list[dict[str, Any]], Exchange]:
    async def story(world: World) -> object:
        _, ear = await world.listen(*names, route=route)
        await world.clock.sleep(seconds)
        return ear.events, world.exchange

    return simulate(story, **settings)


def test_trades_bucketed_by_time_make_the_klines() -> None:
    """Raw trades put into minutes by their own time have the volume, amounts, counts and prices of the truth."""
    events, exchange = heard("solusdt@trade")
    minutes = defaultdict(list)
    for event in events:
        minutes[event["T"] // 60_000 * 60_000].append(event)
    rows = exchange.truth("SOLUSDT", "1m", exchange.start, exchange.start + 10 * MINUTE)
    for row in rows:
        trades = minutes[row[0]]
        assert row[8] == len(trades)
        if trades:
            assert [Decimal(row[1]), Decimal(row[4])] == [Decimal(trades[0]["p"]), Decimal(trades[-1]["p"])]
        assert Decimal(row[5]) == sum(Decimal(t["q"]) for t in trades)
        assert Decimal(row[7]) == sum(Decimal(t["q"]) * Decimal(t["p"]) for t in trades)
        assert Decimal(row[9]) == sum(Decimal(t["q"]) for t in trades if not t["m"])


@pytest.mark.parametrize("market", list(Market))
def test_aggregates_have_consecutive_numbers_and_cover_raw_trades(market: Market) -> None:
    """No aggregate is left out, and the raw ids of one follow those of the one before."""
    events, _ = heard("btcusdt@aggTrade", market=market)
    assert [event["a"] for event in events] == list(range(events[0]["a"], events[0]["a"] + len(events)))
    assert all(two["f"] == one["l"] + 1 for one, two in pairwise(events))
    assert all(event["E"] >= event["T"] for event in events)
    assert ("M" in events[0], "nq" in events[0], "st" in events[0]) == (
        (True, False, False) if market is Market.SPOT else (False, True, True)
    )


def test_raw_trades_have_consecutive_ids() -> None:
    """Raw trades of spot are numbered without holes."""
    events, _ = heard("btcusdt@trade")
    assert [event["t"] for event in events] == list(range(events[0]["t"], events[0]["t"] + len(events)))


@pytest.mark.parametrize("market", list(Market))
def test_quotes_never_cross_and_count_up(market: Market) -> None:
    """The bid stays below the ask and update ids rise; spot sends neither event type nor time, USD-M both."""
    events, _ = heard("btcusdt@bookTicker", market=market, route="" if market is Market.SPOT else "/public")
    assert len(events) > 300
    assert all(Decimal(event["b"]) < Decimal(event["a"]) for event in events)
    assert all(two["u"] > one["u"] for one, two in pairwise(events))
    assert ("e" in events[0], "T" in events[0]) == ((False, False) if market is Market.SPOT else (True, True))


@pytest.mark.parametrize(("market", "step_ms"), [(Market.SPOT, 1000), (Market.USDM, 2000)])
def test_ticker_tells_of_a_day(market: Market, step_ms: int) -> None:
    """The ticker keeps its pace and sums up the trades of a day."""
    events, exchange = heard("solusdt@ticker", market=market, seconds=100)
    assert all(two["E"] - one["E"] >= step_ms for one, two in pairwise(events))
    last = events[-1]
    bar = exchange.candles["SOLUSDT"].tape.bar(last["O"] * 1000, last["E"] * 1000)
    assert last["n"] == bar.trades
    assert Decimal(last["v"]) == Decimal(bar.lots) / 1000
    assert Decimal(last["p"]) == Decimal(last["c"]) - Decimal(last["o"])
    assert ("b" in last) == (market is Market.SPOT)
