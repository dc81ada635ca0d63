"""Trade streams: each trade once, holes asked from REST, and what cannot be had named."""

from collections.abc import Callable, Iterable

import pytest

from candlewick.errors import Banned, DecodeError, ExchangeError, Refused, Unreachable
from candlewick.events import TradeHole
from candlewick.exchanges.exchange import StreamKind
from candlewick.integrity.continuity import RESTART
from candlewick.live.liveness import Watch
from candlewick.market import SECOND, Market
from candlewick.services import trades as module
from candlewick.services.streams import TradeReceiver
from candlewick.services.trades import ASK_AGAIN_S, PATIENCE_S, TradeMender
from tests.unit.services.frames import agg_trade_frame, trade_frame
from tests.unit.services.workbench import SPOT, START, USDM, Bench, simulate

FIRST = 5_000_000


class Tape:
    """Trade streams with somebody who mends them."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.mender = TradeMender(bench.client, bench.clock, bench.events.append)
        self.told: dict[str, list[int]] = {}
        self.told_at: dict[int, float] = {}
        bench.start(self.mender.run())

    def stream(self, symbol: str = "BTCUSDT", kind: StreamKind = StreamKind.AGG_TRADE) -> TradeReceiver:
        def consume(symbol: str, trade: object) -> None:
            number = trade.trade_id  # type: ignore[attr-defined]  # whatever a receiver tells is a trade
            self.told.setdefault(symbol, []).append(number)
            self.told_at[number] = (self.bench.clock.now() - START) / SECOND

        name = f"{symbol.lower()}@{kind}"
        return TradeReceiver(
            name, kind, symbol, SPOT.decoders[kind], Watch(name), consume, self.mender.mend, self.mender.doubt
        )

    @property
    def btc(self) -> list[int]:
        return self.told["BTCUSDT"]

    @property
    def holes(self) -> list[tuple[int, int, int]]:
        return [(hole.first_id, hole.trades, hole.recovered) for hole in self.bench.told(TradeHole)]

    @property
    def asked(self) -> list[tuple[int, int]]:
        return [(int(one.params["fromId"]), int(one.params["limit"])) for one in self.bench.rest.asked]


def feed(receiver: TradeReceiver, numbers: Iterable[int]) -> None:
    frame = agg_trade_frame if receiver.kind is StreamKind.AGG_TRADE else trade_frame
    for number in numbers:
        receiver.receive(frame(number, symbol=receiver.symbol))


def test_trades_are_told_once_each_in_order() -> None:
    """Repeated frames are dropped; nothing is asked of REST."""

    async def story(bench: Bench) -> Tape:
        tape = Tape(bench)
        stream = tape.stream()
        for number in range(FIRST, FIRST + 50):
            feed(stream, [number, number, FIRST])
            await bench.clock.sleep(0.5)
        return tape

    tape = simulate(story)
    assert tape.btc == list(range(FIRST, FIRST + 50))
    assert (tape.asked, tape.holes) == ([], [])


def test_frame_of_another_symbol_is_refused() -> None:
    """A trade of another symbol on this stream is an error of the frame."""

    async def story(bench: Bench) -> Tape:
        tape = Tape(bench)
        stream = tape.stream()
        with pytest.raises(DecodeError, match="carried ETHUSDT"):
            stream.receive(agg_trade_frame(FIRST, symbol="ETHUSDT"))
        feed(stream, [FIRST + 9])
        return tape

    assert simulate(story).btc == [FIRST + 9]


@pytest.mark.parametrize("kind", [StreamKind.AGG_TRADE, StreamKind.TRADE])
def test_skipped_trades_are_asked_from_rest_and_told_once(kind: StreamKind) -> None:
    """Exactly what is missing is asked for, told once, and the hole is told as recovered."""

    async def story(bench: Bench) -> Tape:
        tape = Tape(bench)
        bench.rest.trade_ids = set(range(FIRST - 100, FIRST + 100))
        stream = tape.stream(kind=kind)
        feed(stream, [FIRST, FIRST + 1, FIRST + 9, FIRST + 10])
        await bench.clock.sleep(PATIENCE_S + 1)
        feed(stream, range(FIRST + 11, FIRST + 15))
        await bench.clock.sleep(60)
        return tape

    tape = simulate(story)
    assert tape.btc == [
        *(FIRST + n for n in (0, 1, 9, 10)),
        *(FIRST + n for n in range(2, 9)),
        *(FIRST + n for n in range(11, 15)),
    ]
    assert tape.asked == [(FIRST + 2, 7)]
    assert tape.bench.rest.asked[0].path == ("aggTrades" if kind is StreamKind.AGG_TRADE else "historicalTrades")
    assert tape.holes == [(FIRST + 2, 7, 7)]
    assert (tape.mender.skipped, tape.mender.recovered, tape.mender.lost) == (7, 7, 0)
    assert tape.bench.told(TradeHole)[0].reason == "recovered"


def test_frames_in_another_order_ask_nothing() -> None:
    """A hole that closes by itself while one waits is none."""

    async def story(bench: Bench) -> Tape:
        tape = Tape(bench)
        bench.rest.trade_ids = set(range(FIRST, FIRST + 100))
        stream = tape.stream()
        feed(stream, [FIRST, FIRST + 2, FIRST + 3])
        await bench.clock.sleep(PATIENCE_S / 2)
        feed(stream, [FIRST + 1, FIRST + 4])
        await bench.clock.sleep(60)
        return tape

    tape = simulate(story)
    assert sorted(tape.btc) == list(range(FIRST, FIRST + 5))
    assert len(tape.btc) == 5
    assert tape.holes == []
    assert len(tape.asked) <= 1


def test_trade_that_comes_by_both_ways_is_told_once() -> None:
    """What REST gave is dropped when the stream brings it late, whatever the order."""

    async def story(bench: Bench) -> Tape:
        tape = Tape(bench)
        bench.rest.trade_ids = set(range(FIRST, FIRST + 100))
        bench.rest.delay_s = 0.5
        stream = tape.stream()
        feed(stream, [FIRST, FIRST + 5, FIRST + 6])
        await bench.clock.sleep(PATIENCE_S + 0.25)
        feed(stream, [FIRST + 2])
        await bench.clock.sleep(1)
        feed(stream, [FIRST + 1, FIRST + 2, FIRST + 3, FIRST + 4, FIRST + 7])
        await bench.clock.sleep(60)
        return tape

    tape = simulate(story)
    assert sorted(tape.btc) == list(range(FIRST, FIRST + 8))
    assert len(set(tape.btc)) == len(tape.btc)


def test_trades_that_rest_does_not_have_are_asked_for_twice_and_named() -> None:
    """REST may be behind the stream: after a while it is asked once more, then what it lacks is told as lost."""

    async def story(bench: Bench) -> Tape:
        tape = Tape(bench)
        bench.rest.trade_ids = {FIRST + 2, FIRST + 3}
        feed(tape.stream(), [FIRST, FIRST + 5, FIRST + 6])
        await bench.clock.sleep(60)
        return tape

    tape = simulate(story)
    assert tape.btc == [FIRST, FIRST + 5, FIRST + 6, FIRST + 2, FIRST + 3]
    assert tape.asked == [(FIRST + 1, 4), (FIRST + 1, 4)]
    assert tape.bench.rest.asked[1].at_s - tape.bench.rest.asked[0].at_s == pytest.approx(ASK_AGAIN_S, abs=0.1)
    assert tape.holes == [(FIRST + 1, 4, 2)]
    assert tape.mender.lost == 2
    assert tape.bench.told(TradeHole)[0].reason == "the exchange has none of these"


def test_rest_that_is_behind_gives_the_trades_the_second_time() -> None:
    """What REST learns within seconds is not lost."""

    async def story(bench: Bench) -> Tape:
        tape = Tape(bench)
        feed(tape.stream(), [FIRST, FIRST + 3, FIRST + 4])
        await bench.clock.sleep(PATIENCE_S + 1)
        bench.rest.trade_ids = set(range(FIRST, FIRST + 10))
        await bench.clock.sleep(60)
        return tape

    tape = simulate(story)
    assert sorted(tape.btc) == list(range(FIRST, FIRST + 5))
    assert tape.holes == [(FIRST + 1, 2, 2)]


def test_holes_that_lie_near_share_a_page() -> None:
    """Every other frame lost: one question of REST covers all the holes, and each is told."""

    async def story(bench: Bench) -> Tape:
        tape = Tape(bench)
        bench.rest.trade_ids = set(range(FIRST, FIRST + 400))
        feed(tape.stream(), [*range(FIRST, FIRST + 200, 2), FIRST + 199])
        await bench.clock.sleep(60)
        return tape

    tape = simulate(story)
    assert sorted(tape.btc) == list(range(FIRST, FIRST + 200))
    assert len(tape.asked) == 1
    assert len(tape.holes) == tape.mender.recovered == 99


def test_holes_that_lie_far_apart_are_asked_for_by_themselves() -> None:
    """A page is no larger than what is missing in its reach."""

    async def story(bench: Bench) -> Tape:
        tape = Tape(bench)
        bench.rest.trade_ids = set(range(FIRST, FIRST + 9000))
        feed(tape.stream(), [FIRST, *range(FIRST + 3, FIRST + 5000), *range(FIRST + 5004, FIRST + 5006)])
        await bench.clock.sleep(60)
        return tape

    tape = simulate(story)
    assert sorted(tape.btc) == list(range(FIRST, FIRST + 5006))
    assert tape.asked == [(FIRST + 1, 2), (FIRST + 5000, 4)]


def test_long_hole_is_asked_page_by_page_and_holds_up_nobody() -> None:
    """Streams take turns: a short hole of another stream is filled after a page of the long one, not after all."""

    async def story(bench: Bench) -> Tape:
        tape = Tape(bench)
        bench.rest.trade_ids = set(range(FIRST, FIRST + 9000))
        feed(tape.stream(), [FIRST, FIRST + 8500, FIRST + 8501])
        feed(tape.stream("ETHUSDT"), [FIRST, FIRST + 3, FIRST + 4])
        await bench.clock.sleep(60)
        return tape

    tape = simulate(story)
    assert sorted(tape.btc) == list(range(FIRST, FIRST + 8502))
    assert sorted(tape.told["ETHUSDT"]) == list(range(FIRST, FIRST + 5))
    symbols = [one.params["symbol"] for one in tape.bench.rest.asked]
    assert symbols.index("ETHUSDT") <= 1
    assert len(symbols) == 10


def test_hole_larger_than_most_is_filled_as_far_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an enormous hole a bounded part is asked for, once, and the rest is named as lost."""
    monkeypatch.setattr(module, "MOST", 3000)

    async def story(bench: Bench) -> Tape:
        tape = Tape(bench)
        bench.rest.trade_ids = set(range(FIRST, FIRST + 20_000))
        feed(tape.stream(), [FIRST, FIRST + 10_001, FIRST + 10_002])
        await bench.clock.sleep(120)
        return tape

    tape = simulate(story)
    assert tape.holes == [(FIRST + 1, 10_000, 3000)]
    assert tape.bench.told(TradeHole)[0].reason == "more than 3000 in one hole"
    assert tape.mender.lost == 7000
    assert len(tape.btc) == len(set(tape.btc)) == 3003
    assert len(tape.asked) == 3


