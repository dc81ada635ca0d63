"""`candlewick schema` as an operator types it."""

import json
from urllib.parse import urlsplit

import pytest

from candlewick.cli import main
from candlewick.stores.postgres.schema.versions import PLAIN, newest
from tests.integration.schema.asked import fetched
from tests.servers.postgres import PostgresServer, free_port


def test_init_makes_the_schema_and_says_what_it_found(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The first time it says what was applied and what kind of database it is, the second time that nothing is to do."""
    assert main(["schema", "init", "--store", database_url]) == 0
    text = capsys.readouterr().out
    assert f"from version 0 to {newest(PLAIN)}" in text
    assert "applied 2 candles" in text
    assert "plain PostgreSQL" in text
    assert "run by the feeder and the gap handler" in text
    assert main(["schema", "init", "--store", database_url]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_init_and_check_on_timescale(timescale_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """TimescaleDB is named with its version, and its policies are found as they should be."""
    assert main(["schema", "init", "--store", timescale_url]) == 0
    assert "TimescaleDB 2." in capsys.readouterr().out
    assert main(["schema", "check", "--store", timescale_url]) == 0
    assert "retention of candles" in capsys.readouterr().out


def test_init_takes_its_options_from_the_settings(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Retention and the default series are those of the environment."""
    monkeypatch.setenv("STORE", database_url)
    monkeypatch.setenv("CANDLES_RETENTION_MONTHS", "5")
    monkeypatch.setenv("SYMBOLS", "ETHUSDT,BTCUSDT")
    assert main(["--json", "schema", "init"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {"symbol = ETHUSDT", "candles_months = 5"} <= set(document["applied"])
    assert fetched(database_url, "SELECT schema_setting('candles_months'), default_symbol()") == [(5, "ETHUSDT")]


def test_check_says_what_is_wrong_with_exit_code_1(schema_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A good schema is 0; one without an index is 1, names it, and says so on stderr too."""
    assert main(["schema", "check", "--store", schema_url]) == 0
    assert "candles_1m" in capsys.readouterr().out
    fetched(schema_url, "DROP INDEX idx_predictions_target_time")
    assert main(["schema", "check", "--store", schema_url]) == 1
    said = capsys.readouterr()
    assert "index idx_predictions_target_time  missing" in said.out
    assert "1 of" in said.err


def test_check_as_json_is_a_document(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The findings have name, status and details; the address has no password."""
    assert (
        main(["schema", "check", "--json", "--store", database_url.replace("candlewick@", "candlewick:secret@")]) == 1
    )
    text = capsys.readouterr().out
    assert "secret" not in text
    assert json.loads(text)["findings"] == [
        {"name": "schema", "status": "missing", "details": "there is none: run `candlewick schema init`"}
    ]


def test_database_that_is_down_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody listens there: one line, exit code 1."""
    assert main(["schema", "check", "--store", f"postgresql://u@127.0.0.1:{free_port()}/x"]) == 1
    assert "127.0.0.1" in capsys.readouterr().err


def test_wrong_password_is_told_without_it(
    postgres_server: PostgresServer, schema_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A password that is wrong is said to be, and not repeated."""
    postgres_server.execute("DROP ROLE IF EXISTS visitor")
    postgres_server.execute("CREATE ROLE visitor LOGIN PASSWORD 'right'")
    url = postgres_server.url_of(urlsplit(schema_url).path[1:], "visitor:wrongword")
    assert main(["schema", "check", "--store", url]) == 1
    said = capsys.readouterr().err
    assert "password" in said
    assert "wrongword" not in said
    postgres_server.execute("DROP ROLE visitor")


def test_newer_schema_is_told(schema_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A schema of a later program is refused with what to do."""
    fetched(schema_url, "INSERT INTO schema_migrations VALUES (999, 'later', 'x')")
    for action in ("init", "check"):
        assert main(["schema", action, "--store", schema_url]) == 1
        assert "install the version of candlewick that made it" in capsys.readouterr().err
