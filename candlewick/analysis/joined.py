"""Trades of one file after another, and which candles made of them are whole: the ids say so. Pure.

A candle is whole if the ids run on without a hole from the last trade before it to the first one after it. Where they
do not, every candle from the trade before the hole to the one after it is left out, also those without any trade.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from candlewick.analysis.grid import floors, starts_of
from candlewick.analysis.rebuild import rebuild
from candlewick.analysis.trades import TradesJudgement, check_trades
from candlewick.analysis.versus import Candles, Edges
from candlewick.exchanges.exchange import Columns
from candlewick.market import SECOND, Interval, Span

EDGE = SECOND
"""An aggregate bears the time of its first trade, and its last one came up to 100 ms later, or ten times that."""
TAIL = 10_000
"""So many trades of a file are kept, to see whether the next one repeats or contradicts them."""

Hole = tuple[int, int]
"""Ids, half-open."""


class Doubt(NamedTuple):
    """Times of the trades before and after something that is not known, both included."""

    start: int
    end: int
    is_open: bool = False
    """Another file may settle it."""
    only_across: bool = False
    """It is none where both times are of one candle."""


class Joint(NamedTuple):
    """A file's trades, held against what came before."""

    span: Span
    judged: TradesJudgement
    """Of those that are of its time."""
    holes: list[Hole]
    """Ids that are not known and may be asked for."""
    reused: int
    """Ids of the file before that others have here."""
    repeated: int
    """Lines that repeat those of the file before."""
    outside: int
    """Lines that are not of its time."""
    annulled: int
    """Lines that say that a trade was none: without price, quantity and raw trades."""
    empty: int
    """Lines that lack a quantity and yet have a price: what was traded is not known."""
    belated: Columns
    """Trades of the time before it that no file had."""
    last_id: int
    """The highest id given."""


class Piece(NamedTuple):
    """What came of a file."""

    span: Span
    joint: Joint
    """Without its trades."""
    found: int
    """Trades that REST had and the file had not."""
    late: int
    """Trades that REST had and the file before had not, though they are of its time."""
    trades: int
    candles: dict[Interval, list[Candles]]
    """Those that open in `span`, in order; the doubtful ones too."""


class Finished(NamedTuple):
    """A piece about which nothing more will be learnt."""

    piece: Piece
    doubts: list[Doubt]
    """Those that may touch it."""
    is_last: bool = False
    """Nothing follows: what opens in it and ends after it was not made."""


class Last(NamedTuple):
    """The newest trade so far."""

    id: int
    time: int
    raw: int
    """The highest id of a raw trade so far."""


