"""docs/metrics.md lists every metric with its type, its labels and its own words."""

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from candlewick.web.metrics import NAMES, expose
from tests.unit.web.statuses import COMPLETE

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


def lines() -> dict[str, str]:
    """By metric, the line that documents it."""
    found = {}
    for family in text_string_to_metric_families(expose(COMPLETE).decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = list(dict.fromkeys(label for sample in family.samples for label in sample.labels if label != "le"))
        shown = ", ".join(f"`{label}`" for label in labels)
        found[name] = f"| `{name}` | {family.type} | {shown} | {family.documentation} |"
    return found


def test_metric_is_documented() -> None:
    """Each metric that is exposed has its line, and each line a metric."""
    documented = {one for one in DOCUMENT.read_text(encoding="utf-8").splitlines() if one.startswith("| `")}
    assert documented == set(lines().values())
    assert set(NAMES) <= set(lines())
