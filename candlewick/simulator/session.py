"""One WebSocket connection as the exchange keeps it: subscriptions, control messages, limits, pings, lifetime."""

import json
from collections import deque
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import parse_qs, unquote

from candlewick.clock import Clock, Timer
from candlewick.market import Market
from candlewick.simulator.wire import Message, Wire

MAX_STREAMS = 1024
_LIFETIME_S = 24 * 3600.0
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")


class Limits(NamedTuple):
    """What a connection may do (binance.md 1.2, 2.2)."""

    ping_s: float
    pong_s: float
    burst: int
    """Inbound messages within a second, pings and pongs too."""


_LIMITS = {
    Market.SPOT: Limits(20.0, 60.0, 5),
    # Documented as 10 a second; 15 in one go were measured to pass, the 16th not.
    Market.USDM: Limits(180.0, 600.0, 15),
}


class Address:
    """What the URL of a connection asks for."""

    def __init__(self, market: Market, path: str, query: str) -> None:
        """Raises ValueError where there is no WebSocket endpoint."""
        parts = unquote(path).strip("/").split("/")
        self.route = "spot" if market is Market.SPOT else "public"
        if market is Market.USDM and parts[0] in ("market", "public"):
            self.route = parts.pop(0)
        if not parts or parts[0] not in ("ws", "stream"):
            raise ValueError(path)
        asked = parse_qs(query)
        self.combined = parts[0] == "stream"
        names = parts[1:] if not self.combined else "/".join(asked.get("streams", [])).split("/")
        self.names = [name for name in names if name]
        self.micro = market is Market.SPOT and asked.get("timeUnit", [""])[0].upper() == "MICROSECOND"


