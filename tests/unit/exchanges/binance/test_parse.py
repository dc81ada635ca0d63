"""Frames become candles, trades, quotes and tickers."""

import json
import random
import struct
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import astuple

from candlewick.errors import DecodeError
from candlewick.exchanges.binance import parse
from candlewick.exchanges.exchange import (
    Acknowledged,
    CandleUpdate,
    ControlError,
    ShutdownNotice,
    StreamKind,
    TradeUpdate,
    Unknown,
    Venue,
)
from candlewick.market import Quote, Ticker

Payload = Callable[[str], bytes]
NAMES = ("kline", "aggTrade", "trade", "bookTicker", "ticker")


def bare(frame: bytes) -> bytes:
    return frame[frame.index(b'"data":') + 7 : -1]


def in_microseconds(frame: bytes) -> bytes:
    """The frame as a connection with timeUnit=MICROSECOND would carry it."""
    data = json.loads(bare(frame))
    data["E"] = data["E"] * 1000 + 7
    if "k" in data:
        data["k"]["t"] *= 1000
    ends = data.get("k", data)
    ends["T"] = ends["T"] * 1000 + 999
    return json.dumps(data).encode()


def test_kline_frame_becomes_the_candle_as_it_stands(payload: Payload) -> None:
    """Every field lands where it belongs, times in microseconds, numbers as the nearest doubles."""
    assert parse.parse_kline(payload("kline")) == CandleUpdate(
        symbol="BNBBTC",
        interval="1m",
        open_time=1672515780000000,
        open=0.001,
        high=0.0025,
        low=0.0015,
        close=0.002,
        volume=1000.0,
        close_time=1672515839999000,
        quote_volume=1.0,
        trades=100,
        taker_buy_volume=500.0,
        taker_buy_quote_volume=0.5,
        closed=False,
        exchange_time=1672515782136000,
    )


def test_kline_frame_of_an_idle_minute_is_a_closed_candle(payload: Payload) -> None:
    """A minute without trades closes with first and last trade id -1."""
    update = parse.parse_kline(payload("kline_idle"))
    assert update.closed
    assert (update.trades, update.volume, update.high) == (0, 0.0, 0.002)


def test_agg_trade_frame_names_its_raw_trades(payload: Payload) -> None:
    """The aggregate's own id, the raw ids and the execution time are kept apart."""
    trade = TradeUpdate(
        12345, 0.001, 100.0, 1672515782130000, buyer_is_maker=True, first_id=100, last_id=105, symbol="BNBBTC"
    )
    assert parse.parse_agg_trade(payload("aggTrade")) == trade


def test_agg_trade_frame_of_usdm_may_carry_more_fields(payload: Payload) -> None:
    """Fields that were added later (nq, st) are passed over."""
    trade = TradeUpdate(
        5933014, 0.001, 100.0, 1672515782130000, buyer_is_maker=True, first_id=100, last_id=105, symbol="BNBUSDT"
    )
    assert parse.parse_agg_trade(payload("aggTrade_usdm")) == trade


def test_trade_frame_is_made_of_itself(payload: Payload) -> None:
    """A raw trade's first and last id are its own."""
    trade = TradeUpdate(
        12345, 0.001, 100.0, 1672515782130000, buyer_is_maker=False, first_id=12345, last_id=12345, symbol="BNBBTC"
    )
    assert parse.parse_trade(payload("trade")) == trade


def test_book_ticker_frame_has_a_time_on_usdm_only(payload: Payload) -> None:
    """Spot sends no time with its quotes."""
    assert parse.parse_book_ticker(payload("bookTicker")) == Quote(400900217, 25.3519, 31.21, 25.3652, 40.66, 0)
    assert parse.parse_book_ticker(payload("bookTicker_usdm")).time == 1568014460891000


def test_ticker_frame_is_read_with_the_fields_both_markets_send(payload: Payload) -> None:
    """USD-M leaves out what spot adds; what is kept is in both."""
    expected = Ticker(1672515782136000, 0.0025, 0.001, 0.0025, 0.0008, 10000.0, 18.0, 18151)
    assert parse.parse_ticker(payload("ticker")) == expected
    assert parse.parse_ticker(payload("ticker_usdm")) == expected


@pytest.mark.parametrize("name", NAMES)
def test_decoder_reads_an_unwrapped_frame_alike(payload: Payload, spot: Venue, name: str) -> None:
    """A raw connection sends the payload without its wrapper."""
    decode = spot.decoders[StreamKind(name)]
    assert decode(bare(payload(name))) == decode(payload(name))


@pytest.mark.parametrize("name", NAMES)
def test_decoder_reads_a_wrapper_of_any_order(payload: Payload, spot: Venue, name: str) -> None:
    """JSON objects have no order, and may hold spaces."""
    decode = spot.decoders[StreamKind(name)]
    wrapper = json.loads(payload(name))
    turned = json.dumps({"data": wrapper["data"], "stream": wrapper["stream"]}, indent=1).encode()
    assert decode(turned) == decode(payload(name))
    assert spot.stream_of(turned) == wrapper["stream"].encode()


