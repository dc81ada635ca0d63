"""The one way into the store: what is acknowledged is on disk, and nothing that arrived is lost."""

import asyncio
import threading
from itertools import pairwise

import pytest
from msgspec.structs import astuple

from candlewick.clock import SystemClock
from candlewick.errors import StoreDamaged
from candlewick.events import CandleRejected, CandleRevised, CandlesStored, StoreTrouble
from candlewick.market import MINUTE, SECOND, Candle, Interval, Market, Series
from candlewick.services import recorder as module
from candlewick.services.recorder import QUIET_S, TIDY_EVERY_S, Recorder
from candlewick.stores.memory import MemoryStore
from candlewick.stores.store import Quarantined, Rows, Source, WriteResult, to_rows
from tests.unit.services.workbench import BTC, ETH, START, Bench, candle, minute, simulate


def add(bench: Bench, *numbers: int, series: Series = BTC, price: float = 100.0) -> None:
    """Closed candles of the live feed."""
    for number in numbers:
        one = candle(minute(number), price)
        bench.recorder.add(bench.recorder.numbers[series], astuple(one), f"frame {number}".encode())


def rows(bench: Bench, *numbers: int, series: Series = BTC, price: float = 100.0) -> Rows:
    candles = [candle(minute(number), price) for number in numbers]
    return to_rows(bench.recorder.numbers[series], Source.REST, candles)


async def settle(bench: Bench) -> None:
    await bench.clock.sleep(0.01)


def test_candles_of_one_turn_are_one_commit() -> None:
    """What one read of the sockets brings goes to disk together, in the order in which it came."""

    async def story(bench: Bench) -> list[list[int]]:
        add(bench, -3, -5, -4)
        add(bench, -3, series=ETH)
        assert bench.recorder.waiting == 4
        await settle(bench)
        assert bench.recorder.waiting == 0
        return bench.store.commits

    assert simulate(story) == [[minute(-3), minute(-5), minute(-4), minute(-3)]]


def test_candles_that_arrive_during_a_commit_go_with_the_next() -> None:
    """While the disk is busy arrivals gather, and are one commit of their own."""

    async def story(bench: Bench) -> list[list[int]]:
        more = [[-4], [-3, -2]]
        bench.store.during = lambda: add(bench, *more.pop(0)) if more else None
        add(bench, -5)
        await settle(bench)
        return bench.store.commits

    assert simulate(story) == [[minute(-5)], [minute(-4)], [minute(-3), minute(-2)]]


def test_commit_happens_beside_the_event_loop() -> None:
    """A disk that takes long stops nobody: the loop goes on, and what arrives meanwhile is the next commit."""
    entered, release = threading.Event(), threading.Event()

    class Slow(MemoryStore):
        def write(self, rows: Rows) -> WriteResult:
            batches.append(rows["open_time"].tolist())
            entered.set()
            release.wait(30)
            return super().write(rows)

    batches: list[list[int]] = []

    async def story() -> tuple[int, int]:
        clock = SystemClock(start=START)
        recorder = Recorder(Slow(), [BTC], clock=clock, tell=lambda _: None, on_rejected=lambda _: None)
        running = asyncio.ensure_future(recorder.run())
        recorder.add(0, astuple(candle(minute(-3))), b"")
        await asyncio.get_running_loop().run_in_executor(None, entered.wait, 30)
        recorder.add(0, astuple(candle(minute(-2))), b"")
        recorder.add(0, astuple(candle(minute(-1))), b"")
        waiting = recorder.waiting
        release.set()
        recorder.close()
        await running
        return waiting, recorder.waiting

    assert asyncio.run(story()) == (3, 0)
    assert batches == [[minute(-3)], [minute(-2), minute(-1)]]


def test_later_candle_of_one_commit_counts_as_later() -> None:
    """Two closes of one minute in one commit: the last one wins; a row of REST outranks both."""

    async def story(bench: Bench) -> tuple[list[float], list[float]]:
        add(bench, -3, price=101.0)
        add(bench, -3, price=102.0)
        await settle(bench)
        live = bench.store.read(BTC)["close"].tolist()
        asking = asyncio.ensure_future(bench.recorder.write(rows(bench, -3, price=103.0)))
        add(bench, -3, price=104.0)
        await asking
        return live, bench.store.read(BTC)["close"].tolist()

    assert simulate(story) == ([102.0], [103.0])


