"""What a store is: candles by series, the reasons of absences, a quarantine, and a little state.

One process writes (`Store`), any number read (`StoreReader`) at the same time. Rows travel as numpy structured arrays
of `ROW`: one layout from the feed to the disk.
"""

from collections.abc import Mapping, Sequence
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from candlewick.market import Candle, Series, Span

ROW = np.dtype([
    ("series", "<u4"),
    ("source", "u1"),
    ("open_time", "<i8"),
    ("open", "<f8"),
    ("high", "<f8"),
    ("low", "<f8"),
    ("close", "<f8"),
    ("volume", "<f8"),
    ("close_time", "<i8"),
    ("quote_volume", "<f8"),
    ("trades", "<i8"),
    ("taker_buy_volume", "<f8"),
    ("taker_buy_quote_volume", "<f8"),
])  # fmt: skip
"""One candle of one series, packed little-endian; `series` is the store's own number (`Store.number`)."""

VALUES: tuple[str, ...] = tuple(name for name in ROW.names or () if name not in {"series", "source", "open_time"})
"""The columns that two sources must agree on."""

Rows: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.void]]"


class Source(IntEnum):
    """Where a row came from; a settled source (REST and above) outranks the live feed."""

    LIVE = 1
    REST = 2
    ARCHIVE = 3


class Reason(StrEnum):
    """Why a grid time has no candle. `missing` is ours to repair and is derived, never stored."""

    MISSING = "missing"
    EXCHANGE_OUTAGE = "exchange_outage"
    NOT_LISTED = "not_listed"
    DELISTED = "delisted"
    PENDING = "pending"


FINAL_REASONS = frozenset({Reason.EXCHANGE_OUTAGE, Reason.NOT_LISTED, Reason.DELISTED})
"""With these a grid time will never have a candle: they keep no range from being complete."""


class Absence(Struct, frozen=True):
    """Grid times of a series that have no candle for a known reason."""

    span: Span
    reason: Reason
    evidence: str
    """JSON: who was asked, when, and what they answered."""


class Quarantined(Struct, frozen=True):
    """Something that broke a rule, kept with the text it came as."""

    series: str
    rule: str
    source: str
    received_at: int
    raw: bytes


class SeriesInfo(NamedTuple):
    """What is held of a series. `first` and `last` are open times; None where it has no candle yet."""

    series: Series
    rows: int
    first: int | None
    last: int | None


class WriteResult(NamedTuple):
    """What a write did, row by row.

    `changed` pairs the row that was replaced with the one that replaced it; `refused` pairs what is held with the live
    row that contradicts it and was not taken. Each side of a pair is an array of one row.
    """

    inserted: int
    confirmed: int
    """Equal to what was held from the live feed, and now vouched for by a settled source."""
    unchanged: int
    changed: tuple[tuple[Rows, Rows], ...]
    refused: tuple[tuple[Rows, Rows], ...]
    sequence: int = 0
    """Under which its changes were logged; 0 where nothing was kept, or nothing is logged."""


class ChangeKind(IntEnum):
    """What a change was of."""

    ROWS = 1
    ABSENCES = 2
    STATE = 3


class Change(NamedTuple):
    """One entry of the log of changes: what to read again to know all that a write left behind.

    Entries of one write share its sequence. They name what was touched and hold no values: who follows reads those as
    they stand by then, so that the same entry may be followed twice and a late follower skips what was replaced since.
    """

    sequence: int
    kind: ChangeKind
    series: Series | None
    """None for a state."""
    span: Span | None
    """From the first touched open time to just after the last one; None but for rows."""
    rows: int
    """How many rows were kept in `span`; 0 but for rows."""
    key: str
    """The state's key; empty otherwise."""


class ChangeRange(NamedTuple):
    """What the log holds: sequences `first` to `last`. `last` only grows; `first` is `last + 1` where nothing is kept.

    While a store is open for writing every logged write has the sequence after the one before; when it is opened again
    sequences may be left out.
    """

    first: int
    last: int


OTHER_ROWS = 100
"""What a logged write of reasons or of states, which may be long, counts as (`StoreReader.touched`)."""

LOGGED_STATES = ("certificate:", "file:", "rebuilt:", "listing:", "gap:")
"""Keys of states whose changes are logged begin like this: outputs want them."""


SPAN = np.dtype([("series", "<u4"), ("start", "<i8"), ("end", "<i8")])
"""Open times of one series from `start` to just before `end`; `series` is the store's own number."""

Spans: TypeAlias = npt.NDArray[np.void]


class Touched(NamedTuple):
    """What some logged writes touched, in columns: a million changes are no million objects."""

    through: int
    """The sequence of the last of them; what they were to come after where there are none."""
    rows: int
    """How many rows they kept, those counted again that were kept again."""
    spans: Spans
    """Where those are, one for each `Change` and in their order."""
    absences: list[Series]
    states: list[str]


