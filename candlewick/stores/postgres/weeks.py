"""Partitions of `candles`, a week each: made where rows need them, and filled before they are part of the table."""

from collections.abc import Awaitable, Callable

import asyncpg
import numpy as np
import numpy.typing as npt

from candlewick.market import DAY, format_time
from candlewick.stores.postgres import statements
from candlewick.stores.store import Rows

LEAST_ROWS = 1_000
"""Of a week that has no partition; fewer are as fast through the table."""
_WEEK, _MONDAY = 7 * DAY, 4 * DAY


async def make(connection: asyncpg.Connection, rows: Rows) -> None:
    """Have partitions for the weeks in which rows open, and for no others."""
    weeks = np.unique(_weeks(rows))
    for run in np.split(weeks, np.flatnonzero(np.diff(weeks) > 1) + 1):
        first, last = int(run[0]) * _WEEK + _MONDAY, int(run[-1]) * _WEEK + _MONDAY
        await connection.execute(statements.PARTITIONS, first, last + 1)


async def fill_new(
    connection: asyncpg.Connection, rows: Rows, copy: Callable[[Rows, str], Awaitable[None]]
) -> tuple[int, Rows]:
    """Copy the rows of whole weeks that have no partition into a new one each; how many that were, and the others.

    Indexes are made afterwards, which takes half the time of keeping them. `copy` writes rows into a table.
    """
    weeks = _weeks(rows)
    order = np.argsort(weeks, kind="stable")
    found, firsts, counts = np.unique(weeks[order], return_index=True, return_counts=True)
    many = [int(week) * _WEEK + _MONDAY for week in found[counts >= LEAST_ROWS]]
    new: list[int] = await connection.fetchval(statements.BEGIN_WEEKS, many) if many else []
    is_rest = np.ones(len(rows), np.bool_)
    for week in new:
        at = int(np.searchsorted(found, (week - _MONDAY) // _WEEK))
        of_week = order[firsts[at] : firsts[at] + counts[at]]
        is_rest[of_week] = False
        await copy(rows[of_week], f"candles_{format_time(week)[:10].replace('-', '')}")
    if new:
        await connection.execute(statements.ATTACH_WEEKS, new)
    rest = rows[is_rest] if new else rows
    return len(rows) - len(rest), rest


def _weeks(rows: Rows) -> npt.NDArray[np.int64]:
    weeks: npt.NDArray[np.int64] = (rows["open_time"] - _MONDAY) // _WEEK
    return weeks
