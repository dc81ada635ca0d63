"""What is to be repaired as soon as there is a place for it, series by series."""

import asyncio
from collections.abc import Sequence

from candlewick.integrity.spans import join
from candlewick.market import Series, Span


class Todo:
    """Spans by series; those of one series are joined, and handed out together."""

    def __init__(self) -> None:
        self._spans: dict[Series, list[Span]] = {}
        self._has_some = asyncio.Event()

    def __len__(self) -> int:
        return len(self._spans)

    def add(self, series: Series, spans: Sequence[Span]) -> None:
        """Have spans of a series repaired."""
        self._spans[series] = join([*self._spans.get(series, []), *spans])
        self._has_some.set()

    async def take(self) -> tuple[Series, list[Span]]:
        """The series that has waited longest, once there is one."""
        while not self._spans:
            self._has_some.clear()
            await self._has_some.wait()
        series = next(iter(self._spans))
        return series, self._spans.pop(series)
