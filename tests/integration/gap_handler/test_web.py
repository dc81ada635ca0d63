"""The web of the gap handler: who may, what is answered, and that its numbers are true."""

import asyncio
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from candlewick.errors import Unreachable
from candlewick.market import SECOND, format_time
from tests.integration.gap_handler.town import BTC, Office, Town, minute, visit

GAP = {"gap_start": format_time(minute(-60)), "gap_end": format_time(minute(-50))}
CHANGING = ("/backfill", "/backfill/unresolved", "/backfill/historical/start", "/shutdown")


async def metrics(office: Office) -> dict[str, Any]:
    """By sample and labels, the value."""
    _, text = await office.get("/metrics")
    return {
        one.name + "".join(f"{{{value}}}" for value in one.labels.values()): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def test_changes_need_the_token(shared_url: str) -> None:
    """With CONTROL_TOKEN set nothing is changed without it, and everything may be read."""

    async def story(town: Town) -> None:
        town.keep(BTC, [n for n in range(-100, 0) if not -60 <= n < -50])
        async with town.handler(control_token="open sesame") as office:
            for path in CHANGING:
                assert (await office.post(path, GAP))[0] == 401
                assert (await office.post(path, GAP, headers={"Authorization": "Bearer other"}))[0] == 401
            for path in ("/health", "/ready", "/live", "/metrics", "/openapi.json", "/backfill/historical/status"):
                assert (await office.get(path))[0] == 200
            assert not office.handler.told_to_stop.is_set()
            assert len(town.held()) == 90
            code, answer = await office.post("/backfill", GAP, headers={"Authorization": "Bearer open sesame"})
            assert (code, answer["candles_recovered"]) == (200, 10)

    visit(shared_url, story)


def test_changes_without_a_token_are_for_this_machine(shared_url: str) -> None:
    """Where no token is set a call that came through a proxy, or from a web page, changes nothing."""

    async def story(town: Town) -> None:
        async with town.handler() as office:
            for path in CHANGING:
                assert (await office.post(path, GAP, headers={"X-Forwarded-For": "203.0.113.9"}))[0] == 403
                assert (await office.post(path, GAP, headers={"Origin": "https://example.com"}))[0] == 403
            assert not office.handler.told_to_stop.is_set()

    visit(shared_url, story)


def test_requests_that_are_not_right_are_told_why(shared_url: str) -> None:
    """Broken JSON, missing times, an end before the start, more than 7 days, other markets: 400 with a sentence."""
    wrong: list[tuple[object, str]] = [
        (b"{", "not JSON"),
        (b"[" * 60_000, "not JSON"),
        (b'{"gap_start": "\xff"}', "not JSON"),
        (b"[]", "not a JSON object"),
        ({}, "gap_start and gap_end are needed"),
        ({"gap_start": GAP["gap_start"]}, "are needed"),
        (GAP | {"gap_end": GAP["gap_start"]}, "is not after"),
        (GAP | {"gap_start": "2026-10-01T00:00:00Z"}, "more than 7 days"),
        (GAP | {"gap_start": "yesterday"}, "is no time"),
        (GAP | {"gap_start": True}, "is no time"),
        (GAP | {"gap_end": 10**30}, "outside the calendar"),
        (GAP | {"market": "usdm"}, "start another one with MARKET=usdm"),
        (GAP | {"symbol": "BTC USDT; --"}, "symbol"),
        (GAP | {"symbol": 7}, "is no text"),
        (GAP | {"interval": "7m"}, "has no candles of 7m"),
        (GAP | {"interval": "minute"}, "is not one"),
        (GAP | {"candles_missing": -1}, "candles_missing"),
        (GAP | {"symbl": "ETHUSDT"}, "symbl is no member"),
    ]

    async def story(town: Town) -> None:
        async with town.handler() as office:
            for body, words in wrong:
                code, answer = await office.post("/backfill", body)
                assert (code, words in answer["error"]) == (400, True), answer
            assert (await office.post("/backfill", b" " * 70_000))[0] == 413
            assert (await office.ask("GET", "/nothing"))[0] == 404
            code, _, headers = await office.ask("GET", "/backfill")
            assert (code, headers["Allow"]) == (405, "POST")
            assert await town.rows() == []

    visit(shared_url, story)


def test_shutdown_answers_and_then_stops(shared_url: str) -> None:
    """The call is answered; the stop comes a moment later."""

    async def story(town: Town) -> None:
        async with town.handler() as office:
            assert await office.post("/shutdown") == (200, {"status": "shutting_down"})
            assert not office.handler.told_to_stop.is_set()
            async with asyncio.timeout(60):
                await office.handler.told_to_stop.wait()

    visit(shared_url, story)


def test_health_asks_nobody(shared_url: str) -> None:
    """However often it is called, neither health nor metrics send a request to the exchange."""

    async def story(town: Town) -> None:
        async with town.handler() as office:
            await office.until(lambda: office.handler.status().api_reachable is not None)
            asked = len(office.wire.asked)
            for _ in range(20):
                assert (await office.get("/health"))[1]["binance_api_status"] == "online"
                await office.get("/metrics")
            assert len(office.wire.asked) == asked

    visit(shared_url, story, speed=1.0)


def test_health_has_every_documented_field_and_judges(shared_url: str) -> None:
    """Its numbers are those of what was done; an exchange that does not answer, or much that is open, degrades it."""

    async def story(town: Town) -> None:
        town.keep(BTC, [n for n in range(-100, 0) if not -60 <= n < -50])
        async with town.handler() as office:
            await office.backfill(-60, -50)
            code, document = await office.when(
                lambda: office.get("/health"), lambda answer: answer[1]["details"]["backfills_last_24h"] == 1
            )
            assert (code, document["status"], document["reasons"]) == (200, "healthy", [])
            assert (document["backfills_completed"], document["candles_recovered"]) == (1, 10)
            assert (document["database_status"], document["binance_api_status"]) == ("connected", "online")
            assert (document["errors_24h"], document["pending_backfills"], document["active_backfills"]) == (0, 0, 0)
            details = document["details"]
            assert (details["unresolved_gaps"], details["candles_missing"]) == (0, 0)
            assert details["candles_recovered_last_24h"] == 10
            assert details["rate_limiter"]["in_backoff"] is False
            assert details["rate_limiter"]["consecutive_failures"] == 0
            assert details["rate_limiter"]["tokens_available"] > 0
            office.wire.failing = lambda path, _: Unreachable("gone") if "klines" in path else None
            await office.backfill(-200, -190)
            code, document = await office.get("/health")
            assert (code, document["status"], document["binance_api_status"]) == (200, "degraded", "offline")
            assert document["details"]["rate_limiter"]["consecutive_failures"] >= 5
            for number in range(11):
                await town.sql(
                    "INSERT INTO data_quality_logs (event_type, gap_start, gap_end, candles_missing)"
                    " VALUES ('gap_detected', now() - $1::int * interval '1 h', now() - $1::int * interval '1 h' + interval '1 m', 1)",
                    500 + number,
                )
            _, document = await office.when(
                lambda: office.get("/health"), lambda answer: (answer[1]["details"]["unresolved_gaps"] or 0) > 10
            )
            assert any("gaps are unresolved" in one for one in document["reasons"])

    visit(shared_url, story, speed=60.0)


def test_metrics_have_their_documented_names_and_buckets(shared_url: str) -> None:
    """Every name of the earlier system is there with its labels and buckets, and gauges come down again."""

    async def story(town: Town) -> None:
        town.keep(BTC, [n for n in range(-100, 0) if not -60 <= n < -50])
        async with town.handler(max_concurrent_backfills=1) as office:
            office.wire.delay_s = 0.2
            asking = asyncio.ensure_future(office.backfill(-60, -50))
            await office.until(lambda: office.handler.slots.active == 1)
            assert (await metrics(office))["gap_handler_active_backfills"] == 1
            assert (await office.backfill(-60, -50))[0] == 429
            await asking
            found = await metrics(office)
            assert found["gap_handler_active_backfills"] == found["gap_handler_pending_backfills"] == 0
            for status, count in {"backfilled": 1, "rejected": 1, "partial": 0, "error": 0}.items():
                assert found[f"gap_handler_backfills_total{{{status}}}"] == count
                assert found[f"gap_handler_backfill_duration_seconds_count{{{status}}}"] == count
            for status in ("success", "error", "rate_limited", "server_error"):
                assert f"gap_handler_api_requests_total{{{status}}}" in found
            assert found["gap_handler_candles_recovered_total"] == 10
            assert found["gap_handler_candles_inserted_total"] == 10
            assert found["gap_handler_candles_duplicate_total"] == 1  # the candle after the gap, which proved its end
            assert found["gap_handler_api_errors_total"] == found["gap_handler_rate_limit_hits_total"] == 0
            assert found["gap_handler_database_errors_total"] == 0
            assert found["gap_handler_uptime_seconds_total"] >= 0
            assert found["gap_handler_binance_api_status"] == found["gap_handler_database_status"] == 1
            assert bounds(found, "gap_handler_backfill_duration_seconds_bucket", 10, "backfilled") == [
                "0.1", "0.2", "0.4", "0.8", "1.6", "3.2", "6.4", "12.8", "25.6", "51.2",
            ]  # fmt: skip
            assert bounds(found, "gap_handler_api_latency_seconds_bucket", 8)[-1] == "12.8"
            assert bounds(found, "gap_handler_database_latency_seconds_bucket", 10)[-1] == "0.512"

    visit(shared_url, story)


def test_what_waits_is_counted(shared_url: str) -> None:
    """A row of the log that waits for a place is pending, in health and in the metrics, until it has one."""

    async def story(town: Town) -> None:
        town.keep(BTC, range(-100, 0))
        await town.sql(
            "INSERT INTO data_quality_logs (event_type, gap_start, gap_end, candles_missing)"
            " VALUES ('gap_detected', to_timestamp($1), to_timestamp($2), 10)",
            minute(-60) / SECOND, minute(-50) / SECOND,
        )  # fmt: skip
        async with town.handler(max_concurrent_backfills=1) as office:
            async with office.handler.slots.place():
                waiting = asyncio.ensure_future(office.post("/backfill/unresolved"))
                await office.until(lambda: office.handler.slots.waiting == 1)
                assert (await office.get("/health"))[1]["pending_backfills"] == 1
                assert (await metrics(office))["gap_handler_pending_backfills"] == 1
            assert (await waiting)[1]["gaps_successful"] == 1
            assert (await metrics(office))["gap_handler_pending_backfills"] == 0

    visit(shared_url, story)


def bounds(found: dict[str, Any], name: str, count: int, label: str = "") -> list[str]:
    """The bounds of a histogram's buckets, without the last, which has none."""
    end = f"{{{label}}}" if label else ""
    each = [
        one.removeprefix(name).removesuffix(end).strip("{}")
        for one in found
        if one.startswith(name) and one.endswith(end)
    ]
    assert each[-1] == "+Inf"
    assert len(each) == count + 1
    return each[:-1]
