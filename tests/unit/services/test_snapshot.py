"""What a run shows of itself."""

from collections import Counter

import pytest

from candlewick.clock import ManualClock
from candlewick.errors import Banned, Unreachable
from candlewick.exchanges.exchange import StreamKind
from candlewick.histogram import Histogram
from candlewick.market import SECOND, Interval
from candlewick.services import snapshot
from candlewick.services.observer import Observer
from candlewick.services.status import Counters, SeriesStatus
from tests.unit.services.frames import agg_trade_frame, kline_frame, quote_frame
from tests.unit.services.station import Station, ingest
from tests.unit.services.workbench import BTC, START, minute


def counters(station: Station) -> Counters:
    return snapshot.counters(station.ingest, Observer(ManualClock()), station.client)


def of(station: Station, symbol: str) -> SeriesStatus:
    return next(one for one in snapshot.series(station.ingest, station.clock) if one.symbol == symbol)


def test_counters_say_what_happened() -> None:
    """Frames by kind, closes, repeats, replaced updates, rejects, trades, holes and requests, each counted once."""
    kinds = (StreamKind.KLINE, StreamKind.AGG_TRADE, StreamKind.BOOK_TICKER)

    async def story(station: Station) -> Counters:
        await station.pass_s(20)
        station.rest.trade_ids = set(range(1, 100))
        for number in (10, 11, 11, 15, 16):
            station.deliver(agg_trade_frame(number))
        for price in (1.0, 2.0, 3.0):
            station.deliver(quote_frame(1, price))
        station.deliver(b'{"stream":"!x","data":{"e":"marketNotice"}}')
        station.deliver(b"{")
        for price in (100.0, 101.0, 101.0):
            station.deliver(kline_frame(minute(0), closed=False, price=price))
        await station.close_minutes(0, 2)
        station.deliver(kline_frame(minute(1)))
        station.deliver(kline_frame(minute(1), price=-5.0))
        await station.pass_s(400)
        return counters(station)

    seen = ingest(story, kinds=kinds)
    assert seen.frames == {"kline": 7, "aggTrade": 5, "bookTicker": 3}
    assert (seen.unknown_frames, seen.unreadable_frames) == ({"marketNotice": 1}, 1)
    assert (seen.repeated_candles, seen.repeated_trades) == (1, 1)
    assert seen.collapsed_updates == 2 + 2
    assert seen.candles_rejected == {"price-not-positive": 1}
    assert (seen.trade_holes, seen.recovered_trades) == (3, 3)
    assert seen.candles_written >= 59 + 2
    assert seen.candles_confirmed >= 1
    assert seen.candles_processed > seen.candles_written
    assert seen.gaps_found == seen.gaps_closed
    assert seen.rest_requests["success"] >= 3
    assert seen.rest_requests["error"] == 0
    assert seen.rest_weight > 0


def test_connection_is_shown_up_and_down() -> None:
    """Since when it is up, when it last said something; and while it is down, since when and why."""

    async def story(station: Station) -> tuple[object, ...]:
        await station.pass_s(120)
        station.deliver(kline_frame(minute(1), closed=False))
        await station.pass_s(1.5)
        (shard,) = station.ingest.feed.shards
        up = snapshot.connection(shard, station.clock)
        station.network.failing = lambda: Unreachable("no way to exchange.test")
        station.network.open[0].drop("reset by peer")
        await station.pass_s(30)
        down = snapshot.connection(shard, station.clock)
        return up, down, counters(station).reconnects

    up, down, reconnects = ingest(story)
    assert (up.name, up.host, up.streams, up.connected, up.reason) == ("spot-1", "exchange.test", 1, True, "")
    assert (up.since - START) / SECOND == pytest.approx(0.1, abs=0.2)
    assert (up.last_frame_at - START) / SECOND == pytest.approx(120, abs=2)
    assert (down.connected, down.reason, down.last_frame_at) == (False, "no way to exchange.test", None)
    assert (down.since - START) / SECOND == pytest.approx(121.5, abs=0.2)
    assert reconnects == 1


def test_series_is_shown_with_its_lag() -> None:
    """In order a series lags less than its interval; overdue it is stale, and what is missing is counted."""

    async def story(station: Station) -> tuple[SeriesStatus, ...]:
        seen = [of(station, "ETHUSDT")]
        await station.pass_s(20)
        await station.close_minutes(0, 1)
        await station.pass_s(30)
        station.deliver(kline_frame(minute(1), closed=False, price=107.0))
        seen += [of(station, "BTCUSDT"), of(station, "BTCUSDT")]
        station.rest.lag_s = 1e6
        await station.pass_s(200)
        seen.append(of(station, "BTCUSDT"))
        return tuple(seen)

    new, good, again, late = ingest(story, symbols=("BTCUSDT", "ETHUSDT"))
    assert (new.last_close, new.lag_s, new.last_price, new.stale, new.missing) == (None, None, None, False, 0)
    assert (good.market, good.symbol, good.interval) == ("spot", "BTCUSDT", "1m")
    assert (good.last_close, good.last_price, good.stale, good.missing) == (minute(1), 107.0, False, 0)
    assert good.lag_s == pytest.approx(30.1, abs=0.1)
    assert again == good
    assert (late.stale, late.last_close) == (True, minute(1))
    assert late.missing >= 2


