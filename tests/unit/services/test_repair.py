"""Holes are asked from REST, filled, or proved to be the exchange's."""

import asyncio
import json

import pytest

from candlewick.errors import Unreachable
from candlewick.events import GapClosed, GapFound, RestTrouble
from candlewick.history.budget import HISTORY, URGENT
from candlewick.market import HOUR, SECOND, Interval, Market, Series, Span
from candlewick.services import repair as module
from candlewick.services.repair import ASK_AGAIN_OLD_S, ASK_AGAIN_S, SETTLE_S, Job
from candlewick.stores.store import Absence, Reason, Source
from tests.unit.services.repairshop import Shop, failing_until, tell
from tests.unit.services.workbench import BTC, START, Bench, minute, simulate, span


def test_hole_is_filled_and_told_once() -> None:
    """What is missing is asked for with the candle after it, stored, and told as found and as closed."""

    async def story(shop: Shop) -> Shop:
        await shop.bench.keep(BTC, [minute(n) for n in range(-30, -1) if not -20 <= n < -15])
        shop.ask(-30, -1)
        await shop.pass_s(1)
        shop.ask(-30, -1)
        await shop.pass_s(100)
        return shop

    shop = tell(story)
    assert shop.asked == [(-20, -14)]
    assert shop.held() == list(range(-30, -1))
    assert shop.gaps == [("GapFound", -20, -15), ("GapClosed", -20, -15)]
    found, closed = shop.bench.told(GapFound)[0], shop.bench.told(GapClosed)[0]
    assert (found.candles, found.cause) == (5, "a test")
    assert (closed.candles, closed.recovered, closed.reason) == (5, 5, "recovered")
    assert shop.repairer.candles_recovered == 5
    assert shop.mended[0].counts == (29, 5, 0, 0)


def test_candle_that_is_not_settled_is_not_taken() -> None:
    """A page holds the minute that is still going on: it is neither stored nor put aside."""

    async def story(shop: Shop) -> Shop:
        await shop.bench.keep(BTC, [minute(-5)])
        shop.ask(-4, 0)
        await shop.pass_s(1)
        return shop

    shop = tell(story)
    assert shop.held() == [-5, -4, -3, -2, -1]
    assert shop.asked == [(-4, 0)]
    assert shop.bench.store.quarantined() == []


def test_candles_that_have_not_settled_are_asked_for_later() -> None:
    """Of a span that reaches up to now the settled part is asked for at once, the rest when it has settled."""

    async def story(shop: Shop) -> Shop:
        await shop.bench.keep(BTC, [minute(-5)])
        await shop.pass_s(32)  # 09:18:02: the minute that was going on closed 2 s ago
        shop.ask(-4, 1)
        await shop.pass_s(SETTLE_S - 3)
        assert shop.held() == [-5, -4, -3, -2, -1]
        await shop.pass_s(2.5)
        return shop

    shop = tell(story)
    assert shop.held() == [-5, -4, -3, -2, -1, 0]
    assert shop.asked == [(-4, 0), (0, 1)]


def test_span_of_the_future_is_asked_for_when_it_is_past() -> None:
    """A span of which nothing has settled asks nothing now, and loses nothing."""

    async def story(shop: Shop) -> Shop:
        shop.ask(0, 3)
        await shop.pass_s(20)
        assert shop.asked == []
        await shop.pass_s(300)
        return shop

    shop = tell(story)
    assert shop.held() == [0, 1, 2]
    assert shop.repairer.pending == 0


def test_holes_that_lie_near_share_a_page() -> None:
    """Many little holes are one question; what lies far apart is asked for by itself."""

    async def story(shop: Shop) -> Shop:
        missing = {-900, *range(-300, -200, 7), -50}
        await shop.bench.keep(BTC, [minute(n) for n in range(-1000, -1) if n not in missing])
        shop.ask(-1000, -1)
        await shop.pass_s(5)
        return shop

    shop = tell(story)
    assert shop.held() == list(range(-1000, -1))
    assert shop.asked == [(-900, -898), (-300, -48)]
    assert len(shop.bench.told(GapFound)) == len(shop.bench.told(GapClosed)) == 17


