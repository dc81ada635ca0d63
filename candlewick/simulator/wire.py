"""What the exchange sends and through what: messages with their forms, and the socket as the machine sees it."""

from collections.abc import Callable
from typing import Protocol


class Wire(Protocol):
    """The way to one client. Every method is immediate."""

    def send(self, text: bytes) -> None:
        """Send one text message."""

    def ping(self, payload: bytes) -> None:
        """Send a ping frame."""

    def pong(self, payload: bytes) -> None:
        """Send a pong frame."""

    def close(self, code: int, reason: str) -> None:
        """Send a close frame and end the connection."""

    def reset(self) -> None:
        """Reset the TCP connection: no close frame."""


class Message:
    """One event of one stream, in the forms connections ask for (wrapped or raw, milli- or microseconds)."""

    __slots__ = ("_render", "_texts", "early", "is_close", "stream")

    def __init__(
        self,
        stream: str,
        render: Callable[[bool], str],
        *,
        is_close: bool = False,
        early: "Callable[[], Message | None] | None" = None,
    ) -> None:
        """`render`: the JSON text of the event, with microseconds if its argument is true. `early` makes the
        same close with the numbers of a moment before, where they differ: a conflicting close.
        """
        self.stream = stream
        self.is_close = is_close
        self.early = early
        self._render = render
        self._texts: dict[tuple[bool, bool], bytes] = {}

    def text(self, wrapped: bool, micro: bool) -> bytes:
        """The frame: bare on a raw connection, `{"stream":...,"data":...}` on a combined one (binance.md 1.1)."""
        key = (wrapped, micro)
        found = self._texts.get(key)
        if found is None:
            body = self._render(micro)
            found = (f'{{"stream":"{self.stream}","data":{body}}}' if wrapped else body).encode()
            self._texts[key] = found
        return found
