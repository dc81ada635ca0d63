"""Filling holes: only where it is asked for, and marked."""

import numpy as np
import polars as pl
import pytest

from candlewick.market import MINUTE, Span, parse_time
from candlewick.reading.filling import fill_flat
from candlewick.stores.store import Source, Store, to_rows
from tests.unit.reading.samples import MINUTE_SERIES, T0, candle, database, series, write, write_grid


def test_holes_stay_holes_unless_asked(store: Store) -> None:
    """Reading gives what is held and nothing else."""
    times = write_grid(store, MINUTE_SERIES, 10, without=[3, 4, 7])
    frame = database(store).candles("BTCUSDT", "1m")
    assert frame["open_time"].cast(pl.Int64).to_list() == times
    assert "filled" not in frame.columns


def test_flat_candles_have_the_close_before_and_are_marked(store: Store) -> None:
    """A made candle has the last close as its prices, no volume, its own times, and `filled`; the others are as held."""
    write_grid(store, MINUTE_SERIES, 6, without=[2, 3])
    db = database(store)
    frame = db.candles("BTCUSDT", "1m", fill="flat")
    assert frame["filled"].to_list() == [False, False, True, True, False, False]
    assert frame.filter(~pl.col("filled")).drop("filled").equals(db.candles("BTCUSDT", "1m"))
    close = candle(MINUTE_SERIES, T0 + MINUTE).close
    for at, row in zip((2, 3), frame.filter(pl.col("filled")).iter_rows(named=True), strict=True):
        assert [row[name] for name in ("open", "high", "low", "close")] == [close] * 4
        volumes = ("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume", "trades")
        assert [row[name] for name in volumes] == [0] * 5
        assert row["open_time"].timestamp() == (T0 + at * MINUTE) // 10**6
        assert round(row["close_time"].timestamp() * 1000) == (T0 + (at + 1) * MINUTE) // 1000 - 1


def test_early_close_time_is_kept(store: Store) -> None:
    """The candle before an outage, which closed early, is not touched."""
    early = candle(MINUTE_SERIES, T0)
    kept = early.close_time - 21_000_000
    rows = to_rows(store.number(MINUTE_SERIES), Source.REST, [early, candle(MINUTE_SERIES, T0 + 2 * MINUTE)])
    rows["close_time"][0] = kept
    store.write(rows)
    frame = database(store).candles("BTCUSDT", "1m", fill="flat")
    assert frame["close_time"].cast(pl.Int64)[0] == kept


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, range(2, 9)),
        (-5, 20, range(2, 9)),
        (3, 5, range(3, 5)),
        (4, None, range(4, 9)),
        (None, 6, range(2, 6)),
        (0, 2, range(0)),
        (9, 30, range(0)),
        (5, 5, range(0)),
    ],
)
def test_nothing_is_made_before_the_first_or_after_the_last_candle(
    start: int | None, end: int | None, expected: range, store: Store
) -> None:
    """Within a range every grid time between the first and the last held candle is there, those at its edges too."""
    write_grid(store, MINUTE_SERIES, 9, without=[0, 1, 3, 4, 5, 7])
    bounds = {name: None if at is None else (T0 + at * MINUTE) // 1000 for name, at in (("start", start), ("end", end))}
    frame = database(store).candles("BTCUSDT", "1m", fill="flat", columns=["open_time", "close"], **bounds)
    places = ((frame["open_time"].cast(pl.Int64) - T0) // MINUTE).to_list()
    assert places == list(expected)
    held_before = {2: 2, 3: 2, 4: 2, 5: 2, 6: 6, 7: 6, 8: 8}
    closes = [candle(MINUTE_SERIES, T0 + held_before[at] * MINUTE).close for at in expected]
    assert frame["close"].to_list() == closes
    assert frame["filled"].to_list() == [held_before[at] != at for at in expected]


@pytest.mark.parametrize("last", [1, 2, 4, 100])
def test_newest_are_counted_with_those_made(last: int, store: Store) -> None:
    """`last` counts rows of the result."""
    write_grid(store, MINUTE_SERIES, 9, without=[5, 6, 7])
    db = database(store)
    whole = db.candles("BTCUSDT", "1m", fill="flat")
    assert db.candles("BTCUSDT", "1m", fill="flat", last=last).equals(whole.tail(last))


def test_months_are_filled_by_the_calendar(store: Store) -> None:
    """Months of 28 to 31 days are each made once and close when they end."""
    months = series("spot:BTCUSDT:1M")
    write(store, months, [parse_time("2023-12-01"), parse_time("2024-04-01")])
    frame = database(store).candles("BTCUSDT", "1M", fill="flat")
    assert [str(one)[:10] for one in frame["open_time"]] == ["2023-12-01", *(f"2024-{at:02}-01" for at in range(1, 5))]
    assert [str(one)[:23] for one in frame["close_time"]][1:3] == ["2024-01-31 23:59:59.999", "2024-02-29 23:59:59.999"]
    assert frame["filled"].to_list() == [False, True, True, True, False]
    assert database(store).candles("BTCUSDT", "1M", fill="flat", last=2).equals(frame.tail(2))


def test_filling_is_marked_in_every_style(memory: Store) -> None:
    """`filled` comes last, also where some columns are named."""
    write_grid(memory, MINUTE_SERIES, 4, without=[1])
    db = database(memory)
    assert db.candles("BTCUSDT", "1m", style="ccxt", fill="flat").columns[-1] == "filled"
    assert db.candles("BTCUSDT", "1m", columns=["volume"], fill="flat").rows()[1] == (0.0, True)
    assert db.candles("BTCUSDT", "1m", as_="numpy", fill="flat")["filled"].dtype == np.bool_


def test_flat_candles_before_the_first_of_a_window_take_the_close_that_is_given() -> None:
    """A window that begins in a hole goes on from the close before it."""
    held = {"open_time": np.array([T0 + MINUTE]), "close": np.array([7.0])}
    filled = fill_flat(held, MINUTE_SERIES.interval, Span(T0, T0 + 3 * MINUTE), 5.0)
    assert filled["close"].tolist() == [5.0, 7.0, 7.0]
    assert filled["filled"].tolist() == [True, False, True]
