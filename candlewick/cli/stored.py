"""The store as commands read it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from candlewick.cli.arguments import Choice
from candlewick.config import Settings
from candlewick.errors import StoreError, UsageError
from candlewick.integrity.gaps import Gap, find_gaps
from candlewick.integrity.halts import NEEDED, find_halts
from candlewick.market import Market, Span
from candlewick.stores import open_store
from candlewick.stores.store import SeriesInfo, StoreReader
from candlewick.stores.writer_lock import Writer, writer_of


@contextmanager
def reading(settings: Settings) -> Iterator[StoreReader]:
    """The store, open for reading."""
    store = open_store(settings.reading_url, write=False)
    try:
        yield store
    finally:
        store.close()


def chosen(store: StoreReader, choice: Choice, *, counted: bool = False) -> list[SeriesInfo]:
    """The series of the store that are meant; only where `counted` with their numbers of candles.

    Raises:
        UsageError: series are named that the store does not have.
    """
    known = store.series(counted=counted)
    found = [one for one in known if choice.fits(one.series)]
    if not found and (choice.symbol is not None or choice.interval is not None):
        held = ", ".join(str(one.series) for one in known[:5]) + (" ..." if len(known) > 5 else "")
        raise UsageError(f"the store at {store.location} has no series {choice}; it has {held or 'none yet'}")
    return found


def gaps_of(store: StoreReader, info: SeriesInfo) -> list[Gap]:
    """Every gap of a series between its first and its last candle."""
    if info.first is None or info.last is None:
        return []
    held = store.read(info.series, columns=["open_time"])["open_time"]
    return find_gaps(info.series, held, store.absences(info.series))


def halts_of(store: StoreReader, info: SeriesInfo, start: int | None = None, end: int | None = None) -> list[Span]:
    """Every halt of a series on USD-M."""
    if info.series.market is not Market.USDM:
        return []
    return find_halts(store.columns(info.series, start, end, columns=NEEDED), info.series)


def say_where_it_goes(settings: Settings) -> None:
    """After something was written with a shared database configured: that it is in the local store, and gets there."""
    if settings.is_shared:
        print(
            f"written to {settings.record}: `candlewick run` or `candlewick feeder` brings it into the shared database",
            file=sys.stderr,
        )


def folder_of(settings: Settings) -> Path | None:
    """Where the embedded store lives that this machine's processes write; None where it is of another kind."""
    kind, _, place = settings.record.partition("://")
    return Path(place) if kind == "lmdb" else None


def writer_now(settings: Settings) -> Writer | None:
    """The process that writes this machine's store now, where the store can tell.

    Raises:
        StoreError: the folder cannot be looked into.
    """
    folder = folder_of(settings)
    try:
        return None if folder is None else writer_of(folder)
    except OSError as error:
        raise StoreError(f"{folder} cannot be looked into: {error.strerror}; see `candlewick doctor`") from error
