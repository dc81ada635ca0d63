"""Ready-made frames: what Binance's combined streams send, as bytes of WebSocket frames in blocks to be sent whole.

Prices walk, volumes and quote volumes fit them, times lie in the past and ascend: every closed candle is one the store
takes. The same arguments make the same bytes.
"""

import struct
from collections.abc import Iterable, Iterator

FIRST_MINUTE_MS = 1_700_000_040_000
"""When the first candle opens: 2023-11-14."""
FRAMES_A_BLOCK = 500
REPEATED = 1_000
"""Of so many aggregate trades one is sent twice."""

_LCG = 6364136223846793005, 1442695040888963407, (1 << 64) - 1


def symbols(count: int) -> list[str]:
    """Names as long as real ones."""
    return [f"C{number:03d}USDT" for number in range(count)]


def text_frame(payload: bytes) -> bytes:
    """An unmasked text frame of 126 to 65,535 bytes (RFC 6455 5.2)."""
    return b"\x81\x7e" + struct.pack(">H", len(payload)) + payload


def kline(symbol: str, minute: int, *, update: int = 0, closed: bool = True) -> bytes:
    """The kline of a minute, counted from the first; `update` tells the frames of an open candle apart."""
    seed = (hash_of(symbol) + minute * 7 + update) * _LCG[0] + _LCG[1] & _LCG[2]
    a, b, c, d = seed >> 50 & 1023, seed >> 40 & 1023, seed >> 30 & 1023, seed >> 20 & 1023
    opens = FIRST_MINUTE_MS + minute * 60_000
    low = 2_816_547 + a + minute
    open_, close = low + b % 97, low + c % 97
    high = max(open_, close) + d % 53
    volume = 1_000_000 + (seed >> 13 & 0xFFFFFF)
    taker = volume * (300 + a % 400) // 1000
    price = (open_ + close) / 200
    sent = opens + 59_999 + a % 20 if closed else opens + 2_000 * update + 63
    name = symbol.lower()
    return (
        f'{{"stream":"{name}@kline_1m","data":{{"e":"kline","E":{sent},"s":"{symbol}","k":{{"t":{opens},'
        f'"T":{opens + 59_999},"s":"{symbol}","i":"1m","f":{minute * 1000},"L":{minute * 1000 + 999},'
        f'"o":"{_price(open_)}","c":"{_price(close)}","h":"{_price(high)}","l":"{_price(low)}",'
        f'"v":"{volume // 100_000}.{volume % 100_000:05d}000","n":1000,"x":{"true" if closed else "false"},'
        f'"q":"{volume / 1e5 * price:.8f}","V":"{taker // 100_000}.{taker % 100_000:05d}000",'
        f'"Q":"{taker / 1e5 * price:.8f}","B":"0"}}}}}}'
    ).encode()


def hash_of(symbol: str) -> int:
    """The same in every process."""
    return int.from_bytes(symbol.encode()[:7], "big")


def agg_trade(symbol: str, number: int) -> bytes:
    """The aggregate trade of that id."""
    seed = (hash_of(symbol) + number) * _LCG[0] + _LCG[1] & _LCG[2]
    time = FIRST_MINUTE_MS + number // 20
    return (
        f'{{"stream":"{symbol.lower()}@aggTrade","data":{{"e":"aggTrade","E":{time + 1},"s":"{symbol}",'
        f'"a":{1_000_000_000 + number},"p":"{_price(2_816_547 + (seed >> 50 & 1023))}","q":"0.{1 + (seed >> 30 & 0xFFFF):05d}000",'
        f'"f":{2_000_000_000 + number * 2},"l":{2_000_000_001 + number * 2},"T":{time},'
        f'"m":{"true" if seed >> 29 & 1 else "false"},"M":true}}}}'
    ).encode()


def book_ticker(symbol: str, number: int) -> bytes:
    """A best bid and offer."""
    seed = (hash_of(symbol) + number) * _LCG[0] + _LCG[1] & _LCG[2]
    bid = 2_816_547 + (seed >> 50 & 1023)
    return (
        f'{{"stream":"{symbol.lower()}@bookTicker","data":{{"u":{36_090_299_876 + number},"s":"{symbol}",'
        f'"b":"{_price(bid)}","B":"7.{seed >> 30 & 0xFFFF:05d}000","a":"{_price(bid + 1)}","A":"3.{seed >> 14 & 0xFFFF:05d}000"}}}}'
    ).encode()


def _price(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}000000"


def kline_blocks(count: int, minutes: int, updates: int = 0, frames_a_block: int = FRAMES_A_BLOCK) -> list[list[bytes]]:
    """One connection: `count` symbols close minute after minute, each candle after `updates` frames of it open."""
    names = symbols(count)

    def frames() -> Iterator[bytes]:
        for minute in range(minutes):
            for update in range(updates):
                for name in names:
                    yield kline(name, minute, update=update, closed=False)
            for name in names:
                yield kline(name, minute)

    return [blocks(frames(), frames_a_block)]


def agg_trade_blocks(names: list[str], each: int) -> list[list[bytes]]:
    """One connection: `each` aggregate trades of every symbol in turn, one of `REPEATED` ids sent twice."""

    def frames() -> Iterator[bytes]:
        for number in range(each):
            again = number % REPEATED == REPEATED - 1
            for name in names:
                frame = agg_trade(name, number)
                yield frame
                if again:
                    yield frame

    return [blocks(frames())]


def boundary_blocks(connections: list[int], minutes: int) -> list[list[bytes]]:
    """Per connection one block a minute, in which each of its symbols closes; `connections` says how many it has."""
    names = iter(symbols(sum(connections)))
    chunks = [[next(names) for _ in range(size)] for size in connections]
    return [[b"".join(text_frame(kline(s, m)) for s in chunk) for m in range(minutes)] for chunk in chunks]


UPDATES = 29
QUOTES = 300


def market_cycle(count: int) -> int:
    """How many frames a minute of `market_blocks` has."""
    return (UPDATES + 1 + QUOTES) * count


def market_blocks(count: int, cycles: int) -> list[list[bytes]]:
    """One connection: minutes of `count` symbols, each `QUOTES` times quoted, `UPDATES` times open, once closed."""
    names = symbols(count)
    # Open candles are only ever replaced, so theirs may be the same in every minute; quotes likewise.
    quotes = [b"".join(text_frame(book_ticker(name, number)) for name in names) for number in range(QUOTES)]
    updates = [
        b"".join(text_frame(kline(name, 0, update=update, closed=False)) for name in names) for update in range(UPDATES)
    ]
    every = QUOTES // UPDATES
    mixed = [block for at, update in enumerate(updates) for block in (*quotes[at * every : (at + 1) * every], update)]
    minute = [*mixed, *quotes[UPDATES * every :]]
    closes = (b"".join(text_frame(kline(name, number)) for name in names) for number in range(cycles))
    return [[block for close in closes for block in (*minute, close)]]


def blocks(frames: Iterable[bytes], size: int = FRAMES_A_BLOCK) -> list[bytes]:
    """WebSocket frames joined, so many a block."""
    made, part = [], []
    for frame in frames:
        part.append(text_frame(frame))
        if len(part) == size:
            made.append(b"".join(part))
            part.clear()
    if part:
        made.append(b"".join(part))
    return made
