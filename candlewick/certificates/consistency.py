"""Whether a certificate agrees with itself: hashes, counts and ranges. Nothing of a store is needed for it."""

import re
from collections.abc import Callable, Iterator
from itertools import pairwise

from candlewick.certificates.document import (
    BlockEntry,
    Certificate,
    Range,
    SourceEntry,
    entry_span,
)
from candlewick.certificates.finding import Finding, shown_time
from candlewick.certificates.survey import block_span, clipped
from candlewick.errors import DecodeError, UsageError
from candlewick.integrity.spans import common, join, without
from candlewick.market import Series, Span
from candlewick.stores.provenance import TAKEN, Verdict
from candlewick.stores.store import FINAL_REASONS, Reason

_HASH = re.compile(r"[0-9a-f]{64}")

Complain = Callable[[str, Span | None, str], Finding]


def contradictions(certificate: Certificate) -> list[Finding]:
    """Everything in a certificate that another part of it contradicts; of one that was issued, nothing."""

    def complain(what: str, span: Span | None, detail: str) -> Finding:
        return Finding(certificate.series, span, what, f"certificate: {detail}")

    try:
        series = certificate.parsed_series()
        found = list(_hashes(certificate, complain))
    except (UsageError, DecodeError) as error:
        return [complain("document", None, str(error))]
    span, interval = certificate.span, series.interval
    try:
        on_grid = span.start < span.end and all(interval.floor(edge) == edge for edge in span)
        found += [] if str(span) == certificate.range else [complain("range", span, f"its range is not {span}")]
    except (OverflowError, ValueError):
        on_grid = False
    if not on_grid:
        return [*found, complain("range", None, "its range is not one of whole candles")]
    found += _counts(certificate, series, complain)
    found += _ranges(certificate, series, complain)
    if not any(one.what == "range" for one in found):
        found += _blocks(certificate, series, complain)
        found += _sources(certificate, series, complain)
    return found


def candle_spans(certificate: Certificate) -> list[Span]:
    """Where it says there are candles."""
    return join(map(entry_span, (*certificate.certified, *certificate.unconfirmed)))


def _hashes(certificate: Certificate, complain: Complain) -> Iterator[Finding]:
    for name, now in (
        ("root", certificate.root_now()),
        ("content", certificate.content_now()),
        ("sha256", certificate.sha256_now()),
    ):
        stated = getattr(certificate, name)
        if stated != now:
            yield complain("digest", None, f"{name} is stated as {stated}, but what it is over gives {now}")


def _counts(certificate: Certificate, series: Series, complain: Complain) -> Iterator[Finding]:
    one = certificate
    missing = sum(each.candles for each in one.absences if each.reason is Reason.MISSING)
    is_complete = not one.unconfirmed and all(each.reason in FINAL_REASONS for each in one.absences)
    for name, stated, now in (
        ("expected", one.expected, series.interval.count(one.span)),
        ("present", one.present, sum(each.rows for each in one.blocks)),
        ("present", one.present, sum(each.candles for each in (*one.certified, *one.unconfirmed))),
        ("unsettled", one.unsettled, sum(each.candles for each in one.unconfirmed)),
        ("missing", one.missing, missing),
        ("absent", one.absent, sum(each.candles for each in one.absences) - missing),
        ("expected", one.expected, one.present + one.absent + one.missing),
        ("complete", one.complete, is_complete),
    ):
        if stated != now:
            yield complain("count", None, f"{name} is stated as {stated}, but its parts make {now}")


def _ranges(certificate: Certificate, series: Series, complain: Complain) -> Iterator[Finding]:
    """Certified, unconfirmed and absent ranges cover the whole range, each time once; equal neighbours are one."""
    interval, whole = series.interval, certificate.span
    lists: dict[str, tuple[Range, ...]] = {
        "certified": certificate.certified, "unconfirmed": certificate.unconfirmed,
        "absences": certificate.absences, "halts": certificate.halts,
    }  # fmt: skip
    for name, entries in lists.items():
        for entry in entries:
            span = entry_span(entry)
            if not (whole.start <= span.start < span.end <= whole.end) or any(interval.floor(t) != t for t in span):
                yield complain("range", None, f"{name}: {entry.start_ms} to {entry.end_ms} is not whole candles of it")
                return
            if entry.candles != interval.count(span):
                yield complain("range", span, f"{name}: {entry.candles} candles are stated, {span} has another number")
        for before, after in pairwise(entries):
            touching = name in {"certified", "unconfirmed"} and before.end_ms == after.start_ms
            if before.end_ms > after.start_ms or touching:
                yield complain("range", entry_span(after), f"{name}: ranges overlap, are out of order or should be one")
    yield from _tiling(certificate, complain)


