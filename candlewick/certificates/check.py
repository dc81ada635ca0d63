"""A certificate against a store: whether what it states is still what is held, and what is not."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from candlewick.certificates import survey
from candlewick.certificates.consistency import candle_spans, contradictions
from candlewick.certificates.document import AbsenceEntry, BlockEntry, Certificate, SourceEntry, entry_span
from candlewick.certificates.finding import Finding, shown_time
from candlewick.certificates.history import replaced_values
from candlewick.certificates.issue import explain, sources_of
from candlewick.certificates.locate import Home
from candlewick.certificates.rows import differences
from candlewick.certificates.survey import Part, Run, block_span, clipped
from candlewick.errors import DecodeError, StoreError, UsageError
from candlewick.integrity.halts import NEEDED, find_halts
from candlewick.integrity.spans import common, join, within, without
from candlewick.market import Market, Series, Span
from candlewick.stores.grid import block_of
from candlewick.stores.provenance import file_records
from candlewick.stores.store import Reason, Rows, Source, StoreReader, info_of


def verify(certificate: Certificate, reader: StoreReader) -> list[Finding]:
    """Everything in which a certificate differs from itself or from what `reader` holds; empty: it is proved.

    A row that has since been vouched for by a better source is no difference. A row that a settled source has
    revised is one, `revised`; a row where the certificate has none is `row added`, and a reason for what was
    missing or pending `resolved`.

    Raises:
        StoreError: the store as a whole cannot be read; single blocks that cannot are findings.
    """
    found = contradictions(certificate)
    try:
        series = certificate.parsed_series()
    except UsageError:
        return found
    if any(one.what in {"range", "document"} for one in found):
        return found  # its ranges cannot be held against anything
    return [*found, *_Check(certificate, series, reader).findings()]


class _Check:
    """One pass over the store with the certificate beside it."""

    def __init__(self, certificate: Certificate, series: Series, reader: StoreReader) -> None:
        self._certificate = certificate
        self._series = series
        self._reader = reader
        self._span = certificate.span
        self._candles = candle_spans(certificate)
        self._entries = {one.block: one for one in certificate.blocks}
        self._runs: list[Run] = []
        self._unreadable: list[Span] = []
        self._gone: list[Span] = []
        self._is_idle = False

    @cached_property
    def _revisions(self) -> Rows:
        return self._reader.revisions(self._series)

    def findings(self) -> list[Finding]:
        if info_of(self._reader, self._series) is None:
            return [self._finding("series", None, f"the store at {self._reader.location} does not hold it")]
        found = list(self._rows())
        rows_are_whole = not found
        found += self._presence()
        found += self._absences()
        found += self._sources()
        if rows_are_whole:
            found += self._halts()
        return found

    def _finding(self, what: str, span: Span | None, detail: str) -> Finding:
        return Finding(str(self._series), span, what, detail)

    def _rows(self) -> Iterator[Finding]:
        for stretch in survey.stretches(self._series.interval, self._span):
            try:
                yield from self._part(survey.read_part(self._reader, self._series, stretch))
            except StoreError:
                for span in self._blocks_of(stretch):
                    try:
                        yield from self._part(survey.read_part(self._reader, self._series, span))
                    except StoreError as error:
                        self._unreadable.append(span)
                        yield self._finding("damaged", span, f"to {_end(span)}: {error}")

    def _blocks_of(self, stretch: Span) -> Iterator[Span]:
        interval = self._series.interval
        for block in range(block_of(interval, stretch.start), block_of(interval, stretch.end - 1) + 1):
            yield clipped(block_span(interval, block), stretch)

    def _part(self, part: Part) -> list[Finding]:
        runs = survey.runs(part, self._series.interval)
        self._is_idle = self._is_idle or bool((part.columns["trades"] == 0).any())
        found = []
        for block, digest in survey.digests(part, self._series):
            entry = self._entries.get(block)
            if entry is not None and digest.hex() != entry.sha256:
                found += self._block(part, entry)
        survey.extend(self._runs, runs)
        return found

    def _block(self, part: Part, entry: BlockEntry) -> list[Finding]:
        """What is different in a block; rows that are there besides are not looked at here."""
        span = entry_span(entry)
        first, last = np.searchsorted(part.times, span)
        held = {name: column[first:last] for name, column in part.columns.items()}
        known = within(held["open_time"], common(self._candles, [span]))
        held = {name: column[known] for name, column in held.items()}
        home = Home(self._series, entry.block)
        try:
            certified = entry.leaf
        except DecodeError:
            return []  # `contradictions` has said so
        revisions = self._revisions
        first, last = np.searchsorted(revisions["open_time"], span)
        replaced = replaced_values(certified, held, revisions[first:last], home)
        return replaced if replaced is not None else differences(certified, held, home, span)

    def _presence(self) -> list[Finding]:
        """Candles that are gone or have come, by the ranges."""
        held = join(run.span for run in self._runs)
        found = []
        self._gone = without(self._candles, held)
        for span in without(self._gone, self._unreadable):
            count = self._series.interval.count(span)
            rows = "row is" if count == 1 else f"{count} rows, to {_end(span)}, are"
            found.append(self._finding("row missing", span, f"{rows} certified, now there is none"))
        for span in without(held, self._candles):
            count = self._series.interval.count(span)
            rows = "a row is" if count == 1 else f"{count} rows, to {_end(span)}, are"
            found.append(self._finding("row added", span, f"none was certified, now {rows} there"))
        settled = join(run.span for run in self._runs if run.source is not Source.LIVE)
        certified = [entry_span(one) for one in self._certificate.certified]
        for span in without(common(certified, held), settled):
            detail = f"source: certified as settled, to {_end(span)}, now only from the live feed"
            found.append(self._finding("source", span, detail))
        return found

    def _absences(self) -> list[Finding]:
        """The reasons recorded now for the times at which the certificate has no candle."""
        holes = without([self._span], self._candles)
        now = {one.start_ms: one for one in explain(self._series.interval, holes, self._reader.absences(self._series))}
        then = {one.start_ms: one for one in self._certificate.absences}
        found = []
        for start in sorted(now.keys() | then.keys()):
            before, after = then.get(start), now.get(start)
            if before == after:
                continue
            one = before or after
            assert one is not None
            what = "evidence" if before and after and _but_evidence(before) == _but_evidence(after) else "reason"
            detail = f"{what}: certified {_told(before)}, now {_told(after)}"
            is_known_now = before is not None and before.reason in {Reason.MISSING, Reason.PENDING}
            found.append(self._finding("resolved" if is_known_now else what, entry_span(one), detail))
        return found

    def _sources(self) -> list[Finding]:
        """The files the certificate names against the ledger."""
        records = file_records(self._reader, self._series)
        ledger = {one.name: one for one in records}
        counted = {one.file: one for one in sources_of(records, self._runs, self._series, self._span) if one.file}
        found = []
        for entry in self._certificate.sources:
            if not entry.file:
                continue
            record = ledger.get(entry.file)
            if record is None:
                found.append(self._source(entry, "is not in the ledger"))
                continue
            for name, then, now in (
                ("sha256", entry.sha256, record.sha256),
                ("checksum", entry.checksum, record.checksum),
                ("verdict", entry.verdict, record.verdict.value),
                ("span", entry_span(entry), survey.opened(self._series.interval, record.span, self._span)),
            ):
                if then != now:
                    found.append(self._source(entry, f"{name}: certified {then or 'none'}, now {now or 'none'}"))
            rows = counted[entry.file].rows if entry.file in counted else 0
            gone = sum(map(self._series.interval.count, common(self._gone, [entry_span(entry)])))
            if rows + gone < entry.rows:
                found.append(self._source(entry, f"rows: certified {entry.rows}, now {rows}"))
        return found

    def _source(self, entry: SourceEntry, detail: str) -> Finding:
        return self._finding("source", entry_span(entry), f"file {entry.file} {detail}")

    def _halts(self) -> list[Finding]:
        now: list[Span] = []
        if self._is_idle and self._series.market is Market.USDM:
            columns = self._reader.columns(self._series, *self._span, columns=NEEDED)
            now = find_halts(columns, self._series)
        then = [entry_span(one) for one in self._certificate.halts]
        changed = [(span, "certified, now none") for span in then if span not in now]
        changed += [(span, "certified none, now one") for span in now if span not in then]
        return [self._finding("halt", span, f"halt to {_end(span)}: {text}") for span, text in changed]


def _but_evidence(entry: AbsenceEntry) -> tuple[int, int, str]:
    return entry.start_ms, entry.end_ms, entry.reason.value


def _told(entry: AbsenceEntry | None) -> str:
    if entry is None:
        return "nothing from here"
    return f"{entry.reason.value} to {_end(entry_span(entry))}" + (f" by {entry.evidence}" if entry.evidence else "")


def _end(span: Span) -> str:
    return shown_time(span.end)
