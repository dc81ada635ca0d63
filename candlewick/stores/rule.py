"""The write rule: what becomes of a row that arrives, given the row that is held. Pure; both stores follow it."""

from collections import deque
from collections.abc import Sequence
from enum import IntEnum
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from candlewick.errors import UsageError
from candlewick.market import Span
from candlewick.stores.store import FINAL_REASONS, ROW, Absence, Rows, Source, WriteResult

Outcomes: TypeAlias = npt.NDArray[np.uint8]

_VALUES_AT = ROW.fields["open"][1] if ROW.fields else 0  # the values are the tail of a row
_NO_ROWS: Rows = np.empty(0, ROW)
_NO_ROWS.flags.writeable = False


class Outcome(IntEnum):
    """What became of one row."""

    INSERTED = 0
    CONFIRMED = 1
    """Equal to a live row, now vouched for by a settled source."""
    RAISED = 2
    """Equal to a settled row, from a higher source."""
    UNCHANGED = 3
    CHANGED = 4
    REFUSED = 5


def judge(held: Rows, new: Rows) -> Outcomes:
    """The outcome of each new row against the row of the same series and time that is held.

    Values are equal if all their bits are.
    """
    same = (_bytes(held)[:, _VALUES_AT:] == _bytes(new)[:, _VALUES_AT:]).all(axis=1)
    settled = new["source"] >= Source.REST
    was_live = held["source"] < Source.REST
    outcomes = np.where(
        same,
        np.where(
            new["source"] > held["source"], np.where(was_live, Outcome.CONFIRMED, Outcome.RAISED), Outcome.UNCHANGED
        ),
        np.where(settled | was_live, Outcome.CHANGED, Outcome.REFUSED),
    )
    return outcomes.astype(np.uint8)


def to_keep(outcomes: Outcomes) -> npt.NDArray[np.bool_]:
    """Which rows a store must keep in place of what it holds."""
    keep: npt.NDArray[np.bool_] = (outcomes != Outcome.UNCHANGED) & (outcomes != Outcome.REFUSED)
    return keep


def rounds(rows: Rows) -> list[Rows]:
    """The rows ordered by series and time, in rounds that name each (series, time) at most once; later rows later."""
    # Copied once: fields of rows lie far apart, and going through them takes longer than what is done with them.
    series, times = rows["series"].astype(np.int64), np.ascontiguousarray(rows["open_time"])
    steps, ahead = np.diff(series), np.diff(times) > 0
    if bool(((steps > 0) | ((steps == 0) & ahead)).all()):
        return [rows]
    order = np.lexsort((times, series))
    series, times = series[order], times[order]
    repeats = np.concatenate(([False], (np.diff(series) == 0) & (np.diff(times) == 0)))
    if not repeats.any():
        return [rows[order]]
    position = np.arange(len(rows))
    rank = position - np.maximum.accumulate(np.where(repeats, 0, position))
    return [rows[order[rank == each]] for each in range(int(rank.max()) + 1)]


def as_one(rounds: Sequence[Rows]) -> Rows:
    """Rows of several rounds, ordered by series and time, each time once: the later round's."""
    if len(rounds) == 1:
        return rounds[0]
    rows = np.concatenate(rounds)
    if not len(rows):
        return rows
    series, times = rows["series"].astype(np.int64), np.ascontiguousarray(rows["open_time"])
    order = np.lexsort((times, series))
    last = np.concatenate(((np.diff(series[order]) != 0) | (np.diff(times[order]) != 0), [True]))
    return rows[order[last]]


def checked(rows: Rows, known: int) -> Rows:
    """The rows, contiguous, if a store that has given the numbers below `known` can take them.

    Raises:
        UsageError: they are laid out otherwise, or name no series, source or time.
    """
    if rows.dtype != ROW or rows.ndim != 1:
        raise UsageError(f"rows must be a one-dimensional array of stores.store.ROW, not {rows.ndim} x {rows.dtype}")
    if len(rows):
        if int(rows["series"].max()) >= known:
            raise UsageError(f"no series has number {rows['series'].max()}: ask Store.number for it")
        if int(rows["open_time"].min()) < 0:
            raise UsageError(f"open time {rows['open_time'].min()} lies before 1970")
        sources = np.ascontiguousarray(rows["source"])
        if int(sources.min()) < Source.LIVE or int(sources.max()) > Source.ARCHIVE:
            raise UsageError("a row has a source that is not one of stores.store.Source")
    return np.ascontiguousarray(rows)


