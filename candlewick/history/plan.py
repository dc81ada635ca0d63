"""Which pages to ask for: the fewest weight, and of equally cheap ways the fewest requests."""

from collections.abc import Sequence
from functools import cache

_EXACT_PAGES = 4
"""Needs of up to so many of the largest pages are planned exactly; beyond, bulk goes by the best price per row."""


def page_rows(page_sizes: Sequence[tuple[int, int]], rows: int) -> int:
    """How many rows to ask for next when `rows` are needed; `page_sizes` as of `Venue.page_sizes`."""
    sizes = tuple(page_sizes)
    if rows > _EXACT_PAGES * max(size for size, _ in sizes):
        return min(sizes, key=lambda size: (size[1] / size[0], -size[0]))[0]
    return _plan(sizes, max(rows, 1))[2]


@cache
def _plan(sizes: tuple[tuple[int, int], ...], rows: int) -> tuple[int, int, int]:
    """(weight, requests, size of the first page) of the cheapest way to get `rows`."""
    plans = []
    for size, weight in sizes:
        rest = _plan(sizes, rows - size) if rows > size else (0, 0, 0)
        plans.append((weight + rest[0], 1 + rest[1], size))
    return min(plans, key=lambda plan: (plan[0], plan[1], -plan[2]))
