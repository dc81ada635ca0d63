"""Whatever arrives, the readers give a value or a DecodeError."""

import random
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from candlewick.errors import DecodeError, ExchangeError
from candlewick.exchanges.exchange import CandleUpdate, StreamKind, Venue
from candlewick.stores.store import ROW, Source, to_rows

Payload = Callable[[str], bytes]
FRAMES = ("kline", "kline_idle", "aggTrade", "aggTrade_usdm", "trade", "bookTicker", "bookTicker_usdm", "ticker")
PAGES = ("klines_page", "aggTrades_page", "trades_page", "exchangeInfo")
PIECES = (b"null", b"true", b"-1", b"1e999", b"9" * 30, b'"nan"', b'"-inf"', b"{}", b"[]", b'"', b",", b"\xff", b"\x00",
          b'"1e400"', b"\\u0000", b"\\ud800", b"0", b"", b"-9223372036854775808", b"1.5")  # fmt: skip


def mutations(text: bytes, draw: random.Random, count: int) -> Iterator[bytes]:
    """`text` with some bytes replaced, dropped, doubled, or with a value exchanged for another."""
    for _ in range(count):
        changed = bytearray(text)
        for _ in range(draw.choice((1, 1, 2, 5))):
            at, length = draw.randrange(len(changed) + 1), draw.choice((0, 1, 2, 8))
            match draw.randrange(4):
                case 0:
                    changed[at : at + length] = draw.randbytes(draw.randrange(3))
                case 1:
                    changed[at : at + length] = draw.choice(PIECES)
                case 2:
                    colon = changed.find(b":", at)
                    comma = changed.find(b",", colon)
                    if 0 < colon < comma:
                        changed[colon + 1 : comma] = draw.choice(PIECES)
                case _:
                    changed[at:at] = changed[at : at + 40]
        yield bytes(changed)


@pytest.mark.parametrize("name", FRAMES)
def test_mutated_frame_gives_a_value_or_a_decode_error(payload: Payload, spot: Venue, name: str) -> None:
    """No mutation of a frame brings up any other exception, and every candle read fits a row."""
    draw = random.Random(name)
    refused = read = 0
    for frame in mutations(payload(name), draw, 4000):
        spot.stream_of(frame)
        for decode in (spot.decoders[StreamKind(name.partition("_")[0])], spot.control):
            try:
                value = decode(frame)
            except DecodeError:
                refused += 1
                continue
            read += 1
            if isinstance(value, CandleUpdate):
                assert to_rows(1, Source.LIVE, [value]).dtype == ROW
    assert refused > 1000
    assert read > 1000


@pytest.mark.parametrize("name", PAGES)
def test_mutated_page_gives_a_value_or_a_decode_error(payload: Payload, spot: Venue, name: str) -> None:
    """No mutation of a REST body brings up any other exception, and its times fit 64 bits."""
    draw = random.Random(name)
    readers = {
        "klines_page": lambda body: [one.close_time for one in spot.read_klines(body)],
        "aggTrades_page": lambda body: [one.time for one in spot.read_agg_trades(body)],
        "trades_page": lambda body: [one.time for one in spot.read_trades(body)],
        "exchangeInfo": lambda body: [one.listed_at for one in spot.read_exchange_info(body).instruments],
    }
    refused = 0
    for body in mutations(payload(name), draw, 3000):
        try:
            np.array(readers[name](body), dtype=np.int64)
        except DecodeError:
            refused += 1
    assert 500 < refused < 3000


def test_mutated_error_body_always_means_an_exchange_error(spot: Venue) -> None:
    """Any status with any body has a meaning."""
    draw = random.Random(418)
    text = b'{"code":-1003,"msg":"Way too much request weight used; IP banned until 1660090423228. Please use"}'
    for body in mutations(text, draw, 3000):
        status = draw.choice((400, 401, 403, 404, 418, 429, 451, 500, 503))
        headers = {"retry-after": draw.choice(("", "5", "soon", "-3", "99999999999", "\u0665"))}
        assert isinstance(spot.error(status, headers, body, 1660090400000000), ExchangeError)


@pytest.mark.data
def test_mutated_recorded_frame_gives_a_value_or_a_decode_error(
    frames: Callable[[str], Iterator[bytes]], spot: Venue
) -> None:
    """The same holds for what the exchange really sent."""
    draw = random.Random(7)
    tried = 0
    for index, frame in enumerate(frames("usdm")):
        kind = spot.stream_of(frame).partition(b"@")[2].partition(b"_")[0].decode()
        if kind not in tuple(StreamKind) or (index % 100 and kind not in {"kline", "aggTrade"}):
            continue
        for changed in mutations(frame, draw, 5):
            tried += 1
            try:
                spot.decoders[StreamKind(kind)](changed)
            except DecodeError:
                continue
    assert tried > 1000
