"""The budget of REST: never above a limit, never deaf to a refusal, never starving the urgent."""

import heapq
from collections import Counter
from itertools import pairwise
from random import Random

import pytest

from candlewick.errors import Banned, RateLimited, StoreDamaged
from candlewick.history.budget import HISTORY, LONGEST, REPAIR, SLOW_S, URGENT, Budget
from candlewick.market import DAY, HOUR, MINUTE, SECOND

START = 1_700_000_040 * SECOND  # the beginning of a minute


def limited(retry_after: float = 30.0) -> RateLimited:
    return RateLimited("GET /klines: 429", retry_after)


def granted_at(budget: Budget, now: int, weight: int = 1, priority: int = REPAIR) -> int:
    """When a request gets through that keeps asking as told; it is answered at once."""
    while (wait_s := budget.ask(weight, now, priority)) > 0:
        now += int(wait_s * SECOND)
    budget.answered(weight, None, now, now)
    return now


def granted_in_turn(budget: Budget, now: int, count: int, priority: int = REPAIR) -> list[int]:
    """When `count` requests get through, each asking once the one before has gone."""
    times = [now]
    for _ in range(count):
        times.append(granted_at(budget, times[-1], priority=priority))
    return times[1:]


def test_budget_allows_its_burst_and_then_its_rate() -> None:
    """Ten urgent requests at once, then one each tenth of a second."""
    budget = Budget()
    times = granted_in_turn(budget, START, 20, URGENT)
    assert times[:10] == [START] * 10
    assert times[19] - START == pytest.approx(SECOND, abs=5000)


