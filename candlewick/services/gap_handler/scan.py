"""The gap handler's own search: every series is looked through for holes, and every open row of the log is looked after.

Of all gap handlers at a database one searches at a time, and only when nobody has for a while.
"""

from collections.abc import Awaitable, Callable, Sequence

from candlewick.clock import SECOND, Clock
from candlewick.integrity.gaps import missing_spans
from candlewick.integrity.spans import without
from candlewick.market import Market, Series, Span
from candlewick.services.gap_handler.backfill import Backfiller
from candlewick.services.gap_handler.book import Book
from candlewick.services.gap_handler.shared import SharedRecorder
from candlewick.stores.store import Reason, SeriesInfo

FRESH = 0.5
"""Part of the interval between searches for which one of somebody else is as good as one's own."""


SOON_S = 10.0
"""While somebody else searches, it is looked again so soon whether they did."""


class Scan:
    """Looks for holes, has them logged, and hands them on."""

    def __init__(
        self, recorder: SharedRecorder, book: Book, backfiller: Backfiller, *, clock: Clock, market: Market,
        wanted: Sequence[Series], every_s: float, late_s: float, request: Callable[[Series, Sequence[Span]], None],
        unfilled: Callable[[], Awaitable[tuple[frozenset[Series], list[Span]]]],
    ) -> None:  # fmt: skip
        """`wanted` are watched to their very end, where a candle is missing that should have come `late_s` ago.

        `unfilled`: series, and the spans of them that somebody is about to fill anyway.
        """
        self._recorder, self._book, self._backfiller, self._clock = recorder, book, backfiller, clock
        self._market, self._wanted, self._every_s, self._late_s = market, frozenset(wanted), every_s, late_s
        self._request, self._unfilled = request, unfilled
        self._key = f"gap_handler:scanned:{market}"
        self.scanned_at: int | None = None
        """When the last search ended, whoever made it."""

    async def run_once(self) -> float:
        """Search, unless somebody else does or has just done so; returns in how many seconds to look again.

        Raises:
            StoreDown: the database does not answer.
        """
        claim = await self._book.claim(f"scan:{self._market}")
        if claim is None:
            return min(SOON_S, self._every_s)
        try:
            kept = await self._recorder.on_store(self._recorder.store.state, self._key)
            self.scanned_at = int(kept) if kept and kept.isdigit() else None
            age_s = None if self.scanned_at is None else (self._clock.now() - self.scanned_at) / SECOND
            if age_s is not None and 0 <= age_s < self._every_s * FRESH:
                return self._every_s - age_s
            await self.search()
            self.scanned_at = self._clock.now()
            await self._recorder.on_store(self._recorder.store.set_state, self._key, str(self.scanned_at).encode())
            return self._every_s
        finally:
            await claim.release()

    async def search(self) -> None:
        """Log every hole and have it repaired; resolve what is accounted for, and ask again for what is not."""
        being_filled, unfilled = await self._unfilled()
        for info in await self._recorder.on_store(self._recorder.store.series):
            if info.series.market != self._market or info.first is None:
                continue
            holes = await self._recorder.on_store(self._holes, info)
            if info.series in being_filled:
                ceil = info.series.interval.ceil
                holes = without(holes, [Span(ceil(one.start), ceil(one.end)) for one in unfilled])
            if holes:
                await self._backfiller.log(info.series, holes, "found by a search")
                self._request(info.series, holes)
        await self._look_after_rows()

    def _holes(self, info: SeriesInfo) -> list[Span]:
        """What is missing between the first candle of a series and its end; most series need only be counted."""
        assert info.first is not None
        assert info.last is not None
        series, interval = info.series, info.series.interval
        end = interval.next(info.last)
        if series in self._wanted:
            end = max(end, interval.floor(self._clock.now() - int(self._late_s * SECOND)))
        span = Span(info.first, end)
        if info.rows == interval.count(span):
            return []
        store = self._recorder.store
        held = store.columns(series, *span, columns=["open_time"])["open_time"]
        reasons = [one for one in store.absences(series) if one.reason is not Reason.PENDING]
        return missing_spans(held, interval, span, reasons)

    async def _look_after_rows(self) -> None:
        """Rows of whoever wrote them: a feeder, a statement of SQL, this process before it was restarted."""
        by_series: dict[Series, list[Span]] = {}
        for gap in await self._book.unresolved():
            interval = gap.series.interval
            span = Span(interval.ceil(gap.span.start), interval.ceil(gap.span.end))
            by_series.setdefault(gap.series, []).append(span)
        for series, spans in by_series.items():
            await self._backfiller.settle(series)
            over = series.interval.floor(self._clock.now())
            left = [
                hole
                for one in spans
                if one.start < min(one.end, over)
                for hole in await self._backfiller.missing(series, Span(one.start, min(one.end, over)))
            ]
            if left:
                self._request(series, left)
