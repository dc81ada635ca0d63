"""Live ingestion: what is asked for when, what is put aside, and what survives a stop."""

import asyncio

import pytest

from candlewick.errors import StoreFull, Unreachable
from candlewick.events import CandleRejected, FeedUp, FrameRejected, GapClosed, GapFound, StoreTrouble, TradeHole
from candlewick.exchanges.exchange import StreamKind, Subscription
from candlewick.live.liveness import Activity
from candlewick.market import HOUR, MINUTE, SECOND, Interval, Market, Series
from candlewick.services import recorder
from candlewick.services.ingest import SHARED_S, STOP_S
from candlewick.simulator.inprocess import run_virtual
from candlewick.stores.memory import MemoryStore
from candlewick.stores.store import Rows, Source, WriteResult, to_rows
from tests.unit.services.frames import agg_trade_frame, kline_frame, quote_frame, trade_frame
from tests.unit.services.station import Station, ingest
from tests.unit.services.workbench import BTC, ETH, M1, START, USDM, Store, candle, minute

SECONDS = Series(Market.SPOT, "BTCUSDT", Interval("1s"))


def asked(station: Station) -> list[tuple[float, int, int]]:
    """What REST was asked for: when, and which minutes."""
    return [
        (one.at_s, (one.span.start - minute(0)) // MINUTE, -(-(one.span.end - minute(0)) // MINUTE))
        for one in station.rest.asked
        if one.path == "klines"
    ]


def test_history_of_a_new_series_is_filled() -> None:
    """At the first start everything since the wanted time is asked for, and vouched for by REST but for what is fresh."""

    async def story(station: Station) -> Station:
        await station.pass_s(20)
        return station

    station = ingest(story)
    assert station.store.held(BTC, Source.REST) == [minute(n) for n in range(-59, 0)]
    assert station.told(GapFound) == []
    assert station.ingest.ledger.series[BTC].confirmed == minute(-1)
    assert station.ingest.scanned_at is not None


def test_closes_are_stored_and_confirmed_later() -> None:
    """Live closes are stored as they come; the periodic scan has REST vouch for them."""

    async def story(station: Station) -> tuple[list[int], list[int]]:
        await station.close_minutes(0, 4)
        await station.pass_s(5)
        live = station.store.held(BTC, Source.LIVE)
        await station.pass_s(400)
        return live, station.store.held(BTC, Source.LIVE)

    live, later = ingest(story)
    assert live == [minute(n) for n in range(4)]
    assert [one for one in later if one < minute(4)] == []


def test_skipped_close_is_asked_for_at_once() -> None:
    """The close after it came first: REST is asked for the ones between, and the gap is told and closed."""

    async def story(station: Station) -> Station:
        await station.pass_s(30)
        station.deliver(kline_frame(START + 29 * SECOND, code="1s", length=SECOND))
        await station.pass_s(20)
        station.rest.asked.clear()
        station.deliver(kline_frame(START + 45 * SECOND, code="1s", length=SECOND))
        await station.pass_s(15)
        return station

    station = ingest(story, intervals=(SECONDS.interval,), history=MINUTE)
    skipped = [one.span for one in station.rest.asked if one.span.start == START + 30 * SECOND]
    assert skipped[0].end >= START + 40 * SECOND
    assert {START + n * SECOND for n in range(29, 46)} <= set(station.store.held(SECONDS))
    assert station.told(GapFound)[0].cause == "the close after it came first"
    assert station.ingest.repairer.holes.missing(SECONDS) == 0


def test_overdue_close_is_asked_for() -> None:
    """A close that does not come is asked for ten seconds after its time, and the series is stale until it is there."""

    async def story(station: Station) -> Station:
        await station.close_minutes(0, 1)
        station.rest.asked.clear()
        station.rest.lag_s = 100.0
        await station.pass_s(71)
        assert station.ingest.ledger.series[BTC].stale
        station.rest.lag_s = 0.0
        await station.pass_s(20)
        assert not station.ingest.ledger.series[BTC].stale
        return station

    station = ingest(story)
    times = [at_s for at_s, first, last in asked(station) if (first, last) == (1, 2)]
    assert times[0] == pytest.approx((minute(2) - START) / SECOND + 10, abs=1.1)
    assert minute(1) in station.store.held(BTC)
    assert len(station.told(GapFound)) == len(station.told(GapClosed)) == 1


def test_overdue_closes_are_asked_for_when_the_feed_is_back() -> None:
    """After a long outage nobody waits for the next turn: the connection is up, so REST is asked at once."""

    async def story(station: Station) -> tuple[Station, float]:
        await station.close_minutes(0, 1)
        station.network.failing = lambda: Unreachable("no way")
        station.rest.failing = lambda: Unreachable("no way")
        station.network.open[0].drop("reset by peer")
        await station.pass_s(3600)
        station.network.failing = lambda: None
        station.rest.failing = lambda: None
        station.rest.asked.clear()
        while len(station.told(FeedUp)) < 2:
            await station.pass_s(0.25)
        up_s = (station.clock.now() - START) / SECOND
        await station.pass_s(5)
        return station, up_s

    station, up_s = ingest(story)
    assert asked(station)[0][0] <= up_s + 1.5
    assert station.store.held(BTC)[-1] >= minute(59)
    assert station.ingest.repairer.holes.missing(BTC) == 0


def test_close_that_breaks_a_rule_is_asked_from_rest() -> None:
    """A damaged candle is put aside, and its minute comes from REST seconds later."""

    async def story(station: Station) -> Station:
        await station.close_minutes(0, 1)
        await station.pass_s(60)
        station.deliver(kline_frame(minute(1), price=-5.0))
        await station.pass_s(20)
        return station

    station = ingest(story)
    assert [one.rule for one in station.told(CandleRejected)] == ["price-not-positive"]
    row = station.store.read(BTC, minute(1))[0]
    assert (row["close"], row["source"]) == (100.0, Source.REST)


@pytest.mark.parametrize("time", [minute(10_000), minute(1) + SECOND, 0, 2**61, minute(-3_000_000)])
@pytest.mark.parametrize("code", ["1m", "1M"])
def test_close_with_a_damaged_time_asks_nothing(time: int, code: str) -> None:
    """A time that cannot be believed is put aside; REST is not asked for the year 4000, and the run goes on."""

    async def story(station: Station) -> Station:
        await station.pass_s(5)
        station.rest.asked.clear()
        station.deliver(kline_frame(time, code=code, price=-5.0))
        await station.pass_s(10)
        return station

    station = ingest(story, intervals=(Interval(code),), history=40 * 24 * HOUR if code == "1M" else HOUR)
    assert len(station.told(CandleRejected)) == 1
    assert asked(station) == []


def test_unreadable_frame_is_put_aside_and_told() -> None:
    """It is counted, told, kept with its text and its connection; the stream goes on."""

    async def story(station: Station) -> Station:
        await station.pass_s(5)
        station.deliver(kline_frame(minute(-1))[:-9])
        station.deliver(b'{"stream":"btcusdt@kline_1m","data":' + b"[" * 20_000)
        await station.close_minutes(0, 1)
        await station.pass_s(5)
        return station

    station = ingest(story)
    assert station.ingest.frames_rejected == len(station.told(FrameRejected)) == 2
    kept = station.store.quarantined()
    assert {one.rule for one in kept} == {"unreadable-frame"}
    assert {one.series for one in kept} == {"spot-1#1"}
    assert max(len(one.raw) for one in kept) == 10_000
    assert minute(0) in station.store.held(BTC)


def test_pressure_of_the_store_stops_the_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the store takes nothing and much waits, nothing is read; afterwards everything is stored."""
    monkeypatch.setattr(recorder, "HIGH_WATER", 10)
    monkeypatch.setattr(recorder, "LOW_WATER", 5)

    async def story(station: Station) -> tuple[Station, list[bool]]:
        await station.pass_s(5)
        station.store.failures = 10
        for price in range(100, 130):
            station.deliver(kline_frame(minute(-1), price=float(price)))
            await station.pass_s(0.01)
        paused = [station.network.wires[0].paused]
        station.store.failures = 0
        await station.pass_s(10)
        paused.append(station.network.wires[0].paused)
        return station, paused

    station, paused = ingest(story)
    assert paused == [True, False]
    assert station.ingest.klines[0].closed == 30
    assert station.ingest.recorder.waiting == 0


def test_restart_asks_only_for_what_is_not_vouched_for() -> None:
    """A second run asks for what was missed while nothing ran, and not for what REST has vouched for."""
    store = Store()

    async def first(station: Station) -> None:
        await station.close_minutes(0, 12)

    async def second() -> Station:
        station = Station(store=store, history=30 * 24 * HOUR)
        station.clock.set_now(START + 2 * HOUR)
        station.rest._began = START
        station.start()
        await station.pass_s(20)
        await station.stop()
        return station

    ingest(first, store=store)
    station = run_virtual(second())
    assert station.store.held(BTC) == [minute(n) for n in range(-59, 120)]
    assert min(start for _, start, _ in asked(station)) >= 8
    assert store.held(BTC, Source.LIVE) == []


def test_series_of_before_is_mended_though_nobody_follows_it() -> None:
    """What the store holds of other symbols is scanned for holes at the start, and not followed."""
    store = Store()
    number = store.number(ETH)
    store.write(to_rows(number, Source.REST, [candle(minute(n)) for n in range(-30, -10) if n != -20]))

    async def story(station: Station) -> Station:
        await station.pass_s(20)
        return station

    station = ingest(story, store=store)
    assert store.held(ETH) == [minute(n) for n in range(-30, -10)]
    assert ETH not in station.ingest.ledger.series
    assert all("ethusdt" not in name for wire in station.network.wires for name in wire.names)


def test_symbol_of_before_asks_only_its_own_history() -> None:
    """Where a series begins is decided when it is new; a longer history wished for later does not change it."""
    store = Store()

    async def story(station: Station) -> list[int]:
        await station.pass_s(20)
        return station.store.held(BTC)

    before = ingest(story, store=store)
    assert ingest(story, store=store, history=5 * HOUR) == before


def test_stop_keeps_what_was_received() -> None:
    """Cancelled with candles on their way: they are on disk when the run has ended."""

    async def story(station: Station) -> Station:
        await station.pass_s(5)
        station.store.failures = 3
        station.deliver(kline_frame(minute(-1), price=107.0))
        await station.stop()
        return station

    station = ingest(story)
    assert station.store.read(BTC, minute(-1))[0]["close"] in {100.0, 107.0}
    assert station.ingest.recorder.waiting == 0
    assert all(wire.said_goodbye for wire in station.network.wires)


def test_stop_waits_for_a_full_store_only_so_long() -> None:
    """A store that takes nothing does not hold up the stop: what could not be kept is told."""

    async def story(station: Station) -> tuple[Station, float]:
        await station.close_minutes(0, 1)
        await station.pass_s(1)
        station.store.failures = 10_000
        station.deliver(kline_frame(minute(0), price=107.0))
        await station.pass_s(1)
        began = station.clock.monotonic()
        await station.stop()
        return station, station.clock.monotonic() - began

    station, took_s = ingest(story)
    assert took_s == pytest.approx(STOP_S, abs=0.1)
    last = station.told(StoreTrouble)[-1]
    assert "given up at the stop" in last.reason
    assert last.waiting == 1


def test_full_store_does_not_end_a_run() -> None:
    """Nothing can be written for an hour, neither candles nor what is remembered: afterwards everything is there."""

    async def story(station: Station) -> Station:
        store, full = station.store, [True]
        keep = store.set_state

        def set_state(key: str, value: bytes | None) -> None:
            if full:
                raise StoreFull("no space left")
            keep(key, value)

        await station.close_minutes(0, 1)
        store.set_state = set_state  # type: ignore[method-assign]
        store.failures = 10_000
        await station.close_minutes(1, 60)
        full.clear()
        store.failures = 0
        await station.pass_s(700)
        return station

    station = ingest(story)
    assert set(range(-59, 60)) <= {(one - minute(0)) // MINUTE for one in station.store.held(BTC)}
    assert station.store.state("confirmed:spot") is not None


def test_store_that_breaks_ends_the_run() -> None:
    """An error that is none of the store's own is a defect: everything ends, and it is seen."""

    class Broken(MemoryStore):
        clock = None

        def write(self, rows: Rows) -> WriteResult:
            raise ZeroDivisionError

    async def main() -> None:
        station = Station(store=Broken())  # type: ignore[arg-type]
        station.start()
        assert station.running is not None
        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.wait_for(station.running, 60)
        assert caught.value.subgroup(ZeroDivisionError)

    run_virtual(main())


def test_probe_says_how_far_rest_has_come() -> None:
    """For a stream without an interval the minute counts; where REST does not answer there is no verdict."""

    async def story(station: Station) -> list[Activity | None]:
        await station.pass_s(1)
        found = [
            await station.ingest._probe(Subscription(StreamKind.KLINE, "BTCUSDT", Interval("5m"))),
            await station.ingest._probe(Subscription(StreamKind.AGG_TRADE, "BTCUSDT")),
        ]
        station.rest.lacks = {minute(n) for n in range(-5, 5)}
        assert await station.ingest._probe(Subscription(StreamKind.BOOK_TICKER, "BTCUSDT")) == found[-1]  # still fresh
        await station.pass_s(SHARED_S)
        found.append(await station.ingest._probe(Subscription(StreamKind.AGG_TRADE, "BTCUSDT")))
        station.rest.failing = lambda: Unreachable("no way")
        await station.pass_s(SHARED_S)
        found.append(await station.ingest._probe(Subscription(StreamKind.AGG_TRADE, "BTCUSDT")))
        return found

    five, one, none, silent = ingest(story)
    assert five == Activity(Interval("5m").floor(START), 3)
    assert one == Activity(minute(0), 3)
    assert (none, silent) == (Activity(0, 0), None)


def test_trades_quotes_and_candles_go_their_ways() -> None:
    """Each kind of stream has its receiver: trades are told and their holes mended, quotes replace each other."""
    kinds = (StreamKind.KLINE, StreamKind.AGG_TRADE, StreamKind.BOOK_TICKER)

    async def story(station: Station) -> Station:
        await station.pass_s(2)
        station.rest.trade_ids = set(range(1, 100))
        for number in (10, 11, 15, 16):
            station.deliver(agg_trade_frame(number))
        station.deliver(quote_frame(1, 99.0))
        station.deliver(quote_frame(2, 98.0))
        await station.pass_s(20)
        return station

    station = ingest(story, kinds=kinds)
    assert [trade.trade_id for trade in station.trades] == [10, 11, 15, 16, 12, 13, 14]
    assert len(station.told(TradeHole)) == 1
    quote = station.ingest.quotes["BTCUSDT"].latest.take()
    assert quote is not None
    assert quote.bid == 98.0


def test_single_trades_that_nobody_can_be_asked_for_have_no_holes() -> None:
    """Their ids skip by nature on USD-M: each trade is told, none is looked for, and nothing fails."""

    async def story(station: Station) -> Station:
        await station.pass_s(2)
        station.rest.asked.clear()
        for number in (10, 13, 14, 20):
            station.deliver(trade_frame(number))
            await station.pass_s(5)
        return station

    station = ingest(story, kinds=(StreamKind.TRADE,), venue=USDM, intervals=(M1,))
    assert [trade.trade_id for trade in station.trades] == [10, 13, 14, 20]
    assert [one for one in station.rest.asked if one.path != "klines"] == []
    assert station.told(TradeHole) == []


def test_seconds_and_months_are_followed_side_by_side() -> None:
    """Each interval has its own grid, stream and expectation."""
    codes = ("1s", "1m", "1M")

    async def story(station: Station) -> Station:
        await station.pass_s(30)
        station.deliver(kline_frame(START + 29 * SECOND, code="1s", length=SECOND))
        await station.pass_s(5)
        return station

    station = ingest(story, intervals=tuple(map(Interval, codes)), history=70 * 24 * HOUR // 1000)
    assert station.network.wires[0].names == [f"btcusdt@kline_{code}" for code in codes]
    assert START + 29 * SECOND in station.store.held(SECONDS)
