"""What an output refused: which of it a later batch holds, by series and time."""

import numpy as np

from candlewick.market import MINUTE, Series
from candlewick.outputs.output import Batch, Position, Refused
from candlewick.outputs.refusals import Refusals
from candlewick.stores.memory import MemoryStore
from candlewick.stores.store import ROW

BTC, ETH = Series.parse("spot:BTCUSDT:1m"), Series.parse("spot:ETHUSDT:1m")


def batch(number: int, series: Series, *minutes: int, **states: bytes) -> Batch:
    rows = np.zeros(len(minutes), ROW)
    rows["series"], rows["open_time"] = number, np.array(minutes, np.int64) * MINUTE
    return Batch(rows, {number: series} if minutes else {}, {}, states, Position(1), fresh=False)


def test_refusals_go_with_the_batch_that_holds_them() -> None:
    """Only the same row of the same series, or the same state, is what was refused; what is refused again stays."""
    store = MemoryStore()
    refusals = Refusals(store, "shelf")
    given = batch(0, BTC, 1, 2, 3, wrong=b"1")
    refused = [Refused(given.rows[1:2], "no"), Refused(given.rows[2:], "no"), Refused("wrong", "no")]
    store.set_states(refusals.settle(given, refused, 5))
    assert len(refusals) == len(store.states("refused:shelf:")) == 3
    assert refusals.settle(batch(1, ETH, 2, 3, right=b"1"), [], 6) == {}
    again = batch(7, BTC, 0, 2, 3, 4)
    changed = refusals.settle(again, [Refused(again.rows[2:3], "still not")], 7)
    assert changed[f"refused:shelf:{BTC}:{2 * MINUTE}"] is None
    assert b"still not" in (changed[f"refused:shelf:{BTC}:{3 * MINUTE}"] or b"")
    assert len(changed) == 2
    store.set_states(changed)
    store.set_states(refusals.settle(batch(0, BTC, wrong=b"2"), [], 8))
    assert len(refusals) == 1
    later = Refusals(store, "shelf")
    later.load()
    assert len(later) == 1
    store.set_states(later.settle(batch(0, BTC, 3), [], 9))
    assert (len(later), store.states("refused:shelf:")) == (0, {})
