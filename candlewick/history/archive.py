"""Asks an exchange's public archive: for checksums, files and listings, again where that can help."""

import re
from asyncio import Semaphore
from collections.abc import AsyncIterator, Callable, Mapping
from random import Random
from typing import TypeVar
from urllib.parse import quote

from candlewick.clock import Clock
from candlewick.errors import (
    DecodeError,
    ExchangeError,
    NotFound,
    RateLimited,
    Refused,
    ServerTrouble,
    Unreachable,
)
from candlewick.events import Event, RestTrouble
from candlewick.exchanges.exchange import Archive, ArchiveFile, ListedFile, ListingPage
from candlewick.transport import Answer, Http

T = TypeVar("T")

MAX_FILE_BYTES = 1 << 30
"""What the `Http` of an archive should take: the largest daily file has some 100 MB, a month of trades up to 1 GB."""
FIRST_RETRY_S = 0.5
MOST_RETRY_S = 15.0
PATIENCE_S = 150.0
"""The longest pause imposed by the archive that is waited for."""
_PAUSE_S = 5.0
"""Where a 429 does not say."""
_MOMENT_S = 0.001
"""Not worth waiting for, and longer than what is lost where times are rounded."""
_UNREADABLE_ATTEMPTS = 2
"""How often an answer is asked for that cannot be read: it may be a proxy's page once, not five times."""