def test_absence_is_recorded_after_two_askings_with_a_later_candle() -> None:
    """The exchange has later candles but not these: after a minute it is asked again, and only then believed."""

    async def story(shop: Shop) -> Shop:
        await shop.bench.keep(BTC, [minute(n) for n in range(-30, -1) if not -20 <= n < -15])
        shop.bench.rest.lacks = {minute(n) for n in range(-20, -16)}
        shop.ask(-30, -1)
        await shop.pass_s(ASK_AGAIN_S - 1)
        assert shop.absent() == []
        await shop.pass_s(600)
        return shop

    shop = tell(story)
    assert shop.absent() == [(-20, -16, Reason.EXCHANGE_OUTAGE)]
    assert shop.asked == [(-20, -14), (-20, -15)]
    first, second = shop.bench.rest.asked
    assert second.at_s - first.at_s >= ASK_AGAIN_S
    assert shop.gaps == [("GapFound", -20, -15), ("GapClosed", -20, -15)]
    closed = shop.bench.told(GapClosed)[0]
    assert (closed.candles, closed.recovered, closed.reason) == (5, 1, "the exchange has none")
    evidence = json.loads(shop.bench.store.absences(BTC)[0].evidence)
    assert evidence["last_asked"].startswith("2026-11-02T09:18:3")


def test_row_that_cannot_be_is_no_absence() -> None:
    """What the exchange has and no candle can be goes to the quarantine: it stays missing, its neighbours are proved."""

    async def story(shop: Shop) -> Shop:
        await shop.bench.keep(BTC, [minute(n) for n in range(-30, -1) if not -20 <= n < -15])
        shop.bench.rest.lacks = {minute(-20), minute(-17)}
        shop.bench.rest.broken = {minute(-18)}
        shop.ask(-30, -1)
        await shop.pass_s(600)
        return shop

    shop = tell(story)
    assert shop.absent() == [(-20, -19, Reason.EXCHANGE_OUTAGE), (-17, -16, Reason.EXCHANGE_OUTAGE)]
    assert shop.held() == [n for n in range(-30, -1) if n not in (-20, -18, -17)]
    assert shop.repairer.holes.missing(BTC) == 1
    assert {one.rule for one in shop.bench.store.quarantined()} == {"price-not-positive"}
    assert shop.gaps == [("GapFound", -20, -15)]


def test_what_the_archive_has_yet_to_publish_is_asked_for() -> None:
    """A hole that a load left pending is filled like any other; what REST proves absent stands in the reason's place."""

    async def story(shop: Shop) -> Shop:
        await shop.bench.keep(BTC, [minute(n) for n in range(-30, -1) if not -20 <= n < -10])
        shop.bench.store.set_absences(BTC, [Absence(span(-22, -10), Reason.PENDING, "{}")])
        shop.bench.rest.lacks = {minute(-15)}
        shop.ask(-30, -1)
        await shop.pass_s(600)
        return shop

    shop = tell(story)
    assert shop.held() == [n for n in range(-30, -1) if n != -15]
    reasons = shop.absent()
    assert (-15, -14, Reason.EXCHANGE_OUTAGE) in reasons
    assert {reason for _, _, reason in reasons} == {Reason.PENDING, Reason.EXCHANGE_OUTAGE}


def test_absence_is_not_believed_without_a_later_candle() -> None:
    """REST that ends before the hole proves nothing, however often it is asked."""

    async def story(shop: Shop) -> Shop:
        await shop.bench.keep(BTC, [minute(n) for n in range(-30, -20)])
        shop.bench.rest.lacks = {minute(n) for n in range(-20, 100)}
        for _ in range(10):
            shop.ask(-30, -1)
            await shop.pass_s(120)
        return shop

    shop = tell(story)
    assert shop.absent() == []
    assert shop.gaps == [("GapFound", -20, -1)]
    assert len(shop.mended) == 10
    assert shop.repairer.holes.missing(BTC) == 19
    assert {one.until for one in shop.mended} == {minute(-20)}


def test_absence_is_not_believed_when_asked_twice_in_a_row() -> None:
    """Two askings within seconds are one: a recent hole is given its time."""

    async def story(shop: Shop) -> Shop:
        await shop.bench.keep(BTC, [minute(n) for n in range(-30, -1) if n != -9])
        shop.bench.rest.lacks = {minute(-9)}
        for _ in range(5):
            shop.ask(-30, -1)
            await shop.pass_s(10)
        assert shop.absent() == []
        shop.bench.rest.lacks.clear()
        await shop.pass_s(120)
        return shop

    shop = tell(story)
    assert shop.held() == list(range(-30, -1))
    assert shop.absent() == []


def test_old_absence_is_believed_sooner() -> None:
    """What the exchange lacks of hours ago does not come by waiting a minute."""

    async def story(shop: Shop) -> Shop:
        await shop.bench.keep(BTC, [minute(n) for n in range(-300, -1) if n != -200])
        shop.bench.rest.lacks = {minute(-200)}
        for _ in range(2):
            shop.ask(-300, -1)
            await shop.pass_s(ASK_AGAIN_OLD_S + 1)
        return shop

    assert tell(story).absent() == [(-200, -199, Reason.EXCHANGE_OUTAGE)]