def test_what_a_commit_did_is_told_and_counted() -> None:
    """New, confirmed, revised and refused candles are counted; a revision is told with both sides."""

    async def story(bench: Bench) -> Bench:
        add(bench, -4, -3, -2)
        await settle(bench)
        await bench.recorder.write(rows(bench, -4))
        await bench.recorder.write(rows(bench, -3, price=105.0))
        add(bench, -3)
        await settle(bench)
        return bench

    bench = simulate(story)
    recorder = bench.recorder
    assert (recorder.written, recorder.confirmed, recorder.revised, recorder.refused) == (3, 1, 1, 1)
    assert recorder.from_rest == 2
    stored = [(one.inserted, one.confirmed, one.changed) for one in bench.told(CandlesStored)]
    assert stored == [(3, 0, 0), (0, 1, 0), (0, 0, 1)]
    (revised,) = bench.told(CandleRevised)
    assert (revised.series, revised.held, revised.kept) == (BTC, candle(minute(-3)), candle(minute(-3), 105.0))
    assert set(revised.fields) == {"open", "high", "low", "close", "quote_volume", "taker_buy_quote_volume"}


def test_candle_that_breaks_a_rule_is_put_aside_with_its_text() -> None:
    """It is not stored; its frame is kept as it came, it is told, and the others of its commit are stored."""

    async def story(bench: Bench) -> Bench:
        add(bench, -4)
        bad = Candle(minute(-3), 100.0, 90.0, 99.0, 100.0, 2.0, minute(-2) - 1000, 200.0, 3, 1.0, 100.0)
        bench.recorder.add(bench.recorder.numbers[BTC], astuple(bad), b"the frame as it came")
        add(bench, -2)
        await settle(bench)
        return bench

    bench = simulate(story)
    assert bench.store.held(BTC) == [minute(-4), minute(-2)]
    (kept,) = bench.store.quarantined()
    assert (kept.series, kept.rule, kept.source, kept.raw) == (
        str(BTC),
        "high-not-highest",
        "live",
        b"the frame as it came",
    )
    (rejected,) = bench.rejected
    assert (rejected.series, rejected.open_time, rejected.source) == (BTC, minute(-3), Source.LIVE)
    assert [(one.series, one.rule, one.source) for one in bench.told(CandleRejected)] == [(str(BTC), kept.rule, "live")]
    assert (bench.recorder.rejected, bench.recorder.rejected_by_rule) == (1, {"high-not-highest": 1})


def test_row_of_rest_that_breaks_a_rule_is_put_aside() -> None:
    """A page with a row that is not over keeps its other rows; the row itself is in the quarantine as its values."""

    async def story(bench: Bench) -> Bench:
        await bench.recorder.write(rows(bench, -2, -1, 0))
        return bench

    bench = simulate(story)
    assert bench.store.held(BTC) == [minute(-2), minute(-1)]
    (kept,) = bench.store.quarantined()
    assert (kept.rule, kept.source) == ("unfinished", "rest")
    assert str(minute(0)).encode() in kept.raw


def test_commit_of_nothing_but_broken_rows_is_survived() -> None:
    """A batch of which nothing is left is a commit all the same: the quarantine is written, the next one works."""

    async def story(bench: Bench) -> Bench:
        await bench.recorder.write(rows(bench, 0))
        add(bench, -1)
        await settle(bench)
        return bench

    bench = simulate(story)
    assert bench.store.held(BTC) == [minute(-1)]
    assert len(bench.store.quarantined()) == 1


def test_page_is_answered_once_it_is_on_disk() -> None:
    """`write` returns when its rows can be read, and not before."""

    async def story(bench: Bench) -> list[object]:
        seen: list[object] = []
        bench.store.during = lambda: seen.append(asking.done())
        asking = asyncio.ensure_future(bench.recorder.write(rows(bench, -3, -2)))
        bench.store.failures = 3
        await settle(bench)
        seen.append(asking.done())
        await asking
        return [*seen, len(bench.store.held(BTC))]

    assert simulate(story) == [False, False, 2]


