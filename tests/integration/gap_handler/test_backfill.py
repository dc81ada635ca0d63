"""Gaps are repaired on request, verified, and only then called resolved."""

import asyncio
from typing import Any

from candlewick.errors import Banned, ExchangeError, Unreachable
from candlewick.market import MINUTE, SECOND, format_time
from candlewick.simulator.faults import Fault
from candlewick.stores.store import Reason
from tests.integration.gap_handler.town import BTC, ETH, START, Town, minute, span, visit


def away(_path: str, _params: dict[str, str]) -> ExchangeError:
    return Unreachable("nobody answers")


def test_backfill_brings_what_is_missing_and_resolves_its_row(shared_url: str) -> None:
    """The candles that are missing come from REST, the numbers are true, and the log has one row found and one repaired."""

    async def story(town: Town) -> None:
        town.keep(BTC, [n for n in range(-100, 0) if not -60 <= n < -50])
        async with town.handler() as office:
            code, answer = await office.backfill(-60, -50, candles_missing=10, detected_at=format_time(minute(-40)))
            assert (code, answer["status"]) == (200, "backfilled")
            assert (answer["candles_expected"], answer["candles_recovered"], answer["candles_inserted"]) == (10, 10, 10)
            assert (answer["candles_fetched"], answer["candles_skipped"]) == (10, 0)
            assert (answer["gap_start"], answer["gap_end"]) == (format_time(minute(-60)), format_time(minute(-50)))
            assert "error" not in answer
            assert town.held() == list(range(-100, 0))
            assert await town.rows() == [
                ("gap_backfilled", "BTCUSDT", -60, -50, 10, 10, True, "gap_handler"),
                ("gap_detected", "BTCUSDT", -60, -50, 10, 10, True, "gap_handler"),
            ]
            assert await town.sql("SELECT created_at FROM data_quality_logs WHERE event_type = 'gap_detected'") == (
                await town.sql("SELECT to_timestamp($1)", minute(-40) / SECOND)
            )

    visit(shared_url, story)


def test_nothing_recovered_is_never_called_repaired(shared_url: str) -> None:
    """Where REST gives nothing the answer is an error, the row stays open, and the error has a row of its own."""

    async def story(town: Town) -> None:
        town.keep(BTC, [n for n in range(-100, 0) if not -60 <= n < -50])
        async with town.handler() as office:
            office.wire.failing = away
            code, answer = await office.backfill(-60, -50)
            assert (code, answer["status"], answer["candles_recovered"]) == (500, "error", 0)
            assert "nobody answers" in answer["error"]
            assert await town.rows() == [("gap_detected", "BTCUSDT", -60, -50, 10, None, False, "gap_handler")]
            errors = await town.sql(
                "SELECT source, symbol, error_message FROM data_quality_logs WHERE event_type = 'error'"
            )
            assert [one[:2] for one in errors] == [("gap_handler", "BTCUSDT")]
            assert "nobody answers" in errors[0][2]

    visit(shared_url, story)


def test_empty_answer_is_never_called_repaired(shared_url: str) -> None:
    """Where REST answers well and has nothing, neither the gap nor anything later, it stays open however often it is asked."""

    async def story(town: Town) -> None:
        town.keep(BTC, [n for n in range(-200, 0) if not -160 <= n < -150])
        async with town.handler() as office:
            office.wire.garble = lambda _: []
            for _ in range(3):
                code, answer = await office.backfill(-160, -150)
                assert (code, answer["status"], answer["candles_recovered"]) == (200, "partial", 0)
                assert "10 candles are still missing" in answer["error"]
            assert town.store.absences(BTC) == []
            assert await town.rows() == [("gap_detected", "BTCUSDT", -160, -150, 10, None, False, "gap_handler")]

    visit(shared_url, story, speed=60.0)


