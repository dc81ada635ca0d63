"""`candlewick export` and `candlewick import`: names, ranges, what is printed, and exit codes."""

import json
from pathlib import Path

import pytest

from candlewick.cli import main
from candlewick.market import MINUTE, Candle, Market, Span
from candlewick.stores import open_store
from candlewick.stores.compaction import fingerprint
from candlewick.stores.store import Absence, Reason, Source, to_rows
from tests.unit.cli.stores import BTC, T0

OUTAGE = Span(T0 + 10 * MINUTE, T0 + 12 * MINUTE)


def fill(url: str, market: Market) -> str:
    """Thirty minutes of candles that keep every rule, with an outage."""
    store = open_store(url, write=True)
    series = BTC._replace(market=market)
    times = [T0 + minute * MINUTE for minute in range(30) if not OUTAGE.start <= T0 + minute * MINUTE < OUTAGE.end]
    candles = [Candle(at, 8.0, 9.0, 7.0, 8.5, 2.0, at + MINUTE - 1000, 16.5, 7, 1.0, 8.25) for at in times]
    store.write(to_rows(store.number(series), Source.REST, candles))
    store.set_absences(series, [Absence(OUTAGE, Reason.EXCHANGE_OUTAGE, "{}")])
    store.close()
    return url


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A store of one series."""
    return fill(f"lmdb://{tmp_path / 'store'}", Market.SPOT)


def told(url: str) -> dict[str, str]:
    reader = open_store(url, write=False)
    found = fingerprint(reader)
    reader.close()
    return found


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (
            ["--output", "out"],
            ["out/market=spot/symbol=BTCUSDT/interval=1m/year=2024/month=03/BTCUSDT-1m-2024-03.parquet"],
        ),
        (["--output", "a.csv"], ["a.csv"]),
        (["--output", "a.arrow"], ["a.arrow"]),
        (["--output", "new/", "--format", "csv"], ["new/spot-BTCUSDT-1m.csv"]),
        (["--output", ".", "--format", "arrow"], ["spot-BTCUSDT-1m.arrow"]),
        (["--output", "deep/er.txt", "--format", "csv"], ["deep/er.txt"]),
    ],
)
def test_series_goes_out_and_in(
    store: str, words: list[str], files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The format is that of the name unless it is said; the import of what was written is the same store."""
    assert main(["export", "btcusdt", "1m", "--store", store, "--json", *words]) == 0
    document = json.loads(capsys.readouterr().out)
    form = "parquet" if "parquet" in files[0] else "csv" if "csv" in str(words) else "arrow"
    assert document == {
        "market": "spot", "symbol": "BTCUSDT", "interval": "1m", "format": form, "candles": 28, "files": files,
    }  # fmt: skip
    other = f"lmdb://{tmp_path / 'other'}"
    assert main(["import", files[0], "--store", other, "--json"]) == 0
    (series,) = json.loads(capsys.readouterr().out)
    assert series == {
        "market": "spot", "symbol": "BTCUSDT", "interval": "1m", "files": 1, "inserted": 28, "confirmed": 0,
        "unchanged": 0, "revised": 0, "refused": 0, "broken": 0, "absences": 1, "certificate": None, "has_provenance": True,
    }  # fmt: skip
    assert told(other) == told(store)


def test_people_are_told_what_came_of_it(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A sentence for an export, a table for an import."""
    assert main(["export", "BTCUSDT", "1m", "--store", store, "--output", "a.csv", "--from", "2024-03-01T12:20"]) == 0
    assert capsys.readouterr().out == "10 candles of spot:BTCUSDT:1m in 1 file: a.csv\n"
    assert main(["import", "a.csv", "--store", store]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["series", "files", "inserted", "confirmed", "unchanged", "revised", "refused", "broken", "absences"]  # fmt: skip
    assert out[1].split() == ["spot:BTCUSDT:1m", "1", "0", "0", "10", "0", "0", "0", "0"]


def test_folder_of_many_series_is_taken_whole(store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files of every format and market in one folder; what is no file of candles is passed over."""
    fill(store, Market.USDM)
    assert main(["export", "BTCUSDT", "1m", "--store", store, "--output", "lake/"]) == 0
    assert main(["export", "BTCUSDT", "1m", "--market", "usdm", "--store", store, "--output", "lake/a.csv"]) == 0
    (tmp_path / "lake" / "README").write_text("not candles")
    capsys.readouterr()
    other = f"lmdb://{tmp_path / 'other'}"
    assert main(["import", "lake", "--store", other]) == 0
    assert told(other) == told(store)


def test_broken_rows_are_a_failure(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """They are counted and the exit code is 1; a file without its provenance is told."""
    main(["export", "BTCUSDT", "1m", "--store", store, "--output", "a.csv"])
    path = Path("a.csv")
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[3] = lines[3].replace(f"{(T0 + 2 * MINUTE) // 1000},", f"{(T0 + 2 * MINUTE) // 1000 + 1},", 1)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    capsys.readouterr()
    assert main(["import", "a.csv", "--store", "lmdb://other"]) == 1
    assert "is not the file that a.csv.provenance.json was written for" in capsys.readouterr().err
    Path("a.csv.provenance.json").unlink()
    assert main(["import", "a.csv", "--store", "lmdb://other"]) == 1
    err = capsys.readouterr().err
    assert "spot:BTCUSDT:1m: 1 rows broke a rule" in err
    assert "came without its provenance" in err


def test_usage_is_explained(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is there is not written over, ranges have a direction, a series that is not held is named."""
    words = ["export", "BTCUSDT", "1m", "--store", store, "--output", "a.csv"]
    assert main(words) == 0
    assert main(words) == 2
    assert "a.csv is there already" in capsys.readouterr().err
    assert main([*words, "--force"]) == 0
    assert main([*words, "--from", "2024-03-02", "--to", "2024-03-01"]) == 2
    assert main(["export", "BTCUSDT", "1h", "--store", store, "--output", "b.csv"]) == 2
    assert f"has no series {BTC.market}:BTCUSDT:1h" in capsys.readouterr().err


def test_busy_store_is_named(store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Importing writes: where a run does so already, the export still works and the import says who."""
    writer = open_store(store, write=True)
    assert main(["export", "BTCUSDT", "1m", "--store", store, "--output", "a.csv"]) == 0
    assert main(["import", "a.csv", "--store", store]) == 1
    assert "is being written by process" in capsys.readouterr().err
    writer.close()
