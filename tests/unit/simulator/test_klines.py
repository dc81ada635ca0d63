"""Kline streams: what is pushed, when, and in which order."""

from itertools import pairwise
from typing import Any

import pytest

from candlewick.market import HOUR, MINUTE, SECOND, Interval, Market
from tests.unit.simulator.world import World, simulate


def as_row(kline: dict[str, Any]) -> list[Any]:
    return [kline[field] for field in "tohlcvTqnVQB"]


@pytest.mark.parametrize(
    ("market", "codes", "hours"), [("spot", ("1m", "5m", "1h"), 3), ("usdm", ("1m", "1h"), 2), ("spot", ("1s",), 0.1)]
)
def test_kline_closes_equal_the_truth(market: str, codes: tuple[str, ...], hours: float) -> None:
    """Without faults every closed frame says what the truth says, and on spot no candle is left out."""

    async def story(world: World) -> object:
        names = [f"{symbol}@kline_{code}" for symbol in ("btcusdt", "wanusdt") for code in codes]
        _, ear = await world.listen(*names)
        await world.clock.sleep(hours * 3600 + 5)
        end = world.exchange.start + round(hours * HOUR)
        closes = {(k["s"], k["i"], k["t"]): as_row(k) for k in ear.closes}
        assert len(closes) == len(ear.closes)
        for symbol in ("BTCUSDT", "WANUSDT"):
            for code in codes:
                last = Interval(code).floor(end)
                for row in world.exchange.truth(symbol, code, world.exchange.start, last):
                    found = closes.get((symbol, code, row[0]))
                    assert found == row or (market == "usdm" and found is None and row[8] == 0)

    simulate(story, market=Market(market))


@pytest.mark.parametrize("market", list(Market))
def test_kline_close_comes_once_and_before_the_next_candle(market: Market) -> None:
    """In the order of arrival open times never go back, a close ends its candle, and nothing of it follows."""

    async def story(world: World) -> object:
        _, ear = await world.listen("btcusdt@kline_1m")
        await world.clock.sleep(3600)
        return ear.klines

    klines = simulate(story, market=market)
    for one, two in pairwise(klines):
        assert two["t"] == one["t"] + (60_000 if one["x"] else 0)


@pytest.mark.parametrize(("market", "code", "spacing_ms"), [("spot", "1m", 2000), ("usdm", "1m", 250)])
def test_kline_updates_keep_their_distance(market: str, code: str, spacing_ms: int) -> None:
    """Updates of one stream come no faster than documented, and only after a trade."""

    async def story(world: World) -> object:
        _, ear = await world.listen(f"btcusdt@kline_{code}")
        await world.clock.sleep(900)
        return ear.klines

    klines = simulate(story, market=Market(market))
    updates = [kline for kline in klines if not kline["x"]]
    distances = [two["E"] - one["E"] for one, two in pairwise(updates)]
    assert min(distances) >= spacing_ms
    for one, two in pairwise(updates):
        assert two["t"] != one["t"] or two["L"] > one["L"]


def test_kline_of_idle_spot_minutes_closes_without_trades() -> None:
    """An idle minute on spot closes within milliseconds, with f=L=-1, n=0 and no update before it."""

    async def story(world: World) -> object:
        _, ear = await world.listen("wanusdt@kline_1m")
        await world.clock.sleep(3 * 3600)
        return ear

    ear = simulate(story)
    idle = [kline for kline in ear.closes if kline["n"] == 0]
    assert len(idle) > 60
    for kline in idle:
        assert (kline["f"], kline["L"], kline["v"]) == (-1, -1, "0.00000000")
        assert 0 < kline["E"] - kline["T"] < 20
        assert [other["x"] for other in ear.klines if other["t"] == kline["t"]] == [True]


def test_kline_on_usdm_closes_with_the_next_trade_or_after_two_seconds() -> None:
    """A USD-M close comes with the first trade of the next minute, or on a timer of two seconds; idle minutes have none."""

    async def story(world: World) -> object:
        _, ear = await world.listen("solusdt@kline_1m", "wanusdt@kline_1m")
        await world.clock.sleep(3 * 3600)
        return ear.closes

    closes = simulate(story, market=Market.USDM)
    waits = [kline["E"] - kline["T"] for kline in closes]
    assert max(waits) == 2005
    assert min(waits) < 500
    assert len(set(waits)) > 20
    assert all(kline["n"] for kline in closes)


def test_kline_of_idle_usdm_minutes_closes_where_asked_for() -> None:
    """With the knob on, a minute without trades gets its close on USD-M too."""

    async def story(world: World) -> object:
        _, ear = await world.listen("wanusdt@kline_1m")
        await world.clock.sleep(3605)
        return ear.closes

    assert len(simulate(story, market=Market.USDM, idle_closes=True)) == 60
    assert len(simulate(story, market=Market.USDM)) < 40


def test_kline_shows_a_candle_that_began_before_the_subscription() -> None:
    """Who subscribes in the middle of an hour gets the hour from its beginning."""

    async def story(world: World) -> object:
        await world.clock.sleep(1800.5)
        _, ear = await world.listen("btcusdt@kline_1h")
        await world.clock.sleep(1805)
        assert (
            as_row(ear.closes[0])
            == world.exchange.truth("BTCUSDT", "1h", world.exchange.start, world.exchange.start + 1)[0]
        )
        first = ear.klines[0]
        assert first["f"] == ear.closes[0]["f"]
        assert first["t"] * 1000 == world.exchange.start

    simulate(story)


def test_kline_has_microseconds_where_the_url_asks_for_them() -> None:
    """With timeUnit=MICROSECOND every time of the frame is in microseconds."""

    async def story(world: World) -> object:
        _, ear = await world.listen("btcusdt@kline_1m&timeUnit=MICROSECOND")
        await world.clock.sleep(61)
        return world.exchange.start, ear.closes[0]

    start, kline = simulate(story)
    assert kline["t"] == start
    assert kline["T"] == start + MINUTE - 1
    assert start + MINUTE < kline["E"] < start + MINUTE + SECOND
