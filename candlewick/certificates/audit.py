"""The whole store against itself: blocks, rules, order, counts, reasons, files, and the certificates it keeps."""

from collections.abc import Iterator

import numpy as np

from candlewick.certificates import survey
from candlewick.certificates.check import verify
from candlewick.certificates.document import Certificate
from candlewick.certificates.finding import Finding, shown_time
from candlewick.certificates.survey import Run, block_span, clipped
from candlewick.errors import DecodeError, StoreError
from candlewick.integrity.rules import Grids, check
from candlewick.integrity.spans import common, join, without
from candlewick.market import Span
from candlewick.stores.grid import block_of
from candlewick.stores.provenance import TAKEN, Verdict, certificate_of, file_records
from candlewick.stores.store import Reason, Rows, SeriesInfo, Source, StoreReader

_MOST_NAMED = 100
"""Rows of a series that are named one by one for breaking rules; the others are counted."""


def verify_store(reader: StoreReader, now: int) -> list[Finding]:
    """Everything in which a store contradicts itself; `now` is the time at which its candles must be over.

    What cannot be read is a finding, and the rest is looked at all the same.

    Raises:
        StoreError: not even its list of series can be read.
    """
    found: list[Finding] = []
    for info in reader.series():
        found += _Audit(reader, info, now).findings()
    return found


