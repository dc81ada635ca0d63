"""Health: every documented field, and every rule by which a run is healthy, degraded or unhealthy."""

from typing import Any

import msgspec
import pytest

from candlewick.market import SECOND
from candlewick.services.status import Counters, RestStatus, Status, StoreStatus
from candlewick.web.health import State, health, judge, live, ready
from tests.unit.web.statuses import DATABASE, DOWN, NOW, SILENT, good, series

# Field and type, from the documented table of the feeder's /health.
DOCUMENTED: dict[str, Any] = {
    "status": str,
    "uptime_seconds": int,
    "candles_processed": int,
    "candles_written": int,
    "candles_in_db": int,
    "database_connected": bool,
    "database_status": str,
    "websocket_connected": bool,
    "last_candle_time": str,
    "features_warmed_up": bool,
    "buffer_size": int,
    "error_count": int,
    "errors_24h": int,
    "memory_mb": float,
    "pending_backfills": int,
    "timestamp": str,
    "details": dict,
}


def _with(**changes: object) -> Status:
    """A good run that feeds a database, of which something is different."""
    return good(outputs=(msgspec.structs.replace(DATABASE, **changes),))


STARTING = {"started_at": NOW - 20 * SECOND, "counters": Counters(), "waiting_for": "the exchange's first answer"}


def test_health_has_every_documented_field() -> None:
    """Both spellings of the table are there, with its types, and agree with each other."""
    code, document = health(good())
    assert code == 200
    assert {name: type(document[name]) for name in DOCUMENTED} == DOCUMENTED
    assert document["status"] == "healthy"
    assert document["reasons"] == []
    assert document["uptime_seconds"] == 600
    assert document["candles_written"] == document["candles_in_db"] == 18
    assert document["error_count"] == document["errors_24h"] == 3
    assert (document["database_connected"], document["database_status"]) == (True, "connected")
    assert document["last_candle_time"] == "2024-03-01T12:00:00Z"
    assert document["timestamp"] == "2024-03-01T12:00:30Z"
    assert document["details"] == {
        "buffer_size": 4,
        "db_pool_size": 1,
        "features_warmed_up": False,
        "gap_check_last": "2024-03-01T11:59:30Z",
    }


def test_health_speaks_of_the_shared_database_where_one_is_fed() -> None:
    """Connected, written, buffered and the pool are those of the database, and the outputs are listed."""
    code, document = health(good(outputs=(DATABASE,)))
    assert (code, document["status"]) == (200, "healthy")
    assert {name: type(document[name]) for name in DOCUMENTED} == DOCUMENTED
    assert document["candles_written"] == document["candles_in_db"] == 150
    assert (document["database_connected"], document["database_status"]) == (True, "connected")
    assert document["buffer_size"] == document["details"]["buffer_size"] == 4 + 3
    assert document["details"]["db_pool_size"] == 2
    assert document["outputs"] == [
        {
            "name": "postgresql", "location": "postgresql://mltrader@db:5432/candles", "connected": True, "error": None,
            "behind_rows": 3, "lag_seconds": 0.25, "written": 150, "refused": 0, "retries": 2, "pool_size": 2,
            "snapshot": False,
        }
    ]  # fmt: skip


def test_database_that_is_down_does_not_make_a_run_unhealthy() -> None:
    """The local record takes everything: a run without its database is degraded and not ready, and says why."""
    down = msgspec.structs.replace(DATABASE, connected=False, error="connection refused", behind_rows=12, lag_s=300.0)
    status = good(outputs=(down,))
    code, document = health(status)
    assert (code, document["status"]) == (200, "degraded")
    assert document["reasons"] == [
        "the output postgresql is not connected: connection refused; 12 rows wait for it in the store"
    ]
    assert (document["database_connected"], document["database_status"]) == (False, "disconnected")
    assert ready(status) == (503, {"ready": False, "reasons": ["the output postgresql is not connected"]})


def test_health_shows_what_is_wrong_in_detail() -> None:
    """Connections, silent streams, gaps, REST, store and clock are told apart, without the store's password."""
    _, document = health(
        good(
            connections=(*good().connections, DOWN),
            silent_streams=(SILENT,),
            series=(series(missing=3), series("ETHUSDT", missing=2)),
        )
    )
    assert document["gaps"] == {"candles_missing": 5, "series": 2}
    assert [one["connected"] for one in document["connections"]] == [True, False]
    assert document["silent_streams"] == [
        {"stream": "ethusdt@trade", "since": "2024-03-01T11:59:30Z", "reason": "REST shows 12 trades"}
    ]
    assert document["store"]["location"] == "postgresql://u:***@h/d"
    assert document["rest"]["weight_used"] == 30
    assert document["clock"] == {"behind_ms": -12.5}
    assert b"hidden" not in msgspec.json.encode(document)