@pytest.mark.parametrize("seed", range(5))
def test_budget_holds_its_limits_for_any_arrivals(seed: int) -> None:
    """Random weights, priorities and answers: no UTC minute is overdrawn, no second sees more than burst and rate."""
    random = Random(seed)
    limit = random.choice([60, 300, 1200])
    budget = Budget(weight_per_minute=limit)
    asking = [(START + random.randrange(90 * SECOND), n, random.choice([1, 2, 5, 20]), n % 3) for n in range(500)]
    heapq.heapify(asking)
    pending: list[tuple[int, int, int]] = []
    grants: list[tuple[int, int]] = []
    last = START
    while asking:
        now, number, weight, priority = heapq.heappop(asking)
        last = now = max(now, last)
        while pending and pending[0][0] <= now:
            at, asked_at, used = heapq.heappop(pending)
            budget.answered(used, None, asked_at, at)
        if (wait_s := budget.ask(weight, now, priority)) > 0:
            heapq.heappush(asking, (now + max(1, int(wait_s * SECOND)), number, weight, priority))
            continue
        grants.append((now, weight))
        heapq.heappush(pending, (now + random.randrange(SECOND), now, weight))
    per_minute: Counter[int] = Counter()
    for at, weight in grants:
        per_minute[at // MINUTE] += weight
    assert len(grants) == 500
    assert max(per_minute.values()) <= limit
    times = [at for at, _ in grants]
    assert all(times[n + 30] - times[n] >= 2 * SECOND - 1000 for n in range(len(times) - 30))


def test_budget_keeps_a_reserve_for_the_urgent() -> None:
    """History stops at 80 % of the minute, repairs at 90 %, and a live close still gets through."""
    budget = Budget(weight_per_minute=1000, requests_per_s=1000, burst=1000)
    used = Counter[int]()
    for priority in (HISTORY, REPAIR, URGENT):
        while budget.ask(10, START, priority) == 0:
            used[priority] += 10
    assert used == {HISTORY: 800, REPAIR: 100, URGENT: 100}


def test_budget_keeps_a_place_in_the_burst_for_the_urgent() -> None:
    """A crowd of history requests leaves two tokens."""
    budget = Budget()
    while budget.ask(1, START, HISTORY) == 0:
        pass
    assert [budget.ask(1, START, URGENT) == 0 for _ in range(3)] == [True, True, False]


def test_budget_starves_no_urgent_request_under_load() -> None:
    """While history asks all it can for ten minutes, an urgent request each second always goes out at once."""
    budget = Budget(weight_per_minute=1200)
    now = START
    waits = []
    for tick in range(6000):
        now = START + tick * SECOND // 10
        while budget.ask(2, now, HISTORY) == 0:
            budget.answered(2, None, now, now)
        if tick % 10 == 0:
            waits.append(budget.ask(2, now, URGENT))
    assert set(waits) == {0.0}


def test_budget_begins_anew_with_the_utc_minute() -> None:
    """The window is the clock's minute: what was used at :59 is forgotten at :00."""
    budget = Budget(weight_per_minute=100, requests_per_s=1000, burst=1000)
    at = START + 59 * SECOND
    while budget.ask(10, at, URGENT) == 0:
        budget.answered(10, None, at, at)
    assert budget.ask(10, at, URGENT) == pytest.approx(1.0)
    assert budget.ask(10, START + MINUTE, URGENT) == 0


def test_budget_counts_what_others_on_the_address_use() -> None:
    """The larger of the own and the stated count decides, until the minute is over."""
    budget = Budget(weight_per_minute=1000)
    assert budget.ask(2, START) == 0
    budget.answered(2, 950, START, START + SECOND)
    assert budget.used(START + SECOND) == 950
    assert budget.ask(2, START + SECOND, HISTORY) == pytest.approx(59.0)
    assert budget.ask(2, START + SECOND, URGENT) == 0
    assert budget.used(START + MINUTE) == 2  # still under way


def test_budget_ignores_a_count_of_the_minute_before() -> None:
    """An answer that comes after :00 to a question from before may state the old minute: the new one is not lost."""
    budget = Budget(weight_per_minute=1000)
    asked_at = START + 59_900_000
    assert budget.ask(2, asked_at) == 0
    budget.answered(2, 990, asked_at, START + MINUTE + 100_000)
    assert budget.ask(2, START + MINUTE + 100_000, HISTORY) == 0


@pytest.mark.parametrize(("configured", "stated", "limit"), [(1200, 6000, 1200), (6000, 2400, 2160), (5, 1, 1)])
def test_budget_never_uses_all_of_the_exchanges_limit(configured: int, stated: int, limit: int) -> None:
    """The stated limit caps what was configured, at nine tenths."""
    budget = Budget(weight_per_minute=configured)
    budget.limit_known(stated)
    assert budget.limit == limit


def test_budget_lets_a_heavy_request_have_a_minute_to_itself() -> None:
    """A listing that weighs more than the whole budget is asked all the same, when nothing else was."""
    budget = Budget(weight_per_minute=10)
    assert budget.ask(1, START) == 0
    budget.answered(1, None, START, START)
    assert granted_at(budget, START, weight=20) == START + MINUTE


def test_budget_waits_out_a_429_for_everybody() -> None:
    """Nothing goes out before Retry-After is over, urgent or not."""
    budget = Budget()
    budget.refused(limited(30.0), START)
    assert budget.ask(1, START + 10 * SECOND, URGENT) == pytest.approx(20.0)
    assert isinstance(budget.pause(START + 10 * SECOND), RateLimited)
    assert budget.pause(START + 30 * SECOND) is None
    assert budget.ask(1, START + 31 * SECOND, URGENT) == 0


def test_budget_waits_out_a_ban() -> None:
    """418, 403 and 451: nothing before the end the exchange named."""
    budget = Budget()
    budget.refused(Banned("418", START + HOUR), START)
    pause = budget.pause(START + SECOND)
    assert isinstance(pause, Banned)
    assert pause.until == START + HOUR
    assert budget.ask(1, START + HOUR - SECOND, URGENT) == pytest.approx(1.0)


def test_budget_releases_the_waiting_gradually_after_a_pause() -> None:
    """Fifteen requests that waited for the end of a ban go out two a second at first, not all at once."""
    budget = Budget()
    budget.refused(Banned("418", START + HOUR), START)
    times = granted_in_turn(budget, START + MINUTE, 15)
    seconds = [(at - START - HOUR) / SECOND for at in times]
    assert 0 < seconds[0] <= 0.51
    assert all(0.49 <= later - sooner <= 0.51 for sooner, later in pairwise(seconds))
    after = granted_in_turn(budget, START + HOUR + int(SLOW_S * SECOND), 21)
    assert after[20] - after[10] == pytest.approx(SECOND, abs=20_000)


def test_budget_waits_longer_when_refusals_repeat() -> None:
    """Each 429 right after the last pause adds more to what the exchange asked for; bans more still."""
    budget = Budget()
    now, pauses = START, []
    for _ in range(6):
        budget.refused(limited(5.0), now)
        pause = budget.pause(now)
        assert isinstance(pause, RateLimited)
        pauses.append(round(pause.retry_after))
        now += int(pause.retry_after * SECOND) + SECOND
    assert pauses == [5, 15, 25, 45, 85, 165]
    budget.refused(Banned("418", now + 120 * SECOND), now)
    assert budget.ask(1, now) >= 120 + 600


def test_budget_counts_answers_from_before_the_pause_as_one() -> None:
    """Four requests under way together are refused together: that is one refusal."""
    budget = Budget()
    for after in range(4):
        budget.refused(limited(5.0), START + after * 1000)
    assert budget.ask(1, START + 3000) == pytest.approx(5.0)


def test_budget_forgets_old_refusals() -> None:
    """An hour after a pause a 429 is the first one again."""
    budget = Budget()
    budget.refused(limited(5.0), START)
    budget.refused(limited(5.0), START + 2 * HOUR)
    assert budget.ask(1, START + 2 * HOUR) == pytest.approx(5.0)


def test_budget_tells_of_a_pause_and_keeps_it_over_a_restart() -> None:
    """What `dump` gave when told of a change makes a new budget wait for the same end, and then go slowly."""
    states: list[bytes] = []
    budget = Budget()
    budget.on_change = lambda: states.append(budget.dump())
    budget.refused(Banned("418: banned", START + HOUR), START)
    assert len(states) == 1
    after_restart = Budget()
    after_restart.load(states[-1], START + MINUTE)
    assert after_restart.ask(1, START + MINUTE, URGENT) == pytest.approx(59 * 60)
    assert str(after_restart.pause(START + MINUTE)) == "418: banned"
    first, second = granted_in_turn(after_restart, START + HOUR, 2)
    assert second - first >= 490_000


def test_budget_refuses_a_state_it_cannot_read() -> None:
    """Bytes that are no state are named, not guessed at."""
    with pytest.raises(StoreDamaged, match="cannot be read"):
        Budget().load(b"\x00", START)


def test_budget_survives_a_clock_that_is_set() -> None:
    """Years back or forth: no minute, bucket or pause of another time keeps anybody waiting for ever."""
    budget = Budget(weight_per_minute=10)
    assert budget.ask(10, START + 400 * DAY, URGENT) == 0
    budget.answered(10, 500, START + 400 * DAY, START + 400 * DAY)
    assert budget.ask(10, START, URGENT) == 0
    budget.answered(10, None, START, START)
    budget.refused(Banned("418", START + 1000 * DAY), START + 400 * DAY)
    assert budget.ask(1, START + 400 * DAY) == pytest.approx(LONGEST / SECOND)
    assert budget.ask(1, START + MINUTE, URGENT) <= 0.1


def test_budget_goes_on_when_the_clock_steps_back_a_little() -> None:
    """A correction by seconds opens no second minute and grants no second burst."""
    budget = Budget(weight_per_minute=10)
    assert budget.ask(10, START + 100_000, URGENT) == 0
    assert budget.ask(1, START - 900_000, URGENT) > 0
