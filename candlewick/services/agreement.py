"""Whether the candles of higher intervals are those that the lower ones make; the exchange has days on which not."""

from collections import defaultdict
from math import isnan

from candlewick.certificates.finding import Finding
from candlewick.errors import StoreDamaged
from candlewick.market import Market, Series, Span, format_time
from candlewick.reading.deriving import Derived, compare, find_lower
from candlewick.stores.store import SeriesInfo, StoreReader

MOST_NAMED = 20
"""Values of one series that are named; the others are counted."""


def compare_intervals(reader: StoreReader) -> list[Finding]:
    """As notes, every value of a candle that the candles of a lower interval give otherwise.

    Candles of which a part is missing in the lower interval are left out, and series that cannot be read.
    """
    known = reader.series(counted=False)
    of_symbol: dict[tuple[Market, str], list[SeriesInfo]] = defaultdict(list)
    for info in known:
        of_symbol[info.series[:2]].append(info)
    found: list[Finding] = []
    for info in known:
        beside = of_symbol[info.series[:2]]
        lower = find_lower(beside, info.series) if info.rows else None
        if lower is None or info.first is None or info.last is None:
            continue
        held = next(one for one in beside if one.series == lower)
        if held.first is None or held.last is None:
            continue
        start, end = max(info.first, held.first), min(info.last, held.last) + 1
        try:
            found += _differences(reader, info.series, lower, Span(start, end))
        except StoreDamaged:
            continue  # the audit has said so, and where
    return found


def _differences(reader: StoreReader, series: Series, lower: Series, span: Span) -> list[Finding]:
    interval = series.interval
    differing = compare(reader, Derived(reader, series, lower), *span)
    found = []
    for at in range(min(len(differing.column), MOST_NAMED)):
        time, column = int(differing.open_time[at]), differing.column[at]
        stored, derived = float(differing.stored[at]), float(differing.derived[at])
        if isnan(stored) or isnan(derived):
            if column != differing.column[0]:
                continue  # once a candle
            text = f"there is a candle of {lower.interval if isnan(stored) else interval} alone"
        else:
            text = f"{column}: {_shown(column, stored)}, of {lower.interval} it is {_shown(column, derived)}"
        found.append(Finding(str(series), Span(time, interval.next(time)), "disagreement", text, is_note=True))
    count = len(set(differing.open_time.tolist()))
    if count:
        text = f"{count} candles differ from those of {lower.interval} in {len(differing.column)} values"
        found.append(Finding(str(series), span, "disagreement", text, is_note=True))
    return found


def _shown(column: str, value: float) -> str:
    return format_time(int(value) * 1000) if column == "close_time" else repr(value)