def test_mangled_id_opens_no_hole() -> None:
    """A spoiled id is not believed: its own trade comes from REST, and nothing else is asked for."""

    async def story(bench: Bench) -> Tape:
        tape = Tape(bench)
        bench.rest.trade_ids = set(range(FIRST, FIRST + 100))
        stream = tape.stream()
        feed(stream, [FIRST, FIRST + 1, 9 * FIRST])
        await bench.clock.sleep(0.1)
        feed(stream, [FIRST + 3, FIRST + 4, FIRST + 5])
        await bench.clock.sleep(60)
        return tape

    tape = simulate(story)
    assert sorted(tape.btc) == list(range(FIRST, FIRST + 6))
    assert tape.asked == [(FIRST + 2, 1)]
    assert tape.holes == [(FIRST + 2, 1, 1)]


@pytest.mark.parametrize("mangled", [9 * FIRST, FIRST - RESTART - 7])
@pytest.mark.parametrize("known", [False, True])
def test_mangled_id_of_a_quiet_market_is_looked_up(mangled: int, known: bool) -> None:
    """Nothing confirms it for seconds: REST has no such trade, or another one under that id, and it is dropped."""

    async def story(bench: Bench) -> Tape:
        tape = Tape(bench)
        bench.rest.trade_ids = {*range(FIRST, FIRST + 100)} | ({mangled} if known else set())
        stream = tape.stream()
        feed(stream, [FIRST, FIRST + 1])
        stream.receive(agg_trade_frame(mangled, time=START + 500_000))
        await bench.clock.sleep(30)
        feed(stream, [FIRST + 3, FIRST + 4])
        await bench.clock.sleep(60)
        return tape

    tape = simulate(story)
    assert tape.btc == [FIRST, FIRST + 1, FIRST + 3, FIRST + 4, FIRST + 2]
    assert tape.asked == [(mangled, 1), (FIRST + 2, 1)]
    assert tape.holes == [(FIRST + 2, 1, 1)]


