"""What flows between the stages besides data: trouble, and its end, as values.

Logs, counters, health and outputs are all made from these; a stage never logs on its own.
"""

from msgspec import Struct

from candlewick.market import Candle, Series, Span


class FeedUp(Struct, frozen=True, tag=True):
    """A connection is open and its streams are asked for."""

    connection: str
    streams: int


class FeedDown(Struct, frozen=True, tag=True):
    """A connection ended, or could not be opened; `retry_s` until the next attempt."""

    connection: str
    reason: str
    retry_s: float


class FeedRenewed(Struct, frozen=True, tag=True):
    """A connection was replaced by a new one that was opened first."""

    connection: str
    reason: str


class StreamSilent(Struct, frozen=True, tag=True):
    """A stream that was asked for delivers nothing while the exchange's REST shows trading."""

    stream: str
    silent_s: float
    evidence: str


class StreamRevived(Struct, frozen=True, tag=True):
    """A stream that was silent delivers again."""

    stream: str
    silent_s: float


class CandleRejected(Struct, frozen=True, tag=True):
    """Something broke a rule and went to the quarantine."""

    series: str
    rule: str
    source: str
    detail: str


class FrameRejected(Struct, frozen=True, tag=True):
    """A frame could not be read."""

    connection: str
    detail: str


class CandlesStored(Struct, frozen=True, tag=True):
    """Candles are on disk, synced."""

    inserted: int
    confirmed: int
    changed: int
    latency_ms: float


class CandleRevised(Struct, frozen=True, tag=True):
    """A settled source disagreed with what was held; `kept` is what is held now."""

    series: Series
    held: Candle
    kept: Candle
    fields: tuple[str, ...]


class CandleDisputed(Struct, frozen=True, tag=True):
    """The exchange's own trades add up to another candle than the one it gave; what it gave is held."""

    series: Series
    held: Candle
    built: Candle
    fields: tuple[str, ...]


class GapFound(Struct, frozen=True, tag=True):
    """Candles that should be there are not."""

    series: Series
    span: Span
    candles: int
    cause: str


class GapClosed(Struct, frozen=True, tag=True):
    """A gap has its candles, or its reason; `recovered` of `candles` were got."""

    series: Series
    span: Span
    candles: int
    recovered: int
    reason: str


class HistoryLoaded(Struct, frozen=True, tag=True):
    """The archive and REST were asked for a part of a series; `candles` were got, `missing` are still to be had."""

    series: Series
    span: Span
    candles: int
    files: int
    missing: int


class TradeHole(Struct, frozen=True, tag=True):
    """Trade ids were skipped; `recovered` of `trades` came late or from REST, the rest is lost for the reason given."""

    stream: str
    first_id: int
    trades: int
    recovered: int
    reason: str


class RestTrouble(Struct, frozen=True, tag=True):
    """REST failed; `retry_s` until it is asked again."""

    what: str
    reason: str
    retry_s: float


class ClockOff(Struct, frozen=True, tag=True):
    """This machine's clock differs from the exchange's, which is used instead."""

    behind_ms: float


class StoreTrouble(Struct, frozen=True, tag=True):
    """The store could not keep what it was given; it waits in memory and is tried again."""

    reason: str
    waiting: int
    retry_s: float


class OutputTrouble(Struct, frozen=True, tag=True):
    """An output did not take what it was given; it waits in the store and is tried again in `retry_s`."""

    output: str
    reason: str
    waiting: int
    """Rows that the store has and the output has not."""
    retry_s: float


class OutputBack(Struct, frozen=True, tag=True):
    """An output that gave trouble for `away_s` takes rows again; `waiting` are still to be sent."""

    output: str
    away_s: float
    waiting: int


class OutputWritten(Struct, frozen=True, tag=True):
    """An output took in rows, in `ms` milliseconds; `refused` of them it would not take. `total` since the start."""

    output: str
    rows: int
    refused: int
    ms: float
    total: int


class OutputRefused(Struct, frozen=True, tag=True):
    """An output will not take something, in its own words; it is set aside in the store, and the rest goes on."""

    output: str
    what: str
    words: str


class OutputSnapshot(Struct, frozen=True, tag=True):
    """Everything held is brought over to an output, and why."""

    output: str
    reason: str
    rows: int


class JobDone(Struct, frozen=True, tag=True):
    """A job of the shared database was run for the time it was due; `result` is what it counted, as JSON."""

    job: str
    scheduled_for: int
    result: str


class JobFailed(Struct, frozen=True, tag=True):
    """A job of the shared database failed, or whether one is due could not be asked; `retry_s` until it is tried again."""

    job: str
    reason: str
    retry_s: float


Event = (
    FeedUp | FeedDown | FeedRenewed | StreamSilent | StreamRevived | CandleRejected | FrameRejected | CandlesStored
    | CandleRevised | CandleDisputed | GapFound | GapClosed | HistoryLoaded | TradeHole | RestTrouble | ClockOff | StoreTrouble
    | OutputTrouble | OutputBack | OutputWritten | OutputRefused | OutputSnapshot | JobDone | JobFailed
)  # fmt: skip
