"""What the database's functions do, on both kinds of database."""

import asyncio
import json
from datetime import timedelta
from decimal import Decimal

import asyncpg
import pytest

from tests.integration.schema.asked import MINUTE, START, asked, fetched, seed


def test_upsert_candle_changes_only_what_differs_and_keeps_what_it_replaces(each_url: str) -> None:
    """The first call inserts, the same again does nothing, another value replaces, and the old row is a revision."""

    async def ask(connection: asyncpg.Connection) -> list[bool]:
        call = "SELECT upsert_candle($1, 10, 12, 9, 11, 5, trades => $2)"
        return [
            await connection.fetchval(call, START, 7),
            await connection.fetchval(call, START, 7),
            await connection.fetchval(call, START, None),
            await connection.fetchval(call, START, 8),
        ]

    assert asked(each_url, ask) == [True, False, False, True]
    assert fetched(each_url, "SELECT time, close, number_of_trades, market, symbol FROM candles_1m") == [
        (START, Decimal(11), 8, "spot", "BTCUSDT")
    ]
    assert fetched(each_url, "SELECT time, number_of_trades FROM candle_revisions") == [(START, 7)]


def test_bulk_insert_candles_takes_json_and_counts_it(each_url: str) -> None:
    """An array of objects becomes candles of the series that is named, and the number of objects is returned."""
    row = {
        "time": "2026-03-02T00:00:00Z",
        "open": 1,
        "high": 2,
        "low": 1,
        "close": 2,
        "volume": "0.1",
        "number_of_trades": 3,
    }
    rows = [row, row | {"time": "2026-03-02T01:00:00Z"}, row]
    assert fetched(each_url, "SELECT bulk_insert_candles($1, 'ETHUSDT', '1h')", json.dumps(rows)) == [(3,)]
    assert fetched(each_url, "SELECT symbol, interval, time, volume, close_time FROM candles ORDER BY time") == [
        ("ETHUSDT", "1h", START, Decimal("0.1"), START + timedelta(minutes=60, milliseconds=-1)),
        ("ETHUSDT", "1h", START + timedelta(hours=1), Decimal("0.1"), START + timedelta(minutes=120, milliseconds=-1)),
    ]


def test_second_symbol_leaves_the_first_alone(each_url: str) -> None:
    """Two symbols, markets or intervals at the same time are different candles; candles_1m shows the default one."""

    async def ask(connection: asyncpg.Connection) -> None:
        for symbol, interval, market in (
            ("BTCUSDT", "1m", "spot"),
            ("ETHUSDT", "1m", "spot"),
            ("BTCUSDT", "1m", "usdm"),
            ("BTCUSDT", "5m", "spot"),
        ):
            await connection.execute(
                "SELECT upsert_candle($1, 10, 12, 9, 11, 5, for_symbol => $2, for_interval => $3, for_market => $4)",
                START, symbol, interval, market,
            )  # fmt: skip

    asked(each_url, ask)
    assert fetched(each_url, "SELECT count(*) FROM candles") == [(4,)]
    assert fetched(each_url, "SELECT count(*) FROM candles_1m") == [(1,)]


def test_derived_columns_are_computed_by_the_view_as_documented(each_url: str) -> None:
    """Spread, taker ratio and mid price have the documented values, also without volume, and the function agrees."""

    async def ask(connection: asyncpg.Connection) -> None:
        await connection.execute("SELECT upsert_candle($1, 100, 110, 90, 100, 8, taker_buy_base_volume => 2)", START)
        await connection.execute("SELECT upsert_candle($1, 100, 100, 100, 100, 0)", START + MINUTE)

    asked(each_url, ask)
    columns = "spread_bps, taker_buy_ratio, mid_price"
    expected = [(Decimal(2000), Decimal("0.25"), Decimal(100)), (Decimal(0), None, Decimal(100))]
    assert fetched(each_url, f"SELECT {columns} FROM candles_1m ORDER BY time") == expected
    function = "compute_candle_derived_columns(high, low, close, volume, taker_buy_base_asset_volume)"
    assert fetched(each_url, f"SELECT d.* FROM candles, {function} d ORDER BY time") == expected