def test_skipping_trade_of_a_quiet_market_is_looked_up_and_told() -> None:
    """A real trade after a loss waits only until REST has confirmed it; then the hole before it is filled."""

    async def story(bench: Bench) -> Tape:
        tape = Tape(bench)
        bench.rest.trade_ids = set(range(FIRST, FIRST + 8))
        feed(tape.stream(), [FIRST, FIRST + 7])
        await bench.clock.sleep(30)
        return tape

    tape = simulate(story)
    assert tape.btc == [FIRST, FIRST + 7, *range(FIRST + 1, FIRST + 7)]
    assert tape.told_at[FIRST + 7] == pytest.approx(PATIENCE_S, abs=0.1)
    assert tape.holes == [(FIRST + 1, 6, 6)]


def test_ids_that_begin_anew_are_followed_and_ask_nothing() -> None:
    """The exchange counts anew: trades go on being told."""

    async def story(bench: Bench) -> Tape:
        tape = Tape(bench)
        feed(tape.stream(), [FIRST, FIRST + 1, *range(1, 20)])
        await bench.clock.sleep(60)
        return tape

    tape = simulate(story)
    assert tape.btc == [FIRST, FIRST + 1, *range(1, 20)]
    assert (tape.asked, tape.holes) == ([], [])


def test_hole_of_before_the_restart_confuses_nothing() -> None:
    """What REST answers about ids of the old count is not taken for the new one's."""

    async def story(bench: Bench) -> Tape:
        tape = Tape(bench)
        bench.rest.trade_ids = set(range(FIRST, FIRST + 10))
        stream = tape.stream()
        feed(stream, [FIRST, FIRST + 5, FIRST + 6, 1, 2, 3])
        await bench.clock.sleep(PATIENCE_S + 1)
        feed(stream, [4, 5, 6])
        await bench.clock.sleep(60)
        feed(stream, [7, 8, 9])
        return tape

    tape = simulate(story)
    assert tape.btc == [FIRST, FIRST + 5, FIRST + 6, *range(1, 10)]