def test_gap_of_the_exchange_is_resolved_with_a_reason(shared_url: str) -> None:
    """Candles that REST has twice not had, though later ones, get a recorded reason; only the others count as recovered."""
    outage = Fault(kind="outage", at=-198 * 60 - 30.0, duration_s=180.0)

    async def story(town: Town) -> None:
        truth = town.exchange.truth("BTCUSDT", "1m", minute(-200), minute(-190))
        lacking = 10 - len(truth)
        assert lacking > 0
        town.keep(BTC, [n for n in range(-250, 0) if not -210 <= n < -190])
        async with town.handler() as office:
            code, answer = await office.backfill(-210, -190)
            assert (code, answer["status"], answer["candles_expected"]) == (200, "backfilled", 20)
            assert (answer["candles_recovered"], answer["candles_absent"]) == (20 - lacking, lacking)
            (absence,) = town.store.absences(BTC)
            assert absence.reason is Reason.EXCHANGE_OUTAGE
            assert ("gap_detected", "BTCUSDT", -210, -190, 20, 20 - lacking, True, "gap_handler") in await town.rows()

    visit(shared_url, story, faults=(outage,), speed=60.0)


def test_unfinished_candle_is_never_fetched_as_final(shared_url: str) -> None:
    """A range up to now is partial: what is over is stored, the candle that is going on is not."""

    async def story(town: Town) -> None:
        town.keep(BTC, range(-20, -5))
        async with town.handler() as office:
            code, answer = await office.backfill(-5, 5)
            held = town.held()
            now = (office.handler.clock.now() - minute(0)) // MINUTE
            assert (code, answer["status"]) == (200, "partial")
            assert "not over yet" in answer["error"]
            assert held == list(range(-20, held[-1] + 1))
            assert -1 <= held[-1] < now
            venue_rows = town.exchange.truth("BTCUSDT", "1m", minute(-5), minute(held[-1] + 1))
            assert [row["close"] for row in town.store.read(BTC, minute(-5))] == [
                float(str(row[4])) for row in venue_rows
            ]

    visit(shared_url, story, speed=10.0)


def test_wrong_clock_of_this_machine_ends_no_candle(shared_url: str) -> None:
    """Where it is an hour ahead the exchange's clock is waited for: the candle that is going on is not taken for final."""

    async def story(town: Town) -> None:
        async with town.handler(ahead_s=3600, delay_s=0.5) as office:
            _, answer = await office.backfill(-5, 30)
            now = (office.handler.clock.now() - minute(0)) // MINUTE
            assert answer["candles_expected"] == answer["candles_recovered"] < 10
            assert -1 <= town.held()[-1] < now < 30
            assert (await office.get("/health"))[1]["uptime_seconds"] >= 0

    visit(shared_url, story, speed=1.0)


def test_gap_end_is_exclusive(shared_url: str) -> None:
    """The candle that opens at gap_end belongs to nobody's gap: it is neither expected nor counted."""

    async def story(town: Town) -> None:
        town.keep(BTC, range(-20, -10))
        async with town.handler() as office:
            _, answer = await office.backfill(-10, -9)
            assert (answer["candles_expected"], answer["candles_recovered"]) == (1, 1)
            assert answer["candles_fetched"] == 1

    visit(shared_url, story)


def test_row_that_cannot_be_loses_no_other(shared_url: str) -> None:
    """A candle of which a number is no number's neighbours are stored; it stays missing, and the answer is partial."""

    def garble(rows: list[Any]) -> list[Any]:
        return [[*row[:2], "1", *row[3:]] if row[0] * 1000 == minute(-55) else row for row in rows]

    async def story(town: Town) -> None:
        town.keep(BTC, [n for n in range(-100, 0) if not -60 <= n < -50])
        async with town.handler() as office:
            office.wire.garble = garble  # its high lies below everything else
            code, answer = await office.backfill(-60, -50)
            assert (code, answer["status"]) == (200, "partial")
            assert (answer["candles_expected"], answer["candles_recovered"], answer["candles_skipped"]) == (
                10,
                9,
                1 + 0,
            )
            assert -55 not in town.held()
            assert set(range(-60, -50)) - {-55} <= set(town.held())
            assert ("gap_detected", "BTCUSDT", -60, -50, 10, None, False, "gap_handler") in await town.rows()
            assert office.handler.status().unresolved_gaps is not None

    visit(shared_url, story, speed=60.0)


