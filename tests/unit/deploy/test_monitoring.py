"""Alerts and dashboard: they ask for metrics that exist, and the alerts fire when they should and not otherwise."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from candlewick.web import metrics
from tests.unit.deploy.composed import ROOT
from tests.unit.deploy.exposed import gap_handler
from tests.unit.web.statuses import COMPLETE

PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD: dict[str, Any] = json.loads(
    (ROOT / "deploy" / "grafana" / "dashboards" / "candlewick.json").read_text(encoding="utf-8")
)
PANELS = [one for one in DASHBOARD["panels"] if one["type"] != "row"]
_NAME = re.compile(r"\b(?:candlewick|gap_handler|process)_[a-z0-9_]+\b")
_SELECTED = re.compile(r"\b((?:candlewick|gap_handler)_[a-z0-9_]+)\{([^}]*)\}")


def samples() -> dict[str, set[str]]:
    """The names of all samples that the two services expose, with their labels."""
    found: dict[str, set[str]] = {}
    for text in (metrics.expose(COMPLETE), gap_handler()):
        for family in text_string_to_metric_families(text.decode()):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
            found.setdefault(f"{family.name}_total" if family.type == "counter" else family.name, set())
    return found


def expressions() -> Iterator[str]:
    for panel in PANELS:
        yield from (target["expr"] for target in panel["targets"])
    rules = (PROMETHEUS / "alerts.yml").read_text(encoding="utf-8")
    yield from re.findall(r"expr: (?:>-\s+)?(.+?)\n +(?:for|labels):", rules, re.DOTALL)


def test_asked_metrics_exist() -> None:
    """Every metric that an alert or a panel asks for is exposed by the feeder or the gap handler."""
    asked = {name for one in expressions() for name in _NAME.findall(one)}
    assert len(asked) > 30
    assert sorted(asked - set(samples())) == []


def test_asked_labels_exist() -> None:
    """Every label by which an alert or a panel selects or groups is one that some metric of it has."""
    known = samples()
    for one in expressions():
        for name, labels in _SELECTED.findall(one):
            assert set(re.findall(r"(\w+)=", labels)) <= known[name]
        of_all = {label for name in _NAME.findall(one) for label in known[name]} | {"instance", "job"}
        grouped = {label for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", one) for label in group.split(", ")}
        assert grouped <= of_all, one


def test_legends_name_labels_that_exist() -> None:
    """Every label in a panel's legend is one of its metrics."""
    known = samples()
    for panel in PANELS:
        for target in panel["targets"]:
            labels = {label for name in _NAME.findall(target["expr"]) for label in known[name]} | {"job", "instance"}
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels


def test_states_are_those_of_now() -> None:
    """A panel that shows a value rather than a line asks for that of now: of a range it would show every state there was in it."""
    stats = [panel for panel in PANELS if panel["type"] == "stat"]
    assert len(stats) >= 8
    for panel in stats:
        assert {(one.get("instant"), one.get("range")) for one in panel["targets"]} == {(True, False)}, panel["title"]


def test_panels_do_not_overlap() -> None:
    """Each panel has its own place and its own number, within 24 columns."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_dashboard_asks_the_provisioned_source() -> None:
    """The panels' data source is the one that is set up beside them."""
    source = (ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text(encoding="utf-8")
    assert {panel["datasource"]["uid"] for panel in PANELS} == set(re.findall(r"uid: (\w+)", source))


def test_every_alert_says_what_to_do_and_is_tested() -> None:
    """Each alert has a summary, an action, a severity, a test that it fires, and its place in docs/operations.md."""
    rules = (PROMETHEUS / "alerts.yml").read_text(encoding="utf-8").split("- alert: ")[1:]
    fired = (PROMETHEUS / "alerts_test.yml").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert len(rules) >= 8
    for rule in rules:
        name = rule.split("\n", 1)[0]
        assert all(part in rule for part in ("summary: ", "action: ", "severity: "))
        assert f'alertname="{name}", alertstate="firing", ' in fired
        assert f"`{name}`" in page


def test_alerts_fire_when_they_should() -> None:
    """Configuration and rules are accepted by promtool, and all of their unit tests pass."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (it comes with Prometheus)")
    for words in (("check", "config", "prometheus.yml"), ("test", "rules", "alerts_test.yml")):
        done = subprocess.run([promtool, *words], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
