"""The Prometheus exposition of a gap handler, under the names that dashboards of the earlier system ask for."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from candlewick.histogram import Distribution
from candlewick.market import SECOND
from candlewick.services.gap_handler.results import GapHandlerStatus
from candlewick.web.gap_handler_health import judge
from candlewick.web.health import State

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
P = "gap_handler_"


def expose(status: GapHandlerStatus) -> bytes:
    """The exposition, in the text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(status))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _Once(Collector):
    def __init__(self, status: GapHandlerStatus) -> None:
        self._status = status

    def describe(self) -> Iterator[Family]:
        return iter(())

    def collect(self) -> Iterator[Family]:
        yield from _histograms(self._status)
        yield from _counters(self._status)
        yield from _gauges(self._status)


def _histograms(status: GapHandlerStatus) -> Iterator[Family]:
    backfills = HistogramMetricFamily(P + "backfill_duration_seconds", "How long backfills took, by what became of them.", labels=("status",))  # fmt: skip
    for outcome, seen in status.timing.backfills.items():
        backfills.add_metric((outcome,), _buckets(seen), seen.total_s)
    yield backfills
    for name, words, seen in (
        ("api_latency_seconds", "How long the exchange took to answer.", status.timing.api),
        ("database_latency_seconds", "How long the database took to answer.", status.timing.database),
    ):
        yield HistogramMetricFamily(P + name, words, buckets=_buckets(seen), sum_value=seen.total_s)


def _counters(status: GapHandlerStatus) -> Iterator[Family]:
    for name, words, values in (
        ("backfills_total", "Backfills, by what became of them.", status.outcomes),
        ("api_requests_total", "Requests to the exchange, by outcome.", status.api_requests),
    ):
        family = CounterMetricFamily(P + name, words, labels=("status",))
        for label, value in values.items():
            family.add_metric((label,), value)
        yield family
    failures = sum(count for outcome, count in status.api_requests.items() if outcome != "success")
    for name, words, value in (
        ("candles_recovered_total", "Missing candles that backfills brought.", status.recovered),
        ("api_errors_total", "Requests to the exchange that were not answered as they should be.", failures),
        ("rate_limit_hits_total", "Answers 429 and 418: the exchange imposed a pause.", status.api_requests["rate_limited"]),
        ("database_errors_total", "Calls of the database that failed.", status.database_errors),
        ("candles_inserted_total", "Candles that were new to the database.", status.inserted),
        ("candles_duplicate_total", "Fetched candles that the database had already.", status.duplicates),
        ("uptime_seconds_total", "Seconds since the gap handler started.", (status.now - status.started_at) // SECOND),
    ):  # fmt: skip
        yield CounterMetricFamily(P + name, words, value=value)


def _gauges(status: GapHandlerStatus) -> Iterator[Family]:
    rate = status.rate
    for name, words, value in (
        ("pending_backfills", "Backfills that wait.", status.pending),
        ("active_backfills", "Backfills under way.", status.active),
        ("binance_api_status", "1 when the exchange answered last time, else 0.", int(bool(status.api_reachable))),
        ("database_status", "1 when the database answers, else 0.", int(status.database_connected)),
        ("unresolved_gaps", "Gaps in the log that are not resolved.", status.unresolved_gaps),
        ("candles_missing", "Candles of those gaps.", status.candles_missing),
        ("errors_24h", "Errors in the last 24 hours.", status.errors_24h),
        ("rate_limit_weight_used", "Request weight used in this minute, as the exchange counts it.", rate.weight_used),
        ("rate_limit_weight_limit", "Request weight that may be used in a minute.", rate.weight_limit),
        ("gap_check_timestamp_seconds", "When the database was last searched for holes.", _seconds(status.scanned_at)),
    ):  # fmt: skip
        if value is not None:
            yield GaugeMetricFamily(P + name, words, value=value)
    state = judge(status).state
    states = GaugeMetricFamily(P + "state", "1 for the state that /health states, 0 for the others.", labels=("state",))
    for one in State:
        states.add_metric((one.value,), int(one is state))
    yield states
    build = GaugeMetricFamily(P + "build_info", "Always 1; its labels say what runs.", labels=("version", "market"))
    build.add_metric((status.version, status.market), 1)
    yield build


def _buckets(seen: Distribution) -> list[tuple[str, float]]:
    buckets: list[tuple[str, float]] = []
    below = 0
    for bound, count in zip((*(f"{one:g}" for one in seen.bounds), "+Inf"), seen.counts, strict=True):
        below += count
        buckets.append((bound, below))
    return buckets


def _seconds(time: int | None) -> float | None:
    return None if time is None else time / SECOND
