"""What is to be repaired as soon as there is a place for it, series by series."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from candlewick.integrity.spans import join
from candlewick.market import Series, Span


class Todo:
    """Spans by series; those of one series are joined, and handed out together, to one worker at a time."""

    def __init__(self) -> None:
        self._spans: dict[Series, list[Span]] = {}
        self._busy: set[Series] = set()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._spans)

    def add(self, series: Series, spans: Sequence[Span]) -> None:
        """Have spans of a series repaired."""
        self._spans[series] = join([*self._spans.get(series, []), *spans])
        self._changed.set()

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[tuple[Series, list[Span]]]:
        """The series that has waited longest and that nobody else is at, once there is one.

        What is added of it meanwhile waits: a second worker would have to wait for the first one, in a place that others
        could use.
        """
        while (series := next((one for one in self._spans if one not in self._busy), None)) is None:
            self._changed.clear()
            await self._changed.wait()
        self._busy.add(series)
        try:
            yield series, self._spans.pop(series)
        finally:
            self._busy.discard(series)
            self._changed.set()
