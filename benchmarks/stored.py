"""The store alone: the lines of `benchmarks/store.py` for the one table, and another store of time series beside it."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import store
from benchmarks.place import alone, environment, folder
from benchmarks.table import Result, skipped

ARCTIC = "store: the same in ArcticDB (LMDB)"


def store_rows(place: Path) -> list[store.Row]:
    """On a disk rather than where temporary files are."""
    tempfile.tempdir = str(place)
    return store.run()


def stored(*, full: bool = False) -> list[Result]:
    with folder() as place:
        ours = [
            Result(f"store: {one.what}", one.value, one.unit, one.target, one.most) for one in alone(store_rows, place)
        ]
    return ours + (arctic() if full else [skipped(ARCTIC, "installed and run with --full only: its licence is BSL")])


def arctic() -> list[Result]:
    """ArcticDB in an environment of its own; the program never depends on it."""
    try:
        python = environment(sys.executable, "arcticdb", "pandas")
    except subprocess.CalledProcessError as error:
        return [skipped(ARCTIC, f"cannot be installed: {error.stderr.strip().splitlines()[-1]}")]
    with folder() as place:
        rows = store.candles(store.YEARS_OF_MINUTES)
        table = place / "columns.npz"
        np.savez(table, **{name: rows[name] for name in store.CANDLE})
        script = Path(__file__).with_name("peer_arctic.py")
        command = [python, script, table, place / "arctic", str(store.DAY_READ)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return [skipped(ARCTIC, f"failed: {done.stderr.strip().splitlines()[-1]}")]
        found = json.loads(done.stdout.splitlines()[-1])
    count, note = len(rows), f"ArcticDB {found['version']}"
    return [
        Result(f"{ARCTIC}: write", count / found["write_s"] / 1e6, "M rows/s", note=note),
        Result(f"{ARCTIC}: read all 11 columns", count / found["full_s"] / 1e6, "M rows/s", note=note),
        Result(f"{ARCTIC}: read one column", count / found["column_s"] / 1e6, "M values/s", note=note),
        Result(f"{ARCTIC}: read a day", found["day_s"] * 1e3, "ms", note=note),
        Result(f"{ARCTIC}: on disk", found["bytes"] / count, "bytes/row", note=note),
    ]
