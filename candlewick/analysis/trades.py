"""What is wrong with the lines of a file of trades: repeated, unordered, missing, out of time."""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from candlewick.exchanges.exchange import Columns
from candlewick.market import Span

Ints: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]

_ENOUGH = 1000
"""So many trades do not all have one side by chance."""


class TradesJudgement(NamedTuple):
    """What there is, and what is wrong with it; ranges of ids are half-open."""

    trades: Columns
    """In the order of ids, each once, without annulled and conflicting ones: what candles can be made of."""
    annulled: int
    """Lines without a quantity."""
    repeated: int
    """Lines that say what a line before them says."""
    conflicting: list[int]
    """Ids given more than once with different values."""
    unordered: int
    """Lines whose id is below that of the line before."""
    skipped: list[tuple[int, int]]
    """Ids between the lowest and the highest that no line has."""
    skipped_raw: list[tuple[int, int]]
    """Ids of raw trades that lie between two of `trades`. On USD-M self-trade prevention takes some away."""
    overlapping: int
    """How many of `trades` begin with a raw trade that one before them has."""
    backwards: int
    """How many of `trades` are earlier than one before them; the exchange stamps some of one moment so."""
    outside: int
    """How many of `trades` are not of the file's span."""
    is_one_sided: bool
    """All of them have one side, and there are too many for that to be chance: the flag is wrong."""

    @property
    def is_rebuildable(self) -> bool:
        """Whether nothing that candles are made of is known to be missing or in doubt."""
        return not (self.conflicting or self.skipped or self.overlapping or self.outside or self.is_one_sided)


def check_trades(trades: Columns, span: Span | None = None) -> TradesJudgement:
    """Judge the trades or aggregates of a file, in the order of its lines.

    Args:
        trades: the fields of `Trade`, and maybe others such as `quote_quantity`.
        span: what the file is for; None: any time will do.
    """
    ids = trades["trade_id"]
    unordered = int(np.count_nonzero(ids[1:] < ids[:-1]))
    if unordered:
        order = np.argsort(ids, kind="stable")
        trades = {name: values[order] for name, values in trades.items()}
    trades, repeated, conflicting = _each_once(trades)
    given = trades["trade_id"]
    kept = trades["quantity"] != 0
    if conflicting:
        kept &= ~np.isin(given, conflicting)
    annulled = int(np.count_nonzero(trades["quantity"] == 0))
    if not kept.all():
        trades = {name: values[kept] for name, values in trades.items()}
    times, first, last = trades["time"], trades["first_id"], trades["last_id"]
    latest = np.maximum.accumulate(times)
    highest = np.maximum.accumulate(last)
    makers = int(np.count_nonzero(trades["buyer_is_maker"]))
    return TradesJudgement(
        trades=trades,
        annulled=annulled,
        repeated=repeated,
        conflicting=conflicting,
        unordered=unordered,
        skipped=_between(given[:-1] + 1, given[1:]),
        skipped_raw=_between(highest[:-1] + 1, first[1:]),
        overlapping=int(np.count_nonzero(first[1:] <= highest[:-1])),
        backwards=int(np.count_nonzero(times[1:] < latest[:-1])),
        outside=0 if span is None else int(np.count_nonzero((times < span.start) | (times >= span.end))),
        is_one_sided=len(times) >= _ENOUGH and makers in {0, len(times)},
    )


def _each_once(trades: Columns) -> tuple[Columns, int, list[int]]:
    """Sorted trades without those that say the same as the one before; how many those were, and ids in conflict."""
    ids = trades["trade_id"]
    again: Mask = ids[1:] == ids[:-1]
    if not again.any():
        return trades, 0, []
    same = again.copy()
    for values in trades.values():
        # A quote quantity that is not given is NaN, and the same as another such.
        same &= (values[1:] == values[:-1]) | ((values[1:] != values[1:]) & (values[:-1] != values[:-1]))
    conflicting = np.unique(ids[1:][again & ~same])
    kept = np.concatenate(([True], ~again))
    repeated = int(np.count_nonzero(again & ~np.isin(ids[1:], conflicting)))
    return {name: values[kept] for name, values in trades.items()}, repeated, conflicting.tolist()


def _between(starts: Ints, ends: Ints) -> list[tuple[int, int]]:
    found = np.flatnonzero(ends > starts)
    return list(zip(starts[found].tolist(), ends[found].tolist(), strict=True))
