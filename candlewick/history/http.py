"""HTTP over real sockets: `AiohttpHttp` implements `candlewick.transport.Http` with aiohttp."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from candlewick.errors import Unreachable
from candlewick.transport import Answer, failure_words

MAX_BODY_BYTES = 64 << 20
"""Unpacked. The largest answer asked for, a listing of every instrument, has about 20 MB."""
CONNECT_S = 10.0
STALL_S = 30.0
"""A body that has not ended may take as long as the caller allows, but not so long without a byte."""


class AiohttpHttp:
    """Does HTTP GET and POST; opens its session with the first request and keeps connections for the next ones."""

    def __init__(self, *, max_body_bytes: int = MAX_BODY_BYTES, user_agent: str = "candlewick") -> None:
        self._max_bytes = max_body_bytes
        self._user_agent = user_agent
        self._session: aiohttp.ClientSession | None = None

    async def get(self, url: str, params: tuple[tuple[str, str], ...], timeout_s: float) -> Answer:
        """Whatever the server answered; see `candlewick.transport.Http.get`."""
        return await self._ask("GET", url, timeout_s, params=params)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Answer:
        """Whatever the server answered to a JSON document, with any status; raises as `get` does."""
        return await self._ask(
            "POST", url, timeout_s, data=body, headers={"Content-Type": "application/json", **headers}
        )

    async def _ask(self, method: str, url: str, timeout_s: float, **content: Any) -> Answer:  # noqa: ANN401 - aiohttp's own
        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers={"User-Agent": self._user_agent, "Accept-Encoding": "gzip"},
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=True,  # proxies, as the environment names them
            )
        place = _place(url)
        timeout = aiohttp.ClientTimeout(
            total=timeout_s, sock_connect=min(CONNECT_S, timeout_s), sock_read=STALL_S if timeout_s > STALL_S else None
        )
        try:
            async with self._session.request(method, url, timeout=timeout, **content) as response:
                body = await self._read(response, place)
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status, headers, body)
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(_words(error, place, timeout_s)) from error

    async def _read(self, response: aiohttp.ClientResponse, place: str) -> bytes:
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_any():
            size += len(chunk)
            if size > self._max_bytes:
                raise Unreachable(
                    f"{place} answers more than {self._max_bytes} bytes: that is no answer to this request"
                )
            chunks.append(chunk)
        return b"".join(chunks)

    async def close(self) -> None:
        """Let go of open connections; another `get` opens new ones."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ConnectionTimeoutError, "no connection to {place} in time: check the network and the firewall"),
    (aiohttp.SocketTimeoutError, f"{{place}} sent nothing for {STALL_S:g} s"),
    (TimeoutError, "no whole answer from {place} within {timeout_s:g} s"),
    (aiohttp.ServerDisconnectedError, "{place} ended the connection without an answer"),
    (aiohttp.ClientPayloadError, "the answer of {place} was cut off or mangled ({error})"),
    (aiohttp.InvalidURL, "{error} is no URL that can be asked"),
    (aiohttp.ClientError, "{place} does not speak HTTP as expected ({error})"),
)
"""aiohttp's errors are several things at once: the first that fits counts."""


def _words(error: aiohttp.ClientError | OSError, place: str, timeout_s: float) -> str:
    """What failed, in words."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"the certificate of {place} is not trusted: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return failure_words(error.os_error, f"{error.host}:{error.port}")  # which may be a proxy
    if isinstance(error, OSError) and not isinstance(error, TimeoutError | aiohttp.ServerDisconnectedError):
        return failure_words(error, place)
    template = next(words for kind, words in _WORDS if isinstance(error, kind))
    return template.format(place=place, timeout_s=timeout_s, error=error)
