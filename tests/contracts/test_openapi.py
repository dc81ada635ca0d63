"""The OpenAPI documents are those of the routes, and what is answered is what they say."""

import asyncio
import json
from typing import Any

import msgspec
import pytest
from aiohttp import web

from candlewick.config import Settings
from candlewick.services.status import OutputStatus, RepairResult
from candlewick.web import gap_handler, server
from candlewick.web.health import health, live, ready
from candlewick.web.openapi import feeder_document, gap_handler_document
from tests.contracts.openapi_rules import answer_faults, faults
from tests.unit.web.statuses import COMPLETE, NOW, good

DOCUMENTS = {"feeder": feeder_document(), "gap handler": gap_handler_document()}


class Nobody:
    """Stands where nothing is asked."""


def routes(service: str) -> set[str]:
    async def made() -> web.Application:
        module: Any = server if service == "feeder" else gap_handler
        app: web.Application = module.application(Nobody(), Settings())
        return app

    app = asyncio.run(made())
    found = {(one.method, one.resource.canonical) for one in app.router.routes() if one.resource is not None}
    return {f"{method} {path}" for method, path in found if method != "HEAD"}


@pytest.mark.parametrize("service", DOCUMENTS)
def test_document_has_every_route_and_no_other(service: str) -> None:
    """Paths and methods are those that the server answers."""
    named = {f"{method.upper()} {path}" for path, one in DOCUMENTS[service]["paths"].items() for method in one}
    assert named == routes(service)


@pytest.mark.parametrize("service", DOCUMENTS)
def test_document_refers_to_what_it_has(service: str) -> None:
    """It is JSON, every reference leads to a schema, and every schema is referred to."""
    text = json.dumps(DOCUMENTS[service])
    schemas = set(DOCUMENTS[service]["components"]["schemas"])
    referred = {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert referred == schemas
    assert DOCUMENTS[service]["openapi"].startswith("3.1")


@pytest.mark.parametrize("service", DOCUMENTS)
def test_whatever_changes_something_names_the_token(service: str) -> None:
    """Every POST states how to show CONTROL_TOKEN, and what a caller without it gets."""
    for one in DOCUMENTS[service]["paths"].values():
        if "post" in one:
            assert {"control": []} in one["post"]["security"]
            assert {"401", "403"} <= one["post"]["responses"].keys()


def test_answers_of_the_feeder_are_as_documented() -> None:
    """Health, readiness, liveness and repairs, of a run in good order, of one with everything, and of one that has nothing."""
    document = DOCUMENTS["feeder"]
    output = OutputStatus(name="postgresql", location="postgresql://db")
    for status in (good(), COMPLETE, good(outputs=(output,)), good(series=(), connections=())):
        for path, (code, body) in {"/health": health(status), "/ready": ready(status), "/live": live()}.items():
            shown = msgspec.json.decode(msgspec.json.encode(body))
            assert answer_faults(document, "GET", path, code, "application/json", shown) == []
    result = RepairResult(
        market="spot", symbol="BTCUSDT", interval="1m", start=NOW, end=NOW, expected=1, recovered=1, absent=0, missing=0
    )
    shown = msgspec.json.decode(msgspec.json.encode([result]))
    assert answer_faults(document, "POST", "/repair", 200, "application/json", shown) == []


def test_rules_find_what_is_wrong() -> None:
    """A missing member, one that is not documented, and one of another type are each told."""
    schema = gap_handler_document()["components"]["schemas"]["Error"]
    assert faults({"error": "x"}, schema, {}) == []
    assert len(faults({}, schema, {})) == len(faults({"error": 1}, schema, {})) == 1
    assert len(faults({"error": "x", "more": True}, schema, {})) == 1
