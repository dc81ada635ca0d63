"""Which rows of a file are held against REST."""

import numpy as np

from candlewick.services.loading.rest import SAMPLE_PAGES, SAMPLE_ROWS, WHOLE_ROWS, _sample
from candlewick.stores.store import ROW, Rows


def numbered(count: int) -> Rows:
    rows: Rows = np.zeros(count, ROW)
    rows["open_time"] = np.arange(count)
    return rows


def test_short_file_is_compared_whole() -> None:
    """Up to so many rows each one is asked for."""
    (part,) = _sample(numbered(WHOLE_ROWS), "a")
    assert len(part) == WHOLE_ROWS
    assert _sample(numbered(0), "a") == []


def test_long_file_is_compared_at_both_ends_and_between() -> None:
    """Pages in order, none twice, the first and the last among them, always the same ones of one file."""
    rows = numbered(44_640)
    parts = _sample(rows, "BTCUSDT-1m-2023-03.zip")
    assert len(parts) == SAMPLE_PAGES + 2
    times = np.concatenate([part["open_time"] for part in parts])
    assert len(np.unique(times)) == len(times) == (SAMPLE_PAGES + 2) * SAMPLE_ROWS
    assert (times[0], times[-1]) == (0, 44_639)
    assert (np.diff(times) > 0).all()
    again = _sample(rows, "BTCUSDT-1m-2023-03.zip")
    assert all(np.array_equal(one, other) for one, other in zip(parts, again, strict=True))
    others = _sample(rows, "ETHUSDT-1m-2023-03.zip")
    assert any(not np.array_equal(one, other) for one, other in zip(parts, others, strict=True))
