"""What a read is made of: slices of blocks and rows of the journal, in order of time."""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from candlewick.market import Interval
from candlewick.stores import rule
from candlewick.stores.blocks.decode import Block
from candlewick.stores.blocks.layout import HEADER
from candlewick.stores.grid import BLOCK_SLOTS, block_of, blocks, slot_starts
from candlewick.stores.store import Rows
from candlewick.stores.tables import BLOCK_KEY, block_rows, block_times

_PARALLEL_ROWS = 50_000
_THREADS = min(4, os.cpu_count() or 1)
_LAST_BLOCK = (1 << 63) - 1
_FOREVER = (1 << 63) - 1

Targets = Mapping[str, npt.NDArray[Any]]


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
            yield number, Block(data, f"block {number} of {self._where}")

    def _merged(self, stored: Iterator[tuple[int, Block]]) -> list[Piece]:
        times = self._recent["open_time"]
        low, high = np.searchsorted(times, (self._start, self._end))
        recent = self._recent[low:high]
        homes = blocks(self._interval, times[low:high])
        pieces = []
        done = 0
        for number, block in stored:
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
                rows = rule.overlay(block_rows(block, times, self._number, first, end), recent)
                return [Piece(len(rows), rows)]
        pieces = [Piece(end - first, None, block, number, first)] if first < end else []
        return [*pieces, Piece(len(recent), recent)] if len(recent) else pieces


def fill(pieces: list[Piece], targets: Targets, number: int, interval: Interval) -> None:
    """Write the columns of all pieces, one after the other, into `targets`."""
    count = sum(piece.length for piece in pieces)
    if count < _PARALLEL_ROWS or _THREADS == 1:
        _fill_from(pieces, 0, targets, number, interval)
        return
    shares: list[tuple[int, list[Piece]]] = []
    at = 0
    for piece in pieces:
        if at >= len(shares) * count / _THREADS:
            shares.append((at, []))
        shares[-1][1].append(piece)
        at += piece.length
    with ThreadPoolExecutor(_THREADS) as pool:
        for done in [pool.submit(_fill_from, share, at, targets, number, interval) for at, share in shares]:
            done.result()


def _fill_from(pieces: list[Piece], at: int, targets: Targets, number: int, interval: Interval) -> None:
    for piece in pieces:
        part = {name: target[at : at + piece.length] for name, target in targets.items()}
        if piece.rows is not None:
            for name, target in part.items():
                target[:] = piece.rows[name]
        else:
            _fill_block(piece, part, number, interval)
        at += piece.length


def _fill_block(piece: Piece, targets: dict[str, npt.NDArray[Any]], number: int, interval: Interval) -> None:
    block, end = piece.block, piece.first + piece.length
    assert block is not None
    close_times = targets.get("close_time")
    open_times = targets.pop("open_time", None)
    numbers = targets.pop("series", None)
    block.fill(targets, piece.first, end)
    if numbers is not None:
        numbers[:] = number
    if open_times is not None or close_times is not None:
        times = block_times(block, piece.number, interval, piece.first, end)
        if open_times is not None:
            open_times[:] = times
        if close_times is not None:
            close_times += times


def _newest(pieces: list[Piece], last: int) -> list[Piece]:
    kept = []
    for piece in reversed(pieces):
        if last <= 0:
            break
        kept.append(piece.newest(last))
        last -= piece.length
    return kept[::-1]
