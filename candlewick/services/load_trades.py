"""Loads candles that are made of the archive's trades: of any interval up to a day, and only those that are whole."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from os.path import commonprefix
from typing import NamedTuple, TypeVar

import numpy as np

from candlewick.analysis.joined import Finished, Joiner, Joint
from candlewick.analysis.trades import check_trades
from candlewick.clock import Clock
from candlewick.errors import ExchangeError, UnknownSymbol, Unreachable, UsageError
from candlewick.events import Event
from candlewick.exchanges.exchange import ArchiveKind, Columns, ListedFile
from candlewick.history.archive import ArchiveClient
from candlewick.history.archive_plan import Step
from candlewick.history.client import RestClient
from candlewick.history.trade_plan import TradeShelf, plan_trades
from candlewick.integrity.spans import common
from candlewick.market import DAY, Market, Series, Span
from candlewick.services.load import PARSERS, LoadResult, Planned, Wanted
from candlewick.services.load_files import Download, FileSource
from candlewick.services.load_parts import Tally
from candlewick.services.load_rest import RestSource
from candlewick.services.rebuilt import Counts, RebuiltSeries
from candlewick.services.recorder import revision
from candlewick.services.trade_files import TradeFile, TradeFiles
from candlewick.services.trade_rest import Neighbour, TradeRest
from candlewick.stores.provenance import FileRecord, Verdict
from candlewick.stores.store import Store

T = TypeVar("T")

AHEAD_BYTES = 128 << 20
"""Files that may be under way or wait to be read; a single one may be larger."""
_NOTHING = Neighbour(None, None)


class RebuildResult(LoadResult, frozen=True):
    """What making the candles of one series came to."""

    source: str = ""
    trades: int = 0
    """Read."""
    made: int = 0
    """Candles that are whole."""
    inexact: int = 0
    """Of them those that may not be the exchange's own to the last bit."""
    idle: int = 0
    """Grid times of the files without a trade: no candle is made of nothing."""
    doubtful: int = 0
    """Grid times of the files left out because trades are lacking or in doubt."""
    equal: int = 0
    """Of those that were held already: equal,"""
    within: int = 0
    """different, but not more than trades leave open,"""
    different: int = 0
    """and different beyond that; what was held is kept."""
    differences: tuple[str, ...] = ()
    """The first of them."""


class _Work(NamedTuple):
    """What is done of one symbol."""

    symbol: str
    shelf: TradeShelf
    rest: TradeRest
    loads: list[RebuiltSeries]
    troubles: list[str]


