"""What happens to a frame: one small receiver per stream, on the hottest path of the program.

Closed candles go to the recorder and trades to their consumers, each of them; what is not final (open candles, quotes,
tickers) only ever replaces the one before it, and what was replaced unread is counted.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from candlewick.clock import Clock
from candlewick.errors import DecodeError
from candlewick.exchanges.exchange import CandleUpdate, StreamKind, TradeUpdate
from candlewick.integrity.continuity import Continuity, Hole
from candlewick.live.liveness import Watch
from candlewick.market import Candle, Series, Trade
from candlewick.services.recorder import Recorder

T = TypeVar("T")

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
        "_clock", "_code", "_decode", "_last", "_number", "_on_closed", "_recorder", "_symbol", "closed", "latest",
        "repeats", "series", "watch",
    )  # fmt: skip

    def __init__(
        self, series: Series, decode: Callable[[bytes], CandleUpdate], watch: Watch, recorder: Recorder, clock: Clock,
        on_closed: Callable[[Series, Candle], None],
    ) -> None:  # fmt: skip
        self.series = series
        self.watch = watch
        self.latest: Latest[Candle] = Latest()
        self.closed = self.repeats = 0
        self._symbol, self._code = series.symbol, series.interval.code
        self._number = recorder.numbers[series]
        self._decode, self._recorder, self._clock, self._on_closed = decode, recorder, clock, on_closed
        self._last: Candle | None = None

    def receive(self, payload: bytes) -> None:
        """One frame."""
        update = self._decode(payload)
        if update.symbol != self._symbol or update.interval != self._code:
            raise DecodeError(f"stream of {self.series} carried {update.symbol} {update.interval}")
        self.watch.frames += 1
        candle = update.candle
        if not update.closed:
            self.latest.put(candle)
            return
        if candle == self._last:
            self.repeats += 1
            return
        self._last = candle
        self.closed += 1
        self._recorder.add(self._number, candle, payload, self._clock.now())
        self._on_closed(self.series, candle)


class TradeReceiver:
    """Frames of one trade or aggTrade stream: every id once, holes named."""

    __slots__ = ("_consume", "_decode", "_on_hole", "continuity", "kind", "name", "symbol", "watch")

    def __init__(
        self, name: str, kind: StreamKind, symbol: str, decode: Callable[[bytes], TradeUpdate], watch: Watch, consume: TradeConsumer,
        on_hole: Callable[["TradeReceiver", Hole], None],
    ) -> None:  # fmt: skip
        self.name = name
        self.kind = kind
        self.symbol = symbol
        self.watch = watch
        self.continuity = Continuity()
        self._decode, self._consume, self._on_hole = decode, consume, on_hole

    def receive(self, payload: bytes) -> None:
        """One frame."""
        update = self._decode(payload)
        if update.symbol != self.symbol:
            raise DecodeError(f"stream {self.name} carried {update.symbol}")
        self.watch.frames += 1
        trade = update.trade
        taken = self.continuity.take(trade.trade_id)
        if taken is True:
            self._consume(self.symbol, trade)
        elif taken is not False:
            self._consume(self.symbol, trade)
            self._on_hole(self, taken)

    def recovered(self, trade: Trade) -> bool:
        """A trade got from REST; whether it was still missing."""
        if self.continuity.take(trade.trade_id) is not True:
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
