"""Requests and answers: parameters taken one by one, and the errors of who sent wrong ones (binance.md 3.5)."""

import json
from typing import NamedTuple

Params = tuple[tuple[str, str], ...]
_US = 10**15  # a time above this many is in microseconds


class Reply(NamedTuple):
    """An answer, sent after `delay_s`.

    `whole` False: the connection is reset in the middle of the body; status 0: no answer at all; `spread_s`: the body
    comes piece by piece within so many seconds.
    """

    status: int
    body: bytes
    headers: dict[str, str]
    delay_s: float = 0.0
    whole: bool = True
    spread_s: float = 0.0


class BadRequest(Exception):  # noqa: N818 - it is an answer, not a failure
    """An error answer with the exchange's code."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class Query:
    """The parameters of one request, taken one by one."""

    def __init__(self, params: Params) -> None:
        self._params = dict(params)
        self._taken: set[str] = set()
        if len(self._params) < len(params):
            raise BadRequest(-1101, "Duplicate values for a parameter detected.")

    def text(self, name: str) -> str | None:
        """A parameter, or None where it was not sent."""
        self._taken.add(name)
        return self._params.get(name)

    def need(self, name: str) -> str:
        """A parameter that must be there."""
        value = self.text(name)
        if not value:
            raise BadRequest(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
        return value

    def number(self, name: str) -> int | None:
        """A whole number."""
        value = self.text(name)
        if value is None:
            return None
        if not value.isascii() or not value.isdigit():
            raise BadRequest(
                -1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'."
            )
        return int(value)

    def time(self, name: str) -> int | None:
        """A time in microseconds, given in milli- or microseconds."""
        value = self.number(name)
        return None if value is None else value if value >= _US else value * 1000

    def none_left(self, *ignored: str) -> None:
        """Refuse parameters nobody asked for."""
        if set(self._params) - self._taken - set(ignored):
            raise BadRequest(-1104, "Not all sent parameters were read.")


def to_json(content: object) -> bytes:
    """A body as the exchange writes it: no spaces."""
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()


def page(status: int, text: str) -> Reply:
    """An HTML page, as whatever stands before the exchange sends it."""
    body = f"<!DOCTYPE html><html><head><title>{text}</title></head><body><h1>{text}</h1></body></html>"
    return Reply(status, body.encode(), {"content-type": "text/html"})
