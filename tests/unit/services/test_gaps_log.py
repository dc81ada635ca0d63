"""The record of gaps: one for each, closed by what the store holds, whatever happens between."""

import asyncio

import pytest

from candlewick.errors import StoreFull
from candlewick.events import GapClosed, GapFound, StoreTrouble
from candlewick.market import SECOND, Span
from candlewick.services import gaps_log
from candlewick.services.gaps_log import GapsLog
from candlewick.stores.provenance import GapRecord, gap_records, keep_gap
from candlewick.stores.store import Absence, Reason, Source
from tests.unit.services.workbench import BTC, ETH, START, Bench, minute, simulate, span


def _log(bench: Bench, look_every_s: float = 300.0) -> GapsLog:
    return GapsLog(
        bench.store, clock=bench.clock, on_store=bench.recorder.on_store, tell=bench.events.append,
        look_every_s=look_every_s,
    )  # fmt: skip


def _found(gap: Span, cause: str = "scan") -> GapFound:
    return GapFound(BTC, gap, BTC.interval.count(gap), cause)


def _closed(gap: Span) -> GapClosed:
    return GapClosed(BTC, gap, BTC.interval.count(gap), BTC.interval.count(gap), "recovered")


def test_gap_found_has_one_open_record() -> None:
    """A gap that is found is on record with its span, its count, its time and its cause, and is open."""

    async def story(bench: Bench) -> None:
        log = _log(bench)
        log.hear(_found(span(-9, -6)))
        await log.flush()
        assert gap_records(bench.store) == [GapRecord(str(BTC), span(-9, -6), 3, START, "scan")]

    simulate(story)


def test_gap_is_closed_by_what_the_store_holds() -> None:
    """It is closed once every grid time has its candle or its reason, with how many of each; a word alone closes nothing."""

    async def story(bench: Bench) -> None:
        log = _log(bench)
        log.hear(_found(span(-9, -6)))
        log.hear(_closed(span(-9, -6)))
        await log.flush()
        assert gap_records(bench.store)[0].closed_at is None
        await bench.keep(BTC, [minute(-9), minute(-7), minute(-6)], Source.REST)
        await log.flush()
        assert gap_records(bench.store)[0].closed_at is None
        bench.store.set_absences(BTC, [Absence(span(-8, -7), Reason.PENDING, "{}")])
        await log.flush()
        assert gap_records(bench.store)[0].closed_at is None
        bench.store.set_absences(BTC, [Absence(span(-20, -7), Reason.EXCHANGE_OUTAGE, "{}")])
        await log.flush()
        (record,) = gap_records(bench.store)
        # The reason covers a candle that is held as well; the gap is whole all the same.
        assert record.closed_at == START
        assert (record.recovered, record.absent) == (2, 1)

    simulate(story)


def test_gap_is_never_closed_before_it_was_found() -> None:
    """One that was found by a process whose clock was ahead is closed at the time of its finding, not before that."""

    async def story(bench: Bench) -> None:
        keep_gap(bench.store, GapRecord(str(BTC), span(-9, -8), 1, START + 3600 * SECOND, "scan"))
        await bench.keep(BTC, [minute(-9), minute(-8)], Source.REST)
        await _log(bench).flush()
        assert gap_records(bench.store)[0].closed_at == START + 3600 * SECOND

    simulate(story)


def test_gap_that_grows_replaces_its_smaller_record() -> None:
    """A gap found again with more on either side is one record, with the first finding's time and cause."""

    async def story(bench: Bench) -> None:
        log = _log(bench)
        log.hear(_found(span(-9, -8), "first"))
        log.hear(_found(span(-5, -4), "another"))
        await log.flush()
        await bench.clock.sleep(60)
        log.hear(_found(span(-11, -7)))
        await log.flush()
        assert gap_records(bench.store) == [
            GapRecord(str(BTC), span(-11, -7), 4, START, "first"),
            GapRecord(str(BTC), span(-5, -4), 1, START, "another"),
        ]

    simulate(story)


def test_minutes_mended_one_by_one_are_one_gap() -> None:
    """Minutes that fail to come one after the other, each mended at once, are one record, closed by the candle after."""

    async def story(bench: Bench) -> None:
        log = _log(bench)
        bench.start(log.run())
        for number in (-9, -8, -7):
            log.hear(_found(span(number, number + 1)))
            await bench.keep(BTC, [minute(number)], Source.REST)
            log.hear(_closed(span(number, number + 1)))
            await bench.clock.sleep(60)
        (record,) = gap_records(bench.store)
        assert (record.span, record.candles, record.closed_at) == (span(-9, -6), 3, None)
        await bench.keep(BTC, [minute(-6)], Source.LIVE)
        await bench.clock.sleep(gaps_log.LOOK_SOON_S)
        (record,) = gap_records(bench.store)
        assert (record.span, record.candles, record.recovered, record.detected_at) == (span(-9, -6), 3, 3, START)
        assert record.closed_at == START + 180 * SECOND + round(gaps_log.LOOK_SOON_S * SECOND)
        log.hear(_found(span(-6, -5)))
        await bench.clock.sleep(1)
        assert [one.span for one in gap_records(bench.store)] == [span(-9, -6), span(-6, -5)]

    simulate(story)


