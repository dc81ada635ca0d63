"""The series that SYMBOLS and INTERVALS name."""

from collections.abc import Sequence

from candlewick.config import Settings
from candlewick.history.client import RestClient
from candlewick.market import Series
from candlewick.services.symbols import resolve


class FollowedSeries:
    """SYMBOLS x INTERVALS, where patterns stand for what the exchange lists."""

    def __init__(self, settings: Settings, client: RestClient) -> None:
        self._settings, self._client = settings, client
        names = [one for one in settings.symbols if not _is_pattern(one)]
        self._has_patterns = len(names) < len(settings.symbols)
        self.default = Series(settings.market, names[0] if names else "BTCUSDT", settings.intervals[0])
        """What a request is about that names no series."""
        self._all: list[Series] | None = None

    @property
    def named(self) -> list[Series]:
        """All of them where every symbol is written out; none where the exchange has to be asked."""
        return [] if self._has_patterns else self._times_intervals(self._settings.symbols)

    async def all(self) -> list[Series]:
        """All of them.

        Raises:
            CandlewickError: the exchange cannot be asked what it lists, or lists nothing of the kind.
        """
        if self._all is None:
            symbols: Sequence[str] = self._settings.symbols
            if self._has_patterns:
                info = await self._client.exchange_info()
                symbols = resolve(symbols, info.instruments, self._settings.market)
            self._all = self._times_intervals(symbols)
        return self._all

    def _times_intervals(self, symbols: Sequence[str]) -> list[Series]:
        return [Series(self._settings.market, one, each) for one in symbols for each in self._settings.intervals]


def _is_pattern(symbol: str) -> bool:
    return any(sign in symbol for sign in "*?[")
