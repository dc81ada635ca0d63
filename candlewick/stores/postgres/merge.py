"""Writing candles into the shared database by the write rule (`stores.rule`), fast and beside other writers.

A few rows go in one statement. Many go by COPY: straight into the table where nothing is held of their series and range,
else into a table of this session, to be compared with what is held once; only what is missing or differs is written.
Another writer may come in between at any moment: what is about to be replaced is replaced only if it is still what it
was compared with, and what was written meanwhile is compared again.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from itertools import pairwise
from typing import NamedTuple

import asyncpg
import numpy as np

from candlewick.errors import StoreDown, UsageError
from candlewick.market import DAY, Series
from candlewick.stores import rule
from candlewick.stores.postgres import statements
from candlewick.stores.postgres.rows import COLUMNS, NUMERICS, copy_parts
from candlewick.stores.store import Rows

FEW = 2_500
"""Up to so many rows one statement is faster than COPY."""

_COUNTED = 100
_WEEK, _MONDAY = 7 * DAY, 4 * DAY
_ROUNDS = 5  # of comparing again because of another writer


class Merged(NamedTuple):
    """What became of rows. Those whose source alone was raised are `unchanged`."""

    inserted: int
    changed: int
    unchanged: int


async def merge(connection: asyncpg.Connection, rows: Rows, series: Mapping[int, Series]) -> Merged:
    """Keep rows by the write rule, in the caller's transaction if there is one, else in one of its own.

    What is replaced by other values goes to `candle_revisions`; partitions are made where they are missing. Errors are
    the driver's: `connection.explained` is around whoever acquired the connection.

    Raises:
        StoreDown: other writers kept changing the same candles; the transaction must be given up.
    """
    total = Merged(0, 0, 0)
    async with _within(connection):
        for part in rule.rounds(rows) if len(rows) else []:
            await _make_partitions(connection, part)
            way = _merge_few if len(part) <= FEW else _merge_many
            total = _sum(total, await way(connection, part, series))
    return total


async def merge_fresh(connection: asyncpg.Connection, rows: Rows, series: Mapping[int, Series]) -> Merged:
    """The same for rows of which probably none is held: by COPY, however few they are."""
    total = Merged(0, 0, 0)
    async with _within(connection):
        for part in rule.rounds(rows) if len(rows) else []:
            await _make_partitions(connection, part)
            total = _sum(total, await _merge_many(connection, part, series))
    return total


def arrays(rows: Rows, series: Mapping[int, Series]) -> list[list[str] | list[int]]:
    """Rows as the arrays that `statements.GIVEN` takes, in the order of `COLUMNS`.

    Raises:
        UsageError: a value is no finite number.
    """
    if not all(np.isfinite(rows[name]).all() for name in NUMERICS):
        raise UsageError("a row holds an infinite value, or one that is not a number: it is no candle")
    names = [series[number] for number in rows["series"].tolist()]
    return [
        [str(one.market) for one in names],
        [one.symbol for one in names],
        [one.interval.code for one in names],
        rows["open_time"].tolist(),
        *([repr(value).removesuffix(".0") for value in rows[name].tolist()] for name in NUMERICS),
        rows["trades"].tolist(),
        rows["close_time"].tolist(),
        rows["source"].tolist(),
    ]


async def _make_partitions(connection: asyncpg.Connection, rows: Rows) -> None:
    """Have partitions for the weeks in which rows open, and for no others."""
    weeks = np.unique((rows["open_time"] - _MONDAY) // _WEEK)
    for run in np.split(weeks, np.flatnonzero(np.diff(weeks) > 1) + 1):
        first, last = int(run[0]) * _WEEK + _MONDAY, int(run[-1]) * _WEEK + _MONDAY
        await connection.execute(statements.PARTITIONS, first, last + 1)


async def _merge_few(connection: asyncpg.Connection, rows: Rows, series: Mapping[int, Series]) -> Merged:
    inserted = await connection.fetchval(statements.INSERT_GIVEN, *arrays(rows, series))
    if inserted == len(rows):
        return Merged(inserted, 0, 0)
    settled = await _settle(connection, rows, series)  # finds those just inserted unchanged
    return Merged(settled.inserted + inserted, settled.changed, settled.unchanged - inserted)


async def _merge_many(connection: asyncpg.Connection, rows: Rows, series: Mapping[int, Series]) -> Merged:
    runs = _runs(rows)
    held = {number - 1 for (number,) in await connection.fetch(statements.HELD_RANGES, *_ranges(runs, series))}
    fresh = [run for at, run in enumerate(runs) if at not in held]
    rest = [run for at, run in enumerate(runs) if at in held]
    inserted = 0
    if fresh:
        new = np.concatenate(fresh)
        try:
            async with connection.transaction():
                await _copy(connection, new, series, "candles")
            inserted = len(new)
        except asyncpg.UniqueViolationError:  # somebody wrote some of them meanwhile
            rest = runs
    settled = await _settle(connection, np.concatenate(rest), series) if rest else Merged(0, 0, 0)
    return _sum(Merged(inserted, 0, 0), settled)


async def _settle(connection: asyncpg.Connection, rows: Rows, series: Mapping[int, Series]) -> Merged:
    """Compare rows with those that are held, and write what is missing or differs."""
    await connection.execute(statements.STAGING)
    await _copy(connection, rows, series, "candle_staging", schema="pg_temp")
    if len(rows) > _COUNTED:
        await connection.execute(statements.ANALYSED)
    same = statements.same_candle(rows, series)
    inserted = changed = 0
    for _ in range(_ROUNDS):
        held, to_change = await connection.fetchrow(statements.COMPARE.format(same=same))
        missing, done = len(rows) - held, 0
        if missing:
            done = _count(await connection.execute(statements.INSERT_MISSING.format(same=same)))
            inserted += done
        if to_change:
            await connection.execute(statements.COLLECT_CHANGES.format(same=same))
            replaced, revised = await connection.fetchrow(statements.CHANGE)
            done += replaced
            changed += revised
        if done == missing + to_change:
            return Merged(inserted, changed, len(rows) - inserted - changed)
    raise StoreDown(
        f"other writers keep changing the candles that were to be compared, {_ROUNDS} times over: try again"
    )


async def _copy(
    connection: asyncpg.Connection, rows: Rows, series: Mapping[int, Series], table: str, schema: str | None = None
) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for part in copy_parts(rows, series):
            yield part

    await connection.copy_to_table(table, source=parts(), columns=COLUMNS, schema_name=schema, format="binary")


def _within(connection: asyncpg.Connection) -> AbstractAsyncContextManager[object]:
    """The caller's transaction, or a new one."""
    new: AbstractAsyncContextManager[object] = connection.transaction()
    return nullcontext() if connection.is_in_transaction() else new


def _runs(rows: Rows) -> list[Rows]:
    """Rows of one series that stand together."""
    breaks = np.flatnonzero(np.diff(rows["series"])) + 1
    return [rows[start:end] for start, end in pairwise([0, *breaks.tolist(), len(rows)])]


def _ranges(runs: list[Rows], series: Mapping[int, Series]) -> list[list[str] | list[int]]:
    """The series of runs and from when to when their rows open, as `statements.HELD_RANGES` takes them."""
    names = [series[int(run["series"][0])] for run in runs]
    return [
        [str(one.market) for one in names],
        [one.symbol for one in names],
        [one.interval.code for one in names],
        [int(run["open_time"].min()) for run in runs],
        [int(run["open_time"].max()) for run in runs],
    ]


def _sum(one: Merged, two: Merged) -> Merged:
    return Merged(one.inserted + two.inserted, one.changed + two.changed, one.unchanged + two.unchanged)


def _count(status: str) -> int:
    return int(status.rpartition(" ")[2])
