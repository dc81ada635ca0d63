"""What `check` finds in a database that is as it should be, and in one that is not."""

import json
import os
from pathlib import Path

import asyncpg
import pytest

from candlewick.errors import StoreTooNew
from candlewick.stores.postgres import schema
from candlewick.stores.postgres.schema import SchemaOptions, Status, check, migrate
from candlewick.stores.postgres.schema.describe import describe, expected
from candlewick.stores.postgres.schema.versions import kind_of
from tests.integration.schema.asked import asked

HARM = [
    ("DROP TABLE volume_profiles", "volume_profiles", Status.MISSING),
    ("DROP VIEW v_latest_candles", "v_latest_candles", Status.MISSING),
    (
        "ALTER TABLE candles DROP CONSTRAINT candles_1m_high_check",
        "constraint candles.candles_1m_high_check",
        Status.MISSING,
    ),
    ("DROP INDEX idx_ensemble_models_active", "index idx_ensemble_models_active", Status.MISSING),
    ("DROP FUNCTION mark_gap_resolved", "function mark_gap_resolved(", Status.MISSING),
    ("ALTER TABLE gap_reasons ALTER evidence DROP NOT NULL", "column gap_reasons.evidence", Status.DIFFERENT),
    ("ALTER TABLE provenance ADD more text", "column provenance.more", Status.NOTE),
    ("DROP TRIGGER candles_1m_insert ON candles_1m", "trigger candles_1m.candles_1m_insert", Status.MISSING),
]


def test_description_is_that_of_a_migrated_database(each_url: str) -> None:
    """What the migrations make is what is expected, thing by thing."""

    async def ask(connection: asyncpg.Connection) -> tuple[object, object]:
        kind, found = await kind_of(connection), await describe(connection)
        if os.environ.get("CANDLEWICK_RENEW"):
            path = Path(schema.__file__).with_name(f"expected.{kind}.json")
            path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        return found, expected(kind)

    found, wanted = asked(each_url, ask)
    assert found == wanted


def test_description_is_the_same_on_every_server(each_postgres_url: str) -> None:
    """The oldest server that is supported describes the schema in the same words as the newest."""

    async def ask(connection: asyncpg.Connection) -> object:
        await migrate(connection)
        return await describe(connection)

    assert asked(each_postgres_url, ask) == expected("plain")


def test_migrated_database_has_nothing_to_complain_of(each_url: str) -> None:
    """Nothing is missing or different after a migration."""
    assert [one for one in asked(each_url, check) if one.status in {Status.MISSING, Status.DIFFERENT}] == []


@pytest.mark.parametrize(("harm", "name", "status"), HARM)
def test_harm_is_found(schema_url: str, harm: str, name: str, status: Status) -> None:
    """A table, view, constraint, index, function, trigger or column that is gone or another is named."""
    asked(schema_url, lambda connection: connection.execute(harm))
    assert [one.status for one in asked(schema_url, check) if one.name.startswith(name)] == [status]


def test_empty_database_is_told_to_be_initialised(database_url: str) -> None:
    """Without a schema there is one finding, which says what to run."""
    found = asked(database_url, check)
    assert [(one.name, one.status) for one in found] == [("schema", Status.MISSING)]
    assert "candlewick schema init" in found[0].details


def test_newer_schema_is_refused_by_check(schema_url: str) -> None:
    """A version that is not known is an error, not a finding."""
    asked(schema_url, lambda connection: connection.execute("INSERT INTO schema_migrations VALUES (999, 'later', 'x')"))
    with pytest.raises(StoreTooNew):
        asked(schema_url, check)


@pytest.mark.parametrize("migrated_url", ["timescale"], indirect=True)
def test_policy_that_is_another_than_the_settings_say_is_found(each_url: str) -> None:
    """A retention that somebody changed or removed, and a refresh that is gone, are told; a migration mends them."""

    async def ask(connection: asyncpg.Connection) -> tuple[set[str], set[str]]:
        await connection.execute("SELECT remove_retention_policy('candles')")
        await connection.execute("SELECT add_retention_policy('candles', interval '5 days')")
        await connection.execute("SELECT remove_compression_policy('features')")
        await connection.execute("SELECT remove_continuous_aggregate_policy('candles_1h')")
        bad = {one.name for one in await check(connection) if one.status in {Status.MISSING, Status.DIFFERENT}}
        await migrate(connection, SchemaOptions(candles_months=14))
        return bad, {one.name for one in await check(connection) if one.status in {Status.MISSING, Status.DIFFERENT}}

    bad, mended = asked(each_url, ask)
    assert bad == {"retention of candles", "compression of features", "refresh of candles_1h"}
    assert mended == set()
