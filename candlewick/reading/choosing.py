"""Which series of a store is meant, and where its candles come from: stored, derived, filled."""

from typing import Literal, TypeAlias, get_args

from candlewick.errors import UsageError
from candlewick.market import Interval, Market, Series
from candlewick.reading.deriving import Derived, find_lower
from candlewick.reading.filling import Filled
from candlewick.reading.held import Candles, Stored
from candlewick.stores.store import SeriesInfo, StoreReader

Derive: TypeAlias = Literal["auto", "never", "always"]
Fill: TypeAlias = Literal["flat"]


def find_candles(reader: StoreReader, series: Series, derive: Derive, fill: Fill | None) -> Candles:
    """The candles of a series, as they are asked for.

    Raises:
        UsageError: the store has none of it and it cannot be derived, or `derive` or `fill` is impossible.
    """
    if derive not in get_args(Derive):
        raise UsageError(f"derive={derive!r} is not possible: write 'auto', 'never' or 'always'")
    if fill not in (None, *get_args(Fill)):
        raise UsageError(f"fill={fill!r} is not possible: write 'flat', or leave it out")
    found = find_derived(reader, series) if derive == "always" else _stored_or_derived(reader, series, derive)
    return Filled(found) if fill else found


def find_derived(reader: StoreReader, series: Series) -> Derived:
    """The candles of a series, derived from a lower interval.

    Raises:
        UsageError: the store has none that fits.
    """
    known = reader.series(counted=False, symbol=series.symbol)
    source = find_lower(known, series)
    if source is None:
        raise UsageError(
            f"{series} cannot be derived: the store at {reader.location} has no lower interval of it that fits; "
            f"{_held_words(reader, series.symbol)}"
        )
    return Derived(reader, series, source)


def find_stored(reader: StoreReader, series: Series) -> Stored:
    """The candles of a series as they are stored.

    Raises:
        UsageError: the store does not know it.
    """
    known = reader.series(counted=False, symbol=series.symbol)
    if all(one.series != series for one in known):
        raise _unknown(reader, str(series), series.symbol)
    return Stored(reader, series)


def find_all(
    reader: StoreReader, market: Market | None, symbol: str | None, interval: Interval | None
) -> list[SeriesInfo]:
    """Every series of the store that fits; None stands for all.

    Raises:
        UsageError: a symbol or an interval is named that the store does not have.
    """
    known = reader.series(counted=False)
    found = [
        one
        for one in known
        if market in (None, one.series.market)
        and symbol in (None, one.series.symbol)
        and interval in (None, one.series.interval)
    ]
    if not found and (symbol is not None or interval is not None):
        raise _unknown(reader, f"{market or '*'}:{symbol or '*'}:{interval or '*'}", symbol)
    return found


def _stored_or_derived(reader: StoreReader, series: Series, derive: Derive) -> Candles:
    known = reader.series(counted=False, symbol=series.symbol)
    if derive == "auto" and not any(one.series == series and one.rows for one in known):
        source = find_lower(known, series)
        if source is not None:
            return Derived(reader, series, source)
    return find_stored(reader, series)


def _unknown(reader: StoreReader, what: str, symbol: str | None) -> UsageError:
    return UsageError(f"the store at {reader.location} has no series {what}; {_held_words(reader, symbol)}")


def _held_words(reader: StoreReader, symbol: str | None) -> str:
    """What a store has, the series of `symbol` first."""
    known = reader.series(counted=False)
    near = sorted(known, key=lambda one: one.series.symbol != symbol)
    words = ", ".join(str(one.series) for one in near[:5]) + (" ..." if len(known) > 5 else "")
    return f"it has {words or 'none yet'}"
