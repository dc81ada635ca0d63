"""What a feeder's record and its database hold, to be held against each other."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from candlewick.market import Interval, Market, Series, format_time
from candlewick.stores import open_store
from candlewick.stores.store import ROW
from tests.acceptance.processes import Child, ask, following, url_of, wait_for

Held = dict[Series, dict[int, tuple[Any, ...]]]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIELDS = [name for name in ROW.names or () if name != "series"]
_COLUMNS = (
    "market, symbol, interval, source, time, open, high, low, close, volume, close_time, quote_asset_volume,"
    " number_of_trades, taker_buy_base_asset_volume, taker_buy_quote_asset_volume"
)


def feeding(place: str, record: Path, database: str, **settings: str) -> dict[str, str]:
    """The settings of a feeder that follows the exchange at `place`."""
    own = {"STREAMS": "kline", "HISTORY_START": "0.01d", "LOCAL_STORE": f"lmdb://{record}"}
    return following(place, record, **own) | {"STORE": database} | settings


def in_record(record: Path) -> Held:
    """Every row of a local store, by series and open time: source, then values."""
    store = open_store(f"lmdb://{record}", write=False)
    try:
        return {
            info.series: {int(row["open_time"]): tuple(row[name].item() for name in _FIELDS) for row in store.read(info.series)}
            for info in store.series()
        }  # fmt: skip
    finally:
        store.close()


def query(database: str, text: str, *values: object) -> list[asyncpg.Record]:
    """What a statement answers."""

    async def fetch() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(database)
        try:
            return list(await connection.fetch(text, *values))
        finally:
            await connection.close()

    return asyncio.run(fetch())


def in_database(database: str) -> Held:
    """The same of the shared database."""
    held: Held = {}
    for row in query(database, f"SELECT {_COLUMNS} FROM candles"):
        market, symbol, interval, source, *values = tuple(row)
        series = Series(Market(market), symbol, Interval(interval))
        plain = [_time(one) if isinstance(one, datetime) else one for one in values]
        shown = (source, *(one if isinstance(one, int) else float(one) for one in plain))
        time = shown[1]
        rows = held.setdefault(series, {})
        assert time not in rows
        rows[time] = shown
    return held


def _time(when: datetime) -> int:
    return (when - _EPOCH) // timedelta(microseconds=1)


def differences(record: Path, database: str) -> list[str]:
    """How the database differs from the record, row by row."""
    ours, theirs = in_record(record), in_database(database)
    wrong = []
    for series in ours.keys() | theirs.keys():
        one, other = ours.get(series, {}), theirs.get(series, {})
        wrong += [
            f"{series} {format_time(time)}: {one.get(time)} in the record, {other.get(time)} in the database"
            for time in sorted(one.keys() | other.keys())
            if one.get(time) != other.get(time)
        ]
    return wrong


def rows_in(held: Held) -> int:
    """How many rows are held."""
    return sum(map(len, held.values()))


def health(child: Child) -> dict[str, Any]:
    """What a feeder says of itself."""
    _, document = ask(f"{url_of(child)}/health")
    assert isinstance(document, dict)
    return document


def wait_until_level(child: Child, within_s: float = 30.0) -> dict[str, Any]:
    """The feeder's health once the database is connected and has everything."""

    def level() -> dict[str, Any] | None:
        document = health(child)
        (output,) = document["outputs"]
        good = output["connected"] and not output["behind_rows"] and not output["snapshot"]
        return document if good and output["written"] else None

    return wait_for(level, child, within_s)
