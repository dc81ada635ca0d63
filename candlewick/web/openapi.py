"""The OpenAPI documents of the two services: kept by hand as data, and held against routes and live answers by tests."""

from typing import Any

from candlewick import __version__

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
TIME: Schema = {"type": "string", "format": "date-time"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}


def gap_handler_document() -> Schema:
    """The document of the gap handler."""
    return _document(
        "Candlewick gap handler",
        "Finds and repairs what the shared database lacks.",
        _GAP_HANDLER_PATHS,
        _GAP_HANDLER_SCHEMAS,
    )


def feeder_document() -> Schema:
    """The document of a feeder, which is that of `candlewick run` too."""
    return _document("Candlewick feeder", "Takes in candles and keeps them whole.", _FEEDER_PATHS, _FEEDER_SCHEMAS)


def _document(title: str, description: str, paths: Schema, schemas: Schema) -> Schema:
    token = {"type": "http", "scheme": "bearer", "description": "CONTROL_TOKEN; where none is set, loopback may call."}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title, "description": description, "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": schemas | {"Error": _ERROR}, "securitySchemes": {"control": token}},
    }  # fmt: skip


def _object(required: dict[str, Schema], optional: dict[str, Schema] | None = None, description: str = "") -> Schema:
    found: Schema = {
        "type": "object", "properties": required | (optional or {}), "required": sorted(required),
        "additionalProperties": False,
    }  # fmt: skip
    return found | ({"description": description} if description else {})


