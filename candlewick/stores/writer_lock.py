"""The lock that makes a process the one writer of a store, and says who it is."""

import fcntl
import os
from pathlib import Path
from typing import Self

import msgspec

from candlewick.errors import StoreBusy, StoreError, StoreFull

_ATTEMPTS = 5  # whoever asks `writer_of` holds the lock for a moment


class Writer(msgspec.Struct, frozen=True):
    """The process that writes a store. `url` is where its HTTP interface answers, if it said so."""

    pid: int
    url: str | None = None


class WriterLock:
    """An exclusive `flock` on `writer.lock`, held until `release` or the end of the process, however it ends."""

    def __init__(self, file: int) -> None:
        self._file = file

    @classmethod
    def take(cls, folder: Path) -> Self:
        """Become the writer.

        Raises:
            StoreBusy: another process is; says which.
            StoreFull: there is no space even for that.
            StoreError: the folder cannot be written.
        """
        path = folder / "writer.lock"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreError(
                f"the store at {folder} cannot be written ({error.strerror}): "
                "give this user the right to, or name another with --store"
            ) from error
        if not any(_try(file, fcntl.LOCK_EX) for _ in range(_ATTEMPTS)):
            writer = _read(file)
            os.close(file)
            raise StoreBusy(_busy(folder, writer))
        lock = cls(file)
        try:
            lock.announce(None)
        except OSError as error:
            os.close(file)
            raise StoreFull(f"no space left for the store at {folder} ({error.strerror}): make room") from error
        return lock

    def announce(self, url: str | None) -> None:
        """Tell whoever finds the store busy where this process can be asked."""
        text = msgspec.json.encode(Writer(os.getpid(), url))
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, text, 0)

    def release(self) -> None:
        """Let another process write."""
        os.ftruncate(self._file, 0)
        os.close(self._file)


def writer_of(folder: Path) -> Writer | None:
    """Who writes the store at `folder` now; None if nobody does."""
    try:
        file = os.open(folder / "writer.lock", os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return None if _try(file, fcntl.LOCK_SH) else _read(file)
    finally:
        os.close(file)


def _try(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(file: int) -> Writer | None:
    """What the writer says of itself; None in the moment before it has said it."""
    try:
        return msgspec.json.decode(os.pread(file, 4096, 0), type=Writer)
    except msgspec.DecodeError:
        return None


def _busy(folder: Path, writer: Writer | None) -> str:
    who = "another process" if writer is None else f"process {writer.pid}"
    where = f", which answers at {writer.url}" if writer and writer.url else ""
    return f"the store at {folder} is being written by {who}{where}: stop it first, or open the store for reading"
