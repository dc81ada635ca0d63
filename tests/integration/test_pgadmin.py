"""The real pgAdmin, set up by the files of the deployment: it signs in, and connects without asking for a password."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPCookieProcessor, HTTPRedirectHandler, Request, build_opener

import pytest

from tests.acceptance.processes import free_port, wait_for
from tests.servers.postgres import PostgresServer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
VERSION = "9.18"
PLACE = ROOT / ".cache" / "pgadmin"
EMAIL, PASSWORD = "admin@example.com", "of-pgadmin-alone-1234"
DATABASE_PASSWORD = "it:has\\odd\"'characters"
CONFIGURATION = """
import os
data = os.environ["PGADMIN_DATA"]
SERVER_MODE = True
DATA_DIR = data
SQLITE_PATH = data + "/pgadmin4.db"
SESSION_DB_PATH = data + "/sessions"
STORAGE_DIR = data + "/storage"
LOG_FILE = data + "/pgadmin4.log"
UPGRADE_CHECK_ENABLED = False
"""
ENTRY_POINT = """#!/bin/sh
# What the image's own entry point does at its first start.
set -eu
"$BIN/pgadmin4-cli" setup-db
"$BIN/pgadmin4-cli" load-servers "$PGADMIN_SERVER_JSON_FILE" --user "$PGADMIN_DEFAULT_EMAIL"
cd "$PACKAGE"
exec "$BIN/gunicorn" --workers 1 --threads 4 --bind "127.0.0.1:$PORT" --config "$GUNICORN_CONFIG" pgAdmin4:app
"""


class Unfollowed(HTTPRedirectHandler):
    """Shows a redirection instead of going where it leads."""

    def redirect_request(self, *args: object, **words: object) -> None:
        return None


class Browser:
    """Signs in and keeps the session."""

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self._opener = build_opener(HTTPCookieProcessor(CookieJar()), Unfollowed())
        self._token = ""

    def ask(self, path: str, form: dict[str, str] | None = None) -> tuple[int, str, str]:
        """Status, body and Location."""
        data = None if form is None else urllib.parse.urlencode(form).encode()
        request = Request(self.base + path, data, {"X-pgA-CSRFToken": self._token} if self._token else {})
        try:
            with self._opener.open(request, timeout=60) as answer:
                return answer.status, answer.read().decode(), ""
        except HTTPError as error:
            with error:
                return error.code, error.read().decode(), error.headers.get("Location", "")

    def sign_in(self, password: str) -> str:
        """Where it leads."""
        page = self.ask("/pgadmin4/login")[1]
        found = re.search(r'csrf_token"[^>]*value="([^"]+)"|csrfToken\W+([\w.-]+)', page)
        assert found, page[:2000]
        token = found[1] or found[2]
        form = {"csrf_token": token, "email": EMAIL, "password": password, "internal_button": "Login"}
        return self.ask("/pgadmin4/authenticate/login", form)[2]

    def enter(self) -> None:
        """Sign in and take the token that calls need."""
        assert self.sign_in(PASSWORD).endswith("/pgadmin4/browser/")
        script = self.ask("/pgadmin4/browser/js/utils.js")[1]
        found = re.search(r"pgAdmin\['csrf_token'\] = '([^']+)'", script)
        assert found, script[:2000]
        self._token = found[1]

    def read(self, path: str, form: dict[str, str] | None = None) -> tuple[int, Any]:
        """Status and document."""
        status, body, _ = self.ask(path, form)
        return status, json.loads(body)


def install() -> Path:
    """The programs of pgAdmin, in an environment of their own that is kept."""
    programs = PLACE / "bin"
    if not (programs / "gunicorn").exists() or not (programs / "pgadmin4-cli").exists():
        shutil.rmtree(PLACE, ignore_errors=True)
        words = [programs / "pip", "install", "--quiet", f"pgadmin4=={VERSION}", "gunicorn==23.0.0"]
        for command in ([sys.executable, "-m", "venv", PLACE], words):
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
            if done.returncode != 0:
                pytest.skip(f"pgAdmin could not be installed: {done.stderr[-500:]}")
    return programs


@pytest.fixture(scope="module")
def account(postgres_server: PostgresServer) -> dict[str, str]:
    """A role with a password, as the deployment names it."""
    escaped = DATABASE_PASSWORD.replace("'", "''")
    postgres_server.execute(f"CREATE ROLE keeper LOGIN PASSWORD '{escaped}'")
    return {
        "DB_HOST": "127.0.0.1", "DB_PORT": str(postgres_server.port), "DB_NAME": "postgres", "DB_USER": "keeper",
        "DB_PASSWORD": DATABASE_PASSWORD, "DB_SSLMODE": "prefer",
    }  # fmt: skip


@pytest.fixture(scope="module")
def pgadmin(account: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The port of a running pgAdmin, and its data."""
    programs = install()
    folder = tmp_path_factory.mktemp("pgadmin")
    (folder / "config_local.py").write_text(CONFIGURATION)
    (folder / "entrypoint.sh").write_text(ENTRY_POINT)
    data = folder / "data"
    data.mkdir()
    port = free_port()
    environment = account | {
        "PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(folder), "PGADMIN_DATA": str(data),
        "PGADMIN_DEFAULT_EMAIL": EMAIL, "PGADMIN_SETUP_EMAIL": EMAIL, "PGADMIN_SETUP_PASSWORD": PASSWORD,
        "SCRIPT_NAME": "/pgadmin4", "GUNICORN_CONFIG": str(ROOT / "deploy/pgadmin/gunicorn_config.py"), "BIN": str(programs),
        "PACKAGE": str(next(PLACE.glob("lib/python*/site-packages/pgadmin4"))), "PORT": str(port),
    }  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["/bin/sh", ROOT / "deploy/pgadmin/register.sh", "/bin/sh", folder / "entrypoint.sh"],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, start_new_session=True,
        )  # fmt: skip

    def answers() -> bool:
        assert process.poll() is None, (folder / "log").read_text()[-3000:]
        try:
            return Browser(port).ask("/pgadmin4/misc/ping")[0] == 200
        except OSError:
            return False

    try:
        wait_for(answers, within_s=120)
        yield port, data
    finally:
        process.terminate()
        process.wait(30)