@pytest.mark.parametrize(
    ("status", "state", "words"),
    [
        (good(), State.HEALTHY, ""),
        (good(connections=(*good().connections, DOWN)), State.DEGRADED, "connection spot-2 is down: refused"),
        (good(silent_streams=(SILENT,)), State.DEGRADED, "ethusdt@trade is silent: REST shows 12 trades"),
        (good(series=(series(missing=1),)), State.DEGRADED, "spot:BTCUSDT:1m: 1 candle is missing"),
        (
            good(series=(series(), series("ETHUSDT", missing=2))),
            State.DEGRADED,
            "spot:ETHUSDT:1m: 2 candles are missing",
        ),
        (good(series=(series(stale=True),)), State.DEGRADED, "spot:BTCUSDT:1m: a candle is overdue"),
        (good(errors_24h=10), State.HEALTHY, ""),
        (good(errors_24h=11), State.DEGRADED, "11 errors in 24 hours"),
        (good(memory_mb=270.0), State.HEALTHY, ""),
        (good(memory_mb=271.0), State.DEGRADED, "271 MB of memory"),
        (good(rest=RestStatus(reachable=False)), State.DEGRADED, "REST does not answer"),
        (good(rest=RestStatus(ban_until=NOW + 1)), State.DEGRADED, "REST may not be asked before"),
        (good(rest=RestStatus(ban_until=NOW)), State.HEALTHY, ""),
        (
            good(store=StoreStatus(error="no space left")),
            State.UNHEALTHY,
            "the store does not take candles: no space left",
        ),
        (good(buffer_size=9, buffer_age_s=30.0), State.HEALTHY, ""),
        (good(buffer_size=9, buffer_age_s=31.0), State.UNHEALTHY, "9 candles wait for the store, the oldest for 31 s"),
        (good(connections=(DOWN,)), State.UNHEALTHY, "no live connection is open: refused"),
        (good(connections=()), State.UNHEALTHY, "no live connection is open"),
        (good(series=()), State.UNHEALTHY, "no candle has been seen"),
        (good(series=(series(age_s=None),)), State.UNHEALTHY, "no candle has been seen"),
        (_with(lag_s=60.0), State.HEALTHY, ""),
        (_with(lag_s=61.0), State.DEGRADED, "the output postgresql is 3 rows and 61 s behind the store"),
        (_with(refused=3, set_aside=1), State.DEGRADED, "the output postgresql refused 1 row, set aside in the store"),
        (_with(refused=3), State.HEALTHY, ""),
        (_with(error="permission denied"), State.DEGRADED, "the output postgresql complains: permission denied"),
        (_with(connected=False), State.DEGRADED, "is not connected: it has not answered yet"),
        # Ages of 1m candles, from their close: up to 60 s is in order, 120 s late, 180 s dead.
        (good(series=(series(age_s=120),)), State.HEALTHY, ""),
        (good(series=(series(age_s=121),)), State.DEGRADED, "a candle is overdue"),
        (good(series=(series(age_s=180),)), State.DEGRADED, "a candle is overdue"),
        (good(series=(series(age_s=181),)), State.UNHEALTHY, "closed 181 s ago, at 2024-03-01T11:57:29Z"),
        (good(series=(series(age_s=181), series("ETHUSDT"))), State.DEGRADED, "spot:BTCUSDT:1m: a candle is overdue"),
        # Hourly candles are judged by the hour.
        (good(series=(series(interval="1h", age_s=3600),)), State.HEALTHY, ""),
        (good(series=(series(interval="1h", age_s=3661),)), State.DEGRADED, "overdue"),
        (good(series=(series(interval="1h", age_s=3721),)), State.UNHEALTHY, "closed 3721 s ago"),
        # A fresh hourly candle does not hide that minutes are dead.
        (good(series=(series(age_s=300), series(interval="1h", age_s=1))), State.UNHEALTHY, "closed 300 s ago"),
        # The start: nothing can have been seen yet, but a store that fails has failed.
        (
            good(connections=(), series=(), **STARTING),
            State.DEGRADED,
            "starting: waits for the exchange's first answer",
        ),
        (good(series=(series(age_s=None),), **STARTING), State.DEGRADED, "starting"),
        (
            good(series=(series(age_s=None),), **(STARTING | {"started_at": NOW - 180 * SECOND})),
            State.UNHEALTHY,
            "no candle has been seen",
        ),
        (
            good(series=(series(interval="1h", age_s=None),), **(STARTING | {"started_at": NOW - 3000 * SECOND})),
            State.DEGRADED,
            "starting",
        ),
        (good(store=StoreStatus(), connections=(), **STARTING), State.UNHEALTHY, "the store does not take candles"),
    ],
)
def test_state_follows_the_rules(status: Status, state: State, words: str) -> None:
    """Each rule gives its state with a reason in words, and unhealthy alone is 503."""
    judgement = judge(status)
    assert judgement.state is state
    assert words in " | ".join(judgement.reasons)
    assert (judgement.state is State.HEALTHY) == (not judgement.reasons)
    assert health(status)[0] == (503 if state is State.UNHEALTHY else 200)


def test_many_series_are_one_reason() -> None:
    """A hundred late series are one sentence that names three of them."""
    status = good(series=tuple(series(f"S{n}USDT", age_s=150) for n in range(100)))
    assert judge(status).reasons == ("spot:S0USDT:1m, spot:S1USDT:1m, spot:S2USDT:1m and 97 more: a candle is overdue",)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (good(), 200, []),
        (good(connections=(*good().connections, DOWN)), 200, []),
        (good(connections=(DOWN,)), 503, ["no live connection is open"]),
        (good(store=StoreStatus()), 503, ["the store is not connected"]),
        (good(connections=(), waiting_for="an answer"), 503, ["no live connection is open: waits for an answer"]),
    ],
)
def test_ready_means_store_and_stream(status: Status, code: int, words: list[str]) -> None:
    """Ready is a store and at least one open connection."""
    assert ready(status) == (code, {"ready": code == 200, "reasons": words})


def test_live_is_always_fine() -> None:
    """That the process answers is the whole proof."""
    assert live() == (200, {"live": True})