def test_candles_1m_takes_insert_update_and_delete(each_url: str) -> None:
    """The documented table can be written as a table: derived columns that are given are computed instead."""

    async def ask(connection: asyncpg.Connection) -> tuple[object, ...]:
        insert = (
            "INSERT INTO candles_1m (time, open, high, low, close, volume, spread_bps) VALUES ($1, 1, 2, 1, 2, 3, 77) "
            "RETURNING spread_bps, symbol"
        )
        inserted = tuple(await connection.fetchrow(insert, START))
        updated = await connection.execute("UPDATE candles_1m SET volume = 4 WHERE time = $1", START)
        held = await connection.fetchval("SELECT volume FROM candles WHERE symbol = 'BTCUSDT'")
        deleted = await connection.execute("DELETE FROM candles_1m WHERE time = $1", START)
        return inserted, updated, held, deleted

    assert asked(each_url, ask) == ((Decimal(5000), "BTCUSDT"), "UPDATE 1", Decimal(4), "DELETE 1")


@pytest.mark.parametrize(
    "values", ["1, 2, 1.5, 2, 3", "1, 2, 1, 3, 3", "1, 2, 1, 2, -1", "0, 2, 0, 2, 1", "1, 'NaN', 1, 1, 1", "1, 2, 1, 2, 'Infinity'"]
)  # fmt: skip
def test_candles_that_no_candle_can_be_are_refused(each_url: str, values: str) -> None:
    """Low above open, close above high, a negative volume, a price of zero, NaN and infinity keep out."""
    with pytest.raises(asyncpg.CheckViolationError):
        fetched(each_url, f"INSERT INTO candles_1m (time, open, high, low, close, volume) VALUES ($1, {values})", START)


def test_rows_that_arrive_newest_first_make_no_gap(each_url: str) -> None:
    """Gaps are found in what is held, not as rows arrive: after rows in any order there is none, and nothing was logged."""

    async def ask(connection: asyncpg.Connection) -> list[asyncpg.Record]:
        for n in (4, 3, 0, 1, 2):
            await connection.execute("SELECT upsert_candle($1, 10, 12, 9, 11, 5)", START + n * MINUTE)
        return await connection.fetch("SELECT * FROM detect_candle_gap($1, $2)", START - MINUTE, START + 9 * MINUTE)

    assert asked(each_url, ask) == []
    assert fetched(each_url, "SELECT count(*) FROM data_quality_logs") == [(0,)]


def test_detect_candle_gap_finds_holes_between_candles_less_what_has_a_reason(each_url: str) -> None:
    """Single minutes are found, half-open, cut to the range, without those before the first and after the last candle."""

    async def ask(connection: asyncpg.Connection) -> tuple[list[tuple[object, ...]], ...]:
        await seed(connection, START, 20)
        await connection.execute(
            "DELETE FROM candles WHERE time = ANY($1::timestamptz[])",
            [START + n * MINUTE for n in (3, 7, 8, 9, 10, 15)],
        )
        await connection.execute(
            "INSERT INTO gap_reasons VALUES ('spot', 'BTCUSDT', '1m', $1, $2, 'exchange_outage', '{}')",
            START + 8 * MINUTE, START + 10 * MINUTE,
        )  # fmt: skip
        call = "SELECT * FROM detect_candle_gap($1, $2)"
        wide = await connection.fetch(call, START - 99 * MINUTE, START + 99 * MINUTE)
        cut = await connection.fetch(call, START + 10 * MINUTE, START + 15 * MINUTE)
        return [tuple(row) for row in wide], [tuple(row) for row in cut]

    def gap(first: int, end: int) -> tuple[object, ...]:
        return START + first * MINUTE, START + end * MINUTE, end - first

    wide, cut = asked(each_url, ask)
    assert wide == [gap(3, 4), gap(7, 8), gap(10, 11), gap(15, 16)]
    assert cut == [gap(10, 11)]


