"""What Binance's answers with a status of 400 and above mean, and how long to leave it alone."""

import re
from collections.abc import Mapping

import msgspec
from msgspec.json import Decoder

from candlewick.errors import Banned, ExchangeError, NotFound, RateLimited, Refused, ServerTrouble
from candlewick.exchanges.binance import wire
from candlewick.market import MINUTE, SECOND, format_time

_TOO_MANY_REQUESTS = -1003

_TEMPORARY = frozenset({-1000, -1001, -1004, -1006, -1007, -1008, -1016})
"""Codes of failures on the exchange's side (errors.md, 10xx): the same request may succeed later."""

_RETRY_AFTER_S = 60
"""Where a 429 does not say: its window is the clock minute."""

_BAN_S = 120
"""Where a 418 does not say: the shortest ban there is (rest-api.md, "IP Limits": 2 minutes to 3 days)."""

_FIREWALL = 5 * MINUTE
"""How long a 403 keeps us away. The firewall states no time; its rate rules look at minutes, and each retry counts."""

_LOCATION = 5 * MINUTE
"""How long a 451 keeps us away: the law does not change, but a route or a proxy does, and asking rarely costs little."""

_TROUBLE = {404: (NotFound, "nothing is served there, is this the right address?")}

_BANNED_UNTIL = re.compile(r"banned until (\d{13})\b")

_error = Decoder(wire.RestError).decode


def meaning(status: int, headers: Mapping[str, str], body: bytes, now: int) -> ExchangeError:
    """The error that an answer with `status` stands for; `now` in microseconds UTC."""
    told = _read(body)
    text = told.msg if told else _excerpt(body)
    code = told.code if told else None
    answer = f"Binance answered {status}" + (f" ({code}): " if code is not None else ": ") + text
    until = _banned_until(text)
    if status == 418 or until > now:
        until = max(until, now + _retry_after(headers, _BAN_S) * SECOND)
        return Banned(f"{answer}; this address is banned, nothing may be asked before {format_time(until)}", until)
    if status == 451:
        return Banned(f"{answer}; Binance does not serve this location: use another exchange or host", now + _LOCATION)
    if status == 403:
        until = now + _FIREWALL
        return Banned(f"{answer}; the firewall refused us, nothing is asked before {format_time(until)}", until)
    if status == 429 or code == _TOO_MANY_REQUESTS:
        wait_s = _retry_after(headers, _RETRY_AFTER_S)
        return RateLimited(f"{answer}; asked too much, waiting {wait_s} s", wait_s)
    if status >= 500 or status == 408 or code is None or code in _TEMPORARY:
        kind, why = _TROUBLE.get(status, (ServerTrouble, "trouble on the exchange's side, trying again later"))
        return kind(f"{answer}; {why}")
    return Refused(f"{answer}; asking again the same way will not help", code)


def _read(body: bytes) -> wire.RestError | None:
    try:
        return _error(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # HTML of a proxy or a firewall, or nothing at all: the status speaks alone


def _excerpt(body: bytes) -> str:
    text = re.sub(r"<[^>]*>", " ", body[:2000].decode("utf-8", "replace"))
    return " ".join(text.split())[:200] or "no text"


def _banned_until(text: str) -> int:
    match = _BANNED_UNTIL.search(text)
    return int(match[1]) * 1000 if match else 0


def _retry_after(headers: Mapping[str, str], default: int) -> int:
    value = headers.get("retry-after", "").strip()
    return int(value) if re.fullmatch(r"[0-9]{1,7}", value) else default
