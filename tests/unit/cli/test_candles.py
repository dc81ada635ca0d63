"""`candlewick candles`: the formats, and which candles are printed."""

import csv
import io
import json
from pathlib import Path

import polars as pl
import pytest

from candlewick.cli import main
from candlewick.cli.formats import COLUMNS
from candlewick.market import MINUTE
from tests.unit.cli.stores import SMALL, T0, candle, make_store

HEADER = "open_time,open,high,low,close,volume,close_time,quote_volume,trades,taker_buy_volume,taker_buy_quote_volume"


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Thirty minutes of one series."""
    return make_store(tmp_path / "store", range(30))


def minutes(text: str) -> list[int]:
    return [(int(row["open_time"]) * 1000 - T0) // MINUTE for row in csv.DictReader(io.StringIO(text))]


def test_csv_comes_back_as_the_same_doubles(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The header is the documented one, times are milliseconds, numbers are exact and have no exponent."""
    assert main(["candles", "btc/usdt", "1m", "--store", store, "--format", "csv"]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0] == HEADER
    assert "0.00001234,0.00002468," in text
    assert "e" not in text.replace(HEADER, "")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 30
    expected = candle(T0)
    for name in COLUMNS:
        value = getattr(expected, name)
        assert float(rows[0][name]) == (value / 1000 if name in {"open_time", "close_time"} else value)
    assert rows[0]["trades"] == "7"


def test_json_has_the_same_keys_and_numbers(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` is `--format json`: a list of objects, oldest first."""
    assert main(["candles", "BTCUSDT", "1m", "--store", store, "--json", "--limit", "2"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [list(row) for row in rows] == [HEADER.split(",")] * 2
    assert [row["open_time"] for row in rows] == [(T0 + minute * MINUTE) // 1000 for minute in (28, 29)]
    assert rows[0]["open"] == SMALL
    assert rows[0]["close_time"] == (T0 + 29 * MINUTE) // 1000 - 1


@pytest.mark.parametrize("form", ["json", "csv"])
def test_no_candles_are_an_empty_document(store: str, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A range without candles is fine: a header, or an empty list."""
    assert main(["candles", "BTCUSDT", "1m", "--store", store, "--from", "2025-01-01", "--format", form]) == 0
    assert capsys.readouterr().out == {"json": "[]\n", "csv": HEADER + "\n"}[form]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], range(30)),
        (["--limit", "3"], [27, 28, 29]),
        (["--from", "2024-03-01T12:05"], range(5, 30)),
        (["--from", "2024-03-01T12:05Z", "--limit", "2"], [5, 6]),
        (["--from", "2024-03-01T13:05+01:00", "--to", "2024-03-01T12:07"], [5, 6]),
        (["--to", str((T0 + 4 * MINUTE) // 1000), "--limit", "2"], [2, 3]),
        (["--limit", "500"], range(30)),
    ],
)
def test_range_and_limit_choose(
    store: str, words: list[str], expected: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    """--to is not included; --limit counts from --from, else it takes the newest."""
    assert main(["candles", "BTCUSDT", "1m", "--store", store, "--format", "csv", *words]) == 0
    assert minutes(capsys.readouterr().out) == list(expected)


def test_table_shows_the_newest_and_says_so(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A table without a range is short; stderr says how much there is."""
    assert main(["candles", "BTCUSDT", "1m", "--store", store]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split() == HEADER.split(",")
    assert len(lines) == 21
    assert lines[-1].startswith("2024-03-01T12:29:00Z  0.00001234")
    assert "the newest 20 of 30 candles" in err
    assert main(["candles", "BTCUSDT", "1m", "--store", store, "--limit", "30"]) == 0
    out, err = capsys.readouterr()
    assert (len(out.splitlines()), err) == (31, "")


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_files_hold_timestamps_and_exact_numbers(store: str, form: str, tmp_path: Path) -> None:
    """Parquet and Arrow have the same columns, times as UTC timestamps."""
    path = tmp_path / f"candles.{form}"
    assert main(["candles", "BTCUSDT", "1m", "--store", store, "--format", form, "--output", str(path)]) == 0
    frame = pl.read_parquet(path) if form == "parquet" else pl.read_ipc(path)
    assert frame.columns == list(COLUMNS)
    assert frame.schema["open_time"] == pl.Datetime("us", "UTC")
    assert frame["open_time"].dt.epoch("us").to_list() == [T0 + minute * MINUTE for minute in range(30)]
    assert frame["open"].to_list() == [SMALL] * 30


def test_output_goes_to_a_file(store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--output writes there and leaves stdout alone; a place that cannot be written is exit code 1."""
    words = ["candles", "BTCUSDT", "1m", "--store", store, "--format", "csv", "--output"]
    assert main([*words, str(tmp_path / "out.csv")]) == 0
    assert capsys.readouterr().out == ""
    assert minutes((tmp_path / "out.csv").read_text(encoding="utf-8")) == list(range(30))
    assert main([*words, str(tmp_path / "none" / "out.csv")]) == 1
    assert "cannot be written: No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["ETHUSDT", "1m"], "has no series spot:ETHUSDT:1m; it has spot:BTCUSDT:1m"),
        (["BTCUSDT", "1m", "--market", "usdm"], "has no series usdm:BTCUSDT:1m"),
        (["BTCUSDT", "7x"], "interval '7x' is not one"),
        (["BTCUSDT", "1m", "--to", "soon"], "--to: 'soon' is not a time"),
        (["BTCUSDT", "1m", "--limit", "0"], "--limit 0 is not possible"),
    ],
)
def test_wrong_words_are_told(store: str, words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be printed is exit code 2 with what would be right."""
    assert main(["candles", *words, "--store", store]) == 2
    assert complaint in capsys.readouterr().err


def test_missing_store_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is no store, the complaint names the place."""
    assert main(["candles", "BTCUSDT", "1m", "--store", f"lmdb://{tmp_path}/none"]) == 1
    assert f"there is no store at {tmp_path}/none" in capsys.readouterr().err
