"""What a store has for one output, batch after batch: first all that is held, then what changes.

Runs in a thread of its own, a batch ahead of the output. Rows are read as they stand, so whatever was replaced meanwhile
is sent once, and what lies together is read together however many writes it took.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from candlewick.errors import CandlewickError
from candlewick.market import Series, Span
from candlewick.outputs.output import Batch, Position
from candlewick.stores.store import LOGGED_STATES, ROW, Absence, Change, ChangeKind, Rows, SeriesInfo, StoreReader

MOST_ROWS = 50_000
"""Rows of one batch, more or less: 5 MB here, a few times that in an output."""
PLAN_ROWS = 400_000
"""Rows of the log gathered before they are read: each read of a series takes its time, so it is worth many rows."""
_PLAN_SPANS = 20_000
CHANGES_AT_ONCE = 8_192
"""Entries of the log looked at together."""
_NEAR = 16
"""Changes of a series no further apart than so many candles are read as one."""
_MOST_STATES = 2_000
_MOST_ABSENCES = 5_000
_NO_ROWS: Rows = np.empty(0, ROW)


class LogDropped(CandlewickError):
    """Changes that were not sent are not in the store's log any more: everything must be brought over again."""


class Load(NamedTuple):
    """A batch, and what it does to the backlog."""

    batch: Batch
    done: int
    """Rows that waited and do not once it is taken in."""


class Feed:
    """Reads for one output. Calls come one after the other."""

    def __init__(self, store: StoreReader) -> None:
        self._store = store
        self._names: list[Series] = []
        self._loads: Iterator[Load] | None = None
        self.position = Position(0)
        """Where the next batch begins."""

    def go_to(self, position: Position) -> None:
        """Go on from here."""
        self.position = position
        self._loads = None

    @property
    def between(self) -> bool:
        """Whether the next batch begins with a write, rather than in the midst of what was found before."""
        return self._loads is None and self.position.snapshot_series is None

    def held(self) -> int:
        """How many rows the store has."""
        return sum(info.rows for info in self._store.series())

    def waiting(self, after: int, through: int) -> int:
        """How many rows were logged above `after`, up to and with `through`."""
        rows = 0
        while changes := self._store.changes(after, CHANGES_AT_ONCE):
            rows += sum(change.rows for change in changes if change.sequence <= through)
            after = changes[-1].sequence
            if after >= through:
                break
        return rows

    def known(self, rows: Rows) -> dict[int, Series] | None:
        """What the numbers of rows mean, if that is known without a look into the store."""
        numbers: list[int] = np.unique(rows["series"]).tolist()
        known = not numbers or numbers[-1] < len(self._names)
        return {number: self._names[number] for number in numbers} if known else None

    def names(self, rows: Rows) -> dict[int, Series]:
        """What the numbers of rows mean."""
        known = self.known(rows)
        if known is None:
            self._names = [info.series for info in self._store.series()]
            known = self.known(rows)
        assert known is not None, "the store has given a row a number that it does not know"
        return known

    def next(self) -> Load | None:
        """What comes next, None where nothing does.

        Raises:
            LogDropped: what comes next is not known any more.
            StoreError: the store cannot be read.
        """
        while True:
            found = self._loads is not None
            if self._loads is None:
                snapshot = self.position.snapshot_series is not None
                self._loads = self._snapshot() if snapshot else self._changes()
            try:
                load = next(self._loads, None)
            except BaseException:
                self._loads = None
                raise
            if load is not None:
                self.position = load.batch.position
                return load
            self._loads = None
            if not found:
                return None

    def _load(
        self,
        parts: Sequence[Rows],
        position: Position,
        *,
        done: int | None = None,
        fresh: bool = False,
        absences: dict[Series, Sequence[Absence]] | None = None,
        states: dict[str, bytes | None] | None = None,
    ) -> Load:
        parts = sorted((part for part in parts if len(part)), key=lambda part: int(part["series"][0]))
        rows = np.concatenate(parts) if len(parts) > 1 else parts[0] if parts else _NO_ROWS
        batch = Batch(rows, self.names(rows), absences or {}, states or {}, position, fresh)
        return Load(batch, len(rows) if done is None else done)

    def _snapshot(self) -> Iterator[Load]:
        """Everything held, from the position on; the last load ends the snapshot."""
        infos = sorted(self._store.series(), key=lambda info: str(info.series))
        yield from self._snapshot_of_rows(infos)
        yield from self._snapshot_of_the_rest([info.series for info in infos])

    def _snapshot_of_rows(self, infos: Sequence[SeriesInfo]) -> Iterator[Load]:
        base = self.position.sequence
        at, start = self.position.snapshot_series or "", self.position.snapshot_time
        count = 0
        parts: list[Rows] = []
        for info in infos:
            name = str(info.series)
            if name < at or info.first is None or info.last is None:
                continue
            first = max(info.first, start if name == at else 0)
            for span in _pieces(info.series, Span(first, info.last + 1)):
                parts.append(self._store.read(info.series, *span))
                count += len(parts[-1])
                at, start = name, span.end
                if count >= MOST_ROWS:
                    yield self._load(parts, Position(base, at, start), fresh=True)
                    parts, count = [], 0
        if parts:
            yield self._load(parts, Position(base, at, start), fresh=True)

    def _snapshot_of_the_rest(self, known: Sequence[Series]) -> Iterator[Load]:
        here = self.position
        absences: dict[Series, Sequence[Absence]] = {}
        for series in known:
            if found := self._store.absences(series):
                absences[series] = found
            if sum(map(len, absences.values())) >= _MOST_ABSENCES:
                yield self._load((), here, fresh=True, absences=absences)
                absences = {}
        for prefix in LOGGED_STATES:
            states = list(self._store.states(prefix).items())
            for first in range(0, len(states), _MOST_STATES):
                yield self._load((), here, fresh=True, states=dict(states[first : first + _MOST_STATES]))
        yield self._load((), Position(here.sequence), fresh=True, absences=absences)

    def _changes(self) -> Iterator[Load]:
        """What was logged after the position, as much as is read in one go."""
        before = self.position
        plan = _Plan()
        found: list[Change] = []
        through = before.sequence
        while not plan.is_full and (found := self._store.changes(through, CHANGES_AT_ONCE)):
            through = plan.add_all(found)
        # Asked after the log was read: what was dropped before that is noticed.
        if self._store.change_range().first - 1 > before.sequence:
            raise LogDropped(f"the log of {self._store.location} begins after {before.sequence}")
        if through == before.sequence:
            return
        done, count = plan.rows, 0
        parts: list[Rows] = []
        for series, span in plan.spans():
            parts.append(self._store.read(series, *span))
            count += len(parts[-1])
            if count >= MOST_ROWS:
                # The log is followed by whole writes: until the last part of them the output is where it was.
                taken = min(done, count)
                done -= taken
                yield self._load(parts, before, done=taken)
                parts, count = [], 0
        absences = {series: self._store.absences(series) for series in plan.absences}
        states = {key: self._store.state(key) for key in plan.states}
        yield self._load(parts, Position(through), done=done, absences=dict(absences), states=states)


