"""What happens to a frame, stream by stream."""

import pytest

from candlewick.errors import DecodeError
from candlewick.exchanges.exchange import StreamKind
from candlewick.live.liveness import Watch
from candlewick.market import MINUTE, Candle, Quote, Series, Span
from candlewick.services.ledger import Ledger
from candlewick.services.streams import KlineReceiver, Latest, LatestReceiver
from candlewick.stores.store import Source
from tests.unit.services.frames import kline_frame, quote_frame, trade_frame
from tests.unit.services.workbench import BTC, SPOT, Bench, candle, minute, simulate


class Stream:
    """A kline stream of one series."""

    def __init__(self, bench: Bench, frontier: int) -> None:
        self.expected = Ledger().expect(BTC, frontier, frontier, 70.0)
        self.skipped: list[tuple[Series, Span]] = []
        self.watch = Watch("btcusdt@kline_1m")
        self.receiver = KlineReceiver(
            self.expected, SPOT.decoders[StreamKind.KLINE], self.watch, bench.recorder,
            lambda series, span: self.skipped.append((series, span)),
        )  # fmt: skip
        self.receive = self.receiver.receive


def test_closed_candle_is_stored_and_moves_what_is_expected() -> None:
    """A close goes to the recorder with every value, and the next one is expected."""

    async def story(bench: Bench) -> tuple[Stream, list[int], Candle]:
        stream = Stream(bench, minute(-2))
        stream.receive(kline_frame(minute(-2), price=107.5))
        stream.receive(kline_frame(minute(-1)))
        await bench.clock.sleep(1)
        row = bench.store.read(BTC)[0]
        held = Candle(*(row[name].item() for name in Candle.__struct_fields__))
        return stream, bench.store.held(BTC, Source.LIVE), held

    stream, times, held = simulate(story)
    assert times == [minute(-2), minute(-1)]
    assert held == candle(minute(-2), 107.5)
    assert (stream.expected.frontier, stream.skipped) == (minute(0), [])
    assert (stream.receiver.closed, stream.watch.frames) == (2, 2)


def test_skipped_closes_are_told_and_the_one_that_came_is_kept() -> None:
    """Closes that a later one overtook are named; the later one is stored."""

    async def story(bench: Bench) -> tuple[Stream, list[int]]:
        stream = Stream(bench, minute(-5))
        stream.receive(kline_frame(minute(-2)))
        await bench.clock.sleep(1)
        return stream, bench.store.held(BTC)

    stream, times = simulate(story)
    assert times == [minute(-2)]
    assert stream.skipped == [(BTC, Span(minute(-5), minute(-2)))]


def test_repeated_close_is_taken_once() -> None:
    """The same close again, as two connections bring it, is counted and costs no write; another value is a new close."""

    async def story(bench: Bench) -> tuple[Stream, list[list[int]], list[float]]:
        stream = Stream(bench, minute(-3))
        for price in (100.0, 100.0, 100.0, 101.0, 101.0):
            stream.receive(kline_frame(minute(-3), price=price))
        await bench.clock.sleep(1)
        return stream, bench.store.commits, bench.store.read(BTC)["close"].tolist()

    stream, commits, closes = simulate(story)
    assert (stream.receiver.closed, stream.receiver.repeats, stream.watch.frames) == (2, 3, 5)
    assert commits == [[minute(-3), minute(-3)]]
    assert closes == [101.0]


def test_open_candles_replace_each_other() -> None:
    """A candle that is not final is never stored: the newest is kept, and what nobody read is counted."""

    async def story(bench: Bench) -> tuple[Stream, list[float], list[int]]:
        stream = Stream(bench, minute(0))
        closes = []
        for price in (100.0, 101.0, 102.0):
            stream.receive(kline_frame(minute(0), closed=False, price=price))
        for _ in range(2):
            newest = stream.receiver.latest.take()
            closes += [newest.close] if newest else []
        stream.receive(kline_frame(minute(0), closed=False, price=103.0))
        await bench.clock.sleep(1)
        return stream, closes, bench.store.held(BTC)

    stream, closes, held = simulate(story)
    assert (closes, held) == ([102.0, 102.0], [])
    assert (stream.receiver.latest.collapsed, stream.receiver.closed) == (2, 0)


