"""What is wrong with a file of trades is found, counted and named."""

import random
from itertools import pairwise

import numpy as np
import pytest

from candlewick.analysis.rebuild import rebuild
from candlewick.analysis.trades import check_trades
from candlewick.exchanges.exchange import Columns
from candlewick.market import DAY, Interval, Span


def raw_trades(count: int) -> Columns:
    ids = np.arange(500, 500 + count)
    return {
        "trade_id": ids,
        "price": np.full(count, 2.5),
        "quantity": np.arange(1, count + 1) / 100,
        "time": DAY + np.arange(count) * 1000,
        "buyer_is_maker": np.arange(count) % 3 == 0,
        "first_id": ids.copy(),
        "last_id": ids.copy(),
        "quote_quantity": np.full(count, np.nan),
    }


def lines(trades: Columns, indexes: list[int]) -> Columns:
    return {name: values[indexes] for name, values in trades.items()}


def test_check_finds_nothing_where_nothing_is_wrong() -> None:
    """A whole file is given back as it is, and so is an empty one."""
    for count in (0, 1, 2000):
        found = check_trades(raw_trades(count), Span(DAY, 2 * DAY))
        assert found.is_rebuildable
        assert found[1:] == (0, 0, [], 0, [], [], 0, 0, 0, False)
        assert all(np.array_equal(found.trades[name], values, equal_nan=name == "quote_quantity")
                   for name, values in raw_trades(count).items())  # fmt: skip


def test_check_puts_in_order_and_drops_repeats() -> None:
    """Unordered and repeated lines are counted, and candles come out as from the file without them."""
    whole, draw = raw_trades(300), random.Random(5)
    order = [*range(300), *(draw.randrange(300) for _ in range(20))]
    draw.shuffle(order)
    found = check_trades(lines(whole, order), Span(DAY, 2 * DAY))
    assert found.is_rebuildable
    assert found.repeated == 20
    assert found.unordered == sum(b < a for a, b in pairwise(order))
    mine, theirs = rebuild(found.trades, Interval("1m")).columns, rebuild(whole, Interval("1m")).columns
    assert all(np.array_equal(mine[name], theirs[name]) for name in theirs)


def test_check_keeps_neither_of_two_that_differ() -> None:
    """One id with two meanings is in doubt, repeated besides or not."""
    trades = lines(raw_trades(10), [0, 1, 2, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9])
    trades["price"][3] = 2.6
    found = check_trades(trades)
    assert (found.conflicting, found.repeated) == ([502], 1)
    assert not found.is_rebuildable
    assert 502 not in found.trades["trade_id"]


def test_check_names_the_ids_that_are_missing() -> None:
    """Half-open ranges between the lowest and the highest id."""
    found = check_trades(lines(raw_trades(20), [0, 1, 5, 6, 7, 9, 19]))
    assert found.skipped == found.skipped_raw == [(502, 505), (508, 509), (510, 519)]
    assert not found.is_rebuildable


def test_check_holds_aggregates_against_their_raw_trades() -> None:
    """Ids of aggregates may be whole where raw trades are missing between them, or counted twice."""
    trades = raw_trades(4)
    trades["first_id"], trades["last_id"] = np.array([10, 15, 18, 19]), np.array([12, 18, 18, 25])
    found = check_trades(trades)
    assert (found.skipped, found.skipped_raw, found.overlapping) == ([], [(13, 15)], 1)
    assert not found.is_rebuildable


def test_check_leaves_out_annulled_trades() -> None:
    """They are counted, their ids are not missing, and their raw ids of -1 mean nothing."""
    trades = raw_trades(9)
    for name, value in (("price", 0.0), ("quantity", 0.0), ("first_id", -1), ("last_id", -1)):
        trades[name][4] = value
    found = check_trades(trades)
    assert (found.annulled, found.skipped, found.overlapping) == (1, [], 0)
    assert found.trades["trade_id"].tolist() == [500, 501, 502, 503, 505, 506, 507, 508]


@pytest.mark.parametrize(("shift", "outside", "backwards"), [(-DAY, 1, 1), (DAY, 1, 5), (0, 0, 0), (-1000, 0, 0)])
def test_check_finds_times_that_cannot_be(shift: int, outside: int, backwards: int) -> None:
    """Times outside the file's span, and times before an earlier trade's."""
    trades = raw_trades(9)
    trades["time"][3] += shift
    found = check_trades(trades, Span(DAY, 2 * DAY))
    assert (found.outside, found.backwards) == (outside, backwards)
    assert found.is_rebuildable == (not outside)


def test_check_doubts_a_file_of_one_side() -> None:
    """Thousands of trades are never all sales; a handful may be."""
    for count, doubtful in ((999, False), (1000, True)):
        for side in (True, False):
            trades = raw_trades(count) | {"buyer_is_maker": np.full(count, side)}
            assert check_trades(trades).is_one_sided is doubtful
