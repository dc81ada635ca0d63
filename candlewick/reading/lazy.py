"""A polars LazyFrame of candles that reads the store window by window, only what the query needs."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from candlewick.market import Span
from candlewick.reading.frames import lay_out, to_polars
from candlewick.reading.held import Candles, grid, windows, within
from candlewick.reading.styles import Column, Form, Layout, fields_of

if TYPE_CHECKING:  # half a second and 60 MB of imports for those who only ask for the type
    import polars as pl

ROWS = 262_144
"""Candles read at a time: some 20 MB of all columns."""


def scan(find: Callable[[], Candles], start: int | None, end: int | None, layout: Layout) -> "pl.LazyFrame":
    """A lazy frame of the candles that open in `[start, end)`; each `collect` finds them anew, as they are then."""
    import polars as pl  # noqa: PLC0415  # only what is asked for is loaded
    from polars.io.plugins import register_io_source  # noqa: PLC0415  # only what is asked for is loaded

    schema = to_polars(lay_out(find().read(0, 0, fields_of(layout)), layout)).schema

    def read(
        names: list[str] | None, predicate: pl.Expr | None, rows: int | None, _hint: int | None
    ) -> Iterator[pl.DataFrame]:
        candles = find()
        wanted = list(schema) if names is None else names
        needed = {*wanted} if predicate is None else {*wanted, *predicate.meta.root_names()}
        part = tuple(column for column in layout if column.name in needed)
        span = within(candles.bounds(), start, end)
        times = [] if predicate is None or rows is not None else _about_time(predicate, layout)
        yield pl.DataFrame(schema={name: schema[name] for name in wanted})
        for window in windows(candles.series.interval, span, ROWS, rows):
            if rows == 0:
                return
            narrowed = _narrow(candles, window, times, layout)
            frame = to_polars(lay_out(candles.read(*narrowed, fields_of(part)), part))
            if rows is not None:  # polars counts rows before it filters them
                frame = frame.head(rows)
                rows -= frame.height
            if predicate is not None:
                frame = frame.filter(predicate)
            if frame.height:
                yield frame.select(wanted)

    return register_io_source(read, schema=schema)


def _about_time(predicate: "pl.Expr", layout: Layout) -> "list[pl.Expr]":
    """Those of the conditions joined by `&` that speak of the open time alone."""
    names = {column.name for column in layout if column.field == "open_time" and column.form is not Form.ZERO}
    parts = predicate.meta.pop()
    if len(parts) == 2:
        second, first = parts
        if (first & second).meta.eq(predicate):
            return _about_time(first, layout) + _about_time(second, layout)
    return [predicate] if names and {*predicate.meta.root_names()} == names else []


def _narrow(candles: Candles, window: Span, conditions: "list[pl.Expr]", layout: Layout) -> Span:
    """The part of a window in which all conditions on the open time can hold; an empty span if nowhere."""
    if not conditions:
        return window
    times = grid(candles.series.interval, window)
    column: list[Column] = [one for one in layout if one.field == "open_time" and one.form is not Form.ZERO]
    frame = to_polars(lay_out({"open_time": times}, tuple(column))).with_row_index("at").filter(*conditions)
    if not frame.height:
        return Span(window.start, window.start)
    return Span(int(times[frame["at"][0]]), int(times[frame["at"][-1]]) + 1)
