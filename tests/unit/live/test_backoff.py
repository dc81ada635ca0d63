"""Waits between connection attempts."""

from random import Random

import pytest

from candlewick.exchanges.exchange import StreamLimits
from candlewick.live.backoff import Attempts, Backoff


def limits(attempts: int = 300, window_s: float = 300.0) -> StreamLimits:
    return StreamLimits(1024, 5, 200, 1024, 20, 86_400, attempts, window_s)


def backoff(**changes: float) -> Backoff:
    return Backoff(Attempts(limits()), Random(1), **({"jitter": 0.0} | changes))


def test_backoff_doubles_to_its_cap_and_stays() -> None:
    """The first attempt is immediate, then 1, 2, 4 and 8 s apart, and 8 s for ever."""
    one = backoff()
    assert [one.next(float(n)) for n in range(8)] == [0.0, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0]


def test_backoff_never_gives_up() -> None:
    """The thousandth attempt waits as long as the tenth."""
    one = backoff()
    now = 0.0
    for _ in range(1000):
        wait_s = one.next(now)
        now += wait_s + 1
    assert wait_s == 8.0


@pytest.mark.parametrize(("lifetime_s", "wait_s"), [(61.0, 0.0), (60.0, 4.0), (0.1, 4.0)])
def test_backoff_is_immediate_only_after_a_long_life(lifetime_s: float, wait_s: float) -> None:
    """A connection that lasted no longer than a minute goes on with the waits where they were."""
    one = backoff()
    for now in (0.0, 1.0, 2.0):
        one.next(now)
    one.lived(lifetime_s)
    assert one.next(100.0) == wait_s


def test_backoff_starts_again_after_a_long_life() -> None:
    """After the immediate attempt come 1, 2, 4 s again."""
    one = backoff()
    for now in range(5):
        one.next(float(now))
    one.lived(3600.0)
    assert [one.next(4000.0) for _ in range(4)] == [0.0, 1.0, 2.0, 4.0]


@pytest.mark.parametrize(("base_s", "waits"), [(5.0, [0.0, 5.0, 8.0, 8.0]), (20.0, [0.0, 20.0, 20.0, 20.0])])
def test_backoff_takes_another_base(base_s: float, waits: list[float]) -> None:
    """The configured interval is the first wait, and the cap is never below it."""
    one = backoff(base_s=base_s)
    assert [one.next(0.0) for _ in range(4)] == waits


def test_backoff_peeks_without_counting() -> None:
    """What is announced is what is then waited."""
    one = Backoff(Attempts(limits()), Random(3))
    for now in range(20):
        announced = one.peek(float(now))
        assert announced == one.peek(float(now))
        assert one.next(float(now)) == announced


def test_backoff_jitter_stays_in_its_bounds() -> None:
    """Waits differ by at most a fifth, and do differ."""
    one = Backoff(Attempts(limits(10**6)), Random(5))
    waits = [one.next(0.0) for _ in range(500)][4:]
    assert all(6.4 <= wait <= 9.6 for wait in waits)
    assert len(set(waits)) > 400


def test_backoff_holds_while_the_exchange_wants_to_be_left_alone() -> None:
    """A ban overrides every other wait, and an earlier end does not shorten it."""
    one = backoff()
    one.hold(120.0)
    one.hold(60.0)
    assert one.next(20.0) == 100.0
    assert one.next(200.0) == 1.0


def test_attempts_of_all_connections_stay_below_a_third_of_the_limit() -> None:
    """However many connections flap, no window of the exchange ever sees a third of its limit exceeded."""
    random = Random(7)
    attempts = Attempts(limits(attempts=30, window_s=300.0))
    slots = [Backoff(attempts, random) for _ in range(12)]
    due = [(0.0, index) for index in range(len(slots))]
    made: list[float] = []
    while len(made) < 400:
        due.sort()
        now, index = due.pop(0)
        at = now + slots[index].next(now)
        made.append(at)
        life_s = random.choice([0.0, 0.0, 5.0, 100.0])
        slots[index].lived(life_s)
        due.append((at + life_s, index))
    made.sort()
    assert max(sum(start <= one < start + 300.0 for one in made) for start in made) == 10


def test_attempts_allow_a_start_of_many_connections() -> None:
    """Below the line nobody waits."""
    attempts = Attempts(limits())
    assert [Backoff(attempts, Random(1)).next(0.0) for _ in range(100)] == [0.0] * 100
    assert Backoff(attempts, Random(1)).next(0.0) == 300.0
