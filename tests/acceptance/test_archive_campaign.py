"""Loads against an archive and a REST interface full of trouble: never a wrong candle or reason, in the end all of them.

What a seed draws and what is held against what: see `loads`.
"""

import logging
from collections.abc import Iterator
from random import Random

import pytest

from candlewick.certificates.audit import verify_store
from candlewick.certificates.check import verify
from candlewick.certificates.issue import certify
from candlewick.market import DAY, SECOND, Interval, Market, Series
from candlewick.simulator.faults import KINDS, Fault
from candlewick.stores.store import Reason
from tests.acceptance import loads, scenario

QUICK = (1, 2, 5, 7, 8, 14, 23, 25, 75, 117, 130, 131)
"""Seeds of few files; between them spot and USD-M, young and gone symbols, and six intervals."""
HISTORY_DAYS = 6


@pytest.fixture(autouse=True)
def _no_log() -> Iterator[None]:
    """Trouble is told by the thousand lines."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("seed", QUICK)
def test_loads_in_trouble_leave_only_what_is_true(seed: int) -> None:
    """After every load nothing is wrong, after the last one nothing is missing, and once more changes nothing."""
    assert loads.play(seed).wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 300))
def test_campaign_of_loads_leaves_only_what_is_true(seed: int) -> None:
    """The same of two hundred scenarios."""
    assert loads.play(seed).wrong == []


def _run(seed: int, hours: float) -> list[str]:
    """What is wrong after a run that had six days of history from a spoiled archive, and trouble while it loaded them."""
    random = Random(seed)
    market, symbol = random.choice(list(Market)), random.choice(("WANUSDT", "XRPUSDT"))
    interval = Interval(random.choice(("5m", "15m")))
    faults = list(loads.lasting(random, market, symbol))
    for _ in range(random.randrange(3)):
        at, length = -random.uniform(0, HISTORY_DAYS) * 86_400, random.choice((90.0, 4_000.0, 100_000.0))
        faults.append(Fault(kind="outage", at=at, duration_s=length * random.uniform(0.5, 1.5)))
    for fault in loads.passing(random, scenario.START):
        is_early = KINDS[fault.kind].strikes != "archive" and float(fault.at) < 60
        faults.append(fault if not is_early else Fault(kind="denied", at=float(fault.at), duration_s=fault.duration_s))
    verdict = scenario.play(
        faults, seed=seed, hours=hours, market=market, symbols=(symbol,), intervals=(interval.code,),
        history_hours=24 * HISTORY_DAYS,
    )  # fmt: skip
    series, end = Series(market, symbol, interval), verdict.exchange.clock.now()
    wrong = list(verdict.wrong)
    wrong += [f"{gap.span} is missing" for gap in verdict.gaps if gap.reason is Reason.MISSING]
    truth = verdict.exchange.truth(symbol, interval.code, scenario.START - HISTORY_DAYS * DAY, end - 15 * SECOND)
    times = [int(row[0]) * 1000 for row in truth]
    for absence in verdict.store.absences(series):
        if hidden := [time for time in times if absence.span.start <= time < absence.span.end]:
            wrong.append(f"{absence.span}: {absence.reason}, and there are {len(hidden)} candles")
    wrong += [str(one) for one in verify_store(verdict.store, end) if not one.is_note]
    wrong += [str(one) for one in verify(certify(verdict.store, series), verdict.store)]
    return wrong


@pytest.mark.parametrize("seed", [1, 4])
def test_run_with_a_spoiled_archive_has_its_history(seed: int) -> None:
    """Six days of history are whole when the trouble is over, their reasons are true, and the store is sound."""
    assert _run(seed, 0.7) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 130))
def test_campaign_of_runs_has_its_history(seed: int) -> None:
    """The same of thirty runs, an hour and a half each."""
    assert _run(seed, 1.5) == []
