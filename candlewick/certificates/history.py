"""Rows that a settled source has revised since a certificate: with what they replaced, the block is what it was."""

from itertools import pairwise, product

import numpy as np

from candlewick.certificates.encoding import COLUMNS, Columns, Leaf, leaf_of
from candlewick.certificates.finding import Finding
from candlewick.certificates.locate import Home
from candlewick.market import Span
from candlewick.stores.store import Rows, Source

_MOST_TRIES = 256


def replaced_values(certified: Leaf, held: Columns, revisions: Rows, home: Home) -> list[Finding] | None:
    """The revisions that lie between a certificate and the rows held; None if they do not explain the difference.

    `revisions` are those of the block, by time, each time's in the order in which they were replaced.
    """
    times = held["open_time"]
    revisions = revisions[np.isin(revisions["open_time"], times)]
    if not len(revisions) or certified.rows != len(times):
        return None
    edges = [0, *(np.flatnonzero(np.diff(revisions["open_time"])) + 1).tolist(), len(revisions)]
    older = [range(start, stop) for start, stop in pairwise(edges)]
    for choice in _choices(older):
        rows = revisions[[one for one in choice if one is not None]]
        then = {name: held[name].copy() for name in COLUMNS}
        at = np.searchsorted(times, rows["open_time"])
        for name, column in then.items():
            column[at] = rows[name]
        if leaf_of(then, home.series, home.block).sha256 == certified.sha256:
            return [
                finding
                for row, where in zip(rows, at.tolist(), strict=True)
                for finding in _told(row, held, where, home)
            ]
    return None


def _choices(older: list[range]) -> list[tuple[int | None, ...]]:
    """For each revised row which version to take, None for the one held: all ways, or the likely ones if too many."""
    ways = 1
    for versions in older:
        ways *= len(versions) + 1
        if ways > _MOST_TRIES:
            return [tuple(one[0] for one in older), tuple(one[-1] for one in older)]
    return list(product(*((*versions, None) for versions in older)))


def _told(row: "np.void", held: Columns, at: int, home: Home) -> list[Finding]:
    start = int(row["open_time"])
    span = Span(start, home.series.interval.next(start))
    sources = f"{Source(int(row['source'])).name.lower()}, now {Source(int(held['source'][at])).name.lower()}"
    return [
        Finding(
            str(home.series),
            span,
            "revised",
            f"{name}: certified {row[name].item()!r}, now {held[name][at].item()!r}; revised since (from {sources})",
        )
        for name in COLUMNS
        if row[name].tobytes() != held[name][at].tobytes()
    ]
