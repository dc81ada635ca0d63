"""What a run has from the archive: history too long for REST, and the second opinion on what is absent."""

import json

from candlewick.events import HistoryLoaded
from candlewick.market import DAY, Interval, Market, Series, parse_time
from candlewick.simulator.faults import Fault
from candlewick.stores.store import Reason, Source
from tests.acceptance.scenario import START, Verdict, play

SERIES = Series(Market.SPOT, "BTCUSDT", Interval("1m"))


def _archived(verdict: Verdict) -> int:
    """Up to when the candles held are the archive's, counted from the first."""
    sources = verdict.store.read(SERIES, columns=["open_time", "source"])
    others = sources["open_time"][sources["source"] != Source.ARCHIVE]
    return int(others[0])


def test_old_history_of_a_run_comes_from_the_archive() -> None:
    """Of nine days of history the first six are the archive's, the rest REST's, and all of them the exchange's."""
    verdict = play(hours=0.2, history_hours=9 * 24, symbols=("BTCUSDT",))
    assert verdict.wrong == []
    assert verdict.gaps == []
    assert _archived(verdict) == START - START % DAY - 3 * DAY
    (loaded,) = verdict.happened(HistoryLoaded)
    assert (loaded.series, loaded.missing) == (SERIES, 0)
    assert loaded.span.end == START - START % DAY - 3 * DAY


def test_archive_that_is_down_leaves_history_to_rest() -> None:
    """Where no file of the archive can be had REST is asked for all of it, and nothing is missing."""
    faults = [Fault(kind="denied", at=0.0, duration_s=3600.0)]
    verdict = play(faults, hours=0.4, history_hours=5 * 24, symbols=("BTCUSDT",))
    assert verdict.wrong == []
    assert verdict.gaps == []


def test_absence_is_asked_of_the_archive_once_its_day_is_out() -> None:
    """An outage that REST alone has shown is asked of the day's file when it is published, and the answer is kept."""
    start = parse_time("2026-11-02T21:10:00")
    faults = [Fault(kind="outage", at=1800.0, duration_s=400.0)]
    verdict = play(faults, hours=14, history_hours=1, symbols=("BTCUSDT",), start=start)
    assert verdict.wrong == []
    (absence,) = verdict.store.absences(SERIES)
    assert absence.reason is Reason.EXCHANGE_OUTAGE
    answers = {one["who"]: one["answer"] for one in json.loads(absence.evidence)["asked"]}
    assert answers["archive daily"] == "no row"
    assert answers["rest"] == "later candles, none of these"