def test_decoder_takes_times_in_microseconds(payload: Payload) -> None:
    """A connection with timeUnit=MICROSECOND gives the same candle, its close time to the millisecond."""
    update = parse.parse_kline(in_microseconds(payload("kline")))
    assert astuple(update)[:11] == astuple(parse.parse_kline(payload("kline")))[:11]
    assert update.exchange_time == 1672515782136007
    assert parse.parse_agg_trade(in_microseconds(payload("aggTrade"))).time == 1672515782130999


@pytest.mark.parametrize("name", NAMES)
def test_decoder_refuses_frames_of_other_kinds(payload: Payload, spot: Venue, name: str) -> None:
    """A frame on the wrong stream is an error, never a candle of nothing."""
    for kind, decode in spot.decoders.items():
        if kind != name:
            with pytest.raises(DecodeError):
                decode(payload(name))


@pytest.mark.parametrize(
    ("sent", "instead"),
    [
        (b'"n":100', b'"n":100.5'),
        (b'"n":100', b'"n":null'),
        (b'"n":100', b'"n":"many"'),
        (b'"n":100', b'"n":99999999999999999999999'),
        (b'"n":100,', b""),
        (b'"t":1672515780000', b'"t":true'),
        (b'"o":"0.00100000"', b'"o":""'),
        (b'"o":"0.00100000"', b'"o":"0,001"'),
        (b'"o":"0.00100000"', b'"o":["0.001"]'),
        (b'"x":false', b'"x":"perhaps"'),
        (b'"i":"1m"', b'"i":"1\xff"'),
        (b'"i":"1m"', b'"i":1'),
        (b'"e":"kline"', b'"e":"continuous_kline"'),
        (b'"k":{', b'"k":['),
        (b'"B":"123456"', b'"B":' + b"[" * 100_000),
    ],
)
def test_mangled_kline_frame_is_refused_with_a_reason(payload: Payload, sent: bytes, instead: bytes) -> None:
    """Wrong types, missing fields and broken text say what is wrong instead of becoming zero."""
    frame = payload("kline")
    assert sent in frame
    with pytest.raises(DecodeError, match=r"not a Binance kline: .+"):
        parse.parse_kline(frame.replace(sent, instead))


@pytest.mark.parametrize("name", NAMES)
def test_cut_frame_is_refused_wherever_it_is_cut(payload: Payload, spot: Venue, name: str) -> None:
    """No beginning of a frame reads as a frame."""
    frame = payload(name)
    for length in range(len(frame)):
        with pytest.raises(DecodeError):
            spot.decoders[StreamKind(name)](frame[:length])


def test_decimals_become_the_nearest_doubles() -> None:
    """What the decoder makes of a quoted decimal is bit for bit what Python makes of it."""
    draw = random.Random(20230405)
    head = b'{"u":1,"s":"X","B":"1","a":"1","A":"1","b":"'
    for _ in range(50_000):
        choice = draw.random()
        if choice < 0.5:
            text = f"{draw.uniform(0, 1e6):.8f}"
        elif choice < 0.8:
            text = f"{draw.randint(0, 10**17)}.{draw.randint(0, 10**8):08d}"
        else:
            text = repr(struct.unpack("<d", draw.randbytes(7) + b"\x3f")[0])
        assert struct.pack("<d", parse.parse_book_ticker(head + text.encode() + b'"}').bid) == struct.pack(
            "<d", float(text)
        )


@pytest.mark.parametrize(
    ("frame", "name"),
    [
        (b'{"stream":"btcusdt@kline_1m","data":{}}', b"btcusdt@kline_1m"),
        ('{"stream":"币安人生usdt@trade","data":{}}'.encode(), "币安人生usdt@trade".encode()),
        (b'{"stream":"\\u5e01usdt@trade","data":{}}', "币usdt@trade".encode()),
        (b' { "stream" : "btcusdt@trade" , "data" : {} }', b"btcusdt@trade"),
        (b'{"data":{"stream":"no"},"stream":"btcusdt@trade"}', b"btcusdt@trade"),
        (b'{"stream":"!serverShutdown","data":{}}', b""),
        (b'{"data":{}, "stream":"!serverShutdown"}', b""),
        (b'{"result":null,"id":1}', b""),
        (b'{"e":"kline"}', b""),
        (b'{"stream":"', b""),
        (b'{"stream":""}', b""),
        (b'{"stream":7}', b""),
        (b"[]", b""),
        (b"", b""),
        (b"\xff\xfe", b""),
    ],
)
def test_stream_of_names_data_frames_alone(frame: bytes, name: bytes) -> None:
    """Wrapped data names its stream in whatever form; control, notices and rubbish name none."""
    assert parse.stream_of(frame) == name


