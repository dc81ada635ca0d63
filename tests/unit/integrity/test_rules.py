"""Impossible candles are found and named; possible ones never are."""

import random
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest

from candlewick.exchanges.binance import EXCHANGE
from candlewick.integrity import rules
from candlewick.integrity.rules import CLOCK_TOLERANCE, RULES, Broken, Grids, broken_rule, check
from candlewick.market import HOUR, MINUTE, SECOND, Candle, Interval, Market, Span, parse_time
from candlewick.stores.store import ROW, Rows, Source, to_rows

OPEN = parse_time("2024-02-05T00:00")  # a Monday
NOW = parse_time("2024-06-01")
M1 = Interval("1m")
GOOD = Candle(OPEN, 10.0, 12.0, 9.0, 11.0, 100.0, OPEN + MINUTE - 1000, 1050.0, 7, 40.0, 420.0)
IDLE = Candle(OPEN, 10.0, 10.0, 10.0, 10.0, 0.0, OPEN + MINUTE - 1000, 0.0, 0, 0.0, 0.0)

IMPOSSIBLE = {
    "not-finite": [{"open": np.nan}, {"high": np.inf}, {"volume": np.inf}, {"quote_volume": np.nan},
                   {"taker_buy_volume": -np.inf}, {"taker_buy_quote_volume": np.inf}, {"low": np.nan}, {"close": np.inf},
                   {"volume": np.inf, "quote_volume": np.inf}],
    "price-not-positive": [{"low": 0.0}, {"low": -1.0}, {"open": 0.0, "low": 0.0}],
    "high-not-highest": [{"high": 10.9}, {"open": 12.1}, {"close": 12.1}],
    "low-not-lowest": [{"low": 10.1}, {"open": 8.9}, {"close": 8.9}],
    "negative-volume": [{"volume": -1.0}, {"quote_volume": -1.0}, {"taker_buy_volume": -1.0},
                        {"taker_buy_quote_volume": -1e-7}],
    "negative-trades": [{"trades": -1}],
    "volume-without-trades": [{"trades": 0}],
    "trades-without-volume": [{"volume": 0.0, "quote_volume": 0.0, "taker_buy_volume": 0.0, "taker_buy_quote_volume": 0.0}],
    "taker-above-total": [{"taker_buy_volume": 100.1}, {"taker_buy_quote_volume": 1051.0}],
    "quote-outside-prices": [{"quote_volume": 899.0}, {"quote_volume": 1201.0}, {"volume": 1000.0}],
    "taker-quote-outside-prices": [{"taker_buy_quote_volume": 359.0}, {"taker_buy_quote_volume": 481.0},
                                   {"taker_buy_volume": 0.0}],
    "before-time": [{"open_time": 0, "close_time": MINUTE - 1000}, {"open_time": 0}, {"open_time": -MINUTE}, {"open_time": parse_time("2009-01-02")}],
    "in-future": [{"open_time": NOW + MINUTE}, {"open_time": 2**62}],
    "off-grid": [{"open_time": OPEN + 1}, {"open_time": OPEN + SECOND}],
    "unfinished": [{"open_time": NOW}],
    "close-outside": [{"close_time": OPEN - 1}, {"close_time": OPEN + MINUTE}, {"close_time": OPEN + HOUR},
                      {"close_time": 0}],
}  # fmt: skip
CASES = [(name, changes) for name, cases in IMPOSSIBLE.items() for changes in cases]


def grids(*codes: str) -> Grids:
    return Grids({number: Interval(code) for number, code in enumerate(codes)})


def broken_in_batch(candle: Candle, interval: str = "1m", now: int = NOW, source: Source = Source.REST) -> str | None:
    """The rule `candle` breaks in the middle of a large batch of good rows."""
    batch = to_rows(0, source, [GOOD] * 50)
    batch[17] = to_rows(1, source, [candle])[0]
    found = check(batch, grids("1m", interval), now)
    assert [one.index for one in found] in ([], [17])
    return found[0].rule if found else None


@pytest.mark.parametrize(("rule", "changes"), CASES)
def test_impossible_candle_is_named_by_its_rule(rule: str, changes: dict[str, float]) -> None:
    """One changed value breaks the rule that is about it, alone and within a batch."""
    candle = msgspec.structs.replace(GOOD, **changes)
    assert broken_rule(candle, M1, NOW) == rule
    assert check(to_rows(0, Source.REST, [candle]), grids("1m"), NOW) == [Broken(0, rule)]
    assert broken_in_batch(candle) == rule


def test_idle_candle_is_flat() -> None:
    """A minute without trades has one price and no volume."""
    assert broken_rule(IDLE, M1, NOW) is None
    moved = msgspec.structs.replace(IDLE, high=10.5)
    assert broken_rule(moved, M1, NOW) == broken_in_batch(moved) == "idle-not-flat"
    assert broken_in_batch(IDLE) is None


