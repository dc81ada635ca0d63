"""The one way into the store: group commit of live candles and REST pages, validated, durable before acknowledged.

What arrives while a commit is under way waits and goes with the next one: at once when idle, in ever larger batches
under load. The commit runs in a thread of its own, so that a slow disk stops neither pings nor health. When too much
waits, `pressure` is raised and the feed stops reading its sockets; nothing is dropped.
"""

import asyncio
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np

from candlewick.clock import SECOND, Clock
from candlewick.errors import StoreError
from candlewick.events import CandleRejected, CandleRevised, CandlesStored, Event, StoreTrouble
from candlewick.histogram import Histogram
from candlewick.integrity.rules import Broken, Grids, check
from candlewick.market import Candle, Series
from candlewick.stores.store import ROW, VALUES, Quarantined, Rows, Source, Store, WriteResult

T = TypeVar("T")
R = TypeVar("R")

OnStored = Callable[["Rows | None", int], None]
"""Given the rows of a commit, or None where not all of them were new, and the sequence they were logged under."""

HIGH_WATER = 50_000
"""Candles waiting for the store at which the feed stops reading."""
LOW_WATER = 10_000
QUIET_S = 0.2
"""What can wait is done when nothing came for so long;"""
TIDY_EVERY_S = 0.05
"""under load a little of it, so often."""
MOST_ASIDE = 1_000
"""Unreadable frames that wait for the quarantine: a flood of them keeps the newest."""
RETRY_S = (0.1, 0.2, 0.4, 1.0, 2.0, 4.0, 8.0)

pack_row = struct.Struct("<IBqdddddqdqdd").pack
"""Packs the fields of one `ROW`, in order."""


class Rejected(NamedTuple):
    """A row that broke a rule and was not stored."""

    series: Series
    open_time: int
    source: Source
    rule: str


class _Page(NamedTuple):
    rows: Rows
    done: "asyncio.Future[list[Rejected]]"


