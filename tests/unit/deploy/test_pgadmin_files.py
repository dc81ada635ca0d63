"""What pgAdmin is given: the server list, the password file, and the path it is served below."""

import json
import runpy
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.unit.deploy.composed import ROOT

ACCOUNT = {
    "PGADMIN_DEFAULT_EMAIL": "someone@example.com", "DB_HOST": "timescaledb", "DB_PORT": "5432", "DB_NAME": 'a "name"',
    "DB_USER": "mltrader", "DB_PASSWORD": "a:b\\c$d'e\"f g", "DB_SSLMODE": "prefer",
}  # fmt: skip


def register(data: Path, *words: str, **changed: str) -> str:
    """What the program that is started at the end prints."""
    environment = {"PATH": "/usr/bin:/bin", "PGADMIN_DATA": str(data)} | ACCOUNT | changed
    done = subprocess.run(
        ["/bin/sh", ROOT / "deploy" / "pgadmin" / "register.sh", *words],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return done.stdout


def test_password_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    """It has mode 600, lies where pgAdmin looks for the files of that user, and escapes what would end a field."""
    register(tmp_path, "true")
    file = tmp_path / "storage" / "someone_example.com" / ".pgpass"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() == "timescaledb:5432:*:mltrader:a\\:b\\\\c$d'e\"f g\n"


def test_changed_password_is_taken_at_the_next_start(tmp_path: Path) -> None:
    """Started again with another password, the file has that one."""
    register(tmp_path, "true")
    register(tmp_path, "true", DB_PASSWORD="another")
    assert (tmp_path / "storage/someone_example.com/.pgpass").read_text().endswith(":another\n")


def test_server_is_registered_with_the_password_file(tmp_path: Path) -> None:
    """The list has the documented server, its values written so that any name is JSON, and no password."""
    started = register(tmp_path, "sh", "-c", 'printf %s "$PGADMIN_SERVER_JSON_FILE"')
    text = Path(started).read_text()
    assert ACCOUNT["DB_PASSWORD"] not in text
    assert json.loads(text)["Servers"]["1"] == {
        "Name": "TimescaleDB (BTC ML)", "Group": "Production", "Host": "timescaledb", "Port": 5432, "MaintenanceDB": 'a "name"',
        "Username": "mltrader", "ConnectionParameters": {"sslmode": "prefer", "connect_timeout": 10, "passfile": "/.pgpass"},
    }  # fmt: skip


def test_password_is_not_handed_on(tmp_path: Path) -> None:
    """The environment of pgAdmin itself has no password of the database."""
    assert "DB_PASSWORD" not in register(tmp_path, "env")


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[str, dict[str, str], Any]]:
    """Asks an application below /pgadmin4 for a path; the status, the headers, and what the application was told."""
    monkeypatch.setenv("SCRIPT_NAME", "/pgadmin4")
    monkeypatch.setitem(sys.modules, "gunicorn", ModuleType("gunicorn"))
    configuration = runpy.run_path(str(ROOT / "deploy" / "pgadmin" / "gunicorn_config.py"))

    def ask(path: str) -> tuple[str, dict[str, str], Any]:
        seen: list[Any] = [None, None, None]

        def app(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
            seen[2] = (environ["SCRIPT_NAME"], environ["PATH_INFO"])
            start("200 OK", [])
            return []

        def start(status: str, headers: list[tuple[str, str]]) -> None:
            seen[:2] = status, dict(headers)

        worker = type("Worker", (), {"wsgi": staticmethod(app)})()
        configuration["post_worker_init"](worker)
        list(worker.wsgi({"PATH_INFO": path, "SCRIPT_NAME": ""}, start))
        return seen[0], seen[1], seen[2]

    return ask


@pytest.mark.parametrize(
    ("path", "told"),
    [("/pgadmin4", "/"), ("/pgadmin4/", "/"), ("/pgadmin4/login", "/login"), ("/pgadmin4/pgadmin4/x", "/pgadmin4/x")],
)
def test_pgadmin_is_below_its_path(
    served: Callable[[str], tuple[str, dict[str, str], Any]], path: str, told: str
) -> None:
    """What is asked below the path reaches pgAdmin, which knows that it is below it."""
    assert served(path)[2] == ("/pgadmin4", told)


def test_root_redirects(served: Callable[[str], tuple[str, dict[str, str], Any]]) -> None:
    """The root leads to the path, anything else is not found, and neither reaches pgAdmin."""
    for path in ("/", ""):
        status, headers, told = served(path)
        assert (status, headers["Location"], told) == ("302 Found", "/pgadmin4/", None)
    for path in ("/login", "/pgadmin45", "//"):
        status, _, told = served(path)
        assert (status, told) == ("404 Not Found", None)
