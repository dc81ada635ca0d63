"""The embedded store: one LMDB file, one writing process, any number of reading ones.

A write is one journal entry and one sync; what the journal gathers is folded into packed blocks, a few series at a
time. docs/store-format.md says what is where.
"""

import contextlib
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

import msgspec
import numpy as np

from candlewick.errors import StoreError, StoreFull
from candlewick.market import Series
from candlewick.stores import change_log, rule
from candlewick.stores.changes import Changes
from candlewick.stores.environment import CHANGES, FIRST_MAP_SIZE, Environment, share
from candlewick.stores.reader import LmdbReader
from candlewick.stores.store import LOGGED_STATES, Absence, Quarantined, Rows, WriteResult
from candlewick.stores.tables import NUMBER_KEY, SEQUENCE_KEY
from candlewick.stores.writer_lock import WriterLock
from candlewick.stores.writer_state import WriterState

__all__ = ["LmdbReader", "LmdbStore"]

T = TypeVar("T")

_JOURNAL_ROWS = 32_768  # readers look through all of it: beyond this `tidy` finds work
_JOURNAL_ROWS_MOST = 262_144  # a write folds by itself; each series' newest block is written once for many rows
_JOURNAL_ROWS_A_SERIES = 32  # the fewer at a time, the more often each series' newest block is written again
_SLICE_ROWS = 256
_SERIES_AT_CLOSE = 300  # a third of a second; the journal of more is left as it is, nothing is lost by that
_MOST_QUARANTINED = 10_000
_IDENTITY = b"identity"