def test_get_candles_with_gaps_has_a_row_for_every_minute(each_url: str) -> None:
    """The minute series is half-open; a minute without a candle is flagged, with the reason where it has one."""

    async def ask(connection: asyncpg.Connection) -> None:
        await seed(connection, START, 4)
        await connection.execute("DELETE FROM candles WHERE time IN ($1, $2)", START + MINUTE, START + 2 * MINUTE)
        await connection.execute(
            "INSERT INTO gap_reasons VALUES ('spot', 'BTCUSDT', '1m', $1, $2, 'exchange_outage', '{}')",
            START + MINUTE, START + 2 * MINUTE,
        )  # fmt: skip
        await connection.execute(  # of somebody else, who does not know yet
            "INSERT INTO gap_reasons VALUES ('spot', 'BTCUSDT', '1m', $1, $2, 'pending', '{}', 'a store')",
            START + MINUTE, START + 2 * MINUTE,
        )  # fmt: skip

    asked(each_url, ask)
    rows = fetched(
        each_url, "SELECT time, is_gap, reason FROM get_candles_with_gaps($1, $2)", START, START + 4 * MINUTE
    )
    assert rows == [
        (START, False, None),
        (START + MINUTE, True, "exchange_outage"),
        (START + 2 * MINUTE, True, "missing"),
        (START + 3 * MINUTE, False, None),
    ]


def test_grid_of_weeks_and_months_is_the_exchange_s(each_url: str) -> None:
    """Weeks open on Monday and months on the first, in UTC, whatever the time zone of the session."""

    async def ask(connection: asyncpg.Connection) -> list[tuple[list[object], ...]]:
        await connection.execute("SET timezone = 'America/New_York'")
        call = "SELECT array_agg(one) FROM candle_grid($1, $2, $3) one"
        return [
            await connection.fetchval(call, START - timedelta(days=3), START + timedelta(days=70), code)
            for code in ("1w", "1M")
        ]

    weeks, months = asked(each_url, ask)
    assert weeks[:2] == [START, START + timedelta(days=7)]
    assert months == [START + timedelta(days=days) for days in (-1, 30, 60)]


def test_mark_gap_resolved_resolves_rows_inside_and_logs_once(each_url: str) -> None:
    """Rows within the bounds are resolved even where the bounds differ, others stay, and telling twice changes nothing."""

    async def ask(connection: asyncpg.Connection) -> list[int]:
        for first, end in ((2, 4), (5, 6), (20, 21)):
            await connection.execute(
                "INSERT INTO data_quality_logs (event_type, gap_start, gap_end, candles_missing, source) "
                "VALUES ('gap_detected', $1, $2, $3, 'system')",
                START + first * MINUTE, START + end * MINUTE, end - first,
            )  # fmt: skip
        call = "SELECT mark_gap_resolved($1, $2, 3)"
        return [await connection.fetchval(call, START, START + 10 * MINUTE) for _ in range(2)]

    assert asked(each_url, ask) == [2, 0]
    rows = fetched(each_url, "SELECT event_type, candles_recovered, resolved FROM data_quality_logs ORDER BY id")
    assert rows == [
        ("gap_detected", 2, True),
        ("gap_detected", 1, True),
        ("gap_detected", None, False),
        ("gap_backfilled", 3, True),
    ]


def test_gap_is_logged_once_whoever_reports_it(each_url: str) -> None:
    """A second row of the same gap is refused, with and without the name of its series."""
    insert = (
        "INSERT INTO data_quality_logs (event_type, gap_start, gap_end, source, symbol) "
        "VALUES ('gap_detected', $1, $2, $3, $4)"
    )
    for symbol in (None, "BTCUSDT"):
        fetched(each_url, insert, START, START + MINUTE, "system", symbol)
        with pytest.raises(asyncpg.UniqueViolationError):
            fetched(each_url, insert, START, START + MINUTE, "data_feeder", symbol)


