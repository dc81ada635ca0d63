"""One slot of the feed: connect, keep, renew before the end, connect again."""

import asyncio
from itertools import pairwise
from random import Random

import pytest

from candlewick.clock import SystemClock
from candlewick.errors import Banned, ExchangeError, RateLimited, Unreachable
from candlewick.events import Event, FeedDown, FeedRenewed, FeedUp
from candlewick.live.backoff import Attempts, Backoff
from candlewick.live.session import RENEW_BEFORE_S
from candlewick.live.shard import OVERLAP_S, SETTLE_MOST_S, Shard
from candlewick.market import SECOND
from tests.unit.live.network import SHUTDOWN, SPOT, Network, frame, in_virtual_time, streams

NAME = "btcusdt@kline_1m"


class Slot:
    """A shard that runs on a network of the test's making."""

    def __init__(self, clock: SystemClock, symbols: list[str] | None = None) -> None:
        self.clock = clock
        self.network = Network(clock)
        self.events: list[tuple[float, Event]] = []
        self.got: list[bytes] = []
        self.bad: list[bytes] = []
        self.shard = Shard(
            "spot-1", "", streams(SPOT, symbols or ["BTCUSDT", "ETHUSDT"], self.got), venue=SPOT,
            base_url="ws://exchange.test", dialer=self.network, clock=clock,
            backoff=Backoff(Attempts(SPOT.stream_limits), Random(1), jitter=0.0),
            reject=lambda _, payload, __: self.bad.append(payload),
            tell=lambda event: self.events.append((clock.monotonic(), event)),
        )  # fmt: skip
        self.running = asyncio.ensure_future(self.shard.run())

    @property
    def told(self) -> list[str]:
        return [type(event).__name__ for _, event in self.events]

    def downs(self) -> list[FeedDown]:
        return [event for _, event in self.events if isinstance(event, FeedDown)]

    async def stop(self) -> None:
        self.running.cancel()
        await asyncio.wait({self.running})
        await self.clock.sleep(1)


async def opened(clock: SystemClock, symbols: list[str] | None = None) -> Slot:
    """A shard whose first connection is open."""
    slot = Slot(clock, symbols)
    await clock.sleep(1)
    assert slot.told == ["FeedUp"]
    return slot


def test_shard_connects_and_hands_on_frames() -> None:
    """It names its streams in the URL, tells that it is up, starts the watches, and frames arrive."""

    async def story(clock: SystemClock) -> Slot:
        slot = await opened(clock)
        slot.network.wires[0].deliver(frame(NAME))
        slot.network.wires[0].deliver(frame(NAME)[:-1] + b',"bad":1}')
        slot.network.wires[0].deliver(b'{"stream":"!x","data":{"e":"news"}}')
        return slot

    slot = in_virtual_time(story)
    assert slot.network.wires[0].names == [NAME, "ethusdt@kline_1m"]
    assert slot.network.wires[0].url.startswith("ws://exchange.test/stream?streams=")
    assert slot.events[0][1] == FeedUp("spot-1", 2)
    assert all(one.watch.asked_at is not None for one in slot.shard.streams)
    assert (len(slot.got), len(slot.bad), slot.shard.unknown) == (1, 1, {"news": 1})


def test_shard_asks_for_many_streams_by_message() -> None:
    """What the URL may not carry is subscribed to afterwards, all of it."""
    symbols = [f"S{number}USDT" for number in range(250)]

    async def story(clock: SystemClock) -> Slot:
        slot = await opened(clock, symbols)
        await clock.sleep(10)
        return slot

    wire = in_virtual_time(story).network.wires[0]
    asked = [name for _, message in wire.sent for name in message["params"]]  # type: ignore[attr-defined]
    assert len(wire.names) == SPOT.stream_limits.url_names
    assert [*wire.names, *asked] == [f"{symbol.lower()}@kline_1m" for symbol in symbols]


