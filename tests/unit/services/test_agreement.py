"""Higher intervals held against lower ones."""

from collections.abc import Sequence

import numpy as np
import pytest

from candlewick.analysis.resample import resample
from candlewick.certificates.encoding import COLUMNS
from candlewick.market import HOUR, MINUTE, Interval, Series
from candlewick.reading.deriving import find_lower
from candlewick.services import agreement
from candlewick.services.agreement import MOST_NAMED, compare_intervals
from candlewick.stores.memory import MemoryStore
from candlewick.stores.store import ROW, Rows, SeriesInfo, Source
from tests.unit.certificates.held import SERIES, T0, candles

HOURS = Series.parse("spot:BTCUSDT:1h")


def both(count: int = 600) -> tuple[MemoryStore, Rows]:
    """A store of 1m candles, and the 1h candles that they make."""
    store = MemoryStore()
    rows = candles(store.number(SERIES), count)
    store.write(rows)
    made = resample({name: rows[name] for name in COLUMNS}, SERIES.interval, Interval("1h")).columns
    hours = np.zeros(len(made["open_time"]), ROW)
    hours["series"], hours["source"] = store.number(HOURS), Source.ARCHIVE
    for name in COLUMNS:
        hours[name] = made[name]
    return store, hours


def test_intervals_that_agree_are_not_mentioned() -> None:
    """Candles that are exactly what the lower ones make: nothing to say."""
    store, hours = both()
    store.write(hours)
    assert compare_intervals(store) == []


def test_difference_is_a_note_with_both_values() -> None:
    """The series, the candle, the column, what is stored and what the lower interval makes of it."""
    store, hours = both()
    made = hours["close"][3].item()
    hours["close"][3] += 0.5
    store.write(hours)
    value, total = compare_intervals(store)
    assert (value.what, value.is_note, value.span and value.span.start) == ("disagreement", True, T0 + 3 * HOUR)
    assert value.detail == f"close: {made + 0.5!r}, of 1m it is {made!r}"
    assert total.detail == "1 candles differ from those of 1m in 1 values"


def test_many_differences_are_counted() -> None:
    """Only some values are named."""
    store, hours = both()
    hours["trades"] += 1
    hours["volume"] += 1
    hours["close_time"] -= MINUTE
    store.write(hours)
    found = compare_intervals(store)
    assert len(found) == MOST_NAMED + 1
    assert found[-1].detail == "10 candles differ from those of 1m in 30 values"


def test_candle_of_one_interval_alone_is_named_once() -> None:
    """An hour that is not held although its minutes are."""
    store, hours = both()
    store.write(np.delete(hours, 4))
    (alone, total) = compare_intervals(store)
    assert alone.detail == "there is a candle of 1m alone"
    assert alone.span is not None
    assert alone.span.start == T0 + 4 * HOUR
    assert total.is_note


def test_series_is_held_only_against_those_of_its_symbol(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of thousands of symbols is looked at beside itself, not beside all others."""
    store, hours = both()
    store.write(hours)
    for at in range(20):
        store.write(candles(store.number(Series.parse(f"spot:S{at}USDT:1h")), 3, Series.parse(f"spot:S{at}USDT:1h")))
    looked_at = []

    def counting(known: Sequence[SeriesInfo], series: Series) -> Series | None:
        looked_at.append(len(known))
        return find_lower(known, series)

    monkeypatch.setattr(agreement, "find_lower", counting)
    assert compare_intervals(store) == []
    assert sorted(looked_at) == [1] * 20 + [2] * 2
