"""Reading from Python in another process while a writer writes."""

import subprocess
import sys
from pathlib import Path

from candlewick.market import MINUTE
from candlewick.stores.lmdb import LmdbStore
from tests.unit.reading.samples import MINUTE_SERIES, T0, write

BATCH = 50
BATCHES = 60

READER = f"""
import sys
import polars as pl
import candlewick

with candlewick.open(sys.argv[1]) as db:
    print("open", flush=True)
    seen, reads = 0, 0
    while seen < {BATCH * BATCHES}:
        before = db.candles("BTCUSDT", "1m", columns=["open_time"]).height
        frame = db.candles("BTCUSDT", "1m")
        lazy = db.lazy("BTCUSDT", "1m").select(pl.len()).collect().item()
        hours = db.candles("BTCUSDT", "1h")
        after = db.candles("BTCUSDT", "1m", columns=["open_time"]).height
        assert seen <= before <= frame.height <= lazy <= after, (seen, before, frame.height, lazy, after)
        assert frame.height % {BATCH} == 0
        assert frame.height // 60 <= hours.height <= after // 60
        assert frame["open_time"].diff().drop_nulls().n_unique() <= 1
        assert db.gaps().is_empty()
        if reads == 0:
            print("reading", flush=True)
        seen, reads = frame.height, reads + 1
print("done", flush=True)
"""


def test_another_process_reads_whole_writes_while_they_are_made(tmp_path: Path) -> None:
    """Each read has whole writes only, all at least as new as the read before, eager, lazy and derived."""
    store = LmdbStore.open(tmp_path / "store", write=True)
    times = [T0 + at * MINUTE for at in range(BATCH * BATCHES)]
    write(store, MINUTE_SERIES, times[:BATCH])
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, f"lmdb://{tmp_path / 'store'}"], stdout=subprocess.PIPE, text=True
    )
    with reader:
        assert reader.stdout is not None
        assert [reader.stdout.readline() for _ in range(2)] == ["open\n", "reading\n"]
        for at in range(BATCH, len(times), BATCH):
            write(store, MINUTE_SERIES, times[at : at + BATCH])
            store.fold(40)
        assert reader.stdout.readline() == "done\n"
        assert reader.wait(60) == 0
    store.close()