def test_silent_stream_is_shown_with_its_evidence() -> None:
    """A stream that REST contradicts is listed, since when and why, until it delivers."""

    async def story(station: Station) -> tuple[object, ...]:
        for _ in range(30):
            station.deliver(kline_frame(minute(0), closed=False))
            await station.pass_s(1)
        before = snapshot.silent(station.ingest, station.clock)
        await station.pass_s(90)
        during = snapshot.silent(station.ingest, station.clock)
        station.deliver(kline_frame(minute(2), closed=False))
        await station.pass_s(2)
        return before, during, snapshot.silent(station.ingest, station.clock)

    before, (one,), after = ingest(story)
    assert (before, after) == ((), ())
    assert one.stream == "btcusdt@kline_1m"
    assert (one.since - START) / SECOND == pytest.approx(30, abs=2)
    assert "REST counted" in one.reason


def test_store_is_shown_with_its_trouble() -> None:
    """While a commit fails the store is not connected, and says why."""

    async def story(station: Station) -> list[tuple[bool, str | None, bool]]:
        await station.pass_s(20)
        seen = [snapshot.store(station.ingest)]
        station.store.failures = 3
        station.deliver(kline_frame(minute(-1), price=107.0))
        await station.pass_s(0.05)
        seen.append(snapshot.store(station.ingest))
        waiting = station.ingest.recorder.waiting
        await station.pass_s(5)
        seen.append(snapshot.store(station.ingest))
        assert waiting == 1
        return [(one.connected, one.error, one.location == "memory://") for one in seen]

    assert ingest(story) == [(True, None, True), (False, "no space left", True), (True, None, True)]


def test_rest_is_shown_with_its_limits() -> None:
    """Whether it answers, what of its weight is used, and until when nothing may be asked."""

    async def story(station: Station) -> list[object]:
        client, budget = station.client, station.budget
        seen: list[object] = [snapshot.rest(client, budget, station.clock.now())]
        await station.pass_s(2)
        seen.append(snapshot.rest(client, budget, station.clock.now()))
        budget.refused(Banned("teapot", START + 600 * SECOND), station.clock.now())
        seen.append(snapshot.rest(client, budget, station.clock.now()))
        await station.pass_s(700)
        seen.append(snapshot.rest(client, budget, station.clock.now()))
        return seen

    new, used, banned, free = ingest(story)
    assert (new.reachable, new.weight_used, new.ban_until) == (None, 0, None)
    assert used.reachable
    assert used.weight_used == 2
    assert used.weight_limit == 1200
    assert banned.ban_until >= START + 600 * SECOND
    assert free.ban_until is None


def test_latencies_are_shown_as_they_were_counted() -> None:
    """Every live candle has its time to disk, every commit its own."""

    async def story(station: Station) -> Counter[str]:
        await station.pass_s(20)
        await station.close_minutes(0, 3)
        await station.pass_s(1)
        rest = Histogram()
        rest.observe(0.2)
        seen = snapshot.latencies(station.ingest, rest)
        return Counter(durability=seen.durability.count, rest=seen.rest.count, commits=seen.commit.count)

    counts = ingest(story)
    assert (counts["durability"], counts["rest"]) == (3, 1)
    assert counts["commits"] >= 4


def test_memory_is_that_of_this_process() -> None:
    """A number of megabytes that a Python process can have, which grows with what it keeps."""
    before = snapshot.own_memory_mb()
    kept = bytearray(64 << 20)
    kept[::4096] = b"x" * len(kept[::4096])
    grown = snapshot.own_memory_mb() - before
    assert 5 < before < 100_000
    assert 50 < grown < 80


def test_months_count_in_the_snapshot_too() -> None:
    """A series of months lags by weeks and is in order."""

    async def story(station: Station) -> SeriesStatus:
        await station.pass_s(60)
        return snapshot.series(station.ingest, station.clock)[0]

    month = Interval("1M")
    one = ingest(story, intervals=(month,), history=100 * 24 * 3600 * SECOND)
    assert one.last_close == month.floor(START)
    assert (one.stale, one.missing, one.interval) == (False, 0, "1M")
    assert BTC.interval is not month
