"""The LMDB file of a store: opened once per process, grown when full, its errors put into words.

LMDB allows a process to open a file once, and to resize its map only while the process has no transaction open. So
all stores of one process at one path share one environment, and a gate keeps transactions and resizing apart.
"""

import errno
import os
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import lmdb

from candlewick.errors import StoreDamaged, StoreError, StoreFull, StoreTooNew
from candlewick.stores.mapped import let_go

FORMAT = 1
DATABASES = ("meta", "series", "totals", "journal", "blocks", "revisions", "absences", "quarantine", "state")
FORMAT_WITH_CHANGES = 2
"""A store whose changes are logged: a program that does not know of it would change it without a word in the log."""
CHANGES = "changes"
"""The database of a store of format 2 only."""
FIRST_MAP_SIZE = 1 << 30

_LARGEST_STEP = 16 << 30
_MOST_READERS = 1_022
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_UNREADABLE = (
    lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.IncompatibleError,
)  # fmt: skip

T = TypeVar("T")

_shared: dict[Path, "Environment"] = {}
_sharing = threading.Lock()


def share(path: Path, *, write: bool, map_size: int = FIRST_MAP_SIZE) -> "Environment":
    """The environment at `path` of this process; `release` it once for every call.

    Raises:
        StoreError: there is none and it is not to be written, or it is not a store, or may not be accessed.
        StoreTooNew: a newer program wrote it; it was not touched.
    """
    with _sharing:
        environment = _shared.get(path)
        if environment is None:
            environment = _shared[path] = Environment(path)
        try:
            environment.admit(write=write, map_size=map_size)
        except BaseException:
            if not environment.users:
                del _shared[path]
            raise
        return environment


