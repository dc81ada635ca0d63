"""What no source had: the reason, the evidence, and how reasons are kept so that the order of loads leaves no trace."""

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from candlewick.history.archive_plan import Way
from candlewick.integrity.spans import common, join, without
from candlewick.market import DAY, Interval, Span, format_time
from candlewick.services.loading.need import asked_of, lasts
from candlewick.stores.store import Absence, Reason

LATE = 8 * DAY
"""A day's file is called late, and not absent, for so long after its day; as seen, it comes up to a week late."""
LATE_LONG = 45 * DAY
"""The same of intervals that have monthly files only, after the candle."""

NOT_PUBLISHED, NO_ROW, REJECTED = "not published", "no row", "rejected"
LATER = "later candles, none of these"
NOTHING_LATER = "no candle of these, and none later"


UNUSABLE = "a row that cannot be kept"
"""Begins an answer about a candle that somebody has and that breaks a rule, or has twice with different values."""


class Asked(NamedTuple):
    """Somebody was asked for the candles of a span, and answered that there are none."""

    span: Span
    who: Way
    name: str
    when: int
    answer: str
    sha256: str = ""

    def entry(self) -> dict[str, str]:
        """As it stands in the evidence."""
        entry = {"who": self.who.value, "name": self.name, "when": format_time(self.when), "answer": self.answer}
        return entry | ({"sha256": self.sha256} if self.sha256 else {})


def unusable(interval: Interval, times: Iterable[int], who: Way, name: str, when: int, sha256: str = "") -> list[Asked]:
    """What is said of the candles in which rows open that cannot be kept."""
    cells = sorted({interval.floor(time) for time in times})
    return [Asked(Span(cell, interval.next(cell)), who, name, when, UNUSABLE, sha256) for cell in cells]


class Trading(NamedTuple):
    """When a symbol traded, as far as is known, and how; 0 where it is not."""

    first: int = 0
    """Open time of its first candle of the interval."""
    after_last: int = 0
    """Where its candles end; set only where it has stopped trading."""
    first_asked: tuple[Asked, ...] = ()
    last_asked: tuple[Asked, ...] = ()


class Sorted(NamedTuple):
    """What became of grid times that no source had."""

    absences: list[Absence]
    missing: list[Span]
    """Without a reason: somebody could not be asked, or what was answered proves nothing."""


def sort_holes(
    interval: Interval, holes: Sequence[Span], asked: Sequence[Asked], unasked: Sequence[Span], trading: Trading,
    now: int,
) -> Sorted:  # fmt: skip
    """Find the reason of each hole. `unasked`: in order, where somebody could not be asked."""
    absences: list[Absence] = []
    left = list(holes)
    if trading.first:
        before = common(left, [Span(-(1 << 62), trading.first)])
        absences += [_absence(one, Reason.NOT_LISTED, trading.first_asked) for one in before]
        left = without(left, before)
    if trading.after_last:
        after = common(left, [Span(trading.after_last, 1 << 62)])
        absences += [_absence(one, Reason.DELISTED, trading.last_asked) for one in after]
        left = without(left, after)
    late_from = _late_from(interval, now)
    missing: list[Span] = []
    for hole in _cut(left, asked, late_from):
        about = [one for one in asked if one.span.start <= hole.start and hole.end <= one.span.end]
        rest = [one for one in about if one.who is Way.REST]
        files = [one for one in about if one.who is not Way.REST]
        published = any(one.answer != NOT_PUBLISHED for one in files)
        # What somebody has, however it looks, is no outage: it stays missing.
        could_not = bool(common([hole], unasked)) or any(one.answer.startswith(UNUSABLE) for one in about)
        waits = not published and hole.start >= late_from
        if (waits and not could_not and any(one.answer != NOTHING_LATER for one in rest)) or (
            waits and could_not and files and not rest
        ):
            absences.append(_absence(hole, Reason.PENDING, about))
        elif not could_not and _proves(files, rest):
            absences.append(_absence(hole, Reason.EXCHANGE_OUTAGE, about))
        else:
            missing.append(hole)
    return Sorted(absences, join(missing))


def _late_from(interval: Interval, now: int) -> int:
    """The first grid time whose file, if it is not there, is late; earlier ones are absent.

    All candles of a day wait for one file, so its day counts, and not how far into it a hole reaches.
    """
    if interval.nominal <= DAY:
        return now - LATE - (now - LATE) % DAY
    return interval.floor(now - LATE_LONG)


