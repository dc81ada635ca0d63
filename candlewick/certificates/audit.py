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


def verify_store(reader: StoreReader, now: int, kept_since: int = 0) -> list[Finding]:
    """Everything in which a store contradicts itself; `now` is the time at which its candles must be over.

    What cannot be read is a finding, and the rest is looked at all the same. That a series begins later than it was
    certified is a note where the store lets candles go that open before `kept_since`.

    Raises:
        StoreError: not even its list of series can be read.
    """
    found: list[Finding] = []
    for info in reader.series():
        found += _Audit(reader, info, now, kept_since).findings()
    return found


class _Audit:
    """One series."""

    def __init__(self, reader: StoreReader, info: SeriesInfo, now: int, kept_since: int) -> None:
        self._reader = reader
        self._info = info
        self._series = info.series
        self._now = now
        self._let_go = kept_since if info.first is None else min(info.first, kept_since)
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
        return [self._excused(one) if self._is_of_past(one) else one for one in found]

    def _is_of_past(self, one: Finding) -> bool:
        """Whether it says that rows are gone which the store lets go."""
        if one.span is None:
            return False
        if one.what in {"block", "halt"}:  # no more than a part of it is held
            return one.span.start < self._let_go
        return one.what in {"row", "row missing"} and one.span.end <= self._let_go

    def _excused(self, one: Finding) -> Finding:
        kept = "nothing" if self._info.first is None else f"what opens from {shown_time(self._info.first)}"
        return one._replace(is_note=True, detail=f"{one.detail}: as old as that, the store keeps {kept}")

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
        """What the store counts of the series. It may have filled holes and let old rows go while they were read."""
        before = self._info
        if (before.rows, before.first, before.last) == (rows, first, last):
            return
        known = self._reader.series(symbol=self._series.symbol)  # counting is dear where many write
        after = next((one for one in known if one.series == self._series), SeriesInfo(self._series, 0, None, None))
        if not min(before.rows, after.rows) <= rows <= max(before.rows, after.rows):
            yield self._finding("count", None, f"rows: the store counts {before.rows}, there is {rows}")
        if first not in {before.first, after.first}:
            yield self._finding("count", None, f"first: the store counts {before.first}, there is {first}")
        if last not in {before.last, after.last}:
            yield self._finding("count", None, f"last: the store counts {before.last}, there is {last}")

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
