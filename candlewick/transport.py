"""The network as the stages see it: dial a WebSocket, do an HTTP GET.

`live/connection.py` and `history/http.py` implement these with real sockets; `simulator/inprocess.py` does so in
memory, so that hours of market time run in a second.
"""

import errno
import os
import re
import socket
import ssl
from collections.abc import Mapping
from typing import NamedTuple, Protocol


class Link(Protocol):
    """An open WebSocket. Every method is immediate; failures arrive as `Listener.closed`."""

    def send(self, text: bytes) -> None:
        """Send one text message."""

    def ping(self) -> None:
        """Send a ping; the answer arrives as `Listener.heard`."""

    def close(self, code: int, reason: str) -> None:
        """Say goodbye, then end it within seconds whatever the other side does."""

    def abort(self) -> None:
        """Drop it at once, without a word: for a peer that is not there any more."""

    def pause(self) -> None:
        """Read nothing more until `resume`: what the other side sends stays in the socket."""

    def resume(self) -> None:
        """Read on."""


class Listener(Protocol):
    """Who hears what happens on a link."""

    def frame(self, payload: bytes) -> None:
        """One whole text message."""

    def heard(self) -> None:
        """A ping or a pong: the other side is alive though it has nothing to say."""

    def closed(self, reason: str) -> None:
        """It is over, whoever ended it; called exactly once, and nothing is called after it."""


class Dialer(Protocol):
    """Opens links."""

    async def dial(self, url: str, listener: Listener) -> Link:
        """Connect and upgrade; pings of the other side are answered without asking.

        Raises:
            Unreachable: refused, reset, timed out, name not found, or no WebSocket server; says which and where.
            Banned: the server answered 403, 418 or 451.
            RateLimited: it answered 429.
        """


class Answer(NamedTuple):
    """An HTTP answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Http(Protocol):
    """Does HTTP GET."""

    async def get(self, url: str, params: tuple[tuple[str, str], ...], timeout_s: float) -> Answer:
        """Whatever the server answered, with any status.

        Raises:
            Unreachable: no connection, or no whole answer within `timeout_s`; says which and where.
        """

    async def close(self) -> None:
        """Let go of open connections."""


_WORDS = {
    errno.ECONNREFUSED: "connection refused: nothing listens at {place}",
    errno.ECONNRESET: "connection reset by {place}",
    errno.EPIPE: "connection reset by {place}",
    errno.ECONNABORTED: "connection to {place} aborted",
    errno.ETIMEDOUT: "{place} does not answer: check the network and the firewall",
    errno.ENETUNREACH: "no way to {place}: check the network",
    errno.EHOSTUNREACH: "no way to {place}: check the network",
    errno.EMFILE: "no file descriptor left for {place}: raise this process's limit (ulimit -n)",
    errno.ENFILE: "no file descriptor left for {place}: raise this machine's limit (fs.file-max)",
}


def failure_words(error: OSError, place: str) -> str:
    """What a failure of the network means, in words; `place` is `host:port`."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {place} is not trusted: {getattr(error, 'verify_message', error)}"
    if isinstance(error, ssl.SSLError):
        # Raised by OpenSSL it has a reason; a library's own has none.
        return f"TLS with {place} failed ({getattr(error, 'reason', None) or error}): check the scheme and the port"
    if isinstance(error, socket.gaierror):
        return f"the name in {place} is not known ({error.strerror or error}): check its spelling and the name server"
    # Several addresses of one name fail as one error without a number, which then stands in its text.
    numbers = {error.errno} if error.errno else {int(text) for text in re.findall(r"\[Errno (\d+)\]", str(error))}
    if len(numbers) != 1:
        return f"{str(error) or type(error).__name__} ({place})"
    number = numbers.pop()
    return _WORDS.get(number, os.strerror(number) + " ({place})").format(place=place)
