"""What this process uses of the machine."""

import resource
import sys
from pathlib import Path


def memory_mb() -> float:
    """Memory of its own, in MB: pages of the store's file that the kernel merely keeps at hand do not count.

    Where the kernel does not tell (anything but Linux) it is the most that was ever resident.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)
    own = next(line for line in lines if line.startswith("RssAnon:"))
    return round(int(own.split()[1]) * 1024 / 1e6, 1)
