"""What a gap handler consists of once its database is there, and how it is put together."""

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from candlewick.clock import Clock
from candlewick.config import Settings
from candlewick.events import Event
from candlewick.history.client import RestClient
from candlewick.services.gap_handler.backfill import Backfiller
from candlewick.services.gap_handler.book import Book
from candlewick.services.gap_handler.followed import FollowedSeries
from candlewick.services.gap_handler.historical import HistoricalJob
from candlewick.services.gap_handler.scan import Scan
from candlewick.services.gap_handler.shared import SharedRecorder
from candlewick.services.gap_handler.slots import Slots
from candlewick.services.gap_handler.todo import Todo
from candlewick.services.historian import Historian
from candlewick.services.loading.loader import Loader
from candlewick.services.loading.loading import archive_clients
from candlewick.stores.store import Store
from candlewick.transport import Http


class Surroundings(NamedTuple):
    """What a gap handler has before its database is there."""

    settings: Settings
    clock: Clock
    tell: Callable[[Event], None]
    http: Http
    random: Random
    client: RestClient
    book: Book
    followed: FollowedSeries
    slots: Slots
    todo: Todo


class Components(NamedTuple):
    """What works on the database."""

    store: Store
    recorder: SharedRecorder
    backfiller: Backfiller
    scan: Scan
    historical: HistoricalJob


def assemble(store: Store, around: Surroundings) -> Components:
    """Put together what works on a store that is open."""
    settings, clock, tell, book, todo = around.settings, around.clock, around.tell, around.book, around.todo
    recorder = SharedRecorder(store, clock, tell, book.timed)
    backfiller = Backfiller(
        around.client, recorder, book, clock=clock, tell=tell, timeout_s=settings.backfill_timeout_seconds,
        on_later=lambda series, span: todo.add(series, [span]),
    )  # fmt: skip
    historical = HistoricalJob(
        recorder, book, backfiller, _historian(store, around), clock=clock, market=settings.market,
        wanted=around.followed.all, chunk_days=settings.historical_chunk_days, place=around.slots.patient_place,
        months=min(settings.historical_retention_months, settings.candles_retention_months or 1200),
    )  # fmt: skip
    scan = Scan(
        recorder, book, backfiller, clock=clock, market=settings.market, wanted=around.followed.named,
        every_s=settings.backfill_check_interval_s, late_s=settings.gap_detection_threshold, request=todo.add,
        unfilled=historical.unfilled,
    )  # fmt: skip
    return Components(store, recorder, backfiller, scan, historical)


def _historian(store: Store, around: Surroundings) -> Historian | None:
    """Who asks the archive; nobody where REST is simulated and the archive is the real one, or the other way round."""
    settings, archive = around.settings, around.settings.venue.archive
    if (settings.api_url == settings.venue.api_url) != (settings.binance_archive_url == archive.url):
        return None

    def new_loader() -> Loader:
        clients = archive_clients(settings, around.http, around.clock, around.random, around.tell)
        return Loader(
            store, *clients, around.client, around.clock, around.tell, in_flight=settings.archive_downloads,
            threshold_months=settings.monthly_threshold_months,
        )  # fmt: skip

    return Historian(new_loader, store, archive, settings.market, around.clock, around.tell)
