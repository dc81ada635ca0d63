"""What the exchange sends and through what: messages with their forms, and the socket as the machine sees it."""

from typing import Protocol

LAG = 3000
"""From a trade to the pushes it causes, in microseconds."""


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

    __slots__ = ("_texts", "has_news", "is_close", "stream")

    def __init__(self, stream: str, *, is_close: bool = False) -> None:
        """`is_close`: it says that a candle is over."""
        self.stream = stream
        self.is_close = is_close
        self.has_news = False
        """Whether it carries a field that no document knows."""
        self._texts: dict[tuple[bool, bool], bytes] = {}

    def render(self, micro: bool) -> str:
        """The JSON text of the event, with times in microseconds or milliseconds."""
        raise NotImplementedError

    def early(self) -> "Message | None":
        """Of a close: the same with the numbers of a moment before, where they differ."""
        return None

    def text(self, wrapped: bool, micro: bool) -> bytes:
        """The frame: bare on a raw connection, `{"stream":...,"data":...}` on a combined one (binance.md 1.1)."""
        key = (wrapped, micro)
        found = self._texts.get(key)
        if found is None:
            body = self.render(micro)
            if self.has_news:
                body = body[:-1] + ',"zz":{"v":[1,"2"]}}'
            found = self._texts[key] = (f'{{"stream":"{self.stream}","data":{body}}}' if wrapped else body).encode()
        return found


class Notice(Message):
    """An event whose text is fixed."""

    __slots__ = ("_body",)

    def __init__(self, stream: str, body: str) -> None:
        super().__init__(stream)
        self._body = body

    def render(self, micro: bool) -> str:
        """See `Message`."""
        del micro
        return self._body