def test_shard_connects_again_when_its_connection_ends() -> None:
    """Every end is told once, with its reason; after a connection that lasted the next one comes at once."""

    async def story(clock: SystemClock) -> Slot:
        slot = await opened(clock)
        for number in range(3):
            await clock.sleep(120)
            slot.network.wires[-1].drop(f"reset {number}")
            assert slot.shard.streams[0].watch.asked_at is not None
            await clock.sleep(0.05)
            assert slot.shard.streams[0].watch.asked_at is None
            assert (slot.shard.current, slot.shard.reason) == (None, f"reset {number}")
        await clock.sleep(5)
        return slot

    slot = in_virtual_time(story)
    assert slot.told == ["FeedUp", *["FeedDown", "FeedUp"] * 3]
    assert [(one.connection, one.reason, one.retry_s) for one in slot.downs()] == [
        ("spot-1", f"reset {number}", 0.0) for number in range(3)
    ]
    assert (slot.shard.reconnects, slot.shard.renewals, len(slot.network.wires)) == (3, 0, 4)


def test_shard_waits_longer_after_each_failure() -> None:
    """Refused dials are told one by one and come ever more rarely; the reason can be read meanwhile."""

    async def story(clock: SystemClock) -> Slot:
        slot = Slot(clock)
        slot.network.failing = lambda: Unreachable("connection refused")
        await clock.sleep(60)
        assert slot.shard.reason == "connection refused"
        slot.network.failing = lambda: None
        await clock.sleep(20)
        return slot

    slot = in_virtual_time(story)
    pauses = [round(later - sooner - slot.network.delay_s, 3) for sooner, later in pairwise(slot.network.dialed_at)]
    assert pauses[:5] == [1, 2, 4, 8, 8]
    assert slot.told == ["FeedDown"] * (len(slot.network.dialed_at) - 1) + ["FeedUp"]
    assert [one.retry_s for one in slot.downs()][:5] == pytest.approx([1, 2, 4, 8, 8])


def test_shard_counts_when_it_changed() -> None:
    """Since when it has been connected, or has not been: failed attempts and renewals do not change it."""

    async def story(clock: SystemClock) -> list[float]:
        slot = await opened(clock)
        seen = [slot.shard.changed_at]
        slot.shard.renew("a test")
        await clock.sleep(30)
        seen.append(slot.shard.changed_at)
        slot.network.failing = lambda: Unreachable("no")
        slot.network.open[0].drop("reset")
        await clock.sleep(100)
        return [*seen, slot.shard.changed_at]

    assert in_virtual_time(story) == pytest.approx([0.1, 0.1, 31])


@pytest.mark.parametrize("error", ["banned", "limited"])
def test_shard_leaves_the_exchange_alone_when_told_to(error: str) -> None:
    """After a ban or a 429 nothing is dialed before the time the exchange named; the event says how long."""

    async def story(clock: SystemClock) -> Slot:
        slot = Slot(clock)
        failures: list[ExchangeError] = [
            Banned("answered 418", clock.now() + 600 * SECOND)
            if error == "banned"
            else RateLimited("answered 429", 600)
        ]
        slot.network.failing = lambda: failures.pop() if failures else None
        await clock.sleep(900)
        return slot

    slot = in_virtual_time(story)
    first, second = slot.network.dialed_at
    assert (first, second) == (0, pytest.approx(600, abs=0.2))
    assert slot.told == ["FeedDown", "FeedUp"]
    assert slot.downs()[0].retry_s == pytest.approx(600, abs=0.2)


def test_renewal_opens_first_and_overlaps() -> None:
    """The old connection delivers until the new one has been asked for everything and a while longer; no end is told."""

    async def story(clock: SystemClock) -> tuple[Slot, list[int]]:
        slot = await opened(clock, [f"S{number}USDT" for number in range(150)])
        old = slot.network.wires[0]
        slot.shard.renew("a test")
        both = 0
        for _ in range(80):
            await clock.sleep(0.1)
            for wire in slot.network.open:
                wire.deliver(frame("s1usdt@kline_1m"))
            both += len(slot.network.open) == 2
        return slot, [both, old.is_over]

    slot, (both, over) = in_virtual_time(story)
    assert over
    assert both * 0.1 >= OVERLAP_S
    assert slot.told == ["FeedUp", "FeedUp", "FeedRenewed"]
    assert slot.events[-1][1] == FeedRenewed("spot-1", "a test")
    assert slot.network.wires[0].said_goodbye == "replaced"
    assert (slot.shard.reconnects, slot.shard.renewals) == (0, 1)
    assert len(slot.got) == 80 + both


