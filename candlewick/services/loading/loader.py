"""Loads history: the archive's files first, REST for what they have not, and a reason for what nobody has."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from msgspec import Struct, field

from candlewick.certificates.document import Certificate
from candlewick.certificates.issue import certify
from candlewick.clock import Clock
from candlewick.errors import ExchangeError, Unreachable
from candlewick.events import Event
from candlewick.history.archive import ArchiveClient
from candlewick.history.archive_plan import Step
from candlewick.history.client import RestClient
from candlewick.integrity.spans import common
from candlewick.market import Interval, Series, Span
from candlewick.services.loading.files import FileSource
from candlewick.services.loading.need import unheld
from candlewick.services.loading.parts import Tally
from candlewick.services.loading.pipeline import Done, Job, Pipeline
from candlewick.services.loading.rebuilt import settle_rebuilt
from candlewick.services.loading.rest import RestSource
from candlewick.services.loading.series import SeriesLoad
from candlewick.services.recorder import revision
from candlewick.stores.provenance import certificate_of, keep_certificate
from candlewick.stores.store import Reason, Store, info_of

T = TypeVar("T")

PARSERS = 2
"""Files that are checked and parsed at once."""


class Wanted(NamedTuple):
    """What is to be loaded: of each series the candles that open in `span`."""

    series: tuple[Series, ...]
    span: Span
    certify: bool = True
    recheck: bool = False
    """Hold against the archive also what REST has vouched for."""


class LoadResult(Struct, frozen=True):
    """What the load of one series came to; times in milliseconds UTC."""

    market: str
    symbol: str
    interval: str
    start: int = field(name="from")
    end: int = field(name="to")
    """Where candles that were over ended, if that was before the end that was asked for."""
    expected: int
    """Candles of the range,"""
    held: int
    """and those held of them now."""
    rows: int
    """Got by this load."""
    archive_files: int
    bytes: int
    rest_requests: int
    rest_rows: int
    absent: dict[str, int]
    """Candles that are not there for a reason, by reason."""
    missing: int
    """Candles without a reason."""
    revised: int
    certificate: str
    """The root of the series' certificate, or empty."""
    complete: bool
    """Every candle is held, or has a reason that lasts."""
    troubles: tuple[str, ...] = ()


class Planned(NamedTuple):
    """What would be asked for of a series, to begin with."""

    series: Series
    span: Span
    steps: list[Step]


