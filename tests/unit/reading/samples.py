"""Stores to read from: in memory and on disk, with holes where a test wants them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from candlewick.market import Candle, Interval, Market, Series, Span, parse_time
from candlewick.reading.database import Database
from candlewick.stores.lmdb import LmdbStore
from candlewick.stores.memory import MemoryStore
from candlewick.stores.store import Absence, Reason, Source, Store, to_rows

T0 = parse_time("2024-03-01T00:00:00")
MINUTE_SERIES = Series(Market.SPOT, "BTCUSDT", Interval("1m"))
KINDS = ("memory", "lmdb")


def series(text: str) -> Series:
    return Series.parse(text)


def candle(of: Series, open_time: int) -> Candle:
    """A candle whose numbers tell its time, with as many digits as the exchange sends."""
    at = open_time // 60_000_000 % 9_973
    price = 20_000 + at / 100
    volume = (at % 97 + 1) / 1000
    return Candle(
        open_time, price, price + 1.25, price - 0.75, price + 0.5, volume, of.interval.close(open_time),
        round(price * volume, 5), at % 11, volume / 2, round(price * volume / 2, 5),
    )  # fmt: skip


def write(store: Store, of: Series, times: Iterable[int], source: Source = Source.REST) -> None:
    store.write(to_rows(store.number(of), source, [candle(of, time) for time in times]))


def write_grid(store: Store, of: Series, count: int, without: Iterable[int] = (), start: int = T0) -> list[int]:
    """`count` grid times from `start` on but those at the places `without`; returns their open times."""
    times = [of.interval.ceil(start)]
    while len(times) < count:
        times.append(of.interval.next(times[-1]))
    gone = set(without)
    kept = [time for at, time in enumerate(times) if at not in gone]
    write(store, of, kept)
    return kept


def outage(span: Span, reason: Reason = Reason.EXCHANGE_OUTAGE) -> Absence:
    return Absence(span, reason, "{}")


@contextmanager
def new_store(kind: str, folder: Path) -> Iterator[Store]:
    store: Store = MemoryStore() if kind == "memory" else LmdbStore.open(folder / "store", write=True)
    try:
        yield store
    finally:
        store.close()


def database(store: Store) -> Database:
    return Database(store)
