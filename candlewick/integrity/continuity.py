"""Whether the trades of a stream are all there, by their ids, which the exchange counts up by one."""

from bisect import bisect_left, bisect_right

from msgspec import Struct

RESTART = 1_000_000
"""An id this far behind is no late one (on the busiest day on record that many trades took 25 minutes): the exchange
has begun to count anew."""

_OPEN_HOLES = 65_536


class Hole(Struct, frozen=True):
    """Ids that were skipped."""

    first_id: int
    count: int


class Continuity:
    """The trade ids of one stream, in the order they come.

    For ids that leave nothing out: `aggTrade` on every market, `trade` on spot. On USD-M self-trade prevention takes
    raw trade ids away.
    """

    __slots__ = ("_ends", "_forgotten", "_starts", "duplicates", "late", "next_id", "restarts")

    next_id: int | None
    """What comes next if nothing is lost; None before the first trade."""
    duplicates: int
    """Trades that had come before."""
    late: int
    """Trades that came after later ones."""
    restarts: int
    """How often the exchange began to count anew."""

    def __init__(self) -> None:
        self.duplicates = self.late = self.restarts = 0
        self.reset()

    def reset(self) -> None:
        """Forget what came: the next id is taken whatever it is."""
        self.next_id = None
        self._forgotten = -1  # ids below it belong to holes too old to remember
        # Open holes as half-open ranges, in order.
        self._starts: list[int] = []
        self._ends: list[int] = []

    @property
    def holes(self) -> list[Hole]:
        """Ids that were skipped and have not come since, oldest first; of very many, the newest."""
        return [Hole(start, end - start) for start, end in zip(self._starts, self._ends, strict=True)]

    def take(self, trade_id: int) -> "bool | Hole":
        """True: the trade is new. A Hole: it is new, and those before it are missing. False: it had come before."""
        if trade_id == self.next_id:
            self.next_id = trade_id + 1
            return True
        return self._take_unexpected(trade_id)

    def is_open(self, hole: Hole) -> bool:
        """Whether something of `hole` is still missing and would be taken if it came."""
        first, last = self._parts(hole)
        return first < last

    def give_up(self, hole: Hole) -> int:
        """Wait no longer for what is missing of `hole`; returns how many of its ids never came.

        Of a hole so old that it is forgotten, all are said to be missing: whatever came of it was not taken.
        """
        if hole.first_id < self._forgotten:
            return hole.count
        first, last = self._parts(hole)
        lost = sum(self._ends[first:last]) - sum(self._starts[first:last])
        del self._starts[first:last], self._ends[first:last]
        return lost

    def _parts(self, hole: Hole) -> tuple[int, int]:
        """What is left of a hole, as indexes of open holes."""
        first = bisect_left(self._starts, hole.first_id)
        return first, max(first, bisect_right(self._ends, hole.first_id + hole.count))

    def _take_unexpected(self, trade_id: int) -> "bool | Hole":
        if self.next_id is None:
            self.next_id = trade_id + 1
            return True
        if trade_id > self.next_id:
            hole = Hole(self.next_id, trade_id - self.next_id)
            self._starts.append(hole.first_id)
            self._ends.append(trade_id)
            if len(self._starts) > _OPEN_HOLES:
                self._forgotten = self._ends.pop(0)
                del self._starts[0]
            self.next_id = trade_id + 1
            return hole
        if self.fill(trade_id):
            self.late += 1
            return True
        if trade_id < self.next_id - RESTART:
            self.restarts += 1
            self.reset()
            self.next_id = trade_id + 1
            return True
        self.duplicates += 1
        return False

    def fill(self, trade_id: int) -> bool:
        """A trade came from elsewhere than the stream; whether it was missing, which it is no longer."""
        index = bisect_right(self._starts, trade_id) - 1
        if index < 0 or trade_id >= self._ends[index]:
            return False
        left = (self._starts[index], trade_id)
        right = (trade_id + 1, self._ends[index])
        parts = [(start, end) for start, end in (left, right) if start < end]
        self._starts[index : index + 1] = [start for start, _ in parts]
        self._ends[index : index + 1] = [end for _, end in parts]
        return True
