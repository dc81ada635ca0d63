"""The program as its users start it: a real `candlewick simulate` and a real `candlewick run`, as processes."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.place import MEASURED_CORE, SERVER_CORE, pinned

CANDLEWICK = Path(sys.executable).with_name("candlewick")
START_S = 60.0
# Compiled once and kept, as on any usual machine: compiling at every start costs seconds and memory.
ENVIRONMENT = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@contextmanager
def simulator(names: Sequence[str]) -> Iterator[str]:
    """A simulated exchange; yields its host and port."""
    command = [CANDLEWICK, "simulate", "--json", "--port", "0", "--symbols", ",".join(names)]
    with pinned(SERVER_CORE):
        child = subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT)
    try:
        said = _until(child, "stdout", '"http"', START_S)
        while not said.rstrip().endswith("}"):
            said += _until(child, "stdout", "}", START_S)
        yield str(json.loads(said)["http"]).removeprefix("http://")
    finally:
        child.terminate()
        child.communicate()


class Run:
    """A `candlewick run`, or another command like it, with what it says on stderr."""

    def __init__(
        self, store: Path, names: Sequence[str], rest: str, streams: str, *, command: str = "run", **settings: str
    ) -> None:
        self.began = time.monotonic()
        environment = ENVIRONMENT | {
            "SYMBOLS": ",".join(names), "BINANCE_API_URL": f"http://{rest}", "BINANCE_STREAM_URL": streams,
            "STORE": f"lmdb://{store}", "FEEDER_PORT": "0", **settings,
        }  # fmt: skip
        with pinned(MEASURED_CORE):
            self.child = subprocess.Popen([CANDLEWICK, command], stderr=subprocess.PIPE, env=environment)

    def until_subscribed(self) -> float:
        """Seconds from its start until it says that a connection is open and its streams are asked for."""
        self.said = _until(self.child, "stderr", '"event":"FeedUp"', START_S)
        return time.monotonic() - self.began

    @property
    def url(self) -> str:
        """Where it can be asked over HTTP."""
        found = re.search(r'"url": ?"(http[^"]+)"', self.said)
        assert found, self.said
        return found[1]

    def memory_mb(self) -> dict[str, float]:
        """`VmRSS`, `RssAnon` and `RssFile`, in MiB as Linux counts them."""
        text = Path(f"/proc/{self.child.pid}/status").read_text("ascii")
        return {
            name: int(kb) / 1024 for name, kb in re.findall(r"^(VmRSS|RssAnon|RssFile):\s+(\d+) kB", text, re.MULTILINE)
        }

    def stop(self) -> float:
        """Seconds from SIGTERM until it is gone."""
        began = time.monotonic()
        self.child.send_signal(signal.SIGTERM)
        _, rest = self.child.communicate(timeout=START_S)
        took_s = time.monotonic() - began
        if self.child.returncode:
            raise RuntimeError(f"{self.child.args} ended with {self.child.returncode}: {rest[-2000:].decode()}")
        return took_s

    def __enter__(self) -> "Run":  # noqa: PYI034 - Self says no more
        return self

    def __exit__(self, *_: object) -> None:
        if self.child.poll() is None:
            self.child.kill()
            self.child.communicate()


def _until(child: "subprocess.Popen[bytes]", name: str, word: str, most_s: float) -> str:
    """What a child has said once it said `word`."""
    pipe = getattr(child, name)
    said, ends = b"", time.monotonic() + most_s
    while word.encode() not in said:
        ready, _, _ = select.select([pipe], [], [], max(0.0, ends - time.monotonic()))
        part = os.read(pipe.fileno(), 1 << 16) if ready else b""
        if not part:
            raise RuntimeError(f"{child.args} did not say {word}: {said[-2000:].decode()}")
        said += part
    return said.decode()
