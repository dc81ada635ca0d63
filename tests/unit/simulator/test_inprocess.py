"""Connections without sockets behave as connections with them."""

import asyncio

import pytest

from candlewick.errors import Unreachable
from candlewick.market import SECOND
from tests.unit.simulator.world import START, World, simulate


def test_link_takes_time_either_way() -> None:
    """A dial takes two travels, a question and its answer two more."""

    async def story(world: World) -> object:
        link, ear = await world.listen()
        dialed = world.clock.now()
        link.send(b'{"method":"LIST_SUBSCRIPTIONS","id":1}')
        await world.clock.sleep(1)
        return dialed - START, ear.frames[0][0] - dialed

    assert simulate(story) == (10_000, 10_000)


def test_link_that_is_paused_keeps_everything_in_the_socket() -> None:
    """While paused nothing arrives; after resuming all of it does, in order."""

    async def story(world: World) -> object:
        link, ear = await world.listen("btcusdt@aggTrade")
        await world.clock.sleep(10)
        link.pause()
        count = len(ear.frames)
        await world.clock.sleep(30)
        held = len(ear.frames)
        link.resume()
        await world.clock.sleep(10)
        return count, held, [event["a"] for event in ear.events]

    count, held, numbers = simulate(story)
    assert count == held
    assert len(numbers) > held + 20
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_link_paused_for_too_long_is_dropped_by_the_exchange() -> None:
    """Who does not read cannot answer pings either: the exchange ends the connection."""

    async def story(world: World) -> object:
        link, ear = await world.listen("btcusdt@aggTrade")
        link.pause()
        await world.clock.sleep(120)
        link.resume()
        await world.clock.sleep(1)
        return world.exchange.sessions, ear.ends

    sessions, ends = simulate(story)
    assert sessions == {}
    assert len(ends) == 1
    assert "Pong timeout" in ends[0]


def test_link_drowned_in_frames_is_reset() -> None:
    """A reader who never reads is dropped when what it did not read fills the socket."""

    async def story(world: World) -> object:
        link, _ = await world.listen(*(f"{symbol}@trade" for symbol in ("btcusdt", "solusdt")))
        link.pause()
        await world.clock.sleep(19)
        return len(world.exchange.sessions)

    assert simulate(story, activity=100.0) == 0
    assert simulate(story) == 1


@pytest.mark.parametrize("way", ["close", "abort"])
def test_link_ends_once_and_says_nothing_after(way: str) -> None:
    """However the client leaves, `closed` comes once, nothing comes after it, and the exchange forgets the connection."""

    async def story(world: World) -> object:
        link, ear = await world.listen("btcusdt@aggTrade")
        await world.clock.sleep(10)
        if way == "close":
            link.close(1000, "enough")
        else:
            link.abort()
        await world.clock.sleep(1)
        count = len(ear.frames)
        link.abort()
        link.close(1000, "again")
        link.send(b"{}")
        await world.clock.sleep(60)
        return count, len(ear.frames), len(ear.ends), len(world.exchange.sessions)

    count, after, ends, sessions = simulate(story)
    assert count == after
    assert (ends, sessions) == (1, 0)


def test_link_may_be_left_from_within_a_frame() -> None:
    """A listener that aborts on its first frame hears no second one."""

    async def story(world: World) -> object:
        link, ear = await world.listen("btcusdt@trade", "solusdt@trade")
        hear = ear.frame

        def leave(payload: bytes) -> None:
            hear(payload)
            link.abort()

        ear.frame = leave  # type: ignore[method-assign]
        await world.clock.sleep(60)
        return len(ear.frames), len(ear.ends)

    assert simulate(story) == (1, 1)


def test_client_pings_are_answered() -> None:
    """A ping of the client is heard back."""

    async def story(world: World) -> object:
        link, ear = await world.listen()
        link.ping()
        await world.clock.sleep(1)
        return [(ping - START) / SECOND for ping in ear.pings]

    assert simulate(story) == [0.02]


def test_dial_of_what_is_no_websocket_is_unreachable() -> None:
    """A path without a WebSocket endpoint cannot be dialed, and the error says which."""

    async def story(world: World) -> None:
        with pytest.raises(Unreachable, match="nothing"):
            await world.io.dialer.dial("ws://sim/nothing", asyncio.Protocol())  # type: ignore[arg-type]

    simulate(story)
