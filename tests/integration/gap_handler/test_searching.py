"""What a gap handler does on its own: it searches, looks after the log, and shares its work with others."""

import asyncio

from candlewick.market import SECOND
from candlewick.simulator.faults import Fault
from candlewick.stores.store import Reason
from tests.integration.gap_handler.town import BTC, ETH, Town, minute, visit


def test_holes_inside_every_series_are_found_and_repaired_unasked(shared_url: str) -> None:
    """A search finds holes between candles, of series that nobody named too, logs them and has them repaired."""

    async def story(town: Town) -> None:
        town.keep(BTC, [n for n in range(-300, 0) if n not in {-200, -100, -99}])
        town.keep(ETH, [n for n in range(-300, 0) if n != -50])
        async with town.handler(searches=True) as office:
            await office.until(lambda: office.handler.status().outcomes["backfilled"] >= 2)
            assert set(range(-300, 0)) <= set(town.held(BTC))
            assert set(range(-300, 0)) <= set(town.held(ETH))
            rows = await office.when(town.rows, lambda rows: all(row[6] for row in rows))
            assert [row[:7] for row in rows if row[0] == "gap_detected"] == [
                ("gap_detected", "BTCUSDT", -200, -199, 1, 1, True),
                ("gap_detected", "BTCUSDT", -100, -98, 2, 2, True),
                ("gap_detected", "ETHUSDT", -50, -49, 1, 1, True),
            ]

    visit(shared_url, story)


def test_search_is_repeated_and_watches_wanted_series_to_their_end(shared_url: str) -> None:
    """What goes missing later is found by the next search, and a series of SYMBOLS that nobody feeds goes on."""

    async def story(town: Town) -> None:
        town.keep(BTC, range(-30, 0))
        async with town.handler(searches=True, backfill_check_interval_s=60.0) as office:
            await office.until(lambda: office.handler.status().scanned_at is not None)
            await town.sql("DELETE FROM candles WHERE time = to_timestamp($1)", minute(-20) / SECOND)
            await office.until(lambda: -20 in town.held() and town.held()[-1] >= 2, within_s=40.0)

    visit(shared_url, story, speed=60.0)


def test_rows_of_others_are_repaired_and_resolved_unasked(shared_url: str) -> None:
    """A row that a feeder left open is resolved where all is there, and repaired where something is missing."""

    async def story(town: Town) -> None:
        town.keep(BTC, range(-100, 0))
        for first, last in ((-60, -50), (-130, -120)):  # the second lies before everything that is held
            await town.sql(
                "INSERT INTO data_quality_logs (event_type, market, symbol, interval, gap_start, gap_end, candles_missing, source)"
                " VALUES ('gap_detected', 'spot', 'BTCUSDT', '1m', to_timestamp($1), to_timestamp($2), 10, 'data_feeder')",
                minute(first) / SECOND, minute(last) / SECOND,
            )  # fmt: skip
        async with town.handler(searches=True) as office:
            rows = await office.when(town.rows, lambda rows: all(row[6] for row in rows))
            assert ("gap_detected", "BTCUSDT", -60, -50, 10, 10, True, "data_feeder") in rows
            assert ("gap_detected", "BTCUSDT", -130, -120, 10, 10, True, "data_feeder") in rows

    visit(shared_url, story)


