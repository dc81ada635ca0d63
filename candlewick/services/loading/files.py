"""The archive's part of a load: fetches a file, checks it against its checksum and beyond, and says what it is worth."""

import asyncio
import hashlib
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np

from candlewick.clock import Clock
from candlewick.errors import DecodeError, ExchangeError
from candlewick.exchanges.exchange import ArchiveFile, Columns
from candlewick.history.archive import ArchiveClient
from candlewick.history.archive_plan import Step, grid_span
from candlewick.integrity.files import Judgement, judge
from candlewick.integrity.spans import within
from candlewick.market import Series, Span
from candlewick.services.loading.holes import NO_ROW, NOT_PUBLISHED, REJECTED, Asked, unusable
from candlewick.services.loading.need import lacking
from candlewick.services.loading.parts import Found, Tally
from candlewick.services.loading.rest import Comparison, RestSource
from candlewick.stores.provenance import FileRecord, Verdict
from candlewick.stores.store import ROW, Quarantined, Rows

FAILURES = 3
"""So many files in a row that could not be had, and the archive is not asked again by this load."""


class Download(NamedTuple):
    """A file as it came; `body` is None where there is none."""

    body: bytes | None
    checksum: str
    """What the CHECKSUM file states; empty where there is none, or none that can be read."""


class _Content(NamedTuple):
    """What is in a file; `judged` is None where it cannot be read, and `trouble` says why."""

    sha256: str
    judged: Judgement | None = None
    columns: "Columns | None" = None
    trouble: str = ""


