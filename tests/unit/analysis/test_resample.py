"""Longer candles made of shorter ones equal the exchange's own."""

import random
import zipfile
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from candlewick.analysis import resample as module
from candlewick.analysis.resample import resample
from candlewick.errors import UsageError
from candlewick.exchanges.exchange import Columns
from candlewick.market import DAY, HOUR, MINUTE, SECOND, Candle, Interval, Span, parse_time

FIELDS = Candle.__struct_fields__
INTS = ("open_time", "close_time", "trades")


def columns_of(rows: Iterable[Iterable[Any]]) -> Columns:
    """Columns of rows of values in the order of the fields of a candle."""
    cells = list(zip(*rows, strict=True)) or [()] * len(FIELDS)
    return {
        name: np.array(column, np.int64 if name in INTS else np.float64)
        for name, column in zip(FIELDS, cells, strict=True)
    }


def made_up(count: int, interval: Interval, start: int, *, missing: float = 0.0, seed: int = 3) -> Columns:
    """Candles of a random walk on the grid from `start`, a share of them left out."""
    draw, rows, time = random.Random(seed), list[tuple[Any, ...]](), interval.ceil(start)
    for _ in range(count):
        low, high = sorted(draw.randrange(1, 10**6) / 100 for _ in range(2))
        volume, taker = (draw.randrange(10**7) / 10**5 for _ in range(2))
        quote, taker_quote = (draw.randrange(10**14) / 10**7 for _ in range(2))
        if draw.random() >= missing:
            row = (time, low, high, low, high, volume, interval.close(time), quote, draw.randrange(9), taker)
            rows.append((*row, taker_quote))
        time = interval.next(time)
    return columns_of(rows)


def read_day(body: str) -> list[list[Any]]:
    """The rows of an archive file of spot, times in microseconds."""
    rows = []
    for line in body.splitlines():
        cells = line.split(",")[:11]
        values = [int(cell) if name in INTS else float(cell) for name, cell in zip(FIELDS, cells, strict=True)]
        if values[0] < 10**14:
            values[0], values[6] = values[0] * 1000, values[6] * 1000
        rows.append(values)
    return rows


def recorded(recordings: Path, symbol: str, interval: str) -> Columns:
    folder = recordings / "archive/data/spot/daily/klines" / symbol / interval
    rows = []
    for path in sorted(folder.glob("*.zip")):
        with zipfile.ZipFile(path) as opened:
            rows += read_day(opened.read(opened.namelist()[0]).decode())
    return columns_of(rows)


def one_by_one(columns: Columns, target: Interval) -> list[tuple[Any, ...]]:
    """The longer candles by Python's decimals, candle by candle."""
    groups = dict[int, list[tuple[Any, ...]]]()
    for row in zip(*(columns[name].tolist() for name in FIELDS), strict=True):
        groups.setdefault(target.floor(row[0]), []).append(row)

    def total(rows: list[tuple[Any, ...]], at: int) -> float:
        return float(sum((Decimal(repr(row[at])) for row in rows), Decimal(0)))

    return [
        (
            open_time, rows[0][1], max(row[2] for row in rows), min(row[3] for row in rows), rows[-1][4],
            total(rows, 5), rows[-1][6], total(rows, 7), sum(row[8] for row in rows), total(rows, 9), total(rows, 10),
        )
        for open_time, rows in groups.items()
    ]  # fmt: skip


@pytest.mark.data
@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT"])
@pytest.mark.parametrize("target", ["15m", "1h"])
def test_resample_equals_the_exchange(recordings: Path, symbol: str, target: str) -> None:
    """Every 15m and 1h candle of March 2023 comes out of the 1m candles in all eleven values, early close included."""
    made = resample(recorded(recordings, symbol, "1m"), Interval("1m"), Interval(target))
    theirs = recorded(recordings, symbol, target)
    for name in FIELDS:
        assert np.array_equal(made.columns[name], theirs[name]), name
    short = np.flatnonzero(made.rows_in != made.expected)
    assert made.rows_in.sum() == 44_560
    assert [made.columns["open_time"][at] for at in short] == [Interval(target).floor(parse_time("2023-03-24T12:39"))]
    assert made.columns["close_time"][short[0]] // SECOND % 60 in {41, 43}


@pytest.mark.data
@pytest.mark.parametrize("month", ["2024-12", "2025-01"])
def test_resample_of_months_differs_only_where_doubles_cannot_hold_the_text(recordings: Path, month: str) -> None:
    """Files in milliseconds and in microseconds: of 2,976 hourly quote amounts one is a double off."""
    folder = recordings / "archive/data/spot/monthly/klines/BTCUSDT"
    shorter, longer = (
        columns_of(read_day((folder / code / f"BTCUSDT-{code}-{month}.csv").read_text())) for code in ("5m", "1h")
    )
    made = resample(shorter, Interval("5m"), Interval("1h"))
    assert (made.rows_in == 12).all()
    for name in FIELDS:
        off = np.flatnonzero(made.columns[name] != longer[name])
        assert len(off) == (1 if (name, month) == ("taker_buy_quote_volume", "2024-12") else 0), name
        for at in off:
            assert (shorter[name][at * 12 : at * 12 + 12] > 2.0**26).any()
            assert abs(made.columns[name][at] - longer[name][at]) <= np.spacing(longer[name][at])


