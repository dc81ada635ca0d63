"""Hears every event: writes it to the log as a sentence, counts it, and knows how many errors there were in 24 hours."""

import logging
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from candlewick import __version__, events
from candlewick.clock import Clock
from candlewick.config import Settings, masked
from candlewick.events import Event
from candlewick.market import DAY, MINUTE, Series, Span, format_time
from candlewick.services.status import Status

LINES_PER_MINUTE = 20
"""Of one kind of event; what goes beyond is counted and summed up at the end of the minute."""

_ERRORS = (
    events.FeedDown, events.CandleRejected, events.FrameRejected, events.RestTrouble, events.StoreTrouble, events.JobFailed,
    events.OutputRefused,
)  # fmt: skip


class Observer:
    """The one listener of a run."""

    def __init__(self, clock: Clock, log: logging.Logger | None = None) -> None:
        """`log`: Candlewick's own logger when None."""
        self._clock = clock
        self._log = log or logging.getLogger("candlewick")
        self.counts: dict[str, int] = {}
        """Events by name."""
        self._errors = _Window()
        self._away: set[str] = set()
        self._lines: dict[str, int] = {}
        self._held_back: dict[str, _HeldBack] = {}
        self._stored = _Stored()

    def tell(self, event: Event) -> None:
        """Log and count an event."""
        name = type(event).__name__
        self.counts[name] = self.counts.get(name, 0) + 1
        if self._is_error(event):
            self._errors.add(self._clock.now())
        if isinstance(event, events.CandlesStored):
            self._stored.add(event)
        level, say = _SENTENCES[type(event)]
        if not self._log.isEnabledFor(level):
            return
        written = self._lines[name] = self._lines.get(name, 0) + 1
        # At level debug somebody wants to see every commit.
        if written > LINES_PER_MINUTE and level > logging.DEBUG:
            self._held_back[name] = _HeldBack(written - LINES_PER_MINUTE, level)
            return
        self._write(level, say(event), {"event": name, **_fields(event)})

    def _is_error(self, event: Event) -> bool:
        """Whether an event counts; what an output says of an outage after its first word does not: that is one error."""
        if isinstance(event, events.OutputBack):
            self._away.discard(event.output)
        if isinstance(event, events.OutputTrouble):
            known = event.output in self._away
            self._away.add(event.output)
            return not known
        return isinstance(event, _ERRORS) or (isinstance(event, events.TradeHole) and event.recovered < event.trades)

    def errors_24h(self) -> int:
        """How many errors there were in the last 24 hours of market time."""
        return self._errors.count(self._clock.now())

    def started(self, settings: Settings, url: str, *, takes_in: bool = True, shares: bool = False) -> None:
        """Say that a service begins, with what, and where it shows itself.

        `takes_in`: it has streams and a record of its own; `shares`: it works on the shared database.
        """
        fields: dict[str, object] = {
            "version": __version__, "exchange": settings.exchange, "market": settings.market.value,
            "symbols": list(settings.symbols), "intervals": [one.code for one in settings.intervals],
        }  # fmt: skip
        if takes_in:
            fields |= {"streams": [one.value for one in settings.streams], "store": masked(settings.record)}
        fields["url"] = url
        if shares:
            fields["database"] = masked(settings.database_url)
        self._write(logging.INFO, f"candlewick {__version__} started; health and metrics at {url}", fields)

    def stopped(self) -> None:
        """Say that a run ended in good order."""
        self._release()
        self._write(logging.INFO, "stopped; everything received is on disk", {})

    def summary(self, status: Status) -> None:
        """To be called every minute: what was stored since the last time, and what was held back."""
        self._release()
        stored, self._stored = self._stored, _Stored()
        connected = sum(one.connected for one in status.connections)
        missing = sum(one.missing for one in status.series)
        sentence = (
            f"{_many(stored.inserted, 'candle')} written, {stored.confirmed} confirmed, {stored.changed} changed; "
            f"{connected} of {_many(len(status.connections), 'connection')} open, "
            f"{_many(len(status.silent_streams), 'stream')} silent, {_many(missing, 'candle')} missing"
        )
        fields = {
            "written": stored.inserted, "confirmed": stored.confirmed, "changed": stored.changed,
            "commits": stored.commits, "slowest_ms": stored.slowest_ms, "total_written": status.counters.candles_written,
            "connections": connected, "missing": missing, "waiting_for": status.waiting_for,
        }  # fmt: skip
        self._write(logging.INFO, sentence, fields)

    def _release(self) -> None:
        """Say how many lines were held back."""
        for name, (lines, level) in self._held_back.items():
            self._write(level, f"{lines} more of {name} in this minute", {"event": name, "held_back": lines})
        self._held_back.clear()
        self._lines.clear()

    def _write(self, level: int, message: str, fields: dict[str, Any]) -> None:
        self._log.log(level, "%s", message, extra={"fields": fields, "written_at": format_time(self._clock.now())})


