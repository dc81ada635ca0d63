"""Asks a run that is going on over its HTTP interface."""

import json
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

import msgspec

from candlewick.config import Settings
from candlewick.errors import CandlewickError, Unreachable, UsageError
from candlewick.services.status import RepairResult, Status

STATUS_S = 3.0
REPAIR_S = 3600.0
"""A repair answers when it is done."""


def run_url(settings: Settings) -> str:
    """Where a run with these settings answers."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.http_host, settings.http_host)  # noqa: S104 - compared only
    return f"http://[{host}]:{settings.feeder_port}" if ":" in host else f"http://{host}:{settings.feeder_port}"


def ask_status(url: str) -> Status | None:
    """What a run says of itself; None where nothing, or something else, answers."""
    try:
        _, body = _ask(Request(f"{url}/status"), STATUS_S)  # noqa: S310 - our own scheme
        return msgspec.json.decode(body, type=Status)
    except (Unreachable, msgspec.DecodeError):
        return None


def ask_repair(url: str, token: str, query: str) -> list[RepairResult]:
    """Have a run repair the series that `query` names.

    Raises:
        CandlewickError: it does not answer, or refuses; in its own words.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = Request(f"{url}/repair{query and '?' + query}", method="POST", headers=headers)  # noqa: S310 - as above
    code, body = _ask(request, REPAIR_S)
    if code == 200:
        return msgspec.json.decode(body, type=list[RepairResult])
    why = _reason(body)
    if code == 400:
        raise UsageError(why)
    raise CandlewickError(f"the run at {url} answered {code}: {why}")


def _reason(body: bytes) -> str:
    try:
        answer: Any = json.loads(body)
        return str(answer["error"])
    except (ValueError, KeyError, TypeError):
        return "it is not a run of candlewick"


def _ask(request: Request, timeout_s: float) -> tuple[int, bytes]:
    opener: OpenerDirector = build_opener(ProxyHandler({}))  # a run is near: no proxy leads to it
    try:
        with opener.open(request, timeout=timeout_s) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()
    except (URLError, OSError) as error:
        raise Unreachable(f"{request.host} does not answer: {getattr(error, 'reason', error)}") from error
