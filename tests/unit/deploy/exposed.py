"""What a gap handler that has seen everything exposes."""

from candlewick.services.gap_handler.results import GapHandlerStatus, Outcome, Rate, Timing
from candlewick.services.status import Distribution
from candlewick.web.gap_handler_metrics import expose

SEEN = Distribution(bounds=(0.1, 0.2), counts=(3, 2, 1), total_s=1.5)


def gap_handler() -> bytes:
    """The text of its `/metrics`."""
    return expose(
        GapHandlerStatus(
            version="0", environment="test", market="spot", started_at=0, now=60_000_000, database="a database",
            database_connected=True, api_reachable=True, unresolved_gaps=1, candles_missing=2, scanned_at=1,
            rate=Rate(consecutive_failures=0, tokens_available=1.0, in_backoff=False, weight_used=1, weight_limit=2),
            outcomes={one.value: 1 for one in Outcome},
            api_requests={"success": 3, "error": 1, "rate_limited": 1, "server_error": 1},
            timing=Timing(backfills={one.value: SEEN for one in Outcome}, api=SEEN, database=SEEN),
        )
    )  # fmt: skip
