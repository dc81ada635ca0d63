"""Times ArcticDB with the candles of `benchmarks/store.py`; runs in an environment of its own (`stored.arctic`).

python peer_arctic.py COLUMNS.npz FOLDER DAY prints one line of JSON: medians in seconds, and bytes on disk.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import arcticdb
import numpy as np
import pandas as pd


def seconds(action: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        action()
        taken.append(time.perf_counter() - begun)
    return median(taken)


def main() -> None:
    table, folder, day = np.load(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    columns = {name: table[name] for name in table.files}
    index = pd.DatetimeIndex(columns.pop("open_time").astype("M8[us]").astype("M8[ns]"))
    frame = pd.DataFrame(columns, index=index)
    folder.mkdir()
    library = arcticdb.Arctic(f"lmdb://{folder}?map_size=4GB").get_library("bench", create_if_missing=True)
    first = pd.Timestamp(day, unit="us")
    span = (first, first + pd.Timedelta(days=1) - pd.Timedelta(1, "ns"))
    write_s = seconds(lambda: library.write("BTCUSDT", frame, prune_previous_versions=True), 1)
    size = sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
    assert len(library.read("BTCUSDT", date_range=span).data) == 1_440
    found = {
        "version": arcticdb.__version__, "write_s": write_s, "bytes": size,
        "full_s": seconds(lambda: library.read("BTCUSDT").data, 5),
        "column_s": seconds(lambda: library.read("BTCUSDT", columns=["close"]).data, 5),
        "day_s": seconds(lambda: library.read("BTCUSDT", date_range=span).data, 50),
    }  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    main()
