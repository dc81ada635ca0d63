"""A store as people read it from Python: `candlewick.open()` returns a `Database`."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, Unpack, overload

from candlewick import config as configuration
from candlewick.certificates.document import Certificate
from candlewick.certificates.issue import certify
from candlewick.errors import ConfigError, StoreError, UsageError
from candlewick.market import Interval, Market, Series, Span
from candlewick.reading import deriving, lazy, records
from candlewick.reading.arguments import Time, to_asked, to_interval, to_market, to_series
from candlewick.reading.choosing import Derive, Fill, find_all, find_candles, find_derived, find_stored
from candlewick.reading.frames import Arrays, Kind, lay_out, to_frame, to_kind
from candlewick.reading.held import bounds_of, windows, within
from candlewick.reading.styles import FILLED, Style, fields_of, to_layout
from candlewick.stores import open_store
from candlewick.stores.store import StoreReader

if TYPE_CHECKING:  # half a second and 60 MB of imports for those who only ask for the type
    import polars as pl


class Range(TypedDict, total=False):
    """Which candles, and how they are written: what `candles`, `batches` and `lazy` share."""

    market: str | Market | None
    start: Time | None
    end: Time | None
    style: Style
    columns: Sequence[str] | None
    fill: Fill | None
    derive: Derive


class Selection(Range, total=False):
    """What `candles` takes besides."""

    last: int | None


class Database:
    """A store, open for reading. Threads may share it; each call sees what is committed when it is made."""

    def __init__(self, reader: StoreReader, market: Market = Market.SPOT, url: str | None = None) -> None:
        """A database on a store that is open already; `market` is meant where a call names none.

        `url` is where another process opens it, where that says more than the store's location, such as a password.
        """
        self._store = reader
        self._url = url or reader.location
        self._market = market
        self._process = os.getpid()

    @classmethod
    def open(cls, url: str | None = None, *, config: str | Path | None = None) -> Self:
        """See `candlewick.open`."""
        market = Market.SPOT
        if url is None or config is not None:
            settings = configuration.load(config, {"store": url}).settings
            url, market = settings.reading_url, settings.market
        if url.partition("://")[0] == "memory":
            raise ConfigError(
                "STORE = memory:// is kept inside the process that fills it, so there is nothing to open: "
                "name a store that is on disk, such as lmdb:///folder"
            )
        return cls(open_store(url, write=False), market, url)

    @property
    def location(self) -> str:
        """The URL of the store, without a password."""
        return self._store.location

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<candlewick.Database {self.location}>"

    def __reduce__(self) -> tuple[object, ...]:
        """Another process that is sent a database opens it there."""
        return _reopened, (type(self), self._url, self._market)

    def close(self) -> None:
        """Let go of the store; idempotent. Frames that were returned stay valid, lazy ones can be read no more."""
        if self._process == os.getpid():
            self._store.close()

    @property
    def _reader(self) -> StoreReader:
        # After a fork both processes would use one place in the table that keeps a writer from what is being read.
        if self._process != os.getpid():
            raise StoreError(f"{self!r} was opened in process {self._process}: open it in the process that reads")
        return self._store

    @overload
    def candles(
        self, symbol: str, interval: str | Interval, *, as_: Literal["polars"] = ..., **options: Unpack[Selection]
    ) -> "pl.DataFrame": ...
    @overload
    def candles(
        self, symbol: str, interval: str | Interval, *, as_: Literal["numpy"], **options: Unpack[Selection]
    ) -> Arrays: ...
    @overload
    def candles(self, symbol: str, interval: str | Interval, *, as_: Kind, **options: Unpack[Selection]) -> Any: ...  # noqa: ANN401  # pandas and pyarrow ship no types
    def candles(
        self,
        symbol: str,
        interval: str | Interval,
        *,
        market: str | Market | None = None,
        start: Time | None = None,
        end: Time | None = None,
        last: int | None = None,
        as_: Kind = "polars",
        style: Style = "candlewick",
        columns: Sequence[str] | None = None,
        fill: Fill | None = None,
        derive: Derive = "auto",
    ) -> Any:
        """The candles that open in `[start, end)`, oldest first; of them the newest `last`.

        `as_` is the kind of frame: a polars or pandas DataFrame, an Arrow Table, or a dict of numpy arrays. `style` has
        the columns that candlewick, ccxt, freqtrade or Binance give, `columns` names some of them. Times are ISO 8601,
        datetimes, dates or epoch milliseconds, in UTC where they name no zone.

        Holes stay holes unless `fill="flat"` puts candles of the last close and no volume there; the column `filled`
        marks them. An interval that is not stored is derived from a lower one (`derive`: "never", or "always" even if
        it is stored).

        Raises:
            UsageError: the store has no such series, or an argument is impossible; says what would be right.
            StoreError: the database is closed, or its store is damaged.
        """
        asked = to_asked(start, end, last)
        layout = to_layout(style, columns)
        kind = to_kind(as_)
        found = find_candles(self._reader, self._series(symbol, interval, market), derive, fill)
        layout = (*layout, FILLED) if fill else layout
        return to_frame(lay_out(found.read(asked.start, asked.end, fields_of(layout), asked.last), layout), kind)

    @overload
    def batches(
        self,
        symbol: str,
        interval: str | Interval,
        *,
        rows: int = ...,
        as_: Literal["polars"] = ...,
        **options: Unpack[Range],
    ) -> "Iterator[pl.DataFrame]": ...
    @overload
    def batches(
        self, symbol: str, interval: str | Interval, *, rows: int = ..., as_: Literal["numpy"], **options: Unpack[Range]
    ) -> Iterator[Arrays]: ...
    @overload
    def batches(
        self, symbol: str, interval: str | Interval, *, rows: int = ..., as_: Kind, **options: Unpack[Range]
    ) -> Iterator[Any]: ...
    def batches(
        self,
        symbol: str,
        interval: str | Interval,
        *,
        rows: int = lazy.ROWS,
        market: str | Market | None = None,
        start: Time | None = None,
        end: Time | None = None,
        as_: Kind = "polars",
        style: Style = "candlewick",
        columns: Sequence[str] | None = None,
        fill: Fill | None = None,
        derive: Derive = "auto",
    ) -> Iterator[Any]:
        """The same candles as `candles` gives, in frames of at most `rows`: no more than one is in memory at a time.

        Raises:
            UsageError, StoreError: as `candles` says, at once and not with the first frame.
        """
        if rows < 1:
            raise UsageError(f"rows={rows} is not possible: it must be 1 or more")
        asked = to_asked(start, end)
        layout = to_layout(style, columns)
        kind = to_kind(as_)
        found = find_candles(self._reader, self._series(symbol, interval, market), derive, fill)
        layout = (*layout, FILLED) if fill else layout
        span = within(found.bounds(), asked.start, asked.end)

        def frames() -> Iterator[Any]:
            for window in windows(found.series.interval, span, rows):
                arrays = lay_out(found.read(*window, fields_of(layout)), layout)
                if len(next(iter(arrays.values()))):
                    yield to_frame(arrays, kind)

        return frames()

    def lazy(
        self,
        symbol: str,
        interval: str | Interval,
        *,
        market: str | Market | None = None,
        start: Time | None = None,
        end: Time | None = None,
        style: Style = "candlewick",
        columns: Sequence[str] | None = None,
        fill: Fill | None = None,
        derive: Derive = "auto",
    ) -> "pl.LazyFrame":
        """The same candles as a polars LazyFrame, read piece by piece when it is collected, before `close`.

        Only the columns and the times that the query needs are read; `collect(engine="streaming")` keeps memory small.

        Raises:
            UsageError, StoreError: as `candles` says.
        """
        asked = to_asked(start, end)
        layout = to_layout(style, columns)
        series = self._series(symbol, interval, market)
        return lazy.scan(
            lambda: find_candles(self._reader, series, derive, fill),
            asked.start,
            asked.end,
            (*layout, FILLED) if fill else layout,
        )

    def series(self) -> "pl.DataFrame":
        """What is held: market, symbol, interval, candles, first and last open time, one row a series.

        Raises:
            StoreError: the database is closed, or its store is damaged.
        """
        return records.series_frame(self._reader.series())

    def gaps(
        self,
        symbol: str | None = None,
        interval: str | Interval | None = None,
        *,
        market: str | Market | None = None,
    ) -> "pl.DataFrame":
        """Runs of candles that are not there: market, symbol, interval, from, to, candles, reason. Without a symbol, of all.

        Raises:
            UsageError: the store has no such series.
            StoreError: the database is closed, or its store is damaged.
        """
        wanted = None if interval is None else to_interval(interval)
        place, name = None if market is None else to_market(market), None
        if symbol is not None:
            place, name, _ = self._series(symbol, wanted or "1m", market)
        return records.gaps_frame(self._reader, find_all(self._reader, place, name, wanted))

    def revisions(
        self,
        symbol: str,
        interval: str | Interval,
        *,
        market: str | Market | None = None,
        start: Time | None = None,
        end: Time | None = None,
    ) -> "pl.DataFrame":
        """Values that a later source replaced: open_time, column, old, new, old_source, new_source.

        Raises:
            UsageError: the store has no such series, or a time is impossible.
            StoreError: the database is closed, or its store is damaged.
        """
        asked = to_asked(start, end)
        series = find_stored(self._reader, self._series(symbol, interval, market)).series
        return records.revisions_frame(self._reader, series, asked.start, asked.end)

    def compare(
        self,
        symbol: str,
        interval: str | Interval,
        *,
        market: str | Market | None = None,
        start: Time | None = None,
        end: Time | None = None,
    ) -> "pl.DataFrame":
        """Where stored candles differ from those derived from a lower interval: open_time, column, stored, derived.

        A candle that only one side has is null on the other; one that cannot be derived, because a part of it is
        missing in the store, is left out. Empty where all agree.

        Raises:
            UsageError: the store has no such series, or none to derive it from, or a time is impossible.
            StoreError: the database is closed, or its store is damaged.
        """
        asked = to_asked(start, end)
        series = find_stored(self._reader, self._series(symbol, interval, market)).series
        derived = find_derived(self._reader, series)
        return records.disagreements_frame(deriving.compare(self._reader, derived, asked.start, asked.end))

    def certificate(
        self,
        symbol: str,
        interval: str | Interval,
        *,
        market: str | Market | None = None,
        start: Time | None = None,
        end: Time | None = None,
    ) -> Certificate:
        """A completeness certificate of the range, by default of all that is held.

        Raises:
            UsageError: the store has no such series, or no candle of it, or no candle opens in the range.
            StoreError: the database is closed, or its store is damaged.
        """
        asked = to_asked(start, end)
        series = find_stored(self._reader, self._series(symbol, interval, market)).series
        bounds = bounds_of(self._reader, series)
        if bounds is None or (asked.start is None and asked.end is None):
            return certify(self._reader, series)
        first = bounds.start if asked.start is None else asked.start
        stop = series.interval.next(bounds.end - 1) if asked.end is None else asked.end
        return certify(self._reader, series, Span(first, max(first, stop)))

    def _series(self, symbol: str, interval: str | Interval, market: str | Market | None) -> Series:
        return to_series(symbol, interval, market, self._market)


def _reopened(kind: type[Database], url: str, market: Market) -> Database:
    return kind(open_store(url, write=False), market, url)
