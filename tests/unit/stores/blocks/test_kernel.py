"""The compiled kernel and numpy give the same bits and the same bytes, and no bytes of a block lead the kernel astray."""

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import candlewick.stores.plan
import candlewick.stores.tables
from candlewick.errors import StoreDamaged, UsageError
from candlewick.market import Interval
from candlewick.stores.blocks.decode import Block
from candlewick.stores.blocks.kernel import JOB, Kernel, address, loaded, targets
from candlewick.stores.blocks.layout import COLUMN, COLUMNS, COLUMNS_AT, DATA_AT, HEADER, padded
from candlewick.stores.blocks.parallel import in_threads
from candlewick.stores.checksum import checksum
from candlewick.stores.grid import BLOCK_SLOTS
from candlewick.stores.store import ROW, Rows, Source
from candlewick.stores.tables import Packer, fill_block

MINUTE = Interval("1m")
HOME = 3_000
START = HOME * BLOCK_SLOTS * MINUTE.nominal
STRANGE = [0.0, -0.0, np.nan, np.inf, -np.inf, 5e-324, 1e308, 2.0**53, 2.0**53 + 2, -1.25, 1e-8, 0.1 + 0.2]


@pytest.fixture
def kernel() -> Kernel:
    found = loaded()
    if found is None:
        pytest.skip("the kernel was not compiled here")
    return found


