"""Real processes for tests: the simulator, a run, and commands, each without the settings of whoever runs the tests."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

ROOT = Path(__file__).parents[2]
T = TypeVar("T")


class Child:
    """A `candlewick` process; what it says goes into files, so that nobody waits for a full pipe."""

    def __init__(self, folder: Path, *words: str, **settings: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._count = len(list(folder.glob("*.out")))
        self.out_path = folder / f"{self._count}-{words[0]}.out"
        self.err_path = self.out_path.with_suffix(".err")
        with self.out_path.open("wb") as out, self.err_path.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "candlewick", *words],
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
                cwd=folder,
                env=environment(folder, **settings),
            )

    @property
    def out(self) -> str:
        """What it printed so far."""
        return self.out_path.read_text()

    @property
    def err(self) -> str:
        """What it complained of and logged so far."""
        return self.err_path.read_text()

    @property
    def log(self) -> list[dict[str, Any]]:
        """Its whole log lines so far."""
        lines = self.err.splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}\n")]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Its log lines of one kind of event."""
        return [line for line in self.log if line.get("event") == event]

    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.process.poll() is not None

    def stop(self, number: signal.Signals = signal.SIGTERM, within_s: float = 10.0) -> int:
        """Ask it to end; its exit code. It fails the test if it takes longer."""
        self.process.send_signal(number)
        return self.process.wait(within_s)

    def kill(self) -> None:
        """End it at once, at whatever it is."""
        self.process.kill()
        self.process.wait()


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """An environment with these settings and no others."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONHASHSEED") if name in os.environ}
    return (
        kept | {"HOME": str(folder), "TMPDIR": str(folder), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | settings
    )


@contextmanager
def started(folder: Path, *words: str, **settings: str) -> Iterator[Child]:
    """A process that is killed at the end if it is still there."""
    child = Child(folder, *words, **settings)
    try:
        yield child
    finally:
        child.kill()


@contextmanager
def simulated(folder: Path, *options: str) -> Iterator[str]:
    """A simulator at a free port; yields its host and port."""
    with started(folder, "simulate", "--port", "0", "--json", *options) as child:
        said = wait_for(lambda: child.out if child.out.endswith("}\n") else None, child)
        yield str(json.loads(said)["http"]).removeprefix("http://")


def following(place: str, store: Path, **settings: str) -> dict[str, str]:
    """The settings of a run that follows the exchange at `place`."""
    own = {
        "BINANCE_API_URL": f"http://{place}", "BINANCE_STREAM_URL": f"ws://{place}", "STORE": f"lmdb://{store}",
        "FEEDER_PORT": "0",
    }  # fmt: skip
    return own | settings


def wait_for(look: Callable[[], T | None], child: Child | None = None, within_s: float = 90.0) -> T:
    """What `look` sees once it is something; fails the test after `within_s`, or when the child ends before."""
    deadline = time.monotonic() + within_s
    while True:
        over = child is not None and child.is_over()
        if seen := look():
            return seen
        words = f"; stderr: {child.err[-3000:]}" if child is not None else ""
        if over:
            pytest.fail(f"the process ended with {child.process.returncode}{words}")  # type: ignore[union-attr]
        if time.monotonic() > deadline:
            pytest.fail(f"nothing was seen for {within_s} s{words}")
        time.sleep(0.02)


def url_of(child: Child) -> str:
    """Where a run answers, as its log says."""
    return wait_for(lambda: next((str(line["url"]) for line in child.log if "url" in line), None), child)


def ask(url: str) -> tuple[int, Any]:
    """Status and document of a JSON answer, an unhappy one too."""
    try:
        with urlopen(url, timeout=10) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def command(folder: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself, with what it said."""
    return subprocess.run(
        [sys.executable, "-m", "candlewick", *words],
        capture_output=True, text=True, timeout=30, cwd=folder, check=False, stdin=subprocess.DEVNULL,
        env=environment(folder, **settings),
    )  # fmt: skip


def free_port() -> int:
    """A port where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def klines(place: str, symbol: str, interval: str, start: int, end: int) -> dict[int, list[str]]:
    """The exchange's own rows that open in `[start, end)`, in milliseconds, by open time."""
    rows: dict[int, list[str]] = {}
    while start < end:
        query = f"symbol={symbol}&interval={interval}&startTime={start}&endTime={end - 1}&limit=1000"
        _, page = ask(f"http://{place}/api/v3/klines?{query}")
        if not page:
            break
        rows |= {row[0]: row for row in page}
        start = page[-1][0] + 1
    return rows