def result(outcomes: Outcomes, pairs: Sequence[tuple[int, Rows, Rows]], sequence: int) -> WriteResult:
    """The outcomes counted; `pairs` are the rows changed or refused, as (outcome, held, new)."""
    counts = [np.count_nonzero(outcomes == each) for each in Outcome]
    return WriteResult(
        inserted=int(counts[Outcome.INSERTED]),
        confirmed=int(counts[Outcome.CONFIRMED]),
        unchanged=int(counts[Outcome.UNCHANGED] + counts[Outcome.RAISED]),
        changed=_pairs(Outcome.CHANGED, pairs),
        refused=_pairs(Outcome.REFUSED, pairs),
        sequence=sequence,
    )


def paired(outcomes: Outcomes, held: Rows, new: Rows) -> list[tuple[int, Rows, Rows]]:
    """The rows changed or refused, each beside the one that is held, as arrays of one."""
    notable = np.flatnonzero(outcomes >= Outcome.CHANGED)
    return [(int(outcomes[at]), held[at : at + 1], new[at : at + 1]) for at in notable]


def newest_per_time(rows: Rows) -> Rows:
    """Rows of one series in order of time, each time once: the one that stood last."""
    times = rows["open_time"]
    if bool((np.diff(times) > 0).all()):
        return rows
    rows = rows[np.argsort(times, kind="stable")]
    return rows[np.concatenate((np.diff(rows["open_time"]) > 0, [True]))]


def overlay(held: Rows, rows: Rows) -> Rows:
    """What is held, ordered by time, with `rows`, ordered too, in it; they stand in for those of the same time."""
    if not len(held):
        return rows
    if rows["open_time"][0] > held["open_time"][-1]:
        return np.concatenate((held, rows))
    at, found = find(held["open_time"], rows["open_time"])
    held = held.copy()
    held[at[found]] = rows[found]
    return held if found.all() else np.insert(held, at[~found], rows[~found])


def find(
    times: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Where each wanted time is, or belongs, among ordered times; and whether it is there."""
    found = np.zeros(len(wanted), np.bool_)
    if not len(times):
        return np.zeros(len(wanted), np.intp), found
    at = np.searchsorted(times, wanted)
    inside = at < len(times)
    found[inside] = times[at[inside]] == wanted[inside]
    return at, found


def in_order(absences: Sequence[Absence]) -> list[Absence]:
    """Absences by time.

    Raises:
        UsageError: two overlap.
    """
    ordered = sorted(absences, key=lambda absence: absence.span)
    for before, after in pairwise(ordered):
        if after.span.start < before.span.end:
            raise UsageError(f"absences overlap: {before.span} and {after.span}")
    return ordered


def disjoint(absences: Sequence[Absence]) -> list[Absence]:
    """Absences that several recorded, by time and none over another: what is final counts, then what begins first."""
    ordered = sorted(absences, key=lambda absence: absence.span)
    if all(before.span.end <= after.span.start for before, after in pairwise(ordered)):
        return ordered
    edges = sorted({edge for one in ordered for edge in one.span})
    coming, open_, parts = deque(ordered), list[Absence](), list[tuple[Absence, Span]]()
    for start, end in pairwise(edges):
        while coming and coming[0].span.start <= start:
            open_.append(coming.popleft())
        open_ = [one for one in open_ if one.span.end > start]
        if not open_:
            continue
        best = min(open_, key=lambda one: one.reason not in FINAL_REASONS)  # the first of its kind began first
        is_same = bool(parts) and parts[-1][0] is best
        parts.append((best, Span(parts.pop()[1].start if is_same else start, end)))
    return [Absence(span, one.reason, one.evidence) for one, span in parts]


def layout(columns: Sequence[str] | None) -> np.dtype[np.void]:
    """The row type with the columns named, in that order; `ROW` for None.

    Raises:
        UsageError: a column is not one of `ROW`.
    """
    if columns is None:
        return ROW
    unknown = [name for name in columns if name not in (ROW.names or ())]
    if unknown:
        raise UsageError(f"no column {', '.join(unknown)}: there are {', '.join(ROW.names or ())}")
    return np.dtype([(name, ROW[name]) for name in columns])


def _pairs(outcome: Outcome, pairs: Sequence[tuple[int, Rows, Rows]]) -> tuple[tuple[Rows, Rows], ...]:
    return tuple((held, new) for each, held, new in pairs if each == outcome)


def _bytes(rows: Rows) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), ROW.itemsize)
