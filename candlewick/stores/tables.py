"""Keys and small records of the LMDB databases, and a block's way between bytes and rows."""

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from candlewick.errors import StoreDamaged
from candlewick.market import Interval, Series
from candlewick.stores.blocks.decode import Block
from candlewick.stores.blocks.encode import encode
from candlewick.stores.blocks.kernel import JOB, Jobs, Room, address, loaded
from candlewick.stores.blocks.kernel import targets as addresses
from candlewick.stores.grid import BLOCK_SLOTS, Int64s, slot_starts, slots
from candlewick.stores.store import ROW, Rows

NUMBER_KEY = struct.Struct(">I")
BLOCK_KEY = struct.Struct(">IQ")
SEQUENCE_KEY = struct.Struct(">Q")
REVISION_KEY = struct.Struct(">IQQ")
TOTALS = np.dtype([("rows", "<i8"), ("first", "<i8"), ("last", "<i8"), ("folded", "<i8")])
"""Of a series' blocks: rows, first and last open time (-1: none), and the journal entry that they hold everything to."""

NO_TOTALS = (0, -1, -1, 0)
Totals = npt.NDArray[np.void]
Targets: TypeAlias = Mapping[str, npt.NDArray[Any]]


def read_series(txn: Any, database: Any, known: int) -> list[Series]:  # noqa: ANN401  # lmdb's own
    """The series from number `known` on."""
    found = []
    with txn.cursor(db=database) as cursor:
        if cursor.set_range(NUMBER_KEY.pack(known)):
            found = [Series.parse(str(text, "ascii")) for _, text in cursor]
    return found


def read_totals(txn: Any, database: Any, number: int) -> Totals:  # noqa: ANN401  # lmdb's own
    """The totals of one series, as an array of one."""
    data = txn.get(NUMBER_KEY.pack(number), db=database)
    return np.array([NO_TOTALS], TOTALS) if data is None else np.frombuffer(bytes(data), TOTALS)


def block_times(block: Block, number: int, interval: Interval) -> Int64s:
    """The open times of all rows of block `number`."""
    times = np.empty(block.rows, np.int64)
    fill_block(block, number, interval, {"open_time": times}, 0, block.rows)
    return times


def block_rows(block: Block, number: int, interval: Interval, series: int, first: int, end: int) -> Rows:
    """Rows `first` to `end` of block `number` of a series, whole."""
    rows = np.empty(end - first, ROW)
    fill_block(block, number, interval, {name: rows[name] for name in ROW.names or ()}, first, end, series)
    return rows


def fill_block(
    block: Block, number: int, interval: Interval, targets: Targets, first: int, end: int, series: int = 0
) -> None:
    """Write columns of rows `first` to `end` of block `number` into `targets`, by name.

    Raises:
        StoreDamaged: the block is not what was written.
    """
    kernel = loaded()
    if first == end or not targets:
        return
    if kernel is None or not interval.is_fixed:
        _fill_plainly(block, number, interval, dict(targets), first, end, series)
        return
    table = jobs(interval, [block], [number], [0], [first], [end])
    if not kernel.read(table, addresses(targets), interval.nominal, series):
        raise explain(block, targets)


def jobs(
    interval: Interval,
    blocks: Sequence[Block],
    numbers: Sequence[int],
    to: Sequence[int],
    first: Sequence[int],
    end: Sequence[int],
) -> Jobs:
    """One `JOB` for each block: its rows `first` to `end` go to row `to` of the targets and on."""
    table = np.empty(len(blocks), JOB)
    table["data"] = [address(block.data) for block in blocks]
    table["size"] = [block.size for block in blocks]
    table["to"], table["first"], table["end"] = to, first, end
    table["start"] = np.array(numbers, np.int64) * (BLOCK_SLOTS * interval.nominal) + interval.floor(0)
    return table


def explain(block: Block, columns: Iterable[str]) -> StoreDamaged:
    """What is wrong with a block that the kernel would not read."""
    try:
        block.slots()
        for name in columns:
            if name not in {"series", "open_time"}:
                block.fill({name: np.empty(block.rows, ROW[name])})
        block.offsets()
    except StoreDamaged as error:
        return error
    return block.senseless("what they say of themselves does not fit together")


class Packer:
    """Makes blocks of one interval. Threads may share it; what they work in is used again while it lives."""

    def __init__(self, interval: Interval) -> None:
        self._interval = interval
        self._kernel = loaded() if interval.is_fixed else None
        self._rooms: list[Room] = []

    def pack(self, rows: Rows, number: int) -> bytes:
        """The bytes of block `number`, read back and compared before anybody relies on them.

        Raises:
            StoreDamaged: they do not read back as they are; nothing was written.
            UsageError: there are more rows than a block can count.
        """
        interval = self._interval
        if self._kernel is None:
            return self._pack_plainly(rows, number)
        try:
            room = self._rooms.pop()
        except IndexError:
            room = None
        if room is None or room.rows < len(rows):
            room = self._kernel.room(len(rows))
        start = number * BLOCK_SLOTS * interval.nominal + interval.floor(0)
        data = self._kernel.encode(rows, start, interval.nominal, room)
        self._rooms.append(room)
        return data

    def _pack_plainly(self, rows: Rows, number: int) -> bytes:
        times = np.ascontiguousarray(rows["open_time"])
        at = slots(self._interval, times)
        data = encode(rows, at - number * BLOCK_SLOTS, times - slot_starts(self._interval, at))
        name = f"block {number} of series {rows['series'][0]}"
        again = block_rows(Block(data, name), number, self._interval, int(rows["series"][0]), 0, len(rows))
        if again.tobytes() != rows.tobytes():
            raise StoreDamaged(f"{name} does not read back as it is: report this")
        return data


def _fill_plainly(
    block: Block,
    number: int,
    interval: Interval,
    targets: dict[str, npt.NDArray[Any]],
    first: int,
    end: int,
    series: int,
) -> None:
    close_times = targets.get("close_time")
    open_times = targets.pop("open_time", None)
    numbers = targets.pop("series", None)
    block.fill(targets, first, end)
    if numbers is not None:
        numbers[:] = series
    if open_times is not None or close_times is not None:
        times = slot_starts(interval, block.slots(first, end) + number * BLOCK_SLOTS)
        offsets = block.offsets(first, end)
        if offsets is not None:
            times = times + offsets
        if open_times is not None:
            open_times[:] = times
        if close_times is not None:
            close_times += times
