"""One record for every gap, kept in the store from when it is found until long after it is closed.

Outputs follow the store, so each gap gets its line in `data_quality_logs` even where the database was down, or the
process ended, between its finding and its repair. A gap is closed by what the store holds, not by what was attempted;
and only once it is seen to be over: minutes that fail to come one after the other, each mended at once, are one gap.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from candlewick.clock import Clock
from candlewick.errors import StoreError
from candlewick.events import Event, GapClosed, GapFound, StoreTrouble
from candlewick.market import DAY, MINUTE, Series, Span
from candlewick.stores.provenance import GapRecord, gap_records, keep_gaps
from candlewick.stores.store import Reason, Store

OVER = 2 * MINUTE
"""A gap that has everything is over when the candle after it is there too, or nothing of it was missed for so long."""
LOOK_SOON_S = 5.0
"""How often it is looked whether that is so."""
KEPT = 30 * DAY
"""Closed gaps are forgotten after so long,"""
MOST = 10_000
"""and the oldest of them where there are more."""
RETRY_S = 5.0


class OnStore(Protocol):
    """Runs a call on the store's own thread."""

    def __call__(self, call: Callable[..., None], *args: object) -> Awaitable[None]:
        """See `Recorder.on_store`."""


class GapsLog:
    """Hears of gaps and keeps their records; the store's thread does all of the work."""

    def __init__(
        self, store: Store, *, clock: Clock, on_store: OnStore, tell: Callable[[Event], None], look_every_s: float
    ) -> None:
        """`look_every_s`: how often open gaps are held against the store though nobody said that they are closed."""
        self._store, self._clock, self._on_store, self._tell = store, clock, on_store, tell
        self._look_every_s = look_every_s
        self._records: dict[Series, list[GapRecord]] | None = None
        self._found: list[tuple[GapFound, int]] = []
        self._found_at: dict[Series, int] = {}
        self._is_ending = False
        self._wake = asyncio.Event()
        self._working = asyncio.Lock()

    def hear(self, event: Event) -> None:
        """Take note of a gap that was found or closed."""
        if isinstance(event, GapFound):
            self._found.append((event, self._clock.now()))
            self._wake.set()
        elif isinstance(event, GapClosed):
            self._wake.set()

    async def run(self) -> None:
        """Keep records until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self.flush()
                wait_s = LOOK_SOON_S if self._is_ending else self._look_every_s
            except StoreError as error:
                wait_s = RETRY_S
                self._tell(StoreTrouble(f"the record of gaps was not kept: {error}", len(self._found), wait_s))
            timer = self._clock.call_later(wait_s, self._wake.set)
            await self._wake.wait()
            timer.cancel()

    async def flush(self) -> None:
        """Keep what was heard, and close what the store now has whole and is over.

        Raises:
            StoreError: it could not be kept; the next call tries again.
        """
        async with self._working:
            await self._on_store(self._work)

    def _work(self) -> None:
        """On the store's thread, which alone touches the records."""
        if self._records is None:
            self._records = {}
            for one in gap_records(self._store):
                self._records.setdefault(Series.parse(one.series), []).append(one)
        heard = list(self._found)
        after = {series: list(records) for series, records in self._records.items()}
        for event, at in heard:
            after[event.series] = _joined(after.get(event.series, []), event, at)
            self._found_at[event.series] = at
        self._is_ending = False
        for series, records in after.items():
            after[series] = [self._settled(series, one) for one in records]
        after = self._trimmed(after)
        held = {one for records in self._records.values() for one in records}
        wanted = {one for records in after.values() for one in records}
        if held != wanted:
            keep_gaps(self._store, wanted - held, held - wanted)
        self._records = after
        del self._found[: len(heard)]

    def _settled(self, series: Series, record: GapRecord) -> GapRecord:
        """The record, closed where the store now accounts for every one of its grid times, and it is over."""
        if record.closed_at is not None:
            return record
        held = len(self._store.read(series, *record.span, columns=["open_time"]))
        reasons = [one.span for one in self._store.absences(series) if one.reason is not Reason.PENDING]
        absent = sum(series.interval.count(part) for one in reasons if (part := _common(one, record.span)) is not None)
        if held + absent < record.candles:
            return record
        now, after = self._clock.now(), Span(record.span.end, series.interval.next(record.span.end))
        if now - self._found_at.get(series, 0) < OVER and not len(
            self._store.read(series, *after, columns=["open_time"])
        ):
            self._is_ending = True
            return record
        absent = record.candles - held  # a reason may cover what came all the same
        return GapRecord(
            record.series,
            record.span,
            record.candles,
            record.detected_at,
            record.cause,
            max(now, record.detected_at),  # a clock that was put back since then must not have it end before it began
            held,
            absent,
        )

    def _trimmed(self, records: dict[Series, list[GapRecord]]) -> dict[Series, list[GapRecord]]:
        """Without what was closed long ago."""
        closed = sorted(at for group in records.values() for one in group if (at := one.closed_at) is not None)
        since = self._clock.now() - KEPT
        if len(closed) > MOST:
            since = max(since, closed[-MOST])
        if not closed or closed[0] >= since:
            return records
        return {
            series: [one for one in group if one.closed_at is None or one.closed_at >= since]
            for series, group in records.items()
        }


def _joined(records: list[GapRecord], found: GapFound, at: int) -> list[GapRecord]:
    """The records of a series with one more gap, which takes in those it goes on from."""
    same = [one for one in records if _is_same(one, found.span)]
    span = Span(
        min(one.start for one in (found.span, *(record.span for record in same))),
        max(one.end for one in (found.span, *(record.span for record in same))),
    )
    first = min(same, key=lambda one: one.detected_at, default=None)
    record = GapRecord(
        str(found.series), span, found.series.interval.count(span),
        first.detected_at if first else at, first.cause if first else found.cause,
    )  # fmt: skip
    return [*(one for one in records if one not in same), record]


def _is_same(record: GapRecord, span: Span) -> bool:
    """Whether a gap found in `span` is one that is known, or goes on from one that is open."""
    if record.closed_at is None:
        return record.span.start <= span.end and span.start <= record.span.end
    return _common(record.span, span) is not None


def _common(one: Span, other: Span) -> Span | None:
    start, end = max(one.start, other.start), min(one.end, other.end)
    return Span(start, end) if start < end else None