@pytest.fixture
def plainly(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Turns the kernel off for the rest of a test."""

    def turn_off() -> None:
        monkeypatch.setattr(candlewick.stores.tables, "loaded", lambda: None)
        monkeypatch.setattr(candlewick.stores.plan, "loaded", lambda: None)

    return turn_off


def random_rows(seed: int) -> Rows:
    """A block of any length, places, spread, gaps and strangeness; every coding and width occurs among the seeds."""
    rng = np.random.default_rng(seed)
    count = int(rng.choice([1, 2, 15, 16, 17, 63, 130, 700, 2_500, BLOCK_SLOTS]))
    slots = np.sort(rng.permutation(BLOCK_SLOTS)[:count]) if rng.random() < 0.5 else np.arange(count)
    rows = np.zeros(count, ROW)
    rows["series"], rows["source"] = 9, rng.choice([1, 2, 3], count, p=[0.02, 0.02, 0.96])
    rows["open_time"] = START + slots * MINUTE.nominal
    rows["close_time"] = rows["open_time"] + MINUTE.nominal - 1_000
    price, amount, quote = rng.integers(0, 9), rng.integers(0, 8), rng.integers(0, 9)
    walk = 10.0 ** rng.integers(0, 7)
    close = np.abs(10.0 ** rng.integers(1, 12) + np.cumsum(rng.normal(0, walk, count))).astype(np.int64)
    opens = np.concatenate((close[:1], close[:-1])) + rng.integers(-3, 4, count)
    rows["close"], rows["open"] = close / 10.0**price, opens / 10.0**price
    rows["high"] = (np.maximum(opens, close) + rng.integers(0, int(walk) + 1, count)) / 10.0**price
    rows["low"] = (np.minimum(opens, close) - rng.integers(0, int(walk) + 1, count)) / 10.0**price
    volume = rng.lognormal(rng.uniform(1, 20), rng.uniform(0, 3), count)
    for name, share, mean in (("volume", 1.0, "quote_volume"), ("taker_buy_volume", 0.4, "taker_buy_quote_volume")):
        rows[name] = np.round(volume * share, amount)
        rows[mean] = np.round(rows[name] * rows["close"] * rng.uniform(0.99, 1.01, count), quote)
    rows["trades"] = rng.lognormal(rng.uniform(0, 12), 2, count)
    for name in ROW.names[3:]:
        share = rng.choice([0.0, 0.0, 0.0, 0.001, 0.05, 0.6])
        where = rng.random(count) < share
        strange = rng.choice(STRANGE, count) if ROW[name].kind == "f" else rng.integers(-(1 << 61), 1 << 61, count)
        rows[name] = np.where(where, strange, rows[name])
    if rng.random() < 0.3:
        rows["open_time"] += np.where(rng.random(count) < 0.1, rng.integers(0, MINUTE.nominal, count), 0)
    return rows


def packed(rows: Rows) -> bytes:
    return Packer(MINUTE).pack(rows, HOME)


def some_columns(rows: int) -> dict[str, np.ndarray[Any, Any]]:
    return {name: np.zeros(rows, ROW[name]) for name in ROW.names}


@pytest.mark.parametrize("seed", range(40))
def test_kernel_packs_the_bytes_numpy_packs(kernel: Kernel, plainly: Callable[[], None], seed: int) -> None:
    """Whatever the rows, both ways of packing make the same block."""
    del kernel
    rows = random_rows(seed)
    by_kernel = packed(rows)
    plainly()
    assert packed(rows) == by_kernel


@pytest.mark.parametrize("seed", range(40))
def test_kernel_reads_the_bits_numpy_reads(kernel: Kernel, plainly: Callable[[], None], seed: int) -> None:
    """Any slice of any columns, on end or as rows, has the same bits either way; they are those that were packed."""
    del kernel
    rows = random_rows(seed)
    block = Block(packed(rows), "block")
    found = []
    for _ in range(2):
        state = np.random.default_rng(seed)
        for _ in range(6):
            first, end = sorted(state.integers(0, len(rows) + 1, 2).tolist())
            names = state.permutation(ROW.names)[: state.integers(1, 14)].tolist()
            apart = {name: np.zeros(end - first, ROW[name]) for name in names}
            together = np.zeros(end - first, ROW)
            fill_block(block, HOME, MINUTE, apart, first, end, 9)
            fill_block(block, HOME, MINUTE, {name: together[name] for name in names}, first, end, 9)
            for name in names:
                expected = np.ascontiguousarray(rows[name][first:end]).tobytes()
                assert apart[name].tobytes() == expected, name
                assert np.ascontiguousarray(together[name]).tobytes() == expected, name
            found.append({name: apart[name].tobytes() for name in names})
        plainly()
    assert found[:6] == found[6:]


def resealed(data: bytearray) -> bytes:
    """The block with checksums that match what it says now, as far as what it says lies within it."""
    runs = HEADER.unpack_from(data)[3]
    offsets = [struct.unpack_from("<I", data, COLUMNS_AT + COLUMN.size * at + 8)[0] for at in range(len(COLUMNS))]
    for at, (start, end) in enumerate(zip(offsets, [*offsets[1:], len(data)], strict=True)):
        if start <= end <= len(data) and start % 8 == end % 8 == 0:
            struct.pack_into("<I", data, COLUMNS_AT + COLUMN.size * at + 12, checksum(bytes(data[start:end])))
    head = min(DATA_AT + padded(4 * runs), len(data))
    struct.pack_into("<I", data, 0, checksum(bytes(data[8:head])))
    return bytes(data)


def spoiled(data: bytes, rng: np.random.Generator) -> bytes:
    """A block that somebody changed who knows how checksums are made."""
    broken = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        kind = rng.integers(5)
        if kind == 0:
            broken[int(rng.integers(8, len(broken)))] = int(rng.integers(256))
        elif kind == 1:
            broken[int(rng.integers(8, DATA_AT + 16))] ^= 1 << int(rng.integers(8))
        elif kind == 2:
            at = COLUMNS_AT + COLUMN.size * int(rng.integers(12)) + int(rng.choice([0, 1, 2, 4, 8]))
            struct.pack_into("<H", broken, at, int(rng.choice([0, 1, 2, 3, 5, 7, 8, 9, 255, 65_535])))
        elif kind == 3:
            at = COLUMNS_AT + COLUMN.size * int(rng.integers(12)) + 16
            struct.pack_into("<d", broken, at, float(rng.choice([*STRANGE, 1e19, -1e300])))
        else:
            del broken[-8 * int(rng.integers(1, 40)) :]
            if len(broken) < DATA_AT + 16:
                broken = bytearray(data)
    return resealed(broken)


def test_kernel_stays_within_a_forged_block(kernel: Kernel) -> None:
    """Blocks with matching checksums and senseless contents are refused or read, and nothing beside them is written."""
    rng = np.random.default_rng(4)
    blocks = [packed(random_rows(seed)) for seed in (3, 5, 8, 13, 21, 34)]
    outcomes = [0, 0]
    for turn in range(2_500):
        data = spoiled(blocks[turn % len(blocks)], rng)
        rows = min(HEADER.unpack_from(data)[4], BLOCK_SLOTS)
        first = int(rng.integers(0, rows + 1))
        wide = np.full((rows - first) + 2, 0x5A, np.dtype((np.void, ROW.itemsize))).view(ROW)
        wide.view(np.uint8)[:] = 0x5A
        inside = {name: wide[name][1:-1] for name in ROW.names}
        jobs = np.array([(address(data), len(data), 0, first, rows, START)], JOB)
        done = kernel.read(jobs, targets(inside), MINUTE.nominal, 9)
        outcomes[done] += 1
        edges = wide.view(np.uint8).reshape(-1, ROW.itemsize)[[0, -1]]
        assert (edges == 0x5A).all()
    assert min(outcomes) > 200  # neither is all that was tried


def refusals(seed: int) -> list[str]:
    """What is said of forged blocks that are not read."""
    rng = np.random.default_rng(seed)
    data, found = packed(random_rows(3)), []
    for _ in range(500):
        try:
            block = Block(spoiled(data, rng), "block 3000")
            fill_block(block, HOME, MINUTE, some_columns(block.rows), 0, block.rows)
        except StoreDamaged as error:
            found.append(str(error))
    return found


@pytest.mark.parametrize("compiled", [True, False])
def test_forged_blocks_are_refused_by_name(plainly: Callable[[], None], compiled: bool) -> None:
    """Either way a block that cannot be read is an error that names it, never one of numpy's."""
    if not compiled:
        plainly()
    found = refusals(6)
    assert len(found) > 80
    assert all("block 3000 is damaged" in each for each in found)


def test_kernel_refuses_rows_of_another_block(kernel: Kernel) -> None:
    """Rows before the block, out of order, or none at all are not packed."""
    rows = random_rows(7)[:2]
    room = kernel.room(4)
    for wrong, start in ((rows, START + 10 * MINUTE.nominal), (rows[::-1], START), (rows[:0], START)):
        with pytest.raises(UsageError, match="not one block"):
            kernel.encode(wrong, start, MINUTE.nominal, room)


def test_packer_serves_threads(kernel: Kernel) -> None:
    """Blocks packed at once by several threads are those packed one after the other."""
    del kernel
    parts = [random_rows(seed) for seed in range(12)]
    packer = Packer(MINUTE)
    tasks = [lambda part=part: packer.pack(part, HOME) for part in parts]
    assert in_threads(tasks, 1, 0) == [packed(part) for part in parts]


def test_in_threads_raises_what_a_task_raised() -> None:
    """The first failure is raised, in whichever thread it happened."""

    def fail() -> int:
        raise StoreDamaged("as told")

    with pytest.raises(StoreDamaged, match="as told"):
        in_threads([lambda: 1, fail, lambda: 2, fail], 1, 0)


def test_source_and_targets_agree() -> None:
    """Columns of `ROW` are given to the kernel in the order of a block, whatever order they are asked for in."""
    columns = some_columns(3)
    table = targets({name: columns[name] for name in reversed(ROW.names)})
    names = ("open_time", *COLUMNS[1:], "series")
    assert table[:, 0].tolist() == [columns[name].ctypes.data for name in names]
    assert table[:, 1].tolist() == [ROW[name].itemsize for name in names]
    assert int(Source.ARCHIVE) == 3


def test_kernel_makes_rows_of_columns(kernel: Kernel) -> None:
    """Rows made of columns have their bits, whatever the columns' strides; columns of different lengths make none."""
    for count in (0, 1, 7, 5_000):
        bits = np.random.default_rng(count).integers(0, 2**64, (len(ROW.names), 2 * count), np.uint64)
        columns = {name: line.view(ROW[name])[::2] for name, line in zip(ROW.names[2:], bits, strict=False)}
        rows = kernel.rows(9, Source.REST, columns)
        assert (rows["series"] == 9).all()
        assert (rows["source"] == int(Source.REST)).all()
        for name in ROW.names[2:]:
            assert rows[name].tobytes() == columns[name].tobytes()
    with pytest.raises(UsageError, match="different lengths"):
        kernel.rows(9, Source.REST, columns | {"trades": columns["trades"][1:]})