def test_page_whose_asker_is_gone_is_stored_all_the_same() -> None:
    """Whoever waited may have been cancelled: the rows are kept and the recorder goes on."""

    async def story(bench: Bench) -> list[int]:
        bench.store.failures = 1
        asking = asyncio.ensure_future(bench.recorder.write(rows(bench, -3)))
        await settle(bench)
        asking.cancel()
        await bench.clock.sleep(1)
        await bench.recorder.write(rows(bench, -2))
        return bench.store.held(BTC)

    assert simulate(story) == [minute(-3), minute(-2)]


@pytest.mark.parametrize("failures", [1, 7, 30])
def test_full_store_is_tried_again_until_it_has_everything(failures: int) -> None:
    """However often the store fails, nothing that arrived is lost, reordered or stored twice; each failure is told."""

    async def story(bench: Bench) -> Bench:
        bench.store.failures = failures
        for number in range(-40, -1):
            add(bench, number)
            await bench.clock.sleep(2)
        await bench.clock.sleep(300)
        return bench

    bench = simulate(story)
    assert [time for commit in bench.store.commits for time in commit] == [minute(n) for n in range(-40, -1)]
    troubles = bench.told(StoreTrouble)
    assert len(troubles) == failures
    assert "no space left" in troubles[0].reason
    assert [one.retry_s for one in troubles] == [0.1, 0.2, 0.4, 1.0, 2.0, 4.0, *[8.0] * 30][:failures]
    assert [one.waiting for one in troubles] == sorted(one.waiting for one in troubles)
    assert (bench.recorder.written, bench.recorder.trouble, bench.recorder.waiting) == (39, None, 0)


def test_trouble_of_the_store_is_shown_while_it_lasts() -> None:
    """What the store complains of can be read, with everything that waits, until a commit works."""

    async def story(bench: Bench) -> list[tuple[str | None, int]]:
        bench.store.failures = 2
        add(bench, -3, -2)
        await settle(bench)
        states = [(bench.recorder.trouble, bench.recorder.waiting)]
        await bench.clock.sleep(1)
        return [*states, (bench.recorder.trouble, bench.recorder.waiting)]

    assert simulate(story) == [("no space left", 2), (None, 0)]


def test_quarantine_that_fails_does_not_repeat_the_candles() -> None:
    """Candles are on disk, the quarantine is not: only the quarantine is tried again, and the counts stay true."""

    async def story(bench: Bench) -> Bench:
        await bench.keep(BTC, [minute(-4)])
        bench.store.quarantine_failures = 3
        await bench.recorder.write(rows(bench, -4, -3, 0, price=105.0))
        return bench

    bench = simulate(story)
    assert bench.store.commits == [[minute(-4), minute(-3)]]
    assert [one.rule for one in bench.store.quarantined()] == ["unfinished"]
    assert (bench.recorder.written, bench.recorder.revised) == (2, 1)
    assert len(bench.told(CandleRevised)) == 1
    assert len(bench.told(StoreTrouble)) == 3