class Joiner:
    """Files of one symbol in order of time, each beginning where the one before ended."""

    def __init__(self, intervals: Sequence[Interval], *, aggregates: bool, before: "Columns | None" = None) -> None:
        """`before`: the trade just before the first file, where it is known; of `intervals` none is above a day."""
        self._intervals = intervals
        self._aggregates = aggregates
        self.last: Last | None = None
        self._tail: Columns | None = None
        self._carried: Columns | None = None
        """The trades of candles that were not over when the file ended."""
        self._strays: Columns | None = None
        """Trades of later files' time."""
        self._doubts: list[Doubt] = []
        self._edges: dict[Interval, Edges] = {}
        self._pending: Piece | None = None
        if before is not None:
            self._remember(before, int(before["trade_id"][-1]))
            self._edges = {one: Edges.of(before, np.zeros(1, np.int64), one, EDGE) for one in intervals}

    def judge(self, columns: Columns, span: Span) -> Joint:
        """Hold a file's trades against themselves and what came before."""
        highest = int(columns["trade_id"].max())
        columns, annulled, empty = _traded(columns)
        times = columns["time"]
        is_late, is_early = times >= span.end, times < span.start
        outside = int(np.count_nonzero(is_late) + np.count_nonzero(is_early))
        early = _some(columns, is_early)
        if outside:
            late = _some(columns, is_late)
            columns = _some(columns, ~(is_late | is_early))
            highest = int(columns["trade_id"].max(initial=-1))
        else:
            late = early
        if self._strays is not None:
            now = self._strays["time"] < span.end
            columns, late = _joined([_some(self._strays, now), columns]), _joined([_some(self._strays, ~now), late])
            highest = max(highest, int(columns["trade_id"].max(initial=-1)))
        self._strays = late if len(late["time"]) else None
        last = self.last
        reused, repeated, belated = 0, 0, _some(early, np.zeros(len(early["time"]), np.bool_))
        lowest = int(columns["trade_id"].min(initial=highest))
        if last is not None:
            known = columns["trade_id"] <= last.id
            if known.any():
                reused = int(np.count_nonzero(known))
                self._doubts.append(
                    Doubt(self._time_of(int(columns["trade_id"].min())), int(columns["time"][known].max()))
                )
                columns = _some(columns, ~known)
            repeated, other = self._repeats(_some(early, early["trade_id"] <= last.id))
            reused += other
            belated = _some(early, early["trade_id"] > last.id)
            self._doubts += [Doubt(time, time) for time in belated["time"].tolist()]
            lowest = int(columns["trade_id"].min(initial=highest + 1))
        judged = check_trades(columns)
        holes = [*judged.skipped, *((one, one + 1) for one in judged.conflicting)]
        if last is not None and last.id + 1 < lowest:
            holes.append((last.id + 1, lowest))
        known_ids = [*belated["trade_id"].tolist(), *annulled]
        return Joint(
            span, judged, _without(sorted(holes), known_ids), reused, repeated, outside, len(annulled), empty, belated,
            max(highest, -1 if last is None else last.id),
        )  # fmt: skip

    def take(self, joint: Joint, found: "Columns | None" = None) -> Finished | None:
        """Make candles of a file; returns what came of the file before. `found`: trades of the holes, by id.

        Raises:
            UsageError: a price or quantity has more than eight decimals.
        """
        trades, span, holes = joint.judged.trades, joint.span, joint.holes
        count = late = 0
        if found is not None and len(found["time"]):
            holes = _without(holes, found["trade_id"].tolist())
            now = (found["time"] >= span.start) & (found["time"] < span.end)
            # A trade of the time before was lacking there; that file alone can be made whole with it.
            self._doubts += [Doubt(time, time, is_open=True) for time in found["time"][~now].tolist()]
            late = int(np.count_nonzero(found["time"] < span.start))
            count = int(np.count_nonzero(now))
            trades = _joined([trades, _some(found, now)])
            order = np.argsort(trades["trade_id"], kind="stable")
            trades = _some(trades, order)
        self._doubt(trades, span, holes)
        joint = joint._replace(judged=joint.judged._replace(trades={}))  # no more needed, and large
        piece = Piece(span, joint, count, late, len(trades["time"]), {one: [] for one in self._intervals})
        before = self._pending
        for interval in self._intervals:
            for candles in self._made(trades, span, interval):
                early = (
                    before
                    if before is not None
                    and len(candles.columns["open_time"])
                    and int(candles.columns["open_time"][0]) < span.start
                    else None
                )
                (piece if early is None else early).candles[interval].append(candles)
        self._remember(trades, joint.last_id)
        self._carry(trades, span)
        self._pending = piece
        return None if before is None else self._finished(before)

    @property
    def is_lacking_before(self) -> bool:
        """Whether the file that was taken last has shown trades that the one before it lacks, and REST has."""
        return self._pending is not None and self._pending.late > 0

    def finish(self, *, is_proved: bool) -> Finished | None:
        """Nothing follows. `is_proved`: the trade after the last one is known, and later than the last file's time."""
        if self._pending is None:
            return None
        last = self._pending
        if not is_proved:
            start = last.span.start if self.last is None else min(self.last.time, last.span.end)
            self._doubts.append(Doubt(start, last.span.end - 1, is_open=True))
        if self._strays is not None:  # no file of its own time had them between its own: who knows what else
            self._doubts.append(Doubt(last.span.end - 1, int(self._strays["time"].max())))
        return self._finished(last)._replace(is_last=True)

    def _finished(self, piece: Piece) -> Finished:
        longest = max(one.nominal for one in self._intervals)
        near = [one for one in self._doubts if one.end >= piece.span.start - longest]
        self._doubts = [one for one in near if one.end >= piece.span.end - longest]
        return Finished(piece, near)

    def _repeats(self, early: Columns) -> tuple[int, int]:
        """How many trades of the time before repeat what is known, and how many contradict it."""
        if not len(early["time"]):
            return 0, 0
        tail = self._tail
        assert tail is not None
        at = np.searchsorted(tail["trade_id"], early["trade_id"]).clip(max=len(tail["time"]) - 1)
        same = np.ones(len(at), np.bool_)
        for name in ("trade_id", "price", "quantity", "time", "buyer_is_maker", "first_id", "last_id"):
            same &= tail[name][at] == early[name]
        kept = (early["quantity"] != 0) & ~same
        self._doubts += [Doubt(time, time) for time in early["time"][kept].tolist()]
        self._doubts += [Doubt(time, time) for time in tail["time"][at[kept]].tolist()]
        return int(np.count_nonzero(~kept)), int(np.count_nonzero(kept))

    def _time_of(self, number: int) -> int:
        """When the trade of an id of the file before was, or one before it."""
        assert self._tail is not None
        at = max(0, int(np.searchsorted(self._tail["trade_id"], number, side="right")) - 1)
        return int(self._tail["time"][at]) if len(self._tail["time"]) else 0

    def _doubt(self, trades: Columns, span: Span, holes: list[Hole]) -> None:
        """Find what is not whole."""
        ids, times = trades["trade_id"], trades["time"]
        start = span.start if self.last is None else self.last.time
        edges = np.concatenate(([start], times, [span.end - 1]))
        for low, high in _gathered(ids, holes):
            self._doubts.append(Doubt(int(edges[low]), int(edges[high + 1])))
        if not len(times):
            return
        latest = np.maximum.accumulate(times)
        for at in np.flatnonzero(times[1:] < latest[:-1]).tolist():
            self._doubts.append(Doubt(int(times[at + 1]), int(latest[at]), only_across=True))
        raw = -1 if self.last is None else self.last.raw
        highest = np.maximum.accumulate(np.concatenate(([raw], trades["last_id"][:-1])))
        for at in np.flatnonzero(trades["first_id"] <= highest).tolist():
            earlier = int(np.argmax(trades["last_id"][:at] >= trades["first_id"][at])) if at else 0
            low = int(times[earlier]) if at and trades["last_id"][earlier] >= trades["first_id"][at] else start
            self._doubts.append(Doubt(min(low, int(times[at])), int(latest[at])))

    def _made(self, trades: Columns, span: Span, interval: Interval) -> list[Candles]:
        """The candles that are over with this file: those that opened before it, and those that open in it."""
        start = interval.floor(span.start)
        if start < span.start and self._pending is not None and self._carried is not None:
            trades = _joined([_some(self._carried, self._carried["time"] >= start), trades])
        whole = trades["time"] < interval.floor(span.end)
        if start < span.start and self._pending is None:
            whole &= trades["time"] >= interval.ceil(span.start)  # nobody knows how it began
        if not whole.all():
            trades = _some(trades, whole)
        opens = floors(np.ascontiguousarray(trades["time"], np.int64), interval)
        known = self._tail is not None and start == span.start
        previous = np.concatenate(([self._tail["price"][-1] if known and self._tail else np.nan], trades["price"][:-1]))
        disorder = [one for one in self._doubts if not one.is_open]
        if disorder:
            bad = touched(opens, interval, disorder)
            if bad.any():
                trades, opens, previous = _some(trades, ~bad), opens[~bad], previous[~bad]
        if not len(opens):
            return []
        rebuilt = rebuild(trades, interval)
        starts = starts_of(opens)
        last = np.append(starts, len(opens))[1:] - 1
        after = Edges.of(trades, last, interval, EDGE) if self._aggregates else Edges.none(len(last))
        first = Edges.unknown() if self._aggregates else Edges.none(1)
        before = after.handed_on(rebuilt.columns["open_time"], interval, self._edges.get(interval) or first)
        self._edges[interval] = after.part(slice(-1, None))
        candles = Candles(
            rebuilt.columns, rebuilt.quote_slack, np.diff(np.append(starts, len(opens))), trades["time"][starts],
            trades["time"][last], previous[starts], before, after,
        )  # fmt: skip
        opened = int(np.searchsorted(rebuilt.columns["open_time"], span.start))
        parts = [candles.part(slice(0, opened)), candles.part(slice(opened, None))]
        return [one for one in parts if len(one.slack)]

    def _remember(self, trades: Columns, last_id: int) -> None:
        if len(trades["time"]):
            raw = int(trades["last_id"].max())
            time = int(trades["time"][-1])
            if self.last is not None:
                raw, time = max(raw, self.last.raw), max(time, self.last.time)
            self.last = Last(last_id, time, raw)
            # A copy: a part of an array keeps all of it in memory.
            self._tail = {name: values[-TAIL:].copy() for name, values in trades.items()}
        elif self.last is not None:
            self.last = self.last._replace(id=last_id)

    def _carry(self, trades: Columns, span: Span) -> None:
        """Keep the trades of candles that are not over."""
        start = min(one.floor(span.end) for one in self._intervals)
        if start >= span.end:
            self._carried = None
            return
        kept = _some(trades, trades["time"] >= start)
        if self._carried is not None:
            kept = _joined([_some(self._carried, self._carried["time"] >= start), kept])
        self._carried = kept