def test_candle_that_an_open_row_has_is_in_no_other(shared_url: str) -> None:
    """Of a hole that an open row reaches into, only the rest gets a row: the sums of the log count no candle twice."""

    async def story(town: Town) -> None:
        town.keep(BTC, [n for n in range(-100, 0) if not (-60 <= n < -45 or -30 <= n < -20)])
        for first, last in ((-70, -50), (-48, -40), (-28, -25)):
            await town.sql(
                "INSERT INTO data_quality_logs (event_type, market, symbol, interval, gap_start, gap_end, candles_missing, source)"
                " VALUES ('gap_detected', 'spot', 'BTCUSDT', '1m', to_timestamp($1), to_timestamp($2), 3, 'manual')",
                minute(first) / SECOND, minute(last) / SECOND,
            )  # fmt: skip
        async with town.handler(searches=True) as office:
            rows = await office.when(town.rows, lambda rows: len(rows) >= 8 and all(row[6] for row in rows))
            assert [(*row[2:5], row[7]) for row in rows if row[0] == "gap_detected"] == [
                (-70, -50, 3, "manual"),
                (-50, -48, 2, "gap_handler"),
                (-48, -40, 3, "manual"),
                (-30, -20, 10, "manual"),  # what lay inside was widened
            ]

    visit(shared_url, story)


def test_recent_absence_is_proved_by_itself_a_minute_later(shared_url: str) -> None:
    """Of candles of the last hour REST is asked twice, a minute apart, without anybody asking again."""
    outage = Fault(kind="outage", at=-20 * 60 - 30.0, duration_s=180.0)

    async def story(town: Town) -> None:
        town.keep(BTC, [n for n in range(-100, 0) if not -30 <= n < -10])
        async with town.handler() as office:
            code, answer = await office.backfill(-30, -10)
            assert (code, answer["status"]) == (200, "partial")
            rows = await office.when(town.rows, lambda rows: all(row[6] for row in rows))
            assert ("gap_detected", "BTCUSDT", -30, -10, 20, answer["candles_recovered"], True, "gap_handler") in rows
            assert [one.reason for one in town.store.absences(BTC)] == [Reason.EXCHANGE_OUTAGE]

    visit(shared_url, story, faults=(outage,), speed=60.0)


def test_two_gap_handlers_share_the_work(shared_url: str) -> None:
    """Asked for the same gap at once they fetch it once between them, and both say the truth."""

    async def story(town: Town) -> None:
        town.keep(BTC, [-2000, -1])
        async with town.handler() as one, town.handler() as other:
            one.wire.delay_s = other.wire.delay_s = 0.2
            answers = await asyncio.gather(one.backfill(-1900, -950), other.backfill(-1900, -950))
            assert [(code, answer["status"]) for code, answer in answers] == [(200, "backfilled")] * 2
            assert sorted(answer["candles_recovered"] for _, answer in answers) == [0, 950]
            assert len(one.wire.klines) + len(other.wire.klines) == 1
            assert len(await town.rows()) == 2

    visit(shared_url, story)


def test_two_gap_handlers_search_once_between_them(shared_url: str) -> None:
    """A search that somebody has just made is not made again."""

    async def story(town: Town) -> None:
        town.keep(BTC, [n for n in range(-100, 0) if n != -50])
        async with town.handler(searches=True) as one, town.handler(searches=True) as other:
            await one.until(lambda: one.handler.status().scanned_at and other.handler.status().scanned_at)
            await one.when(town.rows, lambda rows: bool(rows) and all(row[6] for row in rows))
            assert len(one.wire.klines) + len(other.wire.klines) == 1

    visit(shared_url, story)


def test_gap_handler_that_dies_leaves_its_series_to_the_other(shared_url: str) -> None:
    """When the session of a handler ends in the middle of a backfill, the other one gets the series and finishes."""

    async def story(town: Town) -> None:
        town.keep(BTC, [-2000, -1])
        async with town.handler() as one, town.handler() as other:
            one.wire.delay_s = 5.0
            first = asyncio.ensure_future(one.backfill(-1900, -1800))
            await one.until(lambda: bool(one.wire.klines))
            second = asyncio.ensure_future(other.backfill(-1900, -1800))
            await asyncio.sleep(0.3)  # noqa: TID251 - a database takes real time
            assert not other.wire.klines
            await town.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND database ="
                " (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            assert (await second)[1]["candles_recovered"] == 100
            code, answer = await first
            assert (code, answer["status"]) == (500, "error")
            assert "claim" in answer["error"]

    visit(shared_url, story)
