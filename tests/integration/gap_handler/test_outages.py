"""The database may be away, slow or back at any moment; whoever asks gets an answer at once."""

import asyncio

import pytest

from candlewick.services.gap_handler import backfill, handler
from candlewick.stores.postgres import claims
from tests.integration.gap_handler.town import BTC, Town, visit
from tests.servers.postgres import PostgresServer


def test_database_that_is_down_at_the_start_is_waited_for(shared_url: str, postgres_server: PostgresServer) -> None:
    """The web answers from the start: unhealthy, not ready, backfills fail with the reason; then all is well by itself."""

    async def story(town: Town) -> None:
        town.keep(BTC, [n for n in range(-100, 0) if n != -50])
        postgres_server.stop()
        async with town.handler(is_ready=False, searches=True) as office:
            code, document = await office.get("/health")
            assert (code, document["status"], document["database_status"]) == (503, "unhealthy", "disconnected")
            assert (await office.get("/live")) == (200, "OK")
            assert (await office.get("/ready"))[0] == 503
            code, answer = await office.backfill(-60, -40)
            assert (code, answer["status"]) == (500, "error")
            assert (await office.post("/backfill/unresolved"))[0] == 503
            assert (await office.get("/backfill/historical/status"))[0] == 503
            postgres_server.start()
            await office.when(lambda: office.get("/health"), lambda answer: answer[0] == 200)
            assert (await office.get("/ready")) == (200, "OK")
            assert (await office.backfill(-60, -40))[1]["status"] == "backfilled"

    visit(shared_url, story)


def test_database_that_restarts_is_found_again(shared_url: str, postgres_server: PostgresServer) -> None:
    """After a restart in the middle of everything health says so, and the next backfill works."""

    async def story(town: Town) -> None:
        town.keep(BTC, [n for n in range(-100, 0) if n not in {-50, -40}])
        async with town.handler() as office:
            assert (await office.backfill(-60, -45))[1]["status"] == "backfilled"
            await asyncio.to_thread(postgres_server.kill)
            _, document = await office.when(lambda: office.get("/health"), lambda answer: answer[0] == 503)
            assert document["reasons"]
            await asyncio.to_thread(postgres_server.start)
            await office.when(lambda: office.get("/health"), lambda answer: answer[0] == 200)
            assert (await office.backfill(-60, -35))[1]["status"] == "backfilled"

    visit(shared_url, story)


def test_database_that_hangs_holds_up_no_answer(
    shared_url: str, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While every process of the database stands still, health and metrics answer at once, and health says why."""
    monkeypatch.setattr(handler, "PING_S", 1.0)
    monkeypatch.setattr(backfill, "MEASURE_S", 0.5)
    monkeypatch.setattr(claims, "_WAIT_S", 1.0)

    async def story(town: Town) -> None:
        town.keep(BTC, [n for n in range(-100, 0) if n != -50])
        async with town.handler(backfill_timeout_seconds=2.0) as office:
            postgres_server.pause()
            try:
                stuck = asyncio.ensure_future(office.backfill(-60, -40))
                async with asyncio.timeout(1.0):
                    assert (await office.get("/health"))[0] in {200, 503}
                    assert (await office.get("/metrics"))[0] == 200
                    assert (await office.get("/live"))[0] == 200
                code, document = await office.when(lambda: office.get("/health"), lambda answer: answer[0] == 503)
                assert "did not answer" in document["reasons"][0] or "does not answer" in document["reasons"][0]
                async with asyncio.timeout(1.0):
                    await office.get("/health")
            finally:
                postgres_server.resume()
            code, answer = await stuck
            assert (code, answer["status"]) == (500, "error")
            await office.when(lambda: office.get("/health"), lambda answer: answer[0] == 200)
            assert (await office.backfill(-60, -40))[1]["status"] == "backfilled"

    visit(shared_url, story)
