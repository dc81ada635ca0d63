"""The gap handler as processes: killed in the middle of its work, two at once, and stopped in good order."""

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import asyncpg
import pytest

from candlewick.services.schema import prepare
from candlewick.stores.postgres.schema import SchemaOptions
from tests.acceptance.processes import Child, ask, simulated, started, url_of, wait_for


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[str]:
    """A simulated exchange whose pages come slowly, so that there is a middle to be killed in."""
    script = tmp_path / "slow.toml"
    script.write_text('[[fault]]\nkind = "slow"\nat = 0\nduration_s = 100000\ndelay_s = 0.3\n')
    with simulated(tmp_path / "exchange", "--symbols", "BTCUSDT,WANUSDT", "--faults", str(script)) as place:
        yield place


def settings(place: str, url: str, **own: str) -> dict[str, str]:
    return {
        "STORE": url, "BINANCE_API_URL": f"http://{place}", "BINANCE_ARCHIVE_URL": f"http://{place}",
        "BINANCE_ARCHIVE_LIST_URL": f"http://{place}", "GAP_HANDLER_PORT": "0", "SYMBOLS": "WANUSDT", "INTERVALS": "1h",
        "HISTORICAL_RETENTION_MONTHS": "1", "HISTORICAL_CHUNK_DAYS": "6",
    } | own  # fmt: skip


def post(url: str, body: dict[str, object] | None = None) -> tuple[int, Any]:
    request = Request(url, data=json.dumps(body or {}).encode(), method="POST")
    with urlopen(request, timeout=30) as answer:
        return answer.status, json.load(answer)


def ready(child: Child) -> str:
    url = url_of(child)
    wait_for(lambda: ask(f"{url}/health")[0] == 200, child)
    return url


def history(url: str) -> dict[str, Any]:
    code, document = ask(f"{url}/backfill/historical/status")
    assert code == 200
    return dict(document)


def count(url: str, query: str) -> int:
    async def asked() -> int:
        connection = await asyncpg.connect(url)
        try:
            return int(await connection.fetchval(query))
        finally:
            await connection.close()

    return asyncio.run(asked())


def test_job_of_a_killed_gap_handler_is_finished_by_the_next(tmp_path: Path, exchange: str, database_url: str) -> None:
    """Killed in the middle of history it leaves what it had verified; after the restart the rest is done, nothing twice."""
    asyncio.run(prepare(database_url, SchemaOptions(), "tests"))
    own = settings(exchange, database_url)
    with started(tmp_path / "first", "gap-handler", **own) as first:
        url = ready(first)
        assert post(f"{url}/backfill/historical/start")[0] == 202
        before = wait_for(lambda: state if (state := history(url))["chunks_completed"] >= 2 else None, first)
        first.kill()
    with started(tmp_path / "second", "gap-handler", **own) as second:
        url = ready(second)
        assert history(url)["chunks_completed"] >= before["chunks_completed"]
        state = wait_for(lambda: state if not (state := history(url))["is_running"] else None, second, within_s=90.0)
        assert state["chunks_completed"] == state["chunks_total"] > before["chunks_completed"]
        assert state["started_at"] == before["started_at"]
        held = count(database_url, "SELECT count(*) FROM candles WHERE symbol = 'WANUSDT'")
        hours = count(database_url, "SELECT 1 + extract(epoch FROM max(time) - min(time))::int / 3600 FROM candles")
        assert held == hours >= 28 * 24
        assert second.stop() == 0


def test_gap_handler_stops_in_good_order(tmp_path: Path, exchange: str, database_url: str) -> None:
    """SIGTERM lets a backfill that is under way be answered, and the exit code is 0."""
    own = settings(exchange, database_url, LOG_LEVEL="info")
    with started(tmp_path / "one", "gap-handler", **own) as child:
        url = ready(child)
        gap = {"gap_start": "2026-01-05T00:00:00Z", "gap_end": "2026-01-11T00:00:00Z"}

        async def asked() -> tuple[int, Any]:
            asking = asyncio.ensure_future(asyncio.to_thread(post, f"{url}/backfill", gap))
            await asyncio.to_thread(wait_for, lambda: ask(f"{url}/health")[1]["active_backfills"], child)
            child.process.send_signal(signal.SIGTERM)
            return await asking

        code, answer = asyncio.run(asked())
        assert (code, answer["status"], answer["candles_recovered"]) == (200, "backfilled", 6 * 24)
        assert child.process.wait(60) == 0
        assert any("stopped" in line["message"] for line in child.log)


def test_gap_handler_needs_to_know_its_database(tmp_path: Path) -> None:
    """Without a password and without STORE it says which setting is missing, and exits with 2."""
    with started(tmp_path, "gap-handler", GAP_HANDLER_PORT="0") as child:
        assert child.process.wait(60) == 2
        assert "DB_PASSWORD" in child.err
