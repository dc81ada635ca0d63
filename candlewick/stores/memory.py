"""A store that lives as long as its process: for tests, and for looking around without a disk."""

import threading
import uuid
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from candlewick.errors import StoreError
from candlewick.market import Series, Span
from candlewick.stores import rule
from candlewick.stores.change_log import APART, entries_of
from candlewick.stores.rule import Outcome
from candlewick.stores.store import (
    LOGGED_STATES,
    OTHER_ROWS,
    ROW,
    SPAN,
    Absence,
    Change,
    ChangeKind,
    ChangeRange,
    Quarantined,
    Rows,
    SeriesInfo,
    Spans,
    Touched,
    WriteResult,
)

_MOST_QUARANTINED = 10_000


class MemoryStore:
    """A `Store` of plain arrays; reading and writing may happen in different threads."""

    def __init__(self) -> None:
        self.location = "memory://"
        self._lock = threading.RLock()
        self._numbers: dict[Series, int] = {}
        self._rows: list[Rows] = []
        self._revisions: list[Rows] = []
        self._absences: dict[Series, list[Absence]] = {}
        self._quarantine: list[Quarantined] = []
        self._state: dict[str, bytes] = {}
        self._identity = uuid.uuid4().hex
        self._changes: list[Change] | None = None
        self._range = ChangeRange(1, 0)
        self._closed = False

    def announce(self, url: str) -> None:
        """Nobody else can write it: there is nothing to tell."""

    def number(self, series: Series) -> int:
        """The store's number of a series."""
        with self._opened():
            if series not in self._numbers:
                self._numbers[series] = len(self._rows)
                self._rows.append(np.empty(0, ROW))
            return self._numbers[series]

    def write(self, rows: Rows) -> WriteResult:
        """Keep rows by the write rule (`Store.write`)."""
        with self._opened():
            rows = rule.checked(rows, len(self._rows))
            outcomes: list[rule.Outcomes] = []
            pairs: list[tuple[int, Rows, Rows]] = []
            kept = []
            for batch in rule.rounds(rows):
                parts = np.split(batch, np.flatnonzero(np.diff(batch["series"])) + 1)
                judged = [self._write_series(part, pairs) for part in parts if len(part)]
                outcomes += judged
                if judged:
                    kept.append(batch[rule.to_keep(np.concatenate(judged))])
            sequence = self._log_rows(rule.as_one(kept)) if kept else 0
            result = rule.result(np.concatenate(outcomes or [np.empty(0, np.uint8)]), pairs, sequence)
            self._revisions += [held for held, _ in result.changed]
            return result

    def _write_series(self, rows: Rows, pairs: list[tuple[int, Rows, Rows]]) -> rule.Outcomes:
        number = int(rows["series"][0])
        held = self._rows[number]
        at, found = rule.find(held["open_time"], rows["open_time"])
        outcomes = np.full(len(rows), Outcome.INSERTED, np.uint8)
        old = held[at[found]]
        outcomes[found] = rule.judge(old, rows[found])
        pairs += rule.paired(outcomes[found], old, rows[found])
        keep = rule.to_keep(outcomes)
        if keep.any():  # into another array: whoever read the old one keeps what was read
            self._rows[number] = rule.overlay(held, rows[keep])
        return outcomes

    def _log_rows(self, rows: Rows) -> int:
        known = list(self._numbers)
        apart = np.array([APART * series.interval.nominal for series in known], np.int64)
        entries = entries_of(rows, apart).tolist() if len(rows) else []
        return self._log(
            [
                Change(0, ChangeKind.ROWS, known[number], Span(first, last + 1), count, "")
                for number, count, first, last in entries
            ]
        )

    def _log(self, entries: Sequence[Change]) -> int:
        if self._changes is None or not entries:
            return 0
        sequence = self._range.last + 1
        self._changes += [entry._replace(sequence=sequence) for entry in entries]
        self._range = self._range._replace(last=sequence)
        return sequence

    def tidy(self) -> bool:
        """Nothing ever waits here."""
        return False

    def series(self, *, counted: bool = True, symbol: str | None = None) -> list[SeriesInfo]:
        """Every series known, or those of one symbol; numbers of rows are always right."""
        del counted
        with self._opened():
            known = [(series, number) for series, number in self._numbers.items() if symbol in (None, series.symbol)]
            return [_info(series, self._rows[number]) for series, number in known]

    def read(
        self,
        series: Series,
        start: int | None = None,
        end: int | None = None,
        *,
        columns: Sequence[str] | None = None,
        last: int | None = None,
    ) -> Rows:
        """Rows that open in `[start, end)`, oldest first (`StoreReader.read`)."""
        layout = rule.layout(columns)
        with self._opened():
            number = self._numbers.get(series)
            rows = np.empty(0, ROW) if number is None else self._rows[number]
        times = rows["open_time"]
        first = 0 if start is None else int(np.searchsorted(times, start))
        stop = len(rows) if end is None else int(np.searchsorted(times, end))
        if last is not None:
            first = max(first, stop - last)
        rows = rows[first : max(first, stop)]
        out = np.empty(len(rows), layout)
        for name in layout.names or ():
            out[name] = rows[name]
        return out

    def columns(
        self,
        series: Series,
        start: int | None = None,
        end: int | None = None,
        *,
        columns: Sequence[str] | None = None,
        last: int | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """The same rows as `read`, each column an array of its own."""
        rows = self.read(series, start, end, columns=columns, last=last)
        return {name: np.ascontiguousarray(rows[name]) for name in rows.dtype.names or ()}

    def revisions(self, series: Series) -> Rows:
        """Rows that others with different values have replaced (`StoreReader.revisions`)."""
        with self._opened():
            number = self._numbers.get(series)
            replaced = np.concatenate([*self._revisions, np.empty(0, ROW)])
        replaced = replaced[replaced["series"] == number] if number is not None else replaced[:0]
        return replaced[np.argsort(replaced["open_time"], kind="stable")]

    def absences(self, series: Series) -> list[Absence]:
        """Recorded reasons, by time."""
        with self._opened():
            return list(self._absences.get(series, ()))

    def set_absences(self, series: Series, absences: Sequence[Absence]) -> None:
        """Replace all recorded reasons of a series."""
        ordered = rule.in_order(absences)
        with self._opened():
            self.number(series)
            self._absences[series] = ordered
            self._log([Change(0, ChangeKind.ABSENCES, series, None, 0, "")])

    def quarantined(self, limit: int = 100) -> list[Quarantined]:
        """The newest entries of the quarantine, newest first."""
        with self._opened():
            return self._quarantine[::-1][:limit]

    def quarantine(self, entries: Sequence[Quarantined]) -> None:
        """Keep entries; the oldest beyond 10,000 are dropped."""
        with self._opened():
            self._quarantine = [*self._quarantine, *entries][-_MOST_QUARANTINED:]

    def state(self, key: str) -> bytes | None:
        """A small value kept by `set_state`."""
        with self._opened():
            return self._state.get(key)

    def states(self, prefix: str) -> dict[str, bytes]:
        """Every small value whose key begins with `prefix`, by key."""
        with self._opened():
            return {key: self._state[key] for key in sorted(self._state) if key.startswith(prefix)}

    def set_state(self, key: str, value: bytes | None) -> None:
        """Keep a small value, or forget it."""
        self.set_states({key: value})

    def set_states(self, values: Mapping[str, bytes | None]) -> None:
        """Keep several small values, or forget those that are None."""
        with self._opened():
            for key, value in values.items():
                if value is None:
                    self._state.pop(key, None)
                else:
                    self._state[key] = value
            logged = [key for key in values if key.startswith(LOGGED_STATES)]
            self._log([Change(0, ChangeKind.STATE, None, None, 0, key) for key in logged])

    def identity(self) -> str:
        """A name nobody else's store has: 32 hexadecimal digits."""
        return self._identity

    def log_changes(self) -> int:
        """From now on log every change; returns the last sequence."""
        with self._opened():
            if self._changes is None:
                self._changes = []
            return self._range.last

    def change_range(self) -> ChangeRange:
        """What the log of changes holds; `(1, 0)` where changes were never logged."""
        with self._opened():
            return self._range

    def changes(self, after: int, limit: int) -> list[Change]:
        """Logged changes with sequences above `after`, in order (`StoreReader.changes`)."""
        with self._opened():
            known = self._changes or []
            start = bisect_right(known, after, key=_sequence)
            if start + limit >= len(known):
                return known[start:]
            return known[start : bisect_right(known, known[start + max(limit, 1) - 1].sequence, key=_sequence)]

    def touched(self, after: int, rows: int, through: int | None = None) -> Touched:
        """What logged writes above `after` touched (`StoreReader.touched`)."""
        with self._opened():
            known = (self._changes or [])[bisect_right(self._changes or [], after, key=_sequence) :]
            some: list[Change] = []
            kept = others = 0
            for sequence, group in groupby(known, _sequence):
                if kept + others >= rows or sequence > (self._range.last if through is None else through):
                    break
                write = list(group)
                some += write
                kept += sum(change.rows for change in write)
                others += OTHER_ROWS if write[0].kind is not ChangeKind.ROWS else 0
            spans = [(self._numbers[one.series], *one.span) for one in some if one.series is not None and one.span]
            absences = dict.fromkeys(one.series for one in some if one.kind is ChangeKind.ABSENCES and one.series)
            states = dict.fromkeys(one.key for one in some if one.kind is ChangeKind.STATE)
            reached = some[-1].sequence if some else after
            return Touched(reached, kept, np.array(spans, SPAN), list(absences), list(states))

    def read_spans(self, spans: Spans) -> Rows:
        """Rows of all spans, as they stand at one moment (`StoreReader.read_spans`)."""
        with self._opened():
            parts = []
            for number, start, end in spans.tolist():
                first, stop = np.searchsorted(self._rows[number]["open_time"], (start, end))
                parts.append(self._rows[number][first:stop])
        return np.concatenate([*parts, np.empty(0, ROW)])

    def drop_changes(self, through: int, most: int | None = None) -> bool:
        """Forget the log up to and with this sequence, `most` writes at once; whether some are left."""
        with self._opened():
            if self._changes is None:
                return False
            through = min(through, self._range.last)
            sequences = list(dict.fromkeys(one.sequence for one in self._changes if one.sequence <= through))
            dropped = through if most is None or len(sequences) <= most else sequences[most - 1]
            del self._changes[: bisect_right(self._changes, dropped, key=_sequence)]
            self._range = self._range._replace(first=max(self._range.first, dropped + 1))
            return dropped < through

    def close(self) -> None:
        """Let go of it; idempotent."""
        self._closed = True

    def _opened(self) -> threading.RLock:
        if self._closed:
            raise StoreError("the store in memory is closed: open another")
        return self._lock


def _sequence(change: Change) -> int:
    return change.sequence


def _info(series: Series, rows: Rows) -> SeriesInfo:
    times = rows["open_time"]
    return SeriesInfo(series, len(rows), int(times[0]) if len(rows) else None, int(times[-1]) if len(rows) else None)