def failing_until(bench: Bench, at_s: float, error: Callable[[], ExchangeError]) -> None:
    """REST fails until that many seconds after START."""
    bench.rest.failing = lambda: error() if bench.clock.now() < START + at_s * SECOND else None


def test_hole_stays_open_while_rest_fails() -> None:
    """However long REST is away, within hours, the trades are got afterwards; meanwhile it is asked ever more rarely."""

    async def story(bench: Bench) -> tuple[Tape, int]:
        tape = Tape(bench)
        bench.rest.trade_ids = set(range(FIRST, FIRST + 100))
        failing_until(bench, 3600, lambda: Unreachable("no way"))
        feed(tape.stream(), [FIRST, FIRST + 5, FIRST + 6])
        await bench.clock.sleep(3600)
        asked = len(tape.asked)
        assert tape.holes == []
        await bench.clock.sleep(300)
        return tape, asked

    tape, asked = simulate(story)
    assert sorted(tape.btc) == list(range(FIRST, FIRST + 7))
    assert tape.holes == [(FIRST + 1, 4, 4)]
    assert asked < 400


def test_hole_is_given_up_after_hours() -> None:
    """REST that is away for good ends in a named loss with its reason."""

    async def story(bench: Bench) -> Tape:
        tape = Tape(bench)
        failing_until(bench, 1e6, lambda: Unreachable("no way"))
        feed(tape.stream(), [FIRST, FIRST + 5, FIRST + 6])
        await bench.clock.sleep(module.GIVE_UP_S + 600)
        return tape

    tape = simulate(story)
    assert tape.holes == [(FIRST + 1, 4, 0)]
    assert "no way" in tape.bench.told(TradeHole)[0].reason


