"""A store that is written at random while a shared database follows it, and what both hold, side by side."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from random import Random
from typing import Any, NamedTuple

import asyncpg
import msgspec
import numpy as np
from numpy.lib.recfunctions import repack_fields

from candlewick.market import DAY, MINUTE, Interval, Market, Series, Span
from candlewick.outputs.output import Position
from candlewick.outputs.postgres import PostgresOutput
from candlewick.stores.postgres.store import PostgresReader
from candlewick.stores.provenance import GapRecord, gap_records
from candlewick.stores.rule import newest_per_time
from candlewick.stores.store import (
    LOGGED_STATES,
    ROW,
    VALUES,
    Absence,
    Reason,
    Rows,
    Source,
    Store,
    StoreReader,
)
from tests.contracts.output_bench import Run

START = 1_700_000_000_000_000 // DAY * DAY
MINUTES = Series(Market.SPOT, "BTCUSDT", Interval("1m"))
SERIES = (
    MINUTES, Series(Market.SPOT, "ETHUSDT", Interval("1h")), Series(Market.USDM, "BTCUSDT", Interval("1m")),
    Series(Market.SPOT, "PEPEUSDT", Interval("1s")),
)  # fmt: skip
POISON = "ALTER TABLE candles ADD CONSTRAINT poison CHECK (number_of_trades % 7 <> 0) NOT VALID"
CURE = "ALTER TABLE candles DROP CONSTRAINT IF EXISTS poison"
LATE = 3_000
"""Slots before the first live candle that are written late."""

_STATES = tuple(prefix for prefix in LOGGED_STATES if prefix != "gap:")


class MortalOutput(PostgresOutput):
    """An output whose connections end with the event loop, as those of a killed process do."""

    _will: "AsyncGenerator[None, None] | None" = None

    async def open(self, identity: str) -> Position | None:
        if self._will is None:
            self._will = self._end()
            await anext(self._will)
        return await super().open(identity)

    async def _end(self) -> "AsyncGenerator[None, None]":
        try:
            yield
        finally:
            if self._database is not None:
                self._database._pool.terminate()  # noqa: SLF001 - nobody else can end them at once


class Story:
    """Writes a store at random: the same seed, the same story."""

    def __init__(self, seed: int) -> None:
        self.draw = Random(seed)
        self._next = dict.fromkeys(SERIES, LATE)
        self._open: list[GapRecord] = []
        self.done: Counter[str] = Counter()

    async def go_on(self, run: Run, steps: int) -> None:
        """So many things happen to the store, at times a moment apart."""
        names = [name for name, weight in _WEIGHTS.items() for _ in range(weight)]
        for _ in range(steps):
            name = self.draw.choice(names)
            self.done[name] += 1
            await getattr(self, f"_{name}")(run)
            if self.draw.random() < 0.5:
                await asyncio.sleep(self.draw.uniform(0.0, 0.01))  # noqa: TID251 - others go on meanwhile

    def history(self, store: Store, rows: int) -> None:
        """What was held before anybody followed it."""
        for series in SERIES:
            store.write(self.candles(store, series, range(LATE - rows // len(SERIES), LATE), Source.ARCHIVE))

    def candles(self, store: Store, series: Series, slots: Sequence[int], source: Source) -> Rows:
        """Candles whose numbers have all the digits that numbers can have."""
        rows, step = np.zeros(len(slots), ROW), series.interval.nominal
        rows["series"], rows["source"] = store.number(series), source
        rows["open_time"] = START + np.array(slots, np.int64) * step
        rows["close_time"] = rows["open_time"] + step - 1000
        for row in rows:
            prices = sorted(self.draw.choice((1e-8, 1.0, 7e4)) * self.draw.random() + 1e-9 for _ in range(4))
            row["low"], row["open"], row["close"], row["high"] = prices
            row["volume"] = self.draw.choice((0.0, 1e-8, 0.1 + 0.2, 1e9 * self.draw.random()))
            row["taker_buy_volume"] = row["volume"] / 3
            row["quote_volume"] = row["volume"] * row["close"]
            row["taker_buy_quote_volume"] = row["quote_volume"] / 3
            row["trades"] = self.draw.randrange(1, 10**9)
        return rows

    def _held(self, store: Store, series: Series, most: int) -> Rows:
        """Some candles that are held, together."""
        rows = store.read(series)
        first = self.draw.randrange(max(1, len(rows) - most + 1))
        return rows[first : first + self.draw.randint(1, most)].copy()

    def _any(self) -> Series:
        return self.draw.choice(SERIES)

    async def _live(self, run: Run) -> None:
        """Some series close candles at once, as a feed brings them."""
        for series in self.draw.sample(SERIES, self.draw.randint(1, len(SERIES))):
            slot = self._next[series]
            self._next[series] += self.draw.choice((1, 1, 1, 1, 3))
            await run.write(self.candles(run.store, series, [slot], Source.LIVE))

    async def _live_again(self, run: Run) -> None:
        """The feed says something else of its newest candle."""
        series = self._any()
        await run.write(self.candles(run.store, series, [self._next[series] - 1], Source.LIVE))

    async def _confirmed(self, run: Run) -> None:
        """REST says the same of candles that are held."""
        rows = self._held(run.store, self._any(), 8)
        rows["source"] = np.maximum(rows["source"], Source.REST)
        await run.write(rows)

    async def _corrected(self, run: Run) -> None:
        """REST or the archive says something else of candles that are held."""
        series = self._any()
        held = self._held(run.store, series, 12)
        slots = ((held["open_time"] - START) // series.interval.nominal).tolist()
        await run.write(self.candles(run.store, series, slots, self.draw.choice((Source.REST, Source.ARCHIVE))))

    async def _late(self, run: Run) -> None:
        """Candles of long ago come, in weeks where none was."""
        first, count = self.draw.randrange(LATE - 200), self.draw.randint(1, 100)
        source = self.draw.choice(list(Source))
        await run.write(self.candles(run.store, self._any(), range(first, first + count), source))

    async def _absent(self, run: Run) -> None:
        """What is known of why candles are not there changes."""
        series, step = self._any(), self._any().interval.nominal
        starts = sorted(self.draw.sample(range(0, 1000, 10), self.draw.randint(0, 6)))
        reasons = [one for one in Reason if one is not Reason.MISSING]
        absences = [
            Absence(
                Span(START + at * step, START + (at + self.draw.randint(1, 10)) * step), self.draw.choice(reasons),
                f'{{"asked": [{self.draw.random()}]}}',
            )
            for at in starts
        ]  # fmt: skip
        await run.on_store(run.store.set_absences, series, absences)

    async def _state(self, run: Run) -> None:
        """Certificates, listings and the ledger change; some go."""
        keys = [f"{prefix}{self.draw.randrange(3)}" for prefix in _STATES]
        chosen = self.draw.sample(keys, self.draw.randint(1, 3))
        values = {key: None if self.draw.random() < 0.4 else self.draw.randbytes(12) for key in chosen}
        await run.on_store(run.store.set_states, values)

    async def _gap(self, run: Run) -> None:
        """A gap is found, or one that was is closed."""
        at = START + (LATE + len(self._open) * 10 + self.draw.randrange(1_000) * 1_000) * MINUTE
        if self._open and self.draw.random() < 0.5:
            one = self._open.pop(self.draw.randrange(len(self._open)))
            absent = self.draw.randint(0, one.candles)
            record = msgspec.structs.replace(
                one, closed_at=one.detected_at + MINUTE, recovered=one.candles - absent, absent=absent
            )
        else:
            count = self.draw.randint(1, 9)
            record = GapRecord(str(MINUTES), Span(at, at + count * MINUTE), count, at + 20 * MINUTE, "test")
            if record.span.start in {each.span.start for each in gap_records(run.store)}:
                return
            self._open.append(record)
        key = f"gap:{record.series}:{record.span.start}"
        await run.on_store(run.store.set_state, key, msgspec.json.encode(record))


_WEIGHTS = {
    "live": 10, "live_again": 2, "confirmed": 3, "corrected": 3, "late": 2, "absent": 2, "state": 3, "gap": 2,
}  # fmt: skip


class Audit(NamedTuple):
    """How a shared database differs from the store that feeds it; empty when it does not."""

    wrong: list[str]
    rows: int
    revisions: int


def audit(store: StoreReader, url: str) -> Audit:
    """Hold a shared database against the store that feeds it, as it must be once it is level."""
    reader = PostgresReader.at(url)
    try:
        wrong = _of_series(store, reader)
        for prefix in _STATES:
            if store.states(prefix) != reader.states(prefix):
                wrong.append(f"states {prefix} {store.states(prefix)} are {reader.states(prefix)}")
        infos = store.series()
        revisions = sum(len(reader.revisions(info.series)) for info in infos)
        return Audit(wrong + asyncio.run(_of_tables(store, url)), sum(info.rows for info in infos), revisions)
    finally:
        reader.close()


def _of_series(store: StoreReader, reader: StoreReader) -> list[str]:
    wrong = []
    ours = {info.series for info in store.series() if info.rows}
    theirs = {info.series for info in reader.series() if info.rows}
    if ours != theirs:
        wrong.append(f"series {ours ^ theirs} are in one alone")
    for series in sorted(ours & theirs, key=str):
        one, other = _bare(store.read(series)), _bare(reader.read(series))
        if len(one) != len(other) or not np.array_equal(one, other):
            there = set(other.tolist())
            missing = [row for row in one.tolist() if row not in there]
            here = set(one.tolist())
            more = [row for row in other.tolist() if row not in here]
            wrong.append(f"{series}: {missing[:3]} of {len(missing)} are {more[:3]} of {len(more)}")
        if store.absences(series) != reader.absences(series):
            wrong.append(f"{series}: absences {store.absences(series)} are {reader.absences(series)}")
        wrong += _of_revisions(series, store, reader)
    return wrong


def _of_revisions(series: Series, store: StoreReader, reader: StoreReader) -> list[str]:
    """What was replaced in the database was replaced in the store, in that order; it need not have seen all of it."""
    told: dict[int, list[Any]] = {}
    for row in _values(store.revisions(series)):
        told.setdefault(row[0], []).append(row)
    held = {row[0]: row for row in _values(store.read(series))}
    wrong = []
    for row in _values(reader.revisions(series)):
        before = told.get(row[0], [])
        if row == held.get(row[0]) and row not in before:
            wrong.append(f"{series}: {row} was never replaced")
        elif row not in before:
            wrong.append(f"{series}: the revision {row} is none of {before}, or is there twice")
        else:
            del before[: before.index(row) + 1]
    return wrong


def _values(rows: Rows) -> list[tuple[Any, ...]]:
    """Rows without series and source, which may have been raised unseen."""
    names = ["open_time", *VALUES]
    return [tuple(row) for row in zip(*(rows[name].tolist() for name in names), strict=True)]


def _bare(rows: Rows) -> Any:  # noqa: ANN401 - rows without a column
    assert len(newest_per_time(rows)) == len(rows)
    return repack_fields(rows[[name for name in ROW.names or () if name != "series"]])


async def _of_tables(store: StoreReader, url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        return [
            *await _of_gaps(store, connection), *await _of_position(store, connection), *await _twice(connection),
            *await _left_behind(connection),
        ]  # fmt: skip
    finally:
        await connection.close()


async def _of_gaps(store: StoreReader, connection: asyncpg.Connection) -> list[str]:
    """Each gap on record has one row, resolved if it is closed, and one of what came, if anything did."""
    wrong = []
    for record in gap_records(store):
        series = Series.parse(record.series)
        rows = await connection.fetch(
            "SELECT event_type, candles_missing, candles_recovered, resolved FROM data_quality_logs WHERE event_type <> 'error'"
            " AND market = $1 AND symbol = $2 AND interval = $3 AND gap_start = timestamptz 'epoch' + $4 * interval '1 us'"
            " AND gap_end = timestamptz 'epoch' + $5 * interval '1 us' ORDER BY event_type DESC",
            str(series.market), series.symbol, series.interval.code, *record.span,
        )  # fmt: skip
        is_closed = record.closed_at is not None
        expected: list[tuple[object, ...]] = [
            ("gap_detected", record.candles, record.recovered if is_closed else None, is_closed)
        ]
        if record.recovered:
            expected.append(("gap_backfilled", record.candles, record.recovered, True))
        if [tuple(row) for row in rows] != expected:
            wrong.append(f"the gap {record} is {[tuple(row) for row in rows]}")
    if wrong or not gap_records(store):
        return wrong
    unresolved = sum(one.closed_at is None for one in gap_records(store))
    count = "SELECT count(*) FROM data_quality_logs WHERE event_type = 'gap_detected' AND NOT resolved"
    found = await connection.fetchval(count)
    return [] if found == unresolved else [f"{found} gaps are not resolved, not {unresolved}"]


async def _of_position(store: StoreReader, connection: asyncpg.Connection) -> list[str]:
    """It stands at the end of the store's log, and is in no snapshot."""
    texts = await connection.fetch("SELECT position FROM output_positions WHERE output = 'postgresql'")
    positions = [msgspec.json.decode(row[0], type=Position) for row in texts]
    expected = [Position(store.change_range().last)]
    return [] if positions == expected else [f"the position is {positions}, not {expected}"]