def _tiling(certificate: Certificate, complain: Complain) -> Iterator[Finding]:
    """Each time is certified, unconfirmed or absent, once; halts are among candles, evidence is where it must be."""
    whole = certificate.span
    tiles = sorted(map(entry_span, (*certificate.certified, *certificate.unconfirmed, *certificate.absences)))
    edges = [whole.start, *(edge for tile in tiles for edge in tile), whole.end]
    for end, start in zip(edges[::2], edges[1::2], strict=True):
        if end != start:
            where = Span(min(end, start), max(end, start))
            yield complain("range", where, f"{where} is stated {'never' if end < start else 'twice'}")
    for entry in certificate.absences:
        if (entry.reason is Reason.MISSING) != (not entry.evidence):
            yield complain("evidence", entry_span(entry), f"{entry.reason.value} with evidence {entry.evidence!r}")
    halts = [entry_span(one) for one in certificate.halts]
    for span in without(join(halts), candle_spans(certificate)):
        yield complain("range", span, f"a halt without candles from {span}")


def _blocks(certificate: Certificate, series: Series, complain: Complain) -> Iterator[Finding]:
    candles = candle_spans(certificate)
    for before, after in pairwise(certificate.blocks):
        if before.block >= after.block:
            yield complain("block", None, f"block {after.block} is repeated or out of order")
    for entry in certificate.blocks:
        yield from _block(entry, certificate.span, series, candles, complain)


def _block(
    entry: BlockEntry, whole: Span, series: Series, candles: list[Span], complain: Complain
) -> Iterator[Finding]:
    try:
        span = clipped(block_span(series.interval, entry.block), whole)
    except OverflowError:
        span = Span(0, 0)
    if span.start == span.end or span != entry_span(entry):
        yield complain("block", None, f"block {entry.block} is not from {entry.start_ms} to {entry.end_ms}")
        return
    rows = sum(series.interval.count(one) for one in common(candles, [span]))
    if rows != entry.rows:
        yield complain("block", span, f"block {entry.block} states {entry.rows} rows, the ranges have {rows} in it")
    if not _HASH.fullmatch(entry.sha256):
        yield complain("block", span, f"block {entry.block} has no SHA-256")


def _sources(certificate: Certificate, series: Series, complain: Complain) -> Iterator[Finding]:
    certified = [entry_span(one) for one in certificate.certified]
    live = [entry_span(one) for one in certificate.sources if one.source == "live"]
    if live != [entry_span(one) for one in certificate.unconfirmed]:
        yield complain("source", None, "its live sources are not its unconfirmed ranges")
    for entry in certificate.sources:
        span = entry_span(entry)
        rows = series.interval.count(span) if span.start < span.end else 0
        if clipped(span, certificate.span) != span or not 0 < entry.rows <= rows:
            yield complain("source", None, f"{_named(entry)} gives {entry.rows} rows from {shown_time(span.start)}")
        elif not _is_sound(entry, rows):
            yield complain("source", span, f"{_named(entry)} is not stated as such a source is")
    settled = join(entry_span(one) for one in certificate.sources if one.source != "live")
    for span in without(certified, settled):
        yield complain("source", span, f"certified from {span} without a source")


def _is_sound(entry: SourceEntry, rows: int) -> bool:
    if entry.source == "archive" and entry.file:
        checked = entry.verdict != Verdict.MATCHED or entry.checksum == entry.sha256
        return bool(_HASH.fullmatch(entry.sha256)) and entry.verdict in TAKEN and checked
    plain = not entry.file and not entry.sha256 and entry.checksum is None and not entry.verdict
    return entry.source in {"archive", "rest", "live"} and plain and entry.rows == rows


def _named(entry: SourceEntry) -> str:
    return entry.file or f"source {entry.source}"