@pytest.mark.parametrize(
    ("frame", "meaning"),
    [
        (b'{"result":null,"id":312}', Acknowledged(312)),
        (b'{"result":["btcusdt@aggTrade"],"id":3}', Acknowledged(3)),
        (b'{"result":null,"id":null}', Unknown("result without id")),
        (b'{"error":{"code":2,"msg":"Invalid request: no"},"id":3}', ControlError(3, 2, "Invalid request: no")),
        (b'{"error":{"code":4,"msg":"Too many subscriptions"}}', ControlError(None, 4, "Too many subscriptions")),
        (b'{"code":3,"msg":"Invalid JSON"}', ControlError(None, 3, "Invalid JSON")),
        (b'{"e":"serverShutdown","E":1770123456789}', ShutdownNotice(1770123456789000)),
        (
            b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}',
            ShutdownNotice(1770123456789000),
        ),
        (b'{"stream":"btcusdt@depth","data":{"e":"depthUpdate"}}', Unknown("depthUpdate")),
        (b'{"stream":"btcusdt@bookTicker","data":{"u":1}}', Unknown("bookTicker")),
        (b'{"stream":"!ticker@arr","data":[{}]}', Unknown("no event")),
        (b'{"e":"EquityUpdate","E":1}', Unknown("EquityUpdate")),
        (b'{"lastUpdateId":160,"bids":[]}', Unknown("no event")),
        (b'{"e":"newThing","data":{"e":"inner"}}', Unknown("newThing")),
        (b'[{"e":"24hrTicker"}]', Unknown("list")),
        (b"7", Unknown("int")),
        (b'{"e":"' + b"x" * 500 + b'"}', Unknown("x" * 40)),
    ],
)
def test_control_frame_says_what_it_means(frame: bytes, meaning: object) -> None:
    """Replies, refusals in both shapes, notices and unknown events are told apart."""
    assert parse.parse_control(frame) == meaning


@pytest.mark.parametrize("frame", [b"", b"<html>", b'{"result":', b"\xff", b"[" * 100_000])
def test_control_frame_that_is_no_json_is_refused(frame: bytes) -> None:
    """What cannot be read is an error, not an unknown event."""
    with pytest.raises(DecodeError):
        parse.parse_control(frame)


@pytest.mark.data
@pytest.mark.parametrize("market", ["spot", "usdm", "coinm"])
def test_every_recorded_frame_equals_an_independent_reading(
    frames: Callable[[str], Iterator[bytes]], spot: Venue, market: str
) -> None:
    """Each recorded frame gives what the standard library reads in it, and the rest is no error."""
    seen: Counter[str] = Counter()
    for frame in frames(market):
        message = json.loads(frame)
        if "stream" not in message:  # one REST answer stands between the frames
            assert spot.stream_of(frame) == b""
            continue
        assert spot.stream_of(frame) == message["stream"].encode()
        data, kind = message["data"], message["stream"].partition("@")[2].partition("_")[0]
        if kind not in tuple(StreamKind):
            assert spot.control(frame) == Unknown(data["e"])
            continue
        seen[kind] += 1
        value = spot.decoders[StreamKind(kind)](frame)
        if isinstance(value, CandleUpdate):
            k = data["k"]
            numbers = [float(k[name]) for name in "ohlcvqVQ"]
            assert value == CandleUpdate(
                k["t"] * 1000, *numbers[:5], k["T"] * 1000, numbers[5], k["n"], *numbers[6:],
                data["s"], k["i"], k["x"], data["E"] * 1000,
            )  # fmt: skip
        elif isinstance(value, TradeUpdate):
            trade = value
            ids = (data["t"], data["t"]) if kind == "trade" else (data["f"], data["l"])
            assert (value.symbol, trade.trade_id, trade.time) == (
                data["s"],
                data["t" if kind == "trade" else "a"],
                data["T"] * 1000,
            )
            assert (trade.price, trade.quantity, trade.buyer_is_maker) == (
                float(data["p"]),
                float(data["q"]),
                data["m"],
            )
            assert (trade.first_id, trade.last_id) == ids
        else:
            assert value == Quote(data["u"], *(float(data[name]) for name in "bBaA"), data.get("T", 0) * 1000)
    assert seen["kline"]
    assert seen["aggTrade"]
    assert seen["bookTicker"]


@pytest.mark.data
def test_recorded_klines_are_open_and_closed(frames: Callable[[str], Iterator[bytes]], spot: Venue) -> None:
    """The USD-M recording crosses a minute: candles grow, then close once, before the next begins."""
    open_times: dict[str, int] = {}
    closed: Counter[str] = Counter()
    for frame in frames("usdm"):
        if b"@kline" in spot.stream_of(frame):
            update = parse.parse_kline(frame)
            assert update.open_time >= open_times.get(update.symbol, 0)
            open_times[update.symbol] = update.open_time + (60_000_000 if update.closed else 0)
            closed[update.symbol] += update.closed
    assert set(closed.values()) == {1}
