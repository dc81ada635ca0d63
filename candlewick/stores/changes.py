"""The changes a write or a fold makes, inside the transaction that makes them all or none."""

from bisect import bisect_left
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from candlewick.market import Interval
from candlewick.stores import change_log, rule
from candlewick.stores.blocks.decode import Block
from candlewick.stores.blocks.parallel import in_threads
from candlewick.stores.environment import CHANGES
from candlewick.stores.grid import BLOCK_SLOTS, Int64s, block_of, blocks, slot_starts
from candlewick.stores.journal import ENTRY_ROWS, KEY, Flags, pack_entry
from candlewick.stores.rule import Outcome, Outcomes
from candlewick.stores.store import ROW, Rows, WriteResult
from candlewick.stores.tables import (
    BLOCK_KEY,
    NUMBER_KEY,
    REVISION_KEY,
    SEQUENCE_KEY,
    Packer,
    block_rows,
    block_times,
)
from candlewick.stores.writer_state import WriterState

DIRECT_ROWS = 512
"""From so many rows of one series on, they go to their blocks at once: packed rows are a third to sync."""

_PARALLEL_ROWS = 5_000  # one thread packs them in a millisecond


class Changes:
    """One transaction of the writer; `state` is changed along with it, and rolled back by the caller if it fails."""

    def __init__(self, txn: Any, databases: dict[str, Any], state: WriterState) -> None:  # noqa: ANN401  # lmdb's own
        self.txn = txn
        self._databases = databases
        self._state = state

    def write(self, rows: Rows) -> WriteResult:
        """Apply the write rule to rows that `rule.checked` has let pass."""
        outcomes: list[Outcomes] = []
        pairs: list[tuple[int, Rows, Rows]] = []
        kept: list[Rows] = []
        for batch in rule.rounds(rows):
            outcome = self._judge(batch, pairs)
            outcomes.append(outcome)
            keep = rule.to_keep(outcome)
            new = outcome == Outcome.INSERTED
            if keep.all():
                self._keep(batch, new)
                kept.append(batch)
            elif keep.any():
                kept.append(batch[keep])
                self._keep(kept[-1], new[keep])
        self._revise([held for outcome, held, _ in pairs if outcome == Outcome.CHANGED])
        sequence = self.log(change_log.pack_rows(rule.as_one(kept), self._state.apart)) if kept and self.logs else 0
        return rule.result(np.concatenate(outcomes), pairs, sequence)

    @property
    def logs(self) -> bool:
        """Whether changes are logged."""
        return CHANGES in self._databases

    def log(self, value: bytes) -> int:
        """Log what the transaction changes; returns its sequence."""
        sequence = self._state.log.following
        self.txn.put(SEQUENCE_KEY.pack(sequence), value, db=self._databases[CHANGES], append=True)
        self._state.log = self._state.log.advanced()
        return sequence

    def fold(self, number: int, through: int) -> None:
        """Move the rows of a series out of the journal, up to entry `through`, into blocks."""
        folded = int(self._state.totals["folded"][number])
        rows = self._state.journal.view().rows_of(number, folded, through)
        self._state.totals["folded"][number] = through
        self._merge(number, rows)

    def drop_entries(self, through: int) -> None:
        """Remove journal entries that every series has been folded beyond."""
        with self.txn.cursor(db=self._databases["journal"]) as cursor:
            while cursor.first() and KEY.unpack(cursor.key())[0] <= through:
                cursor.delete()

    def _judge(self, batch: Rows, pairs: list[tuple[int, Rows, Rows]]) -> Outcomes:
        outcomes = np.full(len(batch), Outcome.INSERTED, np.uint8)
        first, last = batch["series"][[0, -1]]
        if first == last and batch["open_time"][0] > self._state.newest[first]:
            return outcomes
        known = np.flatnonzero(batch["open_time"] <= self._state.newest[batch["series"]])
        for part in _by_series(batch[known]):
            at = known[part]
            held, found = self._held(int(batch["series"][at[0]]), batch["open_time"][at])
            at = at[found]
            outcomes[at] = rule.judge(held, batch[at])
            pairs += rule.paired(outcomes[at], held, batch[at])
        return outcomes

    def _held(self, number: int, times: Int64s) -> tuple[Rows, Flags]:
        """The rows held of a series at some of `times`, ordered, and at which."""
        state = self._state
        recent = state.journal.view().rows_of(number, int(state.totals["folded"][number]))
        held = np.empty(len(times), ROW)
        at, found = rule.find(recent["open_time"], times)
        held[found] = recent[at[found]]
        homes = blocks(state.series[number].interval, times)
        for home in np.unique(homes[~found]).tolist():
            wanted = np.flatnonzero((homes == home) & ~found)
            rows = self._block(number, home, times[wanted])
            at, there = rule.find(rows["open_time"], times[wanted])
            held[wanted[there]] = rows[at[there]]
            found[wanted[there]] = True
        return held[found], found

    def _block(self, number: int, home: int, wanted: Int64s | None = None) -> Rows:
        """The rows of a block; only those around `wanted`, if given."""
        data = self.txn.get(BLOCK_KEY.pack(number, home), db=self._databases["blocks"])
        if data is None:
            return np.empty(0, ROW)
        series = self._state.series[number]
        block = Block(data, str(series), home)
        first, end = 0, block.rows
        if wanted is not None:
            times = block_times(block, home, series.interval)
            first = int(np.searchsorted(times, wanted[0]))
            end = int(np.searchsorted(times, wanted[-1], side="right"))
        return block_rows(block, home, series.interval, number, first, max(first, end))

    def _keep(self, rows: Rows, new: Flags) -> None:
        """Keep rows that stand, ordered by series and time: many of one series in blocks, others in the journal."""
        left = np.ones(len(rows), np.bool_)
        if len(rows) >= DIRECT_ROWS:
            for part in _by_series(rows):
                if part.stop - part.start >= DIRECT_ROWS:
                    left[part] = self._keep_in_blocks(rows[part])
            rows, new = (rows, new) if left.all() else (rows[left], new[left])
        journal = self._state.journal
        for start in range(0, len(rows), ENTRY_ROWS):
            part = slice(start, start + ENTRY_ROWS)
            sequence = journal.last + 1
            self.txn.put(
                KEY.pack(sequence), pack_entry(rows[part], new[part]), db=self._databases["journal"], append=True
            )
            journal.append(sequence, rows[part], new[part])
        newest = self._state.newest
        newest[rows["series"]] = np.maximum(newest[rows["series"]], rows["open_time"])  # the last of a series wins

    def _keep_in_blocks(self, rows: Rows) -> Flags:
        """Keep rows of one series, but for those the journal has: it stands above blocks. Returns which those are."""
        state = self._state
        number = int(rows["series"][0])
        recent = state.journal.view().rows_of(number, int(state.totals["folded"][number]))
        _, journaled = rule.find(recent["open_time"], rows["open_time"])
        state.newest[number] = max(state.newest[number], int(rows["open_time"][-1]))
        self._merge(number, rows[~journaled] if journaled.any() else rows)
        return journaled

    def _merge(self, number: int, rows: Rows) -> None:
        """Put rows of one series, by time, into its blocks, in place of what they hold at those times."""
        totals = self._state.totals[number : number + 1]
        interval = self._state.series[number].interval
        pieces = []
        for home, part in _by_block(interval, rows["open_time"]):
            held = self._block(number, home)
            pieces.append((home, rule.overlay(held, rows[part]), len(held)))
        pack = Packer(interval).pack
        packed = in_threads([partial(pack, merged, home) for home, merged, _ in pieces], len(rows), _PARALLEL_ROWS)
        for (home, merged, before), data in zip(pieces, packed, strict=True):
            self.txn.put(BLOCK_KEY.pack(number, home), data, db=self._databases["blocks"])
            first, last = int(merged["open_time"][0]), int(merged["open_time"][-1])
            totals["first"] = min(first, int(totals["first"][0])) if totals["rows"][0] else first
            totals["last"] = max(last, int(totals["last"][0]))
            totals["rows"] += len(merged) - before
        self.txn.put(NUMBER_KEY.pack(number), totals.tobytes(), db=self._databases["totals"])

    def _revise(self, replaced: list[Rows]) -> None:
        """Keep rows that others have replaced."""
        database = self._databases["revisions"]
        count = self.txn.stat(database)["entries"] if replaced else 0
        for at, row in enumerate(replaced, count):
            key = REVISION_KEY.pack(int(row["series"][0]), int(row["open_time"][0]), at)
            self.txn.put(key, row.tobytes(), db=database)


def _by_block(interval: Interval, times: Int64s) -> Iterator[tuple[int, slice]]:
    """Each block that some of the times, ordered, fall in, and where they are."""
    if not len(times):
        return
    first, last = block_of(interval, int(times[0])), block_of(interval, int(times[-1]))
    starts = slot_starts(interval, np.arange(first, last + 2) * BLOCK_SLOTS)
    edges = [bisect_left(times, start) for start in starts.tolist()]  # without a copy of times that lie far apart
    for home, (start, stop) in enumerate(pairwise(edges), first):
        if start < stop:
            yield home, slice(start, stop)


def _by_series(rows: Rows) -> Iterator[slice]:
    """Where each series is among rows ordered by series."""
    if not len(rows):
        return
    if rows["series"][0] == rows["series"][-1]:
        yield slice(0, len(rows))
        return
    edges: list[int] = (np.flatnonzero(np.diff(rows["series"].astype(np.int64))) + 1).tolist()
    for start, stop in zip([0, *edges], [*edges, len(rows)], strict=True):
        yield slice(start, stop)
