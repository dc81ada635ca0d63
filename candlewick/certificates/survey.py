"""What a range of a series holds, read block by block: its runs of candles by source, and one leaf a block."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from candlewick.certificates.encoding import COLUMNS, Leaf, digest_of, leaf_of_words, words_of
from candlewick.certificates.finding import shown_time
from candlewick.certificates.leaf_kernel import LANES, kernel_for
from candlewick.errors import StoreDamaged
from candlewick.market import Interval, Series, Span
from candlewick.stores.grid import BLOCK_SLOTS, Int64s, block_of, slot_starts, slots
from candlewick.stores.store import Source, StoreReader

T = TypeVar("T")
Block: TypeAlias = tuple[int, slice]
"""Its number, and which rows are its."""

BLOCKS_AT_ONCE = 32
"""Blocks that are read together: 25 MB of columns."""
_THREADS = 4


class Run(NamedTuple):
    """Adjacent candles of one source."""

    span: Span
    source: Source


class Part(NamedTuple):
    """Rows of some consecutive blocks, as columns by time."""

    times: Int64s
    columns: dict[str, npt.NDArray[Any]]


def block_span(interval: Interval, block: int) -> Span:
    """The range of time whose candles are in a block."""
    start, end = slot_starts(interval, np.array([block, block + 1], np.int64) * BLOCK_SLOTS).tolist()
    return Span(start, end)


def clipped(span: Span, within: Span) -> Span:
    """What of `span` lies in `within`; empty spans end where they start."""
    start = max(span.start, within.start)
    return Span(start, max(start, min(span.end, within.end)))


def opened(interval: Interval, span: Span, whole: Span) -> Span:
    """The candles that open in `span`, as far as they lie in `whole`: one of three days or a week may outlast its file."""
    return clipped(Span(interval.ceil(span.start), interval.ceil(span.end)), whole)


def stretches(interval: Interval, span: Span) -> Iterator[Span]:
    """A range cut where blocks end, some blocks in each part."""
    first, last = block_of(interval, span.start), block_of(interval, span.end - 1)
    for number in range(first, last + 1, BLOCKS_AT_ONCE):
        start, _ = block_span(interval, number)
        end, _ = block_span(interval, number + BLOCKS_AT_ONCE)
        yield clipped(Span(start, end), span)


def read_part(reader: StoreReader, series: Series, span: Span) -> Part:
    """The rows of a stretch.

    Raises:
        StoreDamaged: a block cannot be read, or its rows are not what a series can hold.
    """
    columns = reader.columns(series, span.start, span.end, columns=[*COLUMNS, "source"])
    times, sources = columns["open_time"], columns["source"]
    _check_times(series, times, span)
    if len(sources) and not min(Source) <= sources.min() <= sources.max() <= max(Source):
        raise StoreDamaged(f"the store holds candles of {series} from no known source: see `candlewick verify`")
    return Part(times, columns)


def leaves(part: Part, series: Series) -> list[tuple[int, Leaf]]:
    """The leaf of each block that has rows in `part`, by block."""
    blocks, at = _blocks(part, series)
    kernel = kernel_for(series)
    if kernel is not None:
        return _together(blocks, lambda some: kernel.leaves(part.columns, at, some, series), LANES)
    words = words_of(part.columns) if blocks else None

    def work(some: Sequence[Block]) -> list[Leaf]:
        assert words is not None
        return [
            leaf_of_words(words[:, rows], (at[rows] - block * BLOCK_SLOTS).astype(np.uint64), series, block)
            for block, rows in some
        ]

    return _together(blocks, work, 1)


def digests(part: Part, series: Series) -> list[tuple[int, bytes]]:
    """Only the hash of each block's leaf, with its rows in it: less work."""
    blocks, _ = _blocks(part, series)
    kernel = kernel_for(series)
    if kernel is not None:
        return _together(blocks, lambda some: kernel.digests(part.columns, some, series), LANES)
    words = words_of(part.columns) if blocks else None

    def work(some: Sequence[Block]) -> list[bytes]:
        assert words is not None
        return [digest_of(words[:, rows], series, block) for block, rows in some]

    return _together(blocks, work, 1)


def _blocks(part: Part, series: Series) -> tuple[list[Block], Int64s]:
    """The blocks that have rows in `part`, and the slot of each row."""
    at = slots(series.interval, part.times)
    if not len(at):
        return [], at
    homes = at // BLOCK_SLOTS
    edges = [0, *(np.flatnonzero(np.diff(homes)) + 1).tolist(), len(homes)]
    return [(int(homes[first]), slice(first, end)) for first, end in pairwise(edges)], at


def _together(blocks: list[Block], make: Callable[[Sequence[Block]], Sequence[T]], at_once: int) -> list[tuple[int, T]]:
    """What `make` makes of so many blocks at once, by block."""
    parts = [blocks[first : first + at_once] for first in range(0, len(blocks), at_once)]
    if len(parts) < 2:
        found = [make(some) for some in parts]
    else:
        with ThreadPoolExecutor(_THREADS) as pool:  # hashing and numpy let each other run
            found = list(pool.map(make, parts))
    return [
        (block, one)
        for some, made in zip(parts, found, strict=True)
        for (block, _), one in zip(some, made, strict=True)
    ]


def runs(part: Part, interval: Interval) -> list[Run]:
    """The rows of `part` as maximal runs of adjacent candles of one source."""
    times, sources = part.times, part.columns["source"]
    if not len(times):
        return []
    if interval.is_fixed:
        ends = times + interval.nominal
    else:
        ends = np.array([interval.next(time) for time in times.tolist()], np.int64)
    broken = (times[1:] != ends[:-1]) | (sources[1:] != sources[:-1])
    starts = np.concatenate(([0], np.flatnonzero(broken) + 1))
    stops = np.concatenate((starts[1:], [len(times)])) - 1
    return [
        Run(Span(start, end), Source(source))
        for start, end, source in zip(
            times[starts].tolist(), ends[stops].tolist(), sources[starts].tolist(), strict=True
        )
    ]


def extend(held: list[Run], more: list[Run]) -> None:
    """Add later runs, joined where they continue what is held."""
    for run in more:
        if held and held[-1].source is run.source and held[-1].span.end == run.span.start:
            held[-1] = held[-1]._replace(span=Span(held[-1].span.start, run.span.end))
        else:
            held.append(run)


def _check_times(series: Series, times: Int64s, asked: Span) -> None:
    """Make sure that rows are by time, each once, in the range asked for and on the grid."""
    interval = series.interval
    starts = slot_starts(interval, slots(interval, times))
    wrong = times != starts
    wrong[1:] |= times[1:] <= times[:-1]
    wrong |= (times < asked.start) | (times >= asked.end)
    if wrong.any():
        at = shown_time(int(times[np.flatnonzero(wrong)[0]]))
        raise StoreDamaged(
            f"the store holds a candle of {series} at {at}, which is off the grid or out of order: "
            "see `candlewick verify`"
        )
