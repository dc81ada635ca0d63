"""Keeps a load's downloads, checks and writes going at once: written in order, a bounded amount on its way."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np

from candlewick.history.archive_plan import Step, Way
from candlewick.market import Series
from candlewick.services.loading.files import FileSource
from candlewick.services.loading.parts import Found, Tally
from candlewick.services.loading.rest import RestSource
from candlewick.stores.provenance import TAKEN, FileRecord, file_records, keep_file_records
from candlewick.stores.store import Store, WriteResult

AHEAD_ROWS = 1_500_000
"""Candles that may be parsed and wait to be written; a single file may have more."""
AHEAD_BYTES = 192 << 20
"""Files that may be under way or wait to be parsed; a single one may be larger."""
BATCH_ROWS = 200_000
"""Candles written with one commit."""


class Job(NamedTuple):
    """A step of a series."""

    series: Series
    number: int
    step: Step
    is_known: bool
    """Whether the listing tells of the step's file."""

    @property
    def rows(self) -> int:
        """The most candles it can bring."""
        spans = self.step.needed if self.step.file is None else [self.step.file.span]
        return sum(map(self.series.interval.count, spans))


class Done(NamedTuple):
    """What came of jobs that were written together, in order."""

    jobs: list[Job]
    found: list[Found]
    result: WriteResult


class Pipeline:
    """Works through jobs in order."""

    def __init__(
        self, store: Store, files: FileSource, rest: RestSource, writer: Executor, tally: Tally, *, in_flight: int
    ) -> None:  # fmt: skip
        """`writer` has the one thread that changes the store."""
        self._store, self._files, self._rest, self._writer, self._tally = store, files, rest, writer, tally
        self._in_flight = in_flight
        self._jobs: Sequence[Job] = ()
        self._rows: list[int] = []
        self._position = 0
        """Jobs that were handed to the store."""
        self._moved = asyncio.Event()

    async def run(self, jobs: Sequence[Job], on_done: Callable[[Done], object]) -> None:
        """Do all of `jobs`; `on_done` hears what is on disk.

        Raises:
            StoreError: it cannot be written; what was is whole.
        """
        self._jobs, self._rows, self._position = jobs, [job.rows for job in jobs], 0
        tasks: dict[int, asyncio.Task[Found]] = {}
        started = 0
        try:
            while self._position < len(jobs):
                started = self._start(tasks, started)
                await tasks[self._position]
                done: list[Job] = []
                found: list[Found] = []
                while self._position in tasks and tasks[self._position].done() and _size(found) < BATCH_ROWS:
                    done.append(jobs[self._position])
                    found.append(tasks.pop(self._position).result())
                    self._position += 1
                moved, self._moved = self._moved, asyncio.Event()
                moved.set()
                started = self._start(tasks, started)
                on_done(await self._write(done, found))
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)

    def _start(self, tasks: dict[int, asyncio.Task[Found]], started: int) -> int:
        """Start what may be under way by now; returns how many were started in all."""
        while started < len(self._jobs):
            size = sum(self._jobs[at].step.bytes for at in range(self._position, started + 1))
            if started > self._position and (size > AHEAD_BYTES or started - self._position >= 2 * self._in_flight):
                break
            tasks[started] = asyncio.get_running_loop().create_task(self._take(started))
            started += 1
        return started

    async def _take(self, at: int) -> Found:
        job = self._jobs[at]
        if job.step.way is Way.REST:
            return await self._rest.take(job.step, job.series, job.number)
        download = await self._files.fetch(job.step, is_known=job.is_known)
        while at > self._position and sum(self._rows[self._position : at + 1]) > AHEAD_ROWS:
            await self._moved.wait()
        return await self._files.take(job.step, job.series, job.number, download)

    async def _write(self, jobs: list[Job], found: list[Found]) -> Done:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writer, self._write_here, jobs, found)

    def _write_here(self, jobs: list[Job], found: list[Found]) -> Done:
        """The ledger first, then rows: a process that ends between the two leaves no row without its file."""
        for series in dict.fromkeys(job.series for job in jobs):
            records = [one.record for job, one in zip(jobs, found, strict=True) if one.record and job.series == series]
            keep_file_records(self._store, series, self._to_record(series, records))
        rows = [one.rows for one in found if len(one.rows)]
        if rows:
            self._tally.now_at = str(jobs[-1].series)
        result = self._store.write(rows[0] if len(rows) == 1 else np.concatenate(rows)) if rows else _NOTHING
        if aside := [entry for one in found for entry in one.quarantined]:
            self._store.quarantine(aside)
        return Done(jobs, found, result)

    def _to_record(self, series: Series, records: list[FileRecord]) -> list[FileRecord]:
        """What goes into the ledger: a file that is spoiled now does not unmake the one that rows were taken from."""
        if all(one.verdict in TAKEN for one in records):
            return records
        taken = {one.name for one in file_records(self._store, series) if one.verdict in TAKEN and one.rows}
        return [one for one in records if one.verdict in TAKEN or one.name not in taken]


_NOTHING = WriteResult(0, 0, 0, (), ())


def _size(found: Sequence[Found]) -> int:
    return sum(len(one.rows) for one in found)
