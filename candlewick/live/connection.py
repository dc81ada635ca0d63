"""WebSockets over real sockets: `PicowsDialer` implements `candlewick.transport.Dialer` with picows.

Timeouts here are real seconds even under simulated time: the sockets are real.
"""

import asyncio
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from picows import (
    WSCloseCode,
    WSError,
    WSFrame,
    WSHandshakeError,
    WSListener,
    WSMsgType,
    WSProtocolError,
    WSTransport,
    ws_connect,
)
from python_socks import ProxyError

from candlewick.clock import SECOND, Clock
from candlewick.errors import Banned, ExchangeError, RateLimited, Unreachable
from candlewick.market import format_time
from candlewick.transport import Link, Listener, failure_words

MAX_MESSAGE_BYTES = 16 << 20
RECEIVE_BUFFER_BYTES = 4 << 20
"""What the exchange may send ahead while this process is busy: seconds of a busy market."""
CLOSE_S = 2.0
"""How long the other side has to answer a close frame."""

_READ_BUFFER_BYTES = 64 << 10  # grows by itself while the socket is fuller than this
_LONGEST_CONTROL = 125  # bytes of payload a ping, pong or close may have (RFC 6455 5.5)
_BAN_S = {HTTPStatus.IM_A_TEAPOT: 120, HTTPStatus.FORBIDDEN: 300, HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS: 300}
_RETRY_AFTER_S = 60


class PicowsDialer:
    """Opens WebSockets. Frames may reach the listener before `dial` has returned: the other side need not wait."""

    def __init__(self, clock: Clock, *, timeout_s: float = 10.0, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        """`timeout_s`: for connecting, TLS and the upgrade together. `clock` dates the end of bans."""
        self._clock = clock
        self._timeout_s = timeout_s
        self._max_bytes = max_message_bytes
        self._receive_buffer = _allowed_receive_buffer()
        self._endings: set[asyncio.Task[None]] = set()

    async def dial(self, url: str, listener: Listener) -> Link:
        """Connect and upgrade; see `candlewick.transport.Dialer.dial`."""
        place = _place(url)
        wire = _Wire(listener, place, self._max_bytes, self._receive_buffer, self._collect)
        try:
            async with asyncio.timeout(self._timeout_s):
                _, upgraded = await ws_connect(
                    lambda *_: wire,
                    url,
                    websocket_handshake_timeout=self._timeout_s,
                    enable_auto_pong=False,  # the wire answers pings itself, so as to hear them
                    max_frame_size=self._max_bytes,
                    read_buffer_init_size=_READ_BUFFER_BYTES,
                    proxy=_proxy(url),
                )
        except asyncio.CancelledError:
            wire.abandon()
            raise
        except WSHandshakeError as error:
            raise self._refusal(place, error) from error
        except TimeoutError as error:
            wire.abandon()
            raise Unreachable(
                f"{place} did not open a WebSocket within {self._timeout_s:g} s: check that it is a stream server"
            ) from error
        except OSError as error:
            raise Unreachable(failure_words(error, place)) from error
        except (WSError, ProxyError) as error:
            raise Unreachable(f"no WebSocket to {place}: {error}") from error
        if upgraded is None:  # picows ends the handshake so when the connection ends in it
            raise Unreachable(f"{place} ended the connection instead of opening a WebSocket")
        return wire

    def _refusal(self, place: str, error: WSHandshakeError) -> ExchangeError:
        """The error that an answer other than 101 stands for."""
        if error.response is None or error.response.status == HTTPStatus.SWITCHING_PROTOCOLS:
            return Unreachable(f"{place} is no WebSocket server: {error}")
        status = error.response.status
        text = " ".join((error.raw_body or b"")[:200].decode("utf-8", "replace").split())
        words = f"{place} refused the WebSocket with {status.value} {status.phrase}" + (f": {text}" if text else "")
        wait = error.response.headers.get("Retry-After", "")
        wait_s = int(wait) if wait.isascii() and wait.isdigit() else None
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return RateLimited(words, wait_s or _RETRY_AFTER_S)
        if status in _BAN_S:
            until = self._clock.now() + (wait_s or _BAN_S[status]) * SECOND
            return Banned(f"{words}; not trying again before {format_time(until)}", until)
        return Unreachable(words)

    def _collect(self, transport: WSTransport) -> None:
        task = asyncio.get_running_loop().create_task(_ending(transport))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)


