"""The embedded store: how fast candles are kept and come back, and how much room they take; Parquet beside it.

Run as `python -m benchmarks.store`. The candles are synthetic with the digits of BTCUSDT: prices of two decimal
places in a random walk, amounts of five, quote amounts of seven. The folder is removed afterwards.
"""

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from candlewick.market import DAY, MINUTE, Interval, Market, Series
from candlewick.stores.blocks.kernel import loaded
from candlewick.stores.lmdb import LmdbReader, LmdbStore
from candlewick.stores.store import ROW, Rows, Source

START = 1_500_000_000_000_000 // DAY * DAY
YEARS_OF_MINUTES = 10 * 525_600
DAY_READ = START + 3_000 * DAY
RUNS = 3
CANDLE = tuple(name for name in ROW.names if name not in {"series", "source"})
BTC = Series(Market.SPOT, "BTCUSDT", Interval("1m"))


class Row(NamedTuple):
    """One line; `target` is the least value, or the most where `most` is set."""

    what: str
    value: float
    unit: str
    target: float | None = None
    most: bool = False


def candles(count: int, number: int = 0, first: int = START, seed: int = 1) -> Rows:
    """`count` one-minute candles as an exchange would write them."""
    rng = np.random.default_rng(seed)
    close = 3_000_000 + np.cumsum(rng.normal(0, 1_200, count)).astype(np.int64)
    close = np.abs(close) + 500_000
    open_ = np.concatenate((close[:1], close[:-1])) + rng.integers(-200, 200, count)
    high = np.maximum(open_, close) + rng.exponential(800, count).astype(np.int64)
    low = np.minimum(open_, close) - rng.exponential(800, count).astype(np.int64)
    volume = rng.lognormal(15, 1, count).astype(np.int64)
    taker = (volume * rng.uniform(0.3, 0.7, count)).astype(np.int64)
    mean = (open_ + high + low + close) // 4
    rows = np.empty(count, ROW)
    rows["series"], rows["source"] = number, Source.ARCHIVE
    rows["open_time"] = first + np.arange(count) * MINUTE
    rows["close_time"] = rows["open_time"] + MINUTE - 1_000
    for name, value in (("open", open_), ("high", high), ("low", low), ("close", close)):
        rows[name] = value / 1e2
    rows["volume"], rows["taker_buy_volume"] = volume / 1e5, taker / 1e5
    rows["quote_volume"] = volume * (mean + rng.integers(-300, 300, count)) / 1e7
    rows["taker_buy_quote_volume"] = taker * (mean + rng.integers(-300, 300, count)) / 1e7
    rows["trades"] = volume // 2_500 + 1
    return rows


