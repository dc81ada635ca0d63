"""Whether a real database answers, asked of it while nothing is written."""

import asyncio

import pytest

from candlewick.clock import SystemClock
from candlewick.services import pulse as module
from candlewick.services.pulse import Pulse
from tests.servers.postgres import PostgresServer


def test_database_that_is_gone_is_noticed_without_a_write(database_url: str, postgres_server: PostgresServer) -> None:
    """A server that stopped is a complaint at the next look, and none any more at the one after it is back."""

    async def look() -> None:
        pulse = Pulse(database_url, clock=SystemClock(), application="test")
        assert pulse.complaint() is None
        await pulse.ask()
        assert pulse.complaint() is None
        postgres_server.stop()
        await pulse.ask()
        assert "does not answer" in (pulse.complaint() or "")
        await pulse.ask()
        assert "does not answer" in (pulse.complaint() or "")
        postgres_server.start()
        await pulse.ask()
        assert pulse.complaint() is None
        await pulse.close()

    asyncio.run(look())


def test_database_that_stands_still_is_noticed(
    database_url: str, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that takes connections and answers nothing is a complaint after a while."""
    monkeypatch.setattr(module, "TIMEOUT_S", 0.3)

    async def look() -> None:
        pulse = Pulse(database_url, clock=SystemClock(), application="test")
        await pulse.ask()
        postgres_server.pause()
        await pulse.ask()
        assert pulse.complaint() is not None
        postgres_server.resume()
        await pulse.ask()
        assert pulse.complaint() is None
        await pulse.close()

    asyncio.run(look())