class LmdbStore(LmdbReader):
    """The one writer. All methods may be called from any thread; changes are made one after the other."""

    def __init__(self, path: Path, environment: Environment, lock: WriterLock) -> None:
        super().__init__(path, environment)
        self._writer_lock = lock
        self._writing = threading.RLock()
        self._state = WriterState()
        self._to_fold: list[int] = []
        self._fold_through = 0
        with environment.reading() as txn:
            try:
                self._state.load(txn, environment.databases)
            except ValueError as error:
                raise self._damaged(str(error)) from None

    @overload
    @classmethod
    def open(cls, path: str | Path, *, write: Literal[True], map_size: int = ...) -> "LmdbStore": ...
    @overload
    @classmethod
    def open(cls, path: str | Path, *, write: bool, map_size: int = ...) -> LmdbReader: ...

    @classmethod
    def open(cls, path: str | Path, *, write: bool, map_size: int = FIRST_MAP_SIZE) -> LmdbReader:
        """The store in the folder `path`: for writing, made if need be; or for reading. `map_size` in bytes, grows.

        Raises:
            StoreBusy: another process writes it; says which.
            StoreTooNew: a newer program wrote it; it was not touched.
            StoreFull, StoreDamaged, StoreError: it cannot be opened; says why and what to do.
        """
        path = Path(path).expanduser().absolute()
        if path.exists() and not path.is_dir():
            raise StoreError(f"{path} is a file; a store is a folder: name another with --store")
        if not write:
            return LmdbReader.at(path)
        lock = WriterLock.take(path)
        try:
            environment = share(path, write=True, map_size=map_size)
            try:
                return cls(path, environment, lock)
            except BaseException:
                environment.release()
                raise
        except BaseException:
            lock.release()
            raise

    def announce(self, url: str | None) -> None:
        """Tell whoever finds the store busy where this process answers (`writer_lock.writer_of`)."""
        self._writer_lock.announce(url)

    @property
    def pending_rows(self) -> int:
        """Rows in the journal. `fold` them when there is time: readers look through all of them."""
        return self._state.journal.size

    def number(self, series: Series) -> int:
        """The store's number of a series, given when it is first asked for."""
        with self._writing:
            known = self._state.numbers.get(series)
            if known is not None:
                return known
            self._check_open()
            number = len(self._state.series)
            databases = self._environment.databases
            self._environment.commit(
                lambda txn: txn.put(NUMBER_KEY.pack(number), str(series).encode(), db=databases["series"])
            )
            return self._state.add(series)

    def write(self, rows: Rows) -> WriteResult:
        """Keep rows by the write rule (`Store.write`); each pair it returns holds one row and one row."""
        with self._writing:
            self._check_open()
            rows = rule.checked(rows, len(self._state.series))
            if not len(rows):
                return WriteResult(0, 0, 0, (), ())
            if self._state.journal.size >= max(_JOURNAL_ROWS_MOST, self._bound()):
                self.fold(max(2 * len(rows), _SLICE_ROWS))
            return self._commit(lambda changes: changes.write(rows))

    def fold(self, max_rows: int) -> bool:
        """Move about `max_rows` rows, at least one series', from the journal into blocks; whether any are left."""
        with self._writing:
            self._check_open()
            pending = self._state.pending()
            if not self._to_fold:
                self._to_fold = np.flatnonzero(pending).tolist()
                self._fold_through = self._state.journal.last
            if not self._to_fold:
                return False
            enough = int(np.searchsorted(np.cumsum(pending[self._to_fold]), max_rows)) + 1
            part, rest = self._to_fold[:enough], self._to_fold[enough:]
            through = self._fold_through

            def change(changes: Changes) -> None:
                for number in part:
                    changes.fold(number, through)
                if not rest:
                    changes.drop_entries(through)

            self._commit(change)
            self._to_fold = rest
            if not rest:
                self._state.journal.drop(through)
            return self._state.journal.size > 0

    def tidy(self) -> bool:
        """Fold one series if the journal has grown long; whether there is more to do."""
        with self._writing:
            self._check_open()
            return (bool(self._to_fold) or self._state.journal.size >= self._bound()) and self.fold(1)

    def set_absences(self, series: Series, absences: Sequence[Absence]) -> None:
        """Replace all recorded reasons of a series."""
        value = msgspec.msgpack.encode(rule.in_order(absences))
        with self._writing:
            self._check_open()
            number = self.number(series)
            logged = change_log.pack_absences(number)
            self._put("absences", {NUMBER_KEY.pack(number): value if absences else None}, logged)

    def set_state(self, key: str, value: bytes | None) -> None:
        """Keep a small value, or forget it."""
        self.set_states({key: value})

    def set_states(self, values: Mapping[str, bytes | None]) -> None:
        """Keep several small values, or forget those that are None: all of them or none."""
        with self._writing:
            self._check_open()
            keys = [key for key in values if key.startswith(LOGGED_STATES)]
            logged = change_log.pack_states(keys) if keys else None
            self._put("state", {key.encode(): value for key, value in values.items()}, logged)

    def identity(self) -> str:
        """A name nobody else's store has: 32 hexadecimal digits."""
        with self._writing:
            self._check_open()
            meta = self._environment.databases["meta"]
            with self._environment.reading() as txn:
                known = txn.get(_IDENTITY, db=meta)
                if known is not None:
                    return bytes(known).decode("ascii")
            made = uuid.uuid4().hex
            self._environment.commit(lambda txn: txn.put(_IDENTITY, made.encode(), db=meta))
            return made

    def log_changes(self) -> int:
        """From now on log every change with the write that makes it; returns the last sequence."""
        with self._writing:
            self._check_open()
            self._environment.log_changes()
            return self._state.log.last

    def drop_changes(self, through: int, most: int | None = None) -> bool:
        """Forget the log up to and with this sequence, `most` writes at once; whether some are left."""
        with self._writing:
            self._check_open()
            databases = self._environment.databases
            through = min(through, self._state.log.last)
            if CHANGES not in databases or through < self.change_range().first:
                return False
            return self._environment.commit(
                lambda txn: change_log.drop(txn, databases["meta"], databases[CHANGES], through, most)
            )

    def quarantine(self, entries: Sequence[Quarantined]) -> None:
        """Keep entries; the oldest beyond 10,000 are dropped."""
        with self._writing:
            self._check_open()
            database = self._environment.databases["quarantine"]

            def change(txn: Any) -> None:  # noqa: ANN401  # lmdb's own
                with txn.cursor(db=database) as cursor:
                    following = SEQUENCE_KEY.unpack(cursor.key())[0] + 1 if cursor.last() else 0
                    for at, entry in enumerate(entries, following):
                        cursor.put(SEQUENCE_KEY.pack(at), msgspec.msgpack.encode(entry), append=True)
                    surplus = txn.stat(database)["entries"] - _MOST_QUARANTINED
                    if surplus > 0 and cursor.first():
                        for _ in range(surplus):
                            cursor.delete()

            self._environment.commit(change)

    def close(self) -> None:
        """Fold the journal if that is quick, let go of the store, let another process write it; idempotent."""
        with self._writing:
            if self._closed:
                return
            try:
                if np.count_nonzero(self._state.pending()) <= _SERIES_AT_CLOSE:
                    with contextlib.suppress(StoreFull):  # the journal keeps it all the same
                        while self.fold(_JOURNAL_ROWS):
                            pass
            finally:
                self._environment.end_writing()
                super().close()
                self._writer_lock.release()

    def _bound(self) -> int:
        return max(_JOURNAL_ROWS, _JOURNAL_ROWS_A_SERIES * len(self._state.series))

    def _commit(self, change: Callable[[Changes], T]) -> T:
        """Make changes, all or none, on disk and in memory."""
        state, databases = self._state, self._environment.databases
        mark = state.mark()

        def attempt(txn: Any) -> T:  # noqa: ANN401  # lmdb's own
            state.rollback(mark)
            return change(Changes(txn, databases, state))

        try:
            return self._environment.commit(attempt)
        except BaseException:
            state.rollback(mark)
            raise

    def _put(self, name: str, values: Mapping[bytes, bytes | None], logged: bytes | None) -> None:
        """Keep values, or remove those that are None; `logged` is for the log of changes."""
        database = self._environment.databases[name]

        def change(changes: Changes) -> None:
            for key, value in values.items():
                if value is None:
                    changes.txn.delete(key, db=database)
                else:
                    changes.txn.put(key, value, db=database)
            if logged is not None and changes.logs:
                changes.log(logged)

        self._commit(change)
