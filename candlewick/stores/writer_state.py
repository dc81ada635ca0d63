"""What the writer remembers so that the usual write, rows newer than all that is held, needs no look at the disk."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from candlewick.market import Series
from candlewick.stores.change_log import APART, LogState, range_of
from candlewick.stores.environment import CHANGES
from candlewick.stores.grid import Int64s
from candlewick.stores.journal import Journal
from candlewick.stores.tables import NO_TOTALS, TOTALS, Totals, read_series, read_totals


class _Mark(NamedTuple):
    size: int
    last: int
    totals: Totals
    newest: Int64s
    log: LogState


class WriterState:
    """Series by number, their totals and newest open times, and the journal. A few hundred bytes a series."""

    def __init__(self) -> None:
        self.series: list[Series] = []
        self.numbers: dict[Series, int] = {}
        self.totals: Totals = np.empty(0, TOTALS)
        self.newest: Int64s = np.empty(0, np.int64)
        """The newest open time held of each series; -1 for none."""
        self.journal = Journal()
        self.log = LogState(0, 1)
        self.apart: Int64s = np.empty(0, np.int64)
        """The distance of open times that parts entries of the log of changes, by series."""

    def load(self, txn: Any, databases: dict[str, Any]) -> None:  # noqa: ANN401  # lmdb's own
        """Become what the store holds."""
        for series in read_series(txn, databases["series"], 0):
            self.add(series)
        for number in range(len(self.series)):
            self.totals[number] = read_totals(txn, databases["totals"], number)[0]
        self.journal.refresh(txn, databases["journal"])
        # After a complete fold the journal is empty, but its numbers must go on.
        self.journal.last = max(self.journal.last, int(self.totals["folded"].max(initial=0)))
        self.newest[:] = self.totals["last"]
        self.log = LogState.after(range_of(txn, databases["meta"], databases.get(CHANGES)).last)
        view = self.journal.view()
        np.maximum.at(self.newest, view.numbers, view.rows["open_time"])

    def add(self, series: Series) -> int:
        """Give the series the next number."""
        number = len(self.series)
        self.series.append(series)
        self.numbers[series] = number
        self.totals = np.append(self.totals, np.array([NO_TOTALS], TOTALS))
        self.newest = np.append(self.newest, -1)
        self.apart = np.append(self.apart, APART * series.interval.nominal)
        return number

    def mark(self) -> _Mark:
        """Remember how it stands."""
        return _Mark(self.journal.size, self.journal.last, self.totals.copy(), self.newest.copy(), self.log)

    def rollback(self, mark: _Mark) -> None:
        """Become again what it was; nothing may have been dropped from the journal since."""
        self.journal.truncate(mark.size, mark.last)
        self.totals[:] = mark.totals
        self.newest[:] = mark.newest
        self.log = mark.log

    def pending(self) -> npt.NDArray[np.int64]:
        """Rows in the journal that are not in blocks, for each series."""
        view = self.journal.view()
        live = view.numbers[view.sequences > self.totals["folded"][view.numbers]]
        return np.bincount(live, minlength=len(self.series))