def test_refused_hole_is_given_up_at_once() -> None:
    """Where asking again cannot help, it is not asked again."""

    async def story(bench: Bench) -> Tape:
        tape = Tape(bench)
        failing_until(bench, 1e6, lambda: Refused("invalid symbol", -1121))
        feed(tape.stream(), [FIRST, FIRST + 5, FIRST + 6])
        await bench.clock.sleep(600)
        return tape

    tape = simulate(story)
    assert tape.holes == [(FIRST + 1, 4, 0)]
    assert len(tape.asked) == 1


def test_hole_waits_out_a_ban() -> None:
    """A banned address asks nothing until the ban is over, then fills the hole."""

    async def story(bench: Bench) -> Tape:
        tape = Tape(bench)
        bench.rest.trade_ids = set(range(FIRST, FIRST + 100))
        until = START + 600 * SECOND
        failing_until(bench, 600, lambda: Banned("teapot", until))
        feed(tape.stream(), [FIRST, FIRST + 5, FIRST + 6])
        await bench.clock.sleep(900)
        return tape

    tape = simulate(story)
    assert tape.holes == [(FIRST + 1, 4, 4)]
    assert [one.at_s > 600 for one in tape.bench.rest.asked] == [False, True]


def test_doubt_survives_rest_that_fails() -> None:
    """REST cannot settle a doubt: the next frames of the stream do, and later doubts are looked up again."""

    async def story(bench: Bench) -> Tape:
        tape = Tape(bench)
        bench.rest.trade_ids = set(range(FIRST, FIRST + 100))
        failing_until(bench, 60, lambda: Unreachable("no way"))
        stream = tape.stream()
        feed(stream, [FIRST, FIRST + 5])
        await bench.clock.sleep(120)
        feed(stream, [FIRST + 6])
        await bench.clock.sleep(120)
        feed(stream, [FIRST + 9])
        await bench.clock.sleep(120)
        return tape

    tape = simulate(story)
    assert sorted(tape.btc) == list(range(FIRST, FIRST + 10))


def test_exchange_without_single_trades_on_rest_believes_its_stream() -> None:
    """Where nobody can be asked about a trade in doubt it is told all the same, and nothing fails."""
    assert USDM.market is Market.USDM

    async def story(bench: Bench) -> Tape:
        tape = Tape(bench)
        stream = tape.stream(kind=StreamKind.TRADE)
        stream._on_hole = lambda *_: None
        feed(stream, [FIRST, FIRST + 3])
        await bench.clock.sleep(30)
        assert tape.btc == [FIRST, FIRST + 3]
        feed(stream, [FIRST + 4, FIRST + 9, FIRST + 10])
        await bench.clock.sleep(30)
        assert not any(task.done() for task in bench.tasks)
        return tape

    tape = simulate(story, venue=USDM)
    assert tape.btc == [FIRST + n for n in (0, 3, 4, 9, 10)]
    assert (tape.asked, tape.holes) == ([], [])