def _proves(files: Sequence[Asked], rest: Sequence[Asked]) -> bool:
    """Whether the answers are those of an outage.

    REST that does not know the symbol any more proves nothing: then a file must have been read that lacks the candles,
    and none that was there may have been unreadable.
    """
    if not files or any(one.answer == LATER for one in rest):
        return bool(files)
    is_forgotten = any(one.answer != NOTHING_LATER for one in rest)
    was_read = any(one.answer == NO_ROW for one in files)
    return is_forgotten and was_read and not any(one.answer.startswith(REJECTED) for one in files)


_CONCLUSIONS = {
    Reason.EXCHANGE_OUTAGE: "nobody has them: the exchange made no candles then",
    Reason.NOT_LISTED: "it did not trade yet",
    Reason.DELISTED: "it did not trade any more",
    Reason.PENDING: "the archive has not published them yet",
}


def _absence(span: Span, reason: Reason, asked: Iterable[Asked]) -> Absence:
    return Absence(span, reason, _evidence(span, reason, [one.entry() for one in asked]))


def _evidence(span: Span, reason: Reason, entries: Iterable[dict[str, Any]]) -> str:
    """Each source once, with its last answer, in an order that does not depend on who asked first.

    REST was asked for pieces that others happened to need as well: what it said of `span` stands under `span`.
    """
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    for one in sorted(entries, key=lambda one: str(one.get("when"))):
        who, name = str(one["who"]), str(one.get("name"))
        if who == Way.REST and reason in {Reason.EXCHANGE_OUTAGE, Reason.PENDING}:
            name = f"{' '.join(name.split()[:3])} {span}"
        newest[who, name] = one | {"name": name}
    return json.dumps({"asked": [newest[key] for key in sorted(newest)], "conclusion": _CONCLUSIONS[reason]})


def _cut(holes: Sequence[Span], asked: Sequence[Asked], late_from: int) -> list[Span]:
    """The holes, cut where what was asked about them changes, and where files that are not there begin to be late."""
    edges = sorted({late_from, *(edge for one in asked for edge in one.span)})
    pieces: list[Span] = []
    for hole in holes:
        inside = edges[bisect_right(edges, hole.start) : bisect_left(edges, hole.end)]
        pieces += [Span(*pair) for pair in pairwise([hole.start, *inside, hole.end])]
    return pieces


def merged(
    kept: Sequence[Absence], news: Sequence[Absence], examined: Sequence[Span], held: Sequence[Span]
) -> list[Absence]:
    """The reasons to keep: `news` in place of what was kept about the times `examined`, which lost those now `held`.

    A reason that was kept and is not replaced stays where there is still no candle, unless it was `pending`: an outage
    that only REST has shown is better than no reason. Neighbours with one reason and one kind of evidence become one.
    """
    final = join(one.span for one in kept if one.reason is not Reason.PENDING)
    parts = [
        part
        for one in news
        for part in ([one] if one.reason is not Reason.PENDING else _parts(one, without([one.span], final)))
    ]
    spans = join(one.span for one in parts)
    for old in kept:
        gone = join([*spans, *held, *(examined if old.reason is Reason.PENDING else ())])
        parts += _parts(old, without([old.span], gone))
    together: list[Absence] = []
    for one in sorted(parts, key=lambda one: one.span):
        last = together[-1] if together else None
        if last and last.span.end == one.span.start and _kind(last) == _kind(one):
            together[-1] = _both(last, one)
        else:
            together.append(one)
    return together


def _parts(absence: Absence, spans: Sequence[Span]) -> list[Absence]:
    return [Absence(span, absence.reason, absence.evidence) for span in spans]


def _kind(absence: Absence) -> tuple[Reason, bool, frozenset[str]]:
    return absence.reason, lasts(absence), frozenset(str(one["who"]) for one in asked_of(absence))


def _both(one: Absence, other: Absence) -> Absence:
    span = Span(one.span.start, other.span.end)
    if one.evidence == other.evidence or not asked_of(one):
        return Absence(span, one.reason, other.evidence)
    return Absence(span, one.reason, _evidence(span, one.reason, [*asked_of(one), *asked_of(other)]))