def test_only_one_ensemble_is_active_for_an_instrument(each_url: str) -> None:
    """Activating one deactivates the other, each symbol has its own, and updated_at follows."""

    async def ask(connection: asyncpg.Connection) -> None:
        insert = "INSERT INTO ensemble_models (ensemble_name, models, weights, symbol, is_active) VALUES ($1, '{a,b}', '{0.5,0.5}', $2, true)"
        for name, symbol in (("one", "BTCUSDT"), ("two", "BTCUSDT"), ("three", "ETHUSDT")):
            await connection.execute(insert, name, symbol)
        await connection.execute("UPDATE ensemble_models SET is_active = true WHERE ensemble_name = 'one'")

    asked(each_url, ask)
    assert fetched(each_url, "SELECT symbol, ensemble_name FROM v_active_ensemble ORDER BY 1") == [
        ("BTCUSDT", "one"),
        ("ETHUSDT", "three"),
    ]
    assert fetched(each_url, "SELECT updated_at > created_at FROM ensemble_models WHERE ensemble_name = 'two'") == [
        (True,)
    ]


def test_ensemble_weights_are_as_many_as_models(each_url: str) -> None:
    """A weight too few is refused."""
    with pytest.raises(asyncpg.CheckViolationError):
        fetched(each_url, "INSERT INTO ensemble_models (ensemble_name, models, weights) VALUES ('x', '{a,b}', '{1}')")


@pytest.mark.parametrize("migrated_url", ["plain"], indirect=True)
def test_concurrent_activations_leave_one_active_ensemble(each_url: str) -> None:
    """Two sessions that activate at the same time both succeed, and the one that commits last is active."""

    async def activate_both() -> None:
        first, second = [await asyncpg.connect(each_url) for _ in range(2)]
        insert = (
            "INSERT INTO ensemble_models (ensemble_name, models, weights, is_active) VALUES ($1, '{a}', '{1}', true)"
        )
        async with first.transaction():
            await first.execute(insert, "first")
            waiting = asyncio.ensure_future(second.execute(insert, "second"))
            while not await first.fetchval(
                "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
            ):
                pass
        await waiting
        await first.close()
        await second.close()

    asyncio.run(activate_both())
    assert fetched(each_url, "SELECT ensemble_name FROM v_active_ensemble") == [("second",)]


def test_view_feature_cache_has_the_default_series_alone(each_url: str) -> None:
    """The documented query of a model gives exactly one row, however many symbols have features."""

    async def ask(connection: asyncpg.Connection) -> list[str]:
        for symbol in ("BTCUSDT", "ETHUSDT"):
            await connection.execute(
                "INSERT INTO features (symbol, time, features_json) VALUES ($1, date_trunc('minute', now()), $2)",
                symbol, json.dumps({"of": symbol}),
            )  # fmt: skip
        rows = await connection.fetch(
            "SELECT features_json FROM feature_cache WHERE time = date_trunc('minute', now())"
        )
        return [row["features_json"] for row in rows]

    assert [json.loads(one) for one in asked(each_url, ask)] == [{"of": "BTCUSDT"}]


def test_resample_candles_is_exact_and_says_what_is_complete(each_url: str) -> None:
    """Hours of minutes have the first open, the last close, the extremes and exact sums; one with a hole is not complete."""

    async def ask(connection: asyncpg.Connection) -> list[tuple[object, ...]]:
        await seed(connection, START, 119)
        rows = await connection.fetch(
            "SELECT time, open, close, volume, candles, complete FROM resample_candles('1h', $1, $2)",
            START,
            START + 120 * MINUTE,
        )
        return [tuple(row) for row in rows]

    first, second = asked(each_url, ask)
    assert first == (
        START,
        Decimal(100),
        Decimal(101 + 59 % 7),
        sum(Decimal(n % 13) + Decimal("0.1") for n in range(60)),
        60,
        True,
    )
    assert second[-2:] == (59, False)
