"""Outlives a test run to end the servers it left behind.

Run as a script with a server's folder: it waits until whoever holds the other end of its standard input is gone, which
a killed process is too, then ends the servers whose numbers are written in the folder's `*.pid` files and removes it.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

WAIT_S = 30.0
GLOB = "**/*.pid"


class Guard:
    """A process that ends what runs in a folder once this process is gone."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__, str(folder)], stdin=subprocess.PIPE, start_new_session=True
        )

    def close(self) -> None:
        """Have the folder cleared now, and wait for it."""
        self._process.communicate(timeout=2 * WAIT_S)


def children(pid: int) -> list[int]:
    """The processes that a process started and that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended between the listing and the reading
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def runs(pid: int) -> bool:
    """Whether a process is there and has not ended (one that nobody has waited for yet has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def tell(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to those of the processes that are still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def end(pid: int) -> None:
    """End a server and its children: first as it may end itself at once, then by force."""
    if not runs(pid):
        return
    everyone = [pid, *children(pid)]
    tell(everyone, signal.SIGCONT)
    tell([pid], signal.SIGQUIT)
    until = time.monotonic() + WAIT_S
    while any(map(runs, everyone)) and time.monotonic() < until:
        time.sleep(0.02)
    tell([one for one in everyone if runs(one)], signal.SIGKILL)


def main(folder: Path) -> None:
    """Wait for the end of the standard input, then leave nothing behind."""
    while sys.stdin.read(1):
        pass
    for path in folder.glob(GLOB):
        with suppress(OSError, ValueError, IndexError):  # written by half, or gone with its server
            end(int(path.read_text().split()[0]))
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
