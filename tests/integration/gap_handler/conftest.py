"""A database with its schema, copied from one that is made once: making it takes longer than most of these tests."""

import asyncio
from collections.abc import Iterator
from itertools import count

import pytest

from candlewick.services.schema import prepare
from candlewick.stores.postgres.schema import SchemaOptions
from tests.servers.postgres import PostgresServer

_NUMBERS = count(1)


@pytest.fixture(scope="session")
def _model(postgres_server: PostgresServer) -> str:
    url = postgres_server.new_database()
    asyncio.run(prepare(url, SchemaOptions(), "tests"))
    return url.rpartition("/")[2]


@pytest.fixture
def shared_url(postgres_server: PostgresServer, _model: str) -> Iterator[str]:
    """The address of a fresh database with the tables in it."""
    postgres_server.revive()
    name = f"{_model}_copy_{next(_NUMBERS)}"
    postgres_server.execute(f"CREATE DATABASE {name} TEMPLATE {_model}")
    url = postgres_server.url_of(name)
    yield url
    postgres_server.revive()
    postgres_server.drop_database(url)
