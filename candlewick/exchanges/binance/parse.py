"""Frames of Binance's streams turned into what the rest of Candlewick knows.

Every decoder takes a whole frame, wrapped (`{"stream":...,"data":...}`) or not, in one pass.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec
from msgspec import UNSET
from msgspec.json import Decoder

from candlewick.errors import DecodeError
from candlewick.exchanges.binance import wire
from candlewick.exchanges.exchange import (
    Acknowledged,
    CandleUpdate,
    Control,
    ControlError,
    ShutdownNotice,
    StreamKind,
    TradeUpdate,
    Unknown,
)
from candlewick.market import Quote, Ticker

# Milliseconds of the year 5138, microseconds of 1973: times are in milliseconds unless the connection was opened with
# timeUnit=MICROSECOND (web-socket-streams.md, "Time unit").
_MICROSECONDS_FROM = 100_000_000_000_000

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
PREFIX = b'{"stream":"'
"""How a wrapped frame begins."""
_NOTICE = ord("!")
_WHAT_LENGTH = 40

_wrapped_kline = Decoder(wire.WrappedKline, strict=False).decode
_bare_kline = Decoder(wire.BinanceKline, strict=False).decode
_wrapped_trade = Decoder(wire.WrappedTrade, strict=False).decode
_bare_trade = Decoder(wire.BinanceTrade, strict=False).decode
_wrapped_agg_trade = Decoder(wire.WrappedAggTrade, strict=False).decode
_bare_agg_trade = Decoder(wire.BinanceAggTrade, strict=False).decode
_wrapped_book_ticker = Decoder(wire.WrappedBookTicker, strict=False).decode
_bare_book_ticker = Decoder(wire.BinanceBookTicker, strict=False).decode
_wrapped_ticker = Decoder(wire.WrappedTicker, strict=False).decode
_bare_ticker = Decoder(wire.BinanceTicker, strict=False).decode
_wrapped_any = Decoder(wire.WrappedAny).decode
_decode_any = Decoder().decode

T = TypeVar("T")


def decode(decoder: Callable[[bytes], T], body: bytes, what: str) -> T:
    """What `decoder` makes of `body`.

    Raises:
        DecodeError: it is not `what`, with the reason.
    """
    try:
        return decoder(body)
    except _UNREADABLE as error:
        raise _not(what, error) from None


def to_time(time: int) -> int:
    """Microseconds of a time the exchange sent in milliseconds or microseconds."""
    return time * 1000 if time < _MICROSECONDS_FROM else time


def to_close_time(time: int) -> int:
    """Microseconds of a close time, to the millisecond: `...999999` of a connection in microseconds is `...999000`."""
    return time * 1000 if time < _MICROSECONDS_FROM else time - time % 1000


def parse_kline(frame: bytes) -> CandleUpdate:
    """The candle of a kline frame, as it stands.

    Raises:
        DecodeError: the frame is not one.
    """
    try:
        event = _wrapped_kline(frame).data
        if event is UNSET:
            event = _bare_kline(frame)
    except _UNREADABLE as error:
        raise _not("kline", error) from None
    k = event.k
    opened, closes, sent = k.t, k.T, event.E
    if opened < _MICROSECONDS_FROM > closes and sent < _MICROSECONDS_FROM:
        opened, closes, sent = opened * 1000, closes * 1000, sent * 1000
    else:
        opened, closes, sent = to_time(opened), to_close_time(closes), to_time(sent)
    return CandleUpdate(opened, k.o, k.h, k.l, k.c, k.v, closes, k.q, k.n, k.V, k.Q, event.s, k.i, k.x, sent)


def parse_agg_trade(frame: bytes) -> TradeUpdate:
    """The aggregate of an aggTrade frame.

    Raises:
        DecodeError: the frame is not one.
    """
    try:
        event = _wrapped_agg_trade(frame).data
        if event is UNSET:
            event = _bare_agg_trade(frame)
    except _UNREADABLE as error:
        raise _not("aggTrade", error) from None
    time = event.T
    if time < _MICROSECONDS_FROM:
        time *= 1000
    return TradeUpdate(event.a, event.p, event.q, time, event.m, event.f, event.l, event.s)


def parse_trade(frame: bytes) -> TradeUpdate:
    """The trade of a trade frame.

    Raises:
        DecodeError: the frame is not one.
    """
    try:
        event = _wrapped_trade(frame).data
        if event is UNSET:
            event = _bare_trade(frame)
    except _UNREADABLE as error:
        raise _not("trade", error) from None
    time = event.T
    if time < _MICROSECONDS_FROM:
        time *= 1000
    trade_id = event.t
    return TradeUpdate(trade_id, event.p, event.q, time, event.m, trade_id, trade_id, event.s)


def parse_book_ticker(frame: bytes) -> Quote:
    """The quote of a bookTicker frame; its time is 0 on spot, which sends none.

    Raises:
        DecodeError: the frame is not one.
    """
    try:
        event = _wrapped_book_ticker(frame).data
        if event is UNSET:
            event = _bare_book_ticker(frame)
    except _UNREADABLE as error:
        raise _not("bookTicker", error) from None
    time = event.T
    if time < _MICROSECONDS_FROM:
        time *= 1000
    return Quote(event.u, event.b, event.B, event.a, event.A, time)


def parse_ticker(frame: bytes) -> Ticker:
    """The 24 h statistics of a ticker frame.

    Raises:
        DecodeError: the frame is not one.
    """
    try:
        event = _wrapped_ticker(frame).data
        if event is UNSET:
            event = _bare_ticker(frame)
    except _UNREADABLE as error:
        raise _not("24hrTicker", error) from None
    return Ticker(to_time(event.E), event.c, event.o, event.h, event.l, event.v, event.q, event.n)


DECODERS: Mapping[StreamKind, Callable[[bytes], object]] = {
    StreamKind.KLINE: parse_kline,
    StreamKind.TRADE: parse_trade,
    StreamKind.AGG_TRADE: parse_agg_trade,
    StreamKind.BOOK_TICKER: parse_book_ticker,
    StreamKind.TICKER: parse_ticker,
}


def stream_of(frame: bytes) -> bytes:
    """The stream a wrapped frame names, or b"" for control replies, notices (`!...`) and everything else."""
    if frame.startswith(PREFIX):
        end = frame.find(b'"', 11)
        if end > 11 and frame[11] != _NOTICE:
            name = frame[11:end]
            if b"\\" not in name:
                return name
    try:
        text = _wrapped_any(frame).stream
    except _UNREADABLE:
        return b""
    return b"" if text.startswith("!") else text.encode()


def parse_control(frame: bytes) -> Control:
    """What a frame that is no data of a known stream means.

    Raises:
        DecodeError: it is not JSON.
    """
    message = decode(_decode_any, frame, "JSON")
    if not isinstance(message, dict):
        return Unknown(type(message).__name__)
    data = message.get("data")
    if isinstance(data, dict) and "stream" in message:
        return _event(data, str(message["stream"]).rpartition("@")[2])
    for refusal in (message.get("error"), message):
        if isinstance(refusal, dict) and isinstance(refusal.get("code"), int):
            return ControlError(_message_id(message), refusal["code"], str(refusal.get("msg", "")))
    if "result" in message:
        message_id = _message_id(message)
        return Unknown("result without id") if message_id is None else Acknowledged(message_id)
    return _event(message, "no event")


def _event(data: dict[str, object], otherwise: str) -> Control:
    name = data.get("e")
    time = data.get("E")
    if name == "serverShutdown":
        return ShutdownNotice(to_time(time) if isinstance(time, int) else 0)
    return Unknown((name if isinstance(name, str) else otherwise)[:_WHAT_LENGTH])


def _message_id(message: dict[str, object]) -> int | None:
    value = message.get("id")
    return value if isinstance(value, int) else None


def _not(what: str, error: BaseException) -> DecodeError:
    return DecodeError(f"not a Binance {what}: {error}")
