"""Pages of a mapped file that were read stop counting as this process's memory."""

import mmap
from pathlib import Path

import numpy as np
import pytest

from candlewick.stores.lmdb import LmdbStore
from candlewick.stores.mapped import let_go
from candlewick.stores.store import SPAN, Source
from tests.contracts.output_bench import MINUTES, candles

SMAPS = Path("/proc/self/smaps")
pytestmark = pytest.mark.skipif(not SMAPS.exists(), reason="this system does not say what is resident of a mapping")


def resident_kb(file: Path) -> int:
    found, within = 0, False
    for line in SMAPS.read_text().splitlines():
        if not line.split()[0].endswith(":"):
            within = line.endswith(str(file))
        elif within and line.startswith("Rss:"):
            found += int(line.split()[1])
    return found


def test_pages_count_no_more_and_can_be_read_again(tmp_path: Path) -> None:
    """Of the file that is named, not of another; whoever reads on reads what is there."""
    files = [tmp_path / "one", tmp_path / "other"]
    content = bytes(range(256)) * 16_384
    maps = []
    for path in files:
        path.write_bytes(content)
        with path.open("rb") as file:
            maps.append(mmap.mmap(file.fileno(), 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ))
        assert maps[-1][:] == content
    assert all(resident_kb(path) == len(content) // 1024 for path in files)
    let_go(files[0])
    assert [resident_kb(path) for path in files] == [0, len(content) // 1024]
    assert maps[0][:] == content
    for one in maps:
        one.close()
    let_go(files[0])


def test_file_that_is_written_through_memory_is_left_alone(tmp_path: Path) -> None:
    """Pages that may be dirty are not dropped."""
    path = tmp_path / "one"
    path.write_bytes(b"\0" * 65_536)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[:] = b"1" * 65_536
        let_go(path)
        assert resident_kb(path) == 64
        assert mapped[:] == b"1" * 65_536


def test_reading_many_spans_leaves_the_store_where_it_is(tmp_path: Path) -> None:
    """After a store has been read through, for an output, next to nothing of its file counts; it reads as before."""
    store = LmdbStore.open(tmp_path, write=True)
    rows = candles(store, MINUTES, range(200_000), Source.ARCHIVE)
    rows["volume"] = np.random.default_rng(1).random(len(rows))
    store.write(rows)
    span = np.array([(0, 0, 1 << 62)], SPAN)
    assert store.read(MINUTES).tobytes() == rows.tobytes()
    assert resident_kb(tmp_path / "data.mdb") > 1_000
    for _ in range(2):
        assert store.read_spans(span).tobytes() == rows.tobytes()
        assert resident_kb(tmp_path / "data.mdb") < 200
    store.close()