class FileSource:
    """The archive as a source of settled candles."""

    def __init__(self, client: ArchiveClient, rest: RestSource, clock: Clock, tally: Tally, executor: Executor) -> None:
        """`executor` has the threads that check and parse; its number of workers bounds memory."""
        self.client, self._rest, self._clock, self._tally, self._executor = client, rest, clock, tally, executor
        self._failures = 0
        self.trouble = ""
        """Why the archive is not asked any more, or nothing."""

    async def fetch(self, step: Step, *, is_known: bool) -> Download | ExchangeError:
        """The file of a step and its checksum; an error is for `take` to make something of.

        `is_known`: whether the listing, which may be stale, tells of it; else a file without a CHECKSUM is looked for too.
        """
        if self.trouble:
            return ExchangeError(self.trouble)
        assert step.file is not None
        try:
            found = await self._download(step.file, probe=not step.is_listed, is_known=is_known)
        except ExchangeError as error:
            self._failures += 1
            if self._failures >= FAILURES:
                self.trouble = str(error)
            return error
        self._failures = 0
        return found

    async def take(self, step: Step, series: Series, number: int, download: Download | ExchangeError) -> Found:
        """What of a step's candles may be taken from its file, and what it lacks."""
        file, now = step.file, self._clock.now()
        assert file is not None
        if isinstance(download, ExchangeError):
            return Found(step, _NO_ROWS, list(step.needed), [], str(download))
        if download.body is None:
            answer = Asked(grid_span(series.interval, file.span), step.way, file.name, now, NOT_PUBLISHED)
            return Found(step, _NO_ROWS, list(step.needed), [answer])
        content = await self._read(download, file, series, number, now)
        if download.checksum != content.sha256:
            try:
                again = await self._download(file, probe=False)
            except ExchangeError:
                again = download  # what came first is judged
            if again.body is not None and again != download:
                download = again
                content = await self._read(again, file, series, number, now)
        verdict, remark = await self._verdict(download, content, series, file)
        record = FileRecord(
            file.name, file.span, len(download.body or b""), content.sha256, download.checksum, verdict, 0, now, remark
        )
        if verdict is Verdict.REJECTED or content.judged is None:
            answer = Asked(
                grid_span(series.interval, file.span), step.way, file.name, now, f"{REJECTED}: {remark}", content.sha256
            )
            return Found(step, _NO_ROWS, list(step.needed), [answer], record=record)
        return self._found(step, series, content, record, now)

    def _found(self, step: Step, series: Series, content: _Content, record: FileRecord, now: int) -> Found:
        judged = content.judged
        assert judged is not None
        rows, left = judged.rows, list(judged.missing)
        if list(step.needed) != [record.span]:
            rows = rows[within(rows["open_time"], step.needed)]
            left = lacking(rows["open_time"], series.interval, step.needed)
        record = FileRecord(
            record.name, record.span, record.size, record.sha256, record.checksum, record.verdict, len(judged.rows),
            now, record.remark, tuple(judged.missing),
            unusable=tuple(sorted({*(time for time, _ in judged.broken), *judged.conflicting})),
        )  # fmt: skip
        answer = Asked(grid_span(series.interval, record.span), step.way, record.name, now, NO_ROW, record.sha256)
        odd = unusable(series.interval, record.unusable, step.way, record.name, now, record.sha256)
        aside = _aside(series, step.needed, content, record.name, now)
        return Found(step, rows, left, [answer, *odd], record=record, quarantined=aside)

    async def _download(self, file: ArchiveFile, *, probe: bool, is_known: bool = True) -> Download:
        """`probe`: ask for the checksum first, where the file may well not be there."""
        if probe:
            checksum = await self._checksum(file)
            return Download(await self._body(file) if checksum or not is_known else None, checksum)
        body, checksum = await asyncio.gather(self._body(file), self._checksum(file))
        return Download(body, checksum)

    async def _body(self, file: ArchiveFile) -> bytes | None:
        body = await self.client.fetch(file)
        if body is not None:
            self._tally.bytes += len(body)
            self._tally.files += 1
            self._tally.on_change(self._tally)
        return body

    async def _checksum(self, file: ArchiveFile) -> str:
        try:
            return await self.client.checksum(file) or ""
        except DecodeError:
            return ""  # one that cannot be read proves as much as none

    async def _read(self, download: Download, file: ArchiveFile, series: Series, number: int, now: int) -> _Content:
        body = download.body or b""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._read_here, body, file, series, number, now)

    def _read_here(self, body: bytes, file: ArchiveFile, series: Series, number: int, now: int) -> _Content:
        sha256 = hashlib.sha256(body).hexdigest()
        try:
            columns = self.client.archive.read_candles(body, file)
        except DecodeError as error:
            return _Content(sha256, trouble=str(error))
        judged = judge(columns, series, number, file.span, now)
        return _Content(sha256, judged, columns if judged.broken else None)

    async def _verdict(
        self, download: Download, content: _Content, series: Series, file: ArchiveFile
    ) -> tuple[Verdict, str]:
        judged = content.judged
        if judged is None:
            return Verdict.REJECTED, content.trouble
        if download.checksum == content.sha256:
            return Verdict.MATCHED, judged.remark
        why = "its SHA-256 is not the one its CHECKSUM states" if download.checksum else "it has no CHECKSUM"
        if judged.broken or judged.conflicting:
            compared = Comparison(False, judged.remark)
        else:
            try:
                compared = await self._rest.compare(series, judged.rows, file.name)
            except ExchangeError as error:
                compared = Comparison(False, f"REST could not be asked ({error})")
        remark = "; ".join(part for part in (why, compared.remark, judged.remark) if part)
        return Verdict.AGREED if compared.agrees else Verdict.REJECTED, remark


_NO_ROWS: Rows = np.empty(0, ROW)


def _aside(series: Series, needed: Sequence[Span], content: _Content, name: str, now: int) -> tuple[Quarantined, ...]:
    """The rows that are wanted and broke a rule."""
    if content.columns is None or content.judged is None:
        return ()
    entries = []
    for time, rule in content.judged.broken:
        if any(span.start <= time < span.end for span in needed):
            at = int(np.flatnonzero(content.columns["open_time"] == time)[0])
            values = {column: values[at].item() for column, values in content.columns.items()}
            entries.append(Quarantined(str(series), rule, "archive", now, f"{name}: {values}".encode()))
    return tuple(entries)