def test_pressure_is_raised_and_released_at_the_water_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the high mark the feed is stopped, once; it goes on when little waits, and not before."""
    monkeypatch.setattr(module, "HIGH_WATER", 20)
    monkeypatch.setattr(module, "LOW_WATER", 5)

    async def story(bench: Bench) -> list[object]:
        bench.store.failures = 1
        add(bench, -100)
        await settle(bench)
        add(bench, *range(-99, -79))
        await settle(bench)
        seen: list[object] = [list(bench.pressure)]
        add(bench, -79)
        await settle(bench)
        add(bench, -78)
        await settle(bench)
        seen.append(list(bench.pressure))
        arriving = [range(-77, -70)]

        def during() -> None:
            if len(bench.store.commits) == 1:
                add(bench, *arriving.pop())
            elif len(bench.store.commits) == 2:
                seen.append(list(bench.pressure))

        bench.store.during = during
        await bench.clock.sleep(0.2)
        return [*seen, bench.pressure, [len(one) for one in bench.store.commits]]

    # The commit of the 22 leaves 7 waiting, which is not little yet.
    assert simulate(story) == [[], [True], [True], [True, False], [1, 22, 7]]


def test_close_keeps_what_waits() -> None:
    """After `close` the recorder ends only when everything is on disk, frames put aside included."""

    async def story(bench: Bench) -> Bench:
        bench.store.failures = 5
        running = asyncio.ensure_future(bench.recorder.run())
        add(bench, -5)
        await settle(bench)
        add(bench, -4)
        page = asyncio.ensure_future(bench.recorder.write(rows(bench, -3)))
        bench.recorder.keep_aside(Quarantined("spot-1#1", "unreadable-frame", "live", START, b"{"))
        bench.recorder.close()
        await running
        assert page.done()
        return bench

    bench = simulate(story, record=False)
    assert bench.store.held(BTC) == [minute(-5), minute(-4), minute(-3)]
    assert len(bench.store.quarantined()) == 1


def test_close_keeps_a_frame_that_was_put_aside_last() -> None:
    """A frame put aside with nothing else waiting is on disk when the recorder has ended."""

    async def story(bench: Bench) -> int:
        running = asyncio.ensure_future(bench.recorder.run())
        await settle(bench)
        bench.recorder.keep_aside(Quarantined("spot-1#1", "unreadable-frame", "live", START, b"{"))
        bench.recorder.close()
        await running
        return len(bench.store.quarantined())

    assert simulate(story, record=False) == 1


def test_close_ends_a_recorder_without_work() -> None:
    """Nothing waits: `run` ends at once."""

    async def story(bench: Bench) -> list[list[int]]:
        running = asyncio.ensure_future(bench.recorder.run())
        await settle(bench)
        bench.recorder.close()
        await running
        return bench.store.commits

    assert simulate(story, record=False) == []


def test_flood_of_unreadable_frames_keeps_the_newest() -> None:
    """While the store cannot take them only so many frames are kept aside, the newest ones."""

    async def story(bench: Bench) -> list[bytes]:
        bench.store.failures = 1
        add(bench, -3)
        await settle(bench)
        for number in range(module.MOST_ASIDE + 500):
            bench.recorder.keep_aside(Quarantined("spot-1#1", "unreadable-frame", "live", START, str(number).encode()))
        await bench.clock.sleep(1)
        return [one.raw for one in bench.store.quarantined(10_000)]

    kept = simulate(story)
    assert kept == [str(number).encode() for number in reversed(range(500, module.MOST_ASIDE + 500))]


def test_store_is_tidied_when_nothing_comes_and_little_under_load() -> None:
    """Under load tidying takes one step in a while; once nothing comes it goes on until there is no more."""

    async def story(bench: Bench) -> tuple[list[float], list[float], int]:
        await settle(bench)
        bench.store.tidied.clear()
        bench.store.untidy = 1000
        for number in range(-60, -10):
            add(bench, number)
            await bench.clock.sleep(TIDY_EVERY_S / 4)
        busy = list(bench.store.tidied)
        await bench.clock.sleep(10)
        quiet = [time - busy[-1] for time in bench.store.tidied[len(busy) :]]
        return busy, quiet, len(bench.store.commits)

    busy, quiet, commits = simulate(story)
    assert commits == 50
    assert 10 <= len(busy) <= 14
    assert all(later - sooner >= TIDY_EVERY_S for sooner, later in pairwise(busy))
    assert len(quiet) >= 900
    assert min(quiet) >= QUIET_S - TIDY_EVERY_S


def test_store_that_cannot_tidy_goes_on() -> None:
    """Tidying that fails is shown as trouble of the store, and the next commit is made."""

    class Untidy(MemoryStore):
        def tidy(self) -> bool:
            raise StoreDamaged("a block contradicts itself")

    async def story(bench: Bench) -> tuple[str | None, list[int]]:
        store = Untidy()
        recorder = Recorder(store, [BTC], clock=bench.clock, tell=lambda _: None, on_rejected=lambda _: None)
        running = bench.start(recorder.run())
        recorder.add(0, astuple(candle(minute(-3))), b"")
        await bench.clock.sleep(2)
        trouble = recorder.trouble
        recorder.add(0, astuple(candle(minute(-2))), b"")
        recorder.close()
        await running
        return trouble, store.read(BTC)["open_time"].tolist()

    assert simulate(story, record=False) == ("a block contradicts itself", [minute(-3), minute(-2)])


def test_time_from_frame_to_disk_is_counted_for_every_candle() -> None:
    """Each live candle counts once, from its own receipt, trouble of the store included; each commit counts once."""

    async def story(bench: Bench) -> Bench:
        add(bench, -9)
        await settle(bench)
        bench.store.failures = 2
        add(bench, -8)
        await bench.clock.sleep(0.05)
        add(bench, -7, -6)
        await bench.clock.sleep(1)
        await bench.recorder.write(rows(bench, -5))
        return bench

    recorder = simulate(story).recorder
    seen = recorder.durability.snapshot()
    # At once; 0.3 s behind two failures; and 0.25 s twice behind the same ones.
    assert seen.count == 4
    assert seen.total_s == pytest.approx(0.3 + 2 * 0.25)
    counts = dict(zip(seen.bounds, seen.counts, strict=False))
    assert (counts[0.0005], counts[0.25], counts[0.5]) == (1, 2, 1)
    assert recorder.commits.snapshot().count == 4


def test_candles_of_one_turn_were_received_at_one_time() -> None:
    """`add` says when a candle was received: the same for all of one turn of the loop, later for those of the next."""

    async def story(bench: Bench) -> list[int]:
        number = bench.recorder.numbers[BTC]
        received = [bench.recorder.add(number, astuple(candle(minute(-3))), b"") for _ in range(2)]
        await bench.clock.sleep(1)
        return [time - START for time in [*received, bench.recorder.add(number, astuple(candle(minute(-2))), b"")]]

    assert simulate(story) == [0, 0, SECOND]


def test_calls_on_the_store_happen_in_order_with_commits() -> None:
    """What must not meet a commit runs on the store's own thread and its result or error comes back."""

    def refuse() -> None:
        raise StoreDamaged("no")

    async def story(bench: Bench) -> int:
        add(bench, -3)
        await settle(bench)
        with pytest.raises(StoreDamaged):
            await bench.recorder.on_store(refuse)
        return await bench.recorder.on_store(lambda series: len(bench.store.read(series)), BTC)

    assert simulate(story) == 1


