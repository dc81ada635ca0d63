"""What became of backfills since the start."""

from candlewick.histogram import Distribution, Histogram
from candlewick.services.gap_handler.results import Backfilled, Outcome

DURATIONS_S = tuple(0.1 * 2**power for power in range(10))


class Tally:
    """Counts of one gap handler."""

    def __init__(self) -> None:
        self.outcomes = dict.fromkeys((one.value for one in Outcome), 0)
        self.recovered = 0
        """Candles."""
        self._durations = {one.value: Histogram(DURATIONS_S) for one in Outcome}

    def count(self, result: Backfilled) -> Backfilled:
        """One more; returns it."""
        self.outcomes[result.status.value] += 1
        self._durations[result.status.value].observe(result.duration_s)
        self.recovered += result.recovered
        return result

    def durations(self) -> dict[str, Distribution]:
        """How long backfills took, by outcome."""
        return {name: one.snapshot() for name, one in self._durations.items()}
