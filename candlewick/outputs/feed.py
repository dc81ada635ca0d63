"""What a store has for one output, batch after batch: first all that is held, then what changes.

Runs in a thread of its own, a batch ahead of the output. Rows are read as they stand, so whatever was replaced meanwhile
is sent once, and what lies together is read together however many writes it took.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from candlewick.errors import CandlewickError
from candlewick.market import Series
from candlewick.outputs.backlog import Backlog, split
from candlewick.outputs.output import Batch, Position
from candlewick.stores.store import LOGGED_STATES, ROW, SPAN, Absence, Rows, SeriesInfo, Spans, StoreReader, Touched

MOST_ROWS = 40_000
"""Rows of one batch, more or less: 4 MB here, a few times that in an output."""
PLAN_ROWS = 400_000
"""Rows of the log gathered before they are read: each span that is read takes its time, so it is worth many rows."""
CHANGES_AT_ONCE = 65_536
"""Rows of the log looked at together."""
_NEAR = 16
"""Changes of a series no further apart than so many candles are read as one."""
_ENOUGH = 0.9
"""A batch that is as full as that is sent: more would be looked for in ever smaller pieces."""
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


class _Part(NamedTuple):
    rows: Rows
    series: Series
    """The one that the last of them were looked for in, up to `end`."""
    end: int
    is_last: bool


class Feed:
    """Reads for one output. Calls come one after the other."""

    def __init__(self, store: StoreReader) -> None:
        self._store = store
        self._names: list[Series] = []
        self._lengths: npt.NDArray[np.int64] = np.empty(0, np.int64)
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
        while after < through:
            some = self._store.touched(after, CHANGES_AT_ONCE, through)
            if some.through == after:
                break
            rows, after = rows + some.rows, some.through
        return rows

    def known(self, rows: "Rows | Spans") -> dict[int, Series] | None:
        """What the numbers of rows or spans mean, if that is known without a look into the store."""
        numbers: list[int] = np.unique(rows["series"]).tolist()
        known = not numbers or numbers[-1] < len(self._names)
        return {number: self._names[number] for number in numbers} if known else None

    def names(self, rows: "Rows | Spans") -> dict[int, Series]:
        """What the numbers of rows or spans mean."""
        known = self.known(rows)
        if known is None:
            self._learn([info.series for info in self._store.series(counted=False)])
            known = self.known(rows)
        assert known is not None, "the store has given a row a number that it does not know"
        return known

    def _learn(self, names: list[Series]) -> None:
        self._names = names
        self._lengths = np.array([series.interval.nominal for series in names], np.int64)

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
        rows: Rows,
        position: Position,
        *,
        done: int | None = None,
        fresh: bool = False,
        absences: dict[Series, Sequence[Absence]] | None = None,
        states: dict[str, bytes | None] | None = None,
    ) -> Load:
        batch = Batch(rows, self.names(rows), absences or {}, states or {}, position, fresh)
        return Load(batch, len(rows) if done is None else done)

    def _parts(self, spans: Spans) -> Iterator[_Part]:
        """The rows of spans, as many at a time as make a batch, by series, then time."""
        found: list[Rows] = []
        count = 0
        while len(spans):
            some, spans = split(spans, self._lengths, MOST_ROWS - count)
            found.append(self._store.read_spans(some[np.argsort(some["series"], kind="stable")]))
            count += len(found[-1])
            if count >= _ENOUGH * MOST_ROWS or not len(spans):
                number, _, end = some[-1].tolist()
                yield _Part(_by_series(found), self._names[number], end, is_last=not len(spans))
                found, count = [], 0

    def _snapshot(self) -> Iterator[Load]:
        """Everything held, from the position on; the last load ends the snapshot."""
        infos = self._store.series()
        self._learn([info.series for info in infos])
        yield from self._snapshot_of_rows(infos)
        yield from self._snapshot_of_the_rest(sorted(self._names, key=str))

    def _snapshot_of_rows(self, infos: Sequence[SeriesInfo]) -> Iterator[Load]:
        base = self.position.sequence
        at, start = self.position.snapshot_series or "", self.position.snapshot_time
        spans = []
        for name, number in sorted((str(info.series), number) for number, info in enumerate(infos)):
            first, last = infos[number].first, infos[number].last
            if name < at or first is None or last is None:
                continue
            first = max(first, start) if name == at else first
            if first <= last:
                spans.append((number, first, last + 1))
        for part in self._parts(np.array(spans, SPAN)):
            yield self._load(part.rows, Position(base, str(part.series), part.end), fresh=True)

    def _snapshot_of_the_rest(self, known: Sequence[Series]) -> Iterator[Load]:
        here = self.position
        absences: dict[Series, Sequence[Absence]] = {}
        for series in known:
            if found := self._store.absences(series):
                absences[series] = found
            if sum(map(len, absences.values())) >= _MOST_ABSENCES:
                yield self._load(_NO_ROWS, here, fresh=True, absences=absences)
                absences = {}
        for prefix in LOGGED_STATES:
            states = list(self._store.states(prefix).items())
            for first in range(0, len(states), _MOST_STATES):
                yield self._load(_NO_ROWS, here, fresh=True, states=dict(states[first : first + _MOST_STATES]))
        yield self._load(_NO_ROWS, Position(here.sequence), fresh=True, absences=absences)

    def _changes(self) -> Iterator[Load]:
        """What was logged after the position, as much as is read in one go."""
        before = self.position
        backlog = Backlog()
        through = before.sequence
        while (room := PLAN_ROWS - backlog.size) > 0:
            some = self._store.touched(through, min(room, CHANGES_AT_ONCE))
            if some.through == through:
                break
            self._take_in(some, backlog)
            through = some.through
        # Asked after the log was read: what was dropped before that is noticed.
        if self._store.change_range().first - 1 > before.sequence:
            raise LogDropped(f"the log of {self._store.location} begins after {before.sequence}")
        if through == before.sequence:
            return
        done, rows = backlog.rows, _NO_ROWS
        for part in self._parts(backlog.spans):
            rows = part.rows
            if not part.is_last:
                # The log is followed by whole writes: until the last part of them the output is where it was.
                taken = min(done, len(rows))
                done -= taken
                yield self._load(rows, before, done=taken)
        absences = {series: self._store.absences(series) for series in backlog.absences}
        states = {key: self._store.state(key) for key in backlog.states}
        yield self._load(rows, Position(through), done=done, absences=dict(absences), states=states)

    def _take_in(self, touched: Touched, backlog: Backlog) -> None:
        self.names(touched.spans)
        backlog.add(touched, _NEAR * self._lengths)


def _by_series(parts: Sequence[Rows]) -> Rows:
    """Rows of parts, each by series, then time, and later ones later in a series, as one."""
    if len(parts) == 1:
        return parts[0]
    rows = np.concatenate(parts)
    numbers = rows["series"].astype(np.int64)
    return rows if bool((np.diff(numbers) >= 0).all()) else rows[np.argsort(numbers, kind="stable")]
