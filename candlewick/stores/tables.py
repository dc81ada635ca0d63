"""Keys and small records of the LMDB databases, and a block's way between bytes and rows."""

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from candlewick.errors import StoreDamaged
from candlewick.market import Interval, Series
from candlewick.stores.blocks.decode import Block
from candlewick.stores.blocks.encode import encode
from candlewick.stores.grid import BLOCK_SLOTS, Int64s, slot_starts, slots
from candlewick.stores.store import ROW, Rows

NUMBER_KEY = struct.Struct(">I")
BLOCK_KEY = struct.Struct(">IQ")
SEQUENCE_KEY = struct.Struct(">Q")
REVISION_KEY = struct.Struct(">IQQ")
TOTALS = np.dtype([("rows", "<i8"), ("first", "<i8"), ("last", "<i8"), ("folded", "<i8")])
"""Of a series' blocks: rows, first and last open time (-1: none), and the journal entry that they hold everything to."""

NO_TOTALS = (0, -1, -1, 0)
_COLUMNS = tuple(name for name in ROW.names or () if name not in {"series", "open_time"})

Totals = npt.NDArray[np.void]


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


def block_times(block: Block, number: int, interval: Interval, start: int = 0, end: int | None = None) -> Int64s:
    """The open times of rows `start` to `end` of block `number`."""
    times = slot_starts(interval, block.slots(start, end) + number * BLOCK_SLOTS)
    offsets = block.offsets(start, end)
    return times if offsets is None else times + offsets


def block_rows(block: Block, times: Int64s, series: int, first: int, end: int) -> Rows:
    """Rows `first` to `end` of a block whose open times are `times`."""
    rows = np.empty(end - first, ROW)
    rows["series"] = series
    rows["open_time"] = times[first:end]
    block.fill({name: rows[name] for name in _COLUMNS}, first, end)
    rows["close_time"] += times[first:end]
    return rows


def pack_block(rows: Rows, number: int, interval: Interval) -> bytes:
    """The bytes of block `number`, read back and compared before anybody relies on them.

    Raises:
        StoreDamaged: they do not read back as they are; nothing was written.
    """
    times = np.ascontiguousarray(rows["open_time"])
    at = slots(interval, times)
    data = encode(rows, at - number * BLOCK_SLOTS, times - slot_starts(interval, at))
    block = Block(data, f"block {number} of series {rows['series'][0]}")
    again = block_rows(block, block_times(block, number, interval), int(rows["series"][0]), 0, block.rows)
    if again.tobytes() != rows.tobytes():
        raise StoreDamaged(f"block {number} of series {rows['series'][0]} does not read back as it is: report this")
    return data
