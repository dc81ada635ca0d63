"""Higher intervals from lower ones: whole candles only, and where the exchange's own differ."""

from decimal import Decimal

import polars as pl
import pytest

from candlewick.errors import UsageError
from candlewick.market import DAY, HOUR, MINUTE, Market, Span, parse_time
from candlewick.stores.provenance import Listing, keep_listing
from candlewick.stores.store import Reason, Source, Store, to_rows
from tests.unit.reading.samples import MINUTE_SERIES, T0, candle, database, outage, series, write, write_grid


def opens(frame: pl.DataFrame) -> list[int]:
    return frame["open_time"].cast(pl.Int64).to_list()


def hours(*at: int) -> list[int]:
    return [T0 + one * HOUR for one in at]


def test_derived_candle_is_made_of_its_minutes_exactly(store: Store) -> None:
    """Prices are the first, highest, lowest and last; volumes the decimal sums, to the last bit."""
    times = write_grid(store, MINUTE_SERIES, 120)
    frame = database(store).candles("BTCUSDT", "1h")
    parts = [candle(MINUTE_SERIES, time) for time in times[60:]]
    row = frame.cast({"open_time": pl.Int64, "close_time": pl.Int64}).row(1, named=True)
    assert row == {
        "open_time": T0 + HOUR,
        "open": parts[0].open,
        "high": max(one.high for one in parts),
        "low": min(one.low for one in parts),
        "close": parts[-1].close,
        "close_time": T0 + 2 * HOUR - 1000,
        "trades": sum(one.trades for one in parts),
    } | {
        name: float(sum(Decimal(repr(getattr(one, name))) for one in parts))
        for name in ("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume")
    }


def test_candle_with_a_missing_part_is_not_given(store: Store) -> None:
    """A minute that is missing here makes no hour of 59, and one that is not over makes none at all."""
    write_grid(store, MINUTE_SERIES, 5 * 60 + 30, without=[0, 130])
    assert opens(database(store).candles("BTCUSDT", "1h")) == hours(1, 3, 4)


@pytest.mark.parametrize(
    ("reason", "given"),
    [
        (Reason.EXCHANGE_OUTAGE, True),
        (Reason.NOT_LISTED, True),
        (Reason.DELISTED, True),
        (Reason.PENDING, False),
    ],
)
def test_known_reason_completes_a_candle(reason: Reason, given: bool, store: Store) -> None:
    """An hour with an outage is whole; one that waits for a source that is not out yet is not."""
    write_grid(store, MINUTE_SERIES, 180, without=range(70, 90))
    store.set_absences(MINUTE_SERIES, [outage(Span(T0 + 70 * MINUTE, T0 + 90 * MINUTE), reason)])
    assert opens(database(store).candles("BTCUSDT", "1h")) == (hours(0, 1, 2) if given else hours(0, 2))


def test_reason_for_a_part_of_a_hole_is_not_enough(store: Store) -> None:
    """One minute that nobody explained keeps the hour away."""
    write_grid(store, MINUTE_SERIES, 180, without=range(70, 90))
    store.set_absences(MINUTE_SERIES, [outage(Span(T0 + 71 * MINUTE, T0 + 90 * MINUTE))])
    assert opens(database(store).candles("BTCUSDT", "1h")) == hours(0, 2)


def test_hour_without_a_candle_is_no_candle(store: Store) -> None:
    """Where the exchange was away for all of it there is nothing to make one of."""
    write_grid(store, MINUTE_SERIES, 180, without=range(60, 120))
    store.set_absences(MINUTE_SERIES, [outage(Span(T0 + HOUR, T0 + 2 * HOUR))])
    assert opens(database(store).candles("BTCUSDT", "1h")) == hours(0, 2)


def test_first_and_last_day_of_trading_are_whole(store: Store) -> None:
    """Before a symbol's first minute and after its last nothing is missing."""
    write_grid(store, MINUTE_SERIES, 200, start=T0 + 45 * MINUTE)
    assert opens(database(store).candles("BTCUSDT", "1h")) == hours(1, 2, 3)
    keep_listing(store, Market.SPOT, "BTCUSDT", Listing(first=T0 + 45 * MINUTE, last=T0 + 244 * MINUTE))
    assert opens(database(store).candles("BTCUSDT", "1h")) == hours(0, 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [("2024-03-01T00:30", None, (1, 2, 3)), (None, "2024-03-01T02:00:00.001", (0, 1, 2)), ("2024-03-02", None, ())],
)
def test_range_is_of_the_derived_open_times(
    start: str | None, end: str | None, expected: tuple[int, ...], store: Store
) -> None:
    """A range that begins within an hour begins with the next one, and cuts none short at its end."""
    write_grid(store, MINUTE_SERIES, 240)
    assert opens(database(store).candles("BTCUSDT", "1h", start=start, end=end)) == hours(*expected)


