"""Rows compared with those that the database holds, on this side: it sends what it has, which costs it least."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import asyncpg
import numpy as np
import numpy.typing as npt

from candlewick.market import Series, format_time
from candlewick.stores import rule
from candlewick.stores.postgres.copied import FIELDS, Copied, selected
from candlewick.stores.postgres.statements import quoted
from candlewick.stores.store import Rows, Source

LEAST_ROWS = 1_000
_DENSE = 4
"""Rows are asked for by series and time alone: at least one in so many of those that can be there is to be compared."""

_VALUES = tuple(name for name in FIELDS if name not in {"source", "open_time"})
_SELECTED = ", ".join(
    # NULL is not what we write, and is no candle's number of trades or time
    {"trades": "coalesce(number_of_trades, -1)", "close_time": "coalesce(close_time, 'epoch')"}.get(
        name, selected([name])
    )
    for name in FIELDS
)


class Compared(NamedTuple):
    """What there is to do about rows."""

    missing: Rows
    replacing: Rows


def is_dense(run: Rows, series: Mapping[int, Series]) -> bool:
    """Whether rows of one series, by time, lie so close that asking for all between costs little more than for them."""
    first, last = run["open_time"][[0, -1]].tolist()
    step = series[int(run["series"][0])].interval.nominal
    return len(run) >= LEAST_ROWS and len(run) * _DENSE * step >= last - first


async def compare(connection: asyncpg.Connection, run: Rows, series: Mapping[int, Series]) -> Compared:
    """What of rows of one series, by time, is not held, and what replaces what is held by the write rule."""
    market, symbol, interval = (quoted(str(part)) for part in series[int(run["series"][0])])
    first, last = (format_time(time) for time in run["open_time"][[0, -1]].tolist())
    query = (
        f"SELECT {_SELECTED} FROM candles WHERE market = {market} AND symbol = {symbol} AND interval = {interval}"  # noqa: S608
        f" AND time BETWEEN '{first}' AND '{last}'"
    )
    copied = Copied(tuple(FIELDS))
    await connection.copy_from_query(query, output=copied.take, format="binary")
    columns = copied.columns()
    columns = _by_time(columns)
    at, found = rule.find(columns["open_time"], np.ascontiguousarray(run["open_time"]))
    held = {name: column[at[found]] for name, column in columns.items()}
    both = run[found]
    same = np.ones(len(both), np.bool_)
    for name in _VALUES:
        same &= held[name] == both[name]
    source, settled = both["source"], both["source"] >= Source.REST
    replaces = np.where(same, source > held["source"], settled | (held["source"] < Source.REST))
    return Compared(run[~found], both[replaces])


def _by_time(columns: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    times = columns["open_time"]
    if bool((times[1:] > times[:-1]).all()):
        return columns
    order = np.argsort(times)
    return {name: column[order] for name, column in columns.items()}
