"""Metrics: what is exposed, in which form, and what is left out."""

import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from candlewick.services.status import Counters, Latencies, RestStatus
from candlewick.web.metrics import NAMES, expose
from tests.unit.web.statuses import COMPLETE, DOWN, good, series


def samples(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def one(text: bytes, name: str, **labels: str) -> float:
    return samples(text)[name, frozenset(labels.items())]


def test_metrics_are_the_numbers_of_the_status() -> None:
    """Counters, labelled counters, gauges, series and states carry what the status says, in base units."""
    text = expose(good(connections=(*good().connections, DOWN)))
    assert one(text, "candlewick_candles_written_total") == 18
    assert one(text, "candlewick_frames_total", kind="kline") == 1000
    assert one(text, "candlewick_rest_requests_total", outcome="rate_limited") == 1
    assert one(text, "candlewick_uptime_seconds") == 600
    assert one(text, "candlewick_clock_behind_seconds") == -0.0125
    assert one(text, "candlewick_series_lag_seconds", market="spot", symbol="BTCUSDT", interval="1h") == 1830
    assert one(text, "candlewick_connection_up", connection="spot-1") == 1
    assert one(text, "candlewick_connection_up", connection="spot-2") == 0
    assert one(text, "candlewick_health_state", state="degraded") == 1
    assert one(text, "candlewick_health_state", state="healthy") == 0
    assert one(text, "candlewick_build_info", version="1.2.3", exchange="binance", market="spot") == 1


def test_histogram_is_cumulative() -> None:
    """Buckets count everything up to their bound; the last one and the count are everything."""
    text = expose(good())
    name = "candlewick_durability_latency_seconds"
    assert [one(text, f"{name}_bucket", le=bound) for bound in ("0.001", "0.01", "+Inf")] == [3, 5, 6]
    assert one(text, f"{name}_count") == 6
    assert one(text, f"{name}_sum") == 1.5


def test_what_was_not_measured_is_left_out() -> None:
    """A number that nobody knows has no sample; it is not zero."""
    text = expose(good(rest=RestStatus(), gap_check_last=None, series=(series(age_s=None),)))
    names = {name for name, _ in samples(text)}
    assert not names & {
        "candlewick_rest_reachable",
        "candlewick_rest_weight_used",
        "candlewick_rest_ban_until_timestamp_seconds",
        "candlewick_gap_check_timestamp_seconds",
        "candlewick_series_lag_seconds",
        "candlewick_series_last_price",
    }
    assert "candlewick_series_missing_candles" in names


def test_every_metric_has_help_and_is_declared() -> None:
    """The names that documents list are those that are exposed, each with a HELP text."""
    lines = expose(COMPLETE).decode().splitlines()
    declared = {line.split()[2] for line in lines if line.startswith("# HELP") and len(line.split()) > 3}
    assert {name for name in declared if not name.startswith("process_")} == set(NAMES)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system has no /proc to measure the process by")
def test_process_is_measured() -> None:
    """Memory, CPU and open files of this process are real numbers."""
    text = expose(good())
    assert one(text, "process_resident_memory_bytes") > 1e6
    assert one(text, "process_cpu_seconds_total") > 0
    assert 0 < one(text, "process_open_fds") <= 1000


def test_label_values_cannot_break_the_format() -> None:
    """What a frame calls itself may hold anything, and still comes out as one label."""
    wild = 'quo"te\nline\\end'
    text = expose(good(counters=Counters(unknown_frames={wild: 1}), latencies=Latencies()))
    assert one(text, "candlewick_unknown_frames_total", what=wild) == 1


def test_promtool_finds_nothing_to_improve() -> None:
    """Prometheus' own linter accepts every name, type, unit and help text."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    text = expose(COMPLETE)
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
