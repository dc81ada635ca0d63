"""docs/operations.md: what it tells to ask can be asked, as it stands."""

import asyncio
import re
from pathlib import Path

import asyncpg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from candlewick.stores.postgres.schema import SchemaOptions, migrate
from candlewick.web import metrics
from tests.unit.deploy.exposed import gap_handler
from tests.unit.web.statuses import COMPLETE

TEXT = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
CODE = re.findall(r"`([^`]+)`", TEXT)
QUERIES = [one.replace("\\|", "|") for one in CODE if one.startswith("SELECT ") and "cron." not in one]


def test_queries_run_as_printed(database_url: str) -> None:
    """Each query of the page is one that a database with the schema answers."""

    async def ask() -> None:
        connection = await asyncpg.connect(database_url)
        try:
            await migrate(connection, SchemaOptions())
            for query in QUERIES:
                await connection.fetch(query)
        finally:
            await connection.close()

    assert len(QUERIES) >= 9
    asyncio.run(ask())


def test_named_metrics_exist() -> None:
    """Each metric that the page names is exposed by the feeder or the gap handler."""
    exposed = metrics.expose(COMPLETE) + gap_handler()
    known = {
        f"{one.name}_total" if one.type == "counter" else one.name
        for one in text_string_to_metric_families(exposed.decode())
    }
    named = {name for one in CODE for name in re.findall(r"\b(?:candlewick|gap_handler|process)_[a-z0-9_]+", one)}
    assert len(named) >= 9
    assert sorted(named - known) == []


@pytest.mark.parametrize(
    "word", ["reasons", "connections", "silent_streams", "outputs", "rest", "gaps", "websocket_connected"]
)
def test_named_fields_are_in_the_document(word: str) -> None:
    """Each field of /health that the page sends readers to is documented."""
    health = (Path(__file__).parents[2] / "docs" / "health.md").read_text(encoding="utf-8")
    assert f"`{word}`" in TEXT or f"`{word}[]" in TEXT or f"`{word}." in TEXT
    assert f"| `{word}`" in health
