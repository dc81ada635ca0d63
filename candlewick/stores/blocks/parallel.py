"""Work on several blocks at once: the kernel and most of numpy hold no lock of Python meanwhile."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_MOST_THREADS = 8  # memory is the bound before that


def threads() -> int:
    """The processors this process may use, up to eight."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MOST_THREADS, usable)


def in_threads(tasks: Sequence[Callable[[], T]], rows: int, worth: int) -> list[T]:
    """What all tasks return, in their order; in several threads from `worth` rows on, where starting them pays.

    The thread that calls does its share. If a task fails, what it raised is raised once no thread works any more.
    """
    count = min(threads(), len(tasks)) if rows >= worth else 1
    found: dict[int, T] = {}
    order = iter(range(len(tasks)))  # every thread takes its next one from it

    def work() -> None:
        for at in order:
            found[at] = tasks[at]()

    if count < 2:
        work()
    else:
        with ThreadPoolExecutor(count - 1) as pool:
            helpers = [pool.submit(work) for _ in range(count - 1)]
            work()
        for helper in helpers:
            helper.result()
    return [found[at] for at in range(len(tasks))]
