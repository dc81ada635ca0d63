"""A shared database as what the contract of outputs is tried with."""

import asyncio
from collections.abc import AsyncGenerator

import asyncpg

from candlewick.clock import SystemClock
from candlewick.outputs.output import Position
from candlewick.outputs.postgres import PostgresOutput
from candlewick.stores.postgres.store import PostgresReader
from candlewick.stores.store import LOGGED_STATES
from tests.contracts.output_bench import Contents, held_by

TABLES = ("candles", "candle_revisions", "gap_reasons", "provenance", "output_positions", "data_quality_logs")


class MortalOutput(PostgresOutput):
    """An output whose connections end with the event loop, as those of a killed process end."""

    async def open(self, identity: str) -> Position | None:
        if not hasattr(self, "_last_will"):
            self._last_will = self._end()
            await anext(self._last_will)
        return await super().open(identity)

    async def _end(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            if self._database is not None:
                self._database._pool.terminate()


class PostgresBench:
    """A database that has the schema."""

    states = tuple(prefix for prefix in LOGGED_STATES if prefix != "gap:")

    def __init__(self, url: str) -> None:
        self.url = url

    def make(self) -> PostgresOutput:
        return MortalOutput(self.url, clock=SystemClock())

    def contents(self) -> Contents:
        reader = PostgresReader.at(self.url)
        try:
            return held_by(reader, states=self.states)
        finally:
            reader.close()

    def save(self) -> None:
        self._run("CREATE SCHEMA backup", *(f"CREATE TABLE backup.{name} AS TABLE {name}" for name in TABLES))

    def restore(self) -> None:
        self._run(
            f"TRUNCATE {', '.join(TABLES)}", *(f"INSERT INTO {name} SELECT * FROM backup.{name}" for name in TABLES)
        )

    def _run(self, *statements: str) -> None:
        async def run() -> None:
            connection = await asyncpg.connect(self.url)
            try:
                async with connection.transaction():
                    for statement in statements:
                        await connection.execute(statement)
            finally:
                await connection.close()

        asyncio.run(run())
