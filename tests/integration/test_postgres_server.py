"""The PostgreSQL server that tests run against."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import pytest

from tests.servers.guard import runs
from tests.servers.postgres import PostgresServer

RUN = """
import sys, time
from tests.servers.postgres import PostgresServer, default_binaries
server = PostgresServer(default_binaries())
server.start()
print(server._process.pid, server._folder, flush=True)
time.sleep(60)
"""


async def execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


async def value(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def test_server_keeps_commits_through_a_kill(postgres_server: PostgresServer, database_url: str) -> None:
    """What was committed before all its processes were killed is there after the next start, on the same address."""
    asyncio.run(execute(database_url, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7)"))
    postgres_server.kill()
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        asyncio.run(value(database_url, "SELECT 1"))
    postgres_server.start()
    assert asyncio.run(value(database_url, "SELECT n FROM kept")) == 7
    postgres_server.restart()
    assert asyncio.run(value(database_url, "SELECT n FROM kept")) == 7


def test_paused_server_answers_after_it_goes_on(postgres_server: PostgresServer, database_url: str) -> None:
    """A question asked while the server is held still is answered once it goes on, over the same connection."""

    async def ask() -> object:
        connection = await asyncpg.connect(database_url)
        postgres_server.pause()
        question = asyncio.ensure_future(connection.fetchval("SELECT 1"))
        done, _ = await asyncio.wait([question], timeout=0.1)
        assert not done
        postgres_server.resume()
        answer = await question
        await connection.close()
        return answer

    assert asyncio.run(ask()) == 1


def test_databases_are_empty_and_apart(postgres_server: PostgresServer, database_url: str) -> None:
    """Each fresh database has no table, whatever another one has."""
    asyncio.run(execute(database_url, "CREATE TABLE mine (n int)"))
    other = postgres_server.new_database()
    count = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    assert asyncio.run(value(other, count)) == 0
    assert asyncio.run(value(database_url, count)) == 1
    postgres_server.drop_database(other)


def test_each_supported_version_answers(each_postgres_url: str) -> None:
    """The servers for tests of both versions are 15 or later and sync what they commit."""
    assert int(str(asyncio.run(value(each_postgres_url, "SHOW server_version_num")))) >= 150000
    assert asyncio.run(value(each_postgres_url, "SHOW fsync")) == "on"


def test_killed_test_run_leaves_no_server(postgres_server: PostgresServer) -> None:
    """A server ends, and its folder goes, after the process that started it was killed."""
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", RUN], cwd=root, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(root)}
    ) as process:
        assert process.stdout is not None
        pid, folder = process.stdout.readline().split()
        assert runs(int(pid))
        process.send_signal(signal.SIGKILL)
    until = time.monotonic() + 60
    while (runs(int(pid)) or Path(os.fsdecode(folder)).exists()) and time.monotonic() < until:
        time.sleep(0.02)
    assert not runs(int(pid))
    assert not Path(os.fsdecode(folder)).exists()