@pytest.mark.parametrize("way", ["age", "notice", "asked"])
def test_renewal_has_many_causes(way: str) -> None:
    """Age, a notice of the exchange and the feed itself each bring one renewal, and only one."""

    async def story(clock: SystemClock) -> Slot:
        slot = await opened(clock)
        if way == "age":
            await clock.sleep(SPOT.stream_limits.lifetime_s - RENEW_BEFORE_S)
        elif way == "notice":
            slot.network.wires[0].deliver(SHUTDOWN)
            slot.network.wires[0].deliver(SHUTDOWN)
        else:
            slot.shard.renew("silent")
            slot.shard.renew("silent too")
        await clock.sleep(60)
        return slot

    slot = in_virtual_time(story)
    assert slot.told == ["FeedUp", "FeedUp", "FeedRenewed"]
    assert len(slot.network.open) == 1


def test_renewal_that_fails_keeps_the_old_connection() -> None:
    """While no new one can be had the old one delivers; each attempt is told, and they come ever more rarely."""

    async def story(clock: SystemClock) -> Slot:
        slot = await opened(clock)
        slot.network.failing = lambda: Unreachable("connection refused")
        slot.shard.renew("a test")
        await clock.sleep(300)
        assert slot.shard.current is not None
        slot.network.wires[0].deliver(frame(NAME))
        slot.network.failing = lambda: None
        await clock.sleep(60)
        return slot

    slot = in_virtual_time(story)
    assert len(slot.got) == 1
    assert slot.told[-2:] == ["FeedUp", "FeedRenewed"]
    assert set(slot.told[1:-2]) == {"FeedDown"}
    pauses = [later - sooner for sooner, later in pairwise(slot.network.dialed_at[1:])]
    assert pauses[:3] == sorted(pauses[:3])
    assert min(pauses[3:]) >= 8
    assert slot.shard.reconnects == 0
    assert len(slot.network.open) == 1


def test_renewal_whose_connection_dies_at_once_keeps_the_old_one() -> None:
    """A new connection that ends while both deliver is told and not used; another one is opened later."""

    async def story(clock: SystemClock) -> Slot:
        slot = await opened(clock)
        slot.shard.renew("a test")
        await clock.sleep(1)
        fresh = slot.network.wires[1]
        fresh.drop("reset by peer")
        await clock.sleep(60)
        return slot

    slot = in_virtual_time(story)
    assert slot.told == ["FeedUp", "FeedDown", "FeedUp", "FeedRenewed"]
    assert slot.downs()[0].reason == "reset by peer"
    assert len(slot.network.wires) == 3
    assert slot.network.open == [slot.network.wires[2]]
    assert slot.shard.reconnects == 0


def test_end_of_the_old_connection_during_a_renewal_is_no_gap() -> None:
    """The exchange closes the old one while the new one already delivers: nothing is dialed besides, no end is told."""

    async def story(clock: SystemClock) -> Slot:
        slot = await opened(clock)
        slot.network.wires[0].deliver(SHUTDOWN)
        await clock.sleep(0.5)
        slot.network.wires[0].drop("1001 going away")
        await clock.sleep(60)
        return slot

    slot = in_virtual_time(story)
    assert len(slot.network.wires) == 2
    assert slot.told == ["FeedUp", "FeedUp", "FeedRenewed"]


def test_end_of_both_connections_during_a_renewal_is_one_end() -> None:
    """Old and new are lost together: that is told, and the shard connects again."""

    async def story(clock: SystemClock) -> Slot:
        slot = await opened(clock)
        slot.shard.renew("a test")
        await clock.sleep(1)
        for wire in slot.network.wires:
            wire.drop("reset by peer")
        await clock.sleep(60)
        return slot

    slot = in_virtual_time(story)
    assert slot.told == ["FeedUp", "FeedDown", "FeedDown", "FeedUp"]
    assert slot.shard.reconnects == 1
    assert len(slot.network.open) == 1


def test_end_of_the_connection_ends_the_wait_for_a_renewal() -> None:
    """Between two attempts to renew, the old connection ends: the shard does not wait for the next attempt's turn."""

    async def story(clock: SystemClock) -> Slot:
        slot = await opened(clock)
        slot.network.failing = lambda: Unreachable("connection refused")
        slot.shard.renew("a test")
        await clock.sleep(100)
        slot.network.failing = lambda: None
        slot.network.wires[0].drop("reset by peer")
        await clock.sleep(0.01)
        assert slot.downs()[-1].reason == "reset by peer"
        await clock.sleep(20)
        return slot

    slot = in_virtual_time(story)
    assert slot.told[-1] == "FeedUp"
    assert slot.shard.renewals == 0


