"""The health check of a container, against services that answer one way or another."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from tests.acceptance.processes import free_port
from tests.unit.deploy.composed import ROOT


@contextmanager
def answering(status: int) -> Iterator[int]:
    """A service whose /health has this status; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()
            self.wfile.write(b'{"status": "as it is"}')

        def log_message(self, *words: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def check(feeder: int, gap_handler: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "deploy" / "healthcheck.py"], capture_output=True, text=True, check=False, timeout=30,
        env={"FEEDER_PORT": str(feeder), "GAP_HANDLER_PORT": str(gap_handler)},
    )  # fmt: skip


@pytest.mark.parametrize("feeds", [True, False], ids=["feeder", "gap handler"])
def test_service_that_works_is_healthy(feeds: bool) -> None:
    """A 200 of whichever service runs in the container is healthy."""
    with answering(200) as port:
        assert check(port if feeds else free_port(), free_port() if feeds else port).returncode == 0


@pytest.mark.parametrize("status", [503, 500, 404])
def test_service_that_says_it_does_not_work_is_not_healthy(status: int) -> None:
    """Anything but 200 is not healthy, and what the service said is shown."""
    with answering(status) as port:
        done = check(port, free_port())
    assert done.returncode == 1
    assert f"port {port}: {status}" in done.stdout
    assert "as it is" in done.stdout


def test_nothing_there_is_not_healthy() -> None:
    """A container whose service does not answer at all is not healthy, and it says so without a traceback."""
    done = check(free_port(), free_port())
    assert (done.returncode, done.stderr) == (1, "")
    assert "refused" in done.stdout
