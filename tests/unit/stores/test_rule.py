"""The parts of the write rule that the contract suite does not reach by itself."""

import numpy as np
import pytest

from candlewick.errors import UsageError
from candlewick.market import Span
from candlewick.stores import rule
from candlewick.stores.store import ROW, Absence, Reason, Rows


def rows_of(*keys: tuple[int, int]) -> Rows:
    rows = np.zeros(len(keys), ROW)
    rows["series"], rows["open_time"] = zip(*keys, strict=True)
    rows["trades"] = np.arange(len(keys))
    rows["source"] = 1
    return rows


def test_rounds_leaves_ordered_rows_alone() -> None:
    """Rows that are in order already are not copied."""
    rows = rows_of((0, 5), (0, 6), (1, 1), (3, 0))
    (only,) = rule.rounds(rows)
    assert only is rows


def test_rounds_orders_by_series_and_time() -> None:
    """One round where no key repeats."""
    (only,) = rule.rounds(rows_of((1, 5), (0, 6), (1, 1)))
    assert only["trades"].tolist() == [1, 2, 0]


def test_rounds_name_a_key_once_each() -> None:
    """The n-th row of a key is in the n-th round."""
    rounds = rule.rounds(rows_of((1, 5), (0, 6), (1, 5), (1, 5), (0, 6)))
    assert [each["trades"].tolist() for each in rounds] == [[1, 0], [4, 2], [3]]


@pytest.mark.parametrize("seed", range(5))
def test_rounds_lose_nothing(seed: int) -> None:
    """Every row is in exactly one round, each round is strictly ordered, repeats keep their order."""
    rng = np.random.default_rng(seed)
    rows = rows_of(*zip(rng.integers(0, 3, 200).tolist(), rng.integers(0, 20, 200).tolist(), strict=True))
    rounds = rule.rounds(rows)
    assert sorted(np.concatenate(rounds)["trades"].tolist()) == list(range(200))
    seen: dict[tuple[int, int], int] = {}
    for each in rounds:
        keys = list(zip(each["series"].tolist(), each["open_time"].tolist(), strict=True))
        assert keys == sorted(set(keys))
        for key, at in zip(keys, each["trades"].tolist(), strict=True):
            assert seen.get(key, -1) < at
            seen[key] = at


def test_overlay_replaces_and_inserts() -> None:
    """New rows stand in for held ones of their time, before, between and after them."""
    held = rows_of((0, 10), (0, 20), (0, 30))
    new = rows_of((0, 5), (0, 20), (0, 25), (0, 40))
    new["trades"] += 100
    merged = rule.overlay(held, new)
    assert merged["open_time"].tolist() == [5, 10, 20, 25, 30, 40]
    assert merged["trades"].tolist() == [100, 0, 101, 102, 2, 103]
    assert held["trades"].tolist() == [0, 1, 2]


def test_newest_per_time_keeps_the_last() -> None:
    """Of rows of one time the one that came last stays."""
    assert rule.newest_per_time(rows_of((0, 7), (0, 3), (0, 7), (0, 3)))["trades"].tolist() == [3, 2]


def test_absences_of_several_are_disjoint() -> None:
    """What is final counts before what is pending, then what begins first; what is left of the others stays theirs."""

    def one(start: int, end: int, reason: Reason, evidence: str) -> Absence:
        return Absence(Span(start, end), reason, evidence)

    pending, outage, gone = Reason.PENDING, Reason.EXCHANGE_OUTAGE, Reason.DELISTED
    apart = [one(5, 9, gone, "a"), one(1, 5, pending, "b")]
    assert rule.disjoint(apart) == apart[::-1]
    assert rule.disjoint([]) == []
    mixed = [one(0, 30, pending, "a"), one(10, 15, outage, "b"), one(12, 20, gone, "c"), one(25, 40, pending, "d")]
    assert rule.disjoint(mixed) == [
        one(0, 10, pending, "a"), one(10, 15, outage, "b"), one(15, 20, gone, "c"), one(20, 30, pending, "a"),
        one(30, 40, pending, "d"),
    ]  # fmt: skip
    assert rule.disjoint([one(1, 5, outage, "a"), one(1, 5, outage, "b")]) == [one(1, 5, outage, "a")]


def test_absences_that_touch_do_not_overlap() -> None:
    """Spans are half-open."""
    spans = [Absence(Span(5, 9), Reason.DELISTED, ""), Absence(Span(1, 5), Reason.PENDING, "")]
    assert [absence.span for absence in rule.in_order(spans)] == [(1, 5), (5, 9)]
    with pytest.raises(UsageError, match="overlap"):
        rule.in_order([*spans, Absence(Span(4, 5), Reason.PENDING, "")])
