"""All streams of a market: spread over connections, watched, asked for again when they fall silent."""

import asyncio
from collections.abc import Callable, Sequence
from random import Random

import pytest

from candlewick.clock import SystemClock
from candlewick.errors import Unreachable
from candlewick.events import Event, FeedDown, FeedRenewed, FeedUp, StreamRevived, StreamSilent
from candlewick.exchanges.exchange import StreamKind, Subscription, Venue
from candlewick.live.backoff import SHARE_OF_ATTEMPTS
from candlewick.live.feed import SPACING_S, Feed
from candlewick.live.liveness import Activity
from candlewick.live.stream import Stream
from tests.unit.live.network import SPOT, USDM, Network, frame, in_virtual_time, stream, streams

NAME = "btcusdt@kline_1m"


class Tight:
    """A venue that carries only a few streams a connection."""

    def __init__(self, venue: Venue, most: int) -> None:
        self._venue = venue
        self.stream_limits = venue.stream_limits._replace(streams_per_connection=most)

    def __getattr__(self, name: str) -> object:
        return getattr(self._venue, name)


class Hall:
    """A feed that runs on a network of the test's making, over a market that trades at a pace."""

    def __init__(self, clock: SystemClock, wanted: Sequence[Stream], venue: Venue = SPOT) -> None:
        self.clock = clock
        self.network = Network(clock)
        self.events: list[Event] = []
        self.probed: list[Subscription] = []
        self.trades_per_s = 2.0
        self.rest_answers = True
        self.feed = Feed(
            venue, "ws://exchange.test", wanted, dialer=self.network, clock=clock, random=Random(1),
            probe=self._probe, reject=lambda *_: None, tell=self.events.append,
        )  # fmt: skip
        self.running = asyncio.ensure_future(self.feed.run())

    async def _probe(self, subscription: Subscription) -> Activity | None:
        self.probed.append(subscription)
        await self.clock.sleep(0.1)
        return Activity(0, int(self.clock.monotonic() * self.trades_per_s)) if self.rest_answers else None

    def told(self, *kinds: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kinds)]

    async def deliver(self, seconds: int, heard: Callable[[str], bool] = lambda _: True) -> None:
        """Every stream that is `heard` delivers once a second on every connection that carries it."""
        for _ in range(seconds):
            for wire in self.network.open:
                for name in wire.names:
                    if heard(name):
                        wire.deliver(frame(name))
            await self.clock.sleep(1)


def test_streams_are_spread_over_connections_at_the_limit() -> None:
    """No connection carries more than the exchange allows, none less than it could, and every stream is on one."""
    symbols = [f"S{number}USDT" for number in range(25)]

    async def story(clock: SystemClock) -> Hall:
        hall = Hall(clock, streams(SPOT, symbols, []), Tight(SPOT, 10))  # type: ignore[arg-type]  # it stands for one
        assert not hall.feed.connected
        await clock.sleep(2)
        assert hall.feed.connected
        return hall

    hall = in_virtual_time(story)
    assert [len(wire.names) for wire in hall.network.wires] == [10, 10, 5]
    assert [name for wire in hall.network.wires for name in wire.names] == [
        f"{one.lower()}@kline_1m" for one in symbols
    ]
    assert [shard.name for shard in hall.feed.shards] == ["spot-1", "spot-2", "spot-3"]


def test_first_connections_are_spaced() -> None:
    """A start is no storm: one dial after the other."""

    async def story(clock: SystemClock) -> Hall:
        hall = Hall(clock, streams(SPOT, [f"S{number}USDT" for number in range(8)], []), Tight(SPOT, 2))  # type: ignore[arg-type]
        await clock.sleep(5)
        return hall

    assert in_virtual_time(story).network.dialed_at == pytest.approx([n * SPACING_S for n in range(4)])


