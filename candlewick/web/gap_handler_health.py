"""How well a gap handler is, judged from its status alone, and its documents."""

from typing import Any

from candlewick.config import masked
from candlewick.market import SECOND, format_time
from candlewick.services.gap_handler.historical import chunk, chunks_total
from candlewick.services.gap_handler.results import Backfilled, GapHandlerStatus, Historical, Outcome, Swept
from candlewick.web.health import ERRORS, Judgement, State

GAPS = 10
"""Unresolved, above which repair does not keep up."""


def judge(status: GapHandlerStatus) -> Judgement:
    """Unhealthy: without its database nothing can be kept; degraded: something fails, or much is open."""
    reasons = []
    if status.api_reachable is False:
        reasons.append("the exchange's REST does not answer" + (f": {status.api_error}" if status.api_error else ""))
    if status.rate.in_backoff:
        reasons.append("the exchange has imposed a pause on requests")
    if status.errors_24h > ERRORS:
        reasons.append(f"{status.errors_24h} errors in 24 hours, more than {ERRORS}")
    if (status.unresolved_gaps or 0) > GAPS:
        reasons.append(f"{status.unresolved_gaps} gaps are unresolved, more than {GAPS}")
    if not status.database_connected:
        return Judgement(State.UNHEALTHY, (masked(status.database_error), *reasons))
    return Judgement(State.DEGRADED if reasons else State.HEALTHY, tuple(reasons))


def health(status: GapHandlerStatus) -> tuple[int, dict[str, Any]]:
    """The HTTP status and the document of `/health`."""
    judgement = judge(status)
    return judgement.http_status, {
        "status": judgement.state.value,
        "reasons": list(judgement.reasons),
        "timestamp": format_time(status.now),
        "uptime_seconds": (status.now - status.started_at) // SECOND,
        "backfills_completed": status.outcomes[Outcome.BACKFILLED],
        "candles_recovered": status.recovered,
        "database_status": "connected" if status.database_connected else "disconnected",
        "database_connected": status.database_connected,
        "binance_api_status": _api_word(status.api_reachable),
        "errors_24h": status.errors_24h,
        "error_count": status.errors_24h,
        "pending_backfills": status.pending,
        "active_backfills": status.active,
        "details": {
            "unresolved_gaps": status.unresolved_gaps,
            "candles_missing": status.candles_missing,
            "backfills_last_24h": status.backfills_24h,
            "candles_recovered_last_24h": status.recovered_24h,
            "gap_check_last": None if status.scanned_at is None else format_time(status.scanned_at),
            "rate_limiter": {
                "consecutive_failures": status.rate.consecutive_failures,
                "tokens_available": status.rate.tokens_available,
                "in_backoff": status.rate.in_backoff,
                "weight_used": status.rate.weight_used,
                "weight_limit": status.rate.weight_limit,
            },
        },
        "memory_mb": status.memory_mb,
        "database": {"location": masked(status.database), "error": masked(status.database_error) or None},
        "version": status.version,
        "environment": status.environment,
        "market": status.market,
    }


def backfilled(result: Backfilled) -> dict[str, Any]:
    """The document of one backfill."""
    document = {
        "status": result.status.value,
        "gap_start": format_time(result.span.start),
        "gap_end": format_time(result.span.end),
        "candles_expected": result.expected,
        "candles_fetched": result.fetched,
        "candles_inserted": result.recovered,
        "candles_skipped": result.skipped,
        "candles_recovered": result.recovered,
        "candles_absent": result.absent,
        "duration_seconds": result.duration_s,
        "market": result.series.market.value,
        "symbol": result.series.symbol,
        "interval": result.series.interval.code,
    }
    return document | ({"error": masked(result.error)} if result.error else {})


HTTP_STATUS = {Outcome.BACKFILLED: 200, Outcome.PARTIAL: 200, Outcome.REJECTED: 429, Outcome.ERROR: 500}


def swept(result: Swept) -> dict[str, Any]:
    """The document of `/backfill/unresolved`."""
    successful = sum(one.status is Outcome.BACKFILLED for one in result.details)
    return {
        "status": "completed",
        "gaps_processed": len(result.details),
        "gaps_successful": successful,
        "gaps_failed": len(result.details) - successful,
        "gaps_remaining": result.remaining,
        "candles_recovered": sum(one.recovered for one in result.details),
        "details": [backfilled(one) for one in result.details],
    }


def historical(state: Historical) -> dict[str, Any]:
    """The document of `/backfill/historical/status`."""
    at = chunk(state, state.current).start if state.is_running and state.current >= 0 else None
    return {
        "is_running": state.is_running,
        "started_at": _time(state.started_at),
        "finished_at": _time(state.finished_at),
        "target_start_time": _time(state.start),
        "target_end_time": _time(state.end),
        "current_progress": None if at is None else format_time(at),
        "chunks_total": chunks_total(state),
        "chunks_completed": len(state.done),
        "candles_recovered": state.recovered,
        "last_error": masked(state.error) or None,
    }


def _api_word(reachable: bool | None) -> str:
    return "unknown" if reachable is None else "online" if reachable else "offline"


def _time(time: int) -> str | None:
    return format_time(time) if time else None