class Loader:
    """One load."""

    def __init__(
        self, store: Store, archive: ArchiveClient, listing: ArchiveClient, client: RestClient, clock: Clock,
        tell: Callable[[Event], object], *, threshold_months: int = 2, tally: Tally | None = None, in_flight: int = 8,
    ) -> None:  # fmt: skip
        """`listing` is asked for the archive's listing alone: it may be given up sooner."""
        self.store, self.archive, self.clock, self._tell = store, archive, clock, tell
        self.tally = tally or Tally()
        self.rest = RestSource(client, clock)
        self._listing, self._client, self._threshold = listing, client, threshold_months
        self._in_flight = in_flight
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._parsers = ThreadPoolExecutor(PARSERS, thread_name_prefix="parse")

    async def plan(self, wanted: Wanted) -> list[Planned]:
        """What would be asked for; the store is only read.

        Raises:
            CandlewickError: see `run`.
        """
        loads = await self._prepare(wanted)
        return [Planned(one.series, one.span, self._steps(one)) for one in loads]

    async def run(self, wanted: Wanted) -> list[LoadResult]:
        """Load; returns what came of each series.

        Raises:
            UnknownSymbol: a symbol that nobody knows.
            Unreachable: nobody answers.
            StoreError: the store cannot be written; what was is whole.
        """
        loads = await self._prepare(wanted)
        for one in loads:  # only now: a symbol that nobody knows leaves no trace
            one.number = await self._on_store(self.store.number, one.series)
        files = FileSource(self.archive, self.rest, self.clock, self.tally, self._parsers)
        pipeline = Pipeline(self.store, files, self.rest, self._writer, self.tally, in_flight=self._in_flight)
        by_series = {one.series: one for one in loads}
        while jobs := [
            Job(one.series, one.number, step, one.shelf.tells_of(step)) for one in loads for step in self._steps(one)
        ]:
            self.tally.candles_planned += sum(_candles(job) for job in jobs)
            await pipeline.run(jobs, lambda done: self._took(done, by_series))
        if any(one.need for one in loads) and not any(one.rows or one.asked or not one.troubles for one in loads):
            raise Unreachable(f"neither the archive nor REST can be had, nothing was loaded: {loads[0].troubles[-1]}")
        return list(await asyncio.gather(*(self._finish(one, wanted) for one in loads)))

    def close(self) -> None:
        """Let what is being written be written, and end the threads; the store is the caller's to close."""
        self._writer.shutdown(wait=True)
        self._parsers.shutdown(wait=True, cancel_futures=True)

    async def _on_store(self, call: Callable[..., T], *args: object) -> T:
        """Everything that touches the store happens on one thread, in order."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, call, *args)

    async def _prepare(self, wanted: Wanted) -> list[SeriesLoad]:
        now = self.clock.now()
        loads: list[SeriesLoad] = []
        for series in wanted.series:
            span = _settled(series.interval, wanted.span, self.rest.settled_end(series.interval))
            loads.append(SeriesLoad(series, span, 0, now))
            await self._on_store(lambda one: one.prepare(self.store, recheck=wanted.recheck), loads[-1])
        learnt = await asyncio.gather(*(one.learn(self._listing, self.rest) for one in loads), return_exceptions=True)
        for failure in learnt:
            if failure is not None:
                raise failure
        return loads

    def _steps(self, one: SeriesLoad) -> list[Step]:
        return one.steps(self.archive.archive, self._client.venue.page_sizes, self._threshold)

    def _took(self, done: Done, loads: dict[Series, SeriesLoad]) -> None:
        """Take note of what is on disk."""
        revised: dict[int, list[int]] = {}
        for _, kept in done.result.changed:
            number = int(kept["series"][0])
            revised.setdefault(number, []).append(int(kept["open_time"][0]))
        names = {one.number: one.series for one in loads.values()}
        for held, kept in done.result.changed:
            self._tell(revision(names[int(kept["series"][0])], held[0], kept[0]))
        for job, found in zip(done.jobs, done.found, strict=True):
            times = revised.get(job.number, ())
            count = sum(any(span.start <= time < span.end for span in job.step.needed) for time in times)
            loads[job.series].took(found, count)
            self.tally.rows += len(found.rows)
            self.tally.candles_done += _candles(job)
        self.tally.on_change(self.tally)

    async def _finish(self, one: SeriesLoad, wanted: Wanted) -> LoadResult:
        """Give holes their reasons, and certify."""
        holes = await self._on_store(one.holes, self.store)
        one.archive_alone(self.rest, self.archive.archive)
        if (after := one.silent_from(holes)) and one.series.symbol not in self.rest.unknown:
            status = await self._status(one.series.symbol)
            if status:
                one.ended(self.archive.archive, after, status)
        await self._on_store(one.explain, self.store, holes)
        await self._on_store(settle_rebuilt, self.store, one.series, one.got)
        root = ""
        if wanted.certify:  # mostly reading, which several threads may do
            root = await asyncio.get_running_loop().run_in_executor(self._parsers, self._certify, one)
        return await self._on_store(self._result, one, root)

    async def _status(self, symbol: str) -> str:
        """What the exchange says of a symbol that does not trade; nothing of one that does, or if it does not answer."""
        try:
            status = await self.rest.status(symbol)
        except ExchangeError:
            return ""
        return "not listed any more" if status is None else status and f"status {status}, and no candle later"

    def _certify(self, one: SeriesLoad) -> str:
        """The root of the certificate of all that is held; a new one only where something changed."""
        info = info_of(self.store, one.series)
        if info is None or info.first is None or info.last is None:
            return ""
        kept = certificate_of(self.store, one.series)
        if kept is not None and not one.need:
            old = Certificate.from_json(kept)
            if old.span == Span(info.first, one.series.interval.next(info.last)):
                return old.root
        certificate = certify(self.store, one.series)
        keep_certificate(self.store, one.series, certificate.to_json())
        return certificate.root

    def _result(self, one: SeriesLoad, root: str) -> LoadResult:
        series, interval = one.series, one.series.interval
        open_holes = unheld(self.store, series, [one.span])
        absent: dict[str, int] = {}
        for absence in self.store.absences(series):
            for hole in common(open_holes, [absence.span]):
                reason = absence.reason.value
                absent[reason] = absent.get(reason, 0) + interval.count(hole)
        total = sum(map(interval.count, open_holes))
        expected = interval.count(one.span)
        without_reason = total - sum(absent.values())
        return LoadResult(
            market=series.market.value, symbol=series.symbol, interval=interval.code, start=one.span.start // 1000,
            end=one.span.end // 1000, expected=expected, held=expected - total, rows=one.rows, archive_files=one.files,
            bytes=one.bytes, rest_requests=self.rest.requests[series], rest_rows=one.rest_rows, absent=absent, missing=without_reason, revised=one.revised,
            certificate=root, complete=not without_reason and not absent.get(Reason.PENDING.value),
            troubles=tuple(dict.fromkeys(one.troubles)),
        )  # fmt: skip


def _settled(interval: Interval, span: Span, until: int) -> Span:
    """The candles that open in `span` and are over, as a span on the grid."""
    start = interval.ceil(span.start)
    return Span(start, max(start, min(interval.ceil(span.end), until)))


def _candles(job: Job) -> int:
    """The candles that a job is to bring."""
    return sum(map(job.series.interval.count, job.step.needed))
