"""Memory that is used again: only when nobody sees it any more, and no more of it than is promised."""

import gc
import threading

import numpy as np
import pytest

from candlewick.stores import pages
from candlewick.stores.pages import Pages

LARGE = 1 << 20  # values: eight megabytes
DOUBLE, BYTE = np.dtype("<f8"), np.dtype("u1")


@pytest.fixture(autouse=True)
def _linux() -> None:
    if not pages._USABLE:
        pytest.skip("this system cannot be told that memory is free to take")


def test_pages_are_used_again_once_dropped() -> None:
    """A dropped array's memory is the next one's, whatever its type; a smaller one does not take far too much."""
    some = Pages()
    first = some.empty(LARGE, DOUBLE)
    where = first.ctypes.data
    assert (first.dtype, first.shape, first.flags.writeable, where % 8) == (DOUBLE, (LARGE,), True, 0)
    del first
    assert some.kept == 8 * LARGE
    again = some.empty(8 * LARGE - 5, BYTE)
    assert (again.ctypes.data, len(again), some.kept) == (where, 8 * LARGE - 5, 0)
    del again
    small = some.empty(LARGE // 2, DOUBLE)
    assert small.ctypes.data != where
    assert some.kept == 8 * LARGE


def test_pages_stay_while_any_view_does() -> None:
    """A slice of a slice keeps what it shows; nothing else is written there meanwhile."""
    some = Pages()
    whole = some.empty(LARGE, DOUBLE)
    whole[:] = 7.0
    part = whole[10:][5:20].view("<i8")
    expected = part.copy()
    del whole
    gc.collect()
    assert some.kept == 0
    other = some.empty(LARGE, DOUBLE)
    other[:] = 9.0
    assert (part == expected).all()
    del part
    assert some.kept == 8 * LARGE


def test_pages_keep_no_more_than_they_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is beyond the bound goes back to the system; small arrays are none of its business."""
    monkeypatch.setattr(pages, "_MOST", 20 << 20)
    some = Pages()
    arrays = [some.empty(LARGE, DOUBLE) for _ in range(4)]
    arrays.append(some.empty(1_000, DOUBLE))
    del arrays
    assert some.kept == 16 << 20


def test_pages_serve_threads() -> None:
    """Threads that take and drop at once never see each other's values."""
    some = Pages()
    wrong = []

    def work(value: float) -> None:
        for _ in range(30):
            mine = some.empty(LARGE, DOUBLE)
            mine[:: LARGE // 64] = value
            wrong.extend(mine[:: LARGE // 64][mine[:: LARGE // 64] != value].tolist())
            del mine

    threads = [threading.Thread(target=work, args=(float(at),)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert some.kept % (8 * LARGE) == 0