@pytest.mark.parametrize(
    "frame",
    [
        kline_frame(minute(-2), symbol="ETHUSDT"),
        kline_frame(minute(-2), code="5m"),
        trade_frame(7),
        kline_frame(minute(-2))[:-30],
        b'{"stream":"btcusdt@kline_1m","data":null}',
    ],
    ids=["another symbol", "another interval", "another kind", "cut", "nothing"],
)
def test_frame_of_something_else_is_refused(frame: bytes) -> None:
    """What is not of this very series is an error of the frame; nothing is stored, counted or expected by it."""

    async def story(bench: Bench) -> tuple[Stream, list[int]]:
        stream = Stream(bench, minute(-2))
        with pytest.raises(DecodeError):
            stream.receive(frame)
        await bench.clock.sleep(1)
        return stream, bench.store.held(BTC)

    stream, held = simulate(story)
    assert held == []
    assert (stream.watch.frames, stream.receiver.closed, stream.expected.frontier) == (0, 0, minute(-2))


@pytest.mark.parametrize("time", [minute(-2) + 1000, minute(500), minute(500_000), 2**61, -60_000_000])
def test_close_with_a_damaged_time_is_put_aside(time: int) -> None:
    """Off the grid or far ahead: the row goes to the quarantine, and what is expected stays where it was."""

    async def story(bench: Bench) -> tuple[Stream, list[int], list[str]]:
        stream = Stream(bench, minute(-2))
        stream.receive(kline_frame(time - time % 1000))
        await bench.clock.sleep(1)
        return stream, bench.store.held(BTC), [one.rule for one in bench.store.quarantined()]

    stream, held, rules = simulate(story)
    assert (held, len(rules)) == ([], 1)
    assert (stream.expected.frontier, stream.skipped) == (minute(-2), [])


def test_latest_counts_what_nobody_read() -> None:
    """Nothing is counted as lost that was read, and the first value replaces nothing."""
    latest: Latest[int] = Latest()
    assert latest.take() is None
    for value in range(5):
        latest.put(value)
        if value % 2:
            assert latest.take() == value
    assert (latest.take(), latest.collapsed) == (4, 2)


def test_quotes_replace_each_other() -> None:
    """Of quotes only the newest matters; a frame that is none is an error and counts for nothing."""
    watch = Watch("btcusdt@bookTicker")
    receiver: LatestReceiver[Quote] = LatestReceiver(SPOT.decoders[StreamKind.BOOK_TICKER], watch)
    for number in range(3):
        receiver.receive(quote_frame(number, 100.0 + number))
    with pytest.raises(DecodeError):
        receiver.receive(b'{"stream":"btcusdt@bookTicker","data":{"u":3}}')
    newest = receiver.latest.take()
    assert newest is not None
    assert (newest.update_id, newest.bid) == (2, 102.0)
    assert (watch.frames, receiver.latest.collapsed) == (3, 2)


def test_kline_stream_survives_a_minute_that_never_closes() -> None:
    """Whether one close or a thousand are missing, the stream itself goes on and names each span once."""

    async def story(bench: Bench) -> Stream:
        stream = Stream(bench, minute(-2000))
        for number in (-1900, -1899, -3, -2):
            stream.receive(kline_frame(minute(number)))
        await bench.clock.sleep(1)
        return stream

    stream = simulate(story)
    assert [span for _, span in stream.skipped] == [
        Span(minute(-2000), minute(-1900)),
        Span(minute(-1898), minute(-3)),
    ]
    assert stream.expected.frontier == minute(-2) + MINUTE
