"""A store whose file was cut short."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from candlewick.errors import StoreError
from candlewick.market import MINUTE, Interval, Market, Series
from candlewick.stores.lmdb import LmdbStore
from candlewick.stores.store import ROW, Source

SERIES = Series(Market.SPOT, "BTCUSDT", Interval("1m"))
_READ = """
import sys
from candlewick.errors import StoreError
from candlewick.stores import open_store
from candlewick.market import Series
try:
    store = open_store("lmdb://" + sys.argv[1], write=False)
    rows = store.read(Series.parse("spot:BTCUSDT:1m"))
    print("rows", len(rows))
except StoreError as error:
    print("error", error)
"""


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """The folder of a store with 50,000 candles."""
    store = LmdbStore.open(tmp_path / "db", write=True)
    rows = np.zeros(50_000, ROW)
    rows["series"] = store.number(SERIES)
    rows["source"] = int(Source.REST)
    rows["open_time"] = np.arange(50_000) * MINUTE
    rows["close_time"] = rows["open_time"] + MINUTE - 1000
    random = np.random.default_rng(1)
    for name in ("open", "high", "low", "close", "volume", "quote_volume"):
        rows[name] = random.random(50_000)  # 17 digits: blocks that do not get small
    store.write(rows)
    store.close()
    return tmp_path / "db"


@pytest.mark.parametrize("share", [0.95, 0.6, 0.3, 0.05])
def test_file_that_is_cut_short_is_an_error_and_no_crash(whole: Path, share: float) -> None:
    """Reading what is not there any more says that the store is damaged; the process lives on to say it."""
    file = whole / "data.mdb"
    with file.open("r+b") as handle:
        handle.truncate(int(file.stat().st_size * share) // 4096 * 4096)
    done = subprocess.run([sys.executable, "-c", _READ, str(whole)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("error"), done.stdout
    assert "damaged" in done.stdout or "restore" in done.stdout


def test_file_that_is_cut_short_cannot_be_made_whole_where_nobody_may_write(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the file cannot be made longer it is not opened at all."""
    file = whole / "data.mdb"
    with file.open("r+b") as handle:
        handle.truncate(file.stat().st_size // 2 // 4096 * 4096)
    monkeypatch.delattr("os.posix_fallocate")
    with pytest.raises(StoreError, match="ends before the"):
        LmdbStore.open(whole, write=False)
