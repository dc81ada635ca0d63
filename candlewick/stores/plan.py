"""What a read is made of: slices of blocks and rows of the journal, in order of time."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from candlewick.market import Interval
from candlewick.stores import rule
from candlewick.stores.blocks.decode import Block
from candlewick.stores.blocks.kernel import Jobs, Kernel, loaded
from candlewick.stores.blocks.kernel import targets as addresses
from candlewick.stores.blocks.layout import HEADER
from candlewick.stores.blocks.parallel import in_threads
from candlewick.stores.grid import BLOCK_SLOTS, block_of, blocks, slot_starts
from candlewick.stores.store import Rows
from candlewick.stores.tables import BLOCK_KEY, Targets, block_rows, block_times, explain, fill_block, jobs

_PARALLEL_ROWS = 50_000
_TOGETHER = 16  # blocks one task reads: a megabyte of each column
_LAST_BLOCK = (1 << 63) - 1
_FOREVER = (1 << 63) - 1


class Piece(NamedTuple):
    """Consecutive rows: `rows` as they are, or `length` rows of a block from `first` on."""

    length: int
    rows: "Rows | None" = None
    block: Block | None = None
    number: int = 0
    first: int = 0

    def newest(self, count: int) -> "Piece":
        """Only the last `count` rows of it."""
        gone = self.length - count
        if gone <= 0:
            return self
        if self.rows is not None:
            return self._replace(length=count, rows=self.rows[gone:])
        return self._replace(length=count, first=self.first + gone)


class Plan:
    """Finds the pieces of one series in one snapshot. `recent` are its rows in the journal, by time."""

    def __init__(self, txn: Any, database: Any, where: str, number: int, interval: Interval, recent: Rows) -> None:  # noqa: ANN401  # lmdb's own
        self._txn = txn
        self._database = database
        self._where = where
        self._number = number
        self._interval = interval
        self._recent = recent
        self._start = 0
        self._end = _FOREVER
        self._edges = (0, _LAST_BLOCK)  # only the outermost blocks may have rows outside the range

    def pieces(self, start: int | None, end: int | None, last: int | None) -> list[Piece]:
        """The pieces that open in `[start, end)`, or the newest `last` rows of them.

        Raises:
            StoreDamaged: a block is not what was written.
        """
        self._start = max(0, start or 0)
        self._end = _FOREVER if end is None else end
        if self._end <= self._start or (last is not None and last <= 0):
            return []
        with self._txn.cursor(db=self._database) as cursor:
            first = block_of(self._interval, self._start)
            final = _LAST_BLOCK if end is None else block_of(self._interval, end - 1)
            if last is not None:
                first = self._first_needed(cursor, first, final, last)
            self._edges = (first, final)
            pieces = self._merged(self._stored(cursor, first, final))
        return pieces if last is None else _newest(pieces, last)

    def _first_needed(self, cursor: Any, first: int, final: int, last: int) -> int:  # noqa: ANN401  # lmdb's own
        """The block from which on there are surely `last` rows, and `_start` moved there; `first` if there are not."""
        wanted = last
        beyond = cursor.set_range(BLOCK_KEY.pack(self._number, final + 1))
        found = cursor.prev() if beyond else cursor.last()
        while found:
            series, block = BLOCK_KEY.unpack(cursor.key())
            if series != self._number or block < first:
                break
            if block != final:  # how many of that one open before the end is not known yet
                wanted -= HEADER.unpack_from(cursor.value())[-1]
            if wanted <= 0:
                slot = np.array([block * BLOCK_SLOTS], np.int64)
                self._start = max(self._start, int(slot_starts(self._interval, slot)[0]))
                return int(block)
            found = cursor.prev()
        return first

    def _stored(self, cursor: Any, first: int, final: int) -> Iterator[tuple[int, Block]]:  # noqa: ANN401  # lmdb's own
        if not cursor.set_range(BLOCK_KEY.pack(self._number, first)):
            return
        for key, data in cursor:
            series, number = BLOCK_KEY.unpack(key)
            if series != self._number or number > final:
                return
            yield number, Block(data, self._where, number)

    def _merged(self, stored: Iterator[tuple[int, Block]]) -> list[Piece]:
        times = self._recent["open_time"]
        low, high = np.searchsorted(times, (self._start, self._end))
        recent = self._recent[low:high]
        homes = blocks(self._interval, times[low:high])
        pieces = []
        done = 0
        for number, block in stored:
            if not len(homes) and number not in self._edges:  # as most are in a long history
                pieces.append(Piece(block.rows, None, block, number))
                continue
            before, inside = np.searchsorted(homes, (number, number + 1)) if len(homes) else (0, 0)
            if before > done:
                pieces.append(Piece(int(before - done), recent[done:before]))
            pieces += self._block_pieces(number, block, recent[before:inside])
            done = inside
        if done < len(recent):
            pieces.append(Piece(len(recent) - int(done), recent[done:]))
        return pieces

    def _block_pieces(self, number: int, block: Block, recent: Rows) -> list[Piece]:
        first, end = 0, block.rows
        if len(recent) or number in self._edges:
            times = block_times(block, number, self._interval)
            first, end = (int(at) for at in np.searchsorted(times, (self._start, self._end)))
            if len(recent) and first < end and recent["open_time"][0] <= times[end - 1]:
                rows = rule.overlay(block_rows(block, number, self._interval, self._number, first, end), recent)
                return [Piece(len(rows), rows)]
        pieces = [Piece(end - first, None, block, number, first)] if first < end else []
        return [*pieces, Piece(len(recent), recent)] if len(recent) else pieces


def fill(pieces: list[Piece], targets: Targets, number: int, interval: Interval) -> None:
    """Write the columns of all pieces, one after the other, into `targets`.

    Raises:
        StoreDamaged: a block is not what was written.
    """
    kernel = loaded() if interval.is_fixed else None
    tasks: list[Callable[[], None]] = []
    stored: list[tuple[int, Piece, Block]] = []
    at = 0
    for piece in pieces:
        block = piece.block
        if block is None:
            assert piece.rows is not None
            tasks.append(partial(_copy, piece.rows, _part(targets, at, piece.length)))
        elif kernel is None:
            end, part = piece.first + piece.length, _part(targets, at, piece.length)
            tasks.append(partial(fill_block, block, piece.number, interval, part, piece.first, end, number))
        else:
            stored.append((at, piece, block))
        at += piece.length
    if kernel is not None and stored:
        begins, parts, held = zip(*stored, strict=True)
        firsts = [piece.first for piece in parts]
        ends = [piece.first + piece.length for piece in parts]
        table = jobs(interval, held, [piece.number for piece in parts], begins, firsts, ends)
        columns = addresses(targets)
        for first in range(0, len(table), _TOGETHER):
            some = slice(first, first + _TOGETHER)
            tasks.append(partial(_read, kernel, table[some], columns, held[some], targets, interval.nominal, number))
    in_threads(tasks, at, _PARALLEL_ROWS)


def _part(targets: Targets, at: int, length: int) -> Targets:
    return {name: target[at : at + length] for name, target in targets.items()}


def _copy(rows: Rows, targets: Targets) -> None:
    for name, target in targets.items():
        target[:] = rows[name]


def _read(
    kernel: Kernel,
    table: Jobs,
    columns: npt.NDArray[np.int64],
    held: Sequence[Block],
    targets: Targets,
    length: int,
    number: int,
) -> None:
    done = kernel.read(table, columns, length, number)
    if done < len(table):
        raise explain(held[done], targets)


def _newest(pieces: list[Piece], last: int) -> list[Piece]:
    kept = []
    for piece in reversed(pieces):
        if last <= 0:
            break
        kept.append(piece.newest(last))
        last -= piece.length
    return kept[::-1]