class TradesLoader:
    """One load of candles from trades."""

    def __init__(
        self, store: Store, archive: ArchiveClient, listing: ArchiveClient, client: RestClient, clock: Clock,
        tell: Callable[[Event], object], *, tally: Tally | None = None, in_flight: int = 8,
    ) -> None:  # fmt: skip
        self.store, self.archive, self.clock, self.tally = store, archive, clock, tally or Tally()
        self._listing, self._client, self._tell, self._in_flight = listing, client, tell, in_flight
        self._kind = ArchiveKind.AGG_TRADES
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._threads = ThreadPoolExecutor(PARSERS, thread_name_prefix="parse")
        self._files = FileSource(archive, RestSource(client, clock), clock, self.tally, self._threads)
        self._trades = 0

    async def plan(self, wanted: Wanted, kind: ArchiveKind) -> list[Planned]:
        """The files that would be fetched, of each symbol; to plan, a store that can be read is enough.

        Raises:
            CandlewickError: see `run`.
        """
        self._kind = kind
        works = [await self._prepare(wanted, series) for series in _by_symbol(wanted.series)]
        return [Planned(one.loads[0].series, wanted.span, self._steps(one)) for one in works]

    async def run(self, wanted: Wanted, kind: ArchiveKind) -> list[RebuildResult]:
        """Load; returns what came of each series. `kind`: trades or aggregates.

        Raises:
            UsageError: an interval is longer than a day.
            UnknownSymbol: the archive has no trades of a symbol.
            Unreachable: nobody answers.
            StoreError: the store cannot be written; what was is whole.
        """
        self._kind = kind
        works = [await self._prepare(wanted, series) for series in _by_symbol(wanted.series)]
        results = {}
        for work in works:
            steps = self._steps(work)
            self.tally.bytes_planned += sum(step.bytes for step in steps)
            self.tally.candles_planned += sum(_candles(work, step) for step in steps)
            self._trades = 0
            await _Symbol(self, work, steps).run()
            if steps and work.troubles and not any(one.files for one in work.loads):
                raise Unreachable(f"the archive cannot be had, nothing was loaded: {work.troubles[-1]}")
            for one in work.loads:
                root = await self.on_store(one.certify, self.store) if wanted.certify else ""
                results[one.series] = await self.on_store(self._result, work, one, root)
        return [results[one] for one in wanted.series]

    def close(self) -> None:
        """Let what is being written be written, and end the threads; the store is the caller's to close."""
        self._writer.shutdown(wait=True)
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def on_store(self, call: Callable[..., T], *args: object) -> T:
        """Everything that touches the store happens on one thread, in order."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, call, *args)

    async def on_thread(self, call: Callable[..., T], *args: object) -> T:
        """What takes long."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *args)

    def files(self, work: _Work) -> TradeFiles:
        """The archive's files of a symbol."""
        return TradeFiles(self._files, work.rest, self.clock, self._threads)

    @property
    def in_flight(self) -> int:
        """Downloads at once."""
        return self._in_flight

    def read(self, trades: int) -> None:
        """So many trades more were read."""
        self._trades += trades

    async def store_file(self, work: _Work, finished: Finished, file: TradeFile) -> None:
        """Write what came of a file."""
        assert file.step.file is not None
        assert file.record is not None
        self.tally.now_at = f"{work.symbol} {self._kind.value}"
        for one in work.loads:
            result = await self.on_store(one.take, self.store, finished, file.step.file, file.record)
            for held, kept in result.changed:
                self._tell(revision(one.series, held[0], kept[0]))
            self.tally.rows += result.inserted + result.confirmed + len(result.changed)
        self.tally.candles_done += _candles(work, file.step)
        self.tally.on_change(self.tally)

    async def reject(self, work: _Work, file: TradeFile) -> None:
        """Remember a file that nothing is taken from."""
        if file.trouble:
            work.troubles.append(file.trouble)
        if file.record is not None:
            work.troubles.append(f"{file.record.name}: {file.record.remark}")
            for one in work.loads:
                await self.on_store(one.reject, self.store, file.record)
        self.tally.candles_done += _candles(work, file.step)
        self.tally.on_change(self.tally)

    async def _prepare(self, wanted: Wanted, series: list[Series]) -> _Work:
        now, symbol = self.clock.now(), series[0].symbol
        for one in series:
            if not one.interval.is_fixed or one.interval.nominal > DAY:
                raise UsageError(
                    f"candles of {one.interval} are not made of trades: load those of 1d or less, and derive longer ones"
                )
        shelf = await self._shelf(symbol, wanted.span)
        loads = []
        for one in series:
            interval = one.interval
            start = interval.ceil(wanted.span.start)
            span = Span(start, max(start, min(interval.ceil(wanted.span.end), interval.floor(now))))
            load = RebuiltSeries(one, span, self._kind, burns=one.market is Market.USDM)
            await self.on_store(lambda each: each.prepare(self.store, shelf, recheck=wanted.recheck), load)
            loads.append(load)
        if shelf.is_known and not shelf.files and any(one.need for one in loads):
            raise UnknownSymbol(
                f"the archive has no {self._kind.value} of {symbol} on {series[0].market}: see its spelling"
            )
        return _Work(symbol, shelf, TradeRest(self._client, self._kind, symbol), loads, [])

    async def _shelf(self, symbol: str, span: Span) -> TradeShelf:
        """The files that the archive lists for a span, and the day after it; of a symbol that has none of them, any."""
        archive, kind = self.archive.archive, self._kind
        files: dict[str, ListedFile] = {}
        known = TradeShelf(archive, kind, symbol, files, is_known=True)
        ends = span.start, max(span.start, min(span.end, self.clock.now())) + DAY
        prefixes = [commonprefix([make(time).name for time in ends]) for make in (known.month, known.day)]  # noqa: RUF071 - letters, not folders
        folders = [archive.folder(kind, symbol, None, is_monthly=is_monthly) for is_monthly in (True, False)]
        try:
            for prefix in prefixes:
                files |= await self._listed(prefix)
            if not files:
                for folder in folders:
                    files |= await self._listed(folder)
        except ExchangeError:
            return known._replace(files={}, is_known=False)
        return known

    async def _listed(self, prefix: str) -> dict[str, ListedFile]:
        parse = self.archive.archive.parse_name
        return {one.name: one for one in await self._listing.files(prefix) if parse(one.name) is not None}

    def _steps(self, work: _Work) -> list[Step]:
        """The files of the days in which candles open that are needed."""
        opens = [
            Span(span.start, one.series.interval.previous(span.end) + 1) for one in work.loads for span in one.need
        ]
        return plan_trades(work.shelf, opens, self.clock.now())

    def _result(self, work: _Work, one: RebuiltSeries, root: str) -> RebuildResult:
        series, interval = one.series, one.series.interval
        holes = one.holes(self.store)
        absent: dict[str, int] = {}
        for absence in self.store.absences(series):
            for hole in common(holes, [absence.span]):
                reason = absence.reason.value
                absent[reason] = absent.get(reason, 0) + interval.count(hole)
        total, expected = sum(map(interval.count, holes)), interval.count(one.span)
        missing = total - sum(absent.values())
        counts: Counts = one.counts
        return RebuildResult(
            market=series.market.value, symbol=series.symbol, interval=interval.code, start=one.span.start // 1000,
            end=one.span.end // 1000, expected=expected, held=expected - total, rows=one.rows, archive_files=one.files,
            bytes=one.bytes, rest_requests=work.rest.requests, rest_rows=0, absent=absent, missing=missing,
            revised=one.revised, certificate=root, complete=not missing and not absent.get("pending"),
            troubles=tuple(dict.fromkeys(work.troubles)), source=self._kind.value, trades=self._trades,
            made=counts.made, inexact=counts.inexact, idle=counts.idle, doubtful=counts.doubtful, equal=counts.equal,
            within=counts.within, different=counts.different, differences=tuple(one.differences),
        )  # fmt: skip