class _Audit:
    """One series."""

    def __init__(self, reader: StoreReader, info: SeriesInfo, now: int) -> None:
        self._reader = reader
        self._info = info
        self._series = info.series
        self._now = now
        self._runs: list[Run] = []
        self._unreadable: list[Span] = []
        self._broken = 0

    def findings(self) -> list[Finding]:
        found = list(self._rows())
        if self._broken > _MOST_NAMED:
            found.append(self._finding("rule", None, f"{self._broken - _MOST_NAMED} more rows break rules"))
        for look in (self._revisions, self._absences, self._files, self._certificate):
            try:
                found += look()
            except StoreError as error:
                found.append(self._finding("damaged", None, str(error)))
        return found

    def _finding(self, what: str, span: Span | None, detail: str, *, is_note: bool = False) -> Finding:
        return Finding(str(self._series), span, what, detail, is_note)

    def _rows(self) -> Iterator[Finding]:
        first, last = self._info.first, self._info.last
        if first is None or last is None:
            return
        interval = self._series.interval
        rows = 0
        edges: list[int] = []
        for stretch in survey.stretches(interval, Span(first, interval.next(interval.floor(last)))):
            for part in self._read(stretch):
                if isinstance(part, Finding):
                    yield part
                    continue
                rows += len(part)
                edges += part["open_time"][[0, -1]].tolist() if len(part) else []
                yield from self._judge(part)
        if self._unreadable:
            return
        yield from self._counted(rows, *((edges[0], edges[-1]) if edges else (None, None)))

    def _counted(self, rows: int, first: int | None, last: int | None) -> Iterator[Finding]:
        """What the store counts of the series; holes may have been filled while the rows were read."""
        later = next(one for one in self._reader.series(symbol=self._series.symbol) if one.series == self._series)
        if not self._info.rows <= rows <= later.rows:
            yield self._finding("count", None, f"rows: the store counts {self._info.rows}, there is {rows}")
        for name, stated, now in (("first", self._info.first, first), ("last", self._info.last, last)):
            if stated != now:
                yield self._finding("count", None, f"{name}: the store counts {stated}, there is {now}")

    def _read(self, stretch: Span) -> "Iterator[Rows | Finding]":
        """The rows of a stretch; block by block where something in it cannot be read."""
        try:
            yield self._reader.read(self._series, *stretch)
        except StoreError:
            interval = self._series.interval
            for block in range(block_of(interval, stretch.start), block_of(interval, stretch.end - 1) + 1):
                span = clipped(block_span(interval, block), stretch)
                try:
                    yield self._reader.read(self._series, *span)
                except StoreError as error:
                    self._unreadable.append(span)
                    yield self._finding("damaged", span, f"to {shown_time(span.end)}: {error}")

    def _judge(self, rows: Rows) -> Iterator[Finding]:
        if not len(rows):
            return
        series, times = self._series, np.ascontiguousarray(rows["open_time"])
        for at in np.flatnonzero(times[1:] <= times[:-1]).tolist():
            yield self._finding("order", self._candle(int(times[at + 1])), "open_time: it is not after the row before")
        for at in np.flatnonzero((rows["source"] < Source.LIVE) | (rows["source"] > Source.ARCHIVE)).tolist():
            where = self._candle(int(times[at]))
            yield self._finding("source", where, f"source: there is no source {rows['source'][at]}")
        broken = check(rows, Grids({int(rows["series"][0]): series.interval}), self._now)
        for one in broken[: max(0, _MOST_NAMED - self._broken)]:
            yield self._finding("rule", self._candle(int(times[one.index])), f"it breaks the rule {one.rule}")
        self._broken += len(broken)
        known = rows[(rows["source"] >= Source.LIVE) & (rows["source"] <= Source.ARCHIVE)]
        part = survey.Part(np.ascontiguousarray(known["open_time"]), {"source": known["source"]})
        survey.extend(self._runs, survey.runs(part, series.interval))

    def _candle(self, time: int) -> Span:
        return Span(time, self._series.interval.next(time))

    def _held(self) -> list[Span]:
        return join(run.span for run in self._runs)

    def _revisions(self) -> Iterator[Finding]:
        """Rows that were replaced, for which none is held."""
        times = np.unique(self._reader.revisions(self._series)["open_time"])
        replaced = [self._candle(time) for time in times.tolist()]
        for span in without(without(join(replaced), self._held()), self._unreadable):
            yield self._finding("row missing", span, "a row of it was revised, now there is none")

    def _absences(self) -> Iterator[Finding]:
        absences = self._reader.absences(self._series)
        held = self._held()
        last: Span | None = None
        for one in absences:
            interval = self._series.interval
            text = f"absence to {shown_time(one.span.end)}: {one.reason.value}"
            if one.span.start >= one.span.end:
                yield self._finding("absence", one.span, f"{text} ends before it starts")
                continue
            if last is not None and one.span.start < last.end:
                yield self._finding("absence", one.span, f"{text} overlaps the one before")
            last = one.span
            if one.reason is Reason.MISSING:
                yield self._finding("absence", one.span, f"{text} is derived and never recorded")
            if not one.evidence:
                yield self._finding("evidence", one.span, f"{text} has no evidence")
            grid = Span(interval.ceil(one.span.start), interval.ceil(one.span.end))
            for span in common(held, [grid]) if grid.start < grid.end else []:
                rows = interval.count(span)
                yield self._finding("absence", span, f"{text}, but {rows} candles are held there")

    def _files(self) -> Iterator[Finding]:
        """Archive rows against the ledger; a candle of three days or a week may outlast its file."""
        interval = self._series.interval
        taken = []
        for one in file_records(self._reader, self._series):
            if one.verdict not in TAKEN:
                if one.rows:
                    yield self._finding("source", one.span, f"file {one.name} was rejected, but gave {one.rows} rows")
                continue
            if one.verdict is Verdict.MATCHED and one.checksum != one.sha256:
                detail = (
                    f"file {one.name} is {one.verdict.value}: sha256 {one.sha256}, CHECKSUM {one.checksum or 'none'}"
                )
                yield self._finding("source", one.span, detail)
            if one.rows:
                taken.append(Span(interval.ceil(one.span.start), interval.ceil(one.span.end)))
        archived = join(run.span for run in self._runs if run.source is Source.ARCHIVE)
        for span in without(archived, join(taken)):
            rows = interval.count(span)
            detail = f"to {shown_time(span.end)}: {rows} rows are from the archive, but from no file of the ledger"
            yield self._finding("source", span, detail)

    def _certificate(self) -> Iterator[Finding]:
        document = certificate_of(self._reader, self._series)
        if document is None:
            return
        try:
            certificate = Certificate.from_json(document)
        except DecodeError as error:
            yield self._finding("document", None, f"the certificate that is kept: {error}")
            return
        if certificate.series != str(self._series):
            yield self._finding("document", None, f"the certificate that is kept is for {certificate.series}")
            return
        # What was revised, brought or explained since the load that issued it: worth knowing, and no damage.
        lawful = {"revised", "row added", "resolved"}
        for one in verify(certificate, self._reader):
            yield one._replace(is_note=one.what in lawful)