async def _twice(connection: asyncpg.Connection) -> list[str]:
    """Nothing is there twice, by whatever way it is looked at."""
    wrong = []
    for table, key in {
        "candles": "market, symbol, interval, time", "gap_reasons": "market, symbol, interval, gap_start",
        "data_quality_logs": "market, symbol, interval, event_type, gap_start, gap_end, error_message, created_at",
        "provenance": "key",
    }.items():  # fmt: skip
        twice = await connection.fetch(
            f"SELECT {key}, count(*) FROM {table} GROUP BY {key} HAVING count(*) > 1 LIMIT 3"  # noqa: S608 - of constants
        )
        wrong += [f"{table}: {tuple(row)} twice" for row in twice]
    return wrong


async def _left_behind(connection: asyncpg.Connection) -> list[str]:
    """No transaction, lock or session of anybody who is gone is left."""
    others = "datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    until = asyncio.get_running_loop().time() + 10.0
    while True:
        found = await connection.fetch(
            f"SELECT 'session', state, left(query, 60) FROM pg_stat_activity WHERE {others} AND state <> 'idle'"  # noqa: S608
            " UNION ALL SELECT 'prepared', gid, '' FROM pg_prepared_xacts"
            " UNION ALL SELECT 'advisory lock', pid::text, objid::text FROM pg_locks"
            " WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        if not found or asyncio.get_running_loop().time() > until:
            return [f"left behind: {tuple(row)}" for row in found]
        await asyncio.sleep(0.05)  # noqa: TID251 - the server is at it


def positions_of(url: str) -> list[dict[str, Any]]:
    """Where the outputs stand, as the database has it."""

    async def fetch() -> list[dict[str, Any]]:
        connection = await asyncpg.connect(url)
        try:
            return [json.loads(row[0]) for row in await connection.fetch("SELECT position FROM output_positions")]
        finally:
            await connection.close()

    return asyncio.run(fetch())