class _Symbol:
    """The files of one symbol, one after the other."""

    def __init__(self, loader: TradesLoader, work: _Work, steps: list[Step]) -> None:
        self._loader, self._work, self._steps = loader, work, steps
        self._files = loader.files(work)
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
                    await self._loader.reject(self._work, file)
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
        joint: Joint = await self._loader.on_thread(self._joiner.judge, columns, span)
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
            finished = await self._loader.on_thread(self._joiner.take, joint, _together(extra))
        except UsageError as error:
            await self._end(try_next=False)
            await self._loader.reject(self._work, _rejected(file, str(error)))
            return False
        if self._joiner.is_lacking_before and self._before is not None:
            self._again.append(self._before.step)
        self._loader.read(len(columns["time"]))
        await self._store(finished)
        self._before = file._replace(columns=None)
        return True

    async def _store(self, finished: Finished | None) -> None:
        if finished is not None and self._before is not None:
            await self._loader.store_file(self._work, finished, self._before)

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
        if file.span.end > self._loader.clock.now() or (shelf.is_known and file.name not in shelf.files):
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
            judged = await self._loader.on_thread(_is_one_sided, file.columns)
            if judged:
                return _rejected(file, "all trades are of one side: takers' volumes cannot be told")
        return file

    async def _days(self, file: TradeFile) -> list[Step]:
        """The files of the days in place of that of a month that cannot be used or lacks something."""
        month, shelf = file.step.file, self._work.shelf
        if month is None or not month.is_monthly:
            return []
        if file.columns is not None:
            judged = await self._loader.on_thread(check_trades, file.columns, month.span)
            if judged.is_rebuildable:
                return []
        days = [shelf.day(time) for time in range(month.span.start, month.span.end, DAY)]
        if any(day.name not in shelf.files for day in days):
            return []
        await self._loader.reject(
            self._work, _rejected(file, "it is not whole: the files of its days are read instead")
        )
        return [shelf.step(day, [day.span]) for day in days]

    def _start(self, at: int) -> None:
        """Begin downloads as far ahead as is allowed."""
        size = 0
        for step in self._steps[at : at + self._loader.in_flight]:
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


def _by_symbol(series: Sequence[Series]) -> list[list[Series]]:
    groups: dict[tuple[Market, str], list[Series]] = {}
    for one in series:
        groups.setdefault((one.market, one.symbol), []).append(one)
    return list(groups.values())


def _candles(work: _Work, step: Step) -> int:
    """What a file counts in the progress."""
    assert step.file is not None
    return sum(one.series.interval.count(step.file.span) for one in work.loads)


def _span(file: TradeFile) -> Span:
    assert file.step.file is not None
    return file.step.file.span


def _start(step: Step) -> int:
    assert step.file is not None
    return step.file.span.start