class ArchiveClient:
    """The archive of one market over HTTP."""

    def __init__(
        self, archive: Archive, url: str, list_url: str, http: Http, clock: Clock,
        on_event: Callable[[Event], object], *, random: Random, in_flight: int = 8, timeout_s: float = 120.0,
        attempts: int = 5,
    ) -> None:  # fmt: skip
        """`timeout_s` is real time, of the first attempt; each further one may take twice as long."""
        self.archive = archive
        self.url, self.list_url = url.rstrip("/"), list_url.rstrip("/")
        self.requests = 0
        """Every attempt counts."""
        self.bytes = 0
        """Of the bodies received."""
        self.retries = 0
        self._http, self._clock, self._on_event, self._random = http, clock, on_event, random
        self._timeout_s, self._attempts = timeout_s, attempts
        self._places = Semaphore(in_flight)
        self._pause_until = 0.0
        """In the clock's monotonic seconds: before that nothing is asked."""

    async def checksum(self, file: ArchiveFile) -> str | None:
        """The SHA-256 that the archive states for `file`, or None where it states none (404).

        Raises:
            DecodeError: what is there instead cannot be read, or is another file's.
            ExchangeError: it cannot be had.
        """
        name = self.archive.checksum_name(file)
        try:
            return await self._ask(self._file_url(name), (), lambda body: self.archive.read_checksum(body, file))
        except NotFound:
            return None

    async def fetch(self, file: ArchiveFile) -> bytes | None:
        """The bytes of `file`, or None where the archive does not have it (404).

        Raises:
            ExchangeError: it cannot be had.
        """
        try:
            return await self._ask(self._file_url(file.name), (), lambda body: body)
        except NotFound:
            return None

    async def files(self, prefix: str) -> list[ListedFile]:
        """Every file whose name begins with `prefix`, not those in folders below it; CHECKSUM files too.

        Raises:
            ExchangeError: a page cannot be had, or is no listing.
        """
        return [file async for page in self._pages(prefix) for file in page.files]

    async def folders(self, prefix: str) -> list[str]:
        """Every folder whose full path begins with `prefix`, one level down; each ends in a slash.

        Raises:
            ExchangeError: a page cannot be had, or is no listing.
        """
        return [folder async for page in self._pages(prefix) for folder in page.folders]

    async def _pages(self, prefix: str) -> AsyncIterator[ListingPage]:
        marker = ""
        while True:
            params = self.archive.listing_params(prefix, marker)
            try:
                page = await self._ask(self.list_url, params, self.archive.read_listing)
            except DecodeError as error:
                raise ServerTrouble(f"{error}; is this the right address?") from error
            yield page
            if page.marker is None:
                return
            if page.marker <= marker:
                raise ServerTrouble(f"GET {self.list_url}: the listing of {prefix} does not go on after {marker}")
            marker = page.marker

    def _file_url(self, name: str) -> str:
        return f"{self.url}/{quote(name)}"  # symbols need not be ASCII

    async def _ask(self, url: str, params: tuple[tuple[str, str], ...], read: Callable[[bytes], T]) -> T:
        """What `read` makes of the answer; asked again where that helps."""
        what = f"GET {url}" + "".join(f" {name}={value}" for name, value in params if name in {"prefix", "marker"})
        failures = 0
        while True:
            try:
                async with self._places:
                    await self._pause()
                    return read(await self._attempt(url, params, self._timeout_s * 2.0**failures))
            except NotFound:
                raise
            except (ExchangeError, DecodeError) as error:
                failures += 1
                retry_s = self._retry_s(error, failures)
                self._on_event(RestTrouble(what, str(error), retry_s or 0.0))
                error.args = (f"{what}: {error}",)
                if retry_s is None:
                    raise
            self.retries += 1
            await self._clock.sleep(retry_s)

    async def _attempt(self, url: str, params: tuple[tuple[str, str], ...], timeout_s: float) -> bytes:
        self.requests += 1
        answer = await self._http.get(url, params, timeout_s)
        self.bytes += len(answer.body)
        if answer.status != 200:
            raise _meaning(answer)
        stated = answer.headers.get("content-length", "")
        if stated.isdecimal() and "content-encoding" not in answer.headers and int(stated) != len(answer.body):
            raise Unreachable(f"the answer was cut off: {len(answer.body)} of {stated} bytes came")
        return answer.body

    async def _pause(self) -> None:
        while (wait_s := self._pause_until - self._clock.monotonic()) > _MOMENT_S:  # it may be prolonged meanwhile
            await self._clock.sleep(wait_s)

    def _retry_s(self, error: ExchangeError | DecodeError, failures: int) -> float | None:
        """In how many seconds to ask again after so many failures, or None; the one place where that is decided."""
        most = _UNREADABLE_ATTEMPTS if isinstance(error, DecodeError) else self._attempts
        if isinstance(error, Refused) or failures >= most:
            return None
        backoff_s = min(MOST_RETRY_S, FIRST_RETRY_S * 2.0 ** (failures - 1)) * self._random.uniform(0.75, 1.25)
        if isinstance(error, RateLimited):
            if error.retry_after > PATIENCE_S:
                return None
            self._pause_until = max(self._pause_until, self._clock.monotonic() + error.retry_after)
            return max(error.retry_after, backoff_s)
        return backoff_s


def _meaning(answer: Answer) -> ExchangeError:
    """The error that an answer other than 200 stands for."""
    status, text = answer.status, _excerpt(answer.body)
    told = f"the archive answered {status}: {text}"
    if status == 404:
        return NotFound(f"{told}; there is no such file")
    if status == 429:
        return RateLimited(f"{told}; asked too much", _retry_after_s(answer.headers))
    # 403 with AccessDenied came for files that were there, in the outages of 2024-03 and 2025-11: it proves no absence.
    if status >= 500 or status < 400 or status in {403, 408}:
        return ServerTrouble(f"{told}; trouble on the archive's side")
    return Refused(f"{told}; asking again the same way will not help", status)


def _excerpt(body: bytes) -> str:
    text = re.sub(r"<[^>]*>", " ", body[:2000].decode("utf-8", "replace"))
    return " ".join(text.split())[:200] or "no text"


def _retry_after_s(headers: Mapping[str, str]) -> float:
    value = headers.get("retry-after", "").strip()
    return float(value) if re.fullmatch(r"[0-9]{1,7}", value) else _PAUSE_S
