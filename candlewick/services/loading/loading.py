"""Starts what a load is made of, and ends it without losing what was written."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from random import Random
from typing import NamedTuple, TypeVar, cast

from candlewick.clock import Clock, SystemClock
from candlewick.config import Settings
from candlewick.errors import ExchangeError, UnknownSymbol, UsageError
from candlewick.events import Event
from candlewick.exchanges.exchange import ArchiveKind
from candlewick.history.archive import MAX_FILE_BYTES, ArchiveClient
from candlewick.history.budget import Budget
from candlewick.history.client import RestClient
from candlewick.history.http import AiohttpHttp
from candlewick.market import Interval, Series, Span
from candlewick.services.loading.loader import Loader, LoadResult, Planned, Wanted
from candlewick.services.loading.parts import Tally
from candlewick.services.loading.trades import TradesLoader
from candlewick.services.pauses import keep_pauses, recall_pause
from candlewick.stores import open_store
from candlewick.stores.store import Store, StoreReader
from candlewick.transport import Http

LISTING_ATTEMPTS = 3
"""The listing is a help, and not needed: it is given up sooner than a file."""


class Request(NamedTuple):
    """What somebody asks to have loaded."""

    symbols: tuple[str, ...]
    """Names, or patterns such as `*USDT`."""
    intervals: tuple[Interval, ...]
    start: int
    end: int | None
    """None: now."""
    delisted: bool = False
    """Match patterns also against what does not trade any more."""
    certify: bool = True
    recheck: bool = False
    source: ArchiveKind = ArchiveKind.KLINES
    """Of others than klines candles are made."""


def archive_clients(
    settings: Settings, http: Http, clock: Clock, random: Random, tell: Callable[[Event], object]
) -> tuple[ArchiveClient, ArchiveClient]:
    """Whom to ask for files, and whom for the listing."""
    archive, urls = settings.venue.archive, (settings.binance_archive_url, settings.binance_archive_list_url)
    in_flight = settings.archive_downloads
    return (
        ArchiveClient(archive, *urls, http, clock, tell, random=random, in_flight=in_flight),
        ArchiveClient(archive, *urls, http, clock, tell, random=random, in_flight=in_flight, attempts=LISTING_ATTEMPTS),
    )


class Loading:
    """A load with everything it needs; to be closed."""

    def __init__(
        self, settings: Settings, store: StoreReader, http: Http, *, clock: SystemClock, random: Random,
        tell: Callable[[Event], object], tally: Tally | None = None,
    ) -> None:  # fmt: skip
        """`store`: to `plan` reading is enough; to `run` it must be one that can be written."""
        self._clock, self._tell, self._store, self._api_url = clock, tell, cast("Store", store), settings.api_url
        venue = settings.venue
        self._budget = budget = Budget(
            requests_per_s=settings.rate_limit_requests_per_sec, burst=settings.burst_size,
            weight_per_minute=settings.rate_limit_weight_per_minute,
        )  # fmt: skip
        recall_pause(budget, store, settings.api_url, clock)
        self._client = RestClient(venue, settings.api_url, http, budget, clock, tell, random=random)
        self._archive, self._listing = archive_clients(settings, http, clock, random, tell)
        self._loader = Loader(
            self._store, self._archive, self._listing, self._client, clock, tally=tally, tell=tell,
            in_flight=settings.archive_downloads, threshold_months=settings.monthly_threshold_months,
        )  # fmt: skip
        self._trades = TradesLoader(
            self._store, self._archive, self._listing, self._client, clock, tell, tally=tally,
            in_flight=settings.archive_downloads,
        )  # fmt: skip

    async def run(self, request: Request) -> Sequence[LoadResult]:
        """See `Loader.run` and `TradesLoader.run`."""
        keep_pauses(self._budget, self._store, self._api_url, self._clock, self._tell)
        wanted = await self._wanted(request)
        if request.source is ArchiveKind.KLINES:
            return await self._loader.run(wanted)
        return await self._trades.run(wanted, request.source)

    async def plan(self, request: Request) -> list[Planned]:
        """See `Loader.plan` and `TradesLoader.plan`."""
        wanted = await self._wanted(request)
        if request.source is ArchiveKind.KLINES:
            return await self._loader.plan(wanted)
        return await self._trades.plan(wanted, request.source)

    def close(self) -> None:
        """See `Loader.close`."""
        self._loader.close()
        self._trades.close()

    async def _wanted(self, request: Request) -> Wanted:
        with suppress(ExchangeError):  # this machine's clock has to do
            time = await self._client.server_time()
            self._clock.set_now(time.time, time.speed)
        symbols = await self._symbols(request)
        venue = self._client.venue
        for interval in request.intervals:
            if interval not in venue.intervals and request.source is ArchiveKind.KLINES:
                has = ", ".join(map(str, venue.intervals))
                raise UsageError(f"{venue.market} has no candles of {interval}: it has {has}")
        market = self._client.venue.market
        series = tuple(Series(market, symbol, interval) for symbol in symbols for interval in request.intervals)
        end = self._clock.now() if request.end is None else request.end
        return Wanted(series, Span(request.start, end), request.certify, request.recheck)

    async def _symbols(self, request: Request) -> list[str]:
        """The names asked for, and those the patterns match."""
        found: dict[str, None] = {}
        known: list[str] | None = None
        for want in request.symbols:
            if not any(sign in want for sign in "*?["):
                found[want] = None
                continue
            known = known or await self._known(request)
            matches = [symbol for symbol in known if fnmatchcase(symbol, want)]
            if not matches:
                which = "there are or were" if request.delisted else "that trade now (with --delisted, also of others)"
                raise UnknownSymbol(f"the pattern {want!r} matches none of the {len(known)} symbols {which}")
            found |= dict.fromkeys(matches)
        return list(found)

    async def _known(self, request: Request) -> list[str]:
        """What the exchange lists, and with `delisted` what the archive has besides."""
        info = await self._client.exchange_info()
        known = {one.symbol for one in info.instruments if one.is_trading or request.delisted}
        if request.delisted:
            for interval in request.intervals:
                archive = self._archive.archive
                prefix = archive.folder(request.source, "", interval, is_monthly=True)
                known |= {folder.rstrip("/").rpartition("/")[2] for folder in await self._listing.folders(prefix)}
        return sorted(known)


class Interrupted(NamedTuple):
    """The load was told to stop; what was written is whole."""


async def load_history(
    settings: Settings, request: Request, tell: Callable[[Event], object], tally: Tally
) -> Sequence[LoadResult] | Interrupted:
    """`candlewick history load`: everything, until it is done or SIGINT or SIGTERM.

    Raises:
        CandlewickError: it cannot start or go on: the store is busy or full, a symbol unknown.
    """
    told = _listen()
    store = open_store(settings.record, write=True)
    return await _with_loading(settings, store, tell, tally, told, lambda loading: loading.run(request))


async def plan_history(
    settings: Settings, request: Request, tell: Callable[[Event], object]
) -> Sequence[Planned] | Interrupted:
    """What `load_history` would ask for; nothing is written, and whoever writes the store is not disturbed."""
    told = _listen()
    store = open_store(_readable(settings), write=False)
    return await _with_loading(settings, store, tell, Tally(), told, lambda loading: loading.plan(request))


def _readable(settings: Settings) -> str:
    """The store, or an empty one where there is none yet."""
    kind, _, place = settings.record.partition("://")
    return "memory://" if kind == "lmdb" and not Path(place, "data.mdb").exists() else settings.record


T = TypeVar("T")


def _listen() -> asyncio.Event:
    """Set when a signal asks to stop; from here on none ends the process by itself."""
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    return told


async def _with_loading(
    settings: Settings, store: StoreReader, tell: Callable[[Event], object], tally: Tally, told: asyncio.Event,
    call: Callable[[Loading], Awaitable[T]],
) -> T | Interrupted:  # fmt: skip
    http = AiohttpHttp(max_body_bytes=MAX_FILE_BYTES)
    random = Random()  # noqa: S311 - jitter is no secret
    try:
        loading = Loading(settings, store, http, clock=SystemClock(), random=random, tell=tell, tally=tally)
        try:
            return await _until(told, call(loading))
        finally:
            loading.close()
    finally:
        await http.close()
        store.close()


async def _until(told: asyncio.Event, work: Awaitable[T]) -> T | Interrupted:
    """Do it, unless told to stop before it is done."""
    working = asyncio.ensure_future(work)
    stopping = asyncio.get_running_loop().create_task(told.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        return Interrupted()
    return working.result()
