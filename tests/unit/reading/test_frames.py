"""Frames of every library, and the columns of every style."""

import sys
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from candlewick.errors import UsageError
from candlewick.reading.frames import Kind, lay_out, to_frame
from candlewick.reading.styles import FIELDS, STYLES, Style
from candlewick.stores.store import Store
from tests.unit.reading.samples import MINUTE_SERIES, T0, candle, database, write_grid

UTC_TIME = pl.Datetime("us", "UTC")
FLOATS = {"open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume"}


def test_polars_frame_has_the_names_and_types_of_the_interface(store: Store) -> None:
    """Times are UTC timestamps, trades whole numbers, all else doubles, to the last bit."""
    times = write_grid(store, MINUTE_SERIES, 5)
    frame = database(store).candles("BTCUSDT", "1m")
    assert tuple(frame.columns) == FIELDS
    assert frame.schema["open_time"] == frame.schema["close_time"] == UTC_TIME
    assert frame.schema["trades"] == pl.Int64
    assert {name for name, kind in frame.schema.items() if kind == pl.Float64} == FLOATS
    for row, time in zip(frame.cast({"open_time": pl.Int64, "close_time": pl.Int64}).rows(), times, strict=True):
        made = candle(MINUTE_SERIES, time)
        assert row == tuple(getattr(made, name) for name in FIELDS)


def test_every_kind_of_frame_has_the_same_values(store: Store) -> None:
    """polars, pandas, Arrow and numpy agree on every value and every instant."""
    write_grid(store, MINUTE_SERIES, 50, without=[7])
    db = database(store)
    frame = db.candles("BTCUSDT", "1m")
    pandas = db.candles("BTCUSDT", "1m", as_="pandas")
    arrow = db.candles("BTCUSDT", "1m", as_="arrow")
    arrays = db.candles("BTCUSDT", "1m", as_="numpy")
    assert isinstance(pandas, pd.DataFrame)
    assert isinstance(arrow, pa.Table)
    assert str(pandas["open_time"].dtype) == "datetime64[us, UTC]"
    assert isinstance(pandas.index, pd.RangeIndex)
    assert arrow.schema.field("close_time").type == pa.timestamp("us", tz="UTC")
    assert arrays["open_time"].dtype == np.dtype("M8[us]")
    for other in (pl.from_arrow(arrow), pl.from_arrow(pa.Table.from_pandas(pandas))):
        assert frame.equals(other)
    for name, values in arrays.items():
        assert np.array_equal(values, frame[name].to_numpy())


@pytest.mark.parametrize("kind", ["polars", "pandas", "arrow", "numpy"])
def test_empty_range_has_the_same_types(kind: Kind, store: Store) -> None:
    """No candle at all is a frame of the usual columns and types."""
    write_grid(store, MINUTE_SERIES, 5)
    db = database(store)
    whole, empty = (db.candles("BTCUSDT", "1m", end=end, as_=kind) for end in (None, "2020-01-01"))
    if kind == "numpy":
        assert {name: one.dtype for name, one in empty.items()} == {name: one.dtype for name, one in whole.items()}
        assert not any(map(len, empty.values()))
    else:
        types = {"polars": "schema", "pandas": "dtypes", "arrow": "schema"}[kind]
        assert list(getattr(empty, types)) == list(getattr(whole, types))
        assert len(empty) == 0


def test_frames_share_the_memory_that_was_read() -> None:
    """Nothing is copied between the store and a frame, but for the columns that are written otherwise."""
    columns: Any = {name: np.arange(T0, T0 + 8) for name in FIELDS}
    arrays = lay_out(columns, STYLES["candlewick"])
    assert all(np.shares_memory(arrays[name], columns[name]) for name in FIELDS)
    frames = {kind: to_frame(arrays, kind) for kind in ("polars", "pandas", "arrow")}
    for name in FIELDS:
        columns[name][0] = T0 + 99
    assert frames["polars"]["open"][0] == frames["polars"]["open_time"].cast(pl.Int64)[0] == T0 + 99
    assert frames["arrow"]["open"][0].as_py() == frames["arrow"]["open_time"].cast(pa.int64())[0].as_py() == T0 + 99
    assert frames["pandas"]["open"][0] == T0 + 99


@pytest.mark.parametrize(
    ("style", "names"),
    [
        ("candlewick", ",".join(FIELDS)),
        ("ccxt", "timestamp,open,high,low,close,volume"),
        ("freqtrade", "date,open,high,low,close,volume"),
        (
            "binance",
            "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore",
        ),
    ],
)
def test_style_has_the_columns_of_its_tool(style: Style, names: str, memory: Store) -> None:
    """Each tool's names, in its order."""
    write_grid(memory, MINUTE_SERIES, 2)
    assert ",".join(database(memory).candles("BTCUSDT", "1m", style=style).columns) == names


def test_styles_write_times_as_their_tools_do(memory: Store) -> None:
    """With ccxt and Binance they are whole milliseconds; freqtrade's date is a UTC timestamp."""
    write_grid(memory, MINUTE_SERIES, 1)
    db = database(memory)
    ccxt, freqtrade, binance = (db.candles("BTCUSDT", "1m", style=style) for style in ("ccxt", "freqtrade", "binance"))
    assert ccxt["timestamp"].to_list() == [T0 // 1000]
    assert ccxt.schema["timestamp"] == pl.Int64
    assert freqtrade.schema["date"] == UTC_TIME
    assert binance["close_time"].to_list() == [T0 // 1000 + 59_999]
    assert binance["count"].to_list() == [candle(MINUTE_SERIES, T0).trades]
    assert binance["ignore"].to_list() == [0]


def test_columns_come_as_they_are_asked_for(store: Store) -> None:
    """Only those named, in that order, by the names of the style."""
    write_grid(store, MINUTE_SERIES, 3)
    db = database(store)
    assert db.candles("BTCUSDT", "1m", columns=["close", "open_time"]).columns == ["close", "open_time"]
    assert db.candles("BTCUSDT", "1m", columns=["ignore"], style="binance").rows() == [(0,)] * 3
    assert db.candles("BTCUSDT", "1m", columns=["volume"], style="ccxt", last=1).shape == (1, 1)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"style": "vectorbt"}, "style='vectorbt'"),
        ({"as_": "json"}, "as_='json'"),
        ({"columns": ["close", "price"]}, "of open_time, open"),
        ({"columns": ["close", "close"]}, "at most once"),
        ({"columns": []}, "at most once"),
        ({"columns": "close"}, "write a list"),
        ({"columns": ["trades"], "style": "binance"}, "count"),
        ({"fill": "linear"}, "write 'flat'"),
        ({"derive": "sometimes"}, "'auto', 'never' or 'always'"),
    ],
)
def test_impossible_option_is_refused(options: dict[str, object], why: str, memory: Store) -> None:
    """What is wrong is named, and what would be right."""
    write_grid(memory, MINUTE_SERIES, 1)
    with pytest.raises(UsageError, match=why):
        database(memory).candles("BTCUSDT", "1m", **options)


@pytest.mark.parametrize(("kind", "module", "extra"), [("pandas", "pandas", "pandas"), ("arrow", "pyarrow", "arrow")])
def test_missing_library_names_its_extra(
    kind: Kind, module: str, extra: str, memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the library the error says what to install, before anything is read."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=rf"pip install 'candlewick\[{extra}\]'"):
        database(memory).candles("BTCUSDT", "1m", as_=kind)
