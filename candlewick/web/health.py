"""How well a run is, judged from its status alone: for people, for load balancers, for whoever restarts it.

Ages are measured from the close of a candle, and judged by the interval: an hourly candle is not late after minutes.
"""

from enum import StrEnum
from typing import Any, NamedTuple

from candlewick.config import masked
from candlewick.market import SECOND, Interval, format_time
from candlewick.services.status import OutputStatus, SeriesStatus, Status

LATE_S = 60.0
"""How far beyond its interval a candle may be late before a series counts as late."""
DEAD_S = 120.0
"""How far beyond it the newest candle of all may be late before no data counts as written."""
STUCK_S = 30.0
"""How long a candle may wait for the disk, beyond which the store takes none, whatever it says."""
BEHIND_S = 60.0
"""How far an output may be behind the store before that is worth a word."""
ERRORS = 10
"""In 24 hours, above which something keeps going wrong."""
MEMORY_MB = 250.0
MEMORY_MB_PER_SYMBOL = 10.0


class State(StrEnum):
    """healthy: all works; degraded: something failed and is being tried again; unhealthy: no data is written."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


class Judgement(NamedTuple):
    """A state, and a sentence for everything that is not as it should be, the gravest first."""

    state: State
    reasons: tuple[str, ...]

    @property
    def http_status(self) -> int:
        """503 only where no data is written: whoever restarts on failure shall not restart what is mending itself."""
        return 503 if self.state is State.UNHEALTHY else 200


def judge(status: Status) -> Judgement:
    """How well the run is."""
    fatal = _fatal(status)
    partial = _partial(status)
    if fatal and _is_starting(status) and status.store.connected:
        return Judgement(State.DEGRADED, (_starting(status), *partial))
    if fatal:
        return Judgement(State.UNHEALTHY, (*fatal, *partial))
    return Judgement(State.DEGRADED if partial else State.HEALTHY, tuple(partial))


def _fatal(status: Status) -> list[str]:
    reasons = []
    if not status.store.connected:
        reasons.append(f"the store does not take candles: {status.store.error or 'it is not open'}")
    elif status.buffer_age_s is not None and status.buffer_age_s > STUCK_S:
        reasons.append(f"{status.buffer_size} candles wait for the store, the oldest for {status.buffer_age_s:.0f} s")
    if not _is_connected(status):
        why = next((one.reason for one in status.connections if one.reason), "")
        why = why or (f"waits for {status.waiting_for}" if status.waiting_for else "")
        reasons.append("no live connection is open" + (f": {why}" if why else ""))
    shortest = _shortest(status)
    newest = _newest(shortest)
    if newest is None:
        reasons.append("no candle has been seen")
    elif (age_s := _age_s(status, newest)) > _length_s(shortest[0]) + DEAD_S:
        reasons.append(f"the newest candle closed {age_s:.0f} s ago, at {format_time(newest)}")
    return reasons


def _partial(status: Status) -> list[str]:
    reasons = [
        f"connection {one.name} is down" + (f": {one.reason}" if one.reason else "")
        for one in status.connections
        if not one.connected
    ]
    reasons += [f"stream {one.stream} is silent: {one.reason}" for one in status.silent_streams]
    late = [one for one in status.series if one.stale or _is_late(status, one)]
    if late:
        reasons.append(f"{_series_names(late)}: a candle is overdue")
    missing = [one for one in status.series if one.missing]
    if missing:
        candles = sum(one.missing for one in missing)
        reasons.append(f"{_series_names(missing)}: {candles} {'candle is' if candles == 1 else 'candles are'} missing")
    for one in status.outputs:
        reasons += _of_output(one)
    rest = status.rest
    if rest.ban_until is not None and rest.ban_until > status.now:
        reasons.append(f"REST may not be asked before {format_time(rest.ban_until)}: the exchange said so")
    elif rest.reachable is False:
        reasons.append("the exchange's REST does not answer" + (f": {rest.error}" if rest.error else ""))
    if status.errors_24h > ERRORS:
        reasons.append(f"{status.errors_24h} errors in 24 hours, more than {ERRORS}")
    limit = MEMORY_MB + MEMORY_MB_PER_SYMBOL * len({one.symbol for one in status.series})
    if status.memory_mb > limit:
        reasons.append(f"{status.memory_mb:.0f} MB of memory, more than {limit:.0f}")
    return reasons


def _of_output(one: OutputStatus) -> list[str]:
    """What is not as it should be with an output: the store has everything, so data is written all the same."""
    reasons = []
    if not one.connected:
        reasons.append(
            f"the output {one.name} is not connected: {one.error or 'it has not answered yet'}; "
            f"{_rows(one.behind_rows)} {'waits' if one.behind_rows == 1 else 'wait'} for it in the store"
        )
    elif one.error:
        reasons.append(f"the output {one.name} complains: {one.error}")
    elif one.lag_s > BEHIND_S:
        reasons.append(f"the output {one.name} is {_rows(one.behind_rows)} and {one.lag_s:.0f} s behind the store")
    if one.set_aside:
        reasons.append(f"the output {one.name} refused {_rows(one.set_aside)}, set aside in the store")
    return reasons


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _is_starting(status: Status) -> bool:
    """Whether it is too early to miss anything: a run has the length of a candle and `DEAD_S` for its first one.

    Where the exchange does not answer there is nothing to wait for.
    """
    shortest = _shortest(status)
    grace_s = (_length_s(shortest[0]) if shortest else 60.0) + DEAD_S
    never = not status.counters.candles_processed
    return never and status.rest.reachable is not False and (status.now - status.started_at) / SECOND < grace_s


def _starting(status: Status) -> str:
    return f"starting: waits for {status.waiting_for or 'its first candle'}"


def _is_connected(status: Status) -> bool:
    return any(one.connected for one in status.connections)


def _shortest(status: Status) -> list[SeriesStatus]:
    """The series of the shortest interval: they say soonest whether data flows."""
    if not status.series:
        return []
    length_s = min(map(_length_s, status.series))
    return [one for one in status.series if _length_s(one) == length_s]


def _newest(series: list[SeriesStatus]) -> int | None:
    return max((one.last_close for one in series if one.last_close is not None), default=None)


def _length_s(series: SeriesStatus) -> float:
    return Interval(series.interval).nominal / SECOND


def _age_s(status: Status, close: int) -> float:
    return (status.now - close) / SECOND


def _is_late(status: Status, one: SeriesStatus) -> bool:
    return one.last_close is not None and _age_s(status, one.last_close) > _length_s(one) + LATE_S


def _series_names(series: list[SeriesStatus]) -> str:
    names = [f"{one.market}:{one.symbol}:{one.interval}" for one in series[:3]]
    more = f" and {len(series) - 3} more" if len(series) > 3 else ""
    return ", ".join(names) + more


def health(status: Status) -> tuple[int, dict[str, Any]]:
    """The HTTP status and the document of `/health`."""
    judgement = judge(status)
    newest = _newest(list(status.series))
    database = status.database
    # Where a shared database is fed, the documented fields speak of it; else of the store.
    connected = status.store.connected if database is None else database.connected
    written = status.counters.candles_written if database is None else database.written
    buffered = status.buffer_size + (0 if database is None else database.behind_rows)
    document = {
        "status": judgement.state.value,
        "reasons": list(judgement.reasons),
        "timestamp": format_time(status.now),
        "uptime_seconds": (status.now - status.started_at) // SECOND,
        "candles_processed": status.counters.candles_processed,
        "candles_written": written,
        "candles_in_db": written,
        "database_connected": connected,
        "database_status": "connected" if connected else "disconnected",
        "websocket_connected": _is_connected(status),
        "last_candle_time": None if newest is None else format_time(newest),
        "features_warmed_up": status.features_warmed_up,
        "buffer_size": buffered,
        "error_count": status.errors_24h,
        "errors_24h": status.errors_24h,
        "memory_mb": status.memory_mb,
        "pending_backfills": status.pending_backfills,
        "details": {
            "buffer_size": buffered,
            "db_pool_size": status.store.pool_size if database is None else database.pool_size,
            "features_warmed_up": status.features_warmed_up,
            "gap_check_last": None if status.gap_check_last is None else format_time(status.gap_check_last),
        },
    }
    return judgement.http_status, document | _ours(status)


def _ours(status: Status) -> dict[str, Any]:
    """What the document says besides the documented fields."""
    missing = [one for one in status.series if one.missing]
    ban_until = status.rest.ban_until
    return {
        "version": status.version,
        "environment": status.environment,
        "exchange": status.exchange,
        "market": status.market,
        "series": len(status.series),
        "gaps": {"candles_missing": sum(one.missing for one in missing), "series": len(missing)},
        "connections": [
            {"name": one.name, "host": one.host, "streams": one.streams, "connected": one.connected, "reason": one.reason}
            for one in status.connections
        ],
        "silent_streams": [
            {"stream": one.stream, "since": format_time(one.since), "reason": one.reason}
            for one in status.silent_streams
        ],
        "store": {
            "location": masked(status.store.location),
            "connected": status.store.connected,
            "error": status.store.error,
        },
        "outputs": [
            {
                "name": one.name, "location": masked(one.location), "connected": one.connected, "error": one.error,
                "behind_rows": one.behind_rows, "lag_seconds": round(one.lag_s, 3), "written": one.written,
                "refused": one.refused, "retries": one.retries, "pool_size": one.pool_size, "snapshot": one.snapshot,
            }
            for one in status.outputs
        ],
        "rest": {
            "reachable": status.rest.reachable,
            "weight_used": status.rest.weight_used,
            "weight_limit": status.rest.weight_limit,
            "ban_until": None if ban_until is None else format_time(ban_until),
        },
        "clock": {"behind_ms": status.clock_behind_ms},
    }  # fmt: skip


def ready(status: Status) -> tuple[int, dict[str, Any]]:
    """The HTTP status and the document of `/ready`: whether the store, every output and a stream are connected."""
    reasons = []
    if not status.store.connected:
        reasons.append("the store is not connected")
    reasons += [f"the output {one.name} is not connected" for one in status.outputs if not one.connected]
    if not _is_connected(status):
        reasons.append(f"no live connection is open{f': waits for {status.waiting_for}' if status.waiting_for else ''}")
    return (503 if reasons else 200), {"ready": not reasons, "reasons": reasons}


def live() -> tuple[int, dict[str, Any]]:
    """The HTTP status and the document of `/live`: that this process answers is all it says."""
    return 200, {"live": True}
