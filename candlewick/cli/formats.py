"""Candles as text and as files: every number comes back as the same double."""

import io
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from candlewick.cli.table import to_table
from candlewick.market import format_time
from candlewick.stores.store import Rows

if TYPE_CHECKING:  # a second of imports for those who want a table
    import polars as pl

COLUMNS = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades", "taker_buy_volume",
    "taker_buy_quote_volume",
)  # fmt: skip
"""In the order of the CSV header; both times in epoch milliseconds."""
_TIMES = frozenset({"open_time", "close_time"})
_CHUNK = 50_000


def to_csv(rows: Rows) -> Iterator[str]:
    """A header, then the candles, many lines at a time."""
    yield ",".join(COLUMNS) + "\n"
    for part in _parts(rows):
        columns = [list(map(number_text, part[name])) for name in COLUMNS]
        yield "".join(f"{','.join(line)}\n" for line in zip(*columns, strict=True))


def to_json(rows: Rows) -> Iterator[str]:
    """A list with one object a line."""
    separator = "[\n"
    for part in _parts(rows):
        for line in zip(*(part[name] for name in COLUMNS), strict=True):
            yield separator + json.dumps(dict(zip(COLUMNS, line, strict=True)))
            separator = ",\n"
    yield "[]\n" if separator == "[\n" else "\n]\n"


def to_text(rows: Rows, *, bold: bool) -> str:
    """A table for people."""
    part = {name: [] if not len(rows) else rows[name].tolist() for name in COLUMNS}
    cells = [
        [format_time(value) for value in part[name]] if name in _TIMES else [number_text(value) for value in part[name]]
        for name in COLUMNS
    ]
    right = frozenset(COLUMNS) - _TIMES
    return to_table(COLUMNS, zip(*cells, strict=True), right, bold=bold)


def to_binary(rows: Rows, form: str) -> bytes:
    """A Parquet file or an Arrow file; times are UTC timestamps."""
    buffer = io.BytesIO()
    frame = _frame(rows)
    if form == "parquet":
        frame.write_parquet(buffer)
    else:
        frame.write_ipc(buffer)
    return buffer.getvalue()


def _frame(rows: Rows) -> "pl.DataFrame":
    import numpy as np
    import polars as pl

    columns = {name: np.ascontiguousarray(rows[name]) for name in COLUMNS}
    return pl.DataFrame(columns).with_columns(
        pl.col(name).cast(pl.Datetime("us")).dt.replace_time_zone("UTC") for name in sorted(_TIMES)
    )


def _parts(rows: Rows) -> Iterator[dict[str, list[Any]]]:
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK]
        yield {name: (part[name] // 1000 if name in _TIMES else part[name]).tolist() for name in COLUMNS}


def number_text(value: float) -> str:
    """The shortest decimals that are this very double, without an exponent: `0.00001234`, not `1.234e-05`."""
    text = repr(value)
    return format(Decimal(text), "f") if "e" in text else text
