"""Is a stream dead or is its market quiet? Per stream, without a socket or a clock.

A stream that was acknowledged and delivers nothing looks like a quiet market. So a stream that is quieter than it
used to be (or never said a word) is suspected, REST is asked twice how many trades there were, and only when trades
happened that the stream did not tell is it called silent. A quiet market costs a probe now and then, ever rarer.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from candlewick.market import format_time

FIRST_WORD_S = 5.0
"""A stream that never delivered is suspected after this."""
GAPS_MISSED = 3.0
"""One that did, when so many of its usual gaps passed without a frame,"""
MOST_PATIENCE_S = 60.0
"""but never sooner than FIRST_WORD_S nor later than this."""
RATE_OVER_S = 30.0
"""The usual gap is that of the last seconds, so many."""
SECOND_PROBE_S = 3.0
"""Between the two probes."""
GRACE_S = 2.5
"""What a kline may lag behind its trade (2 s on spot), and a little."""
FAILED_PROBE_MOST_S = 60.0
"""A probe that REST does not answer is made again after SECOND_PROBE_S, then twice as long, ... up to this."""
QUIET_PROBE_S = 10.0
"""After a probe without trades the next one waits so long, then twice as long, ..."""
QUIET_PROBE_MOST_S = 120.0
PROBES_PER_S = 1.0
"""Of all streams together, in the long run: a tenth of what REST may be asked by default,"""
PROBES_AT_ONCE = 60.0
"""after so many that may be made at once."""
REMEDY_S = (0.0, 8.0, 20.0, 60.0, 180.0, 600.0)
"""When a silent stream is renewed, in seconds after the alarm and between later attempts (the last one repeats)."""


class Activity(NamedTuple):
    """How far an exchange's newest candle has come: what a probe compares."""

    open_time: int
    trades: int


class Suspect(NamedTuple):
    """Ask REST about this stream, then call `Liveness.probed`."""

    stream: str


class Silent(NamedTuple):
    """The alarm: confirmed by REST."""

    stream: str
    silent_s: float
    evidence: str


class Revived(NamedTuple):
    """A silent stream delivers again."""

    stream: str
    silent_s: float


class Remedy(NamedTuple):
    """Renew this stream; `attempt` counts from 1: first ask for it again, then on a new connection."""

    stream: str
    attempt: int


Finding = Suspect | Silent | Revived | Remedy


