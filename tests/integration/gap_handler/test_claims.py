"""Of all processes at one database, one at a time has a claim, and it never stays with nobody."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from candlewick.stores.postgres.claims import Claims
from tests.servers.postgres import PostgresServer


def tell(server: PostgresServer, story: Callable[[Claims, Claims], Awaitable[None]]) -> None:
    """Tell a story of two processes."""

    async def main() -> None:
        one, other = Claims(server.url), Claims(server.url)
        try:
            await story(one, other)
        finally:
            await one.close()
            await other.close()

    asyncio.run(main())


def test_claim_is_had_by_one_at_a_time(postgres_server: PostgresServer) -> None:
    """Neither the same process nor another gets it a second time before it is released."""

    async def story(one: Claims, other: Claims) -> None:
        claim = await one.take("a")
        assert claim is not None
        assert await one.take("a") is None
        assert await other.take("a") is None
        assert await other.take("b") is not None
        await claim.release()
        assert await other.take("a") is not None
        assert await one.take("a") is None

    tell(postgres_server, story)


def test_claim_of_a_lost_session_is_anybodys_and_its_holder_is_told(postgres_server: PostgresServer) -> None:
    """When the server ends the session, the holder hears of it, and the next one who asks has the claim."""

    async def story(one: Claims, other: Claims) -> None:
        claim = await one.take("lost")
        assert claim is not None
        await asyncio.to_thread(
            postgres_server.execute,
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted",
        )
        async with asyncio.timeout(60):
            await claim.lost.wait()
        assert await other.take("lost") is not None

    tell(postgres_server, story)


@pytest.mark.parametrize("turns", range(1, 12))
def test_claim_whose_release_is_cancelled_is_released(postgres_server: PostgresServer, turns: int) -> None:
    """Whoever is cancelled in the middle of giving it back has given it back."""
    name = f"released {turns}"

    async def story(one: Claims, other: Claims) -> None:
        claim = await one.take(name)
        assert claim is not None
        releasing = asyncio.ensure_future(claim.release())
        for _ in range(turns):
            await asyncio.sleep(0)  # noqa: TID251 - another turn of the loop, and no time
        releasing.cancel()
        await asyncio.wait({releasing})
        mine = await one.take(name)  # after what is under way
        if mine is not None:
            await mine.release()
        assert await other.take(name) is not None

    tell(postgres_server, story)