def test_routes_have_connections_of_their_own() -> None:
    """USD-M serves kinds on different paths: asked for on another one they would be acknowledged and stay silent."""
    kinds = [StreamKind.KLINE, StreamKind.BOOK_TICKER, StreamKind.AGG_TRADE, StreamKind.TRADE]

    async def story(clock: SystemClock) -> Hall:
        wanted = [stream(USDM, symbol, [], kind) for kind in kinds for symbol in ("BTCUSDT", "ETHUSDT")]
        hall = Hall(clock, wanted, USDM)
        await clock.sleep(2)
        return hall

    hall = in_virtual_time(story)
    market, public = hall.network.wires
    assert "/market/stream?" in market.url
    assert "/public/stream?" in public.url
    assert {name.partition("@")[2] for name in market.names} == {"kline_1m", "aggTrade"}
    assert {name.partition("@")[2] for name in public.names} == {"bookTicker", "trade"}
    assert [shard.name for shard in hall.feed.shards] == ["market-1", "public-1"]


def test_attempts_of_all_connections_stay_within_the_window() -> None:
    """However many connections are refused, the exchange never sees more attempts than a share of its limit."""

    async def story(clock: SystemClock) -> Hall:
        hall = Hall(clock, streams(SPOT, [f"S{number}USDT" for number in range(40)], []), Tight(SPOT, 2))  # type: ignore[arg-type]
        hall.network.failing = lambda: Unreachable("refused")
        await clock.sleep(1800)
        return hall

    dialed = in_virtual_time(story).network.dialed_at
    limits = SPOT.stream_limits
    most = max(
        sum(start <= time < start + limits.attempts_window_s for time in dialed[index:])
        for index, start in enumerate(dialed)
    )
    assert most == limits.attempts // SHARE_OF_ATTEMPTS


def test_each_connection_is_told_on_its_own() -> None:
    """One of several ends: only that one is told and dialed again, the others go on."""

    async def story(clock: SystemClock) -> Hall:
        hall = Hall(clock, streams(SPOT, ["BTCUSDT", "ETHUSDT", "SOLUSDT"], []), Tight(SPOT, 1))  # type: ignore[arg-type]
        await hall.deliver(70)
        hall.network.wires[1].drop("reset by peer")
        await clock.sleep(0.05)
        assert not hall.feed.connected
        await hall.deliver(10)
        assert hall.feed.connected
        return hall

    hall = in_virtual_time(story)
    assert [event.connection for event in hall.told(FeedUp)] == ["spot-1", "spot-2", "spot-3", "spot-2"]  # type: ignore[union-attr]
    assert [event.connection for event in hall.told(FeedDown)] == ["spot-2"]  # type: ignore[union-attr]


def test_silent_stream_is_asked_for_again_and_revives() -> None:
    """A stream that stopped while its market trades is told, asked for anew on its connection, and told when it revives."""

    async def story(clock: SystemClock) -> Hall:
        hall = Hall(clock, streams(SPOT, ["BTCUSDT", "ETHUSDT"], []))
        await hall.deliver(60)
        await hall.deliver(15, heard=lambda name: name != NAME)
        await hall.deliver(5)
        return hall

    hall = in_virtual_time(story)
    silent, revived = hall.told(StreamSilent, StreamRevived)
    assert isinstance(silent, StreamSilent)
    assert (silent.stream, revived) == (NAME, StreamRevived(NAME, pytest.approx(15, abs=3)))
    assert "REST counted" in silent.evidence
    (wire,) = hall.network.wires
    assert [(message["method"], message["params"]) for _, message in wire.sent] == [
        ("UNSUBSCRIBE", [NAME]),
        ("SUBSCRIBE", [NAME]),
    ]
    assert {one.symbol for one in hall.probed} == {"BTCUSDT"}
    assert hall.told(FeedRenewed) == []