def test_row_that_the_database_refuses_loses_no_other(shared_url: str) -> None:
    """What a constraint of the database's owner forbids stays missing, with the reason; everything else is stored."""

    async def story(town: Town) -> None:
        town.keep(BTC, [n for n in range(-200, 0) if not (-160 <= n < -150 or -60 <= n < -50)])
        await town.sql(
            f"ALTER TABLE candles ADD CONSTRAINT no_such_candle CHECK (time <> to_timestamp({minute(-155) // SECOND}))"
            " NOT VALID"
        )
        async with town.handler() as office:
            code, answer = await office.backfill(-160, -150)
            assert (code, answer["status"], answer["candles_recovered"]) == (200, "partial", 9)
            assert answer["candles_absent"] == 0  # though REST was asked twice
            assert "no_such_candle" in answer["error"]
            assert (await office.backfill(-60, -50))[1]["status"] == "backfilled"
            assert town.held() == [n for n in range(-200, 0) if n != -155]
            assert town.store.absences(BTC) == []
            assert {one.rule for one in await office.when(town.quarantined, bool)} == {"refused_by_database"}
            assert ("gap_detected", "BTCUSDT", -160, -150, 10, None, False, "gap_handler") in await town.rows()
            await town.sql("ALTER TABLE candles DROP CONSTRAINT no_such_candle")
            assert (await office.backfill(-160, -150))[1]["status"] == "backfilled"

    visit(shared_url, story, speed=60.0)


def test_number_that_cannot_be_read_is_no_zero(shared_url: str) -> None:
    """A page with a volume that is no number is asked for again, and nothing of it is stored as zero."""
    pages = []

    def garble(rows: list[Any]) -> list[Any]:
        pages.append(len(rows))
        return [[*row[:5], "many", *row[6:]] for row in rows] if len(pages) == 1 else rows

    async def story(town: Town) -> None:
        town.keep(BTC, [n for n in range(-100, 0) if not -60 <= n < -50])
        async with town.handler() as office:
            office.wire.garble = garble
            _, answer = await office.backfill(-60, -50)
            assert answer["status"] == "backfilled"
            assert len(pages) > 1
            assert town.store.read(BTC)["volume"].min() > 0

    visit(shared_url, story)


def test_short_page_ends_no_download(shared_url: str) -> None:
    """Pages that have fewer rows than were asked for are followed by the next one."""

    async def story(town: Town) -> None:
        town.keep(BTC, [-3000, *range(-10, 0)])
        async with town.handler() as office:
            office.wire.garble = lambda rows: rows[:300]
            _, answer = await office.backfill(-2999, -10)
            assert (answer["status"], answer["candles_recovered"]) == ("backfilled", 2989)

    visit(shared_url, story)


def test_pages_before_an_error_are_kept(shared_url: str) -> None:
    """When REST fails in the middle, what came before is stored and the answer is partial with the error."""

    async def story(town: Town) -> None:
        town.keep(BTC, [-3000, *range(-10, 0)])
        async with town.handler() as office:
            office.wire.failing = lambda path, _: (
                Unreachable("cut") if len(office.wire.klines) > 1 and "klines" in path else None
            )
            code, answer = await office.backfill(-2999, -10)
            assert (code, answer["status"]) == (200, "partial")
            assert 0 < answer["candles_recovered"] < 2989
            assert answer["candles_recovered"] == answer["candles_fetched"] == len(town.held()) - 11
            assert "cut" in answer["error"]

    visit(shared_url, story, speed=60.0)


def test_numbers_are_those_of_what_was_missing(shared_url: str) -> None:
    """What is held already is neither expected nor inserted; asking again finds nothing to do and inserts nothing."""

    async def story(town: Town) -> None:
        town.keep(BTC, [n for n in range(-100, 0) if n not in {-60, -58, -56}])
        async with town.handler() as office:
            _, answer = await office.backfill(-65, -50)
            assert (answer["candles_expected"], answer["candles_inserted"]) == (3, 3)
            assert answer["candles_fetched"] == answer["candles_inserted"] + answer["candles_skipped"]
            _, again = await office.backfill(-65, -50)
            assert (again["status"], again["candles_expected"], again["candles_fetched"]) == ("backfilled", 0, 0)
            status = office.handler.status()
            assert (status.inserted, status.recovered) == (3, 3)
            assert status.duplicates > 0

    visit(shared_url, story)


