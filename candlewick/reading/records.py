"""What a store knows about its candles, as polars frames: series, gaps, revisions, disagreements."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from candlewick.integrity.gaps import find_gaps
from candlewick.market import Series
from candlewick.reading.deriving import Disagreements
from candlewick.stores.store import VALUES, SeriesInfo, Source, StoreReader

if TYPE_CHECKING:  # half a second and 60 MB of imports for those who only ask for the type
    import polars as pl


def series_frame(infos: Iterable[SeriesInfo]) -> "pl.DataFrame":
    """One row a series: market, symbol, interval, candles, first, last; the last two are open times."""
    rows = [(*_words(one.series), one.rows, one.first, one.last) for one in infos]
    return _frame(rows, {"market": str, "symbol": str, "interval": str, "candles": int, "first": None, "last": None})


def gaps_frame(reader: StoreReader, infos: Iterable[SeriesInfo]) -> "pl.DataFrame":
    """One row a gap: market, symbol, interval, from, to, candles, reason; `to` is just after the gap."""
    rows: list[tuple[Any, ...]] = []
    for info in infos:
        held = reader.columns(info.series, columns=["open_time"])["open_time"]
        gaps = find_gaps(info.series, held, reader.absences(info.series))
        rows += [(*_words(info.series), *gap.span, gap.candles, str(gap.reason)) for gap in gaps]
    return _frame(
        rows,
        {"market": str, "symbol": str, "interval": str, "from": None, "to": None, "candles": int, "reason": str},
    )


def revisions_frame(reader: StoreReader, series: Series, start: int | None, end: int | None) -> "pl.DataFrame":
    """One row for each value that was replaced: open_time, column, old, new, old_source, new_source.

    A candle that was replaced twice has both, the earlier first; close times are in epoch milliseconds.
    """
    replaced = reader.revisions(series)
    times = replaced["open_time"]
    inside = np.ones(len(times), np.bool_)
    if start is not None:
        inside &= times >= start
    if end is not None:
        inside &= times < end
    replaced = replaced[inside]
    rows: list[tuple[Any, ...]] = []
    for at, old in enumerate(replaced):
        time = int(old["open_time"])
        if at + 1 < len(replaced) and replaced[at + 1]["open_time"] == time:
            new = replaced[at + 1]
        else:
            (new,) = reader.read(series, time, time + 1)
        sources = str(Source(old["source"]).name).lower(), str(Source(new["source"]).name).lower()
        rows += [
            (time, name, _value(old, name), _value(new, name), *sources)
            for name in VALUES
            if old[name].tobytes() != new[name].tobytes()
        ]
    return _frame(
        rows, {"open_time": None, "column": str, "old": float, "new": float, "old_source": str, "new_source": str}
    )


def disagreements_frame(found: Disagreements) -> "pl.DataFrame":
    """One row for each value that differs: open_time, column, stored, derived; null where there is no such candle."""
    import polars as pl  # noqa: PLC0415  # only what is asked for is loaded

    return pl.DataFrame(
        {
            "open_time": pl.Series(found.open_time, dtype=pl.Int64).cast(pl.Datetime("us", "UTC")),
            "column": pl.Series(found.column, dtype=pl.String),
            "stored": pl.Series(found.stored, dtype=pl.Float64).fill_nan(None),
            "derived": pl.Series(found.derived, dtype=pl.Float64).fill_nan(None),
        }
    )


def _words(series: Series) -> tuple[str, str, str]:
    return str(series.market), series.symbol, series.interval.code


def _value(row: np.void, name: str) -> float:
    return float(row[name] // 1000 if name == "close_time" else row[name])


def _frame(rows: list[tuple[Any, ...]], columns: dict[str, type | None]) -> "pl.DataFrame":
    """A frame of rows; None stands for a UTC timestamp, given in microseconds."""
    import polars as pl  # noqa: PLC0415  # only what is asked for is loaded

    types: dict[type | None, type[pl.DataType]] = {str: pl.String, int: pl.Int64, float: pl.Float64, None: pl.Int64}
    frame = pl.DataFrame(rows, {name: types[kind] for name, kind in columns.items()}, orient="row")
    times = [name for name, kind in columns.items() if kind is None]
    return frame.cast(dict.fromkeys(times, pl.Datetime("us", "UTC")))