def test_gap_is_over_after_a_while() -> None:
    """Where the candle after it is long in coming, as an hour's is, a gap that has everything is closed all the same."""

    async def story(bench: Bench) -> None:
        log = _log(bench)
        bench.start(log.run())
        log.hear(_found(span(-9, -6)))
        await bench.keep(BTC, map(minute, range(-9, -6)), Source.REST)
        log.hear(_closed(span(-9, -6)))
        await bench.clock.sleep(gaps_log.OVER / SECOND - 10)
        assert gap_records(bench.store)[0].closed_at is None
        await bench.clock.sleep(20)
        assert gap_records(bench.store)[0].closed_at is not None

    simulate(story)


def test_open_record_is_taken_up_again_after_a_restart() -> None:
    """A gap found by one process and repaired without a word is closed by the next one."""

    async def story(bench: Bench) -> None:
        first = _log(bench)
        first.hear(_found(span(-9, -6)))
        await first.flush()
        await bench.keep(BTC, map(minute, range(-9, -6)), Source.ARCHIVE)
        bench.start(_log(bench).run())
        await bench.clock.sleep(1)
        (record,) = gap_records(bench.store)
        assert (record.recovered, record.absent, record.detected_at) == (3, 0, START)
        assert record.closed_at is not None

    simulate(story)


def test_gap_found_again_after_a_restart_is_no_second_one() -> None:
    """The same gap found by the next process leaves one record, of the first finding."""

    async def story(bench: Bench) -> None:
        first = _log(bench)
        first.hear(_found(span(-9, -6), "its close did not come"))
        await first.flush()
        await bench.clock.sleep(30)
        second = _log(bench)
        second.hear(_found(span(-9, -6), "scan"))
        await second.flush()
        assert gap_records(bench.store) == [GapRecord(str(BTC), span(-9, -6), 3, START, "its close did not come")]

    simulate(story)


def test_open_gap_is_looked_at_from_time_to_time() -> None:
    """What fills a gap without a word, such as the archive, closes its record at the next look."""

    async def story(bench: Bench) -> None:
        log = _log(bench, look_every_s=120.0)
        bench.start(log.run())
        log.hear(_found(span(-9, -6)))
        await bench.clock.sleep(1)
        await bench.keep(BTC, map(minute, range(-9, -5)), Source.ARCHIVE)
        await bench.clock.sleep(110)
        assert gap_records(bench.store)[0].closed_at is None
        await bench.clock.sleep(10)
        assert gap_records(bench.store)[0].closed_at is not None

    simulate(story)


def test_record_is_kept_once_the_store_takes_it() -> None:
    """A store that fails is told of and tried again; no gap is forgotten."""

    async def story(bench: Bench) -> None:
        fails = [True]
        keep = bench.store.set_states

        def set_states(values: dict[str, bytes | None]) -> None:
            if fails.pop() if fails else False:
                raise StoreFull("no space left")
            keep(values)

        bench.store.set_states = set_states  # type: ignore[method-assign,assignment]
        log = _log(bench)
        bench.start(log.run())
        log.hear(_found(span(-9, -6)))
        await bench.clock.sleep(1)
        assert gap_records(bench.store) == []
        assert bench.told(StoreTrouble)
        await bench.clock.sleep(gaps_log.RETRY_S)
        assert [one.span for one in gap_records(bench.store)] == [span(-9, -6)]

    simulate(story)


def test_old_closed_records_are_forgotten() -> None:
    """Closed records go after a month; open ones stay."""

    async def story(bench: Bench) -> None:
        log = _log(bench)
        log.hear(_found(span(-9, -6)))
        log.hear(GapFound(ETH, span(-9, -6), 3, "scan"))
        await bench.keep(BTC, map(minute, range(-9, -5)), Source.REST)
        await log.flush()
        assert len(gap_records(bench.store)) == 2
        await bench.clock.sleep(gaps_log.KEPT / SECOND - 1)
        await log.flush()
        assert len(gap_records(bench.store)) == 2
        await bench.clock.sleep(2)
        await log.flush()
        assert [one.series for one in gap_records(bench.store)] == [str(ETH)]

    simulate(story)


def test_record_of_gaps_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many closed gaps those that were closed first are forgotten."""
    monkeypatch.setattr(gaps_log, "MOST", 5)

    async def story(bench: Bench) -> None:
        log = _log(bench)
        await bench.keep(BTC, map(minute, range(-100, -20)), Source.REST)
        for number in range(-100, -50, 5):
            log.hear(_found(span(number, number + 1)))
            await log.flush()
            await bench.clock.sleep(1)
        assert [one.span.start for one in gap_records(bench.store)] == [minute(one) for one in range(-75, -50, 5)]

    simulate(story)


def test_gap_heard_while_others_are_kept_is_kept_too() -> None:
    """Gaps heard while the store is at work are kept with the next work."""

    async def story(bench: Bench) -> None:
        log = _log(bench)
        log.hear(_found(span(-9, -8)))
        work = asyncio.ensure_future(log.flush())
        await bench.clock.sleep(0)
        log.hear(_found(span(-5, -4)))
        await work
        await log.flush()
        assert [one.span for one in gap_records(bench.store)] == [span(-9, -8), span(-5, -4)]

    simulate(story)
