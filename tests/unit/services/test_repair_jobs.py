"""Which repair is made when: priorities, chunks, workers, failures."""

from itertools import pairwise

import pytest

from candlewick.errors import Banned, Refused, StoreFull, Unreachable
from candlewick.events import RestTrouble
from candlewick.history.budget import HISTORY, REPAIR, URGENT
from candlewick.market import MINUTE, SECOND
from candlewick.services import repair as module
from candlewick.stores.store import Absence, Reason
from tests.unit.services.repairshop import Shop, failing_until, tell
from tests.unit.services.workbench import BTC, ETH, START, minute, span


def test_nothing_missing_asks_nothing() -> None:
    """Where all is held or explained there is nothing to ask for."""

    async def story(shop: Shop) -> Shop:
        await shop.bench.keep(BTC, [minute(n) for n in range(-30, -1) if n != -9])
        shop.bench.store.set_absences(BTC, [Absence(span(-9, -8), Reason.EXCHANGE_OUTAGE, "{}")])
        shop.ask(-30, -1)
        await shop.pass_s(1)
        return shop

    shop = tell(story)
    assert (shop.asked, shop.gaps) == ([], [])
    assert shop.mended[0].until == minute(-1)


def test_repair_that_fails_is_tried_again_ever_more_rarely() -> None:
    """REST is away for an hour: the repair is told as trouble, comes back by itself, and ends with everything."""

    async def story(shop: Shop) -> Shop:
        await shop.bench.keep(BTC, [minute(-9)])
        failing_until(shop, 3600, lambda: Unreachable("no way"))
        shop.ask(-8, -1)
        await shop.pass_s(3700)
        return shop

    shop = tell(story)
    assert shop.held() == list(range(-9, 0))
    told = [one.retry_s for one in shop.bench.told(RestTrouble) if one.what.startswith("repair of spot:BTCUSDT:1m")]
    assert told[:5] == [2, 5, 10, 20, 60]
    assert set(told[4:]) == {60}
    assert shop.gaps == [("GapFound", -8, -1), ("GapClosed", -8, -1)]


def test_repair_that_is_asked_for_again_and_again_does_not_multiply() -> None:
    """While REST is away the same span is asked for by tick, scan and retry: its attempts stay as rare as one's."""

    async def story(shop: Shop) -> Shop:
        await shop.bench.keep(BTC, [minute(-9)])
        failing_until(shop, 7200, lambda: Unreachable("no way"))
        for _ in range(30):
            shop.ask(-8, -1)
            await shop.pass_s(120)
        shop.bench.rest.asked.clear()
        await shop.pass_s(1800)
        return shop

    shop = tell(story)
    # Each attempt of the repairer is five of the client; one chain of retries a minute or so apart.
    assert len(shop.asked) <= 30 * 5


def test_refused_repair_is_not_hammered() -> None:
    """What the exchange refuses is asked for again only after much longer."""

    async def story(shop: Shop) -> list[float]:
        await shop.bench.keep(BTC, [minute(-9)])
        failing_until(shop, 1e9, lambda: Refused("invalid symbol", -1121))
        shop.ask(-8, -1)
        await shop.pass_s(6 * 3600)
        return [one.at_s for one in shop.bench.rest.asked]

    asked = tell(story)
    pauses = [round(later - sooner) for sooner, later in pairwise(asked)]
    assert pauses[:5] == [20, 50, 100, 200, 600]
    assert set(pauses[5:]) == {600}


def test_repair_waits_out_a_ban() -> None:
    """A ban is the client's to tell: the repair says nothing more and is made once it is over."""

    async def story(shop: Shop) -> Shop:
        await shop.bench.keep(BTC, [minute(-9)])
        until = START + 900 * SECOND
        failing_until(shop, 900, lambda: Banned("teapot", until))
        shop.ask(-8, -1)
        await shop.pass_s(1200)
        return shop

    shop = tell(story)
    assert shop.held() == list(range(-9, 0))
    assert [one.at_s > 900 for one in shop.bench.rest.asked] == [False, True]
    assert not [one for one in shop.bench.told(RestTrouble) if one.what.startswith("repair of")]