class _Gate:
    """Many may be inside together; who needs to be alone waits until they are out, and keeps others waiting."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._closed = False

    @contextmanager
    def together(self) -> Iterator[None]:
        with self._changed:
            while self._closed:
                self._changed.wait()
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                if not self._inside:
                    self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:
            while self._closed:
                self._changed.wait()
            self._closed = True
            while self._inside:
                self._changed.wait()
        try:
            yield
        finally:
            with self._changed:
                self._closed = False
                self._changed.notify_all()


class Environment:
    """One open LMDB file; made by `share`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.users = 0
        self.databases: dict[str, Any] = {}
        self._gate = _Gate()
        self._env: Any = None
        self._writes = False
        self._inode = 0
        self.generation = 0
        """Counts up when another file is read than before: what was remembered of the old one is worth nothing."""

    def admit(self, *, write: bool, map_size: int) -> None:
        """One more user; the file is opened, or opened again for writing, as needed."""
        if self._env is None or (write and not self._writes):
            with self._gate.alone(), explained(self.path):
                if self._env is not None:
                    self._env.close()
                    self.generation += 1  # it may be another file by now
                try:
                    self._env = self._open(write=write, map_size=map_size)
                except BaseException:
                    if self.users:  # those who read go on
                        self._env = self._open(write=False, map_size=map_size)
                    raise
                self._writes = write
        self.users += 1

    def release(self) -> None:
        """One user less; the last one closes the file."""
        with _sharing:
            self.users -= 1
            if not self.users:
                with self._gate.alone():
                    self._env.close()
                del _shared[self.path]

    def copy(self, folder: Path) -> int:
        """Write what is held, without the pages that are free, into an empty folder; returns its transaction's id.

        Nobody may commit meanwhile.
        """
        with explained(folder), self._gate.together():
            self._env.copy(str(folder), compact=True)
            return int(self._env.info()["last_txnid"])

    def reopen(self) -> None:
        """Go on with the file that stands at the path now, if that is another one than before."""
        with self._gate.alone(), explained(self.path):
            if self._is_replaced():
                self._env.close()
                self._env = self._open(write=self._writes, map_size=0)
                self.generation += 1

    def end_writing(self) -> None:
        """This process is not the writer any more."""
        self._writes = False

    @property
    def size(self) -> int:
        """Bytes of the file that are in use."""
        with self._gate.together():
            return (int(self._env.info()["last_pgno"]) + 1) * int(self._env.stat()["psize"])

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """A snapshot as a transaction. Values are memory of the file: copy what is to outlive it."""
        with explained(self.path):
            while True:
                with self._gate.together():
                    # Who writes holds the lock of the file it has, and goes over to another only by itself.
                    replaced = not self._writes and self._is_replaced()
                    transaction = None if replaced else self._begin()
                    if transaction is not None:
                        with transaction:
                            yield transaction
                        return
                if replaced:
                    self.reopen()
                    continue
                with self._gate.alone():
                    self._env.set_mapsize(0)  # adopts what another process grew it to

    def let_go(self) -> None:
        """What was read lately is memory of this process no more. Called within `reading`: the map stays where it is."""
        let_go(self.path / "data.mdb")

    def commit(self, change: Callable[[Any], T]) -> T:
        """Make the changes that `change` makes in the transaction it is given, all or none, and sync them.

        `change` is called again from the start if the map has to grow.
        """
        while True:
            try:
                with explained(self.path), self._gate.together(), self._env.begin(write=True, buffers=True) as txn:
                    return change(txn)
            except lmdb.MapFullError:
                self._grow()

    def log_changes(self) -> None:
        """Make the database of changes, and the store one of format 2."""
        while CHANGES not in self.databases:
            try:
                # LMDB wants nobody else to be inside while a database is opened.
                with explained(self.path), self._gate.alone(), self._env.begin(write=True) as txn:
                    made = self._env.open_db(CHANGES.encode(), txn=txn)
                    txn.put(b"format", str(FORMAT_WITH_CHANGES).encode(), db=self.databases["meta"])
            except lmdb.MapFullError:
                self._grow()
            else:
                self.databases[CHANGES] = made

    def find_changes(self) -> bool:
        """Whether there is a database of changes, which another process may have made since this one opened the file."""
        if CHANGES not in self.databases:
            with explained(self.path), self._gate.alone():
                self.databases |= _changes_in(self._env)
        return CHANGES in self.databases

    def _is_replaced(self) -> bool:
        """Whether another file stands at the path: the store was compacted."""
        try:
            return self._inode_now() != self._inode
        except FileNotFoundError:  # the folder is gone; what was opened can still be read
            return False

    def _inode_now(self) -> int:
        return (self.path / "data.mdb").stat().st_ino

    def _begin(self) -> Any:  # noqa: ANN401  # lmdb's transaction; its types are optional
        """A read transaction, or None where the map must be adopted first."""
        try:
            return self._env.begin(buffers=True)
        except lmdb.MapResizedError:
            return None
        except lmdb.ReadersFullError:
            if not self._env.reader_check():  # slots of readers that were killed
                raise
            return self._env.begin(buffers=True)

    def _grow(self) -> None:
        self._env.reader_check()  # a killed reader keeps old pages from being used again
        with self._gate.alone(), explained(self.path):
            size = int(self._env.info()["map_size"])
            self._env.set_mapsize(size + min(size, _LARGEST_STEP))

    def _open(self, *, write: bool, map_size: int) -> Any:  # noqa: ANN401  # as above
        new = not (self.path / "data.mdb").exists()
        if new and not write:
            raise StoreError(f"there is no store at {self.path}: write one first, or name another with --store")
        inode = 0 if new else self._inode_now()  # before it is opened: a later one is noticed when it is read
        try:
            env = lmdb.open(
                str(self.path), map_size=map_size if write else 0, readonly=not write, max_dbs=len(DATABASES) + 1,
                max_readers=_MOST_READERS,
            )  # fmt: skip
        except lmdb.Error:
            if new:  # half a first page would be taken for damage the next time
                (self.path / "data.mdb").unlink(missing_ok=True)
            raise
        try:
            self._make_whole(env)
            self.databases = self._prepare(env, write=write)
            if new:
                _sync_folder(self.path)
                _sync_folder(self.path.parent)
            env.reader_check()
            self._inode = inode or self._inode_now()
        except BaseException:
            env.close()
            raise
        return env

    def _make_whole(self, env: Any) -> None:  # noqa: ANN401  # as above
        """Give a file that is cut short its length back: reading beyond its end would end this process without a word.

        What it lacks becomes zeros, which are no pages and are noticed where they are read; pages that were given back
        before they were written may lawfully lie there.
        """
        length = (int(env.info()["last_pgno"]) + 1) * int(env.stat()["psize"])
        path = self.path / "data.mdb"
        if path.stat().st_size >= length:
            return
        try:
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, length)  # never shortens it, should a writer grow it now
        except (OSError, AttributeError) as error:
            raise StoreDamaged(
                f"{path} ends before the {length} bytes it should have, and cannot be made longer ({error}): "
                "restore it from a copy"
            ) from error

    def _prepare(self, env: Any, *, write: bool) -> dict[str, Any]:  # noqa: ANN401  # as above
        """The databases of a store, made if nothing is there."""
        if not self._is_empty(env):
            databases = {name: env.open_db(name.encode(), create=False) for name in DATABASES}
            return databases | _changes_in(env)
        if not write:
            raise StoreError(f"the store at {self.path} is empty: write it first, or name another with --store")
        with env.begin(write=True) as txn:
            databases = {name: env.open_db(name.encode(), txn=txn) for name in DATABASES}
            txn.put(b"format", str(FORMAT).encode(), db=databases["meta"])
        return databases

    def _is_empty(self, env: Any) -> bool:  # noqa: ANN401  # as above
        """Whether nothing is in it yet; if something is, it is a store this program can read."""
        with env.begin() as txn:
            if not txn.stat()["entries"]:
                return True
            if txn.get(b"meta") is None:
                raise StoreError(f"{self.path} holds an LMDB file that is not a store: name another with --store")
        meta = env.open_db(b"meta", create=False)
        with env.begin() as txn:
            found = txn.get(b"format", db=meta)
        if found is None or not bytes(found).isdigit():
            raise StoreDamaged(f"the store at {self.path} does not say which format it has: restore it from a copy")
        if int(found) > FORMAT_WITH_CHANGES:
            raise StoreTooNew(
                f"the store at {self.path} has format {int(found)}, this program reads up to {FORMAT_WITH_CHANGES}: "
                "upgrade candlewick; nothing was changed"
            )
        return False


