"""Certificates of ten years of 1m: issuing one, verifying it against the store, and by the independent verifier."""

import subprocess
import sys
import time
from pathlib import Path

from benchmarks.archive import VERIFIER, candlewick
from benchmarks.place import folder
from benchmarks.store import candles
from benchmarks.table import Result
from candlewick.market import Series
from candlewick.stores.lmdb import LmdbStore
from candlewick.stores.store import Source

SERIES = Series.parse("spot:BTCUSDT:1m")
ROWS = 5_256_000
PART = 525_600


def certificates() -> list[Result]:
    with folder() as place:
        fill(place)
        nowhere = "http://127.0.0.1:1"
        document, table = place / "certificate.json", place / "candles.csv"
        _, certify_s = timed(nowhere, place, "certify", "BTCUSDT", "1m", "--output", str(document))
        _, verify_s = timed(nowhere, place, "verify", str(document))
        timed(nowhere, place, "export", "BTCUSDT", "1m", "--format", "csv", "--output", str(table))
        began = time.perf_counter()
        subprocess.run([sys.executable, VERIFIER, document, table], check=True, capture_output=True)
        independent_s = time.perf_counter() - began
        size = document.stat().st_size / ROWS
    note = "10 years of 1m, the whole command"
    return [
        Result("certify", certify_s, "s", note=f"{note}; the document has {size:.2g} bytes a candle"),
        Result("verify against the store", verify_s, "s", 3, most=True, note=note),
        Result(
            "verify by the independent verifier, from CSV",
            independent_s,
            "s",
            60,
            most=True,
            note="standard library alone",
        ),
    ]


def fill(place: Path) -> None:
    """A store of made-up candles, as if REST had vouched for all of them."""
    store = LmdbStore.open(place, write=True)
    rows = candles(ROWS, store.number(SERIES))
    rows["source"] = int(Source.REST)
    for start in range(0, ROWS, PART):
        store.write(rows[start : start + PART])
    store.close()


def timed(url: str, place: Path, *arguments: str) -> tuple[str, float]:
    began = time.perf_counter()
    answer = candlewick(url, place, *arguments)
    return answer, time.perf_counter() - began