async def _ending(transport: WSTransport) -> None:
    """Take delivery of what ended a connection: an error of the listener is a bug, and goes to the loop's handler."""
    try:
        await transport.wait_disconnected()
    except WSProtocolError:
        return  # the other side's; `closed` told it


class _Wire(WSListener):
    """An open WebSocket: picows calls `on_ws_*`, Candlewick the rest.

    Per frame nothing but a closure runs: reading `msg_type`, an enum, would cost more than all the rest of a frame.
    """

    def __init__(
        self, listener: Listener, place: str, max_bytes: int, receive_buffer: int,
        collect: Callable[[WSTransport], None],
    ) -> None:  # fmt: skip
        self._listener: Listener | None = listener
        self._place = place
        self._max_bytes = max_bytes
        self._receive_buffer = receive_buffer
        self._collect = collect
        self._transport: WSTransport | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._reason = ""
        self._lost: Exception | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def send(self, text: bytes) -> None:
        """Send one text message."""
        if self._transport is not None:
            self._transport.send(WSMsgType.TEXT, text)

    def ping(self) -> None:
        """Send a ping."""
        if self._transport is not None:
            self._transport.send_ping()

    def close(self, code: int, reason: str) -> None:
        """Send a close frame; the connection ends with its answer, or after `CLOSE_S` (always so while paused)."""
        if self._transport is None:
            return
        self._reason = self._reason or f"closed here: {code} {reason}".rstrip()
        words = reason.encode()[: _LONGEST_CONTROL - 2].decode("utf-8", "ignore")
        self._transport.send_close(WSCloseCode(code), words.encode())
        self._end_soon()

    def abort(self) -> None:
        """Drop it at once; nothing but `closed` is called after this."""
        if self._transport is None:
            return
        self._reason = self._reason or "dropped here"
        self._silence()
        self._transport.disconnect(graceful=False)

    def pause(self) -> None:
        """Leave what comes in the socket. What was read before is still delivered: less than one read buffer."""
        if self._transport is not None and not self._transport.is_close_frame_sent:
            self._transport.underlying_transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None:
            self._transport.underlying_transport.resume_reading()

    def abandon(self) -> None:
        """Nobody waits for it any more: drop it, or drop it as soon as it is there."""
        self._listener = None
        self.abort()

    def lost(self, error: Exception | None) -> None:
        """Why the connection ended, before picows hears that it did."""
        self._lost = error

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The upgrade is done."""
        if self._listener is None:
            transport.disconnect(graceful=False)
            return
        self._transport = transport
        _tune(transport.underlying_transport.get_extra_info("socket"), self._receive_buffer)
        underlying = transport.underlying_transport
        underlying.set_protocol(_Watched(underlying.get_protocol(), self.lost))
        self._listen()

    def _listen(self) -> None:
        """Deliver whole messages until one comes in fragments."""
        assert self._listener is not None
        deliver, other = self._listener.frame, self._other

        def on_frame(transport: WSTransport, frame: WSFrame) -> None:
            payload = frame.get_payload_as_bytes()
            if len(payload) > _LONGEST_CONTROL and frame.fin:
                deliver(payload)
            else:
                other(transport, frame)

        self.on_ws_frame = on_frame  # type: ignore[method-assign]  # picows looks at the instance first

    def _other(self, transport: WSTransport, frame: WSFrame) -> None:
        """Whatever is no whole message of usual length."""
        if (listener := self._listener) is None:
            return
        kind = frame.msg_type
        if kind in (WSMsgType.PING, WSMsgType.PONG):
            if kind == WSMsgType.PING:
                transport.send_pong(frame.get_payload_as_bytes())
            listener.heard()
        elif kind == WSMsgType.CLOSE:
            self._said_goodbye(transport, frame.get_payload_as_bytes())
        elif frame.fin and not self._parts:
            listener.frame(frame.get_payload_as_bytes())
        else:
            self._fragment(frame, listener)

    def _fragment(self, frame: WSFrame, listener: Listener) -> None:
        """A part of a message (RFC 6455 5.4); control frames may come between parts."""
        if not self._parts:
            self.on_ws_frame = self._other  # type: ignore[method-assign]  # until the message is whole
        part = frame.get_payload_as_bytes()
        self._size += len(part)
        if self._size > self._max_bytes:
            raise WSProtocolError(
                WSCloseCode.MESSAGE_TOO_BIG, f"a message in fragments exceeds {self._max_bytes} bytes"
            )
        self._parts.append(part)
        if frame.fin:
            whole = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
            self._listen()
            listener.frame(whole)

    def _said_goodbye(self, transport: WSTransport, payload: bytes) -> None:
        code, words = int.from_bytes(payload[:2], "big") or 1005, payload[2:].decode("utf-8", "replace")
        self._reason = (
            self._reason or f"{self._place} said goodbye: {code} {words or _CLOSE_WORDS.get(code, '')}".rstrip()
        )
        if not transport.is_close_frame_sent:
            transport.send_close(WSCloseCode(code) if payload else WSCloseCode.OK)
        transport.disconnect()
        self._end_soon()

    def _end_soon(self) -> None:
        if self._deadline is None and self._transport is not None:
            abort = self._transport.underlying_transport.abort
            self._deadline = asyncio.get_running_loop().call_later(CLOSE_S, abort)

    def _silence(self) -> None:
        self.on_ws_frame = _ignore  # type: ignore[assignment]  # also frees the listener

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """It is over."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._silence()
        self._transport = None
        self._collect(transport)
        if (listener := self._listener) is not None:
            self._listener = None
            listener.closed(self._ending_words(transport))

    def _ending_words(self, transport: WSTransport) -> str:
        if self._reason:
            return self._reason
        sent = transport.close_handshake.sent if transport.close_handshake is not None else None
        if sent is not None:
            return (
                f"closed here: {int(sent.code.value)} {sent.reason or _CLOSE_WORDS.get(sent.code.value, '')}".rstrip()
            )
        if isinstance(self._lost, OSError):
            return failure_words(self._lost, self._place)
        return f"{self._place} ended the connection without a close frame" + (f": {self._lost}" if self._lost else "")


