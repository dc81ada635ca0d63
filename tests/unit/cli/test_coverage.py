"""`candlewick coverage`: what is drawn, what JSON says, and the exit code."""

import json
import os
from pathlib import Path

import pytest

from candlewick.cli import main
from candlewick.market import DAY, MINUTE, Market, Span, format_time
from candlewick.stores import open_store
from candlewick.stores.provenance import Listing, keep_listing
from candlewick.stores.store import Absence, Reason, Source, to_rows
from tests.unit.cli.stores import BTC, T0, candle, make_halt, make_store

NOON = 12 * 60
"""Minutes from T0 to the next midnight."""


@pytest.fixture
def four_days(tmp_path: Path) -> str:
    """From noon on: complete, an outage of an hour, half a day missing, live."""
    url = f"lmdb://{tmp_path / 'store'}"
    store = open_store(url, write=True)
    number = store.number(BTC)
    minutes = [*range(NOON), *range(NOON + 60, NOON + 1440), *range(NOON + 2160, NOON + 2880)]
    store.write(to_rows(number, Source.ARCHIVE, [candle(T0 + minute * MINUTE) for minute in minutes]))
    live = range(NOON + 2880, NOON + 4320)
    store.write(to_rows(number, Source.LIVE, [candle(T0 + minute * MINUTE) for minute in live]))
    outage = Span(T0 + NOON * MINUTE, T0 + (NOON + 60) * MINUTE)
    store.set_absences(BTC, [Absence(outage, Reason.EXCHANGE_OUTAGE, "{}")])
    store.close()
    return url


def test_calendar_of_one_series(four_days: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A line a month with a character a day under its number, sums, and a legend of what occurs."""
    assert main(["coverage", "BTCUSDT", "1m", "--store", four_days]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "spot:BTCUSDT:1m  2024-03-01T12:00:00Z to 2024-03-05T00:00:00Z"
    assert [lines[1].index(day) - 9 for day in (" 5", "10", "15", "20", "25", "30")] == [3, 9, 14, 19, 24, 29]
    assert lines[2].split() == ["2024-03", "█ox▒", "84.52", "%", "4,260"]
    assert lines[2].index("█") == 9
    assert lines[4].startswith("4,260 of 5,040 candles (84.52 %); 720 missing, 60 exchange_outage, 1,440 live")
    assert [line.split()[0] for line in lines[-4:]] == ["█", "▒", "o", "x"]
    assert max(map(len, lines)) <= 80


def test_json_has_every_day(four_days: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Documented keys, numbers that add up, and one object a day."""
    assert main(["coverage", "--json", "--store", four_days]) == 3
    (series,) = json.loads(capsys.readouterr().out)
    days = series.pop("days")
    assert series == {
        "market": "spot", "symbol": "BTCUSDT", "interval": "1m", "from": T0 // 1000, "to": T0 // 1000 + 302_400_000,
        "expected": 5040, "present": 4260, "certified": 2820, "halted": 0, "missing": 720,
        "absent": {"exchange_outage": 60},
    }  # fmt: skip
    assert [one["state"] for one in days] == ["complete", "outage", "partial", "live"]
    assert days[1] == {
        "date": "2024-03-02", "expected": 1440, "present": 1380, "certified": 1380, "halted": 0, "missing": 0,
        "absent": {"exchange_outage": 60}, "state": "outage",
    }  # fmt: skip


def test_range_that_is_asked_for_counts(four_days: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What lies in it and is not there is missing; a range that is whole is exit code 0."""
    within = ["--from", "2024-03-01T12:00", "--to", "2024-03-03"]
    assert main(["coverage", "BTCUSDT", "1m", "--store", four_days, *within]) == 0
    capsys.readouterr()
    beyond = ["--from", "2024-02-29", "--to", "2024-03-02", "--json"]
    assert main(["coverage", "BTCUSDT", "1m", "--store", four_days, *beyond]) == 3
    (series,) = json.loads(capsys.readouterr().out)
    assert [one["missing"] for one in series["days"]] == [1440, 720]


def test_times_before_the_listing_are_not_missing(four_days: str, capsys: pytest.CaptureFixture[str]) -> None:
    """When the symbol came is known: the days before are drawn as such."""
    store = open_store(four_days, write=True)
    keep_listing(store, Market.SPOT, "BTCUSDT", Listing(first=T0))
    store.close()
    asked = ["--from", "2024-02-28", "--to", "2024-03-02"]
    assert main(["coverage", "BTCUSDT", "1m", "--store", four_days, *asked]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["2024-02", "··", "0"]
    assert lines[3].split() == ["2024-03", "█", "100.00", "%", "720"]


def test_a_future_end_asks_for_nothing_that_cannot_be(four_days: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Up to now at most: candles that are not over are not missing."""
    assert main(["coverage", "--to", "2199-01-01", "--json", "--store", four_days]) == 3
    (series,) = json.loads(capsys.readouterr().out)
    assert series["to"] < 7_226_582_400_000


def test_several_series_are_a_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Under one scale; wide histories take several days to a character, and the worst of them shows."""
    url = make_store(tmp_path / "store", range(0, 400 * 1440, 1440))
    make_store(tmp_path / "store", range(100), series=BTC._replace(symbol="ETHUSDT"))
    assert main(["coverage", "--store", url]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["2024-03-01", format_time(T0 + 399 * DAY)[:10]]
    assert set(lines[1].split()[1]) == {"x"}
    assert lines[2].split() == ["spot:ETHUSDT:1m", "█", "100.00", "%"]
    assert "500 candles in 2 series" in lines[4]
    assert "; 8 days a character" in lines[4]
    assert max(map(len, lines)) <= 80


def test_halts_are_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A day with a halt is complete and says so."""
    assert main(["coverage", "--store", make_halt(tmp_path / "store")]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[2].split()[1] == "h"
    assert "18 in halts" in out


def test_characters_are_ascii_where_nothing_else_can_be_shown(
    four_days: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal without Unicode gets the same calendar."""
    monkeypatch.setattr("candlewick.cli.coverage._can_show", lambda _: False)
    assert main(["coverage", "--store", four_days]) == 3
    out = capsys.readouterr().out
    assert "#ox=" in out
    assert out.isascii()


def test_colours_are_for_terminals_that_want_them(
    four_days: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Colour repeats what shape says; NO_COLOR turns it off."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    main(["coverage", "--store", four_days])
    assert "\033[32m█\033[0m" in capsys.readouterr().out
    monkeypatch.setitem(os.environ, "NO_COLOR", "1")
    main(["coverage", "--store", four_days])
    assert "\033" not in capsys.readouterr().out


def test_impossible_range_is_refused(four_days: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--from must be before --to."""
    assert main(["coverage", "--store", four_days, "--from", "2024-03-02", "--to", "2024-03-01"]) == 2
    assert "--from 2024-03-02 is not before --to" in capsys.readouterr().err