class _HeldBack(NamedTuple):
    lines: int
    level: int


class _Stored:
    """Commits since the last summary."""

    def __init__(self) -> None:
        self.commits = self.inserted = self.confirmed = self.changed = 0
        self.slowest_ms = 0.0

    def add(self, event: events.CandlesStored) -> None:
        self.commits += 1
        self.inserted += event.inserted
        self.confirmed += event.confirmed
        self.changed += event.changed
        self.slowest_ms = max(self.slowest_ms, event.latency_ms)


class _Window:
    """Counts of the last 24 hours, by minute: its size does not depend on how much goes wrong."""

    def __init__(self) -> None:
        self._minutes: deque[list[int]] = deque()

    def add(self, now: int) -> None:
        minute = now - now % MINUTE
        if self._minutes and self._minutes[-1][0] == minute:
            self._minutes[-1][1] += 1
        else:
            self._minutes.append([minute, 1])
        self._forget(now)

    def count(self, now: int) -> int:
        self._forget(now)
        return sum(count for _, count in self._minutes)

    def _forget(self, now: int) -> None:
        while self._minutes and self._minutes[0][0] <= now - DAY:
            self._minutes.popleft()


def _fields(event: Event) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, Span):
            fields |= {"from": format_time(value.start), "to": format_time(value.end)}
        elif isinstance(value, Series):
            fields[name] = str(value)
        else:
            fields[name] = msgspec.to_builtins(value)
    return fields


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _candles(series: Series, candles: int) -> str:
    return (
        _many(candles, "minute") if series.interval.code == "1m" else f"{_many(candles, 'candle')} of {series.interval}"
    )


def _say_rejected(event: events.CandleRejected) -> str:
    return f"a candle of {event.series} from {event.source} broke the rule {event.rule} and is in the quarantine"


def _say_revised(event: events.CandleRevised) -> str:
    when = format_time(event.kept.open_time)
    return f"{event.series} at {when} was revised: {', '.join(event.fields)} differ from what was held"


def _say_disputed(event: events.CandleDisputed) -> str:
    when = format_time(event.held.open_time)
    return f"{event.series} at {when} is not what its trades add up to: {', '.join(event.fields)} differ"


def _say_gap_found(event: events.GapFound) -> str:
    return f"{_candles(event.series, event.candles)} missing from {event.span} in {event.series}"


def _say_gap_closed(event: events.GapClosed) -> str:
    return (
        f"the gap of {_candles(event.series, event.candles)} from {event.span} in {event.series} is closed: "
        f"{_came_of(event.recovered, event.reason)}"
    )


def _say_history(event: events.HistoryLoaded) -> str:
    what = f"{_candles(event.series, event.candles)} of {event.series} {event.span} loaded"
    still = f"; {event.missing} still missing" if event.missing else ""
    return f"{what} from {_many(event.files, 'archive file')} and REST{still}"


def _came_of(recovered: int, reason: str) -> str:
    return f"{recovered} recovered" if reason == "recovered" else f"{recovered} recovered, {reason}"


