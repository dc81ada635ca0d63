"""What the contract of outputs is tried with: an output in memory, faults in front of any output, and a run of an outbox."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np

from candlewick.clock import SystemClock
from candlewick.errors import OutputDown
from candlewick.events import Event
from candlewick.market import MINUTE, Interval, Market, Series
from candlewick.outputs.outbox import Outbox
from candlewick.outputs.output import Batch, Output, Position, Refused
from candlewick.stores import rule
from candlewick.stores.store import LOGGED_STATES, ROW, Absence, Reason, Rows, Source, Store, StoreReader

MINUTES = Series(Market.SPOT, "BTCUSDT", Interval("1m"))
HOURS = Series(Market.SPOT, "ETHUSDT", Interval("1h"))
FUTURES = Series(Market.USDM, "BTCUSDT", Interval("1m"))
ALL = (MINUTES, HOURS, FUTURES)
START = 1_700_000_040_000_000 // 3_600_000_000 * 3_600_000_000
SPEED = 2_000.0
"""Waits are short; nothing here depends on how short."""
MANY_S = 120 * SPEED
"""Two real minutes: a disk that others use too can keep a handful of commits waiting for 10 s."""


def candles(
    store: Store, series: Series, slots: Sequence[int], source: Source = Source.LIVE, close: float = 100.5
) -> Rows:
    """Candles as an exchange makes them, at these slots of the interval."""
    rows = np.zeros(len(slots), ROW)
    step = series.interval.nominal
    rows["series"], rows["source"] = store.number(series), source
    rows["open_time"] = START + np.array(slots, np.int64) * step
    rows["close_time"] = rows["open_time"] + step - 1000
    rows["open"], rows["high"], rows["low"], rows["close"] = (
        100.25,
        max(close, 100.25) + 1,
        min(close, 100.25) - 1,
        close,
    )
    rows["volume"], rows["taker_buy_volume"] = 12.5, 5.25
    rows["quote_volume"], rows["taker_buy_quote_volume"], rows["trades"] = 1250.125, 525.0625, 42
    return rows


def poison(rows: Rows) -> Rows:
    """The same candles as no database takes them: the high lies below the low."""
    rows = rows.copy()
    rows["high"], rows["low"] = rows["low"], rows["high"] + 1
    return rows


def outage(series: Series, slot: int) -> Absence:
    step = series.interval.nominal
    span = (START + slot * step, START + (slot + 1) * step)
    return Absence(
        msgspec.convert(span, Absence.__annotations__["span"]), Reason.EXCHANGE_OUTAGE, '{"asked": ["rest"]}'
    )


class Contents(NamedTuple):
    """All that somebody holds, without the numbers of series."""

    rows: dict[tuple[str, int], bytes]
    absences: dict[str, list[Absence]]
    states: dict[str, bytes]


def held_by(*stores: StoreReader, states: Sequence[str] = LOGGED_STATES) -> Contents:
    """What an output of these stores is to hold."""
    found = Contents({}, {}, {})
    for store in stores:
        for info in store.series():
            found.rows.update(bare(store.read(info.series), {}, str(info.series)))
            if absences := store.absences(info.series):
                found.absences[str(info.series)] = list(absences)
        for prefix in states:
            found.states.update(store.states(prefix))
    return found


def bare(rows: Rows, names: Mapping[int, Series], name: str = "") -> dict[tuple[str, int], bytes]:
    """Rows by series and time, without the number of the series."""
    size = 4
    return {(name or str(names[int(row["series"])]), int(row["open_time"])): row.tobytes()[size:] for row in rows}


class Bench(Protocol):
    """One kind of output, and a look at what it holds."""

    states: Sequence[str]
    """Which states it keeps."""

    def make(self) -> Output:
        """An output, as a process that starts makes it; all of a bench write to the same place."""

    def contents(self) -> Contents:
        """What is there."""

    def save(self) -> None:
        """Take a backup."""

    def restore(self) -> None:
        """Put the backup in place."""


class MemoryBench:
    """A database that is a few dicts, to prove that the outbox asks nothing of it that only SQL has."""

    states = LOGGED_STATES

    def __init__(self) -> None:
        self.data: dict[str, dict[Any, Any]] = {"rows": {}, "absences": {}, "states": {}, "positions": {}}
        self._backup: dict[str, dict[Any, Any]] = {}

    def make(self) -> Output:
        return MemoryOutput(self)

    def contents(self) -> Contents:
        rows = {key: row.tobytes()[4:] for key, row in self.data["rows"].items()}
        return Contents(rows, dict(self.data["absences"]), dict(self.data["states"]))

    def save(self) -> None:
        self._backup = {name: dict(content) for name, content in self.data.items()}

    def restore(self) -> None:
        self.data = {name: dict(content) for name, content in self._backup.items()}


class MemoryOutput:
    """An output into a `MemoryBench`."""

    name = "memory"
    location = "memory://"
    pool_size = 1

    def __init__(self, bench: MemoryBench) -> None:
        self._bench = bench
        self._identity = ""
        self._at: Position | None = None
        self.written = 0

    async def open(self, identity: str) -> Position | None:
        self._identity = identity
        self._at = self._bench.data["positions"].get(identity)
        return self._at

    async def write(self, batch: Batch) -> list[Refused]:
        data, refused = self._bench.data, []
        if data["positions"].get(self._identity) != self._at:
            raise OutputDown("it was restored")
        keys = list(zip(batch.rows["series"].tolist(), batch.rows["open_time"].tolist(), strict=True))
        assert keys == sorted(set(keys)), "ordered by series, then time, each once"
        for at, (number, open_time) in enumerate(keys):
            row = batch.rows[at : at + 1]
            if row["high"][0] < row["low"][0]:
                refused.append(Refused(row, "high below low"))
                continue
            key = str(batch.series[number]), open_time
            held = data["rows"].get(key)
            if held is None or bool(rule.to_keep(rule.judge(held, row))[0]):
                data["rows"][key] = row.copy()
        for series, absences in batch.absences.items():
            data["absences"][str(series)] = list(absences)
            if not absences:
                del data["absences"][str(series)]
        for key, value in batch.states.items():
            if value == b"poison":
                refused.append(Refused(key, "no such state"))
            elif value is None:
                data["states"].pop(key, None)
            else:
                data["states"][key] = value
        data["positions"][self._identity] = self._at = batch.position
        self.written += len(batch.rows) - sum(not isinstance(one.what, str) for one in refused)
        return refused

    async def close(self) -> None:
        self._identity = ""


class Killed(BaseException):
    """The process is gone."""


class Faults:
    """What goes wrong, by the number of the step: every call of the output or the store's thread is two steps."""

    def __init__(self, kill_at: int = 0, fails: Callable[[int], bool] = lambda _: False) -> None:
        self.steps = 0
        self._kill_at, self._fails = kill_at, fails
        self.dead = False

    def step(self, *, fails: bool = True) -> None:
        """Another step; the process may die in it, or the output fail."""
        self.steps += 1
        if self.dead or self.steps == self._kill_at:
            self.dead = True
            raise Killed
        if fails and self._fails(self.steps):
            raise OutputDown(f"the output failed in step {self.steps}")