def _or_null(schema: Schema) -> Schema:
    if "type" in schema:
        return schema | {"type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def _about(schema: Schema, description: str) -> Schema:
    return schema | {"description": description}


def _word(*words: str) -> Schema:
    return {"type": "string", "enum": list(words)}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _named(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _text(description: str) -> Schema:
    return {"description": description, "content": {"text/plain": {"schema": TEXT}}}


_FAILS = {
    400: _json("The request is not right; `error` says what would be.", _named("Error")),
    401: _json("CONTROL_TOKEN is set and was not sent.", _named("Error")),
    403: _json("CONTROL_TOKEN is not set and the call is not from this machine.", _named("Error")),
    408: _json("The request did not arrive in time.", _named("Error")),
    409: _json("It runs already.", _named("Error")),
    413: _json("The body is too large.", _named("Error")),
    503: _json("What it takes is not there now; `error` says what.", _named("Error")),
}


def _get(summary: str, answers: dict[int, Schema]) -> Schema:
    return {"get": {"summary": summary, "responses": {str(code): one for code, one in sorted(answers.items())}}}


def _post(summary: str, answers: dict[int, Schema], fails: tuple[int, ...], body: Schema | None = None) -> Schema:
    all_answers = answers | {code: _FAILS[code] for code in (401, 403, *fails)}
    operation: Schema = {
        "summary": summary,
        "security": [{"control": []}, {}],
        "responses": {str(code): one for code, one in sorted(all_answers.items())},
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return {"post": operation}


_ERROR = _object({"error": TEXT})
_OPENAPI = _get("This document.", {200: _json("OpenAPI 3.1.", {"type": "object"})})
_METRICS = _get("Prometheus metrics.", {200: _text("Text format 0.0.4.")})
_STATE = _word("healthy", "degraded", "unhealthy")

_BACKFILL = _object(
    {
        "status": _about(_word("backfilled", "partial", "rejected", "error"), "backfilled: every candle is held or has a reason."),
        "gap_start": TIME,
        "gap_end": _about(TIME, "Exclusive."),
        "candles_expected": _about(WHOLE, "Candles that were missing when it began."),
        "candles_fetched": _about(WHOLE, "Candles that the exchange gave of the range."),
        "candles_inserted": _about(WHOLE, "Candles that were missing and are held now."),
        "candles_skipped": _about(WHOLE, "Candles that were fetched and held already, or could not be kept."),
        "candles_recovered": _about(WHOLE, "The same as candles_inserted."),
        "candles_absent": _about(WHOLE, "Candles that the exchange itself was found not to have."),
        "duration_seconds": NUMBER,
        "market": TEXT,
        "symbol": TEXT,
        "interval": TEXT,
    },
    {"error": TEXT},
)  # fmt: skip

_MOMENT = {"oneOf": [TIME, _about(WHOLE, "Epoch milliseconds.")]}
_BACKFILL_REQUEST = _object(
    {"gap_start": _about(_MOMENT, "The first missing open time."), "gap_end": _about(_MOMENT, "Exclusive; at most 7 days later.")},
    {
        "candles_missing": _about({"type": ["integer", "null"], "minimum": 0}, "Taken for compatibility: what is missing is found out."),
        "detected_at": {"oneOf": [TIME, WHOLE, {"type": "null"}]},
        "market": _about(_or_null(TEXT), "MARKET where it is left out."),
        "symbol": _about(_or_null(TEXT), "The first of SYMBOLS where it is left out."),
        "interval": _about(_or_null(TEXT), "The first of INTERVALS where it is left out."),
    },
)  # fmt: skip

_GAP_HANDLER_SCHEMAS: Schema = {
    "BackfillRequest": _BACKFILL_REQUEST,
    "Backfill": _BACKFILL,
    "Unresolved": _object({
        "status": _word("completed"), "gaps_processed": WHOLE, "gaps_successful": WHOLE, "gaps_failed": WHOLE,
        "gaps_remaining": _about(WHOLE, "Not reached within BACKFILL_TIMEOUT_SECONDS."), "candles_recovered": WHOLE,
        "details": _list(_named("Backfill")),
    }),
    "Historical": _object({
        "is_running": FLAG, "started_at": _or_null(TIME), "finished_at": _or_null(TIME),
        "target_start_time": _or_null(TIME), "target_end_time": _or_null(TIME),
        "current_progress": _about(_or_null(TIME), "Where the chunk begins that is worked at."), "chunks_total": WHOLE,
        "chunks_completed": _about(WHOLE, "Chunks that are verified complete."), "candles_recovered": WHOLE,
        "last_error": _or_null(TEXT),
    }),
    "Health": _object({
        "status": _STATE, "reasons": _list(TEXT), "timestamp": TIME, "uptime_seconds": WHOLE,
        "backfills_completed": WHOLE, "candles_recovered": WHOLE,
        "database_status": _word("connected", "disconnected"), "database_connected": FLAG,
        "binance_api_status": _word("online", "offline", "unknown"), "errors_24h": WHOLE, "error_count": WHOLE,
        "pending_backfills": WHOLE, "active_backfills": WHOLE,
        "details": _object({
            "unresolved_gaps": _or_null(WHOLE), "candles_missing": _or_null(WHOLE), "backfills_last_24h": _or_null(WHOLE),
            "candles_recovered_last_24h": _or_null(WHOLE), "gap_check_last": _or_null(TIME),
            "rate_limiter": _object({
                "consecutive_failures": WHOLE, "tokens_available": NUMBER, "in_backoff": FLAG, "weight_used": WHOLE,
                "weight_limit": WHOLE,
            }),
        }),
        "memory_mb": NUMBER, "database": _object({"location": TEXT, "error": _or_null(TEXT)}), "version": TEXT,
        "environment": TEXT, "market": TEXT,
    }),
}  # fmt: skip

_GAP_HANDLER_PATHS: Schema = {
    "/health": _get("How well it is; asks nobody.", {
        200: _json("healthy or degraded.", _named("Health")), 503: _json("unhealthy.", _named("Health")),
    }),
    "/ready": _get("Whether the database answers within 5 seconds.", {200: _text("OK"), 503: _FAILS[503]}),
    "/live": _get("Whether the process answers.", {200: _text("OK")}),
    "/metrics": _METRICS,
    "/openapi.json": _OPENAPI,
    "/backfill": _post("Repair a gap now.", {
        200: _json("backfilled or partial.", _named("Backfill")),
        429: _json("rejected: too many are under way.", _named("Backfill")),
        500: _json("error: it failed before anything came.", _named("Backfill")),
    }, (400, 408, 413, 503), _named("BackfillRequest")),
    "/backfill/unresolved": _post(
        "Repair every gap that the log has open, oldest first.", {200: _json("What was done.", _named("Unresolved"))}, (408, 413, 503)
    ),
    "/backfill/historical/status": _get(
        "How far the historical backfill is.", {200: _json("The same for every gap handler.", _named("Historical")), 503: _FAILS[503]}
    ),
    "/backfill/historical/start": _post(
        "Start the historical backfill.", {202: _json("It runs.", _object({"status": _word("started")}))}, (408, 409, 413, 503)
    ),
    "/shutdown": _post(
        "Stop in good order.", {200: _json("It stops a moment later.", _object({"status": _word("shutting_down")}))}, (408, 413)
    ),
}  # fmt: skip

_FEEDER_HEALTH = _object({
    "status": _STATE, "reasons": _list(TEXT), "timestamp": TIME, "uptime_seconds": WHOLE, "candles_processed": WHOLE,
    "candles_written": WHOLE, "candles_in_db": WHOLE, "database_connected": FLAG,
    "database_status": _word("connected", "disconnected"), "websocket_connected": FLAG,
    "last_candle_time": _or_null(TIME), "features_warmed_up": FLAG, "buffer_size": WHOLE, "error_count": WHOLE,
    "errors_24h": WHOLE, "memory_mb": NUMBER, "pending_backfills": WHOLE,
    "details": _object({
        "buffer_size": WHOLE, "db_pool_size": WHOLE, "features_warmed_up": FLAG, "gap_check_last": _or_null(TIME),
    }),
    "version": TEXT, "environment": TEXT, "exchange": TEXT, "market": TEXT, "series": WHOLE,
    "gaps": _object({"candles_missing": WHOLE, "series": WHOLE}),
    "connections": _list(_object({"name": TEXT, "host": TEXT, "streams": WHOLE, "connected": FLAG, "reason": TEXT})),
    "silent_streams": _list(_object({"stream": TEXT, "since": TIME, "reason": TEXT})),
    "store": _object({"location": TEXT, "connected": FLAG, "error": _or_null(TEXT)}),
    "outputs": _list(_object({
        "name": TEXT, "location": TEXT, "connected": FLAG, "error": _or_null(TEXT), "behind_rows": WHOLE,
        "lag_seconds": NUMBER, "written": WHOLE, "refused": WHOLE, "retries": WHOLE, "pool_size": WHOLE, "snapshot": FLAG,
    })),
    "rest": _object({
        "reachable": _or_null(FLAG), "weight_used": _or_null(WHOLE), "weight_limit": _or_null(WHOLE),
        "ban_until": _or_null(TIME),
    }),
    "clock": _object({"behind_ms": NUMBER}),
})  # fmt: skip

_FEEDER_SCHEMAS: Schema = {
    "Health": _FEEDER_HEALTH,
    "Ready": _object({"ready": FLAG, "reasons": _list(TEXT)}),
    "Live": _object({"live": FLAG}),
    "Repair": _object({
        "market": TEXT, "symbol": TEXT, "interval": TEXT, "from": _about(WHOLE, "Epoch milliseconds."),
        "to": _about(WHOLE, "Exclusive."), "expected": WHOLE, "recovered": WHOLE,
        "absent": _about(WHOLE, "Candles that the exchange itself does not have."), "missing": WHOLE,
        "error": _or_null(TEXT),
    }),
}  # fmt: skip


def _query(name: str, description: str) -> Schema:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": TEXT}


_REPAIR = _post(
    "Find and mend every gap now.",
    {200: _json("What came of each series.", _list(_named("Repair")))},
    (400, 408, 413, 503),
)
_REPAIR["post"]["parameters"] = [_query("symbol", "Of this symbol only."), _query("interval", "Of this interval only.")]

_FEEDER_PATHS: Schema = {
    "/": _get("A page for people.", {200: {"description": "HTML.", "content": {"text/html": {"schema": TEXT}}}}),
    "/health": _get("How well it is.", {
        200: _json("healthy or degraded.", _named("Health")), 503: _json("unhealthy.", _named("Health")),
    }),
    "/ready": _get("Whether store, outputs and streams are connected.", {
        200: _json("They are.", _named("Ready")), 503: _json("They are not.", _named("Ready")),
    }),
    "/live": _get("Whether the process answers.", {200: _json("It does.", _named("Live"))}),
    "/metrics": _METRICS,
    "/openapi.json": _OPENAPI,
    "/status": _get("Everything the run knows of itself.", {200: _json("See docs/health.md.", {"type": "object"})}),
    "/repair": _REPAIR,
}  # fmt: skip
