"""Which holes are known and still open: told once when they are found or grow, and once when nothing of them is left.

Pure. A hole may grow while nobody can fill it, be filled in parts, from REST or by a late frame, and end as an absence.
"""

from collections.abc import Iterable

from candlewick.events import GapClosed
from candlewick.market import Series, Span


class _Hole:
    """Adjacent grid times that were all missing; `open` are those that still are."""

    __slots__ = ("absent", "open", "span")

    def __init__(self, span: Span) -> None:
        self.span = span
        self.open = [span]
        self.absent = 0


class Holes:
    """The open holes of every series."""

    def __init__(self) -> None:
        self._known: dict[Series, list[_Hole]] = {}
        self.found = self.closed = 0
        """How many there were; one that grows is still one."""

    def missing(self, series: Series) -> int:
        """Candles of a series that were found missing, and have neither come nor got a reason yet."""
        return sum(series.interval.count(span) for hole in self._known.get(series, ()) for span in hole.open)

    def find(self, series: Series, spans: Iterable[Span]) -> list[Span]:
        """These grid times have no candle; returns the holes of which something was not known before, whole."""
        news = []
        for span in spans:
            known = self._known.get(series, [])
            if not _without([span], [part for hole in known for part in hole.open]):
                continue
            hole = _Hole(span)
            touching = [one for one in known if one.span.start <= span.end and span.start <= one.span.end]
            for one in touching:
                hole.span = Span(min(one.span.start, hole.span.start), max(one.span.end, hole.span.end))
                hole.open += _without(one.open, hole.open)
                hole.absent += one.absent
            self.found += not touching
            self._known[series] = [one for one in known if one not in touching] + [hole]
            news.append(hole.span)
        return news

    def settle(self, series: Series, asked: Span, absent: list[Span], still: list[Span]) -> list[GapClosed]:
        """Of the grid times in `asked`, those in `absent` have got a reason now and only those in `still` are open.

        Returns the holes of which nothing is left.
        """
        closed = []
        kept = []
        for hole in self._known.get(series, ()):
            if hole.span.start < asked.end and asked.start < hole.span.end:
                hole.absent += sum(map(series.interval.count, _within(hole.open, absent)))
                hole.open = _without(hole.open, [asked]) + _within(hole.open, [_cut(one, asked) for one in still])
            if hole.open:
                kept.append(hole)
                continue
            candles = series.interval.count(hole.span)
            reason = "the exchange has none" if hole.absent else "recovered"
            closed.append(GapClosed(series, hole.span, candles, candles - hole.absent, reason))
        self.closed += len(closed)
        if kept:
            self._known[series] = kept
        else:
            self._known.pop(series, None)
        return closed


def _cut(span: Span, edges: Span) -> Span:
    return Span(max(span.start, edges.start), min(span.end, edges.end))


def _within(spans: list[Span], others: list[Span]) -> list[Span]:
    """What of `spans` lies in `others`, which do not overlap each other."""
    parts = (_cut(span, other) for span in spans for other in others)
    return [part for part in parts if part.start < part.end]


def _without(spans: list[Span], others: list[Span]) -> list[Span]:
    """What of `spans` lies in none of `others`."""
    for other in others:
        spans = [
            part
            for span in spans
            for part in (Span(span.start, min(span.end, other.start)), Span(max(span.start, other.end), span.end))
            if part.start < part.end
        ]
    return spans