def test_renewal_does_not_wait_for_answers_for_ever() -> None:
    """A new connection that is never answered but lives is used all the same."""

    async def story(clock: SystemClock) -> tuple[Slot, float]:
        slot = await opened(clock, [f"S{number}USDT" for number in range(150)])
        slot.network.silent = True
        slot.shard.renew("a test")
        began = clock.monotonic()
        while slot.shard.renewals == 0:
            for wire in slot.network.open:
                wire.deliver(frame("s1usdt@kline_1m"))
            await clock.sleep(1)
        return slot, clock.monotonic() - began

    _, took_s = in_virtual_time(story)
    assert SETTLE_MOST_S <= took_s <= SETTLE_MOST_S + OVERLAP_S + 3


def test_pause_reaches_every_connection() -> None:
    """Nothing is read while paused: neither on the connection in use, nor beside it, nor on one opened meanwhile."""

    async def story(clock: SystemClock) -> list[list[bool]]:
        slot = await opened(clock)
        slot.shard.renew("a test")
        await clock.sleep(1)
        assert len(slot.network.open) == 2
        slot.shard.pause()
        states = [[wire.paused for wire in slot.network.open]]
        await clock.sleep(30)
        slot.network.open[0].drop("reset by peer")
        await clock.sleep(30)
        states.append([wire.paused for wire in slot.network.open])
        slot.shard.resume()
        states.append([wire.paused for wire in slot.network.open])
        return states

    assert in_virtual_time(story) == [[True, True], [True], [False]]


def test_resume_reaches_a_connection_that_opened_under_pressure() -> None:
    """A renewal that began while nothing was read is read once reading goes on, and becomes the connection in use."""

    async def story(clock: SystemClock) -> Slot:
        slot = await opened(clock)
        slot.shard.pause()
        slot.shard.renew("a test")
        await clock.sleep(1)
        slot.shard.resume()
        await clock.sleep(30)
        assert [wire.paused for wire in slot.network.open] == [False]
        slot.network.open[0].deliver(frame(NAME))
        return slot

    slot = in_virtual_time(story)
    assert slot.shard.renewals == 1
    assert len(slot.got) == 1


@pytest.mark.parametrize("when_s", [0.05, 0.5, 2.0, 3.3, 20.0])
def test_stop_says_goodbye_on_every_connection(when_s: float) -> None:
    """Stopped at any moment of a renewal, nothing stays open, and nobody is left without a word."""

    async def story(clock: SystemClock) -> Slot:
        slot = await opened(clock)
        slot.shard.renew("a test")
        await clock.sleep(when_s)
        await slot.stop()
        return slot

    slot = in_virtual_time(story)
    assert slot.network.open == []
    assert all(wire.said_goodbye in {"replaced", "shutting down"} for wire in slot.network.wires)
    assert not slot.downs()


def test_control_errors_of_a_connection_are_kept() -> None:
    """What the exchange refused on connections that are gone still counts."""

    async def story(clock: SystemClock) -> Slot:
        slot = await opened(clock)
        slot.network.open[0].deliver(b'{"error":{"code":2,"msg":"Invalid request"},"id":7}')
        slot.shard.renew("a test")
        await clock.sleep(30)
        slot.network.open[0].deliver(b'{"error":{"code":2,"msg":"Invalid request"},"id":8}')
        slot.network.open[0].drop("reset")
        await clock.sleep(30)
        return slot

    assert in_virtual_time(story).shard.control_errors == 2


def test_shard_without_a_connection_bears_everything() -> None:
    """Before it is connected there is nothing to renew, to ask for, to pause or to resume."""

    async def story(clock: SystemClock) -> Slot:
        slot = Slot(clock)
        slot.shard.renew("a test")
        slot.shard.resubscribe([NAME])
        slot.shard.pause()
        slot.shard.resume()
        await clock.sleep(10)
        return slot

    assert in_virtual_time(story).told == ["FeedUp"]
