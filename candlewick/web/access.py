"""Who may change something: whoever knows CONTROL_TOKEN, or, where none is set, whoever sits at this machine. Pure."""

import hmac
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")


def refusal(token: str, remote: str | None, headers: Mapping[str, str]) -> tuple[int, str] | None:
    """None for a caller who may, else the HTTP status and why not. `headers` is read without regard to case."""
    if token:
        sign, _, given = headers.get("Authorization", "").partition(" ")
        if sign.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode()):
            return None
        return 401, "this call needs the header `Authorization: Bearer <CONTROL_TOKEN>`"
    if not _is_loopback(remote) or any(name in headers for name in _FORWARDED):
        return 403, "without CONTROL_TOKEN this call is taken from this machine only: set CONTROL_TOKEN and send it"
    # A page of any web site can make a browser on this machine call; its Origin, or the name it came by, gives it away.
    origin = headers.get("Origin")
    if (origin is not None and not _is_local(origin)) or not _is_local(f"//{headers.get('Host', '')}"):
        return 403, "without CONTROL_TOKEN this call is not taken from web pages: set CONTROL_TOKEN and send it"
    return None


def _is_loopback(remote: str | None) -> bool:
    try:
        address = ip_address(remote or "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _is_local(address: str) -> bool:
    try:
        host = urlsplit(address).hostname
    except ValueError:  # brackets that do not match
        return False
    return host == "localhost" or _is_loopback(host)