def test_root_leads_to_the_path(pgadmin: tuple[int, Path]) -> None:
    """The root redirects to /pgadmin4/, which asks to sign in; a path beside it is not found."""
    browser = Browser(pgadmin[0])
    assert browser.ask("/")[::2] == (302, "/pgadmin4/")
    assert browser.ask("/pgadmin4/")[2].startswith("/pgadmin4/login")
    assert browser.ask("/pgadmin4")[0] in {302, 308}
    assert browser.ask("/pgadmin45")[0] == 404


def test_wrong_password_does_not_sign_in(pgadmin: tuple[int, Path]) -> None:
    """Only the password of .env signs in."""
    assert "/browser" not in Browser(pgadmin[0]).sign_in("something else")


def test_server_connects_without_a_prompt(pgadmin: tuple[int, Path]) -> None:
    """The database stands in its group, connects without a password being typed, and shows its databases."""
    browser = Browser(pgadmin[0])
    browser.enter()
    groups = {one["label"]: one["_id"] for one in browser.read("/pgadmin4/browser/nodes/")[1]["data"]}
    group = groups["Production"]
    servers = browser.read(f"/pgadmin4/browser/server/nodes/{group}/")[1]["result"]
    assert [one["label"] for one in servers] == ["TimescaleDB (BTC ML)"]
    server = servers[0]["_id"]
    status, document = browser.read(f"/pgadmin4/browser/server/connect/{group}/{server}", {})
    assert (status, document["data"]["connected"]) == (200, True), document
    databases = browser.read(f"/pgadmin4/browser/database/nodes/{group}/{server}/")[1]["data"]
    assert "postgres" in [one["label"] for one in databases]


def test_it_is_the_file_that_spares_the_prompt(pgadmin: tuple[int, Path], account: dict[str, str]) -> None:
    """The password stands in a file for the owner alone and nowhere else; without that file it is asked for."""
    port, data = pgadmin
    file = data / "storage" / "admin_example.com" / ".pgpass"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert account["DB_PASSWORD"] not in (data / "servers.json").read_text()
    browser = Browser(port)
    browser.enter()
    groups = {one["label"]: one["_id"] for one in browser.read("/pgadmin4/browser/nodes/")[1]["data"]}
    server = browser.read(f"/pgadmin4/browser/server/nodes/{groups['Production']}/")[1]["result"][0]["_id"]
    file.rename(file.with_suffix(".away"))
    status, _ = browser.read(f"/pgadmin4/browser/server/connect/{groups['Production']}/{server}", {})
    file.with_suffix(".away").rename(file)
    assert status != 200
