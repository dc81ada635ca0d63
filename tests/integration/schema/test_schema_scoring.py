"""How predictions are scored, on both kinds of database."""

from datetime import datetime, timedelta
from decimal import Decimal

import asyncpg
import pytest

from tests.integration.schema.asked import MINUTE, START, asked, fetched

MADE = START + 10 * MINUTE
LATER = START + timedelta(hours=1)


async def candle(connection: asyncpg.Connection, time: datetime, opens: int, closes: int) -> None:
    await connection.execute(
        "SELECT upsert_candle($1, $2, $4, $5, $3, 1)", time, opens, closes, max(opens, closes), min(opens, closes)
    )


async def predict(connection: asyncpg.Connection, close: object, direction: int | None, made: datetime = MADE) -> None:
    await connection.execute(
        "INSERT INTO predictions (model_name, prediction_time, target_time, horizon, predicted_close, predicted_direction) "
        "VALUES ('gru', $1, $2, 5, $3, $4)",
        made, made + 5 * MINUTE, Decimal(str(close)), direction,
    )  # fmt: skip


async def prices(connection: asyncpg.Connection, before: int, at_target: int) -> None:
    """The price when a prediction is made, and at its target; the candles that open then are other."""
    await candle(connection, MADE - MINUTE, 7, before)
    await candle(connection, MADE, 500, 500)
    await candle(connection, MADE + 4 * MINUTE, 7, at_target)
    await candle(connection, MADE + 5 * MINUTE, 900, 900)


def test_actual_close_is_that_of_the_candle_that_ends_at_the_target(each_url: str) -> None:
    """The candle that opens at target_time is not used: its close is a minute too late."""

    async def ask(connection: asyncpg.Connection) -> tuple[object, ...]:
        await prices(connection, 100, 110)
        await predict(connection, 104, 1)
        scored = await connection.fetchval("SELECT compute_accuracy(at => $1)", LATER)
        row = await connection.fetchrow("SELECT actual_close, rmse, mape, resolved_at FROM predictions")
        return scored, *row

    scored, actual, rmse, mape, resolved_at = asked(each_url, ask)
    assert (scored, actual, rmse, resolved_at) == (1, 110, 6, LATER)
    assert float(mape) == pytest.approx(6 / 110)


@pytest.mark.parametrize(
    ("close", "direction", "at_target", "accuracy"),
    [
        (110, 1, 110, 1),  # exactly right
        (120, 1, 110, 1),  # too far, but up it went
        (105, 1, 110, 1),  # not far enough, but up it went
        (110, 1, 90, 0),
        (90, -1, 110, 0),
        (100, 0, 100, 1),
        (100, 0, 110, 0),
        (105, None, 110, 1),  # no direction was given: that of the predicted close
        (95, None, 110, 0),
    ],
)
def test_direction_is_scored_against_the_price_at_prediction_time(
    each_url: str, close: int, direction: int | None, at_target: int, accuracy: int
) -> None:
    """Up is right where the price at the target is above that when the prediction was made, whatever close was predicted."""

    async def ask(connection: asyncpg.Connection) -> object:
        await prices(connection, 100, at_target)
        await predict(connection, close, direction)
        await connection.execute("SELECT compute_accuracy(at => $1)", LATER)
        return await connection.fetchval("SELECT accuracy FROM predictions")

    assert asked(each_url, ask) == accuracy


def test_mape_is_a_fraction_and_cannot_overflow(each_url: str) -> None:
    """A forecast a thousand times too high scores 999, which is 99,900 percent."""

    async def ask(connection: asyncpg.Connection) -> object:
        await prices(connection, 100, 100)
        await predict(connection, 100_000, 1)
        await connection.execute("SELECT compute_accuracy(at => $1)", LATER)
        return await connection.fetchval("SELECT mape FROM predictions")

    assert asked(each_url, ask) == 999


