"""`candlewick gaps`: what is listed, and the exit code."""

import json
from pathlib import Path

import pytest

from candlewick.cli import main
from candlewick.market import MINUTE, Interval, Span
from tests.unit.cli.stores import BTC, T0, make_halt, make_store

HELD = [0, 1, 2, 6, 7, 10]


def test_missing_candles_are_exit_code_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each gap is an object with exactly the documented keys; `missing` makes the exit code 3."""
    url = make_store(tmp_path / "store", HELD, Span(T0 + 3 * MINUTE, T0 + 6 * MINUTE))
    assert main(["gaps", "--json", "--store", url]) == 3
    start = T0 // 1000
    assert json.loads(capsys.readouterr().out) == [
        {"market": "spot", "symbol": "BTCUSDT", "interval": "1m", "from": start + 180_000, "to": start + 360_000, "candles": 3, "reason": "exchange_outage"},
        {"market": "spot", "symbol": "BTCUSDT", "interval": "1m", "from": start + 480_000, "to": start + 600_000, "candles": 2, "reason": "missing"},
    ]  # fmt: skip
    assert main(["gaps", "--store", url]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["series", "from", "to", "candles", "reason"]
    assert lines[2].split() == ["spot:BTCUSDT:1m", "2024-03-01T12:08:00Z", "2024-03-01T12:10:00Z", "2", "missing"]


def test_explained_gaps_are_exit_code_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A gap with a reason of its own is listed, and no failure."""
    url = make_store(tmp_path / "store", [0, 3], Span(T0 + MINUTE, T0 + 3 * MINUTE))
    assert main(["gaps", "--store", url]) == 0
    assert "exchange_outage" in capsys.readouterr().out


def test_whole_series_has_no_gaps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is missing before the first and after the last candle; JSON is then an empty list."""
    url = make_store(tmp_path / "store", range(5))
    assert main(["gaps", "--store", url]) == 0
    assert capsys.readouterr() == ("", "no gaps in 1 series\n")
    assert main(["gaps", "--store", url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_symbol_and_interval_choose(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the named series are looked at; one that is not stored is exit code 2."""
    url = make_store(tmp_path / "store", HELD)
    make_store(tmp_path / "store", range(3), series=BTC._replace(symbol="ETHUSDT"))
    assert main(["gaps", "ethusdt", "--store", url]) == 0
    assert main(["gaps", "BTC-USDT", "1m", "--store", url]) == 3
    capsys.readouterr()
    assert main(["gaps", "BTCUSDT", "1h", "--store", url]) == 2
    assert f"no series spot:BTCUSDT:{Interval('1h')}" in capsys.readouterr().err


def test_halts_are_shown_where_they_are_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A halt on USD-M stands among the gaps, in order, and makes no failure; without --halts it is not told."""
    url = make_halt(tmp_path / "store")
    assert main(["gaps", "--store", url]) == 0
    assert capsys.readouterr() == ("", "no gaps in 1 series\n")
    assert main(["gaps", "--halts", "--json", "--store", url]) == 0
    (halt,) = json.loads(capsys.readouterr().out)
    assert halt == {
        "market": "usdm", "symbol": "BTCUSDT", "interval": "1m", "from": T0 // 1000 + 300 * 60_000,
        "to": T0 // 1000 + 318 * 60_000, "candles": 18, "reason": "halt",
    }  # fmt: skip
    assert main(["gaps", "--halts", "--store", url]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[-2:] == ["18", "halt"]
