"""The Prometheus exposition of a status. What is exposed is a row of a table; what was not measured is left out."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from candlewick.histogram import Distribution
from candlewick.market import SECOND
from candlewick.services.status import OutputStatus, SeriesStatus, Status
from candlewick.web.health import State, judge

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Value = float | int | None
Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class Metric(NamedTuple):
    """One number of a status."""

    name: str
    help: str
    read: Callable[[Status], Value]


class Labelled(NamedTuple):
    """Numbers of a status by one label."""

    name: str
    help: str
    label: str
    read: Callable[[Status], Mapping[str, int]]


class PerSeries(NamedTuple):
    """A number of every series, labelled with market, symbol and interval."""

    name: str
    help: str
    read: Callable[[SeriesStatus], Value]


class PerOutput(NamedTuple):
    """A number of every output, labelled with its name; `counts` when it only grows."""

    name: str
    help: str
    read: Callable[[OutputStatus], float | int]
    counts: bool = False


class Timing(NamedTuple):
    """A distribution of durations."""

    name: str
    help: str
    read: Callable[[Status], Distribution]


COUNTERS = (
    Metric("candlewick_candles_processed_total", "Closed candles that arrived, live and by REST.", lambda s: s.counters.candles_processed),
    Metric("candlewick_candles_written_total", "Candles that were new to the store.", lambda s: s.counters.candles_written),
    Metric("candlewick_candles_confirmed_total", "Live candles that REST vouched for.", lambda s: s.counters.candles_confirmed),
    Metric("candlewick_candles_recovered_total", "Missing candles that were got by REST.", lambda s: s.counters.candles_recovered),
    Metric("candlewick_candle_differences_total", "Candles for which REST and the live stream disagreed.", lambda s: s.counters.differences),
    Metric("candlewick_repeated_candles_total", "Closed candles that arrived more than once.", lambda s: s.counters.repeated_candles),
    Metric("candlewick_collapsed_updates_total", "Open candles, quotes and tickers replaced before anybody read them.", lambda s: s.counters.collapsed_updates),
    Metric("candlewick_repeated_trades_total", "Trades that arrived more than once.", lambda s: s.counters.repeated_trades),
    Metric("candlewick_trade_holes_total", "Trade ids that were skipped.", lambda s: s.counters.trade_holes),
    Metric("candlewick_trades_recovered_total", "Skipped trades that were got by REST.", lambda s: s.counters.recovered_trades),
    Metric("candlewick_unreadable_frames_total", "Frames that could not be read.", lambda s: s.counters.unreadable_frames),
    Metric("candlewick_gaps_found_total", "Gaps that were found.", lambda s: s.counters.gaps_found),
    Metric("candlewick_gaps_closed_total", "Gaps that were closed, with candles or with a reason.", lambda s: s.counters.gaps_closed),
    Metric("candlewick_reconnects_total", "Live connections that ended and were opened again.", lambda s: s.counters.reconnects),
    Metric("candlewick_connection_renewals_total", "Live connections that were replaced on purpose.", lambda s: s.counters.renewals),
    Metric("candlewick_control_errors_total", "Control messages that the exchange refused.", lambda s: s.counters.control_errors),
    Metric("candlewick_rest_retries_total", "REST requests that were asked again.", lambda s: s.counters.rest_retries),
    Metric("candlewick_rest_weight_total", "Request weight that was spent on REST.", lambda s: s.counters.rest_weight),
)  # fmt: skip

LABELLED = (
    Labelled("candlewick_frames_total", "Frames received, by kind of stream.", "kind", lambda s: s.counters.frames),
    Labelled("candlewick_unknown_frames_total", "Frames of unknown kinds, by what they call themselves.", "what", lambda s: s.counters.unknown_frames),
    Labelled("candlewick_candles_rejected_total", "Candles in the quarantine, by the rule they broke.", "rule", lambda s: s.counters.candles_rejected),
    Labelled("candlewick_crosschecks_total", "Candles held against those built from single trades, by result.", "result", lambda s: s.counters.crosschecks),
    Labelled("candlewick_rest_requests_total", "REST requests, by outcome.", "outcome", lambda s: s.counters.rest_requests),
    Labelled("candlewick_events_total", "Events, by name.", "event", lambda s: s.counters.events),
)  # fmt: skip

GAUGES = (
    Metric("candlewick_uptime_seconds", "Seconds since the run started.", lambda s: (s.now - s.started_at) / SECOND),
    Metric("candlewick_buffered_candles", "Candles that are not on disk yet.", lambda s: s.buffer_size),
    Metric("candlewick_buffer_age_seconds", "How long the oldest candle that is not on disk has waited.", lambda s: s.buffer_age_s),
    Metric("candlewick_pending_backfills", "Series that wait for a repair or are being repaired.", lambda s: s.pending_backfills),
    Metric("candlewick_errors_24h", "Errors in the last 24 hours.", lambda s: s.errors_24h),
    Metric("candlewick_store_connected", "1 when the store takes candles, else 0.", lambda s: int(s.store.connected)),
    Metric("candlewick_silent_streams", "Streams that deliver nothing though their market trades.", lambda s: len(s.silent_streams)),
    Metric("candlewick_clock_behind_seconds", "By how much this machine's clock is behind the exchange's.", lambda s: s.clock_behind_ms / 1000),
    Metric("candlewick_rest_weight_used", "Request weight used in this minute, as the exchange counts it.", lambda s: s.rest.weight_used),
    Metric("candlewick_rest_weight_limit", "Request weight that may be used in a minute.", lambda s: s.rest.weight_limit),
    Metric("candlewick_rest_reachable", "1 when the last REST request was answered, else 0.", lambda s: _flag(s.rest.reachable)),
    Metric("candlewick_rest_ban_until_timestamp_seconds", "When REST may be asked again, where the exchange forbade it.", lambda s: _seconds(s.rest.ban_until)),
    Metric("candlewick_gap_check_timestamp_seconds", "When the store was last scanned for gaps.", lambda s: _seconds(s.gap_check_last)),
)  # fmt: skip

PER_SERIES = (
    PerSeries("candlewick_series_last_close_timestamp_seconds", "When the newest candle of a series closed.", lambda one: _seconds(one.last_close)),
    PerSeries("candlewick_series_lag_seconds", "Seconds since the newest candle of a series closed.", lambda one: one.lag_s),
    PerSeries("candlewick_series_stale", "1 when a close of a series is overdue, else 0.", lambda one: int(one.stale)),
    PerSeries("candlewick_series_missing_candles", "Candles of a series that are missing and not repaired yet.", lambda one: one.missing),
    PerSeries("candlewick_series_last_price", "The last price of a series, in its quote asset.", lambda one: one.last_price),
)  # fmt: skip

PER_OUTPUT = (
    PerOutput("candlewick_output_rows_written_total", "Rows that an output took in.", lambda one: one.written, counts=True),
    PerOutput("candlewick_output_rows_refused_total", "Rows that an output would not take.", lambda one: one.refused, counts=True),
    PerOutput("candlewick_output_retries_total", "Writes to an output that were tried again.", lambda one: one.retries, counts=True),
    PerOutput("candlewick_output_connected", "1 when the last thing asked of an output worked, else 0.", lambda one: int(one.connected)),
    PerOutput("candlewick_output_behind_rows", "Rows that the store has and an output has not yet.", lambda one: one.behind_rows),
    PerOutput("candlewick_output_lag_seconds", "How long the oldest row that an output has not yet has waited.", lambda one: one.lag_s),
    PerOutput("candlewick_output_pool_connections", "Open connections to an output.", lambda one: one.pool_size),
    PerOutput("candlewick_output_snapshot", "1 while everything held is brought over to an output, else 0.", lambda one: int(one.snapshot)),
)  # fmt: skip

TIMINGS = (
    Timing("candlewick_durability_latency_seconds", "From the receipt of a frame to its candle being on disk.", lambda s: s.latencies.durability),
    Timing("candlewick_rest_latency_seconds", "How long REST took to answer.", lambda s: s.latencies.rest),
    Timing("candlewick_commit_duration_seconds", "How long a commit to the store took.", lambda s: s.latencies.commit),
)  # fmt: skip

OUTPUT_LATENCY = "candlewick_output_latency_seconds"
STATE = "candlewick_health_state"
CONNECTED = "candlewick_connection_up"
BUILD = "candlewick_build_info"
NAMES = (
    *(row.name for rows in (COUNTERS, LABELLED, GAUGES, PER_SERIES, PER_OUTPUT, TIMINGS) for row in rows), OUTPUT_LATENCY, STATE, CONNECTED, BUILD,
)  # fmt: skip
"""Every metric, besides the `process_` ones that Prometheus defines itself."""


def expose(status: Status) -> bytes:
    """The text of `/metrics`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_StatusCollector(status))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _StatusCollector(Collector):
    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterable[Family]:
        yield from _plain(self._status)
        yield from _labelled(self._status)
        yield from _per_series(self._status)
        for row in TIMINGS:
            yield _histogram(row, row.read(self._status))
        yield from _outputs(self._status)
        yield from _states(self._status)


