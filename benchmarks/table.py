"""What was found: one table, with the conditions under which it was."""

import os
import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from benchmarks.place import CACHE
from candlewick.clock import system_now
from candlewick.market import format_time

LIBRARIES = ("picows", "msgspec", "lmdb", "numpy", "aiohttp")


class Result(NamedTuple):
    """One line. `target` is the least value, or the most where `most` is set; None where there is none."""

    what: str
    value: float | None
    unit: str
    target: float | None = None
    most: bool = False
    note: str = ""

    @property
    def mark(self) -> str:
        if self.value is None:
            return "SKIP"
        if self.target is None:
            return ""
        return "PASS" if (self.value <= self.target if self.most else self.value >= self.target) else "MISS"


def skipped(what: str, reason: str) -> Result:
    return Result(what, None, "", note=reason)


def show(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3g}"


def line(one: Result) -> str:
    value = "" if one.value is None else f"{show(one.value)} {one.unit}"
    target = "" if one.target is None else f"{'<=' if one.most else '>='} {show(one.target)} {one.unit}"
    return f"{one.mark:<4}  {one.what:<58} {value:>18}  {target:<18} {one.note}".rstrip()


def table(results: Iterable[Result]) -> str:
    head = f"{'':<4}  {'what':<58} {'measured':>18}  {'target':<18} remarks"
    return "\n".join([conditions(), "", head, "-" * 132, *map(line, results)])


def conditions() -> str:
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return (
        f"{format_time(system_now())[:16]} UTC; {_cpu()}, {os.cpu_count()} cores, {memory_gb:.0f} GB; "
        f"{platform.system()} {platform.release()}; Python {platform.python_version()}; "
        + ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
        + f";\ncandlewick {version('candlewick')}; loopback; server and measured process on a core each; stores on "
        f"{_file_system(CACHE)}; load average at the end {os.getloadavg()[0]:.1f}"
    )


def _cpu() -> str:
    try:
        for text in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if text.startswith("model name"):
                return text.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _file_system(place: Path) -> str:
    """The kind of the file system that holds `place`."""
    try:
        mounts = [text.split() for text in Path("/proc/mounts").read_text("utf-8").splitlines()]
    except OSError:
        return "an unknown file system"
    fitting = [(len(one[1]), one[2]) for one in mounts if place.is_relative_to(one[1])]
    return max(fitting, default=(0, "an unknown file system"))[1]