def test_prediction_waits_for_its_candle(each_url: str) -> None:
    """Without the candle, or within five minutes of the target, a prediction stays open, and is scored once it can be."""

    async def ask(connection: asyncpg.Connection) -> list[int]:
        await predict(connection, 104, 1)
        call = "SELECT compute_accuracy(at => $1)"
        missing = await connection.fetchval(call, LATER)
        await prices(connection, 100, 110)
        early = await connection.fetchval(call, MADE + 9 * MINUTE)
        return [missing, early, await connection.fetchval(call, LATER), await connection.fetchval(call, LATER)]

    assert asked(each_url, ask) == [0, 0, 1, 0]


def test_predictions_without_candles_do_not_hold_up_others(each_url: str) -> None:
    """However many old predictions can never be scored, a run of limited size reaches those that can."""

    async def ask(connection: asyncpg.Connection) -> int:
        for n in range(5):
            await predict(connection, 1, 1, MADE - timedelta(hours=2) + n * MINUTE)
        await prices(connection, 100, 110)
        await predict(connection, 104, 1)
        return int(await connection.fetchval("SELECT compute_accuracy(2, $1)", LATER))

    assert asked(each_url, ask) == 1


def test_job_scores_more_than_one_run_takes(each_url: str) -> None:
    """The scheduled job goes on until nothing is left."""

    async def ask(connection: asyncpg.Connection) -> object:
        await prices(connection, 100, 110)
        await connection.execute(
            "INSERT INTO predictions (model_name, prediction_time, target_time, horizon, predicted_close) "
            "SELECT 'm', $1, $1::timestamptz + interval '5 minutes', 5, 104 FROM generate_series(1, 10050)",
            MADE,
        )
        return await connection.fetchval("SELECT run_scheduled_accuracy($1) ->> 'predictions_scored'", LATER)

    assert asked(each_url, ask) == "10050"


def test_scoring_looks_at_no_chunk_outside_its_range(each_url: str) -> None:
    """Older predictions are not touched; a longer look back reaches them."""

    async def ask(connection: asyncpg.Connection) -> list[int]:
        await prices(connection, 100, 110)
        await predict(connection, 104, 1)
        late = LATER + timedelta(days=45)
        return [
            await connection.fetchval("SELECT compute_accuracy(at => $1)", late),
            await connection.fetchval("SELECT compute_accuracy(at => $1, look_back => '60 days')", late),
        ]

    assert asked(each_url, ask) == [0, 1]


@pytest.mark.parametrize("migrated_url", ["timescale"], indirect=True)
def test_compressed_predictions_can_be_scored(each_url: str) -> None:
    """A prediction in a compressed chunk, which an outage left open, is scored like any other."""

    async def ask(connection: asyncpg.Connection) -> tuple[object, ...]:
        await prices(connection, 100, 110)
        await predict(connection, 104, 1)
        await connection.execute("SELECT compress_chunk(c) FROM show_chunks('predictions') c")
        await connection.execute("SELECT compress_chunk(c) FROM show_chunks('candles') c")
        scored = await connection.fetchval("SELECT compute_accuracy(at => $1)", LATER)
        return scored, await connection.fetchval("SELECT actual_close FROM predictions")

    assert asked(each_url, ask) == (1, 110)


def test_model_performance_sums_up_the_last_week(each_url: str) -> None:
    """The view has the share of right directions and the root of the mean squared error; documented names have a view too."""

    async def ask(connection: asyncpg.Connection) -> None:
        await connection.execute(
            "INSERT INTO predictions (model_name, prediction_time, target_time, horizon, predicted_close, accuracy, rmse, mape, actual_close) "
            "SELECT 'gru', now() - age, now(), 5, 100, right_or_wrong, miss, miss / 100.0, 100 FROM (VALUES "
            "(interval '1 day', 1, 3), (interval '2 days', 0, 4), (interval '8 days', 0, 99)) AS v (age, right_or_wrong, miss)"
        )

    asked(each_url, ask)
    rows = fetched(
        each_url, "SELECT model_name, predictions, scored, accuracy, round(rmse, 6) FROM v_model_performance"
    )
    assert rows == [("gru", 2, 2, Decimal("0.5"), Decimal("3.535534"))]
    assert fetched(each_url, "SELECT model_id, symbol, prediction, actual FROM v_predictions LIMIT 1") == [
        ("gru", "BTCUSDT", 100, 100)
    ]