def _plain(status: Status) -> Iterator[Family]:
    for row in COUNTERS:
        yield CounterMetricFamily(row.name, row.help, value=row.read(status))
    for row in GAUGES:
        value = row.read(status)
        if value is not None:
            yield GaugeMetricFamily(row.name, row.help, value=value)


def _labelled(status: Status) -> Iterator[Family]:
    for row in LABELLED:
        family = CounterMetricFamily(row.name, row.help, labels=(row.label,))
        for label, value in row.read(status).items():
            family.add_metric((label,), value)
        yield family


def _per_series(status: Status) -> Iterator[Family]:
    for row in PER_SERIES:
        family = GaugeMetricFamily(row.name, row.help, labels=("market", "symbol", "interval"))
        for one in status.series:
            value = row.read(one)
            if value is not None:
                family.add_metric((one.market, one.symbol, one.interval), value)
        yield family


def _outputs(status: Status) -> Iterator[Family]:
    for row in PER_OUTPUT:
        kind = CounterMetricFamily if row.counts else GaugeMetricFamily
        family: CounterMetricFamily | GaugeMetricFamily = kind(row.name, row.help, labels=("output",))
        for one in status.outputs:
            family.add_metric((one.name,), row.read(one))
        yield family
    latencies = HistogramMetricFamily(
        OUTPUT_LATENCY, "From a candle being on disk to its being in an output.", labels=("output",)
    )
    for one in status.outputs:
        latencies.add_metric((one.name,), _buckets(one.latency), one.latency.total_s)
    yield latencies


