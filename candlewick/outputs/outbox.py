"""Brings what a store takes in to one output: in order, whatever happens to either, and at once where nothing waits.

While the output is level with the store, rows go to it as they come from a commit. Whenever they do not follow on what it
has, because it was away, slow, or something else was written, the store's log of changes is followed instead, from the
position that the output keeps together with its rows. So a kill at any moment costs nothing but a little repetition.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
from msgspec import Struct

from candlewick.clock import SECOND, Clock
from candlewick.errors import OutputError, StoreError
from candlewick.events import Event, OutputBack, OutputRefused, OutputSnapshot, OutputTrouble
from candlewick.histogram import Histogram
from candlewick.outputs import standing
from candlewick.outputs.arrivals import Arrivals, merged
from candlewick.outputs.feed import MOST_ROWS, Feed, Load, LogDropped
from candlewick.outputs.output import Batch, Output, Position, Refused
from candlewick.outputs.refusals import Refusals, named
from candlewick.outputs.standing import Standing
from candlewick.stores.store import Rows, Store

T = TypeVar("T")

RETRY_S = (0.1, 0.2, 0.4, 1.0, 2.0, 5.0, 10.0)
"""Waits between attempts, the last one for ever."""
LOOK_EVERY_S = 1.0
"""So often an idle outbox asks the store whether something was written that nobody told of: states and reasons."""
KEEP_EVERY_S = 30.0
"""So often the store remembers where the output stands, and drops what no output needs."""
DROP_PAUSE_S = 0.05
_COST = 50.0  # no more than one part in so many of the time goes into looking, however fast the clock runs


class OutboxStatus(Struct, frozen=True, kw_only=True):
    """One output as it is now."""

    name: str
    location: str
    connected: bool
    """Whether the last thing asked of it worked."""
    error: str | None
    """What it complains of now."""
    behind_rows: int
    """Rows that the store has and it has not yet."""
    lag_s: float
    """How long the oldest of them has waited."""
    written: int
    """See `Output.written`."""
    refused: int
    set_aside: int
    """What it refused and has not taken since."""
    retries: int
    pool_size: int
    snapshot: bool
    """Whether everything held is being brought over."""
    latency: Histogram
    """Seconds from a row being in the store to its being in the output."""


class _Elsewhere(Exception):
    """The output does not stand where it was left: it was restored, or is another."""

    def __init__(self, found: Position | None) -> None:
        super().__init__()
        self.found = found


class Outbox:
    """Feeds one output; `run` it."""

    def __init__(
        self,
        output: Output,
        store: Store,
        *,
        clock: Clock,
        tell: Callable[[Event], None],
        on_store: Callable[..., Awaitable[Any]],
        batch_rows: int = 10,
        batch_timeout_s: float = 1.0,
    ) -> None:
        """`on_store` runs a call on the store's own thread.

        `batch_rows` and `batch_timeout_s` bound how long rows wait for company after a write; to one who is idle they go
        at once.
        """
        self._output, self._store, self._clock, self._tell, self._on_store = output, store, clock, tell, on_store
        self._batch_rows, self._batch_timeout_s = batch_rows, batch_timeout_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"outbox-{output.name}")
        self._feed = Feed(store)
        self._refusals = Refusals(store, output.name)
        self._arrivals = Arrivals()
        self._ahead: asyncio.Future[Load | None] | None = None
        self._wake, self._moved = asyncio.Event(), asyncio.Event()
        self._in_output: Position | None = None
        self._settled: Position | None = None
        """Everything up to here is in the output or set aside."""
        self._newest = 0
        self._identity = ""
        self._connected = False
        self._error: str | None = None
        self._down_since: float | None = None
        self._attempts = 0
        self._behind = self._refused = self._retries = 0
        self._level_at = 0
        self._look_every_s = LOOK_EVERY_S
        self._write_from = 0.0
        self._latency = Histogram()

    def stored(self, rows: "Rows | None", sequence: int) -> None:
        """Right after a commit, on the event loop: rows all new to the store, kept under `sequence`.

        None where not all of them stand as they came: they are read from the store then.
        """
        self._arrivals.add(rows, sequence, self._clock.monotonic())
        self._behind += 1 if rows is None else len(rows)
        self._newest = max(self._newest, sequence)
        self._wake.set()

    def status(self) -> OutboxStatus:
        """How the output is now."""
        since = self._arrivals.since
        return OutboxStatus(
            name=self._output.name,
            location=self._output.location,
            connected=self._connected,
            error=self._error,
            behind_rows=max(0, self._behind),
            lag_s=0.0 if since is None else max(0.0, self._clock.monotonic() - since),
            written=self._output.written,
            refused=self._refused,
            set_aside=len(self._refusals),
            retries=self._retries,
            pool_size=self._output.pool_size,
            snapshot=self._connected and self._in_snapshot,
            latency=self._latency,
        )

    async def run(self) -> None:
        """Feed the output until cancelled; it is closed then."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_on())
                await self._follow()
        finally:
            try:
                await self._drop_ahead()
                with suppress(StoreError):  # it goes on from an older one then
                    await self._keep()
            finally:
                await self._output.close()
                self._thread.shutdown(wait=False)

    async def _follow(self) -> None:
        self._identity = await self._insist(self._store.identity)
        await self._insist(self._store.log_changes)  # what waits is known, whether the output ever answered or not
        await self._estimate()
        found = await self._connect()
        while True:
            self._fine()
            try:
                await self._begin(found)
                while True:
                    await self._step()
            except _Elsewhere as elsewhere:
                found = elsewhere.found
            except LogDropped:
                found = await self._connect()

    async def _estimate(self) -> None:
        """What waits by what the store remembers: the output may not answer for long, and it is asked about meanwhile."""
        kept = await self._read(standing.remembered, self._store, self._output.name)
        if kept is None or kept.position.snapshot_series is not None:
            self._behind += await self._read(self._feed.held)
            return
        last = (await self._read(self._store.change_range)).last
        self._behind += await self._read(self._feed.waiting, kept.position.sequence, last)
        if last > kept.position.sequence:
            self._note(last, kept.level_at)

    def _note(self, last: int, level_at: int) -> None:
        """Something waits since the output last had everything."""
        waited_s = (self._clock.now() - level_at) / SECOND if level_at else 0.0
        self._arrivals.note(last, self._clock.monotonic() - waited_s)

    async def drain(self, timeout_s: float) -> bool:
        """Wait until the output has all that is in the store now; whether it has."""
        until = self._clock.monotonic() + timeout_s
        target = (await self._in_thread(self._store.change_range)).last
        self._newest = max(self._newest, target)
        self._wake.set()
        while self._settled is None or self._in_snapshot or self._settled.sequence < target:
            left = until - self._clock.monotonic()
            if left <= 0:
                return False
            self._moved.clear()
            await self._wait(self._moved, left)
        return True

    @property
    def _in_snapshot(self) -> bool:
        return self._settled is not None and self._settled.snapshot_series is not None

    async def _begin(self, found: Position | None) -> None:
        """Go on from where the output stands, or from the start."""
        await self._drop_ahead()
        start = await self._insist(standing.begin, self._store, self._output.name, found, self._clock.now())
        self._in_output, self._settled, self._level_at = found, start.position, start.level_at
        self._feed.go_to(start.position)
        last = (await self._read(self._store.change_range)).last
        self._newest = max(self._newest, last)
        if start.position.snapshot_series is not None:
            self._behind = await self._read(self._feed.held)
            if start.anew is not None:
                self._tell(OutputSnapshot(self._output.name, start.anew, self._behind))
        else:
            self._behind = await self._read(self._feed.waiting, start.position.sequence, last)
            if last > start.position.sequence:
                self._note(last, start.level_at)
            await self._try_refused_again(start.position)
        self._moved.set()

    async def _try_refused_again(self, position: Position) -> None:
        await self._read(self._refusals.load)
        for batch in await self._read(self._refusals.again, position, MOST_ROWS):
            await self._deliver(Load(batch, 0))

    async def _step(self) -> None:
        """One batch, or a wait for one."""
        load = None
        if self._ahead is None and self._feed.between:
            await self._pause()
            load = await self._from_memory()
        if load is None and (self._ahead is not None or not self._is_level):
            load = await self._from_store()
        if load is not None:
            await self._deliver(load)
        elif self._is_level:
            self._behind, self._level_at = self._arrivals.rows, self._clock.now()
            self._wake.clear()
            await self._wait(self._wake, self._look_every_s)
            if self._is_level:
                await self._look()

    @property
    def _is_level(self) -> bool:
        return self._feed.between and self._feed.position.sequence >= self._newest

    async def _pause(self) -> None:
        """After a write that took long wait as long for company, unless there is enough of it."""
        while self._arrivals.rows < self._batch_rows and not self._is_level:
            left = self._write_from - self._clock.monotonic()
            if left <= 0:
                return
            self._wake.clear()
            await self._wait(self._wake, left)

    async def _from_memory(self) -> Load | None:
        parts, sequence = self._arrivals.following(self._feed.position.sequence)
        if not parts:
            return None
        rows = merged(parts)
        names = self._feed.known(rows)
        if names is None:
            names = await self._read(self._feed.names, rows)
        position = Position(sequence)
        self._feed.go_to(position)
        return Load(Batch(rows, names, {}, {}, position, fresh=False), len(rows))

    async def _from_store(self) -> Load | None:
        """What comes next in the store, while the thread already reads what comes then."""
        newest = self._newest
        ahead, self._ahead = self._ahead, None
        try:
            load = await (ahead if ahead is not None else self._in_thread(self._feed.next))
        except StoreError:
            load = await self._read(self._feed.next)
        if load is None:
            if self._newest == newest:  # nothing was told of meanwhile: the log has no more
                self._newest = self._feed.position.sequence
        elif not self._feed.between or self._feed.position.sequence < self._newest:
            self._ahead = self._in_thread(self._feed.next)
        return load

    async def _deliver(self, load: Load) -> None:
        """Have a batch in the output, however often it takes."""
        batch = load.batch
        while True:
            started = self._clock.monotonic()
            try:
                refused = await self._output.write(batch)
            except OutputError as error:
                await self._trouble(error)
                found = await self._connect()
                # Taken in or not, the same batch again does no harm, and says what was refused of it.
                if found not in {self._in_output, batch.position}:
                    raise _Elsewhere(found) from None
                self._in_output = found
            else:
                break
        self._fine()
        ended = self._clock.monotonic()
        self._write_from = ended + min(ended - started, self._batch_timeout_s)
        await self._set_aside(batch, refused)
        self._in_output = self._settled = batch.position
        self._behind -= load.done
        if not self._in_snapshot:
            self._pass(batch.position.sequence)
        self._moved.set()

    def _pass(self, sequence: int) -> None:
        """The output has all up to here."""
        now = self._clock.monotonic()
        for at, count in self._arrivals.passed(sequence):
            if count == 1:
                self._latency.observe(now - at)
            else:
                self._latency.observe_many(np.full(count, now - at))

    async def _set_aside(self, batch: Batch, refused: list[Refused]) -> None:
        if not refused and not self._refusals:
            return
        if changed := self._refusals.settle(batch, refused, self._clock.now()):
            await self._insist(self._store.set_states, changed)
        self._refused += len(refused)
        for one in refused:
            self._tell(OutputRefused(self._output.name, named(one, batch), one.words))

    async def _connect(self) -> Position | None:
        """Open the output, however often it takes."""
        while True:
            try:
                found = await self._output.open(self._identity)
            except OutputError as error:
                await self._trouble(error)
            else:
                return found

    async def _trouble(self, error: OutputError | StoreError) -> None:
        """Say what is wrong, and wait."""
        self._error = str(error)
        self._retries += 1
        now = self._clock.monotonic()
        if isinstance(error, OutputError):
            self._connected = False
        if self._down_since is None:
            self._down_since, self._attempts = now, 0
        retry_s = RETRY_S[min(self._attempts, len(RETRY_S) - 1)]
        self._attempts += 1
        self._tell(OutputTrouble(self._output.name, str(error), max(0, self._behind), retry_s))
        await self._clock.sleep(retry_s)

    def _fine(self) -> None:
        """What was asked worked."""
        self._connected, self._error = True, None
        if self._down_since is not None:
            away_s = self._clock.monotonic() - self._down_since
            self._down_since = None
            self._tell(OutputBack(self._output.name, round(away_s, 3), max(0, self._behind)))

    async def _look(self) -> None:
        """Ask the store whether there is something nobody told of."""
        started = self._clock.monotonic()
        last = (await self._read(self._store.change_range)).last
        self._newest = max(self._newest, last)
        self._look_every_s = max(LOOK_EVERY_S, _COST * (self._clock.monotonic() - started))

    async def _keep_on(self) -> None:
        """Have the store remember the position, and drop what it needs no more."""
        pause_s = KEEP_EVERY_S
        while True:
            await self._clock.sleep(pause_s)
            started = self._clock.monotonic()
            try:
                await self._keep()
                while await self._on_store(standing.drop, self._store, self._clock.now()):
                    await self._clock.sleep(DROP_PAUSE_S)
            except StoreError as error:
                self._error = str(error)
            pause_s = max(KEEP_EVERY_S, _COST * (self._clock.monotonic() - started))

    async def _keep(self) -> None:
        if self._settled is not None:
            now = Standing(self._settled, self._clock.now(), self._level_at)
            await self._on_store(standing.keep, self._store, self._output.name, now)

    async def _drop_ahead(self) -> None:
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            with suppress(StoreError, LogDropped):  # it is read again
                await ahead

    async def _wait(self, event: asyncio.Event, seconds: float) -> None:
        timer = self._clock.call_later(seconds, event.set)
        try:
            await event.wait()
        finally:
            timer.cancel()

    def _in_thread(self, call: Callable[..., T], *args: object) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(self._thread, call, *args)

    async def _read(self, call: Callable[..., T], *args: object) -> T:
        """Have something read from the store, however often it takes."""
        while True:
            try:
                return await self._in_thread(call, *args)
            except StoreError as error:
                await self._trouble(error)

    async def _insist(self, call: Callable[..., T], *args: object) -> T:
        """Have something done on the store's thread, however often it takes."""
        while True:
            try:
                done: T = await self._on_store(call, *args)
            except StoreError as error:
                await self._trouble(error)
            else:
                return done
