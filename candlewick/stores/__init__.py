"""Stores: where candles are kept. `open_store` opens the one a URL names."""

from pathlib import Path
from typing import Literal, overload

from candlewick.errors import ConfigError
from candlewick.stores.store import Store, StoreReader


@overload
def open_store(url: str, *, write: Literal[True]) -> Store: ...
@overload
def open_store(url: str, *, write: bool) -> StoreReader: ...
def open_store(url: str, *, write: bool) -> StoreReader:
    """The store that `url` names: `lmdb:///folder`, `lmdb://relative/folder`, `memory://` or `postgresql://...`.

    Raises:
        ConfigError: no kind of store is named like that.
        StoreDown: the database does not answer.
        StoreError: it cannot be opened; says why and what to do.
    """
    kind, separator, place = url.partition("://")
    if separator and kind == "memory":
        from candlewick.stores.memory import MemoryStore  # noqa: PLC0415  # only what is asked for is loaded

        return MemoryStore()
    if separator and kind == "lmdb":
        if not place:
            raise ConfigError(f"STORE = {url!r} names no folder: write lmdb:///folder")
        from candlewick.stores.lmdb import LmdbStore  # noqa: PLC0415  # only what is asked for is loaded

        return LmdbStore.open(Path(place), write=write)
    if url.partition(":")[0] in {"postgresql", "postgres"}:
        from candlewick.stores.postgres.store import PostgresStore  # noqa: PLC0415  # only what is asked for is loaded

        return PostgresStore.open(url, write=write)
    raise ConfigError(
        f"STORE = {url!r} is not a store: write lmdb:///folder, memory:// or postgresql://user@host:5432/database"
    )