def _histogram(row: Timing, seen: Distribution) -> HistogramMetricFamily:
    return HistogramMetricFamily(row.name, row.help, buckets=_buckets(seen), sum_value=seen.total_s)


def _buckets(seen: Distribution) -> list[tuple[str, float]]:
    """How many values each bound and the ones below have, as Prometheus counts."""
    buckets: list[tuple[str, float]] = []
    below = 0
    for bound, count in zip((*map(str, seen.bounds), "+Inf"), seen.counts, strict=True):
        below += count
        buckets.append((bound, below))
    return buckets


def _states(status: Status) -> Iterator[Family]:
    state = judge(status).state
    states = GaugeMetricFamily(STATE, "1 for the state that /health states, 0 for the others.", labels=("state",))
    for one in State:
        states.add_metric((one.value,), int(one is state))
    yield states
    connections = GaugeMetricFamily(CONNECTED, "1 when a live connection is open, else 0.", labels=("connection",))
    for connection in status.connections:
        connections.add_metric((connection.name,), int(connection.connected))
    yield connections
    build = GaugeMetricFamily(BUILD, "Always 1; its labels say what runs.", labels=("version", "exchange", "market"))
    build.add_metric((status.version, status.exchange, status.market), 1)
    yield build


def _seconds(time: int | None) -> float | None:
    return None if time is None else time / SECOND


def _flag(value: bool | None) -> int | None:
    return None if value is None else int(value)
