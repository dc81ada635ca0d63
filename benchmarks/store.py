"""The embedded store: how fast candles are kept and come back, and how much room they take.

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
from typing import NamedTuple

import numpy as np

from candlewick.market import DAY, MINUTE, Interval, Market, Series
from candlewick.stores.lmdb import LmdbReader, LmdbStore
from candlewick.stores.store import ROW, Rows, Source

START = 1_500_000_000_000_000 // DAY * DAY
YEARS_OF_MINUTES = 10 * 525_600
BTC = Series(Market.SPOT, "BTCUSDT", Interval("1m"))


class Row(NamedTuple):
    what: str
    value: float
    unit: str


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
    """The best of some runs: what the machine can do when nothing else runs on it."""
    best = float("inf")
    for _ in range(times):
        begun = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - begun)
    return best


def percentiles(samples: list[float]) -> tuple[float, float]:
    ordered = sorted(samples)
    return ordered[len(ordered) // 2] * 1e3, ordered[int(len(ordered) * 0.99)] * 1e3


def bulk(store: LmdbStore) -> list[Row]:
    """Ten years of 1m, a month of rows a call, as an archive is loaded."""
    rows = candles(YEARS_OF_MINUTES, store.number(BTC))
    months = np.array_split(rows, 120)
    taken = seconds(lambda: [store.write(month) for month in months])
    size = store.size
    again = seconds(lambda: [store.write(month) for month in months[:12]])
    return [
        Row("write ten years of 1m, a month a call, synced", len(rows) / taken / 1e6, "M rows/s"),
        Row("write a year of them again (nothing changes)", sum(map(len, months[:12])) / again / 1e6, "M rows/s"),
        Row("on disk", size / len(rows), "bytes/row"),
    ]


def reads(reader: LmdbReader) -> list[Row]:
    day = START + 3_000 * DAY
    count = YEARS_OF_MINUTES

    def one_day() -> None:
        assert len(reader.read(BTC, day, day + DAY)) == 1_440

    one_day()
    slices = [seconds(one_day) for _ in range(200)]
    return [
        Row("read all, a column each", count / seconds(lambda: reader.columns(BTC), 5) / 1e6, "M rows/s"),
        Row("read all, as rows", count / seconds(lambda: reader.read(BTC), 3) / 1e6, "M rows/s"),
        Row("read one column", count / seconds(lambda: reader.columns(BTC, columns=["close"]), 5) / 1e6, "M values/s"),
        Row("read a day as rows, p50", percentiles(slices)[0], "ms"),
        Row("read the newest 500 as rows", seconds(lambda: reader.read(BTC, last=500), 50) * 1e3, "ms"),
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
    folder = Path(tempfile.mkdtemp(prefix="candlewick-bench-"))
    try:
        store = LmdbStore.open(folder, write=True)
        found = bulk(store) + reads(store) + live(store)
        store.close()
    finally:
        shutil.rmtree(folder)
    return found


def main() -> None:
    rows = run()
    print(
        f"embedded store in {tempfile.gettempdir()}: {os.cpu_count()} cores, {platform.machine()}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )
    for row in rows:
        print(f"  {row.what:<48} {row.value:>9.2f} {row.unit}")


if __name__ == "__main__":
    main()
