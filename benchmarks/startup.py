"""How long starting and stopping take, of real processes: import, --help, start to subscribed, SIGTERM to exit."""

import subprocess
import sys
import time
from statistics import median

from benchmarks.children import CANDLEWICK, ENVIRONMENT, Run, simulator
from benchmarks.place import MEASURED_CORE, folder, pinned
from benchmarks.table import Result

TIMES = 9
RUNS = 5
IDLE_S = 3.0
"""A run is left alone for so long before it is told to stop: its history is filled by then."""


def _seconds(command: list[object]) -> list[float]:
    """How long a command takes, the first time (files not yet in memory) not counted."""
    took = []
    with pinned(MEASURED_CORE):
        for _ in range(TIMES + 1):
            began = time.perf_counter()
            subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
            took.append(time.perf_counter() - began)
    return took[1:]


def _result(what: str, took: list[float], target: float, note: str = "") -> Result:
    note = f"median of {len(took)}, best {min(took):.3f}, slowest {max(took):.3f}{note}"
    return Result(what, median(took), "s", target, most=True, note=note)


def startup() -> list[Result]:
    bare = median(_seconds([sys.executable, "-c", "pass"]))
    imported = _seconds([sys.executable, "-c", "import candlewick"])
    helped = _seconds([CANDLEWICK, "--help"])
    started, stopped = [], []
    with simulator(["BTCUSDT"]) as place:
        for _ in range(RUNS + 1):
            with folder() as store, Run(store, ["BTCUSDT"], place, f"ws://{place}") as run:
                started.append(run.until_subscribed())
                time.sleep(IDLE_S)
                stopped.append(run.stop())
    del started[0], stopped[0]
    return [
        _result("python -c 'import candlewick'", imported, 0.2, f"; Python itself {bare:.3f}"),
        _result("candlewick --help", helped, 0.3),
        _result("candlewick run, exec to subscribed", started, 1.5),
        _result("candlewick run, SIGTERM to exit when idle", stopped, 1.0),
    ]
