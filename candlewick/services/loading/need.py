"""What a load still has to get of a series, held against what the store has."""

import json
from collections.abc import Sequence
from typing import Any

from candlewick.integrity.gaps import OpenTimes, missing_spans
from candlewick.integrity.spans import join, within
from candlewick.market import Interval, Series, Span
from candlewick.stores.provenance import TAKEN, FileRecord, rebuilt_spans
from candlewick.stores.store import FINAL_REASONS, Absence, Reason, Source, StoreReader


def needed(
    store: StoreReader, series: Series, span: Span, records: Sequence[FileRecord], *, recheck: bool = False
) -> list[Span]:
    """The grid times in `span` without a settled candle and without a reason that lasts, in order.

    A candle of the archive is settled when the ledger names its file; one that was made of trades is not. `recheck`
    counts what REST vouched for as not yet settled, so that it is held against the archive.
    """
    if span.start >= span.end:
        return []
    held = store.columns(series, span.start, span.end, columns=["open_time", "source"])
    times, sources = held["open_time"], held["source"]
    recorded = join(one.span for one in records if one.verdict in TAKEN)
    settled = (sources == int(Source.ARCHIVE)) & within(times, recorded)
    settled &= ~within(times, rebuilt_spans(store, series))
    if not recheck:
        settled |= sources == int(Source.REST)
    lasting = [one for one in store.absences(series) if lasts(one)]
    return missing_spans(times if settled.all() else times[settled], series.interval, span, lasting)


def unheld(store: StoreReader, series: Series, spans: Sequence[Span]) -> list[Span]:
    """Those of the grid times in `spans` that have no candle from whatever source."""
    left: list[Span] = []
    for span in spans:
        times = store.columns(series, span.start, span.end, columns=["open_time"])["open_time"]
        left += missing_spans(times, series.interval, span, ())
    return join(left)


def lacking(times: OpenTimes, interval: Interval, spans: Sequence[Span]) -> list[Span]:
    """Those of the grid times in `spans` that are not among the ordered `times`."""
    return join(hole for span in spans for hole in missing_spans(times, interval, span, ()))


def lasts(absence: Absence) -> bool:
    """Whether a reason need not be asked for again: it is final, and an outage was asked of the archive too."""
    if absence.reason not in FINAL_REASONS:
        return False
    asked = asked_of(absence)
    if absence.reason is Reason.EXCHANGE_OUTAGE:
        return any(str(one["who"]).startswith("archive") for one in asked)
    return bool(asked)


def asked_of(absence: Absence) -> list[dict[str, Any]]:
    """Who was asked, as the evidence says; nothing where it was written by whoever asks REST alone."""
    try:
        entries = json.loads(absence.evidence)["asked"]
    except (ValueError, TypeError, KeyError):
        return []
    return [one for one in entries if isinstance(one, dict) and "who" in one] if isinstance(entries, list) else []