class _Plan:
    """What the log names, gathered by series."""

    def __init__(self) -> None:
        self.rows = 0
        """As many rows the log names."""
        self.absences: dict[Series, None] = {}
        self.states: dict[str, None] = {}
        self._spans: list[tuple[Series, int, int]] = []
        self._growing: dict[int, tuple[Series, int, list[int]]] = {}
        """By the object that names a series, which is quicker than by its name: how near is near, and its last span."""

    @property
    def is_full(self) -> bool:
        """Whether what comes next is for another plan."""
        return self.rows >= PLAN_ROWS or len(self._spans) >= _PLAN_SPANS

    def add_all(self, changes: Sequence[Change]) -> int:
        """Take in whole writes, not many more than make it full; returns the sequence of the last one taken in."""
        through = 0
        for sequence, kind, series, span, rows, key in changes:
            if sequence != through:
                if through and self.is_full:
                    break
                through = sequence
            if span is not None and series is not None:
                self.rows += rows
                self._add(series, *span)
            elif kind is ChangeKind.ABSENCES and series is not None:
                self.absences[series] = None
            else:
                self.states[key] = None
        return through

    def _add(self, series: Series, start: int, end: int) -> None:
        growing = self._growing.get(id(series))
        if growing is None:
            self._growing[id(series)] = series, _NEAR * series.interval.nominal, [start, end]
            return
        _, near, last = growing
        if start > last[1] + near or end < last[0] - near:
            self._spans.append((series, last[0], last[1]))
            last[0], last[1] = start, end
            return
        last[1] = max(last[1], end)
        last[0] = min(last[0], start)

    def spans(self) -> Iterator[tuple[Series, Span]]:
        """What to read, by series, then time, without overlap, in pieces that fit into a load."""
        by_series: dict[Series, list[tuple[int, int]]] = {}
        for series, first, last in self._spans:
            by_series.setdefault(series, []).append((first, last))
        for series, _, (first, last) in self._growing.values():
            by_series.setdefault(series, []).append((first, last))
        for series, spans in by_series.items():
            end = 0
            for first, last in sorted(spans):
                start = max(first, end)
                if start < last:
                    yield from ((series, piece) for piece in _pieces(series, Span(start, last)))
                end = max(end, last)


def _pieces(series: Series, span: Span) -> Iterator[Span]:
    """A span in pieces that have room for the rows of one load at most."""
    step = MOST_ROWS * series.interval.nominal
    for start in range(span.start, span.end, step):
        yield Span(start, min(start + step, span.end))