class Recorder:
    """Owns every write of candles into the store."""

    def __init__(
        self,
        store: Store,
        series: Sequence[Series],
        *,
        clock: Clock,
        tell: Callable[[Event], None],
        on_rejected: Callable[[Rejected], None],
        on_pressure: Callable[[bool], None] = lambda _: None,
        on_stored: OnStored | None = None,
        thread: ThreadPoolExecutor | None = None,
    ) -> None:
        """`on_rejected` hears of every row that broke a rule; `on_pressure` when to stop and to go on reading.

        `on_stored` hears of every commit whose changes are logged; `thread` is the store's, its own where None.
        """
        self.store = store
        self.numbers = {one: store.number(one) for one in series}
        self._series = {number: one for one, number in self.numbers.items()}
        self._grids = Grids({number: one.interval for number, one in self._series.items()})
        self._clock, self._tell, self._on_rejected, self._on_pressure = clock, tell, on_rejected, on_pressure
        self._on_stored = on_stored
        self._thread = thread or ThreadPoolExecutor(1, thread_name_prefix="store")
        self._live = bytearray()
        self._raw: list[bytes] = []
        self._received: list[int] = []
        self._pages: list[_Page] = []
        self._aside: list[Quarantined] = []
        self._loop = asyncio.get_running_loop()
        self._turn = 0
        self._busy_until = self._tidy_at = 0.0
        self._committing = self._committing_since = 0
        self._wake = asyncio.Event()
        self._pressure = False
        self._closing = False
        self.durability = Histogram()
        """Seconds from the receipt of a frame to its candle being on disk."""
        self.commits = Histogram()
        """Seconds a commit took."""
        self.from_rest = 0
        """Rows that REST answered."""
        self.written = self.revised = self.refused = self.confirmed = self.rejected = 0
        self.rejected_by_rule: dict[str, int] = {}
        self.trouble: str | None = None
        """What the store complains of now, or None."""

    @property
    def waiting(self) -> int:
        """Candles not yet on disk, those of a commit under way included."""
        return self._committing + len(self._received) + sum(len(page.rows) for page in self._pages)

    @property
    def oldest_s(self) -> float | None:
        """How long the oldest candle that is not on disk has waited; None when none waits."""
        since = min((at for at in (self._committing_since, *self._received[:1]) if at), default=0)
        return (self._clock.now() - since) / SECOND if since else None

    def add(self, number: int, candle: tuple[int | float, ...], raw: bytes) -> int:
        """The fields of a closed candle of the live feed; returns when it was received.

        What one turn of the event loop brings came with one read of the sockets, and was received at one time.
        """
        received_at = self._turn
        if not received_at:
            received_at = self._turn = self._clock.now()
            self._loop.call_soon(self._end_turn)
        self._live += pack_row(number, 1, *candle)
        self._raw.append(raw)
        self._received.append(received_at)
        return received_at

    def _end_turn(self) -> None:
        self._turn = 0
        self._wake.set()
        if not self._pressure and len(self._received) > HIGH_WATER:
            self._pressure = True
            self._on_pressure(True)

    def _tidy(self) -> bool:
        try:
            return self.store.tidy()
        except StoreError as error:
            self.trouble = str(error)  # what was to be tidied is kept as it is; the next commit tells
            return False

    def keep_aside(self, entry: Quarantined) -> None:
        """Something that is no candle goes to the quarantine with the next commit."""
        self._aside.append(entry)
        del self._aside[:-MOST_ASIDE]
        self._wake.set()

    async def write(self, rows: Rows) -> list[Rejected]:
        """Rows of a settled source; returns once they are on disk, with those settled rows that broke a rule."""
        if not len(rows):
            return []
        page = _Page(rows, asyncio.get_running_loop().create_future())
        self._pages.append(page)
        self.from_rest += len(rows)
        self._wake.set()
        return await page.done

    async def on_store(self, call: Callable[..., T], *args: object) -> T:
        """Run a call on the store's own thread: everything that changes the store happens there, in order."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *args)

    async def run(self) -> None:
        """Commit until `close`."""
        while self.waiting or self._aside or not self._closing:
            await self._wake.wait()
            self._wake.clear()
            if self.waiting or self._aside:
                await self._commit()
                self._busy_until = self._clock.monotonic() + QUIET_S
                self._clock.call_later(2 * QUIET_S, self._wake.set)
                if self._clock.monotonic() >= self._tidy_at:
                    await self.on_store(self._tidy)
                    self._tidy_at = self._clock.monotonic() + TIDY_EVERY_S
            elif self._clock.monotonic() >= self._busy_until and await self.on_store(self._tidy):
                self._wake.set()

    def close(self) -> None:
        """Let `run` end once nothing waits."""
        self._closing = True
        self._wake.set()

    async def _commit(self) -> None:
        live, raw, received, pages = self._live, self._raw, self._received, self._pages
        self._live, self._raw, self._received, self._pages = bytearray(), [], [], []
        parts = [np.frombuffer(live, dtype=ROW), *(page.rows for page in pages)]
        rows = np.concatenate(parts) if pages else parts[0]
        broken = check(rows, self._grids, self._clock.now())
        kept = np.delete(rows, [one.index for one in broken]) if broken else rows
        aside, self._aside = self._aside, []
        self._committing, self._committing_since = len(rows), received[0] if received else 0
        result = await self._insist(self._write, kept)
        if self._on_stored is not None and result.sequence:
            self._on_stored(kept if result.inserted == len(kept) else None, result.sequence)
        if quarantined := [*aside, *(self._quarantined(rows, raw, one) for one in broken)]:
            await self._insist(self.store.quarantine, quarantined)
        now = self._clock.now()
        self._committing = self._committing_since = 0
        self.durability.observe_many((now - np.array(received, dtype=np.int64)) / 1e6)
        self._settle(result, rows, broken, pages)
        waited_ms = (now - received[0]) / 1000 if received else 0.0
        if result.inserted or result.confirmed or result.changed:
            self._tell(CandlesStored(result.inserted, result.confirmed, len(result.changed), round(waited_ms, 3)))
        if self._pressure and len(self._received) < LOW_WATER:
            self._pressure = False
            self._on_pressure(False)

    async def _insist(self, call: Callable[[T], R], what: T) -> R:
        """Have it on disk, however often it takes."""
        attempt = 0
        while True:
            try:
                result = await self.on_store(call, what)
            except StoreError as error:
                retry_s = RETRY_S[min(attempt, len(RETRY_S) - 1)]
                attempt += 1
                self.trouble = str(error)
                self._tell(StoreTrouble(str(error), self.waiting, retry_s))
                await self._clock.sleep(retry_s)
            else:
                self.trouble = None
                return result

    def _write(self, rows: Rows) -> WriteResult:
        started = self._clock.monotonic()
        result = self.store.write(rows)
        self.commits.observe(self._clock.monotonic() - started)
        return result

    def _quarantined(self, rows: Rows, raw: list[bytes], one: Broken) -> Quarantined:
        row = rows[one.index]
        series = self._series[int(row["series"])]
        text = raw[one.index] if one.index < len(raw) else repr(row.tolist()).encode()
        return Quarantined(str(series), one.rule, Source(int(row["source"])).name.lower(), self._clock.now(), text)

    def _settle(self, result: WriteResult, rows: Rows, broken: list[Broken], pages: list[_Page]) -> None:
        self.written += result.inserted
        self.confirmed += result.confirmed
        self.refused += len(result.refused)
        for held, kept in result.changed:
            self.revised += 1
            self._tell(revision(self._series[int(kept[0]["series"])], held[0], kept[0]))
        rejected = [self._reject(rows[one.index], one.rule) for one in broken]
        for page in pages:
            if not page.done.done():  # whoever waited for it may be gone
                page.done.set_result([one for one in rejected if one.source is not Source.LIVE])

    def _reject(self, row: Rows, rule: str) -> Rejected:
        one = Rejected(self._series[int(row["series"])], int(row["open_time"]), Source(int(row["source"])), rule)
        self.rejected += 1
        self.rejected_by_rule[rule] = self.rejected_by_rule.get(rule, 0) + 1
        self._tell(CandleRejected(str(one.series), rule, one.source.name.lower(), str(row.tolist())))
        self._on_rejected(one)
        return one


def to_candle(row: Rows) -> Candle:
    """The candle that a row of a store holds."""
    return Candle(*(row[name].item() for name in Candle.__struct_fields__))


def revision(series: Series, held: Rows, kept: Rows) -> CandleRevised:
    """What a settled source changed."""
    fields = tuple(name for name in VALUES if held[name] != kept[name])
    return CandleRevised(series, to_candle(held), to_candle(kept), fields)
