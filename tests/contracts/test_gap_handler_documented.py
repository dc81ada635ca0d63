"""docs/gap-handler.md names every route, member, field and metric of the gap handler."""

from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from candlewick.histogram import Histogram
from candlewick.market import Interval, Market, Series, Span, parse_time
from candlewick.services.gap_handler.results import (
    Backfilled,
    GapHandlerStatus,
    Historical,
    Outcome,
    Rate,
    Timing,
)
from candlewick.web.gap_handler_health import backfilled, health, historical
from candlewick.web.gap_handler_metrics import expose
from candlewick.web.openapi import gap_handler_document
from tests.contracts.openapi_rules import answer_faults

TEXT = (Path(__file__).parents[2] / "docs" / "gap-handler.md").read_text(encoding="utf-8")
NOW = parse_time("2026-11-02T12:00:00Z")
DOCUMENT = gap_handler_document()


def status(**changes: Any) -> GapHandlerStatus:  # noqa: ANN401 - any field
    usual: dict[str, Any] = {
        "version": "1.2.3", "environment": "test", "market": "spot", "started_at": NOW - 60_000_000, "now": NOW,
        "database": "postgresql://somebody@db:5432/market", "database_connected": True, "api_reachable": True,
        "rate": Rate(consecutive_failures=0, tokens_available=10.0, in_backoff=False, weight_used=2, weight_limit=1200),
        "outcomes": dict.fromkeys((one.value for one in Outcome), 0), "unresolved_gaps": 0, "candles_missing": 0,
        "api_requests": {"success": 1, "error": 0, "rate_limited": 0, "server_error": 0}, "scanned_at": NOW,
        "timing": Timing(
            backfills={one.value: Histogram().snapshot() for one in Outcome}, api=Histogram().snapshot(),
            database=Histogram().snapshot(),
        ),
    }  # fmt: skip
    return GapHandlerStatus(**(usual | changes))


def test_every_call_is_documented() -> None:
    """Each route has its line in the table of calls."""
    calls = [f"{method.upper()} {path}" for path, one in DOCUMENT["paths"].items() for method in one]
    assert [one for one in calls if f"| `{one}` |" not in TEXT] == []


def test_members_of_a_backfill_are_documented() -> None:
    """Each member of the request and of the answer is named."""
    series = Series(Market.SPOT, "BTCUSDT", Interval("1m"))
    answer = backfilled(Backfilled(status=Outcome.ERROR, series=series, span=Span(NOW, NOW + 60_000_000), error="x"))
    members = [*answer, *DOCUMENT["components"]["schemas"]["BackfillRequest"]["properties"]]
    assert [one for one in members if f"`{one}`" not in TEXT] == []


def test_metrics_are_documented() -> None:
    """Each metric has its line with type, labels and words, and each line a metric."""
    lines = set()
    for family in text_string_to_metric_families(expose(status()).decode()):
        if not family.name.startswith("gap_handler_"):
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = dict.fromkeys(label for sample in family.samples for label in sample.labels if label != "le")
        shown = " " + ", ".join(f"`{one}`" for one in labels) + " " if labels else " "
        lines.add(f"| `{name}` | {family.type} |{shown}| {family.documentation} |")
    assert {one for one in TEXT.splitlines() if one.startswith("| `gap_handler_")} == lines


def test_states_are_judged_as_documented() -> None:
    """Without its database it is unhealthy with 503; each smaller trouble degrades it with 200; passwords are hidden."""
    assert health(status())[1]["status"] == "healthy"
    code, document = health(status(database_connected=False, database_error="postgresql://u:hidden@db is down"))
    assert (code, document["status"], document["database_status"]) == (503, "unhealthy", "disconnected")
    assert "hidden" not in str(document)
    paused = Rate(consecutive_failures=1, tokens_available=0.0, in_backoff=True, weight_used=0, weight_limit=1200)
    for changes in ({"api_reachable": False}, {"errors_24h": 11}, {"unresolved_gaps": 11}, {"rate": paused}):
        code, document = health(status(**changes))
        assert (code, document["status"], len(document["reasons"])) == (200, "degraded", 1)
    for changes in ({"errors_24h": 10}, {"unresolved_gaps": 10}, {"unresolved_gaps": None}, {"api_reachable": None}):
        assert health(status(**changes))[1]["status"] == "healthy"


def test_documents_are_as_the_openapi_document_says() -> None:
    """Health and history, with everything and with nothing."""
    for one in (status(), status(scanned_at=None, unresolved_gaps=None, candles_missing=None, api_reachable=None)):
        code, document = health(one)
        assert answer_faults(DOCUMENT, "GET", "/health", code, "application/json", document) == []
    for state in (Historical(), Historical(is_running=True, started_at=NOW, start=NOW, end=NOW + 10**12, current=1)):
        body = historical(state)
        assert answer_faults(DOCUMENT, "GET", "/backfill/historical/status", 200, "application/json", body) == []
