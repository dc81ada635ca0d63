"""The cheapest pages."""

from itertools import combinations_with_replacement

import pytest

from candlewick.history.plan import page_rows

SPOT = ((1000, 2),)
USDM = ((99, 1), (499, 2), (1000, 5), (1500, 10))


def walk(sizes: tuple[tuple[int, int], ...], rows: int) -> tuple[int, int]:
    """(weight, requests) of getting `rows`, page after page."""
    weight = requests = 0
    prices = dict(sizes)
    while rows > 0:
        size = page_rows(sizes, rows)
        weight, requests, rows = weight + prices[size], requests + 1, rows - size
    return weight, requests


def cheapest(sizes: tuple[tuple[int, int], ...], rows: int) -> tuple[int, int]:
    """The same by trying everything."""
    return min(
        (sum(weight for _, weight in pages), count)
        for count in range(1, 9)
        for pages in combinations_with_replacement(sizes, count)
        if sum(size for size, _ in pages) >= rows
    )


@pytest.mark.parametrize("rows", [1, 98, 99, 100, 198, 199, 499, 500, 598, 600, 998, 999, 1000, 1097, 1100, 1500, 1999])
def test_page_rows_cost_as_little_as_any_way_can(rows: int) -> None:
    """No combination of pages is cheaper, and none as cheap takes fewer requests."""
    assert walk(USDM, rows) == cheapest(USDM, rows)


@pytest.mark.parametrize(("rows", "size"), [(0, 99), (3, 99), (100, 499), (100_000, 499), (525_600, 499)])
def test_page_rows_of_futures_avoid_the_dear_pages(rows: int, size: int) -> None:
    """A few rows take the smallest page; long spans the page that is cheapest per row."""
    assert page_rows(USDM, rows) == size


def test_page_rows_of_spot_are_all_there_is() -> None:
    """One size is always the right one."""
    assert {page_rows(SPOT, rows) for rows in (1, 999, 1001, 10**6)} == {1000}


def test_page_rows_of_a_year_cost_two_per_499() -> None:
    """A year of minutes on USD-M: five times cheaper than by the largest page."""
    weight, _ = walk(USDM, 525_600)
    assert weight <= 525_600 / 499 * 2 + 2