class _Watched(asyncio.BufferedProtocol):
    """Stands before picows' protocol to learn why a connection was lost, which picows does not pass on."""

    def __init__(self, inner: Any, lost: Callable[[Exception | None], None]) -> None:  # noqa: ANN401  # untyped in picows
        self.get_buffer = inner.get_buffer  # type: ignore[method-assign]  # no call more per read
        self.buffer_updated = inner.buffer_updated  # type: ignore[method-assign]
        self.eof_received = inner.eof_received  # type: ignore[method-assign]
        self.pause_writing = inner.pause_writing  # type: ignore[method-assign]
        self.resume_writing = inner.resume_writing  # type: ignore[method-assign]
        self._inner, self._lost = inner, lost

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(exc)
        self._inner.connection_lost(exc)


_CLOSE_WORDS = {
    1000: "normal end",
    1001: "going away",
    1002: "protocol error",
    1003: "unsupported data",
    1005: "no reason given",
    1007: "invalid text",
    1008: "policy violation",
    1009: "message too big",
    1011: "internal error",
    1012: "service restart",
    1013: "try again later",
    1014: "bad gateway",
}


def _ignore(_transport: WSTransport, _frame: WSFrame) -> None:
    """What comes after the end."""


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'wss' else 80)}"


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for this URL, as for HTTP."""
    parts = urlsplit(url)
    if proxy_bypass(parts.hostname or ""):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("https" if parts.scheme == "wss" else "http")


def _allowed_receive_buffer() -> int:
    """`RECEIVE_BUFFER_BYTES` where this machine grants it, else 0.

    Asking for more than is granted (Linux: net.core.rmem_max) would fix the buffer below what the kernel grows it to
    by itself.
    """
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        granted = trial.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    return RECEIVE_BUFFER_BYTES if granted >= RECEIVE_BUFFER_BYTES else 0


def _tune(sock: Any, receive_buffer: int) -> None:  # noqa: ANN401  # asyncio's own stand-in for a socket
    """Keep-alive finds a dead peer below the WebSocket too; picows has set TCP_NODELAY."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