def touched(opens: "NDArray[np.int64]", interval: Interval, doubts: Iterable[Doubt]) -> "NDArray[np.bool_]":
    """Which of the candles, or of the trades by their candles, are in doubt."""
    ranges = []
    for one in doubts:
        first, last = interval.floor(one.start), interval.floor(one.end)
        if not one.only_across or first != last:
            ranges.append((first, last))
    bad = np.zeros(len(opens), np.bool_)
    if not ranges:
        return bad
    merged = np.array(_merged(ranges), np.int64)
    at = np.searchsorted(merged[:, 0], opens, side="right") - 1
    known = at >= 0
    bad[known] = opens[known] <= merged[at[known], 1]
    return bad


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def _gathered(ids: "NDArray[np.int64]", holes: list[Hole]) -> list[tuple[int, int]]:
    """Where holes lie between ids: the index before, counted from 1, and the index after; each place once."""
    if not holes:
        return []
    lows = np.searchsorted(ids, np.array([low for low, _ in holes], np.int64))
    highs = np.searchsorted(ids, np.array([high for _, high in holes], np.int64))
    return sorted(set(zip(lows.tolist(), highs.tolist(), strict=True)))


def _without(holes: list[Hole], found: Iterable[int]) -> list[Hole]:
    """The ids of `holes`, which are in order, that are not among `found`."""
    ids = sorted(found)
    left: list[Hole] = []
    for hole in holes:
        start, end = hole
        for one in ids[bisect_left(ids, start) : bisect_left(ids, end)]:
            if start < one:
                left.append((start, one))
            start = one + 1
        if start < end:
            left.append((start, end))
    return left


def _traded(columns: Columns) -> tuple[Columns, list[int], int]:
    """The lines with a quantity, the ids of annulled ones, and how many other lines have no quantity."""
    empty = columns["quantity"] == 0
    if not empty.any():
        return columns, [], 0
    annulled = empty & ((columns["price"] == 0) | (columns["first_id"] < 0))
    spoiled = int(np.count_nonzero(empty & ~annulled))
    return _some(columns, ~empty), columns["trade_id"][annulled].tolist(), spoiled


def _some(columns: Columns, which: "NDArray[np.bool_] | NDArray[np.intp]") -> Columns:
    return {name: values[which] for name, values in columns.items()}


def _joined(parts: Sequence[Columns]) -> Columns:
    full = [one for one in parts if len(one["time"])] or [parts[-1]]
    return full[0] if len(full) == 1 else {name: np.concatenate([one[name] for one in full]) for name in full[-1]}
