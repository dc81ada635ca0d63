"""The pool of connections to a real PostgreSQL: its limits, its recovery, and what it says when something is wrong."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from candlewick.errors import StoreDown, StoreError
from candlewick.stores.postgres.connection import Database, Limits, place_of
from tests.servers.postgres import PostgresServer, free_port


def run(url: str, story: Callable[[Database], Awaitable[None]], limits: Limits = Limits(wait_s=5.0)) -> None:  # noqa: B008 - immutable
    async def whole() -> None:
        database = await Database.open(url, limits, application="candlewick test")
        try:
            await story(database)
        finally:
            await database.close()
            await database.close()

    asyncio.run(whole())


def refusal(url: str) -> StoreError:
    """What opening a database raises."""
    with pytest.raises(StoreError) as raised:
        asyncio.run(Database.open(url, application="candlewick test"))
    return raised.value


async def asked(database: Database, sql: str) -> object:
    async with database.acquire() as connection:
        return await connection.fetchval(sql)


def test_database_sessions_are_in_utc_and_named(database_url: str) -> None:
    """Times mean the same everywhere, an administrator sees whose connections they are, and the floor is kept."""

    async def story(database: Database) -> None:
        assert await asked(database, "SHOW timezone") == "UTC"
        assert await asked(database, "SHOW application_name") == "candlewick test"
        assert await asked(database, "SHOW statement_timeout") == "5min"
        assert database.size == 2
        assert await database.ping(5.0) < 5.0

    run(database_url, story)


def test_ping_of_a_server_that_stands_still_waits_for_nothing_else(
    database_url: str, postgres_server: PostgresServer
) -> None:
    """It gives up when its time is over, however long the pool would wait for a connection to be given back."""

    async def story(database: Database) -> None:
        await database.ping(60.0)
        postgres_server.pause()
        async with asyncio.timeout(120.0):
            for _ in range(3):
                with pytest.raises(StoreDown, match="no answer in time"):
                    await database.ping(0.2)
        postgres_server.resume()
        await database.ping(60.0)

    run(database_url, story, Limits(wait_s=3600.0))


def test_database_replaces_connections_that_a_killed_server_took(
    database_url: str, postgres_server: PostgresServer
) -> None:
    """While it is down every use is a StoreDown; once it is up again the same pool works."""

    async def story(database: Database) -> None:
        postgres_server.kill()
        for _ in range(3):
            with pytest.raises(StoreDown, match="does not answer"):
                await asked(database, "SELECT 1")
        postgres_server.start()
        for _ in range(5):
            assert await asked(database, "SELECT 1") == 1

    run(database_url, story)


def test_database_gives_no_more_connections_than_its_limit(database_url: str) -> None:
    """Who comes when all are in use waits, and is told after a while."""

    async def story(database: Database) -> None:
        async with database.acquire() as first, database.acquire():
            assert not first.is_closed()
            with pytest.raises(StoreDown, match="every connection"):
                await asked(database, "SELECT 1")
        assert await asked(database, "SELECT 1") == 1
        assert database.size <= 2

    run(database_url, story, Limits(least=1, most=2, wait_s=3.0))


def test_database_rolls_back_what_a_failed_user_left(database_url: str) -> None:
    """A connection comes back to the pool as it was, whatever happened to its last user."""

    async def story(database: Database) -> None:
        async def fail() -> None:
            async with database.acquire() as connection:
                await connection.execute("BEGIN; CREATE TABLE left_over (); SET search_path = nowhere")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        assert await asked(database, "SELECT to_regclass('public.left_over')") is None
        assert await asked(database, "SHOW search_path") != "nowhere"

    run(database_url, story, Limits(least=1, most=1))


@pytest.mark.parametrize(
    ("sql", "again", "words"),
    [
        ("SELECT * FROM nowhere", False, "candlewick schema init"),
        ("SELECT nothing()", False, "candlewick schema init"),
        ("SET LOCAL ROLE reader; CREATE TABLE made ()", False, "for its owner"),
        ("SET TRANSACTION READ ONLY; CREATE TABLE made ()", False, "name the primary"),
        ("SET LOCAL statement_timeout = 5; SELECT pg_sleep(9)", True, "took too long"),
        ("SELECT pg_terminate_backend(pg_backend_pid())", True, "administrator"),
        ("DO $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END $$", True, "make room"),
        ("DO $$ BEGIN RAISE EXCEPTION 'met' USING ERRCODE = '40001'; END $$", True, "another writer"),
        ("DO $$ BEGIN RAISE EXCEPTION 'many' USING ERRCODE = '53300'; END $$", True, "max_connections"),
    ],
)
def test_database_says_what_is_wrong_and_what_to_do(database_url: str, sql: str, again: bool, words: str) -> None:
    """The server's words, the place, and the way out; StoreDown only where the same may work later."""

    async def story(database: Database) -> None:
        await asked(
            database,
            "DO $$ BEGIN CREATE ROLE reader; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        )
        with pytest.raises(StoreError, match=words) as raised:
            async with database.acquire() as connection, connection.transaction():
                await connection.execute(sql)
        assert isinstance(raised.value, StoreDown) == again
        assert database.place in str(raised.value)
        assert isinstance(raised.value.__cause__, asyncpg.PostgresError)

    run(database_url, story, Limits(least=1, most=2))


def test_database_that_cannot_be_opened_says_why(postgres_server: PostgresServer) -> None:
    """A wrong host, password, database, certificate or address: each has its own words, and no password is in any."""
    postgres_server.revive()
    url = postgres_server.url
    assert isinstance(refusal(f"postgresql://127.0.0.1:{free_port()}/x"), StoreDown)
    cases = {
        postgres_server.url_of("absent"): "createdb",
        postgres_server.url_of("postgres", "bob:secret"): "password is wrong",
        f"{url}?sslmode=require": "sslmode",
        f"{url}?sslmode=verify-full&sslrootcert=/nowhere.pem": "no file",
        f"{url}?sslmode=sometimes": "sslmode",
        "postgresql://bob:secret@127.0.0.1:99999/x": "port must be 0-65535",
        "postgresql://bob:secret@127.0.0.1:many/x": "cannot be used",
        "postgresql://bob:secret@[::1/x": "Invalid IPv6",
        "postgresql://bob:sec@ret@127.0.0.1/x": "%40",
        "postgresql://bob:secret/@127.0.0.1/x": "%2F",
        "mysql://bob:secret@127.0.0.1/x": "postgresql://",
    }
    for wrong, words in cases.items():
        error = refusal(wrong)
        assert words in str(error)
        assert not isinstance(error, StoreDown)
        assert "secret" not in str(error)


def test_place_of_a_url_has_no_password() -> None:
    """User, host and database are named, wherever the URL has them."""
    assert place_of("postgresql://bob:secret@db:5433/market?sslmode=require") == "postgresql://bob@db:5433/market"
    assert place_of("postgres://db/market?user=bob&password=secret") == "postgresql://bob@db/market"
    assert place_of("postgresql:///market?host=/run/postgresql&user=bob") == "postgresql://bob@/run/postgresql/market"