def test_repair_survives_a_store_that_cannot_keep_a_reason() -> None:
    """The store is full when a reason is to be kept: it is tried again, and the reason is there in the end."""

    async def story(shop: Shop) -> Shop:
        store = shop.bench.store
        await shop.bench.keep(BTC, [minute(n) for n in range(-300, -1) if n != -200])
        shop.bench.rest.lacks = {minute(-200)}
        keep, failures = store.set_absences, [1, 2, 3]

        def fail(*args: object) -> None:
            if failures:
                failures.pop()
                raise StoreFull("no space left")
            keep(*args)  # type: ignore[arg-type]

        store.set_absences = fail  # type: ignore[method-assign,assignment]
        shop.ask(-300, -1)
        await shop.pass_s(600)
        return shop

    shop = tell(story)
    assert shop.absent() == [(-200, -199, Reason.EXCHANGE_OUTAGE)]
    assert [name for name, *_ in shop.gaps] == ["GapFound", "GapClosed"]


def test_jobs_of_one_series_and_priority_are_joined() -> None:
    """What is asked for while another repair is under way becomes one job: from the first to the last."""

    async def story(shop: Shop) -> Shop:
        await shop.bench.keep(BTC, [minute(-600)])
        shop.ask(-500, -499)
        shop.ask(-100, -90)
        shop.ask(-300, -200)
        shop.ask(-50, -40, URGENT)
        assert shop.repairer.pending == 2
        await shop.pass_s(5)
        return shop

    shop = tell(story)
    assert [one.span for one in shop.mended] == [span(-50, -40), span(-500, -90)]
    assert shop.repairer.pending == 0


def test_urgent_jobs_come_first() -> None:
    """One worker: what is urgent is repaired before holes, and holes before history, whenever they were asked for."""

    async def story(shop: Shop) -> Shop:
        shop.ask(-300, -200, HISTORY, series=ETH, whole=True)
        shop.ask(-300, -200, HISTORY, whole=True)
        shop.ask(-100, -90)
        shop.ask(-10, -5, URGENT, series=ETH)
        shop.ask(-10, -5, URGENT)
        await shop.pass_s(10)
        return shop

    shop = tell(story, workers=1)
    assert [(one.series.symbol, one.span.start) for one in shop.mended] == [
        ("ETHUSDT", minute(-10)),
        ("BTCUSDT", minute(-10)),
        ("BTCUSDT", minute(-100)),
        ("ETHUSDT", minute(-300)),
        ("BTCUSDT", minute(-300)),
    ]


def test_long_job_is_cut_so_that_urgent_ones_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A history of many chunks lets what is urgent in its own series in between two of them."""
    monkeypatch.setattr(module, "CHUNK", 100)

    async def story(shop: Shop) -> Shop:
        shop.bench.rest.delay_s = 0.5
        shop.ask(-1000, -10, HISTORY, whole=True)
        await shop.pass_s(0.7)
        shop.ask(-9, -3, URGENT)
        await shop.pass_s(30)
        return shop

    shop = tell(story)
    starts = [(one.span.start - minute(0)) // MINUTE for one in shop.mended]
    assert starts.index(-9) <= 2
    assert sorted(starts) == [*range(-1000, -10, 100), -9]
    assert set(range(-1000, -3)) - {-10} <= set(shop.held())


def test_series_are_repaired_beside_each_other_but_each_by_one_worker() -> None:
    """Workers take different series; two jobs of one series never run at the same time."""

    async def story(shop: Shop) -> list[tuple[float, str]]:
        shop.bench.rest.delay_s = 2.0
        for first in (-300, -200):
            for series in (BTC, ETH):
                shop.ask(first, first + 10, REPAIR if first == -300 else HISTORY, series=series)
        await shop.pass_s(20)
        return [(round(one.at_s), one.params["symbol"]) for one in shop.bench.rest.asked]

    asked = tell(story)
    assert asked == [(0, "BTCUSDT"), (0, "ETHUSDT"), (2, "BTCUSDT"), (2, "ETHUSDT")]


def test_job_asked_for_while_its_series_is_busy_is_not_forgotten() -> None:
    """Every worker is idle but the series is busy: the job waits for it and is done then."""

    async def story(shop: Shop) -> Shop:
        shop.bench.rest.delay_s = 3.0
        shop.ask(-300, -290)
        await shop.pass_s(1)
        shop.ask(-100, -90)
        await shop.pass_s(20)
        return shop

    shop = tell(story)
    assert {*range(-300, -290), *range(-100, -90)} <= set(shop.held())