@pytest.mark.parametrize("last", [1, 3, 5, 50])
def test_newest_derived_candles_are_counted_over_holes(last: int, store: Store) -> None:
    """`last` are the newest whole ones, however far back they are."""
    write_grid(store, MINUTE_SERIES, 60 * 40 + 10, without=range(60 * 6, 60 * 38))
    db = database(store)
    whole = db.candles("BTCUSDT", "1h")
    assert opens(whole) == hours(0, 1, 2, 3, 4, 5, 38, 39)
    assert db.candles("BTCUSDT", "1h", last=last).equals(whole.tail(last))


def test_weeks_and_months_come_from_days(store: Store) -> None:
    """Weeks open on Monday and months on the 1st, each of all its days."""
    days = series("spot:BTCUSDT:1d")
    write(store, days, range(parse_time("2024-01-01"), parse_time("2024-03-05"), DAY))
    db = database(store)
    assert [str(one)[:10] for one in db.candles("BTCUSDT", "1M")["open_time"]] == ["2024-01-01", "2024-02-01"]
    weeks = db.candles("BTCUSDT", "1w")
    assert weeks.height == 9
    assert weeks["open_time"].dt.weekday().unique().to_list() == [1]
    assert db.candles("BTCUSDT", "1M", fill="flat")["filled"].to_list() == [False, False]


def test_minutes_are_preferred_then_the_longest_that_fits(store: Store) -> None:
    """1m wins over 15m; without it the longest interval that divides is taken; 7m and weeks make no hours or months."""
    for interval in ("7m", "5m", "15m", "1w"):
        write_grid(store, series(f"spot:BTCUSDT:{interval}"), 100)
    db = database(store)
    assert db.candles("BTCUSDT", "1h").height == 25
    assert db.candles("BTCUSDT", "1M").height == 0
    write_grid(store, MINUTE_SERIES, 60)
    assert db.candles("BTCUSDT", "1h").height == 1


def test_stored_candles_come_first(store: Store) -> None:
    """What is stored is given as it is, unless deriving is asked for; `never` gives only what is stored."""
    write_grid(store, MINUTE_SERIES, 180)
    write_grid(store, series("spot:BTCUSDT:1h"), 1)
    db = database(store)
    assert opens(db.candles("BTCUSDT", "1h")) == hours(0)
    assert opens(db.candles("BTCUSDT", "1h", derive="always")) == hours(0, 1, 2)
    store.number(series("spot:BTCUSDT:30m"))  # known, but without a candle yet
    assert db.candles("BTCUSDT", "30m").height == 6
    assert db.candles("BTCUSDT", "30m", derive="never").height == 0
    with pytest.raises(UsageError, match="no series spot:BTCUSDT:2h; it has"):
        db.candles("BTCUSDT", "2h", derive="never")
    with pytest.raises(UsageError, match="cannot be derived"):
        db.candles("BTCUSDT", "1m", derive="always")
    with pytest.raises(UsageError, match="no series spot:BTCUSDT:90s"):
        db.candles("BTCUSDT", "90s")


def test_comparison_is_empty_where_all_agree(store: Store) -> None:
    """Stored hours that are the sums of their minutes have no disagreements."""
    write_grid(store, MINUTE_SERIES, 180)
    db = database(store)
    write_frame(store, db.candles("BTCUSDT", "1h"))
    found = db.compare("BTCUSDT", "1h")
    assert found.is_empty()
    assert found.columns == ["open_time", "column", "stored", "derived"]


def test_comparison_names_each_value_that_differs(store: Store) -> None:
    """A changed value, an hour that only one side has; an hour with a missing minute is not held against anybody."""
    write_grid(store, MINUTE_SERIES, 6 * 60, without=[*range(60, 120), 190])
    store.set_absences(MINUTE_SERIES, [outage(Span(T0 + HOUR, T0 + 2 * HOUR))])
    db = database(store)
    derived = db.candles("BTCUSDT", "1h")
    assert opens(derived) == hours(0, 2, 4, 5)
    write_frame(store, derived.slice(0, 3).with_columns(high=pl.col("high") + (pl.col("open_time").dt.hour() == 2)))
    write(store, series("spot:BTCUSDT:1h"), hours(1, 3))
    found = db.compare("BTCUSDT", "1h")
    assert [row[0].hour for row in found.rows()] == [1] * 10 + [2] + [5] * 10
    (changed,) = found.filter(pl.col("open_time").dt.hour() == 2).rows(named=True)
    assert (changed["column"], changed["stored"] - changed["derived"]) == ("high", 1.0)
    assert found.filter(pl.col("open_time").dt.hour() == 1)["derived"].null_count() == 10
    assert found.filter(pl.col("open_time").dt.hour() == 5)["stored"].null_count() == 10
    assert db.compare("BTCUSDT", "1h", start="2024-03-01T02:00", end="2024-03-01T03:00").height == 1


def write_frame(store: Store, frame: pl.DataFrame) -> None:
    """Keep the candles of a frame as stored hours."""
    of = series("spot:BTCUSDT:1h")
    rows = to_rows(store.number(of), Source.ARCHIVE, [candle(of, time) for time in opens(frame)])
    for name, values in frame.cast({"open_time": pl.Int64, "close_time": pl.Int64}).to_dict().items():
        rows[name] = values.to_numpy()
    store.write(rows)
