"""What failed answers mean, and how long they keep us away."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from candlewick.errors import Banned, RateLimited, Refused, ServerTrouble
from candlewick.exchanges.exchange import Venue
from candlewick.market import MINUTE, SECOND

NOW = 1660090400_000_000
TOO_MUCH = b'{"code":-1003,"msg":"Too much request weight used; current limit is 6000 request weight per 1 MINUTE."}'
BANNED = (
    b'{"code":-1003,"msg":"Way too much request weight used; IP banned until 1660090723228. Please use WebSocket."}'
)
LOCATION = b'{"code":0,"msg":"Service unavailable from a restricted location according to \'b. Eligibility\'."}'
HTML = (
    b"<html><head><title>ERROR: The request could not be satisfied</title></head><body>Request blocked.</body></html>"
)


@pytest.mark.parametrize(("headers", "wait_s"), [({"retry-after": "17"}, 17), ({}, 60), ({"retry-after": "soon"}, 60)])
def test_429_waits_as_asked_or_a_minute(spot: Venue, headers: dict[str, str], wait_s: int) -> None:
    """The weight counts by the minute, so a minute is enough where nothing is said."""
    error = spot.error(429, headers, TOO_MUCH, NOW)
    assert isinstance(error, RateLimited)
    assert error.retry_after == wait_s
    assert "Too much request weight" in str(error)
    assert isinstance(spot.error(429, headers, HTML, NOW), RateLimited)


@pytest.mark.parametrize(
    ("headers", "body", "until"),
    [
        ({"retry-after": "200"}, b"{}", NOW + 200 * SECOND),
        ({}, b"", NOW + 120 * SECOND),
        ({}, BANNED, 1660090723_228_000),
        ({"retry-after": "999"}, BANNED, NOW + 999 * SECOND),
    ],
)
def test_418_bans_until_the_later_of_what_is_said(
    spot: Venue, headers: dict[str, str], body: bytes, until: int
) -> None:
    """Header and text may both name a time; without either the shortest ban there is is assumed."""
    error = spot.error(418, headers, body, NOW)
    assert isinstance(error, Banned)
    assert error.until == until


def test_ban_announced_with_another_status_is_a_ban(spot: Venue) -> None:
    """The text decides where the status is milder."""
    error = spot.error(429, {}, BANNED, NOW)
    assert isinstance(error, Banned)
    assert error.until >= 1660090723_228_000


def test_minus_1003_is_a_rate_limit_whatever_the_status(spot: Venue) -> None:
    """The exchange's code for asking too much counts more than the status it came with."""
    assert isinstance(spot.error(400, {}, TOO_MUCH, NOW), RateLimited)


def test_403_of_the_firewall_keeps_away_for_minutes(spot: Venue) -> None:
    """Its HTML is quoted without the tags."""
    error = spot.error(403, {}, HTML, NOW)
    assert isinstance(error, Banned)
    assert error.until == NOW + 5 * MINUTE
    assert "Request blocked." in str(error)
    assert "<" not in str(error)


def test_451_keeps_away_for_minutes_and_says_why(spot: Venue) -> None:
    """The law of the place does not change, a route or a proxy may; the code of this refusal is 0."""
    error = spot.error(451, {}, LOCATION, NOW)
    assert isinstance(error, Banned)
    assert error.until == NOW + 5 * MINUTE
    assert "restricted location" in str(error)


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, b""), (502, HTML), (503, b'{"code":-1008,"msg":"Server is currently overloaded"}'), (504, b"{}"),
     (408, b'{"code":-1121,"msg":"no"}'), (500, b'{"code":-1121,"msg":"no"}'), (404, HTML), (400, b"not json"), (400, b'{"code":-1007,"msg":"Timeout"}')],
)  # fmt: skip
def test_trouble_of_the_server_is_told_from_ours(spot: Venue, status: int, body: bytes) -> None:
    """Failures of the exchange, and answers that are not what it documents, are to be tried again."""
    assert isinstance(spot.error(status, {}, body, NOW), ServerTrouble)


def test_refusal_carries_code_and_words(spot: Venue) -> None:
    """A request that is wrong stays wrong."""
    error = spot.error(400, {}, b'{"code":-1121,"msg":"Invalid symbol."}', NOW)
    assert isinstance(error, Refused)
    assert error.code == -1121
    assert "Invalid symbol." in str(error)


@pytest.mark.data
def test_recorded_error_bodies_are_refusals(routes: dict[str, Any], usdm: Venue) -> None:
    """The recorded error bodies carry codes of requests that were wrong."""

    def bodies() -> Iterator[dict[str, Any]]:
        for methods in routes.values():
            for answers in methods.values():
                yield from (one["data"] for one in answers if isinstance(one["data"], dict) and "code" in one["data"])

    found = list(bodies())
    assert {body["code"] for body in found} == {-2014, -4088, -1121}
    for body in found:
        error = usdm.error(400, {}, json.dumps(body).encode(), NOW)
        assert isinstance(error, Refused)
        assert error.code == body["code"]
