"""`candlewick status`: what is stored and what is running, together."""

import json
import os
import pty
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from candlewick.cli import main
from candlewick.market import MINUTE, Span
from tests.unit.cli.servers import Run, running
from tests.unit.cli.stores import T0, make_store
from tests.unit.web.statuses import DOWN, good


def port_of(url: str) -> str:
    return url.rpartition(":")[2]


def test_status_shows_the_store_without_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """First, last, candles and gaps come from the store; that nothing answers is said, and no failure."""
    url = make_store(tmp_path / "store", [0, 1, 4, 9], Span(T0 + 2 * MINUTE, T0 + 4 * MINUTE))
    assert main(["status", "--json", "--store", url, "--port", "1"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["run"] is None
    assert document["store"] == {
        "location": url,
        "error": None,
        "series": [
            {"series": "spot:BTCUSDT:1m", "candles": 4, "gaps": 6, "missing": 4, "first": T0 // 1000, "last": T0 // 1000 + 540_000}
        ],
    }  # fmt: skip
    assert main(["status", "--store", url, "--port", "1"]) == 0
    out = capsys.readouterr().out
    assert "run: nothing answers at http://127.0.0.1:1" in out
    assert out.splitlines()[-1].split() == [
        "spot:BTCUSDT:1m", "2024-03-01T12:00:00Z", "2024-03-01T12:09:00Z", "4", "6", "4", "stored"
    ]  # fmt: skip


def test_status_joins_store_and_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that answers adds its state, its reasons and what it knows of each series."""
    url = make_store(tmp_path / "store", range(3))
    with running(Run(good(connections=(*good().connections, DOWN)))) as server:
        assert main(["status", "--json", "--store", url, "--port", port_of(server.url)]) == 0
        document = json.loads(capsys.readouterr().out)
        assert main(["status", "--store", url, "--port", port_of(server.url)]) == 0
    assert (document["run"]["url"], document["run"]["state"]) == (server.url, "degraded")
    assert document["run"]["reasons"] == ["connection spot-2 is down: refused"]
    assert document["run"]["status"]["counters"]["candles_written"] == 18
    lines = capsys.readouterr().out.splitlines()
    assert f"run: degraded at {server.url}, 1 of 2 connections, 18 candles written" in lines
    assert [line.split()[0] for line in lines[-3:]] == ["spot:BTCUSDT:1h", "spot:BTCUSDT:1m", "spot:ETHUSDT:1m"]
    assert lines[-2].split()[-2:] == ["1.25", "live"]


def test_status_without_a_store_is_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before the first run there is nothing to show, and that is shown."""
    assert main(["status", "--store", f"lmdb://{tmp_path}/none", "--port", "1"]) == 0
    assert "there is no store at" in capsys.readouterr().out


def test_something_else_on_the_port_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A server that is not ours is not taken for a run."""

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Other) as other:
        thread = Thread(target=other.serve_forever)
        thread.start()
        url = make_store(tmp_path / "store", range(3))
        assert main(["status", "--json", "--store", url, "--port", str(other.server_port)]) == 0
        other.shutdown()
        thread.join()
    assert json.loads(capsys.readouterr().out)["run"] is None


def test_live_table_leaves_with_q(tmp_path: Path) -> None:
    """In a terminal the table is drawn until q, and the terminal is put back."""
    url = make_store(tmp_path / "store", range(3))
    command = [sys.executable, "-m", "candlewick", "status", "--store", url, "--port", "1"]
    root = Path(__file__).parents[3]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=root,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "200"},
    ) as child:
        os.close(theirs)
        seen = b""
        while b"spot:BTCUSDT:1m" not in seen:
            seen += os.read(ours, 4096)
        os.write(ours, b"q")
        while child.poll() is None:
            try:
                seen += os.read(ours, 4096)
            except OSError:
                break
        assert child.wait(60) == 0
    os.close(ours)
    assert b"\x1b[?1049l" in seen