def test_wider_backfill_resolves_rows_of_other_bounds(shared_url: str) -> None:
    """Every open row of which all is accounted for is resolved, and one of which something is missing is not."""

    async def story(town: Town) -> None:
        town.keep(BTC, [n for n in range(-100, 0) if not (-60 <= n < -50 or -30 <= n < -28)])
        async with town.handler() as office:
            for first, last, source in ((-58, -55, "system"), (-57, -54, "manual"), (-52, -29, "data_feeder")):
                await town.sql(
                    "INSERT INTO data_quality_logs (event_type, market, symbol, interval, gap_start, gap_end, candles_missing, source)"
                    " VALUES ('gap_detected', 'spot', 'BTCUSDT', '1m', to_timestamp($1), to_timestamp($2), 3, $3)",
                    minute(first) / SECOND, minute(last) / SECOND, source,
                )  # fmt: skip
            await office.backfill(-65, -45)
            resolved = {row[2:4]: row[6] for row in await town.rows() if row[0] == "gap_detected"}
            # The first of them was widened to what was found and is in no other.
            assert resolved == {(-60, -52): True, (-57, -54): True, (-52, -29): False}
            await office.backfill(-30, -28)
            assert all(row[6] for row in await town.rows())

    visit(shared_url, story)


def test_row_without_a_series_is_about_the_default_one(shared_url: str) -> None:
    """A row as the documented statements write it, without symbol, is found, repaired and resolved."""

    async def story(town: Town) -> None:
        town.keep(BTC, [n for n in range(-100, 0) if not -60 <= n < -50])
        async with town.handler() as office:
            await town.sql(
                "INSERT INTO data_quality_logs (event_type, gap_start, gap_end, candles_missing, source)"
                " VALUES ('gap_detected', to_timestamp($1), to_timestamp($2), 10, 'manual')",
                minute(-60) / SECOND, minute(-50) / SECOND,
            )  # fmt: skip
            code, answer = await office.post("/backfill/unresolved")
            assert (code, answer["status"], answer["gaps_processed"]) == (200, "completed", 1)
            assert (answer["gaps_successful"], answer["candles_recovered"]) == (1, 10)
            assert all(row[6] for row in await town.rows() if row[0] == "gap_detected")

    visit(shared_url, story)


def test_symbol_that_nobody_lists_is_refused_once(shared_url: str) -> None:
    """The exchange's no is not asked for again, is the caller's mistake, pauses nobody, and leaves no trace."""

    async def story(town: Town) -> None:
        async with town.handler() as office:
            code, answer = await office.backfill(-60, -50, symbol="NOSUCHUSDT")
            assert code == 400
            assert "NOSUCHUSDT" in answer["error"]
            assert len(office.wire.klines) == 1
            assert office.handler.status().rate.in_backoff is False
            assert town.store.series() == []
            assert await town.rows() == []

    visit(shared_url, story)


def test_another_series_is_repaired_by_its_name(shared_url: str) -> None:
    """Market, symbol and interval of a request name its series, as the exchange or a person writes them."""

    async def story(town: Town) -> None:
        town.keep(ETH, [-100, -1])
        async with town.handler() as office:
            code, answer = await office.backfill(-60, -50, symbol="eth/usdt", interval="1m", market="spot")
            assert (code, answer["status"], answer["symbol"]) == (200, "backfilled", "ETHUSDT")
            assert set(town.held(ETH)) >= {-100, *range(-60, -50), -1}
            assert town.held(BTC) == []

    visit(shared_url, story)


