"""Issuing certificates: one pass over what the store holds."""

from bisect import bisect_left, bisect_right
from typing import NamedTuple

from candlewick.certificates import survey
from candlewick.certificates.document import (
    AbsenceEntry,
    BlockEntry,
    Certificate,
    SourceEntry,
    range_of,
)
from candlewick.certificates.encoding import Leaf
from candlewick.certificates.survey import Run, block_span, clipped
from candlewick.errors import UsageError
from candlewick.integrity.halts import NEEDED, find_halts
from candlewick.integrity.spans import join, without
from candlewick.market import Interval, Market, Series, Span, format_time
from candlewick.stores.provenance import TAKEN, FileRecord, file_records
from candlewick.stores.store import FINAL_REASONS, Absence, Reason, Source, StoreReader, info_of


class Held(NamedTuple):
    """What a pass over a range found."""

    runs: list[Run]
    leaves: list[tuple[int, Leaf]]
    halts: list[Span]


def certify(reader: StoreReader, series: Series, span: Span | None = None) -> Certificate:
    """The certificate of what `reader` holds of a series, from its first candle to after its last or in `span`.

    `span` stands for the candles that open in it: both its ends are moved forward to the grid.

    Raises:
        UsageError: the store has no such series or no candle of it, or no candle opens in `span`.
        StoreDamaged: what is stored cannot be read, or cannot be candles of this series.
    """
    whole = range_for(reader, series, span)
    return state(reader, series, whole, look(reader, series, whole))


def range_for(reader: StoreReader, series: Series, span: Span | None) -> Span:
    """The range that a certificate of `span` is for: from grid time to grid time.

    Raises:
        UsageError: as `certify`.
    """
    info = info_of(reader, series)
    interval = series.interval
    if info is None or info.first is None or info.last is None:
        if info is not None and span is not None:
            return _on_grid(interval, span)
        raise UsageError(
            f"the store at {reader.location} has no candle of {series}: load it, or see `candlewick status`"
        )
    return Span(info.first, interval.next(info.last)) if span is None else _on_grid(interval, span)


def look(reader: StoreReader, series: Series, span: Span) -> Held:
    """Read all rows of a range once, some blocks at a time; of USD-M with idle candles, prices once more to find halts.

    Raises:
        StoreDamaged: as `certify`.
    """
    held = Held([], [], [])
    is_idle = False
    for stretch in survey.stretches(series.interval, span):
        part = survey.read_part(reader, series, stretch)
        held.leaves.extend(survey.leaves(part, series))
        survey.extend(held.runs, survey.runs(part, series.interval))
        is_idle = is_idle or bool((part.columns["trades"] == 0).any())
    if is_idle and series.market is Market.USDM:
        columns = reader.columns(series, span.start, span.end, columns=NEEDED)
        held.halts.extend(find_halts(columns, series))
    return held


def state(reader: StoreReader, series: Series, span: Span, held: Held) -> Certificate:
    """The certificate that states what was found."""
    interval = series.interval
    candles = join([run.span for run in held.runs])
    absences = explain(interval, without([span], candles), reader.absences(series))
    certified = join([run.span for run in held.runs if run.source is not Source.LIVE])
    live = [range_of(run.span, interval) for run in held.runs if run.source is Source.LIVE]
    missing = sum(one.candles for one in absences if one.reason is Reason.MISSING)
    settled = not live and all(one.reason in FINAL_REASONS for one in absences)
    return Certificate(
        series=str(series),
        range=str(span),
        start_ms=span.start // 1000,
        end_ms=span.end // 1000,
        expected=interval.count(span),
        present=sum(leaf.rows for _, leaf in held.leaves),
        absent=sum(one.candles for one in absences) - missing,
        missing=missing,
        unsettled=sum(one.candles for one in live),
        complete=settled,
        certified=tuple(range_of(one, interval) for one in certified),
        unconfirmed=tuple(live),
        absences=tuple(absences),
        halts=tuple(range_of(one, interval) for one in held.halts),
        sources=tuple(sources_of(file_records(reader, series), held.runs, series, span)),
        blocks=tuple(
            BlockEntry.of(block, clipped(block_span(interval, block), span), leaf) for block, leaf in held.leaves
        ),
    ).sealed()


def explain(interval: Interval, holes: list[Span], absences: list[Absence]) -> list[AbsenceEntry]:
    """The holes, cut where what is recorded of them changes; what nothing is recorded of is missing."""
    found: list[AbsenceEntry] = []

    def add(start: int, end: int, reason: Reason, evidence: str) -> None:
        if start >= end:
            return
        before = found[-1] if found else None
        if before is not None and (before.end_ms * 1000, before.reason, before.evidence) == (start, reason, evidence):
            start = found.pop().start_ms * 1000
        found.append(AbsenceEntry(start // 1000, end // 1000, interval.count(Span(start, end)), reason, evidence))

    ordered = iter(absences)
    absence = next(ordered, None)
    for start, end in holes:
        at = start
        while absence is not None:
            first = min(max(interval.ceil(absence.span.start), at), end)
            last = min(max(interval.ceil(absence.span.end), at), end)
            if first < last:
                add(at, first, Reason.MISSING, "")
                add(first, last, absence.reason, absence.evidence)
                at = last
            if interval.ceil(absence.span.end) > end:
                break  # it may reach into the next hole
            absence = next(ordered, None)
        add(at, end, Reason.MISSING, "")
    return found


def sources_of(records: list[FileRecord], runs: list[Run], series: Series, span: Span) -> list[SourceEntry]:
    """The files that vouch for rows of a range, then the runs that REST and the live feed gave."""
    interval = series.interval
    archived = [run.span for run in runs if run.source is Source.ARCHIVE]
    starts, ends = [one.start for one in archived], [one.end for one in archived]
    found = []
    for record in records:
        if record.verdict not in TAKEN or not record.rows:
            continue
        part = survey.opened(interval, record.span, span)
        near = archived[bisect_right(ends, part.start) : bisect_left(starts, part.end)]
        rows = sum(interval.count(clipped(one, part)) for one in near)
        if rows:
            found.append(
                SourceEntry(
                    "archive", part.start // 1000, part.end // 1000, rows, record.name, record.sha256, record.checksum,
                    record.verdict.value,
                )
            )  # fmt: skip
    taken = join(survey.opened(interval, one.span, span) for one in records if one.verdict in TAKEN and one.rows)
    found += [
        SourceEntry("archive", start // 1000, end // 1000, interval.count(Span(start, end)))
        for start, end in without(join(archived), taken)
    ]
    for run in runs:
        if run.source is not Source.ARCHIVE:
            rows = interval.count(run.span)
            found.append(SourceEntry(run.source.name.lower(), run.span.start // 1000, run.span.end // 1000, rows))
    return found


def _on_grid(interval: Interval, span: Span) -> Span:
    start, end = interval.ceil(span.start), interval.ceil(span.end)
    if start >= end:
        raise UsageError(
            f"no candle of {interval} opens from {format_time(span.start)} to {format_time(span.end)}: widen the range"
        )
    return Span(start, end)
