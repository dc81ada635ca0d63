"""Which trade ids to believe, and in what order their trades are told."""

from collections.abc import Iterable
from random import Random

import pytest

from candlewick.integrity.continuity import RESTART, Hole
from candlewick.integrity.doubt import Believed
from candlewick.market import Trade


def trade(number: int) -> Trade:
    return Trade(number, 100.0, 1.0, number * 1000, buyer_is_maker=False, first_id=number, last_id=number)


class Reader:
    """Feeds ids and writes down what is told."""

    def __init__(self) -> None:
        self.believed = Believed()
        self.told: list[int] = []
        self.holes: list[Hole] = []

    def feed(self, numbers: Iterable[int]) -> list[int]:
        for number in numbers:
            self.note(self.believed.take(trade(number)))
        return self.told

    def note(self, trades: list[tuple[Trade, Hole | None]]) -> None:
        for one, hole in trades:
            self.told.append(one.trade_id)
            self.holes += [hole] if hole else []

    @property
    def held(self) -> int | None:
        return None if self.believed.held is None else self.believed.held.trade_id


def test_trades_in_order_are_told_at_once() -> None:
    """The first id is taken whatever it is, and every next one follows."""
    reader = Reader()
    assert reader.feed([7, 8, 9]) == [7, 8, 9]
    assert (reader.holes, reader.held) == ([], None)


def test_trades_that_came_before_are_dropped() -> None:
    """A repeated frame is told once, and counted."""
    reader = Reader()
    assert reader.feed([7, 8, 8, 7, 9, 9]) == [7, 8, 9]
    assert reader.believed.continuity.duplicates == 3


def test_skipped_trades_are_a_hole_once_the_next_one_agrees() -> None:
    """A trade that jumps waits for the one after it; then both are told, with the hole before them."""
    reader = Reader()
    reader.feed([7, 8, 12])
    assert (reader.told, reader.held) == ([7, 8], 12)
    reader.feed([13, 14])
    assert reader.told == [7, 8, 12, 13, 14]
    assert reader.holes == [Hole(9, 3)]


@pytest.mark.parametrize("mangled", [80_000_000, 9_000_000_000_000, 3, 0, 8 + RESTART, -5])
def test_mangled_id_opens_no_hole(mangled: int) -> None:
    """An id that damage made, ahead or behind, is not believed: its trade is not told and the rest goes on."""
    reader = Reader()
    reader.feed([5_000_000, 5_000_001, mangled if mangled < 5_000_000 - RESTART else 5_000_000 + mangled])
    reader.feed(range(5_000_002, 5_000_050))
    assert reader.told == list(range(5_000_000, 5_000_050))
    assert reader.holes == []
    assert reader.believed.continuity.restarts == 0


def test_mangled_id_costs_only_its_own_trade() -> None:
    """The trade whose id was spoiled is missing: the one after it confirms a hole of one."""
    reader = Reader()
    reader.feed([100, 101, 9_000_000, 103, 104, 105])
    assert reader.told == [100, 101, 103, 104, 105]
    assert reader.holes == [Hole(102, 1)]
    assert reader.believed.discarded == 1


@pytest.mark.parametrize("second", [70_000_000_000, 9_002_000, 8_999_999])
def test_two_mangled_ids_in_a_row_open_no_hole(second: int) -> None:
    """Two wild ids do not confirm each other only because the second is the larger one."""
    reader = Reader()
    reader.feed([100, 101, 9_000_000, second, 104, 105])
    assert reader.told == [100, 101, 104, 105]
    assert reader.holes == [Hole(102, 2)]


def test_two_mangled_ids_of_the_past_begin_nothing_anew() -> None:
    """Only two ids in a row begin a new count; two wild ones near each other do not."""
    reader = Reader()
    reader.feed([5_000_000, 5_000_001, 10, 12, 5_000_002, 5_000_003])
    assert reader.told == [5_000_000, 5_000_001, 5_000_002, 5_000_003]
    assert reader.believed.continuity.restarts == 0


def test_trades_that_leave_ids_out_one_after_another_agree() -> None:
    """Where every other frame is lost, the trades that come are told, with each hole."""
    reader = Reader()
    reader.feed([100, 102, 104, 106, 108, 109])
    assert reader.told == [100, 102, 104, 106, 108, 109]
    assert reader.holes == [Hole(101, 1), Hole(103, 1), Hole(105, 1), Hole(107, 1)]


def test_ids_that_begin_anew_are_followed() -> None:
    """Where the exchange begins to count anew, two ids in a row are enough to follow."""
    reader = Reader()
    reader.feed([5_000_000, 5_000_001, 1, 2, 3])
    assert reader.told == [5_000_000, 5_000_001, 1, 2, 3]
    assert (reader.holes, reader.believed.continuity.restarts) == ([], 1)


def test_reordered_frames_are_each_told_and_leave_no_hole() -> None:
    """Two frames that changed places are told in the order of their ids."""
    reader = Reader()
    assert reader.feed([7, 9, 8]) == [7, 8, 9]
    assert reader.feed([10, 11]) == [7, 8, 9, 10, 11]
    assert (reader.holes, reader.believed.discarded) == ([], 0)


def test_trade_that_comes_after_its_hole_was_named_is_told() -> None:
    """A late frame fills a hole that was already open."""
    reader = Reader()
    assert reader.feed([7, 9, 10, 11, 8]) == [7, 9, 10, 11, 8]
    assert (reader.believed.continuity.late, reader.believed.continuity.holes) == (1, [])


def test_held_trade_is_told_when_somebody_vouches_for_it() -> None:
    """REST may confirm the trade that waits, or disown it."""
    reader = Reader()
    reader.feed([7, 12])
    reader.note(reader.believed.believe())
    assert (reader.told, reader.holes) == ([7, 12], [Hole(8, 4)])
    reader.feed([900])
    reader.believed.discard()
    reader.feed([13])
    assert (reader.told, reader.held, reader.believed.discarded) == ([7, 12, 13], None, 1)
    assert reader.believed.believe() == []


def test_repeats_of_a_held_trade_confirm_nothing() -> None:
    """The same spoiled frame twice is no agreement."""
    reader = Reader()
    reader.feed([7, 9_000_000, 9_000_000])
    assert (reader.told, reader.held) == ([7], 9_000_000)


@pytest.mark.parametrize("seed", range(20))
def test_no_trade_is_told_twice_and_none_is_lost_without_a_word(seed: int) -> None:
    """Drops, repeats, swaps and spoiled ids at random: every id is told once or lies in a hole that was named."""
    random = Random(seed)
    frames: list[int] = []
    for number in range(10_000_000, 10_000_500):
        draw = random.random()
        if draw < 0.03:
            continue
        frames += [random.randrange(2**40) if draw < 0.04 else number] * (2 if draw > 0.97 else 1)
    for index in range(len(frames) - 1):
        if random.random() < 0.03:
            frames[index], frames[index + 1] = frames[index + 1], frames[index]
    last = 10_000_500 + 3
    frames = [10_000_000 - 1, *frames, *range(10_000_500, last)]
    reader = Reader()
    reader.feed(frames)
    assert sum(hole.count for hole in reader.holes) < 500
    named = {number for hole in reader.holes for number in range(hole.first_id, hole.first_id + hole.count)}
    assert len(reader.told) == len(set(reader.told))
    assert set(range(10_000_000 - 1, last)) - set(reader.told) <= named
    assert set(reader.told) <= set(range(10_000_000 - 1, last))