class Session:
    """One connection. `number` counts from 1 in the order of opening."""

    def __init__(
        self,
        number: int,
        address: Address,
        market: Market,
        clock: Clock,
        wire: Wire,
        *,
        watch: Callable[["Session", str], None],
        unwatch: Callable[["Session", str], None],
        ended: Callable[["Session"], None],
    ) -> None:
        """`watch` and `unwatch` start and stop a stream for this connection; `ended` is called once it is over."""
        self.number = number
        self.wire = wire
        self.route = address.route
        self.micro = address.micro
        self.is_open = True
        self.deaf = False
        """Half-open: the socket is there, and nobody at this end of it."""
        self.held: list[Callable[[], None]] | None = None
        """What waits for the end of a stall, or None."""
        self.muted: set[str] = set()
        """Streams that were acknowledged and never deliver."""
        self.names: dict[str, None] = {}
        self._combined = address.combined
        self._clock = clock
        self._watch, self._unwatch, self._ended = watch, unwatch, ended
        self._limits = _LIMITS[market]
        # Simulated time runs as one speed: a socket's real jitter must not look like a storm, or like silence.
        self._speed = max(1.0, float(getattr(clock, "speed", 1.0)))
        self._inbound: deque[float] = deque()
        self._unanswered: set[bytes] = set()
        self._any_pong = market is Market.USDM
        self._timers: dict[str, Timer] = {}
        self._timers["ping"] = clock.call_later(self._limits.ping_s, self._ping)
        self._timers["life"] = clock.call_later(_LIFETIME_S, lambda: self.close(1001, ""))
        for name in address.names[:MAX_STREAMS]:
            self._subscribe(name)
        if len(address.names) > MAX_STREAMS:
            self._timers["names"] = clock.call_later(0, lambda: self.close(1008, "Invalid request"))

    # What the client does.

    def receive(self, text: str | bytes) -> None:
        """A text message of the client."""
        if self._counts():
            self._answer(text)

    def pinged(self, payload: bytes) -> None:
        """A ping of the client."""
        if self._counts():
            self.put(lambda: self.wire.pong(payload))

    def ponged(self, payload: bytes) -> None:
        """A pong of the client. Unsolicited ones are allowed, and keep the connection on USD-M only."""
        if self._counts() and (self._any_pong or payload in self._unanswered):
            self._unanswered.clear()
            if timer := self._timers.pop("pong", None):
                timer.cancel()

    def gone(self) -> None:
        """The client is not there any more, or said goodbye."""
        self._end()

    # What the exchange does.

    def deliver(self, message: Message) -> None:
        """Send an event."""
        if self.is_open and not self.deaf:
            text = message.text(self._combined, self.micro)
            if self.held is None:
                self.wire.send(text)
            else:
                self.send(text)

    def send(self, text: bytes) -> None:
        """Send bytes as they are."""
        self.put(lambda: self.wire.send(text))

    def put(self, action: Callable[[], None]) -> None:
        """Do something on the wire: now, after the stall, or never."""
        if self.deaf or not self.is_open:
            return
        if self.held is None:
            action()
        else:
            self.held.append(action)

    def hold(self) -> None:
        """Keep back everything that would be sent, until `release`."""
        if self.held is None:
            self.held = []

    def release(self) -> None:
        """Send what was kept back."""
        held, self.held = self.held, None
        for action in held or ():
            self.put(action)

    def text(self, message: Message) -> bytes:
        """The frame of an event in the form of this connection."""
        return message.text(self._combined, self.micro)

    def close(self, code: int, reason: str) -> None:
        """End it with a close frame."""
        if self.is_open:
            if not self.deaf:
                self.wire.close(code, reason)
            self._end()

    def reset(self) -> None:
        """End it without a word."""
        if self.is_open:
            if not self.deaf:
                self.wire.reset()
            self._end()

    def _end(self) -> None:
        if not self.is_open:
            return
        self.is_open = False
        for timer in self._timers.values():
            timer.cancel()
        for name in self.names:
            self._unwatch(self, name)
        self.names.clear()
        self._ended(self)

    def _ping(self) -> None:
        payload = str(self._clock.now() // 1000).encode()
        self._unanswered.add(payload)
        self.put(lambda: self.wire.ping(payload))
        self._timers["ping"] = self._clock.call_later(self._limits.ping_s, self._ping)
        if "pong" not in self._timers:
            patience_s = max(self._limits.pong_s, 10 * self._speed)
            self._timers["pong"] = self._clock.call_later(patience_s, lambda: self.close(1008, "Pong timeout"))

    def _counts(self) -> bool:
        """Count one inbound message; false where it is not to be answered."""
        if self.deaf or not self.is_open:
            return False
        now = self._clock.monotonic()
        window = self._inbound
        window.append(now)
        while now - window[0] >= self._speed:
            window.popleft()
        if len(window) > self._limits.burst * self._speed:
            self.close(1008, "Too many requests")
            return False
        return True

    def _answer(self, text: str | bytes) -> None:
        try:
            request = json.loads(text)
        except ValueError:
            self._refuse(None, 3, "Invalid JSON: expected value at line 1 column 1")
            return
        if not isinstance(request, dict) or "method" not in request:
            self._refuse(None, 2, "Invalid request: missing field `method` at line 1 column 73")
            return
        number, method, params = request.get("id"), request["method"], request.get("params", [])
        if isinstance(number, (float, list, dict)) or (isinstance(number, str) and len(number) > 36):
            self._refuse(None, 2, "Invalid request: request ID must be an unsigned integer")
        elif method not in _METHODS:
            expected = ", ".join(f"`{known}`" for known in _METHODS)
            self._refuse(
                number, 2, f"Invalid request: unknown variant {method}, expected one of {expected} at line 1 column 28"
            )
        elif method.endswith("PROPERTY"):
            self._property(number, method, params)
        elif method == "LIST_SUBSCRIPTIONS":
            self._reply({"result": list(self.names), "id": number})
        elif not isinstance(params, list) or not all(isinstance(name, str) for name in params):
            self._refuse(number, 2, "Invalid request: request parameters must be a list of strings")
        else:
            self._change(number, method, params)

    def _change(self, number: object, method: str, names: list[str]) -> None:
        """Subscribe or unsubscribe. Everything is acknowledged, nonsense too (binance.md 1.3)."""
        for name in names:
            if method == "UNSUBSCRIBE":
                if name in self.names:
                    del self.names[name]
                    self._unwatch(self, name)
            elif len(self.names) >= MAX_STREAMS and name not in self.names:
                self._reply({"error": {"code": 4, "msg": "Too many subscriptions"}, "id": number})
                self.close(1008, "Invalid request")
                return
            else:
                self._subscribe(name)
        self._reply({"result": None, "id": number})

    def _subscribe(self, name: str) -> None:
        if name not in self.names:
            self.names[name] = None
            self._watch(self, name)

    def _property(self, number: object, method: str, params: object) -> None:
        values = params if isinstance(params, list) else [params]
        if not values or not isinstance(values[0], str):
            self._refuse(number, 2, "Invalid request: property name must be a string")
        elif values[0] != "combined":
            self._refuse(number, 0, "Unknown property")
        elif len(values) > (2 if method == "SET_PROPERTY" else 1):
            self._refuse(number, 2, "Invalid request: too many parameters")
        elif method == "GET_PROPERTY":
            self._reply({"result": self._combined, "id": number})
        elif len(values) < 2 or not isinstance(values[1], bool):
            self._refuse(number, 1, "Invalid value type: expected Boolean")
        else:
            self._combined = values[1]
            self._reply({"result": None, "id": number})

    def _refuse(self, number: object, code: int, text: str) -> None:
        self._reply({"error": {"code": code, "msg": text}, "id": number})

    def _reply(self, content: dict[str, object]) -> None:
        """Control replies are never wrapped, not even on a combined connection."""
        self.send(json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode())