class StoreReader(Protocol):
    """What any process may ask."""

    location: str

    def series(self, *, counted: bool = True, symbol: str | None = None) -> list[SeriesInfo]:
        """Every series known, or those of one symbol, in order of their numbers.

        Who needs no numbers of rows says so with `counted`: a store that keeps none may then say 1 where there are more.
        """

    def read(
        self,
        series: Series,
        start: int | None = None,
        end: int | None = None,
        *,
        columns: Sequence[str] | None = None,
        last: int | None = None,
    ) -> Rows:
        """Rows that open in `[start, end)`, oldest first, of all columns or those named; only the newest `last`."""

    def columns(
        self,
        series: Series,
        start: int | None = None,
        end: int | None = None,
        *,
        columns: Sequence[str] | None = None,
        last: int | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """The same rows as `read`, each column an array of its own: the fastest way to long histories."""

    def revisions(self, series: Series) -> Rows:
        """Rows that others with different values have replaced, by time, then in the order they were replaced."""

    def absences(self, series: Series) -> list[Absence]:
        """Recorded reasons, by time, disjoint."""

    def quarantined(self, limit: int = 100) -> list[Quarantined]:
        """The newest entries of the quarantine, newest first."""

    def state(self, key: str) -> bytes | None:
        """A small value kept across restarts (`set_state`)."""

    def states(self, prefix: str) -> dict[str, bytes]:
        """Every small value whose key begins with `prefix`, by key."""

    def change_range(self) -> ChangeRange:
        """What the log of changes holds; `(1, 0)` where changes were never logged."""

    def changes(self, after: int, limit: int) -> list[Change]:
        """Logged changes with sequences above `after`, in order: whole writes, until `limit` entries or more are found."""

    def touched(self, after: int, rows: int, through: int | None = None) -> Touched:
        """What logged writes above `after` touched: whole writes, until they kept so many rows or more.

        None above `through` is among them. One of reasons or states counts as `OTHER_ROWS`.
        """

    def read_spans(self, spans: Spans) -> Rows:
        """Rows of all spans, span after span, as they stand at one moment.

        Spans of one series follow each other, by time, and do not overlap.
        """

    def close(self) -> None:
        """Let go of it; idempotent."""


class Store(StoreReader, Protocol):
    """What the one writer may do besides. Every change is on disk, synced, when the call returns."""

    def announce(self, url: str) -> None:
        """Where the writing process can be asked over HTTP, for others who want to write."""

    def number(self, series: Series) -> int:
        """The store's number of a series, given when it is first asked for."""

    def write(self, rows: Rows) -> WriteResult:
        """Keep rows, each (series, open time) once.

        The rule, for a row that is already held: equal values: nothing changes but the source, to the higher one;
        different values: a settled source replaces what is held, whatever its source; a live row replaces a live row
        (the last one wins) and is refused against a settled one. Within one call the later row counts as later.
        Values are equal if all their bits are.

        Raises:
            StoreFull: no space; nothing of this call was kept and the same call may be made again.
        """

    def tidy(self) -> bool:
        """Do a little of what can wait, milliseconds of it, when there is time; whether more is left."""

    def set_absences(self, series: Series, absences: Sequence[Absence]) -> None:
        """Replace all recorded reasons of a series."""

    def quarantine(self, entries: Sequence[Quarantined]) -> None:
        """Keep entries; the oldest beyond 10,000 are dropped."""

    def set_state(self, key: str, value: bytes | None) -> None:
        """Keep a small value, or forget it."""

    def set_states(self, values: Mapping[str, bytes | None]) -> None:
        """Keep several small values, or forget those that are None: all of them or none."""

    def identity(self) -> str:
        """A name nobody else's store has, given when it is first asked for: 32 hexadecimal digits."""

    def log_changes(self) -> int:
        """From now on, across restarts, log every change with the write that makes it; returns the last sequence."""

    def drop_changes(self, through: int, most: int | None = None) -> bool:
        """Forget the log up to and with this sequence: everybody who follows it has passed that.

        No more than `most` writes of it are forgotten at once; returns whether some are left.
        """


def to_row(number: int, source: Source, candle: Candle) -> tuple[int | float, ...]:
    """The fields of `ROW` for one candle, in order."""
    return (
        number, int(source), candle.open_time, candle.open, candle.high, candle.low, candle.close, candle.volume,
        candle.close_time, candle.quote_volume, candle.trades, candle.taker_buy_volume, candle.taker_buy_quote_volume,
    )  # fmt: skip


def to_rows(number: int, source: Source, candles: Sequence[Candle]) -> Rows:
    """Candles of one series as rows."""
    return np.array([to_row(number, source, candle) for candle in candles], dtype=ROW)


def info_of(reader: StoreReader, series: Series) -> SeriesInfo | None:
    """What is held of one series, its rows not counted; None where it is not known."""
    known = reader.series(counted=False, symbol=series.symbol)
    return next((one for one in known if one.series == series), None)
