"""Holds the exchange's candles against its own trades: two sources that must agree to the last digit.

Where single trades are streamed beside klines, candles are built from them and compared with what the store keeps
once it has settled. A candle whose trades were not all seen is not compared.
"""

from collections import deque
from collections.abc import Callable

from candlewick.analysis.aggregate import CandleBuilder
from candlewick.clock import Clock
from candlewick.errors import UsageError
from candlewick.events import CandleDisputed, Event
from candlewick.market import Candle, Series, Trade
from candlewick.services.recorder import to_candle
from candlewick.stores.store import VALUES, StoreReader

MOST_BUILT = 100_000
SETTLED_S = 30.0
"""So long after its end a candle is compared: by then it has come, if not by its stream then by REST."""


class CrossCheck:
    """Builds candles of the followed series from trades, and compares."""

    def __init__(self, store: StoreReader, series: list[Series], clock: Clock, tell: Callable[[Event], None]) -> None:
        self._store, self._clock, self._tell = store, clock, tell
        self._builders: dict[str, list[tuple[Series, CandleBuilder]]] = {}
        for one in series:
            self._builders.setdefault(one.symbol, []).append((one, CandleBuilder(one.interval)))
        self._last_ids: dict[str, int] = {}
        self._built: deque[tuple[float, Series, Candle]] = deque(maxlen=MOST_BUILT)
        self.equal = self.different = 0

    def take(self, symbol: str, trade: Trade) -> None:
        """A trade; where its id does not follow, the candle it belongs to is not compared."""
        whole = self._last_ids.get(symbol) == trade.first_id - 1
        self._last_ids[symbol] = trade.last_id
        for series, builder in self._builders.get(symbol, ()):
            if not whole:
                builder.reset()
            try:
                built = builder.add(trade)
            except UsageError:  # a damaged frame: its time, or its decimals, are no trade's
                builder.reset()
                continue
            if built is not None:
                self._built.append((self._clock.monotonic(), series, built))

    def compare(self) -> None:
        """Compare what has settled since the last time."""
        due = self._clock.monotonic() - SETTLED_S
        while self._built and self._built[0][0] <= due:
            self._compare(*self._built.popleft()[1:])

    def _compare(self, series: Series, built: Candle) -> None:
        rows = self._store.read(series, built.open_time, built.open_time + 1)
        if not len(rows):
            return
        held = to_candle(rows[0])
        fields = tuple(name for name in VALUES if name != "close_time" and getattr(held, name) != getattr(built, name))
        if fields:
            self.different += 1
            self._tell(CandleDisputed(series, held, built, fields))
        else:
            self.equal += 1