class Faulty:
    """An output with faults before and after everything it does."""

    def __init__(self, output: Output, faults: Faults) -> None:
        self._output, self._faults = output, faults
        self.name, self.location = output.name, output.location
        self.batches: list[Batch] = []

    @property
    def pool_size(self) -> int:
        return self._output.pool_size

    @property
    def written(self) -> int:
        return self._output.written

    async def open(self, identity: str) -> Position | None:
        self._faults.step()
        position = await self._output.open(identity)
        self._faults.step()
        return position

    async def write(self, batch: Batch) -> list[Refused]:
        self._faults.step()
        refused = await self._output.write(batch)
        self.batches.append(batch)
        self._faults.step()
        return refused

    async def close(self) -> None:
        await self._output.close()


class Run:
    """A process that writes a store and feeds an output."""

    def __init__(self, store: Store, output: Output, faults: Faults) -> None:
        self.store, self.output = store, Faulty(output, faults)
        self.events: list[Event] = []
        self._faults = faults
        self._thread = ThreadPoolExecutor(1)
        self.box = Outbox(
            self.output, store, clock=SystemClock(speed=SPEED), tell=self.events.append, on_store=self.on_store,
        )  # fmt: skip

    async def on_store(self, call: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401  # what the call returns
        self._faults.step(fails=False)
        done = await asyncio.get_running_loop().run_in_executor(self._thread, call, *args)
        self._faults.step(fails=False)
        return done

    async def write(self, rows: Rows) -> None:
        """As the recorder does it."""
        result = await self.on_store(self.store.write, rows)
        if result.sequence:
            self.box.stored(rows if result.inserted == len(rows) else None, result.sequence)

    async def level(self) -> None:
        """Until the output has everything."""
        assert await self.box.drain(MANY_S)

    def told(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def close(self) -> None:
        self._thread.shutdown()


@asynccontextmanager
async def running(store: Store, output: Output, faults: Faults | None = None) -> "Iterator[Run]":
    """An outbox that runs; leaving it ends it as a process ends: in good order, or, where it was killed, at once."""
    run = Run(store, output, faults or Faults())
    task = asyncio.create_task(run.box.run())
    body = asyncio.current_task()
    assert body is not None
    task.add_done_callback(lambda one: None if one.cancelled() else body.cancel())
    try:
        yield run
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            try:
                await task
            finally:
                run.close()


def run_killed(store: Store, output: Output, faults: Faults, story: Callable[[Run], Any]) -> Run | None:
    """Tell a story until its end or until the process is killed; the run where it came to its end."""

    async def whole() -> Run:
        async with running(store, output, faults) as run:
            await story(run)
        return run

    try:
        return asyncio.run(whole())
    except BaseException:  # it comes out of whatever was under way when the process was killed
        if not faults.dead:
            raise
        return None


__all__ = [
    "ALL", "FUTURES", "HOURS", "MINUTE", "MINUTES", "START", "Bench", "Contents", "Faults", "Killed", "MemoryBench", "Run",
    "bare", "candles", "held_by", "outage", "poison", "run_killed", "running",
]  # fmt: skip
