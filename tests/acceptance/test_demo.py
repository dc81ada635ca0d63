"""`candlewick demo` and `candlewick simulate` as a newcomer meets them: processes, sockets, Ctrl-C."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

ROOT = Path(__file__).parents[2]


@contextmanager
def started(*words: str, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """A command in a process of its own, killed at the end if it is still there."""
    environment = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environment |= {"PYTHONPATH": str(ROOT), "HOME": str(folder), "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "candlewick", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line_with(process: "subprocess.Popen[str]", pattern: str) -> re.Match[str]:
    """The next line of stdout that matches."""
    assert process.stdout is not None
    for line in process.stdout:
        if match := re.search(pattern, line):
            return match
    assert process.stderr is not None
    pytest.fail(f"it ended without a line like {pattern!r}; stderr: {process.stderr.read()}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_runs_shows_itself_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """The demo stores candles within seconds, answers over HTTP, and ends on a signal with 0, without a trace."""
    with started("demo", "--port", "0", "--speed", "60", folder=tmp_path) as process:
        exchange = line_with(process, r"simulated spot at (http://\S+),")[1]
        url = line_with(process, r"look at +(http://\S+)")[1]
        assert int(line_with(process, r"healthy  (\d+) candles in 18 series, 0 missing")[1]) > 1000
        assert len(list(tmp_path.glob("candlewick-demo-*"))) == 1
        for path in ("/health", "/ready", "/metrics", "/status"):
            with urlopen(url + path, timeout=10) as answer:
                assert answer.status == 200
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, ""), out
    assert list(tmp_path.glob("candlewick-demo-*")) == []
    with pytest.raises(OSError, match="refused"):
        urlopen(exchange + "/api/v3/ping", timeout=5)


def test_simulate_says_where_it_is_and_ends_on_a_signal(tmp_path: Path) -> None:
    """The first thing printed is an address that answers; SIGTERM is exit code 0."""
    with started("simulate", "--port", "0", "--json", "--symbols", "btc/usdt,ethusdt", folder=tmp_path) as process:
        assert process.stdout is not None
        said = ""
        while not said.endswith("}\n"):
            said += process.stdout.readline()
        place = json.loads(said)
        assert place["websocket"] == place["http"].replace("http", "ws")
        with urlopen(place["http"] + "/api/v3/exchangeInfo", timeout=10) as answer:
            trading = [one["symbol"] for one in json.load(answer)["symbols"] if one["status"] == "TRADING"]
        assert trading == ["BTCUSDT", "ETHUSDT"]
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")


def test_demo_with_a_broken_script_leaves_nothing(tmp_path: Path) -> None:
    """Where the simulator does not start, its complaint and the demo's are lines, and the folder is gone."""
    with started("demo", "--faults", "none.toml", folder=tmp_path) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "none.toml cannot be read" in err
    assert "the simulator did not start" in err
    assert "Traceback" not in err
    assert list(tmp_path.glob("candlewick-demo-*")) == []
