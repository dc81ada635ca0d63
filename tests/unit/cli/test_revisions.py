"""`candlewick candles --revisions`: what was replaced, by what."""

import csv
import io
import json
from pathlib import Path

import pytest

from candlewick.cli import main
from candlewick.market import DAY, MINUTE
from candlewick.stores import open_store
from candlewick.stores.store import Source, to_rows
from tests.unit.cli.stores import BTC, SMALL, T0, candle, make_store

FIELDS = ["open_time", "column", "old", "new", "old_source", "new_source"]


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Live candles, of which REST and the archive corrected some: one twice, one days later, one in its close time."""
    url = f"lmdb://{tmp_path / 'store'}"
    opened = open_store(url, write=True)
    number = opened.number(BTC)
    times = [T0, T0 + MINUTE, T0 + 5 * DAY]
    rows = to_rows(number, Source.LIVE, list(map(candle, times)))
    opened.write(rows)
    for source, at, column, value in (
        (Source.REST, 0, "volume", 2.5),
        (Source.ARCHIVE, 0, "volume", 1e-7),
        (Source.ARCHIVE, 1, "close_time", T0 + 2 * MINUTE - 1_000_000),
        (Source.ARCHIVE, 2, "trades", 8),
    ):
        rows["source"][at] = source
        rows[column][at] = value
        opened.write(rows[at : at + 1])
    rows["close"][2] = rows["open"][2] = SMALL * 1.5
    opened.write(rows[2:])
    opened.close()
    return url


def shown(store: str, capsys: pytest.CaptureFixture[str], *words: str) -> list[list[object]]:
    assert main(["candles", "BTCUSDT", "1m", "--revisions", "--store", store, "--json", *words]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert all(list(row) == FIELDS for row in rows)
    return [list(row.values()) for row in rows]


def test_each_value_stands_beside_what_replaced_it(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In order of time, then of the replacements; only columns that differ; both sources."""
    t = T0 // 1000
    assert shown(store, capsys) == [
        [t, "volume", 0.1 + 0.2, 2.5, "live", "rest"],
        [t, "volume", 2.5, 1e-7, "rest", "archive"],
        [t + 60_000, "close_time", t + 119_999, t + 119_000, "live", "archive"],
        [t + 432_000_000, "trades", 7, 8, "live", "archive"],
        [t + 432_000_000, "open", SMALL, SMALL * 1.5, "archive", "archive"],
        [t + 432_000_000, "close", SMALL, SMALL * 1.5, "archive", "archive"],
    ]


def test_range_and_limit_choose(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The newest replaced candles, or the first ones after --from; nothing outside of the range."""
    columns = [row[1] for row in shown(store, capsys, "--limit", "1")]
    assert columns == ["open", "close"]
    assert [row[1] for row in shown(store, capsys, "--from", "2024-03-01", "--limit", "1")] == ["volume"]
    assert [row[1] for row in shown(store, capsys, "--to", "2024-03-02", "--from", "2024-03-01T12:01")] == [
        "close_time"
    ]
    assert shown(store, capsys, "--from", "2025-01-01") == []


def test_csv_and_table(store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """CSV has a header and exact numbers; the table has times that people read."""
    words = ["candles", "BTCUSDT", "1m", "--revisions", "--store", store]
    assert main([*words, "--format", "csv", "--output", str(tmp_path / "r.csv")]) == 0
    rows = list(csv.reader(io.StringIO((tmp_path / "r.csv").read_text())))
    assert rows[0] == FIELDS
    assert rows[2] == [str(T0 // 1000), "volume", "2.5", "0.0000001", "rest", "archive"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == FIELDS
    assert lines[3].split() == ["2024-03-01T12:01:00Z", "close_time", "2024-03-01T12:01:59.999000Z", "2024-03-01T12:01:59Z", "live", "archive"]  # fmt: skip


def test_nothing_revised_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty list, and words for people; Parquet is not for this."""
    url = make_store(tmp_path / "store", range(3))
    words = ["candles", "BTCUSDT", "1m", "--revisions", "--store", url]
    assert main([*words, "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"
    assert main(words) == 0
    assert capsys.readouterr() == ("", "nothing of spot:BTCUSDT:1m was revised there\n")
    assert main([*words, "--format", "parquet", "--output", "x"]) == 2