def test_stream_that_stays_silent_gets_a_new_connection() -> None:
    """Asking again did not help: the connection is renewed, the others' frames never stop."""

    async def story(clock: SystemClock) -> tuple[Hall, int]:
        got: list[bytes] = []
        hall = Hall(clock, streams(SPOT, ["BTCUSDT", "ETHUSDT"], got))
        await hall.deliver(60)
        got.clear()
        first = hall.network.wires[0]
        await hall.deliver(40, heard=lambda name: name != NAME or first.is_over)
        return hall, len([one for one in got if b"ethusdt" in one])

    hall, others = in_virtual_time(story)
    assert [event.reason for event in hall.told(FeedRenewed)] == [f"{NAME} is silent"]  # type: ignore[union-attr]
    assert len(hall.told(StreamSilent)) == len(hall.told(StreamRevived)) == 1
    assert hall.told(FeedDown) == []
    assert others >= 40


def test_many_silent_streams_of_a_connection_are_one_message() -> None:
    """Streams that fall silent together are asked for together, and their connection is renewed once."""
    symbols = [f"S{number}USDT" for number in range(30)]

    async def story(clock: SystemClock) -> Hall:
        hall = Hall(clock, streams(SPOT, symbols, []))
        await hall.deliver(60)
        first = hall.network.wires[0]
        await hall.deliver(60, heard=lambda _: first.is_over)
        return hall

    hall = in_virtual_time(story)
    messages = [message for _, message in hall.network.wires[0].sent if message["method"] == "SUBSCRIBE"]
    assert sum(len(message["params"]) for message in messages) == 30  # type: ignore[arg-type]
    assert len(messages) <= 4
    assert len(hall.told(StreamSilent)) == 30
    assert len(hall.told(FeedRenewed)) == 1


def test_quiet_market_is_left_in_peace() -> None:
    """Streams without trades are looked up now and then, and nothing is told or renewed."""

    async def story(clock: SystemClock) -> Hall:
        hall = Hall(clock, streams(SPOT, ["BTCUSDT"], []))
        hall.trades_per_s = 0.0
        await clock.sleep(3600)
        return hall

    hall = in_virtual_time(story)
    assert hall.told(StreamSilent, FeedRenewed, FeedDown) == []
    assert 10 < len(hall.probed) < 60


def test_silence_is_no_alarm_while_rest_does_not_answer() -> None:
    """Without evidence nothing is told; it is once REST answers again."""

    async def story(clock: SystemClock) -> tuple[Hall, list[Event]]:
        hall = Hall(clock, streams(SPOT, ["BTCUSDT"], []))
        hall.rest_answers = False
        await clock.sleep(600)
        before = hall.told(StreamSilent)
        hall.rest_answers = True
        await clock.sleep(90)
        return hall, before

    hall, before = in_virtual_time(story)
    assert before == []
    assert len(hall.told(StreamSilent)) == 1


def test_pause_and_resume_reach_all_connections() -> None:
    """Pressure stops the reading of every socket, and what came meanwhile is read afterwards."""

    async def story(clock: SystemClock) -> tuple[list[bool], list[bool], int]:
        got: list[bytes] = []
        hall = Hall(clock, streams(SPOT, ["BTCUSDT", "ETHUSDT", "SOLUSDT"], got), Tight(SPOT, 1))  # type: ignore[arg-type]
        await clock.sleep(2)
        hall.feed.pause()
        paused = [wire.paused for wire in hall.network.wires]
        await hall.deliver(3)
        assert got == []
        hall.feed.resume()
        return paused, [wire.paused for wire in hall.network.wires], len(got)

    assert in_virtual_time(story) == ([True] * 3, [False] * 3, 9)


def test_stop_closes_every_connection() -> None:
    """A feed that is cancelled leaves no connection open."""

    async def story(clock: SystemClock) -> Hall:
        hall = Hall(clock, streams(SPOT, ["BTCUSDT", "ETHUSDT", "SOLUSDT"], []), Tight(SPOT, 1))  # type: ignore[arg-type]
        await clock.sleep(2)
        hall.running.cancel()
        await asyncio.wait({hall.running})
        await clock.sleep(1)
        return hall

    hall = in_virtual_time(story)
    assert len(hall.network.wires) == 3
    assert hall.network.open == []
    assert {wire.said_goodbye for wire in hall.network.wires} == {"shutting down"}