def test_too_many_backfills_are_rejected_and_counted_exactly(shared_url: str) -> None:
    """Beyond the limit the answer is 429 at once; every place comes back, whatever became of its backfill."""

    async def story(town: Town) -> None:
        town.keep(BTC, [-2000, -1])
        async with town.handler(max_concurrent_backfills=2) as office:
            office.wire.delay_s = 0.3
            asking = [asyncio.ensure_future(office.backfill(n, n + 5)) for n in (-1000, -900)]
            await office.until(lambda: office.handler.slots.active == 2)
            assert (await office.backfill(-800, -795))[0] == 429
            assert (await office.backfill(-800, -795))[1]["status"] == "rejected"
            office.wire.failing, office.wire.delay_s = away, 0.0
            assert {(await one)[0] for one in asking} <= {200, 500}
            assert (office.handler.slots.active, office.handler.slots.waiting) == (0, 0)
            office.wire.failing = lambda *_: None
            assert [(await office.backfill(n, n + 5))[0] for n in (-700, -600, -500)] == [200, 200, 200]
            assert office.handler.status().outcomes["rejected"] == 2

    visit(shared_url, story, speed=60.0)


def test_backfill_that_takes_too_long_gives_up_and_keeps_what_came(shared_url: str) -> None:
    """After BACKFILL_TIMEOUT_SECONDS the answer says so, and the series is free for the next one."""

    async def story(town: Town) -> None:
        town.keep(BTC, [-3000, -1])
        async with town.handler(backfill_timeout_seconds=1.0) as office:
            office.wire.garble = lambda rows: rows[:500]
            office.wire.delay_s = 0.35
            code, answer = await office.backfill(-2999, -10)
            assert "gave up after 1 s" in answer["error"]
            assert (code, answer["status"]) == (200, "partial")
            assert answer["candles_recovered"] == len(town.held()) - 2 > 0
            office.wire.delay_s = 0.0
            assert (await office.backfill(-2999, -10))[1]["status"] == "backfilled"

    visit(shared_url, story)


