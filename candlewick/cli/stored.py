"""The store as commands read it."""

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
    store = open_store(settings.store, write=False)
    try:
        yield store
    finally:
        store.close()


def chosen(store: StoreReader, choice: Choice) -> list[SeriesInfo]:
    """The series of the store that are meant.

    Raises:
        UsageError: series are named that the store does not have.
    """
    known = store.series()
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


def folder_of(settings: Settings) -> Path | None:
    """Where an embedded store lives; None for any other."""
    kind, _, place = settings.store.partition("://")
    return Path(place) if kind == "lmdb" else None


def writer_now(settings: Settings) -> Writer | None:
    """The process that writes the store now, where the store can tell.

    Raises:
        StoreError: the folder cannot be looked into.
    """
    folder = folder_of(settings)
    try:
        return None if folder is None else writer_of(folder)
    except OSError as error:
        raise StoreError(f"{folder} cannot be looked into: {error.strerror}; see `candlewick doctor`") from error