def test_every_rule_has_an_impossible_candle() -> None:
    """No rule stands in the table that no candle of these tests breaks."""
    assert {*IMPOSSIBLE, "idle-not-flat"} == {rule.name for rule in RULES}


@pytest.mark.parametrize(
    "changes",
    [
        {"close_time": OPEN + 41_646_000},  # the last minute before an outage
        {"close_time": OPEN},
        {"high": 11.0, "low": 10.0},
        {"taker_buy_volume": 0.0, "taker_buy_quote_volume": 0.0},
        {"taker_buy_volume": 100.0, "taker_buy_quote_volume": 1050.0},
        {"quote_volume": 1200.0 + 8e-8},  # eight units of the last decimal for seven trades
        {"quote_volume": 900.0 - 8e-8, "taker_buy_quote_volume": 400.0},
        {"taker_buy_quote_volume": 360.0 - 8e-8},
    ],
)
def test_unusual_candle_is_possible(changes: dict[str, float]) -> None:
    """Early closes, one-sided minutes and amounts cut after the eighth decimal are real."""
    candle = msgspec.structs.replace(GOOD, **changes)
    assert broken_rule(candle, M1, NOW) is None
    assert broken_in_batch(candle) is None


@pytest.mark.parametrize(
    ("code", "open_time"),
    [("1s", "2024-02-05T00:00:07"), ("3m", "2024-02-05T00:03"), ("3d", "2024-02-05"), ("1w", "2024-02-05"),
     ("1M", "2024-02-01"), ("8h", "2024-02-05T16:00")],
)  # fmt: skip
def test_every_interval_has_its_own_grid(code: str, open_time: str) -> None:
    """Weeks open on Monday, months on the 1st, three days as counted from the epoch."""
    interval = Interval(code)
    opened = interval.floor(parse_time(open_time))
    assert code == "3d" or opened == parse_time(open_time)
    good = msgspec.structs.replace(GOOD, open_time=opened, close_time=interval.close(opened))
    late = msgspec.structs.replace(good, open_time=opened + SECOND // 2)
    long = msgspec.structs.replace(good, close_time=interval.next(opened))
    assert [broken_in_batch(one, code) for one in (good, late, long)] == [None, "off-grid", "close-outside"]
    assert broken_rule(good, interval, interval.next(opened) - 1) == "unfinished"
    assert broken_rule(good, interval, interval.next(opened)) is None


def test_unfinished_row_of_rest_is_never_over_early() -> None:
    """A page's last row is complete only when its time is over, to the microsecond."""
    end = OPEN + MINUTE
    batch = to_rows(0, Source.REST, [GOOD])
    assert check(batch, grids("1m"), end) == []
    assert check(batch, grids("1m"), end - 1) == [Broken(0, "unfinished")]


@pytest.mark.parametrize("rows", [1, 50])
def test_live_row_may_be_ahead_of_our_clock(rows: int) -> None:
    """The exchange said it is closed, so a clock that lags a little does not refuse it."""
    batch = to_rows(0, Source.LIVE, [GOOD] * rows)
    end = OPEN + MINUTE
    assert check(batch, grids("1m"), end - CLOCK_TOLERANCE) == []
    assert len(check(batch, grids("1m"), end - CLOCK_TOLERANCE - 1)) == rows


def test_check_of_nothing_finds_nothing() -> None:
    """An empty batch is fine."""
    assert check(np.empty(0, ROW), grids("1m"), NOW) == []


@pytest.mark.parametrize("number", [3, 63, 64, 4_000_000_000])
@pytest.mark.parametrize("rows", [1, 50])
def test_check_refuses_series_it_does_not_know(number: int, rows: int) -> None:
    """A row whose interval is not known can be neither right nor wrong."""
    with pytest.raises(LookupError):
        check(to_rows(number, Source.REST, [GOOD] * rows), grids("1m"), NOW)


def test_grids_grow_with_the_series() -> None:
    """Series numbers are the store's and may be high."""
    many = Grids({})
    many.add(5000, M1)
    many.add(70, Interval("1M"))
    assert check(to_rows(5000, Source.REST, [GOOD] * 50), many, NOW) == []


def random_rows(draw: random.Random, count: int) -> Rows:
    """Good and idle candles, some of them spoiled in one or two values."""
    odd = [np.nan, np.inf, -np.inf, 0.0, -0.0, -1.0, 1e-8, 9.0, 10.0, 11.0, 12.0, 100.0, 1e300, 420.0, 1050.0]
    times = [
        0,
        -1,
        OPEN,
        OPEN + 1,
        OPEN + MINUTE,
        NOW - MINUTE,
        NOW,
        NOW + 1,
        2**62,
        -(2**62),
        OPEN + MINUTE - 1000,
        1,
        7,
    ]
    batch = to_rows(0, Source.REST, [draw.choice((GOOD, IDLE)) for _ in range(count)])
    batch["series"] = [draw.randrange(4) for _ in range(count)]
    batch["source"] = [draw.choice((1, 2, 3)) for _ in range(count)]
    for index in range(count):
        for _ in range(draw.choice((0, 1, 1, 2))):
            name = draw.choice((ROW.names or ())[2:])
            batch[name][index] = draw.choice(times if ROW[name].kind == "i" else odd)
    return batch


def test_batch_agrees_with_going_row_by_row() -> None:
    """The quick pass over a batch lets through no row that breaks a rule, and stops none that keeps all."""
    draw = random.Random(11)
    many = grids("1m", "1h", "1w", "1M")
    for _ in range(40):
        batch = random_rows(draw, 300)
        one_by_one = [
            Broken(index, found[0].rule) for index in range(300) if (found := check(batch[[index]], many, NOW))
        ]
        assert check(batch, many, NOW) == one_by_one
        assert 100 < len(one_by_one) < 300


def test_check_finds_rows_wherever_they_stand_in_a_long_batch() -> None:
    """However many rows are checked together, with their columns or without, the index is that of the whole batch."""
    batch = np.repeat(to_rows(0, Source.ARCHIVE, [GOOD]), 20_000)
    wrong = [0, 4_095, 4_096, 8_191, 12_345, 19_999]
    batch["trades"][wrong] = -1
    columns = {name: np.ascontiguousarray(batch[name]) for name in ROW.names or ()}
    expected = [Broken(index, "negative-trades") for index in wrong]
    assert check(batch, grids("1m"), NOW) == expected
    assert check(batch, grids("1m"), NOW, columns) == expected


def test_quick_pass_recognises_ordinary_rows() -> None:
    """Good and idle rows are decided by the quick pass alone, which is what it is for."""
    batch = to_rows(0, Source.LIVE, [GOOD, IDLE])
    with np.errstate(all="ignore"):
        assert rules._fine(batch, grids("1m"), NOW).all()


def test_documentation_lists_every_rule_with_its_sentence() -> None:
    """The page for users and the table say the same, in the same order."""
    page = (Path(__file__).parents[3] / "docs" / "validation.md").read_text(encoding="utf-8")
    places = [page.index(f"| `{rule.name}` | {rule.sentence} |") for rule in RULES]
    assert all(first < second for first, second in pairwise(places))


def archive_rows(folder: Path) -> Iterator[tuple[str, Rows]]:
    """Every recorded kline file of the archive, as its interval and its rows."""
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as bundle:
                text = bundle.read(bundle.namelist()[0]).decode()
        elif path.suffix == ".csv":
            text = path.read_text()
        else:
            continue
        found = []
        for line in text.splitlines():
            if not line[0].isdigit():
                continue  # files of USD-M have a header
            t, o, h, low, c, v, close, q, n, taker, taker_quote, _ = line.split(",")
            scale = 1 if len(t) == 16 else 1000  # microseconds in spot files from 2025 on
            times = int(t) * scale, int(close) * scale // 1000 * 1000
            found.append(
                Candle(
                    times[0],
                    *map(float, (o, h, low, c, v)),
                    times[1],
                    float(q),
                    int(n),
                    float(taker),
                    float(taker_quote),
                )
            )
        yield path.name.split("-")[1], to_rows(0, Source.ARCHIVE, found)


@pytest.mark.data
def test_no_recorded_candle_of_the_archive_breaks_a_rule(recordings: Path) -> None:
    """All recorded candles of both markets pass, those cut short by the outage of March 2023 included."""
    seen = early = 0
    for code, batch in archive_rows(recordings / "archive"):
        assert check(batch, grids(code), parse_time("2025-07-01")) == []
        seen += batch.size
        early += int((batch["close_time"] != batch["open_time"] + Interval(code).nominal - 1000).sum())
    assert seen > 180_000
    assert early >= 6


@pytest.mark.data
def test_no_recorded_candle_of_rest_breaks_a_rule(recordings: Path) -> None:
    """Recorded pages pass once their last candle is over, and not before."""
    venue = EXCHANGE.venues[Market.SPOT]
    for path in sorted((recordings / "rest" / "klines").iterdir()):
        interval = Interval(path.name.split("-")[1])
        batch = to_rows(0, Source.REST, venue.read_klines(path.read_bytes()))
        end = interval.next(int(batch["open_time"][-1]))
        assert interval.count(Span(int(batch["open_time"][0]), end)) >= batch.size
        assert check(batch, grids(interval.code), end) == []
        assert check(batch, grids(interval.code), end - 1) == [Broken(batch.size - 1, "unfinished")]
