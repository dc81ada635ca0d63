"""Blocks give back every bit, of random rows and of the exchange's own, in few bytes, and notice damage."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from candlewick.errors import StoreDamaged, UsageError
from candlewick.market import Interval
from candlewick.stores.blocks.decode import Block
from candlewick.stores.blocks.encode import encode
from candlewick.stores.blocks.layout import DATA_AT
from candlewick.stores.checksum import checksum
from candlewick.stores.grid import BLOCK_SLOTS, blocks
from candlewick.stores.store import ROW, Rows, Source
from candlewick.stores.tables import Packer, block_rows

COLUMNS = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades", "taker_buy_volume",
    "taker_buy_quote_volume",
)  # fmt: skip
MINUTE = Interval("1m")


def plain_rows(count: int, seed: int = 0) -> Rows:
    """Candles with two decimal places, dense on the grid of block 3000."""
    rng = np.random.default_rng(seed)
    rows = np.zeros(count, ROW)
    rows["source"] = Source.REST
    rows["open_time"] = (3_000 * BLOCK_SLOTS + np.arange(count)) * MINUTE.nominal
    rows["close_time"] = rows["open_time"] + MINUTE.nominal - 1_000
    close = 3_000_000 + np.cumsum(rng.integers(-900, 900, count))
    opens = np.concatenate((close[:1], close[:-1])) + rng.integers(-3, 3, count)
    rows["close"], rows["open"] = close / 100, opens / 100
    rows["high"] = (np.maximum(opens, close) + rng.integers(0, 500, count)) / 100
    rows["low"] = (np.minimum(opens, close) - rng.integers(0, 500, count)) / 100
    rows["volume"] = rng.integers(1, 1 << 22, count) / 1e5
    rows["quote_volume"] = np.round(rows["volume"] * rows["close"], 7)
    rows["taker_buy_volume"] = np.round(rows["volume"] * 0.4, 5)
    rows["taker_buy_quote_volume"] = np.round(rows["quote_volume"] * 0.41, 7)
    rows["trades"] = rng.integers(1, 5_000, count)
    return rows


def pack_block(rows: Rows, number: int, interval: Interval) -> bytes:
    return Packer(interval).pack(rows, number)


def read_back(rows: Rows, number: int = 3_000, interval: Interval = MINUTE) -> Rows:
    block = Block(pack_block(rows, number, interval), "block")
    return block_rows(block, number, interval, int(rows["series"][0]), 0, block.rows)


@pytest.mark.parametrize("count", [1, 2, 3, 63, 64, 500, 501, BLOCK_SLOTS])
def test_block_gives_back_plain_rows(count: int) -> None:
    """Any number of rows, from one to a full block."""
    rows = plain_rows(count)
    assert read_back(rows).tobytes() == rows.tobytes()


STRANGE = [
    0.0,
    -0.0,
    np.nan,
    np.inf,
    -np.inf,
    5e-324,
    1.7976931348623157e308,
    2.0**53,
    2.0**53 + 2,
    -1.25,
    1e-8,
    0.1 + 0.2,
]


@pytest.mark.parametrize("share", [0.001, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_block_gives_back_strange_numbers(seed: int, share: float) -> None:
    """Numbers no exchange sends, few or many, in any column: every bit is kept."""
    rng = np.random.default_rng(seed)
    rows = plain_rows(1_000, seed)
    for name in COLUMNS[1:]:
        where = rng.random(1_000) < share
        kind = ROW[name]
        strange = rng.choice(STRANGE, 1_000) if kind.kind == "f" else rng.integers(-(1 << 62), 1 << 62, 1_000)
        rows[name] = np.where(where, strange, rows[name])
    rows["source"] = np.where(rng.random(1_000) < share, Source.LIVE, Source.ARCHIVE)
    assert read_back(rows).tobytes() == rows.tobytes()


@pytest.mark.parametrize("seed", range(3))
def test_block_gives_back_random_bits(seed: int) -> None:
    """Columns of random bytes are kept raw."""
    rows = np.frombuffer(np.random.default_rng(seed).bytes(700 * ROW.itemsize), ROW).copy()
    rows["open_time"] = plain_rows(700)["open_time"]
    rows["series"] = 7
    rows["close_time"] >>= 2  # relative to the open time it must not overflow
    assert read_back(rows).tobytes() == rows.tobytes()


@pytest.mark.parametrize("places", range(13))
def test_block_scales_any_decimal_places(places: int) -> None:
    """Prices of up to eleven decimal places become integers; of more, they are kept raw: exact in any case."""
    rows = plain_rows(500)
    for name in ("open", "high", "low", "close"):
        rows[name] = np.random.default_rng(places).integers(1, 10**6, 500) / 10.0**places
    assert read_back(rows).tobytes() == rows.tobytes()


def test_block_keeps_gaps_and_times_off_the_grid() -> None:
    """Rows may be missing anywhere, and open between grid times, even twice in one."""
    rows = plain_rows(3_000)
    kept = rows[np.random.default_rng(5).random(3_000) < 0.6]
    assert read_back(kept).tobytes() == kept.tobytes()
    off = rows[:100].copy()
    off["open_time"] += 1_000
    mixed = np.sort(np.concatenate((kept, off)), order="open_time")
    assert read_back(mixed).tobytes() == mixed.tobytes()


def test_block_counts_so_many_rows_and_no_more() -> None:
    """More rows than sixteen bits can count is an error that says why."""
    rows = np.zeros(65_536, ROW)
    with pytest.raises(UsageError, match="not on the grid"):
        encode(rows, np.zeros(65_536, np.int64), np.arange(65_536))


def test_block_reads_any_slice_of_any_column() -> None:
    """A slice has the values the whole has, whichever columns are asked for."""
    rng = np.random.default_rng(3)
    rows = plain_rows(400)
    rows["close"][::37] = np.nan  # patches that others are predicted across
    rows["volume"][::41] = 0.1 + 0.2
    block = Block(pack_block(rows, 3_000, MINUTE), "block")
    for name in (*COLUMNS[1:], "source"):
        if name == "close_time":
            continue
        for _ in range(20):
            start, end = sorted(rng.integers(0, 401, 2).tolist())
            target = np.empty(end - start, ROW[name])
            block.fill({name: target}, start, end)
            assert target.tobytes() == np.ascontiguousarray(rows[name][start:end]).tobytes()


def read_all(data: bytes) -> None:
    block = Block(data, "block 3000")
    block_rows(block, 3_000, MINUTE, 0, 0, block.rows)


def test_block_notices_any_flipped_bit() -> None:
    """Whichever bit flips, reading the rows is refused; only the four bytes after the checksum mean nothing."""
    rows = plain_rows(200)
    rows["low"][::31] = np.nan
    data = pack_block(rows, 3_000, MINUTE)
    read_all(data)
    rng = np.random.default_rng(9)
    for at in [0, 3, 8, 9, 10, 11, 12, 16, DATA_AT, len(data) - 1, *rng.integers(8, len(data), 400).tolist()]:
        broken = bytearray(data)
        broken[at] ^= 1 << int(rng.integers(8))
        with pytest.raises(StoreDamaged, match=r"block 3000 is damaged: .*; restore"):
            read_all(bytes(broken))


def test_block_column_is_read_beside_a_damaged_one() -> None:
    """Damage is found in the columns that are read, and said by name."""
    data = bytearray(pack_block(plain_rows(200), 3_000, MINUTE))
    data[-1] ^= 1
    block = Block(bytes(data), "block 3000")
    block.fill({"close": np.empty(200)})
    with pytest.raises(StoreDamaged, match="checksum of its taker_buy_quote_volume"):
        block.fill({"taker_buy_quote_volume": np.empty(200)})


@pytest.mark.parametrize("length", [0, 8, DATA_AT - 8, DATA_AT + 8, -9, -8])
def test_block_notices_a_cut(length: int) -> None:
    """A block that was cut short is refused."""
    data = pack_block(plain_rows(200), 3_000, MINUTE)
    with pytest.raises(StoreDamaged, match=r"checksum|bytes long|no sense"):
        read_all(data[:length])


def test_block_refuses_another_version() -> None:
    """A block of another version, whole as it may be, says so."""
    data = bytearray(pack_block(plain_rows(200), 3_000, MINUTE))
    data[8] = 2
    data[:4] = checksum(bytes(data[8 : DATA_AT + 8])).to_bytes(4, "little")
    with pytest.raises(StoreDamaged, match="version 2"):
        Block(bytes(data), "block 3000")


def archive_rows(recordings: Path, folder: str) -> Rows:
    """All rows of an archive folder, as the exchange wrote them."""
    lines: list[str] = []
    for path in sorted((recordings / "archive/data" / folder).glob("*.*")):
        if path.suffix == ".zip":
            with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
                text = archive.read(archive.namelist()[0]).decode()
        else:
            text = path.read_text()
        lines += [line for line in text.splitlines() if line[0].isdigit()]
    table = [line.split(",") for line in lines]
    rows = np.zeros(len(table), ROW)
    rows["source"] = Source.ARCHIVE
    for at, name in enumerate(COLUMNS):
        kind = int if ROW[name].kind == "i" else float
        values = [kind(row[at]) for row in table]
        rows[name] = [value if value > 10**14 else value * 1000 for value in values] if "time" in name else values
    return np.sort(rows, order="open_time")


SIZES = {
    ("spot/daily/klines/BTCUSDT/1m", "1m"): 28.5,
    ("spot/daily/klines/ETHUSDT/1m", "1m"): 23.5,
    ("spot/daily/klines/ARBUSDT/1m", "1m"): 21.5,
    ("futures/um/monthly/klines/AVAXUSDT/1m", "1m"): 17.5,
    ("spot/monthly/klines/BTCUSDT/5m", "5m"): 29.5,
    ("spot/daily/klines/BTCUSDT/15m", "15m"): 35.0,
    ("spot/monthly/klines/BTCUSDT/1h", "1h"): 35.0,
}


@pytest.mark.data
@pytest.mark.parametrize(("folder", "code"), SIZES)
def test_block_keeps_real_candles_small_and_exact(recordings: Path, folder: str, code: str) -> None:
    """Every recorded candle comes back bit for bit, and takes no more room than this many bytes."""
    rows = archive_rows(recordings, folder)
    interval = Interval(code)
    homes = blocks(interval, rows["open_time"])
    size = 0
    for home in np.unique(homes).tolist():
        part = rows[homes == home]
        data = pack_block(part, home, interval)
        block = Block(data, "block")
        assert block_rows(block, home, interval, 0, 0, block.rows).tobytes() == part.tobytes()
        size += len(data)
    assert size / len(rows) < SIZES[folder, code]
    print(f"{folder}: {len(rows)} rows, {size / len(rows):.2f} bytes a row")  # shown by pytest -rP