class Watch:
    """One stream. `frames` is counted where frames arrive; everything else happens once a second."""

    __slots__ = (
        "_age_s", "_baseline", "_confirm_at", "_failed_probe_s", "_found", "_last_at", "_next_probe_at", "_probing",
        "_quiet_probe_s", "_rate", "_remedies", "_remedy_at", "_seen", "asked_at", "evidence", "frames", "name",
        "silent_since",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.frames = 0
        self.evidence = ""
        self.silent_since: float | None = None
        self._age_s = 0.0
        self._rate = 0.0
        self._seen = 0
        self.ask(None)

    def ask(self, now: float | None) -> None:
        """The stream was asked for at `now`; None while it is not asked for (no connection)."""
        self.asked_at = now
        self._probing = False
        if self.silent_since is None:
            self._last_at = now or 0.0
            self._settle()

    def _settle(self) -> None:
        self._baseline: Activity | None = None
        self._confirm_at: float | None = None
        self._next_probe_at = 0.0
        self._quiet_probe_s = QUIET_PROBE_S
        self._failed_probe_s = SECOND_PROBE_S
        self._remedies = 0
        self._remedy_at = 0.0
        self._found = ""

    def tick(self, now: float, elapsed_s: float, *, may_suspect: bool = True) -> Finding | None:
        """Once a second: what there is to say of this stream."""
        if self.asked_at is None:
            return None
        self._age_s = min(self._age_s + elapsed_s, RATE_OVER_S)
        new = self.frames - self._seen
        self._rate += (new - self._rate * elapsed_s) / max(self._age_s, 1e-9)
        if new:
            return self._delivered(now)
        if self.silent_since is not None:
            return self._remedy(now)
        if self._confirm_at is not None:
            return self._alarm(now) if now >= self._confirm_at else None
        if not may_suspect or self._probing or now < self._next_probe_at or now - self._last_at < self.patience_s:
            return None
        self._probing = True
        return Suspect(self.name)

    def _delivered(self, now: float) -> Finding | None:
        self._seen = self.frames
        silent_since, self.silent_since = self.silent_since, None
        self._last_at = now
        self._settle()
        return None if silent_since is None else Revived(self.name, now - silent_since)

    def probed(self, activity: Activity | None, now: float) -> None:
        """What REST answered about the market of this stream; None when it did not answer."""
        self._probing = False
        if activity is None:
            self._next_probe_at = now + self._failed_probe_s
            self._failed_probe_s = min(2 * self._failed_probe_s, FAILED_PROBE_MOST_S)
            return
        self._failed_probe_s = SECOND_PROBE_S
        if self._baseline is None:
            self._baseline = activity
            self._next_probe_at = now + SECOND_PROBE_S
        elif activity > self._baseline and activity.trades > 0:
            self._confirm_at = now + GRACE_S
            self._found = (
                f"REST counted {activity.trades} trades in the candle of {format_time(activity.open_time)}, "
                f"after {self._baseline.trades} in that of {format_time(self._baseline.open_time)}; the stream told none"
            )
        else:
            self._baseline = activity
            self._next_probe_at = now + self._quiet_probe_s
            self._quiet_probe_s = min(2 * self._quiet_probe_s, QUIET_PROBE_MOST_S)

    def _alarm(self, now: float) -> Finding:
        self._confirm_at = None
        self.silent_since = self._last_at
        self.evidence = self._found
        self._remedy_at = now + REMEDY_S[0]
        return Silent(self.name, now - self._last_at, self._found)

    def _remedy(self, now: float) -> Finding | None:
        if now < self._remedy_at:
            return None
        self._remedies += 1
        self._remedy_at = now + REMEDY_S[min(self._remedies, len(REMEDY_S) - 1)]
        return Remedy(self.name, self._remedies)

    @property
    def patience_s(self) -> float:
        """How long it may be quiet before it is suspected."""
        if self._seen == 0:
            return FIRST_WORD_S
        return min(max(GAPS_MISSED / max(self._rate, 1e-9), FIRST_WORD_S), MOST_PATIENCE_S)


class Liveness:
    """All streams of a feed."""

    def __init__(
        self, watches: Mapping[str, Watch], most_suspects: int = 10, probes_per_s: float = PROBES_PER_S
    ) -> None:  # fmt: skip
        """`most_suspects`: how many may be probed at once; `probes_per_s`: and how many in the long run.

        A dead route, or hundreds of quiet markets, shall not eat the REST budget.
        """
        self.watches = watches
        self._most_suspects = most_suspects
        self._probes_per_s = probes_per_s
        self._allowed = PROBES_AT_ONCE
        # Whoever was probed goes to the end: where there are too many suspects each has its turn.
        self._order = dict.fromkeys(watches.values())
        self._probing = 0
        self._ticked_at: float | None = None

    def tick(self, now: float) -> Iterator[Finding]:
        """Once a second: everything there is to say."""
        elapsed_s = 1.0 if self._ticked_at is None else now - self._ticked_at
        self._ticked_at = now
        self._allowed = min(PROBES_AT_ONCE, self._allowed + elapsed_s * self._probes_per_s)
        for watch in list(self._order):
            may_suspect = self._probing < self._most_suspects and self._allowed >= 1
            finding = watch.tick(now, elapsed_s, may_suspect=may_suspect)
            if isinstance(finding, Suspect):
                self._probing += 1
                self._allowed -= 1
                del self._order[watch]
                self._order[watch] = None
            if finding is not None:
                yield finding

    def probed(self, stream: str, activity: Activity | None, now: float) -> None:
        """What REST answered about a suspect."""
        self._probing -= 1
        self.watches[stream].probed(activity, now)
