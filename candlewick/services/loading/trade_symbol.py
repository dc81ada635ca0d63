"""Takes the files of trades of one symbol one after the other: joined, mended from REST, and with their ends proved."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from candlewick.analysis.joined import Finished, Joiner, Joint
from candlewick.analysis.trades import check_trades
from candlewick.clock import Clock
from candlewick.errors import ExchangeError, UsageError
from candlewick.exchanges.exchange import ArchiveKind, Columns
from candlewick.history.archive_plan import Step
from candlewick.history.trade_plan import TradeShelf
from candlewick.market import DAY, Span
from candlewick.services.loading.files import Download
from candlewick.services.loading.rebuilt import RebuiltSeries
from candlewick.services.loading.trade_files import TradeFile, TradeFiles
from candlewick.services.loading.trade_rest import Neighbour, TradeRest
from candlewick.stores.provenance import FileRecord, Verdict

T = TypeVar("T")

AHEAD_BYTES = 128 << 20
"""Files that may be under way or wait to be read; a single one may be larger."""
_NOTHING = Neighbour(None, None)


class Work(NamedTuple):
    """What is done of one symbol."""

    symbol: str
    shelf: TradeShelf
    rest: TradeRest
    loads: list[RebuiltSeries]
    troubles: list[str]
    unreached: list[str]
    """Files that could not be had."""


class Owner(Protocol):
    """Whoever has the threads and the store."""

    clock: Clock

    async def on_thread(self, call: Callable[..., T], *args: object) -> T:
        """Do what takes long."""

    async def store_file(self, work: Work, finished: Finished, file: TradeFile) -> None:
        """Write what came of a file."""

    async def reject(self, work: Work, file: TradeFile) -> None:
        """Remember a file that nothing is taken from."""

    def read(self, trades: int) -> None:
        """So many trades more were read."""


class SymbolRun:
    """The files of one symbol, one after the other."""

    def __init__(self, owner: Owner, work: Work, steps: list[Step], files: TradeFiles, in_flight: int) -> None:
        """`in_flight`: downloads at once."""
        self._owner, self._work, self._steps, self._files, self._in_flight = owner, work, steps, files, in_flight
        self._intervals = [one.series.interval for one in work.loads]
        self._joiner: Joiner | None = None
        self._before: TradeFile | None = None
        """The file that was taken last, not yet stored."""
        self._is_proved: bool | None = None
        """Whether its end is; None where nobody was asked."""
        self._again: list[Step] = []
        self._downloads: dict[str, asyncio.Task[Download | ExchangeError]] = {}

    async def run(self) -> None:
        """Read, make and store; once more, each by itself, the files whose end another one has shown to be lacking."""
        await self._run()
        again, self._again = self._again, []
        for step in again:
            self._steps = [step]
            await self._run()

    async def _run(self) -> None:
        try:
            async for at, file in self._read():
                if file.columns is None:
                    await self._end(try_next=False)
                    await self._owner.reject(self._work, file)
                    continue
                span = _span(file)
                if self._before is not None and _span(self._before).end != span.start:
                    await self._end(try_next=True)
                follows = at + 1 < len(self._steps) and _start(self._steps[at + 1]) == span.end
                await self._take(file, follows=follows)
                del file  # its trades are large
            await self._end(try_next=True)
        finally:
            for task in self._downloads.values():
                task.cancel()
            await asyncio.gather(*self._downloads.values(), return_exceptions=True)

    async def _take(self, file: TradeFile, *, follows: bool) -> bool:
        """Join a file to what came before; whether that could be."""
        assert file.columns is not None
        span, columns, rest = _span(file), file.columns, self._work.rest
        head = _NOTHING
        inside = columns["trade_id"][(columns["time"] >= span.start) & (columns["time"] < span.end)]
        if self._joiner is None:
            if len(inside):
                head = await rest.before(int(inside.min()), span.start)
            is_aggregate = file.step.file is not None and file.step.file.kind is ArchiveKind.AGG_TRADES
            self._joiner = Joiner(self._intervals, aggregates=is_aggregate, before=head.beyond)
        joint: Joint = await self._owner.on_thread(self._joiner.judge, columns, span)
        extra = [head.lacking]
        if joint.holes:
            extra.append(await rest.fill(joint.holes))
        self._is_proved = None
        if not follows:
            tail = await rest.after(joint.last_id, span.end)
            self._is_proved = tail.beyond is not None
            extra.append(tail.lacking)
            if tail.lacking is not None:
                joint = joint._replace(last_id=int(tail.lacking["trade_id"][-1]))
        try:
            finished = await self._owner.on_thread(self._joiner.take, joint, _together(extra))
        except UsageError as error:
            await self._end(try_next=False)
            await self._owner.reject(self._work, _rejected(file, str(error)))
            return False
        if self._joiner.is_lacking_before and self._before is not None:
            self._again.append(self._before.step)
        self._owner.read(len(columns["time"]))
        await self._store(finished)
        self._before = file._replace(columns=None)
        return True

    async def _store(self, finished: Finished | None) -> None:
        if finished is not None and self._before is not None:
            await self._owner.store_file(self._work, finished, self._before)

    async def _end(self, *, try_next: bool) -> None:
        """Nothing adjacent follows: store what was taken last, with its end proved if that can be."""
        joiner, before = self._joiner, self._before
        if joiner is None or before is None:
            self._joiner = None
            return
        end = _span(before).end
        if self._is_proved is None and joiner.last is not None:
            tail = await self._work.rest.after(joiner.last.id, end)
            self._is_proved = tail.beyond is not None and tail.lacking is None
        reaches = any(one.ceil(end) != end for one in self._intervals)
        if try_next and (reaches or not self._is_proved):
            file = await self._next(end)
            if file is not None and file.columns is not None and await self._take(file, follows=True):
                self._joiner = self._before = None  # of the file itself nothing was wanted
                return
        if self._before is not None:
            await self._store(joiner.finish(is_proved=bool(self._is_proved)))
        self._joiner = self._before = None

    async def _next(self, start: int) -> TradeFile | None:
        """The file of the day that begins at `start`, if it should be there."""
        shelf = self._work.shelf
        file = shelf.day(start)
        if file.span.end > self._owner.clock.now() or (shelf.is_known and file.name not in shelf.files):
            return None
        step = shelf.step(file, [file.span])
        return await self._files.read(step, await self._files.fetch(step, is_known=shelf.is_known))

    async def _read(self) -> AsyncIterator[tuple[int, TradeFile]]:
        """The files in order, each with the index of its step; the next one is read meanwhile."""
        coming: asyncio.Task[TradeFile] | None = None
        at = 0
        try:
            while at < len(self._steps):
                self._start(at)
                file = await (coming or self._one(self._steps[at]))
                coming = None
                if days := await self._days(file):
                    self._steps[at : at + 1] = days
                    continue
                if at + 1 < len(self._steps):
                    self._start(at + 1)
                    coming = asyncio.get_running_loop().create_task(self._one(self._steps[at + 1]))
                yield at, file
                del file
                at += 1
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)

    async def _one(self, step: Step) -> TradeFile:
        assert step.file is not None
        download = await self._downloads.pop(step.file.name)
        file = await self._files.read(step, download)
        if file.columns is not None:
            judged = await self._owner.on_thread(_is_one_sided, file.columns)
            if judged:
                return _rejected(file, "all trades are of one side: takers' volumes cannot be told")
        return file

    async def _days(self, file: TradeFile) -> list[Step]:
        """The files of the days in place of that of a month that cannot be used or lacks something."""
        month, shelf = file.step.file, self._work.shelf
        if month is None or not month.is_monthly:
            return []
        if file.columns is not None:
            judged = await self._owner.on_thread(check_trades, file.columns, month.span)
            if judged.is_rebuildable:
                return []
        days = [shelf.day(time) for time in range(month.span.start, month.span.end, DAY)]
        if any(day.name not in shelf.files for day in days):
            return []
        await self._owner.reject(self._work, _rejected(file, "it is not whole: the files of its days are read instead"))
        return [shelf.step(day, [day.span]) for day in days]

    def _start(self, at: int) -> None:
        """Begin downloads as far ahead as is allowed."""
        size = 0
        for step in self._steps[at : at + self._in_flight]:
            assert step.file is not None
            size += step.bytes
            if size > AHEAD_BYTES and step is not self._steps[at]:
                break
            if step.file.name not in self._downloads:
                self._downloads[step.file.name] = asyncio.get_running_loop().create_task(
                    self._files.fetch(step, is_known=self._work.shelf.is_known)
                )


def _rejected(file: TradeFile, remark: str) -> TradeFile:
    record = file.record
    if record is None:
        return file._replace(columns=None)
    remark = "; ".join(filter(None, [record.remark, remark]))
    return file._replace(
        columns=None,
        record=FileRecord(
            record.name, record.span, record.size, record.sha256, record.checksum, Verdict.REJECTED, 0,
            record.fetched_at, remark, rebuilt=True,
        ),
    )  # fmt: skip


def _is_one_sided(columns: Columns) -> bool:
    makers = int(np.count_nonzero(columns["buyer_is_maker"]))
    return makers in {0, len(columns["time"])} and check_trades(columns).is_one_sided


def _together(parts: Iterable["Columns | None"]) -> "Columns | None":
    full = [one for one in parts if one is not None]
    if not full:
        return None
    joined = {name: np.concatenate([one[name] for one in full]) for name in full[0]}
    order = np.argsort(joined["trade_id"], kind="stable")
    return {name: values[order] for name, values in joined.items()}


def _span(file: TradeFile) -> Span:
    assert file.step.file is not None
    return file.step.file.span


def _start(step: Step) -> int:
    assert step.file is not None
    return step.file.span.start
