"""The recorder of a store that is a shared database: series come as they are asked for, and every answer is timed."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from candlewick.clock import Clock
from candlewick.events import Event
from candlewick.market import Series
from candlewick.services.recorder import Recorder
from candlewick.stores.store import Store

T = TypeVar("T")


class SharedRecorder(Recorder):
    """A recorder that begins without any series; nothing of it asks the store on the event loop."""

    def __init__(
        self, store: Store, clock: Clock, tell: Callable[[Event], None], timed: Callable[[], AbstractContextManager[None]]
    ) -> None:  # fmt: skip
        """`timed` surrounds every call of the store."""
        super().__init__(store, [], clock=clock, tell=tell, on_rejected=lambda _: None)
        self._timed = timed

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