def seconds(action: Callable[[], object], times: int = 1) -> float:
    """The median of some runs. What one of them returns is dropped before the next, as programs do."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        action()
        taken.append(time.perf_counter() - begun)
    return median(taken)


def percentiles(samples: list[float]) -> tuple[float, float]:
    ordered = sorted(samples)
    return ordered[len(ordered) // 2] * 1e3, ordered[int(len(ordered) * 0.99)] * 1e3


def written(place: Path, rows: Rows, calls: int) -> float:
    """Seconds to write rows into a new store in so many calls, each synced."""
    shutil.rmtree(place, ignore_errors=True)
    store = LmdbStore.open(place, write=True)
    store.number(BTC)
    parts = np.array_split(rows, calls)
    taken = seconds(lambda: [store.write(part) for part in parts])
    store.close()
    return taken


def bulk(place: Path, rows: Rows) -> list[Row]:
    """Ten years of 1m as an archive is loaded; the store of the last run stays."""
    yearly = median(written(place, rows, 10) for _ in range(RUNS))
    monthly = median(written(place, rows, 120) for _ in range(RUNS))
    store = LmdbStore.open(place, write=True)
    months = np.array_split(rows, 120)[:12]
    again = seconds(lambda: [store.write(month) for month in months])
    size = store.size
    store.close()
    return [
        Row("write ten years of 1m, a year a call, synced", len(rows) / yearly / 1e6, "M rows/s", 4),
        Row("write ten years of 1m, a month a call, synced", len(rows) / monthly / 1e6, "M rows/s"),
        Row("write a year of them again (nothing changes)", sum(map(len, months)) / again / 1e6, "M rows/s"),
        Row("on disk", size / len(rows), "bytes/row", 30, most=True),
    ]


def reads(reader: LmdbReader) -> list[Row]:
    count = YEARS_OF_MINUTES

    def one_day(how: Callable[..., Any]) -> float:
        return seconds(lambda: how(BTC, DAY_READ, DAY_READ + DAY), 200) * 1e3

    def column(name: str) -> float:
        return seconds(lambda: reader.columns(BTC, columns=[name]), 3 * RUNS)

    assert len(reader.read(BTC, DAY_READ, DAY_READ + DAY)) == 1_440
    full = seconds(lambda: reader.columns(BTC, columns=CANDLE), 3 * RUNS)
    return [
        Row("read ten years, all 11 columns of a candle", count / full / 1e6, "M rows/s", 45),
        Row("read ten years as rows", count / seconds(lambda: reader.read(BTC), RUNS) / 1e6, "M rows/s"),
        Row("read one column of ten years (close)", count / column("close") / 1e6, "M values/s", 200),
        Row("read the costliest column (quote_volume)", count / column("quote_volume") / 1e6, "M values/s"),
        Row("read a day, all columns, p50", one_day(reader.columns), "ms", 0.5, most=True),
        Row("read a day as rows, p50", one_day(reader.read), "ms", 0.5, most=True),
        Row("read the newest 500 as rows", seconds(lambda: reader.read(BTC, last=500), 50) * 1e3, "ms"),
    ]  # fmt: skip


def parquet(place: Path, rows: Rows) -> list[Row]:
    """The same candles as one Parquet file, written and read by polars."""
    import polars as pl

    frame = pl.DataFrame({name: np.ascontiguousarray(rows[name]) for name in CANDLE})
    file = place / "candles.parquet"
    write = seconds(lambda: frame.write_parquet(file, compression="zstd"), RUNS)
    count = len(rows)

    def one_day() -> None:
        opens = pl.col("open_time")
        found = pl.scan_parquet(file).filter(opens >= DAY_READ, opens < DAY_READ + DAY).collect()
        assert len(found) == 1_440

    full, column = (
        seconds(lambda: pl.read_parquet(file), RUNS),
        seconds(lambda: pl.read_parquet(file, columns=["close"]), RUNS),
    )
    return [
        Row("the same in Parquet (polars, zstd): write", count / write / 1e6, "M rows/s"),
        Row("the same in Parquet: read all 11 columns", count / full / 1e6, "M rows/s"),
        Row("the same in Parquet: read one column", count / column / 1e6, "M values/s"),
        Row("the same in Parquet: read a day", seconds(one_day, 20) * 1e3, "ms"),
        Row("the same in Parquet: on disk", file.stat().st_size / count, "bytes/row"),
    ]


def live(store: LmdbStore) -> list[Row]:
    """Rows as they close: one at a time, and 2,000 symbols at a minute boundary."""
    number = store.number(Series(Market.SPOT, "ETHUSDT", Interval("1m")))
    rows = candles(2_000, number)
    used = time.process_time()
    samples = [seconds(lambda at=at: store.write(rows[at : at + 1])) for at in range(len(rows))]
    used = time.process_time() - used
    p50, p99 = percentiles(samples)
    count = 2_000
    for at in range(count):
        store.number(Series(Market.SPOT, f"S{at}USDT", Interval("1m")))
    minutes = 40
    table = candles(count * minutes)
    table["series"] = np.tile(np.arange(2, count + 2), minutes)
    table["open_time"] = START + np.repeat(np.arange(minutes), count) * MINUTE
    boundary = [seconds(lambda at=at: store.write(table[at * count : (at + 1) * count])) for at in range(minutes)]
    b50, b99 = percentiles(boundary)
    fold = seconds(lambda: [None for _ in iter(lambda: store.fold(1 << 20), False)])
    return [
        Row("one row, synced, p50", p50, "ms"),
        Row("one row, synced, p99", p99, "ms"),
        Row("one row, CPU", used / len(rows) * 1e3, "ms"),
        Row("2,000 symbols, one row each, synced, p50", b50, "ms"),
        Row("2,000 symbols, one row each, synced, slowest", b99, "ms"),
        Row("fold 2,000 series of the journal into blocks", fold * 1e3 / count, "ms/series"),
    ]


def run() -> list[Row]:
    """All of it, on all processors: reads and large writes use them."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    folder = Path(tempfile.mkdtemp(prefix="candlewick-bench-"))
    try:
        rows = candles(YEARS_OF_MINUTES)
        found = bulk(folder / "bulk", rows)
        reader = LmdbStore.open(folder / "bulk", write=False)
        found += reads(reader)
        reader.close()
        found += parquet(folder, rows)
        del rows
        store = LmdbStore.open(folder / "live", write=True)
        store.number(BTC)
        found += live(store)
        store.close()
    finally:
        shutil.rmtree(folder)
    return found


def main() -> None:
    rows = run()
    kernel = "with its compiled kernel" if loaded() else "without a compiled kernel"
    print(
        f"embedded store {kernel}, in {tempfile.gettempdir()}: {os.cpu_count()} cores, {platform.machine()}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}; medians"
    )
    for row in rows:
        print(f"  {row.what:<48} {row.value:>9.2f} {row.unit}")


if __name__ == "__main__":
    main()
