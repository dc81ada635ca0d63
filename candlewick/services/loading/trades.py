"""Loads candles that are made of the archive's trades: of any interval up to a day, and only those that are whole."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from os.path import commonprefix
from typing import TypeVar

from candlewick.analysis.joined import Finished
from candlewick.clock import Clock
from candlewick.errors import ExchangeError, UnknownSymbol, Unreachable, UsageError
from candlewick.events import Event
from candlewick.exchanges.exchange import ArchiveKind, ListedFile
from candlewick.history.archive import ArchiveClient
from candlewick.history.archive_plan import Step
from candlewick.history.client import RestClient
from candlewick.history.trade_plan import TradeShelf, plan_trades
from candlewick.integrity.spans import common
from candlewick.market import DAY, Market, Series, Span
from candlewick.services.loading.files import FileSource
from candlewick.services.loading.loader import PARSERS, LoadResult, Planned, Wanted
from candlewick.services.loading.parts import Tally
from candlewick.services.loading.rebuilt import Counts, RebuiltSeries
from candlewick.services.loading.rest import RestSource
from candlewick.services.loading.trade_files import TradeFile, TradeFiles
from candlewick.services.loading.trade_rest import TradeRest
from candlewick.services.loading.trade_symbol import SymbolRun, Work
from candlewick.services.recorder import revision
from candlewick.stores.store import Store

T = TypeVar("T")


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
            self.tally.candles_planned += sum(_candles(work, step) for step in steps)
            self._trades = 0
            files = TradeFiles(self._files, work.rest, self.clock, self._threads)
            await SymbolRun(self, work, steps, files, self._in_flight).run()
            for one in work.loads:
                root = await self.on_store(one.certify, self.store) if wanted.certify else ""
                results[one.series] = await self.on_store(self._result, work, one, root)
        unreached = [one for work in works for one in work.unreached]
        if unreached and not any(one.files for work in works for one in work.loads):
            raise Unreachable(f"the archive cannot be had, nothing was loaded: {unreached[-1]}")
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

    def read(self, trades: int) -> None:
        """So many trades more were read."""
        self._trades += trades

    async def store_file(self, work: Work, finished: Finished, file: TradeFile) -> None:
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

    async def reject(self, work: Work, file: TradeFile) -> None:
        """Remember a file that nothing is taken from."""
        if file.trouble:
            work.troubles.append(file.trouble)
            work.unreached.append(file.trouble)
        elif file.record is None and file.step.is_listed and file.step.file is not None:
            work.troubles.append(f"{file.step.file.name} is listed and not there")
        if file.record is not None:
            work.troubles.append(f"{file.record.name}: {file.record.remark}")
            for one in work.loads:
                await self.on_store(one.reject, self.store, file.record)
        self.tally.candles_done += _candles(work, file.step)
        self.tally.on_change(self.tally)

    async def _prepare(self, wanted: Wanted, series: list[Series]) -> Work:
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
        return Work(symbol, shelf, TradeRest(self._client, self._kind, symbol), loads, [], [])

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

    def _steps(self, work: Work) -> list[Step]:
        """The files of the days in which candles open that are needed."""
        opens = [
            Span(span.start, one.series.interval.previous(span.end) + 1) for one in work.loads for span in one.need
        ]
        return plan_trades(work.shelf, opens, self.clock.now())

    def _result(self, work: Work, one: RebuiltSeries, root: str) -> RebuildResult:
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


def _by_symbol(series: Sequence[Series]) -> list[list[Series]]:
    groups: dict[tuple[Market, str], list[Series]] = {}
    for one in series:
        groups.setdefault((one.market, one.symbol), []).append(one)
    return list(groups.values())


def _candles(work: Work, step: Step) -> int:
    """What a file counts in the progress."""
    assert step.file is not None
    return sum(one.series.interval.count(step.file.span) for one in work.loads)
