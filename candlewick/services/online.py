"""Whether the archive still states the hashes of the files that rows were taken from (`candlewick verify --online`)."""

import asyncio
from collections.abc import Callable, Mapping
from random import Random

from candlewick.certificates.finding import Finding
from candlewick.clock import SystemClock
from candlewick.config import Settings
from candlewick.errors import DecodeError, ExchangeError
from candlewick.events import Event
from candlewick.exchanges.exchange import load
from candlewick.history.archive import ArchiveClient
from candlewick.history.http import AiohttpHttp
from candlewick.market import Market, Series, format_time
from candlewick.stores.provenance import FileRecord, Verdict, file_records
from candlewick.stores.store import StoreReader


async def compare_online(settings: Settings, reader: StoreReader, tell: Callable[[Event], object]) -> list[Finding]:
    """What `compare_ledger` finds, asked of the archive that the settings name."""
    http = AiohttpHttp()
    try:
        urls = settings.binance_archive_url, settings.binance_archive_list_url
        clients = {
            market: ArchiveClient(venue.archive, *urls, http, SystemClock(), tell, random=Random())  # noqa: S311 - jitter
            for market, venue in load(settings.exchange).venues.items()
        }
        return await compare_ledger(reader, clients)
    finally:
        await http.close()


async def compare_ledger(reader: StoreReader, clients: Mapping[Market, ArchiveClient]) -> list[Finding]:
    """Every file of a store's ledger of which its archive now states another hash, or none, or cannot be asked.

    Raises:
        StoreError: the ledger cannot be read.
    """
    found: list[Finding] = []
    for info in reader.series(counted=False):
        records = [one for one in file_records(reader, info.series) if one.verdict is not Verdict.REJECTED]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_compare(info.series, one, clients[info.series.market])) for one in records]
        found += [finding for task in tasks if (finding := task.result()) is not None]
    return found


async def _compare(series: Series, record: FileRecord, client: ArchiveClient) -> Finding | None:
    def finding(what: str, detail: str) -> Finding:
        return Finding(str(series), record.span, what, f"file {record.name} {detail}")

    file = client.archive.parse_name(record.name)
    if file is None:
        return finding("source", "is not the name of a file of the archive")
    try:
        now = await client.checksum(file)
    except (ExchangeError, DecodeError) as error:
        return finding("online", f"could not be compared: {error}")
    if now == record.sha256 or (now or "") == record.checksum:
        return None
    fetched = format_time(record.fetched_at)
    if now is None:
        return finding("replaced", f"sha256: {record.sha256} on {fetched}, now the archive has no CHECKSUM of it")
    return finding("replaced", f"sha256: {record.sha256} on {fetched}, now the archive states {now}: it was replaced")
