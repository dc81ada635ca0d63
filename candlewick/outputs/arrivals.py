"""What was stored and is not in an output yet: the newest rows themselves, and since when the oldest waits."""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from candlewick.stores.rule import rounds
from candlewick.stores.store import Rows

MOST_ROWS = 50_000
"""Rows that wait in memory; beyond that they are read from the store again."""
_MOST_TIMES = 20_000


class _Stored(NamedTuple):
    sequence: int
    rows: "Rows | None"
    size: int


class Arrivals:
    """Told on the event loop, right after each commit."""

    def __init__(self) -> None:
        self.rows = 0
        """How many rows wait in memory."""
        self._stored: deque[_Stored] = deque()
        self._times: deque[tuple[int, float, int]] = deque()

    def add(self, rows: "Rows | None", sequence: int, at: float) -> None:
        """Rows were kept under this sequence; None: read them from the store."""
        count = 1 if rows is None else len(rows)
        self._times.append((sequence, at, count))
        if len(self._times) > _MOST_TIMES:  # how long the oldest waits stays right
            self._times = deque(list(self._times)[::2])
        if self.rows + count > MOST_ROWS:
            self._stored.clear()
            self.rows = 0
        if count <= MOST_ROWS:
            self._stored.append(_Stored(sequence, rows, count))
            self.rows += count

    def note(self, sequence: int, at: float) -> None:
        """Something that was stored before this process looked waits since then."""
        self._times.appendleft((sequence, at, 0))

    @property
    def since(self) -> float | None:
        """When the oldest that waits came."""
        return self._times[0][1] if self._times else None

    def following(self, sequence: int) -> tuple[list[Rows], int]:
        """Rows of the writes right after `sequence`, and the sequence of the last of these; none: read the store."""
        parts: list[Rows] = []
        for one in self._stored:
            if one.sequence <= sequence:
                continue
            if one.sequence != sequence + 1 or one.rows is None:
                break
            parts.append(one.rows)
            sequence = one.sequence
        return parts, sequence

    def passed(self, sequence: int) -> Iterator[tuple[float, int]]:
        """Forget all up to `sequence`; gives when it came, and how many rows."""
        while self._stored and self._stored[0].sequence <= sequence:
            self.rows -= self._stored.popleft().size
        while self._times and self._times[0][0] <= sequence:
            _, at, count = self._times.popleft()
            yield at, count


def merged(parts: list[Rows]) -> Rows:
    """Rows of some writes, none of them twice, by series, then time."""
    (rows,) = rounds(parts[0] if len(parts) == 1 else np.concatenate(parts))
    return rows
