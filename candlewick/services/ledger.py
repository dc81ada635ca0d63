"""What each series expects next: which close is overdue, which was skipped, what is not yet confirmed.

Pure: it is told of closes, repairs and the time (microseconds of market time), and says what to ask REST for.
"""

from collections.abc import Iterator

from candlewick.clock import SECOND
from candlewick.market import Series, Span

FUTURE_S = 5
"""A close that ends further ahead than this is no close: a damaged frame must not move what is expected."""
ASK_FIRST_S = 10.0
"""REST had nothing for an overdue close: it is asked again after this,"""
ASK_MOST_S = 120.0
"""then after twice as long, and so on up to this."""


class Expectation:
    """One series. `frontier` is the open time of the next candle to close: everything before it is held or asked for."""

    __slots__ = ("_ask_at", "_ask_s", "_nominal", "confirmed", "frontier", "grace", "last_close", "series", "stale")

    def __init__(self, series: Series, frontier: int, confirmed: int, grace: int) -> None:
        """`confirmed`: everything before it was vouched for by REST; `grace`: microseconds a close may be late."""
        self.series = series
        self.frontier = frontier
        self.confirmed = confirmed
        self.grace = grace
        self.last_close = 0
        """When the newest candle that is held ended; 0 when there is none."""
        self.stale = False
        """Whether a close is overdue."""
        self._ask_at = 0
        self._ask_s = ASK_FIRST_S
        # Months are not for the short way: no candle of theirs is over after so long.
        self._nominal = series.interval.nominal if series.interval.is_fixed else 1 << 62

    def closed(self, open_time: int, now: int) -> Span | None:
        """A close arrived; what was skipped before it, if anything."""
        if open_time == self.frontier and open_time + self._nominal <= now:
            self.frontier = self.last_close = open_time + self._nominal
            if self._ask_at or self.stale:
                self._move(self.frontier)
            return None
        interval = self.series.interval
        ends = interval.next(open_time)
        if open_time < self.frontier or ends > now + FUTURE_S * SECOND or interval.floor(open_time) != open_time:
            return None
        skipped = Span(self.frontier, open_time) if open_time > self.frontier else None
        self._move(ends)
        return skipped

    def mended(self, start: int, until: int, *, whole: bool) -> None:
        """REST was asked for what `[start, until)` lacked (for all of it when `whole`), and what it has is held."""
        if start <= self.frontier < until:
            self._move(until)
        elif start < until == self.frontier:
            self.last_close = max(self.last_close, until)
        if whole and start <= self.confirmed < until:
            self.confirmed = until

    def _move(self, frontier: int) -> None:
        self.frontier = frontier
        self.last_close = max(self.last_close, frontier)
        self.stale = False
        self.hurry()

    def overdue(self, now: int) -> Span | None:
        """The candles whose close is late, when it is time to ask for them."""
        interval = self.series.interval
        if now < interval.next(self.frontier) + self.grace:
            return None
        self.stale = True
        if now < self._ask_at:
            return None
        self._ask_at = now + int(self._ask_s * SECOND)
        self._ask_s = min(2 * self._ask_s, ASK_MOST_S)
        return Span(self.frontier, interval.floor(now))

    def hurry(self) -> None:
        """Ask at once for what is overdue: the way is open again."""
        self._ask_at = 0
        self._ask_s = ASK_FIRST_S


class Ledger:
    """All series of a run."""

    def __init__(self) -> None:
        self.series: dict[Series, Expectation] = {}

    def expect(self, series: Series, frontier: int, confirmed: int, threshold_s: float) -> Expectation:
        """Follow a series; a close may be late as `grace_s` says."""
        grace = int(grace_s(series, threshold_s) * SECOND)
        one = self.series[series] = Expectation(series, frontier, confirmed, grace)
        return one

    def overdue(self, now: int) -> Iterator[tuple[Series, Span]]:
        """Everything that is late and should be asked for now."""
        for series, one in self.series.items():
            if (span := one.overdue(now)) is not None:
                yield series, span


def grace_s(series: Series, threshold_s: float) -> float:
    """How late a close may be, in seconds.

    GAP_DETECTION_THRESHOLD counts from the last close, so 70 leaves a 1m candle 10 s. A longer interval gets those
    10 s too, and a threshold below 10 applies as it stands.
    """
    return max(threshold_s - series.interval.nominal / SECOND, min(threshold_s, 10.0))