def test_ranges_of_seven_days_and_epoch_milliseconds_are_taken(shared_url: str) -> None:
    """Times may be epoch milliseconds, and bounds off the grid mean the candles that open between them."""

    async def story(town: Town) -> None:
        town.keep(BTC, range(-20, 0))
        async with town.handler() as office:
            body = {"gap_start": (minute(-30) - 1_000_000) // 1000, "gap_end": (minute(-20) - 59_000_000) // 1000}
            code, answer = await office.post("/backfill", body)
            assert (code, answer["candles_expected"]) == (200, 10)
            assert answer["gap_start"] == format_time(minute(-30))
            code, _ = await office.post(
                "/backfill", {"gap_start": START // 1000 - 7 * 86_400_000 - 1, "gap_end": START // 1000}
            )
            assert code == 400

    visit(shared_url, story)
    assert span(0, 1).end - span(0, 1).start == MINUTE


def test_prices_reach_the_database_digit_by_digit(shared_url: str) -> None:
    """What the exchange wrote is what SQL shows, though it travels as a double: no digit more, none less."""

    async def story(town: Town) -> None:
        town.keep(BTC, [-100, -1])
        async with town.handler() as office:
            await office.backfill(-60, -50)
            rows = await town.sql(
                "SELECT open::text, high::text, low::text, close::text, volume::text FROM candles"
                " WHERE symbol = 'BTCUSDT' AND time >= to_timestamp($1) AND time < to_timestamp($2) ORDER BY time",
                minute(-60) / SECOND, minute(-50) / SECOND,
            )  # fmt: skip
            truth = town.exchange.truth("BTCUSDT", "1m", minute(-60), minute(-50))
            assert rows == [tuple(_plain(str(one)) for one in row[1:6]) for row in truth]

    visit(shared_url, story)


def _plain(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def test_more_jobs_than_connections_share_them(shared_url: str) -> None:
    """Five backfills at once over two connections all come to their end."""
    symbols = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT")

    async def story(town: Town) -> None:
        async with town.handler(db_max_conns=2, max_concurrent_backfills=5) as office:
            answers = await asyncio.gather(*(office.backfill(-60, -50, symbol=one) for one in symbols))
            assert [(code, answer["status"]) for code, answer in answers] == [(200, "backfilled")] * 5

    visit(shared_url, story)


def test_pause_that_the_exchange_imposes_is_kept(shared_url: str) -> None:
    """After a 429 nothing is asked until Retry-After is over; health and metrics say so; then the backfill ends well."""
    fault = Fault(kind="rate_limit", at=0.0, duration_s=120.0, delay_s=60.0)

    async def story(town: Town) -> None:
        town.keep(BTC, [n for n in range(-100, 0) if not -60 <= n < -50])
        async with town.handler() as office:
            asking = asyncio.ensure_future(office.backfill(-60, -50))
            await office.until(lambda: office.handler.status().rate.in_backoff)
            asked = len(office.wire.asked)
            _, document = await office.get("/health")
            assert document["details"]["rate_limiter"]["in_backoff"] is True
            assert document["status"] == "degraded"
            await asyncio.sleep(0.3)  # noqa: TID251 - 6 s of the market
            assert len(office.wire.asked) == asked
            assert (await asking)[1]["status"] in {"backfilled", "error"}
            assert office.handler.status().api_requests["rate_limited"] >= 1
            await office.until(lambda: not office.handler.status().rate.in_backoff)
            assert (await office.backfill(-60, -50))[1]["status"] == "backfilled"

    visit(shared_url, story, faults=(fault,))


def test_ban_in_the_middle_keeps_what_came_and_is_obeyed(shared_url: str) -> None:
    """A 418 ends a backfill at once with what it has; until the ban is over nobody asks, and then the rest comes."""

    async def story(town: Town) -> None:
        town.keep(BTC, [-3000, *range(-10, 0)])
        async with town.handler() as office:
            clock = office.handler.clock
            ban = Banned("banned", clock.now() + 200 * SECOND)
            office.wire.failing = lambda path, _: ban if "klines" in path and len(office.wire.klines) > 1 else None
            code, answer = await office.backfill(-2999, -10)
            assert (code, answer["status"]) == (200, "partial")
            assert 0 < answer["candles_recovered"] == len(town.held()) - 11
            asked = len(office.wire.asked)
            code, answer = await office.backfill(-2999, -10)
            assert (code, answer["status"], answer["candles_recovered"]) == (500, "error", 0)
            if clock.now() < ban.until:
                assert len(office.wire.asked) == asked
                assert (await office.get("/health"))[1]["details"]["rate_limiter"]["in_backoff"] is True
            office.wire.failing = lambda *_: None
            await office.until(lambda: not office.handler.status().rate.in_backoff, within_s=60.0)
            assert (await office.backfill(-2999, -10))[1]["status"] == "backfilled"
            assert town.held() == list(range(-3000, 0))

    visit(shared_url, story, speed=60.0)


def test_rows_that_take_too_long_cost_no_answer(shared_url: str) -> None:
    """After BACKFILL_TIMEOUT_SECONDS the answer tells of the rows that were reached, and how many were not."""

    async def story(town: Town) -> None:
        town.keep(BTC, [n for n in range(-200, 0) if not -60 <= n < -50])
        for first, last in ((-160, -150), (-60, -50)):
            await town.sql(
                "INSERT INTO data_quality_logs (event_type, gap_start, gap_end, candles_missing)"
                " VALUES ('gap_detected', to_timestamp($1), to_timestamp($2), 10)",
                minute(first) / SECOND, minute(last) / SECOND,
            )  # fmt: skip
        async with town.handler(backfill_timeout_seconds=2.0) as office:
            office.wire.delay_s = 1000.0
            code, answer = await office.post("/backfill/unresolved")
            assert (code, answer["status"], answer["gaps_processed"] + answer["gaps_remaining"]) == (
                200,
                "completed",
                2,
            )
            assert answer["gaps_remaining"] >= 1
            assert (office.handler.slots.active, office.handler.slots.waiting) == (0, 0)

    visit(shared_url, story)


def test_pages_are_no_larger_than_settings_allow(shared_url: str) -> None:
    """BACKFILL_BATCH_SIZE is the most that is asked for, and written, at once."""

    async def story(town: Town) -> None:
        town.keep(BTC, [-300, -1])
        async with town.handler(backfill_batch_size=50) as office:
            _, answer = await office.backfill(-250, -100)
            assert (answer["status"], answer["candles_recovered"]) == ("backfilled", 150)
            assert {one["limit"] for one in office.wire.klines} == {"50"}

    visit(shared_url, story)