def test_candles_of_other_intervals_keep_their_own_grid() -> None:
    """A store holds many series: each row is checked against the grid of its own."""
    hour = Series(Market.SPOT, "BTCUSDT", Interval("1h"))

    async def story(bench: Bench) -> tuple[list[int], list[str]]:
        recorder = Recorder(
            bench.store, [BTC, hour], clock=bench.clock, tell=lambda _: None, on_rejected=bench.rejected.append
        )
        bench.start(recorder.run())
        opens = hour.interval.floor(START) - hour.interval.nominal
        candles = [candle(opens, interval=hour.interval), candle(opens + MINUTE)]
        await recorder.write(to_rows(recorder.numbers[hour], Source.REST, candles))
        return bench.store.held(hour), [one.rule for one in bench.rejected]

    assert simulate(story, record=False) == ([Interval("1h").floor(START) - 60 * MINUTE], ["off-grid"])


def test_commits_that_are_logged_are_told_at_once() -> None:
    """Who follows the store hears of each commit before anything else: its very rows where all were new, else that it was."""
    heard: list[tuple[list[int] | None, int]] = []

    async def story(bench: Bench) -> None:
        bench.store.log_changes()
        recorder = Recorder(
            bench.store, [BTC], clock=bench.clock, tell=bench.events.append, on_rejected=bench.rejected.append,
            on_stored=lambda rows, sequence: heard.append((None if rows is None else rows["open_time"].tolist(), sequence)),
        )  # fmt: skip
        bench.recorder = recorder
        recording = asyncio.ensure_future(recorder.run())
        await recorder.write(rows(bench, -3, -2))
        await recorder.write(rows(bench, -2))
        await recorder.write(rows(bench, -2, -1))
        recorder.close()
        await recording

    simulate(story, record=False)
    assert heard == [([minute(-3), minute(-2)], 1), (None, 2)]


def test_commits_of_a_store_without_a_log_are_told_to_nobody() -> None:
    """Where nothing follows the store nothing is handed on."""
    heard: list[int] = []

    async def story(bench: Bench) -> None:
        bench.recorder = recorder = Recorder(
            bench.store, [BTC], clock=bench.clock, tell=bench.events.append, on_rejected=bench.rejected.append,
            on_stored=lambda _, sequence: heard.append(sequence),
        )  # fmt: skip
        recording = asyncio.ensure_future(recorder.run())
        await recorder.write(rows(bench, -3))
        recorder.close()
        await recording

    simulate(story, record=False)
    assert heard == []
