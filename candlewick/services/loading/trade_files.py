"""Files of trades: fetched, checked against their checksums, and read."""

import asyncio
import hashlib
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np

from candlewick.analysis.trades import check_trades
from candlewick.clock import Clock
from candlewick.errors import DecodeError, ExchangeError
from candlewick.exchanges.exchange import Columns
from candlewick.history.archive_plan import Step
from candlewick.services.loading.files import Download, FileSource
from candlewick.services.loading.trade_rest import TradeRest
from candlewick.stores.provenance import FileRecord, Verdict


class TradeFile(NamedTuple):
    """What came of a file; `columns` are its lines as they stand, None where nothing is taken from it."""

    step: Step
    columns: "Columns | None"
    record: FileRecord | None = None
    """For the ledger, without what is made of it; None where there is no such file or it could not be had."""
    trouble: str = ""
    """Why it could not be had, or nothing."""


class TradeFiles:
    """The archive's files of one symbol."""

    def __init__(self, source: FileSource, rest: TradeRest, clock: Clock, executor: Executor) -> None:
        self._source, self._rest, self._clock, self._executor = source, rest, clock, executor

    async def fetch(self, step: Step, *, is_known: bool) -> "Download | ExchangeError":
        """See `FileSource.fetch`."""
        return await self._source.fetch(step, is_known=is_known)

    async def read(self, step: Step, download: "Download | ExchangeError") -> TradeFile:
        """Check and read what came."""
        file = step.file
        assert file is not None
        if isinstance(download, ExchangeError):
            return TradeFile(step, None, trouble=str(download))
        if download.body is None:
            return TradeFile(step, None)
        sha256, columns, wrong = await self._on_thread(download.body, step)
        if sha256 != download.checksum:
            again = await self._source.fetch(step._replace(is_listed=True), is_known=True)
            if not isinstance(again, ExchangeError) and again.body is not None and again != download:
                download = again
                sha256, columns, wrong = await self._on_thread(again.body, step)
        verdict, remark = await self._verdict(download, sha256, columns, wrong)
        record = FileRecord(
            file.name, file.span, len(download.body or b""), sha256, download.checksum, verdict, 0, self._clock.now(),
            remark, rebuilt=True,
        )  # fmt: skip
        return TradeFile(step, None if verdict is Verdict.REJECTED else columns, record)

    async def _on_thread(self, body: bytes, step: Step) -> "tuple[str, Columns | None, str]":
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._read_here, body, step)

    def _read_here(self, body: bytes, step: Step) -> "tuple[str, Columns | None, str]":
        assert step.file is not None
        sha256 = hashlib.sha256(body).hexdigest()
        try:
            columns = self._source.client.archive.read_trade_columns(body, step.file)
        except DecodeError as error:
            return sha256, None, str(error)
        if not np.isfinite(columns["price"]).all() or not np.isfinite(columns["quantity"]).all():
            return sha256, None, "a price or a quantity is not a finite number"
        if columns["quantity"].min() < 0 or columns["price"][columns["quantity"] != 0].min(initial=1) <= 0:
            return sha256, None, "a price or a quantity is below zero"
        return sha256, columns, ""

    async def _verdict(
        self, download: Download, sha256: str, columns: "Columns | None", wrong: str
    ) -> tuple[Verdict, str]:
        if columns is None:
            return Verdict.REJECTED, wrong
        if download.checksum == sha256:
            return Verdict.MATCHED, ""
        why = "its SHA-256 is not the one its CHECKSUM states" if download.checksum else "it has no CHECKSUM"
        judged = check_trades(columns)
        if judged.is_rebuildable and await self._rest.agrees(judged.trades):
            return Verdict.AGREED, f"{why}; its first and last {len(judged.trades['time'])} trades agree with REST"
        return Verdict.REJECTED, f"{why}; REST could not be shown to agree with it"
