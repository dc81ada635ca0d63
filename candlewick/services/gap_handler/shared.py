"""The recorder of a store that is a shared database: series come as they are asked for, and every answer is timed."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import numpy as np

from candlewick.clock import Clock
from candlewick.errors import StoreError
from candlewick.events import Event
from candlewick.integrity.rules import Broken
from candlewick.market import Series
from candlewick.services.recorder import MOST_ASIDE, Recorder
from candlewick.stores.postgres.failures import is_rows_fault
from candlewick.stores.store import Quarantined, Rows, Source, Store, WriteResult

T = TypeVar("T")

REFUSED = "refused_by_database"
"""The rule that a row breaks which the database does not take: a constraint of its own, a trigger."""


class SharedRecorder(Recorder):
    """A recorder that begins without any series; nothing of it asks the store on the event loop."""

    def __init__(
        self, store: Store, clock: Clock, tell: Callable[[Event], None], timed: Callable[[], AbstractContextManager[None]]
    ) -> None:  # fmt: skip
        """`timed` surrounds every call of the store."""
        super().__init__(store, [], clock=clock, tell=tell, on_rejected=lambda _: None)
        self._timed = timed
        self._refused: list[tuple[Rows, str]] = []
        self._kept_aside: set[tuple[int, int]] = set()
        self.refusals: dict[Series, str] = {}
        """By series, the database's last words about a row that it does not take."""

    async def follow(self, series: Series) -> None:
        """Have rows of a series taken.

        Raises:
            StoreDown: the database does not answer.
        """
        if series not in self.numbers:
            number = await self.on_store(self.store.number, series)
            self._series[number] = series
            self._grids.add(number, series.interval)
            self.numbers[series] = number

    async def on_store(self, call: Callable[..., T], *args: object) -> T:
        """See `Recorder.on_store`."""

        def timed() -> T:
            with self._timed():
                return call(*args)

        return await super().on_store(timed)

    @property
    def duplicates(self) -> int:
        """Rows that came and were held already, with the same values."""
        settled = self.from_rest - sum(len(page.rows) for page in self._pages) - self._committing
        return max(0, settled - self.written - self.revised - self.refused - self.rejected)

    def _write(self, rows: Rows) -> WriteResult:
        """Write rows; one that the database refuses for what it holds is found by halving, and keeps back no other."""
        self._refused = []
        return self._write_apart(rows)

    def _write_apart(self, rows: Rows) -> WriteResult:
        try:
            return super()._write(rows)
        except StoreError as error:
            if error.__cause__ is None or not is_rows_fault(error.__cause__):
                raise
            if len(rows) == 1:
                self._refused.append((rows, str(error)))
                return WriteResult(0, 0, 0, (), ())
        middle = len(rows) // 2
        one, other = self._write_apart(rows[:middle]), self._write_apart(rows[middle:])
        return WriteResult(
            one.inserted + other.inserted, one.confirmed + other.confirmed, one.unchanged + other.unchanged,
            one.changed + other.changed, one.refused + other.refused,
        )  # fmt: skip

    def _settle(self, result: WriteResult, rows: Rows, broken: list[Broken], pages: list[Any]) -> None:
        """What the database refused is treated as what broke a rule: it stays missing, and is no absence."""
        for row, words in self._refused:
            key = number, _ = int(row["series"][0]), int(row["open_time"][0])
            series, source = self._series[number], Source(int(row["source"][0])).name.lower()
            self.refusals[series] = words
            if key not in self._kept_aside:  # it is asked for again and again
                if len(self._kept_aside) == MOST_ASIDE:
                    self._kept_aside.clear()
                self._kept_aside.add(key)
                text = f"{words} {row[0].tolist()!r}".encode()
                self.keep_aside(Quarantined(str(series), REFUSED, source, self._clock.now(), text))
            same = (rows["series"] == row["series"]) & (rows["open_time"] == row["open_time"])
            broken = [*broken, *(Broken(int(index), REFUSED) for index in np.flatnonzero(same))]
        super()._settle(result, rows, broken, pages)
