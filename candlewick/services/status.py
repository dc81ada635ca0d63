"""What a run shows of itself: one snapshot that health, metrics, `/status` and `candlewick status` are all made from.

Types only. Times are microseconds UTC of the exchange's clock, None (or 0 in a field that says so) where there is none.
"""

from typing import Protocol

from msgspec import Struct, field

from candlewick.histogram import Distribution
from candlewick.market import Series

DATABASE = "postgresql"
"""The name of the output that is the shared database."""


class StoreStatus(Struct, frozen=True, kw_only=True):
    """The store. `connected` is whether the last thing asked of it worked."""

    location: str = ""
    connected: bool = False
    error: str | None = None
    """What it complains of now."""
    pool_size: int = 1
    """Open connections to it; the embedded store has one writer."""


class Counters(Struct, frozen=True, kw_only=True):
    """What only ever grows while a run lasts."""

    frames: dict[str, int] = {}
    """Frames by kind of stream."""
    unknown_frames: dict[str, int] = {}
    """Frames of kinds that are not known, by what they call themselves."""
    unreadable_frames: int = 0
    candles_processed: int = 0
    """Closed candles that arrived, from the streams and by REST."""
    candles_written: int = 0
    """Candles that were new to the store, on disk."""
    candles_confirmed: int = 0
    candles_rejected: dict[str, int] = {}
    """Rows in the quarantine, by the rule they broke."""
    repeated_candles: int = 0
    collapsed_updates: int = 0
    """Open candles, quotes and tickers that were replaced before anybody read them."""
    repeated_trades: int = 0
    trade_holes: int = 0
    """Trade ids that were skipped."""
    recovered_trades: int = 0
    differences: int = 0
    """Candles for which REST and the live stream disagreed."""
    crosschecks: dict[str, int] = {}
    """Candles held against those built from single trades: equal, different."""
    gaps_found: int = 0
    gaps_closed: int = 0
    candles_recovered: int = 0
    reconnects: int = 0
    renewals: int = 0
    control_errors: int = 0
    rest_requests: dict[str, int] = {}
    """REST requests by outcome: success, error, rate_limited, server_error."""
    rest_retries: int = 0
    rest_weight: int = 0
    events: dict[str, int] = {}
    """Events by name."""


class ConnectionStatus(Struct, frozen=True, kw_only=True):
    """One live connection. `since`: how long it has been connected, or has not been."""

    name: str
    host: str
    streams: int
    connected: bool
    since: int | None = None
    last_frame_at: int | None = None
    reason: str = ""
    """Why it is not connected."""


class SilentStream(Struct, frozen=True, kw_only=True):
    """A stream that delivers nothing though its market trades."""

    stream: str
    since: int
    reason: str


class SeriesStatus(Struct, frozen=True, kw_only=True):
    """One series. `last_close` is when the newest candle that is held ended."""

    market: str
    symbol: str
    interval: str
    last_close: int | None = None
    last_price: float | None = None
    lag_s: float | None = None
    """Seconds since `last_close`: in good order it lies between 0 and the interval."""
    stale: bool = False
    """A close is overdue."""
    missing: int = 0
    """Candles that are missing and not repaired yet."""


class RestStatus(Struct, frozen=True, kw_only=True):
    """REST now. `weight_used` is in this minute as the exchange counts it, None before its first answer."""

    reachable: bool | None = None
    """Whether the last request was answered; None before the first."""
    error: str | None = None
    """Why it was not, if it was not."""
    weight_used: int | None = None
    weight_limit: int | None = None
    ban_until: int | None = None
    """Nothing may be asked before this."""


class Latencies(Struct, frozen=True, kw_only=True):
    """Distributions, in seconds."""

    durability: Distribution = Distribution()
    """From the receipt of a frame to its candle being on disk."""
    rest: Distribution = Distribution()
    commit: Distribution = Distribution()


class OutputStatus(Struct, frozen=True, kw_only=True):
    """One output, which takes in what the store holds. `connected` is whether the last thing asked of it worked."""

    name: str
    location: str = ""
    connected: bool = False
    error: str | None = None
    """What it complains of now."""
    behind_rows: int = 0
    """Rows that the store has and it has not yet."""
    lag_s: float = 0.0
    """How long the oldest of them has waited."""
    written: int = 0
    """Rows that it took in."""
    refused: int = 0
    """Rows and other things that it would not take, counting again those that it refused again."""
    set_aside: int = 0
    """Those that it has not taken since; they are kept in the store."""
    retries: int = 0
    pool_size: int = 0
    """Open connections to it."""
    snapshot: bool = False
    """Whether everything held is being brought over, as at its first contact."""
    latency: Distribution = Distribution()
    """From a candle being on disk to its being in the output."""


class Status(Struct, frozen=True, kw_only=True):
    """Everything a run knows of itself at `now`."""

    version: str
    started_at: int
    now: int
    environment: str
    exchange: str
    market: str
    store: StoreStatus
    outputs: tuple[OutputStatus, ...] = ()
    waiting_for: str = ""
    """What a run that is starting waits for; empty once it follows its symbols."""
    counters: Counters = field(default_factory=Counters)
    connections: tuple[ConnectionStatus, ...] = ()
    silent_streams: tuple[SilentStream, ...] = ()
    series: tuple[SeriesStatus, ...] = ()
    rest: RestStatus = field(default_factory=RestStatus)
    latencies: Latencies = field(default_factory=Latencies)
    buffer_size: int = 0
    """Candles that are not on disk yet."""
    buffer_age_s: float | None = None
    """How long the oldest of them has waited; None when there is none."""
    pending_backfills: int = 0
    gap_check_last: int | None = None
    """When the store was last scanned for gaps."""
    errors_24h: int = 0
    features_warmed_up: bool = False
    memory_mb: float = 0.0
    clock_behind_ms: float = 0.0
    """By how much this machine's clock is behind the exchange's; negative when it is ahead."""

    @property
    def database(self) -> OutputStatus | None:
        """The shared database, where one is fed."""
        return next((one for one in self.outputs if one.name == DATABASE), None)


class RepairResult(Struct, frozen=True, kw_only=True, rename={"start": "from", "end": "to"}):
    """What one repair of a series came to; `start` and `end` in epoch milliseconds, half-open."""

    market: str
    symbol: str
    interval: str
    start: int
    end: int
    expected: int
    recovered: int
    absent: int
    """Candles that the exchange itself does not have."""
    missing: int
    error: str | None = None
    """Why it could not be finished, if it could not."""


class Operator(Protocol):
    """What the web and the commands may ask of a run."""

    def status(self) -> Status:
        """A snapshot, made in microseconds to milliseconds, without I/O."""

    async def repair(self, series: Series | None) -> list[RepairResult]:
        """Find and mend every gap now, of one series or of all; returns when it is done.

        Raises:
            UsageError: the series is not followed.
            CandlewickError: it cannot be done now.
        """
