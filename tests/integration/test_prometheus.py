"""A real Prometheus with the configuration, the rules and the queries of the deployment."""

import json
import shutil
import subprocess
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from candlewick.web import metrics
from tests.acceptance.processes import ask, free_port, wait_for
from tests.unit.deploy.exposed import gap_handler
from tests.unit.web.statuses import COMPLETE

DEPLOY = Path(__file__).parents[2] / "deploy"


@contextmanager
def exposing(text: bytes) -> Iterator[int]:
    """A service with these metrics; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", metrics.CONTENT_TYPE)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a Prometheus answers that scrapes a feeder and a gap handler every second, by the deployed files."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed")
    folder = tmp_path_factory.mktemp("prometheus")
    place = f"127.0.0.1:{free_port()}"
    with ExitStack() as stack:
        feeder, handler = (
            stack.enter_context(exposing(metrics.expose(COMPLETE))),
            stack.enter_context(exposing(gap_handler())),
        )
        text = (DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
        moved = {
            "feeder:8080": f"127.0.0.1:{feeder}",
            "gap-handler:9000": f"127.0.0.1:{handler}",
            "localhost:9090": place,
        }
        for name, port in moved.items():
            assert f'"{name}"' in text
            text = text.replace(name, port)
        text = text.replace("interval: 10s", "interval: 1s").replace("timeout: 5s", "timeout: 1s")
        (folder / "prometheus.yml").write_text(text, encoding="utf-8")
        shutil.copy(DEPLOY / "prometheus" / "alerts.yml", folder)
        words = [
            program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address={place}",
        ]  # fmt: skip
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        stack.callback(process.wait, 30)
        stack.callback(process.terminate)
        wait_for(lambda: _scraped(f"http://{place}", process, folder / "log"), within_s=30)
        yield f"http://{place}"


def _scraped(base: str, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text(errors="replace")[-3000:]
    try:
        targets = ask(f"{base}/api/v1/targets")[1]["data"]["activeTargets"]
    except (OSError, json.JSONDecodeError):  # it says in plain words that it is not ready
        return False
    return bool(targets) and all(one["health"] == "up" for one in targets)


def query(base: str, expression: str) -> list[dict[str, Any]]:
    """What an expression gives now."""
    status, document = ask(f"{base}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
    assert (status, document["status"]) == (200, "success"), f"{expression}: {document}"
    result: list[dict[str, Any]] = document["data"]["result"]
    return result


def test_both_services_are_scraped(prometheus: str) -> None:
    """Each target is up under the job that alerts and dashboard ask for."""
    assert {one["metric"]["job"]: one["value"][1] for one in query(prometheus, "up")} == {
        "feeder": "1", "gap-handler": "1", "prometheus": "1",
    }  # fmt: skip


def test_rules_are_evaluated(prometheus: str) -> None:
    """Every rule is loaded and can be evaluated, and one whose condition holds is seen."""

    def rules() -> list[dict[str, Any]] | None:
        groups = ask(f"{prometheus}/api/v1/rules")[1]["data"]["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        return found if found and all(rule["health"] != "unknown" for rule in found) else None

    found = wait_for(rules)
    assert {rule["health"] for rule in found} == {"ok"}
    assert len(found) == (DEPLOY / "prometheus" / "alerts.yml").read_text(encoding="utf-8").count("- alert: ")
    wait_for(lambda: query(prometheus, 'ALERTS{alertname="GapsUnresolved", alertstate="pending"}'))


def test_panels_are_answered(prometheus: str) -> None:
    """Every query of the dashboard is one that Prometheus takes, and those that need no history have an answer."""
    document = json.loads((DEPLOY / "grafana" / "dashboards" / "candlewick.json").read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in document["panels"] for target in panel.get("targets", ())]
    assert len(asked) > 40
    empty = [
        one
        for one in asked
        if not query(prometheus, one.removesuffix(" > 0")) and not any(word in one for word in ("rate(", "increase("))
    ]
    assert empty == []
