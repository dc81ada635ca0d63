"""The shared database as a store: read by anybody, and written by the services that have no store of their own."""

import threading
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, overload

import asyncpg
import numpy as np
import numpy.typing as npt

from candlewick.errors import StoreError, UsageError
from candlewick.market import Series, Span
from candlewick.stores import rule
from candlewick.stores.postgres import queries
from candlewick.stores.postgres.connection import Limits
from candlewick.stores.postgres.merge import merge
from candlewick.stores.postgres.rows import NUMERICS
from candlewick.stores.postgres.session import Session
from candlewick.stores.rule import Outcome
from candlewick.stores.store import (
    ROW,
    SPAN,
    Absence,
    Change,
    ChangeRange,
    Quarantined,
    Rows,
    SeriesInfo,
    Spans,
    Touched,
    WriteResult,
)

_LIMITS = Limits(least=1, most=4, statement_s=3600.0)  # a long history takes minutes to send
_MOST_QUARANTINED = 10_000
_APART = 64
"""Candles that lie further apart than so many intervals are read in two runs."""


class PostgresReader:
    """A `StoreReader` of a shared database. Threads may share it; each call sees what is committed when it is made."""

    def __init__(self, session: Session) -> None:
        self.location = session.place
        self._session = session
        self._numbers: dict[Series, int] = {}

    @classmethod
    def at(cls, url: str, *, application: str = "candlewick", limits: Limits = _LIMITS) -> Self:
        """Connect to the database that `url` names.

        Raises:
            StoreDown: it does not answer.
            StoreError: the address, the password or the database is wrong.
        """
        return cls(Session.open(url, limits, application=application))

    def series(self, *, counted: bool = True, symbol: str | None = None) -> list[SeriesInfo]:
        """Every series known, or those of one symbol, by number; last those that have none. Counting reads every candle."""
        return self._session.ask(queries.known_series, counted=counted, symbol=symbol)

    def kept_since(self, now: int) -> int:
        """Candles that open before may have been let go by `CANDLES_RETENTION_MONTHS`; 0 where all are kept."""
        return self._session.ask(queries.kept_since, now)

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
        found = self.columns(series, start, end, columns=layout.names, last=last)
        rows = np.empty(len(next(iter(found.values()), ())), layout)
        for name, column in found.items():
            rows[name] = column
        return rows

    def columns(
        self,
        series: Series,
        start: int | None = None,
        end: int | None = None,
        *,
        columns: Sequence[str] | None = None,
        last: int | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """The same rows as `read`, each column an array of its own: as they come from the database."""
        names = rule.layout(columns).names or ()
        asked = [name for name in names if name != "series"] or ["open_time"]
        found = self._session.ask(queries.candles, series, start, end, asked, last)
        return self._numbered(series, found, names)

    def revisions(self, series: Series) -> Rows:
        """Rows that others with different values have replaced (`StoreReader.revisions`)."""
        return _rows(self._numbered(series, self._session.ask(queries.revisions, series), ROW.names or ()))

    def absences(self, series: Series) -> list[Absence]:
        """Recorded reasons, by time."""
        return self._session.ask(queries.absences, series)

    def quarantined(self, limit: int = 100) -> list[Quarantined]:
        """The newest entries of the quarantine, newest first."""
        return self._session.ask(queries.quarantined, limit)

    def state(self, key: str) -> bytes | None:
        """A small value kept across restarts."""
        return self._session.ask(queries.state, key)

    def states(self, prefix: str) -> dict[str, bytes]:
        """Every small value whose key begins with `prefix`, by key."""
        return self._session.ask(queries.states, prefix)

    def change_range(self) -> ChangeRange:
        """`(1, 0)`: a shared database, which many write, logs no changes."""
        return ChangeRange(1, 0)

    def changes(self, after: int, limit: int) -> list[Change]:
        """None: a shared database logs no changes."""
        del after, limit
        return []

    def touched(self, after: int, rows: int, through: int | None = None) -> Touched:
        """Nothing: a shared database logs no changes."""
        del rows, through
        return Touched(after, 0, np.empty(0, SPAN), [], [])

    def read_spans(self, spans: Spans) -> Rows:
        """Rows of all spans (`StoreReader.read_spans`), each as it stands when it is read."""
        named = {self._number_of(info.series): info.series for info in self.series(counted=False)}
        parts = [self.read(named[number], start, end) for number, start, end in spans.tolist()]
        return np.concatenate([*parts, np.empty(0, ROW)])

    def close(self) -> None:
        """Let go of it; idempotent."""
        self._session.close()

    def _numbered(
        self, series: Series, found: Mapping[str, npt.NDArray[Any]], names: Sequence[str]
    ) -> dict[str, npt.NDArray[Any]]:
        """The columns asked for, with the number of the series where that is one of them."""
        if "series" not in names:
            return {name: found[name] for name in names}
        count = len(found["open_time"] if "open_time" in found else next(iter(found.values())))
        numbers = np.full(count, self._number_of(series) if count else 0, ROW["series"])
        return {name: numbers if name == "series" else found[name] for name in names}

    def _number_of(self, series: Series) -> int:
        """The number of a series that has candles."""
        if series not in self._numbers:
            self._numbers |= self._session.ask(queries.numbers)
        return self._numbers.get(series, max(self._numbers.values(), default=-1) + 1)


class PostgresStore(PostgresReader):
    """A `Store` in a shared database. Many may write it at once: the write rule holds whatever they do."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._lock = threading.Lock()
        self._series: dict[int, Series] = {}

    @overload
    @staticmethod
    def open(url: str, *, write: Literal[True], application: str = ..., limits: Limits = ...) -> "PostgresStore": ...
    @overload
    @staticmethod
    def open(url: str, *, write: bool, application: str = ..., limits: Limits = ...) -> PostgresReader: ...
    @staticmethod
    def open(url: str, *, write: bool, application: str = "candlewick", limits: Limits = _LIMITS) -> PostgresReader:
        """The database that `url` names, for reading or for writing too.

        Raises:
            StoreDown: it does not answer.
            StoreError: the address, the password or the database is wrong.
        """
        return (PostgresStore if write else PostgresReader).at(url, application=application, limits=limits)

    def announce(self, url: str) -> None:
        """Many may write it: there is nobody to ask first."""

    def number(self, series: Series) -> int:
        """The database's number of a series, given when it is first asked for."""
        with self._lock:
            if series not in self._numbers:
                self._learn({series: self._session.change(queries.number, series)})
            return self._numbers[series]

    def write(self, rows: Rows) -> WriteResult:
        """Keep rows by the write rule (`Store.write`), in one transaction.

        A zero is kept without its sign. Where an output writes the same candle between the look and the keeping, the
        rule decides between them all the same, and the result tells of what was seen.

        Raises:
            StoreDown: the database does not answer, or it met another writer; the same may be written again.
            StoreError: it refuses, in its words; nothing was kept.
        """
        if not self._knows(rows):
            self._learn(self._session.ask(queries.numbers))
        rows = rule.checked(rows, max(self._series, default=-1) + 1).copy()
        if not self._knows(rows):
            raise UsageError(
                "rows name a series by a number that the database has given to none: ask Store.number for it"
            )
        for name in NUMERICS:
            rows[name] += 0.0
        return self._session.change(self._write, rows) if len(rows) else WriteResult(0, 0, 0, (), ())

    async def _write(self, connection: asyncpg.Connection, rows: Rows) -> WriteResult:
        outcomes: list[rule.Outcomes] = []
        pairs: list[tuple[int, Rows, Rows]] = []
        for batch in rule.rounds(rows):
            kept = []
            for part in np.split(batch, np.flatnonzero(np.diff(batch["series"])) + 1):
                judged = await self._judge(connection, part, pairs)
                outcomes.append(judged)
                kept.append(part[rule.to_keep(judged)])
            if any(map(len, kept)):
                await merge(connection, np.concatenate(kept), self._series)
        return rule.result(np.concatenate(outcomes), pairs, 0)

    async def _judge(
        self, connection: asyncpg.Connection, rows: Rows, pairs: list[tuple[int, Rows, Rows]]
    ) -> rule.Outcomes:
        """The outcome of each row of one series, by time, against what is held."""
        number = int(rows["series"][0])
        series = self._series[number]
        found = await queries.held_candles(connection, series, _runs(rows, series))
        held = _rows({"series": np.full(len(found["open_time"]), number, ROW["series"]), **found})
        at, is_held = rule.find(held["open_time"], rows["open_time"])
        outcomes = np.full(len(rows), Outcome.INSERTED, np.uint8)
        old = held[at[is_held]]
        outcomes[is_held] = rule.judge(old, rows[is_held])
        pairs += rule.paired(outcomes[is_held], old, rows[is_held])
        return outcomes

    def tidy(self) -> bool:
        """The database does by itself what can wait."""
        return False

    def set_absences(self, series: Series, absences: Sequence[Absence]) -> None:
        """Replace all recorded reasons of a series."""
        ordered = rule.in_order(absences)
        self.number(series)
        self._session.change(queries.replace_absences, series, ordered)

    def quarantine(self, entries: Sequence[Quarantined]) -> None:
        """Keep entries; the oldest beyond 10,000 are dropped."""
        self._session.change(queries.add_quarantined, entries, _MOST_QUARANTINED)

    def set_state(self, key: str, value: bytes | None) -> None:
        """Keep a small value, or forget it."""
        self.set_states({key: value})

    def set_states(self, values: Mapping[str, bytes | None]) -> None:
        """Keep several small values, or forget those that are None: all of them or none."""
        self._session.change(queries.set_states, dict(values))

    def identity(self) -> str:
        """A name that no other database has: 32 hexadecimal digits."""
        return self._session.change(queries.identity, uuid.uuid4().hex)

    def log_changes(self) -> int:
        """Never: a shared database is what outputs write into, and no source for them.

        Raises:
            StoreError: always; says so.
        """
        raise StoreError(
            f"the database at {self.location} cannot feed outputs: they follow a local store, named by LOCAL_STORE"
        )

    def drop_changes(self, through: int, most: int | None = None) -> bool:
        """Nothing: no changes are logged."""
        del through, most
        return False

    def _number_of(self, series: Series) -> int:
        return self.number(series)

    def _learn(self, numbers: Mapping[Series, int]) -> None:
        self._numbers |= numbers
        self._series |= {number: series for series, number in numbers.items()}

    def _knows(self, rows: Rows) -> bool:
        return rows.dtype != ROW or set(np.unique(rows["series"]).tolist()) <= self._series.keys()


def _rows(columns: Mapping[str, npt.NDArray[Any]]) -> Rows:
    rows = np.empty(len(columns["open_time"]), ROW)
    for name, column in columns.items():
        rows[name] = column
    return rows


def _runs(rows: Rows, series: Series) -> list[Span]:
    """Where rows of one series, by time, lie: spans without long stretches of nothing in them."""
    times = rows["open_time"]
    breaks = np.flatnonzero(np.diff(times) > _APART * series.interval.nominal) + 1
    return [Span(int(part[0]), int(part[-1]) + 1) for part in np.split(times, breaks)]
