"""Recordings of the real exchange, played back as they came.

Two formats: lines of `<microseconds> <json>` (`*.dat.gz`), and cryptofeed's raw captures (`*.ws.*`), a line with the
URL and then `<seconds>: <json>`.
"""

import gzip
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from candlewick.clock import Clock
from candlewick.errors import UsageError
from candlewick.market import SECOND


class Frame(NamedTuple):
    """One frame and when it was received, in microseconds UTC."""

    time: int
    text: bytes


def read_recording(path: Path) -> Iterator[Frame]:
    """The frames of a recording, in the order they were received.

    Raises:
        UsageError: the file is not a recording; names the line.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as file:
        for number, line in enumerate(file, 1):
            stamp, _, text = line.strip().partition(b" ")
            if not text.startswith(b"{"):
                if number == 1 or not text:  # the URL, or a line that was cut off
                    continue
                raise UsageError(f"{path}, line {number}, is not a frame: expected a time and JSON")
            is_seconds = stamp.endswith(b":")
            yield Frame(round(float(stamp[:-1]) * SECOND) if is_seconds else int(stamp), text)


async def play(frames: Iterable[Frame], clock: Clock, send: Callable[[bytes], object]) -> int:
    """Send every frame as long after the first as it came then; returns how many."""
    count = 0
    shift: int | None = None
    for frame in frames:
        now = clock.now()
        if shift is None:
            shift = now - frame.time
        if (wait := frame.time + shift - now) > 0:
            await clock.sleep(wait / SECOND)
        send(frame.text)
        count += 1
    return count
