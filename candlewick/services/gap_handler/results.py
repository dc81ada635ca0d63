"""What the gap handler says of itself and of what it did: the types behind its answers. Times are microseconds UTC."""

from enum import StrEnum
from typing import Protocol

from msgspec import Struct, field

from candlewick.histogram import Distribution
from candlewick.market import Series, Span
from candlewick.services.gap_handler.asked import Asked


class Outcome(StrEnum):
    """What became of a backfill."""

    BACKFILLED = "backfilled"
    """Verified: every candle of the range is held, or has a reason why there is none."""
    PARTIAL = "partial"
    """Something is still missing."""
    REJECTED = "rejected"
    """Too many are under way; nothing was done."""
    ERROR = "error"
    """It failed before anything came."""


class Backfilled(Struct, frozen=True, kw_only=True):
    """One backfill."""

    status: Outcome
    series: Series
    span: Span
    expected: int = 0
    """Candles that were missing when it began, and are over by now."""
    fetched: int = 0
    """Candles that were got of the range,"""
    skipped: int = 0
    """and those of them that were held already, or could not be kept."""
    recovered: int = 0
    """Of the expected, those held now."""
    absent: int = 0
    """Of the expected, those that the exchange itself does not have."""
    duration_s: float = 0.0
    error: str = ""


class Swept(Struct, frozen=True, kw_only=True):
    """What was done about the gaps that the log had open."""

    details: tuple[Backfilled, ...]
    remaining: int
    """Gaps that were not reached in the time there was."""


class Historical(Struct, frozen=True, kw_only=True):
    """How far the historical backfill is; kept in the database, so that any gap handler there can go on with it."""

    is_running: bool = False
    started_at: int = 0
    finished_at: int = 0
    start: int = 0
    end: int = 0
    chunk_days: int = 7
    done: tuple[int, ...] = ()
    """The chunks that are verified complete, by their number from the start."""
    recovered: int = 0
    current: int = -1
    """The chunk it is at,"""
    before: int = -1
    """and how many candles of that were held when it was begun; -1 between chunks."""
    error: str = ""


class Rate(Struct, frozen=True, kw_only=True):
    """How the exchange may be asked now."""

    consecutive_failures: int
    tokens_available: float
    in_backoff: bool
    weight_used: int
    weight_limit: int


class Timing(Struct, frozen=True, kw_only=True):
    """Distributions, in seconds."""

    backfills: dict[str, Distribution] = field(default_factory=dict)
    """By outcome."""
    api: Distribution = Distribution()
    database: Distribution = Distribution()


class GapHandlerStatus(Struct, frozen=True, kw_only=True):
    """Everything a gap handler knows of itself at `now`; making it asks nobody."""

    version: str
    environment: str
    market: str
    started_at: int
    now: int
    database: str
    """Where it is, without passwords."""
    database_connected: bool
    database_error: str = ""
    api_reachable: bool | None = None
    api_error: str = ""
    rate: Rate
    outcomes: dict[str, int]
    """Backfills since the start, by outcome."""
    api_requests: dict[str, int]
    recovered: int = 0
    """Candles since the start."""
    inserted: int = 0
    duplicates: int = 0
    database_errors: int = 0
    pending: int = 0
    active: int = 0
    errors_24h: int = 0
    unresolved_gaps: int | None = None
    """None until the database said."""
    candles_missing: int | None = None
    backfills_24h: int | None = None
    recovered_24h: int | None = None
    scanned_at: int | None = None
    timing: Timing
    memory_mb: float = 0.0


class Keeper(Protocol):
    """What the web may ask of a gap handler."""

    default: Series
    """The series of a request that names none."""

    def status(self) -> GapHandlerStatus:
        """A snapshot, without I/O."""

    async def ping(self, timeout_s: float) -> None:
        """Ask the database whether it is there.

        Raises:
            StoreDown: it does not answer in time.
        """

    async def backfill(self, asked: Asked) -> Backfilled:
        """Repair a gap now, or say at once that too many are under way.

        Raises:
            UsageError: the exchange does not know the series.
        """

    async def backfill_unresolved(self) -> Swept:
        """Repair every gap that the log has open, oldest first."""

    async def historical(self) -> Historical:
        """How far the historical backfill is; raises StoreDown."""

    async def start_historical(self) -> bool:
        """Start it; False where it runs already, here or in another gap handler. Raises StoreDown."""

    def stop(self) -> None:
        """End, in good order, a moment from now."""
