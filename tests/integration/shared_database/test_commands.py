"""Commands read the shared database as they read a local store, and say in one sentence why they cannot."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from candlewick.cli import main
from candlewick.stores import open_store
from tests.integration.shared_database.seeding import fill
from tests.servers.postgres import PostgresServer, free_port

READING = [
    ["candles", "BTCUSDT", "1m", "--format", "csv"],
    ["candles", "BTCUSDT", "1h", "--limit", "5"],
    ["candles", "BTCUSDT", "1m", "--json", "--from", "2024-03-01T10:00", "--limit", "7"],
    ["candles", "BTCUSDT", "1m", "--revisions", "--format", "csv"],
    ["gaps"],
    ["gaps", "BTCUSDT", "1m", "--json"],
    ["coverage", "BTCUSDT", "1m"],
    ["coverage", "--json"],
    ["certify", "BTCUSDT", "1m"],
    ["certify", "BTCUSDT", "1h", "--to", "2024-03-02"],
    ["verify"],
]

pytestmark = pytest.mark.usefixtures("nobodys_settings")


@pytest.fixture(scope="module")
def urls(schema_once: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A local store and a shared database that were given the same."""
    local = f"lmdb://{tmp_path_factory.mktemp('local') / 'store'}"
    for url in (local, schema_once):
        store = open_store(url, write=True)
        fill(store)
        store.close()
    return local, schema_once


@pytest.fixture
def address(postgres_server: PostgresServer) -> Iterator[str]:
    """The address of a database of which the tables are not made."""
    postgres_server.revive()
    url = postgres_server.new_database()
    yield url
    postgres_server.revive()
    postgres_server.drop_database(url)


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_command_says_the_same_of_both(
    urls: tuple[str, str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """What is printed and the exit code are those of the local store with the same content."""
    said = []
    for url in urls:
        code = main([*words, "--store", url])
        printed = capsys.readouterr()
        said.append((code, printed.out, printed.err.replace(url, "STORE")))
    assert said[0] == said[1]
    assert said[0][1]


@pytest.mark.parametrize("form", ["parquet", "csv", "arrow"])
def test_exported_files_are_the_same(urls: tuple[str, str], form: str, tmp_path: Path) -> None:
    """Files with all that is known of the series are equal byte for byte."""
    files = []
    for at, url in enumerate(urls):
        out = tmp_path / f"{at}"
        assert main(["export", "BTCUSDT", "1m", "--format", form, "--output", str(out), "--store", url]) == 0
        found = [out] if out.is_file() else [one for one in sorted(out.rglob("*")) if one.is_file()]
        files.append([one.read_bytes() for one in [*found, *sorted(tmp_path.glob(f"{at}.*"))]])
    assert files[0] == files[1] != []


def test_certificate_of_one_is_verified_against_the_other(urls: tuple[str, str]) -> None:
    """A certificate of the local store proves the shared database."""
    assert main(["certify", "BTCUSDT", "1h", "--output", "hours.json", "--store", urls[0]]) == 0
    assert main(["verify", "hours.json", "--store", urls[1]]) == 0


def test_status_shows_the_shared_database(urls: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """What is stored is what the database has; its password is not shown."""
    url = urls[1].replace("candlewick@", "candlewick:secret@")
    assert main(["status", "--json", "--store", url, "--port", str(free_port())]) == 0
    text = capsys.readouterr().out
    document = json.loads(text)
    assert [one["candles"] for one in document["store"]["series"]] == [4_253, 47, 600]
    assert "secret" not in text
    assert main(["status", "--json", "--store", urls[0], "--port", str(free_port())]) == 0
    assert json.loads(capsys.readouterr().out)["store"]["series"] == document["store"]["series"]


def failing(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says that fails: one line."""
    assert main(words) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err


def test_database_that_is_down_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1 and where nobody answers, without the password."""
    port = free_port()
    said = failing(["candles", "BTCUSDT", "1m", "--store", f"postgresql://reader:secret@127.0.0.1:{port}/db"], capsys)
    assert f"the database at postgresql://reader@127.0.0.1:{port}/db does not answer" in said
    assert "secret" not in said


def test_wrong_password_is_one_sentence(
    postgres_server: PostgresServer, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, and that the password is the matter."""
    postgres_server.execute("CREATE ROLE narrow LOGIN PASSWORD 'right'")
    database = address.rpartition("/")[2]
    said = failing(
        ["gaps", "--store", postgres_server.url_of(database, "narrow:wrong")],
        capsys,
    )
    postgres_server.execute("DROP ROLE narrow")
    assert "password authentication failed" in said
    assert "wrong, or" in said
    assert ":wrong" not in said


def test_database_without_tables_is_one_sentence(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, and which command makes them."""
    said = failing(["candles", "BTCUSDT", "1m", "--store", address], capsys)
    assert 'relation "candles" does not exist' in said
    assert "candlewick schema init" in said


def test_database_that_is_not_there_is_one_sentence(
    postgres_server: PostgresServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, and that it can be created."""
    said = failing(["coverage", "--store", postgres_server.url_of("nothing")], capsys)
    assert 'database "nothing" does not exist' in said


def test_what_is_written_goes_into_the_record(
    urls: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a shared database as STORE files are taken into LOCAL_STORE, and where they go from there is said."""
    assert main(["export", "BTCUSDT", "1h", "--output", "hours.parquet", "--store", urls[0]]) == 0
    monkeypatch.setenv("STORE", urls[1])
    monkeypatch.setenv("LOCAL_STORE", f"lmdb://{tmp_path / 'record'}")
    capsys.readouterr()
    assert main(["import", "hours.parquet"]) == 0
    assert f"written to lmdb://{tmp_path / 'record'}: `candlewick run`" in capsys.readouterr().err
    assert main(["compact"]) == 0
    assert "47 candles in 1 series" in capsys.readouterr().out
    assert main(["compact", "--store", urls[1]]) == 2
    assert "only an embedded store" in capsys.readouterr().err


def test_doctor_looks_at_the_database(
    urls: tuple[str, str],
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whether it answers, what it is, and whether its schema is there; a wrong address is a finding with a remedy."""
    monkeypatch.setenv("LOCAL_STORE", f"lmdb://{tmp_path / 'record'}")
    monkeypatch.setenv("BINANCE_API_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("BINANCE_STREAM_URL", f"ws://127.0.0.1:{free_port()}")
    found = {}
    for name, url in (("made", urls[1]), ("empty", address), ("down", f"postgresql://x@127.0.0.1:{free_port()}/db")):
        main(["doctor", "--json", "--store", url, "--port", str(free_port())])
        findings = json.loads(capsys.readouterr().out)
        found[name] = {one["check"]: one for one in findings}
    assert found["made"]["database"]["verdict"] == "ok"
    assert "PostgreSQL" in found["made"]["database"]["found"]
    assert found["made"]["schema"]["verdict"] == "ok"
    assert found["empty"]["schema"]["verdict"] == "broken"
    assert "schema init" in found["empty"]["schema"]["remedy"]
    assert found["down"]["database"]["verdict"] == "broken"
    assert "DB_HOST" in found["down"]["database"]["remedy"]
