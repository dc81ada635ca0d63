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
            snapshot = self.position.snapshot_series is not None
            if self._loads is None:
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
            if not snapshot:
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
        parts: list[Rows] = []
        for info in infos:
            name = str(info.series)
            if name < at or info.first is None or info.last is None:
                continue
            first = max(info.first, start if name == at else 0)
            for span in _pieces(info.series, Span(first, info.last + 1)):
                parts.append(self._store.read(info.series, *span))
                at, start = name, span.end
                if sum(map(len, parts)) >= MOST_ROWS:
                    yield self._load(parts, Position(base, at, start), fresh=True)
                    parts = []
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
        """What was logged after the position, as much as fits into a load or two."""
        before = self.position
        plan = _Plan()
        found: list[Change] = []
        through = before.sequence
        while plan.rows < MOST_ROWS and (found := self._store.changes(through, CHANGES_AT_ONCE)):
            through = plan.add_all(found)
        # Asked after the log was read: what was dropped before that is noticed.
        if self._store.change_range().first - 1 > before.sequence:
            raise LogDropped(f"the log of {self._store.location} begins after {before.sequence}")
        if through == before.sequence:
            return
        done = plan.logged
        parts: list[Rows] = []
        for series, span in plan.spans():
            parts.append(self._store.read(series, *span))
            if sum(map(len, parts)) >= MOST_ROWS:
                # The log is followed by whole writes: until the last part of them the output is where it was.
                taken = min(done, sum(map(len, parts)))
                done -= taken
                yield self._load(parts, before, done=taken)
                parts = []
        absences = {series: self._store.absences(series) for series in plan.absences}
        states = {key: self._store.state(key) for key in plan.states}
        yield self._load(parts, Position(through), done=done, absences=dict(absences), states=states)


class _Plan:
    """What the log names, gathered by series."""

    def __init__(self) -> None:
        self.rows = 0
        """No more rows than this are to be read."""
        self.logged = 0
        self.absences: dict[Series, None] = {}
        self.states: dict[str, None] = {}
        self._spans: dict[Series, list[list[int]]] = {}

    def add_all(self, changes: Sequence[Change]) -> int:
        """Take in whole writes, not many more than fill a load; returns the sequence of the last one taken in."""
        through = 0
        for change in changes:
            if change.sequence != through and through and self.rows >= MOST_ROWS:
                break
            through = change.sequence
            if change.kind is ChangeKind.ROWS and change.series is not None and change.span is not None:
                self.logged += change.rows
                self._add(change.series, change.span.start, change.span.end)
            elif change.kind is ChangeKind.ABSENCES and change.series is not None:
                self.absences[change.series] = None
            else:
                self.states[change.key] = None
        return through

    def _add(self, series: Series, start: int, end: int) -> None:
        step = series.interval.nominal
        spans = self._spans.setdefault(series, [])
        if spans:
            last = spans[-1]
            if start <= last[1] + _NEAR * step and end >= last[0] - _NEAR * step:
                before = last[1] - last[0]
                last[0], last[1] = min(last[0], start), max(last[1], end)
                self.rows += (last[1] - last[0] - before) // step
                return
        spans.append([start, end])
        self.rows += (end - 1 - start) // step + 1

    def spans(self) -> Iterator[tuple[Series, Span]]:
        """What to read, by series, then time, without overlap, in pieces that fit into a load."""
        for series, spans in self._spans.items():
            end = 0
            for first, last in sorted(map(tuple, spans)):
                start = max(first, end)
                if start < last:
                    yield from ((series, piece) for piece in _pieces(series, Span(start, last)))
                end = max(end, last)


def _pieces(series: Series, span: Span) -> Iterator[Span]:
    """A span in pieces that have room for the rows of one load at most."""
    step = MOST_ROWS * series.interval.nominal
    for start in range(span.start, span.end, step):
        yield Span(start, min(start + step, span.end))