def test_what_lies_before_the_first_candle_was_not_listed() -> None:
    """Before its first candle a symbol was not listed: no gap is told, and the reason is kept."""

    async def story(shop: Shop) -> Shop:
        shop.bench.rest.listed_at = minute(-100)
        shop.bench.rest.lacks = {minute(-50)}
        shop.ask(-200, -1, HISTORY, whole=True)
        await shop.pass_s(200)
        return shop

    shop = tell(story)
    assert shop.held() == [n for n in range(-100, -1) if n != -50]
    assert shop.absent() == [(-200, -100, Reason.NOT_LISTED), (-50, -49, Reason.EXCHANGE_OUTAGE)]
    assert shop.gaps == [("GapFound", -50, -49), ("GapClosed", -50, -49)]


def test_history_of_many_chunks_before_the_listing_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk in which REST has nothing at all is still explained by the first candle that comes later."""
    monkeypatch.setattr(module, "CHUNK", 50)

    async def story(shop: Shop) -> Shop:
        shop.bench.rest.listed_at = minute(-100)
        shop.bench.rest.lacks = set(map(minute, range(-90, -20)))
        shop.ask(-400, -1, HISTORY, whole=True)
        await shop.pass_s(400)
        return shop

    shop = tell(story)
    assert shop.held() == [*range(-100, -90), *range(-20, -1)]
    reasons = {n: reason for first, last, reason in shop.absent() for n in range(first, last)}
    assert {n for n, reason in reasons.items() if reason is Reason.NOT_LISTED} == set(range(-400, -100))
    assert {n for n, reason in reasons.items() if reason is Reason.EXCHANGE_OUTAGE} == set(range(-90, -20))
    assert shop.repairer.holes.missing(BTC) == 0


def test_absences_do_not_lose_each_other() -> None:
    """A repair that is asked for by hand beside the usual one keeps what both have found."""

    async def story(shop: Shop) -> Shop:
        await shop.bench.keep(BTC, [minute(n) for n in range(-500, -1) if n not in (-400, -20)])
        shop.bench.rest.lacks = {minute(-400), minute(-20)}
        for _ in range(3):
            shop.ask(-500, -1)
            await asyncio.gather(shop.repairer.repair(BTC), shop.repairer.repair(BTC))
            await shop.pass_s(90)
        return shop

    shop = tell(story)
    assert shop.absent() == [(-400, -399, Reason.EXCHANGE_OUTAGE), (-20, -19, Reason.EXCHANGE_OUTAGE)]
    assert shop.bench.told(RestTrouble) == []


def test_whole_job_confirms_what_is_held() -> None:
    """What the live feed gave is asked for as well: equal candles are vouched for, others replaced."""

    async def story(shop: Shop) -> Shop:
        await shop.bench.keep(BTC, [minute(n) for n in range(-10, -2)])
        await shop.bench.keep(BTC, [minute(-2)], price=107.0)
        shop.ask(-10, -1, HISTORY, whole=True)
        await shop.pass_s(5)
        return shop

    shop = tell(story)
    assert shop.bench.store.held(BTC, Source.REST) == [minute(n) for n in range(-10, -1)]
    assert (shop.bench.recorder.confirmed, shop.bench.recorder.revised) == (8, 1)
    assert (shop.mended[0].whole, shop.mended[0].until) == (True, minute(-1))
    assert shop.gaps == []


def test_whole_job_vouches_only_for_what_rest_showed() -> None:
    """REST that is behind has not confirmed the newest candles, though none is missing."""

    async def story(shop: Shop) -> Shop:
        await shop.bench.keep(BTC, [minute(n) for n in range(-10, -1)])
        shop.bench.rest.lag_s = 180.0
        shop.ask(-10, -1, HISTORY, whole=True)
        await shop.pass_s(5)
        return shop

    shop = tell(story)
    confirmed = shop.bench.store.held(BTC, Source.REST)
    assert confirmed == [minute(n) for n in range(-10, -2)]
    assert shop.mended[0].until == minute(-2)


@pytest.mark.parametrize("missing", [1, 5])
def test_hole_that_rest_has_not_yet_is_asked_for_again_by_whoever_needs_it(missing: int) -> None:
    """REST lags: the hole stays open and untold as closed, and the next asking fills it."""

    async def story(shop: Shop) -> Shop:
        await shop.bench.keep(BTC, [minute(n) for n in range(-10, -1 - missing)])
        shop.bench.rest.lag_s = 1000.0
        shop.ask(-1 - missing, -1, URGENT)
        await shop.pass_s(10)
        assert shop.repairer.holes.missing(BTC) == missing
        shop.bench.rest.lag_s = 0.0
        shop.ask(-1 - missing, -1, URGENT)
        await shop.pass_s(5)
        return shop

    shop = tell(story)
    assert shop.held() == list(range(-10, 0))  # the candle after it came along
    assert [name for name, *_ in shop.gaps] == ["GapFound", "GapClosed"]
    assert shop.mended[0].until == minute(-1 - missing)


def test_hole_that_grows_while_rest_is_away_is_one_gap() -> None:
    """An outage of streams and REST together: one gap that grows, closed once, and nothing stays missing."""

    async def story(shop: Shop) -> Shop:
        await shop.bench.keep(BTC, [minute(n) for n in range(-10, -5)])
        failing_until(shop, 600, lambda: Unreachable("no way"))
        for last in range(-3, 8):
            shop.ask(-5, last, URGENT)
            await shop.pass_s(60)
        await shop.pass_s(300)
        return shop

    shop = tell(story)
    assert set(range(-10, 7)) <= set(shop.held())
    assert (shop.repairer.holes.found, shop.repairer.holes.closed) == (1, 1)
    assert [name for name, *_ in shop.gaps].count("GapClosed") == 1
    assert shop.gaps[-1][0] == "GapClosed"
    assert shop.repairer.holes.missing(BTC) == 0


def test_open_gap_is_not_closed_by_a_job_of_what_is_not_settled() -> None:
    """A job of which nothing has settled yet says nothing about a hole that is known."""
    second = Series(Market.SPOT, "BTCUSDT", Interval("1s"))

    async def story(bench: Bench) -> tuple[int, list[GapClosed]]:
        shop = Shop(bench, run=False)
        now = bench.clock.now()
        shop.repairer.holes.find(second, [Span(now - 9 * SECOND, now)])
        mended = await shop.repairer.mend(Job(second, Span(now - 3 * SECOND, now), URGENT, "a test"))
        assert mended.counts == (0, 0, 0, 0)
        return shop.repairer.holes.missing(second), bench.told(GapClosed)

    assert simulate(story) == (9, [])


def test_repair_by_hand_mends_everything_and_says_what_it_came_to() -> None:
    """Every hole of a series is mended, what the exchange lacks is asked for twice and named."""

    async def story(shop: Shop) -> dict[str, object]:
        missing = {-400, -399, -200}
        await shop.bench.keep(BTC, [minute(n) for n in range(-500, -1) if n not in missing])
        shop.bench.rest.lacks = {minute(-200)}
        result = await shop.repairer.repair(BTC)
        return {name: getattr(result, name) for name in result.__struct_fields__}

    assert tell(story, run=False) == {
        "market": "spot", "symbol": "BTCUSDT", "interval": "1m", "start": minute(-400) // 1000,
        "end": minute(-1) // 1000, "expected": 399, "recovered": 2, "absent": 1, "missing": 0, "error": None,
    }  # fmt: skip


def test_repair_by_hand_says_why_it_could_not() -> None:
    """REST is away: what is missing stays so and the reason stands in the result."""

    async def story(shop: Shop) -> tuple[int, int, str | None]:
        await shop.bench.keep(BTC, [minute(-9), minute(-2)])
        failing_until(shop, 1e9, lambda: Unreachable("no way"))
        result = await shop.repairer.repair(BTC)
        return result.expected, result.recovered, result.error

    expected, recovered, error = tell(story, run=False)
    assert (expected, recovered) == (0, 0)
    assert "no way" in (error or "")


@pytest.mark.parametrize("held", [[], [-5, -4, -3]])
def test_repair_by_hand_of_a_whole_series_asks_nothing(held: list[int]) -> None:
    """An empty series and one without holes are in order as they are."""

    async def story(shop: Shop) -> tuple[int, list[tuple[int, int]]]:
        await shop.bench.keep(BTC, map(minute, held))
        return (await shop.repairer.repair(BTC)).missing, shop.asked

    assert tell(story, run=False) == (0, [])


def test_months_are_repaired_too() -> None:
    """Calendar months are asked for, joined and stored like everything else."""
    month = Series(Market.SPOT, "BTCUSDT", Interval("1M"))

    async def story(bench: Bench) -> tuple[list[int], list[Span]]:
        bench.recorder = type(bench.recorder)(
            bench.store, [month], clock=bench.clock, tell=bench.events.append, on_rejected=bench.rejected.append
        )
        bench.start(bench.recorder.run())
        shop = Shop(bench, run=False)
        times = month.interval.grid(Span(START - 900 * 24 * HOUR, START))[:-1]
        await bench.keep(month, [times[0], *times[3:-4], times[-1]])
        result = await shop.repairer.repair(month)
        assert (result.missing, result.recovered) == (0, 5)
        return bench.store.held(month), bench.rest.spans

    held, spans = simulate(story, record=False)
    assert held == Interval("1M").grid(Span(START - 900 * 24 * HOUR, START))[:-1]
    assert len(spans) == 1