def _changes_in(env: Any) -> dict[str, Any]:  # noqa: ANN401  # lmdb's own
    try:
        return {CHANGES: env.open_db(CHANGES.encode(), create=False)}
    except lmdb.NotFoundError:
        return {}


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """LMDB's and the system's errors as ours, saying where and what to do.

    Raises:
        StoreFull, StoreDamaged, StoreError: as the name says. `lmdb.MapFullError` passes.
    """
    try:
        yield
    except lmdb.MapFullError:
        raise
    except _UNREADABLE as error:
        raise StoreDamaged(
            f"{path} is not a store, or is damaged ({error}): name another, or restore a copy"
        ) from error
    except lmdb.Error as error:
        code = getattr(error, "code", None)
        if code in _NO_SPACE or (code == errno.EIO and _is_full(path)):
            raise StoreFull(
                f"no space left for the store at {path}: make room and go on; what was acknowledged is kept"
            ) from error
        raise StoreError(f"the store at {path} failed: {error}; look at the disk and its permissions") from error


def _is_full(path: Path) -> bool:
    """Whether an input/output error was a write cut short: LMDB calls both the same."""
    disk = os.statvfs(path)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    size = (path / "data.mdb").stat().st_size
    return disk.f_bavail * disk.f_frsize < 1 << 20 or (limit != resource.RLIM_INFINITY and limit - size < 1 << 20)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