@pytest.mark.data
def test_resample_in_two_steps_differs_only_where_doubles_cannot_hold_the_text(recordings: Path) -> None:
    """By way of 15m, quote volumes of more than sixteen digits come out one double off at most; all else is equal."""
    columns = recorded(recordings, "BTCUSDT", "1m")
    halfway = resample(columns, Interval("1m"), Interval("15m")).columns
    made = resample(halfway, Interval("15m"), Interval("1h")).columns
    straight = resample(columns, Interval("1m"), Interval("1h")).columns
    for name in FIELDS:
        if name in {"quote_volume", "taker_buy_quote_volume"}:
            off = made[name] != straight[name]
            assert (np.abs(made[name] - straight[name])[off] <= np.spacing(straight[name][off])).all()
            assert (straight[name][off] > 2.0**26).all()
        else:
            assert np.array_equal(made[name], straight[name]), name


@pytest.mark.parametrize(
    ("source", "target", "start"),
    [
        ("1m", "5m", DAY - 3 * MINUTE), ("1m", "1h", 0), ("1s", "1m", 59 * SECOND), ("1h", "3d", 5 * HOUR),
        ("4h", "1w", 3 * DAY), ("1h", "1M", 27 * DAY), ("1d", "3M", 300 * DAY), ("1M", "1M", 0), ("1M", "12M", 40 * DAY),
        ("1m", "1m", 0), ("1m", "5m", 0), ("1m", "15m", 0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_resample_equals_candle_by_candle(
    source: str, target: str, start: int, missing: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without holes, on every grid and across blocks, the values are those of plain decimal arithmetic."""
    monkeypatch.setattr(module, "_BLOCK", 150)
    columns = made_up(900, Interval(source), 20_000 * DAY + start, missing=missing)
    made = resample(columns, Interval(source), Interval(target))
    assert list(zip(*(made.columns[name].tolist() for name in FIELDS), strict=True)) == one_by_one(
        columns, Interval(target)
    )
    opens, whole = made.columns["open_time"].tolist(), Interval(target)
    spans = [Span(open_time, whole.next(open_time)) for open_time in opens]
    assert made.expected.tolist() == [Interval(source).count(span) for span in spans]
    held = columns["open_time"]
    assert made.rows_in.tolist() == [int(((held >= a) & (held < b)).sum()) for a, b in spans]


def test_resample_counts_idle_minutes() -> None:
    """A minute in which nothing was traded has its place: it opens, closes and is counted."""
    rows = [
        (minute * MINUTE, 2.0, 2.0, 2.0, 2.0, 0.0, (minute + 1) * MINUTE - 1000, 0.0, 0, 0.0, 0.0)
        for minute in range(5)
    ]
    made = resample(columns_of(rows), Interval("1m"), Interval("5m"))
    assert [made.columns[name].tolist() for name in FIELDS] == [
        [0], [2.0], [2.0], [2.0], [2.0], [0.0], [5 * MINUTE - 1000], [0.0], [0], [0.0], [0.0]
    ]  # fmt: skip
    assert (made.rows_in.tolist(), made.expected.tolist()) == ([5], [5])


def test_resample_takes_the_fields_that_are_given() -> None:
    """Fields that nobody asked for cost nothing; the open time is always there."""
    columns = made_up(60, Interval("1m"), 0)
    some = resample({name: columns[name] for name in ("open_time", "close")}, Interval("1m"), Interval("1h"))
    assert list(some.columns) == ["open_time", "close"]
    assert some.columns["close"].tolist() == [columns["close"][-1]]


def test_resample_of_nothing_is_nothing() -> None:
    """No candles make no candles, of the right types."""
    made = resample(columns_of([]), Interval("1m"), Interval("1h"))
    assert {name: (len(column), column.dtype) for name, column in made.columns.items()} == {
        name: (0, np.dtype(np.int64 if name in INTS else np.float64)) for name in FIELDS
    }
    assert (len(made.rows_in), len(made.expected)) == (0, 0)


@pytest.mark.parametrize(
    ("source", "target"),
    [("2m", "3m"), ("5m", "1m"), ("1w", "1M"), ("3d", "1w"), ("1M", "1w"), ("2M", "3M"), ("3d", "3w"), ("7h", "1M")],
)
def test_resample_refuses_what_is_not_whole(source: str, target: str) -> None:
    """A candle that would need a part of another cannot be made."""
    with pytest.raises(UsageError, match="whole numbers"):
        resample(columns_of([]), Interval(source), Interval(target))


def test_resample_refuses_disorder() -> None:
    """Repeated, backward and off-grid times would be counted into the wrong candles."""
    columns = made_up(9, Interval("1m"), 0)
    for other in (2, 1, 4, 8):
        spoiled = columns | {"open_time": columns["open_time"].copy()}
        spoiled["open_time"][3] = columns["open_time"][other]
        with pytest.raises(UsageError, match="oldest first"):
            resample(spoiled, Interval("1m"), Interval("3m"))
    with pytest.raises(UsageError, match="their interval"):
        resample(columns, Interval("2m"), Interval("4m"))
    with pytest.raises(UsageError, match="no field"):
        resample(columns | {"colour": columns["open"]}, Interval("1m"), Interval("3m"))
