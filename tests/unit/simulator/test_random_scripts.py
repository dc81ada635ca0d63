"""Whatever a random script does, the exchange itself keeps working, the same way every time."""

import asyncio
from typing import Any

import pytest

from candlewick.errors import ExchangeError
from candlewick.market import Market
from candlewick.simulator.faults import random_script
from tests.unit.simulator.world import World, simulate

HOURS = 1.0


async def _keep_listening(world: World, *names: str) -> list[bytes]:
    """A simple client: it dials again whenever it is cut off or hears nothing for a minute."""
    heard: list[bytes] = []
    end = world.exchange.start + int(HOURS * 3600e6)
    while world.clock.now() < end:
        try:
            link, ear = await world.listen(*names)
        except ExchangeError as error:
            heard.append(str(error).encode())
            await world.clock.sleep(30)
            continue
        known = 0
        while not ear.ends and world.clock.now() < end:
            await world.clock.sleep(60)
            if len(ear.frames) == known:
                link.abort()
                await world.clock.sleep(1)
            known = len(ear.frames)
        link.abort()
        await world.clock.sleep(1)
        heard += [frame for _, frame in ear.frames]
    return heard


async def _keep_asking(world: World, path: str) -> list[bytes]:
    bodies: list[bytes] = []
    while world.clock.now() < world.exchange.start + int(HOURS * 3600e6):
        try:
            answer = await world.get(path, symbol="SOLUSDT", interval="1m", limit=100)
            bodies.append(answer.body)
        except ExchangeError as error:
            bodies.append(str(error).encode())
        await world.clock.sleep(20)
    return bodies


@pytest.mark.parametrize("seed", range(12))
def test_exchange_survives_random_scripts(seed: int) -> None:
    """No callback of the machine fails, afterwards everything works, and a second run hears the very same."""
    market = Market.SPOT if seed % 2 else Market.USDM
    script = random_script(seed, HOURS * 3600)

    async def story(world: World) -> object:
        failures: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        path = "/api/v3/klines" if market is Market.SPOT else "/fapi/v1/klines"
        heard = await asyncio.gather(
            _keep_listening(world, "solusdt@kline_1m", "solusdt@aggTrade"), _keep_asking(world, path)
        )
        assert failures == []
        _, ear = await world.listen("btcusdt@kline_1m")
        await world.clock.sleep(130)
        assert len(ear.closes) >= 2
        return heard

    first = simulate(story, market=market, faults=script, seed=seed, surprises=True)
    if seed < 3:
        assert first == simulate(story, market=market, faults=script, seed=seed, surprises=True)
