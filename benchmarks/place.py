"""Where a benchmark runs: which core, which folder, in which process."""

import multiprocessing
import os
import shutil
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
SERVER_CORE = _CORES[0] if _CORES else None
MEASURED_CORE = _CORES[-1] if _CORES else None
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "candlewick" / "benchmarks"


def pin(core: int | None) -> None:
    """Keep this process on one core, where the system can."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Processes started meanwhile stay on one core."""
    if not hasattr(os, "sched_getaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    pin(core)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def folder() -> Iterator[Path]:
    """A new folder on a disk (a temporary one may be memory), gone afterwards."""
    CACHE.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="store-", dir=CACHE))
    try:
        yield made
    finally:
        shutil.rmtree(made)


def environment(interpreter: str, package: str, *others: str) -> Path:
    """The Python of an environment with the newest release of another tool, made when absent.

    Raises:
        subprocess.CalledProcessError: it cannot be installed; `stderr` says why.
    """
    asked = [interpreter, "-c", "import sys; print(*sys.version_info[:2], sep='.')"]
    tag = subprocess.check_output(asked, text=True).strip()
    place = CACHE / f"{package.translate(str.maketrans('[]', '--'))}-{tag}"
    python, done = place / "bin" / "python", place / "installed"
    if not done.exists():
        subprocess.run([interpreter, "-m", "venv", "--clear", place], check=True, capture_output=True, text=True)
        install = [python, "-m", "pip", "install", "--quiet", package, *others]
        subprocess.run(install, check=True, capture_output=True, text=True)
        done.touch()
    return python


def alone(measure: Callable[..., Any], *args: Any) -> Any:
    """What `measure(*args)` returns in a fresh process on the core of what is measured."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(theirs, measure, args))
    process.start()
    theirs.close()
    try:
        fine, found = ours.recv()
    except EOFError:
        fine, found = False, f"{measure.__name__} died"
    process.join()
    if not fine:
        raise RuntimeError(found)
    return found


def _child(pipe: Connection, measure: Callable[..., Any], args: tuple[Any, ...]) -> None:
    pin(MEASURED_CORE)
    try:
        pipe.send((True, measure(*args)))
    except Exception:  # noqa: BLE001 - told by the parent
        pipe.send((False, traceback.format_exc()))
