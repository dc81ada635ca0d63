"""docs/sql.md against a real database: every block of SQL runs, and everything the schema has is named."""

import asyncio
import re
from pathlib import Path

import asyncpg
import pytest

from candlewick.stores.postgres.schema.describe import expected

PAGE = (Path(__file__).parents[3] / "docs" / "sql.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sql\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
INNER = frozenset({
    "attach_candle_weeks", "begin_candle_weeks", "candle_grid", "candle_interval", "drop_candles_before", "drop_chunks_before", "drop_features_before", "drop_predictions_before",
    "insert_candle_1m", "months_before", "run_scheduled_partitions", "schema_setting", "update_ensemble_timestamp",
    "ensure_single_active_ensemble", "update_volume_profile_timestamp",
})  # fmt: skip
"""Functions that are not for users."""


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split(";")[0][:40])
def test_documented_sql_runs(each_url: str, block: str) -> None:
    """Each statement of a block runs as printed, on both kinds of database."""

    async def run() -> None:
        connection = await asyncpg.connect(each_url)
        for statement in filter(None, map(str.strip, block.split(";"))):
            await connection.fetch(statement)
        await connection.close()

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["plain", "timescale"])
def test_everything_in_the_schema_is_documented(kind: str) -> None:
    """Each table, view and column, and each function that is for users, is named on the page."""
    words = set(re.findall(r"\w+", PAGE))
    columns = {part for name in expected(kind)["columns"] for part in name.split(".")}
    functions = {name.partition("(")[0] for name in expected(kind)["functions"]} - INNER
    assert (columns | functions) - words == set()
