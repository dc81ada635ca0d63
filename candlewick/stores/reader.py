"""Reading an LMDB store: the blocks and the journal of one snapshot, merged."""

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from candlewick.errors import StoreDamaged, StoreError
from candlewick.market import Series
from candlewick.stores import change_log, rule
from candlewick.stores.environment import CHANGES, Environment, share
from candlewick.stores.journal import Journal, View
from candlewick.stores.pages import PAGES
from candlewick.stores.plan import Piece, Plan, fill
from candlewick.stores.store import (
    ROW,
    SPAN,
    Absence,
    Change,
    ChangeRange,
    Quarantined,
    Rows,
    SeriesInfo,
    Spans,
    Touched,
)
from candlewick.stores.tables import NO_TOTALS, NUMBER_KEY, TOTALS, read_series, read_totals

_NEVER = (1 << 63) - 1  # a journal entry that no series is folded beyond
_NO_ROWS: Rows = np.empty(0, ROW)


class _Snapshot(NamedTuple):
    """One moment of the store."""

    txn: Any
    journal: View
    databases: Mapping[str, Any]


class LmdbReader:
    """A `StoreReader` of the store in a folder. Threads may share it; it sees what is committed when it is asked."""

    def __init__(self, path: Path, environment: Environment) -> None:
        self.location = f"lmdb://{path}"
        self.path = path
        self._environment = environment
        self._lock = threading.Lock()
        self._journal = Journal()
        self._numbers: dict[Series, int] = {}
        self._generation = environment.generation
        self._closed = False

    @classmethod
    def at(cls, path: Path) -> "LmdbReader":
        """A reader of the store at `path`.

        Raises:
            StoreError: there is none, or it may not be read.
        """
        return cls(path, share(path, write=False))

    @property
    def size(self) -> int:
        """Bytes on disk that are in use."""
        return self._environment.size

    def series(self, *, counted: bool = True, symbol: str | None = None) -> list[SeriesInfo]:
        """Every series known, or those of one symbol; numbers of rows are kept, so they are always right."""
        del counted
        with self._snapshot() as snapshot:
            known = list(self._numbers)
            totals = np.array([NO_TOTALS] * len(known), TOTALS)
            for number in range(len(known)):
                totals[number] = read_totals(snapshot.txn, snapshot.databases["totals"], number)[0]
            for number, rows, new in snapshot.journal.by_series(totals["folded"]):
                each = totals[number : number + 1]
                first, last = rows["open_time"].min(), rows["open_time"].max()
                each["first"] = min(first, each["first"][0]) if each["rows"][0] else first
                each["last"] = max(last, each["last"][0])
                each["rows"] += int(np.count_nonzero(new))
        return [
            SeriesInfo(series, rows, first if rows else None, last if rows else None)
            for series, (rows, first, last, _) in zip(known, totals.tolist(), strict=True)
            if symbol in (None, series.symbol)
        ]

    def read(
        self,
        series: Series,
        start: int | None = None,
        end: int | None = None,
        *,
        columns: Sequence[str] | None = None,
        last: int | None = None,
    ) -> Rows:
        """Rows that open in `[start, end)`, oldest first (`StoreReader.read`)."""
        layout = rule.layout(columns)
        with self._snapshot() as snapshot:
            number, pieces = self._pieces(snapshot, series, start, end, last)
            rows = np.empty(sum(piece.length for piece in pieces), layout)
            fill(pieces, {name: rows[name] for name in layout.names or ()}, number, series.interval)
        return rows

    def columns(
        self,
        series: Series,
        start: int | None = None,
        end: int | None = None,
        *,
        columns: Sequence[str] | None = None,
        last: int | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """The same rows as `read`, each column an array of its own: the fastest way to whole histories."""
        layout = rule.layout(columns)
        with self._snapshot() as snapshot:
            number, pieces = self._pieces(snapshot, series, start, end, last)
            count = sum(piece.length for piece in pieces)
            targets = {name: PAGES.empty(count, layout[name]) for name in layout.names or ()}
            fill(pieces, targets, number, series.interval)
        return targets

    def revisions(self, series: Series) -> Rows:
        """Rows that were replaced by others with different values, by time, then in the order they were replaced."""
        with self._snapshot() as snapshot:
            number = self._numbers.get(series)
            if number is None:
                return np.empty(0, ROW)
            prefix = NUMBER_KEY.pack(number)
            with snapshot.txn.cursor(db=snapshot.databases["revisions"]) as cursor:
                found = []
                if cursor.set_range(prefix):
                    for key, row in cursor:
                        if bytes(key[: len(prefix)]) != prefix:
                            break
                        found.append(bytes(row))
        return np.frombuffer(b"".join(found), ROW)

    def absences(self, series: Series) -> list[Absence]:
        """Recorded reasons, by time, disjoint."""
        with self._snapshot() as snapshot:
            number = self._numbers.get(series)
            key = b"none" if number is None else NUMBER_KEY.pack(number)
            data = snapshot.txn.get(key, db=snapshot.databases["absences"])
            return [] if data is None else self._decoded(data, list[Absence], f"absences of {series}")

    def quarantined(self, limit: int = 100) -> list[Quarantined]:
        """The newest entries of the quarantine, newest first."""
        found = []
        with self._snapshot() as snapshot, snapshot.txn.cursor(db=snapshot.databases["quarantine"]) as cursor:
            if limit > 0 and cursor.last():
                for data in cursor.iterprev(keys=False):
                    found.append(self._decoded(data, Quarantined, "quarantine"))
                    if len(found) == limit:
                        break
        return found

    def state(self, key: str) -> bytes | None:
        """A small value kept across restarts."""
        with self._snapshot() as snapshot:
            value = snapshot.txn.get(key.encode(), db=snapshot.databases["state"])
            return None if value is None else bytes(value)

    def states(self, prefix: str) -> dict[str, bytes]:
        """Every small value whose key begins with `prefix`, by key."""
        found = {}
        start = prefix.encode()
        with self._snapshot() as snapshot, snapshot.txn.cursor(db=snapshot.databases["state"]) as cursor:
            if cursor.set_range(start) if start else cursor.first():
                for key, value in cursor:
                    if not bytes(key).startswith(start):
                        break
                    found[bytes(key).decode()] = bytes(value)
        return found

    def change_range(self) -> ChangeRange:
        """What the log of changes holds; `(1, 0)` where changes were never logged."""
        self._check_open()
        self._environment.find_changes()
        with self._snapshot() as snapshot:
            return change_log.range_of(snapshot.txn, snapshot.databases["meta"], snapshot.databases.get(CHANGES))

    def changes(self, after: int, limit: int) -> list[Change]:
        """Logged changes with sequences above `after`, in order (`StoreReader.changes`)."""
        self._check_open()
        if not self._environment.find_changes():
            return []
        with self._snapshot() as snapshot:
            try:
                return change_log.read(snapshot.txn, snapshot.databases[CHANGES], after, limit, list(self._numbers))
            except ValueError as error:
                raise self._damaged(str(error)) from None

    def touched(self, after: int, rows: int, through: int | None = None) -> Touched:
        """What logged writes above `after` touched (`StoreReader.touched`)."""
        self._check_open()
        if not self._environment.find_changes():
            return Touched(after, 0, np.empty(0, SPAN), [], [])
        with self._snapshot() as snapshot:
            known, database = list(self._numbers), snapshot.databases[CHANGES]
            try:
                return change_log.touched(snapshot.txn, database, after, rows, through, known)
            except ValueError as error:
                raise self._damaged(str(error)) from None

    def read_spans(self, spans: Spans) -> Rows:
        """Rows of all spans, span after span, as they stand at one moment (`StoreReader.read_spans`)."""
        wanted = itertools.groupby(spans.tolist(), itemgetter(0))
        with self._snapshot() as snapshot:
            known = list(self._numbers)
            recent = self._recent(snapshot, np.unique(spans["series"]).tolist(), len(known))
            found: list[tuple[int, list[Piece]]] = []
            for number, some in wanted:
                plan = self._plan(snapshot, known[number], number, recent.get(number, _NO_ROWS))
                found.append((number, [piece for _, start, end in some for piece in plan.pieces(start, end, None)]))
            sizes = [sum(piece.length for piece in pieces) for _, pieces in found]
            rows = np.empty(sum(sizes), ROW)
            for (number, pieces), size, end in zip(found, sizes, itertools.accumulate(sizes), strict=True):
                part = rows[end - size : end]
                fill(pieces, {name: part[name] for name in ROW.names or ()}, number, known[number].interval)
            self._environment.let_go()  # who reads so goes through all of the store
        return rows

    def close(self) -> None:
        """Let go of it; idempotent."""
        if not self._closed:
            self._closed = True
            self._environment.release()

    @contextmanager
    def _snapshot(self) -> Iterator[_Snapshot]:
        self._check_open()
        with ExitStack() as stack:
            with self._lock:  # snapshots begin in order, so that the journal in memory only goes forward
                txn = stack.enter_context(self._environment.reading())
                databases = self._environment.databases
                if self._generation != self._environment.generation:
                    self._generation = self._environment.generation
                    self._journal, self._numbers = Journal(), {}
                for series in read_series(txn, databases["series"], len(self._numbers)):
                    self._numbers[series] = len(self._numbers)
                try:
                    self._journal.refresh(txn, databases["journal"])
                except ValueError as error:
                    raise self._damaged(str(error)) from None
                view = self._journal.view()
            yield _Snapshot(txn, view, databases)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"the store at {self.path} is closed: open it again")

    def _pieces(
        self, snapshot: _Snapshot, series: Series, start: int | None, end: int | None, last: int | None
    ) -> tuple[int, list[Piece]]:
        """The number of a series and the pieces that make up its rows in `[start, end)`."""
        number = self._numbers.get(series)
        if number is None:
            return 0, []
        folded = int(read_totals(snapshot.txn, snapshot.databases["totals"], number)["folded"][0])
        plan = self._plan(snapshot, series, number, snapshot.journal.rows_of(number, folded))
        return number, plan.pieces(start, end, last)

    def _plan(self, snapshot: _Snapshot, series: Series, number: int, recent: Rows) -> Plan:
        where = f"{series} at {self.path}"
        return Plan(snapshot.txn, snapshot.databases["blocks"], where, number, series.interval, recent)

    def _recent(self, snapshot: _Snapshot, numbers: Sequence[int], known: int) -> dict[int, Rows]:
        """The rows of some series in the journal, by time, found in one pass."""
        folded = np.full(known, _NEVER, np.int64)
        for number in numbers:
            folded[number] = read_totals(snapshot.txn, snapshot.databases["totals"], number)["folded"][0]
        return {number: rule.newest_per_time(rows) for number, rows, _ in snapshot.journal.by_series(folded)}

    def _decoded(self, data: Any, kind: Any, what: str) -> Any:  # noqa: ANN401  # msgspec decides by `kind`
        try:
            return msgspec.msgpack.decode(data, type=kind)
        except msgspec.DecodeError as error:
            raise self._damaged(f"{what}: {error}") from None

    def _damaged(self, what: str) -> StoreDamaged:
        return StoreDamaged(f"the store at {self.path} is damaged, {what}: restore it from a copy, or load it again")
