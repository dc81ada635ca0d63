"""Trade ids that are skipped, repeated or late."""

import random

from candlewick.integrity.continuity import RESTART, Continuity, Hole


def test_first_trade_is_taken_whatever_its_id() -> None:
    """A stream begins somewhere; what was before is not its business."""
    continuity = Continuity()
    assert continuity.next_id is None
    assert continuity.take(500) is True
    assert continuity.next_id == 501


def test_trades_in_order_are_taken() -> None:
    """Ids that count up by one leave nothing open."""
    continuity = Continuity()
    assert all(continuity.take(number) is True for number in range(7, 5000))
    assert (continuity.duplicates, continuity.late, continuity.holes) == (0, 0, [])


def test_skipped_ids_are_a_hole_before_a_new_trade() -> None:
    """The trade after the hole is new; the hole says what is missing."""
    continuity = Continuity()
    continuity.take(10)
    hole = continuity.take(14)
    assert hole == Hole(11, 3)
    assert hole
    assert continuity.next_id == 15
    assert continuity.holes == [Hole(11, 3)]


def test_repeated_trades_are_dropped_and_counted() -> None:
    """Two connections that overlap deliver everything twice."""
    continuity = Continuity()
    ids = [1, 2, 2, 1, 3, 3]
    assert [continuity.take(number) for number in ids] == [True, True, False, False, True, False]
    assert continuity.duplicates == 3


def test_late_trades_fill_their_hole_once() -> None:
    """An id inside an open hole is new, wherever in it, and the second time a repetition."""
    continuity = Continuity()
    continuity.take(10)
    continuity.take(16)
    assert continuity.take(13) is True
    assert continuity.holes == [Hole(11, 2), Hole(14, 2)]
    assert [continuity.take(number) for number in (13, 11, 12, 15, 14, 14, 10)] == [
        False, True, True, True, True, False, False,
    ]  # fmt: skip
    assert continuity.holes == []
    assert (continuity.late, continuity.duplicates, continuity.next_id) == (5, 3, 17)


def test_given_up_holes_tell_what_is_lost() -> None:
    """What came late meanwhile is not lost, and other holes stay open."""
    continuity = Continuity()
    for number in (10, 16, 20):
        continuity.take(number)
    continuity.take(13)
    assert continuity.give_up(Hole(11, 5)) == 4
    assert continuity.holes == [Hole(17, 3)]
    assert continuity.give_up(Hole(11, 5)) == 0
    assert continuity.take(12) is False


def test_ids_that_begin_anew_are_followed() -> None:
    """An id far behind is no late one: without following it everything after would be dropped."""
    continuity = Continuity()
    continuity.take(10 * RESTART)
    continuity.take(10 * RESTART + 5)
    assert continuity.next_id == 10 * RESTART + 6
    assert continuity.take(9 * RESTART + 100) is False
    assert continuity.take(continuity.next_id - RESTART) is False
    assert continuity.take(3) is True
    assert (continuity.restarts, continuity.next_id, continuity.holes) == (1, 4, [])
    assert continuity.take(4) is True


def test_reset_forgets_what_came() -> None:
    """After a reset the next id is a first one and old holes are nobody's."""
    continuity = Continuity()
    continuity.take(10)
    continuity.take(20)
    continuity.reset()
    assert continuity.take(5) is True
    assert continuity.holes == []


def test_very_many_holes_keep_the_newest() -> None:
    """Memory stays bounded on a stream that loses every other trade, and what is forgotten counts as lost."""
    continuity = Continuity()
    for number in range(0, 140_000, 2):
        continuity.take(number)
    assert len(continuity.holes) == 65_536
    assert continuity.holes[-1] == Hole(139_997, 1)
    assert continuity.take(1) is False
    assert (continuity.is_open(Hole(1, 1)), continuity.give_up(Hole(1, 1))) == (False, 1)
    assert (continuity.is_open(Hole(139_997, 1)), continuity.give_up(Hole(139_997, 1))) == (True, 1)
    assert continuity.give_up(Hole(139_997, 1)) == 0


def test_shuffled_stream_is_taken_once_each() -> None:
    """Whatever the order and the repetitions, each id is taken once and what never came is open."""
    draw = random.Random(3)
    for _ in range(50):
        ids = [number for number in range(1000, 1400) if draw.random() < 0.95]
        arriving = sorted(ids + draw.sample(ids, 40), key=lambda number: number + draw.uniform(0, 12))
        arriving = [999, *arriving]
        continuity = Continuity()
        taken = [number for number in arriving if continuity.take(number)]
        assert sorted(taken) == [999, *ids]
        assert continuity.duplicates == 40
        missing = [number for hole in continuity.holes for number in range(hole.first_id, hole.first_id + hole.count)]
        assert missing == sorted(set(range(999, max(ids) + 1)) - set(taken))
