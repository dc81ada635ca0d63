"""Writing candles into the shared database by the write rule (`stores.rule`), fast and beside other writers.

A few rows go in one statement. Many go by COPY: into partitions of their own where their week has none, and straight
into the table where nothing is held of their series and range. Else they are compared with what is held, here or in a
table of the session; only what is missing or differs is written.
Another writer may come in between at any moment: what is about to be replaced is replaced only if it is still what it
was compared with, and what was written meanwhile is compared again.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from itertools import chain, pairwise
from math import isfinite
from typing import NamedTuple

import asyncpg
import numpy as np

from candlewick.errors import StoreDown, UsageError
from candlewick.market import Series
from candlewick.stores import rule
from candlewick.stores.postgres import statements, weeks
from candlewick.stores.postgres.compare import compare, is_dense
from candlewick.stores.postgres.rows import COLUMNS, NUMERICS, copy_parts
from candlewick.stores.store import ROW, Rows

FEW = 200
"""Up to so many rows one statement is faster than COPY and what goes before it."""

_COUNTED = 100
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
            way = _merge_few if len(part) <= FEW else _merge_many
            total = _sum(total, await way(connection, part, series))
    return total


async def merge_fresh(connection: asyncpg.Connection, rows: Rows, series: Mapping[int, Series]) -> Merged:
    """The same for rows of which probably none is held: by COPY, however few they are."""
    total = Merged(0, 0, 0)
    async with _within(connection):
        for part in rule.rounds(rows) if len(rows) else []:
            total = _sum(total, await _merge_many(connection, part, series))
    return total


def arrays(rows: Rows, series: Mapping[int, Series]) -> list[list[str] | list[int]]:
    """Rows as the arrays that `statements.GIVEN` takes, in the order of `COLUMNS`.

    Raises:
        UsageError: a value is no finite number.
    """
    columns = dict(zip(ROW.names or (), zip(*rows.tolist(), strict=True), strict=False))  # no columns of no rows
    if not all(map(isfinite, chain.from_iterable(columns.get(name, ()) for name in NUMERICS))):
        raise UsageError("a row holds an infinite value, or one that is not a number: it is no candle")
    names = [series[number] for number in columns.get("series", ())]
    return [
        [str(one.market) for one in names],
        [one.symbol for one in names],
        [one.interval.code for one in names],
        list(columns.get("open_time", ())),
        *([repr(value).removesuffix(".0") for value in columns.get(name, ())] for name in NUMERICS),
        *(list(columns.get(name, ())) for name in ("trades", "close_time", "source")),
    ]


async def _merge_few(connection: asyncpg.Connection, rows: Rows, series: Mapping[int, Series]) -> Merged:
    await weeks.make(connection, rows)
    inserted = await connection.fetchval(statements.INSERT_GIVEN, *arrays(rows, series))
    if inserted == len(rows):
        return Merged(inserted, 0, 0)
    settled = await _settle(connection, rows, series)  # finds those just inserted unchanged
    return Merged(settled.inserted + inserted, settled.changed, settled.unchanged - inserted)


async def _merge_many(connection: asyncpg.Connection, rows: Rows, series: Mapping[int, Series]) -> Merged:
    async def fill(part: Rows, table: str) -> None:
        await copy(connection, part, series, table)

    inserted, rows = await weeks.fill_new(connection, rows, fill)
    if not len(rows):
        return Merged(inserted, 0, 0)
    await weeks.make(connection, rows)
    runs = _runs(rows)
    held = {number - 1 for (number,) in await connection.fetch(statements.HELD_RANGES, *_ranges(runs, series))}
    missing, unclear = [run for at, run in enumerate(runs) if at not in held], []
    for run in (runs[at] for at in sorted(held)):
        if is_dense(run, series):
            compared = await compare(connection, run, series)
            missing.append(compared.missing)
            unclear.append(compared.replacing)
        else:
            unclear.append(run)
    new = np.concatenate([*missing, rows[:0]])
    try:
        async with connection.transaction():
            await copy(connection, new, series, "candles")
    except asyncpg.UniqueViolationError:  # somebody wrote some of them meanwhile
        unclear, new = unclear + missing, rows[:0]
    rest = np.concatenate([*unclear, rows[:0]])
    settled = await _settle(connection, rest, series) if len(rest) else Merged(0, 0, 0)
    others = len(rows) - len(new) - len(rest)
    return Merged(inserted + len(new) + settled.inserted, settled.changed, settled.unchanged + others)


async def _settle(connection: asyncpg.Connection, rows: Rows, series: Mapping[int, Series]) -> Merged:
    """Compare rows with those that are held, and write what is missing or differs."""
    await connection.execute(statements.STAGING)
    await copy(connection, rows, series, "candle_staging", schema="pg_temp")
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


async def copy(
    connection: asyncpg.Connection, rows: Rows, series: Mapping[int, Series], table: str, schema: str | None = None
) -> None:
    """Add rows to a table that has the columns of `candles`, whatever it holds."""

    async def parts() -> AsyncIterator[bytes]:
        for part in copy_parts(rows, series):
            yield part

    async with _while_connected(connection):
        await connection.copy_to_table(table, source=parts(), columns=COLUMNS, schema_name=schema, format="binary")


@asynccontextmanager
async def _while_connected(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Ends what is inside with TimeoutError once the connection is lost: COPY would wait for ever to go on writing."""
    limit = asyncio.timeout(None)
    is_inside = True

    def end(_: object) -> None:
        if is_inside:
            limit.reschedule(0.0)

    connection.add_termination_listener(end)
    try:
        async with limit:
            yield
    finally:
        is_inside = False
        with suppress(asyncpg.InterfaceError):  # the pool has taken it back, lost as it is
            connection.remove_termination_listener(end)


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
