"""What happens to a frame: one small receiver per stream, on the hottest path of the program.

Closed candles go to the recorder and trades to their consumers, each of them; what is not final (open candles, quotes,
tickers) only ever replaces the one before it, and what was replaced unread is counted.
"""

from collections.abc import Callable
from math import inf
from typing import Generic, TypeVar

from msgspec.structs import astuple

from candlewick.errors import DecodeError
from candlewick.exchanges.exchange import CandleUpdate, StreamKind, TradeUpdate
from candlewick.integrity.continuity import Hole
from candlewick.integrity.doubt import Believed
from candlewick.integrity.rules import EARLIEST
from candlewick.live.liveness import Watch
from candlewick.market import Candle, Series, Span, Trade
from candlewick.services.ledger import Expectation
from candlewick.services.recorder import Recorder

T = TypeVar("T")

CANDLE_FIELDS = len(Candle.__struct_fields__)

TradeConsumer = Callable[[str, Trade], None]
"""Called with the symbol and each trade once, in the order in which they became known."""


class Latest(Generic[T]):
    """The newest of something; what is replaced before anybody read it is counted."""

    __slots__ = ("_read", "collapsed", "value")

    def __init__(self) -> None:
        self.value: T | None = None
        self.collapsed = 0
        self._read = True

    def put(self, value: T) -> None:
        """Replace it."""
        if not self._read:
            self.collapsed += 1
        self.value = value
        self._read = False

    def take(self) -> T | None:
        """Read it."""
        self._read = True
        return self.value


class KlineReceiver:
    """Frames of one kline stream."""

    __slots__ = (
        "_add", "_code", "_decode", "_expected", "_last", "_number", "_on_skipped", "_symbol", "closed",
        "latest", "repeats", "series", "watch",
    )  # fmt: skip

    def __init__(
        self, expected: Expectation, decode: Callable[[bytes], CandleUpdate], watch: Watch, recorder: Recorder,
        on_skipped: Callable[[Series, Span], None],
    ) -> None:  # fmt: skip
        """`on_skipped` hears of candles whose close did not come before a later one."""
        self.series = expected.series
        self.watch = watch
        self.latest: Latest[Candle] = Latest()
        self.closed = self.repeats = 0
        self._symbol, self._code = self.series.symbol, self.series.interval.code
        self._number = recorder.numbers[self.series]
        self._expected, self._decode, self._add, self._on_skipped = expected, decode, recorder.add, on_skipped
        self._last: tuple[int | float, ...] = ()

    def receive(self, payload: bytes) -> None:
        """One frame."""
        update = self._decode(payload)
        if update.symbol != self._symbol or update.interval != self._code:
            raise DecodeError(f"stream of {self.series} carried {update.symbol} {update.interval}")
        self.watch.frames += 1
        if not update.closed:
            self.latest.put(update)
            return
        candle = astuple(update)[:CANDLE_FIELDS]
        if candle == self._last:
            self.repeats += 1
            return
        self._last = candle
        self.closed += 1
        received_at = self._add(self._number, candle, payload)
        skipped = self._expected.closed(update.open_time, received_at)
        if skipped is not None:
            self._on_skipped(self.series, skipped)


class TradeReceiver:
    """Frames of one trade or aggTrade stream: every id once, holes named."""

    __slots__ = (
        "_consume",
        "_continuity",
        "_decode",
        "_on_doubt",
        "_on_hole",
        "believed",
        "kind",
        "name",
        "symbol",
        "watch",
    )

    def __init__(
        self, name: str, kind: StreamKind, symbol: str, decode: Callable[[bytes], TradeUpdate], watch: Watch,
        consume: TradeConsumer, on_hole: Callable[["TradeReceiver", Hole], None],
        on_doubt: Callable[["TradeReceiver", Trade], None],
    ) -> None:  # fmt: skip
        """`on_hole` hears of skipped ids; `on_doubt` of a trade that waits for another to confirm its id."""
        self.name = name
        self.kind = kind
        self.symbol = symbol
        self.watch = watch
        self.believed = Believed()
        self._continuity = self.believed.continuity
        self._decode, self._consume, self._on_hole, self._on_doubt = decode, consume, on_hole, on_doubt

    def receive(self, payload: bytes) -> None:
        """One frame."""
        update = self._decode(payload)
        if update.symbol != self.symbol:
            raise DecodeError(f"stream {self.name} carried {update.symbol}")
        # Written so that what is no number fails too.
        if not (0.0 < update.price < inf and 0.0 < update.quantity < inf and update.time >= EARLIEST):
            raise DecodeError(f"{self.name}: nobody trades {update.quantity} at {update.price}, time {update.time}")
        self.watch.frames += 1
        trade_id, continuity = update.trade_id, self._continuity
        if trade_id == continuity.next_id and self.believed.held is None:
            continuity.next_id = trade_id + 1
            self._consume(self.symbol, update)
        else:
            self._unexpected(update)

    def _unexpected(self, trade: Trade) -> None:
        self._tell(self.believed.take(trade))
        if self.believed.held is trade:
            self._on_doubt(self, trade)

    def _tell(self, trades: list[tuple[Trade, Hole | None]]) -> None:
        for trade, hole in trades:
            if hole is not None:
                self._on_hole(self, hole)
            self._consume(self.symbol, trade)

    def settle(self, trade: Trade, *, real: bool) -> None:
        """REST was asked about a trade in doubt."""
        if self.believed.held is not trade:
            return
        if real:
            self._tell(self.believed.believe())
        else:
            self.believed.discard()

    def recovered(self, trade: Trade) -> bool:
        """A trade got from REST; whether it was still missing."""
        if not self._continuity.fill(trade.trade_id):
            return False
        self._consume(self.symbol, trade)
        return True


class LatestReceiver(Generic[T]):
    """Frames of a stream of which only the newest matters: quotes and tickers."""

    __slots__ = ("_decode", "latest", "watch")

    def __init__(self, decode: Callable[[bytes], T], watch: Watch) -> None:
        self.watch = watch
        self.latest: Latest[T] = Latest()
        self._decode = decode

    def receive(self, payload: bytes) -> None:
        """One frame."""
        value = self._decode(payload)
        self.watch.frames += 1
        self.latest.put(value)