def _say_trade_hole(event: events.TradeHole) -> str:
    return (
        f"{_many(event.trades, 'trade')} skipped from id {event.first_id} in {event.stream}: "
        f"{_came_of(event.recovered, event.reason)}"
    )


def _say_clock_off(event: events.ClockOff) -> str:
    side = "behind" if event.behind_ms >= 0 else "ahead of"
    return f"this machine's clock is {abs(event.behind_ms):g} ms {side} the exchange's, which is used instead"


def _say_store_trouble(event: events.StoreTrouble) -> str:
    return (
        f"the store failed: {event.reason}; {_many(event.waiting, 'candle')} wait in memory, "
        f"next attempt in {event.retry_s:.3g} s"
    )


def _say_output_trouble(event: events.OutputTrouble) -> str:
    return (
        f"the output {event.output} failed: {event.reason}; {_many(event.waiting, 'row')} wait in the store, "
        f"next attempt in {event.retry_s:.3g} s"
    )


_SENTENCES: dict[type, tuple[int, Callable[[Any], str]]] = {
    events.FeedUp: (logging.INFO, lambda e: f"connection {e.connection} is open with {_many(e.streams, 'stream')}"),
    events.FeedDown: (
        logging.WARNING,
        lambda e: f"connection {e.connection} is down: {e.reason}; reconnect in {e.retry_s:.1f} s",
    ),
    events.FeedRenewed: (logging.INFO, lambda e: f"connection {e.connection} was replaced by a new one: {e.reason}"),
    events.StreamSilent: (
        logging.WARNING,
        lambda e: f"stream {e.stream} has been silent for {e.silent_s:g} s: {e.evidence}",
    ),
    events.StreamRevived: (logging.INFO, lambda e: f"stream {e.stream} delivers again after {e.silent_s:g} s"),
    events.CandleRejected: (logging.WARNING, _say_rejected),
    events.FrameRejected: (
        logging.WARNING,
        lambda e: f"a frame of {e.connection} could not be read: {e.detail}",
    ),
    events.CandlesStored: (
        logging.DEBUG,
        lambda e: f"{_many(e.inserted, 'candle')} written, {e.latency_ms:g} ms after the frame",
    ),
    events.CandleRevised: (logging.WARNING, _say_revised),
    events.CandleDisputed: (logging.WARNING, _say_disputed),
    events.GapFound: (logging.WARNING, _say_gap_found),
    events.GapClosed: (logging.INFO, _say_gap_closed),
    events.HistoryLoaded: (logging.INFO, _say_history),
    events.TradeHole: (logging.WARNING, _say_trade_hole),
    events.RestTrouble: (
        logging.WARNING,
        lambda e: f"{e.what} failed: {e.reason}; next attempt in {e.retry_s:.3g} s",
    ),
    events.ClockOff: (logging.WARNING, _say_clock_off),
    events.StoreTrouble: (logging.ERROR, _say_store_trouble),
    events.OutputTrouble: (logging.WARNING, _say_output_trouble),
    events.OutputBack: (
        logging.INFO,
        lambda e: f"the output {e.output} is back after {e.away_s:.3g} s; {_many(e.waiting, 'row')} to send",
    ),
    events.OutputWritten: (
        logging.INFO,
        lambda e: f"{_many(e.rows, 'row')} written to the output {e.output} in {e.ms:g} ms, {e.total} since the start",
    ),
    events.OutputRefused: (
        logging.ERROR,
        lambda e: f"the output {e.output} refused {e.what}: {e.words}; it is set aside in the store",
    ),
    events.OutputSnapshot: (
        logging.INFO,
        lambda e: f"everything held, {_many(e.rows, 'row')}, is brought over to the output {e.output}: {e.reason}",
    ),
    events.JobDone: (
        logging.INFO,
        lambda e: f"the database's job {e.job} of {format_time(e.scheduled_for)} was run: {e.result}",
    ),
    events.JobFailed: (
        logging.WARNING,
        lambda e: f"the database's job {e.job} failed: {e.reason}; next attempt in {e.retry_s:.3g} s",
    ),
}
