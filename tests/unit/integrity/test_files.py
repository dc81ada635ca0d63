"""What a file of candles is judged to hold."""

import random
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from candlewick.exchanges.exchange import Columns, load
from candlewick.integrity.files import Judgement, judge
from candlewick.market import HOUR, MINUTE, Candle, Interval, Market, Series, Span, parse_time
from candlewick.stores.store import ROW, Source, to_rows

M1 = Interval("1m")
SERIES = Series(Market.SPOT, "BTCUSDT", M1)
START = parse_time("2024-02-01")
NOW = parse_time("2024-03-01")
SPAN = Span(START, START + HOUR)
FIELDS = Candle.__struct_fields__


def candle(minute: int, price: float = 2.0, **fields: float) -> Candle:
    time = START + minute * MINUTE
    values = {
        "open_time": time, "open": price, "high": price, "low": price, "close": price, "volume": 3.0,
        "close_time": time + MINUTE - 1000, "quote_volume": 3 * price, "trades": 5, "taker_buy_volume": 1.0,
        "taker_buy_quote_volume": price,
    }  # fmt: skip
    return Candle(**(values | fields))


def zipped(path: Path) -> bytes:
    packed = BytesIO()
    with ZipFile(packed, "w") as file:
        file.write(path, path.name)
    return packed.getvalue()


HOURLY = [candle(minute) for minute in range(60)]


def columns(candles: list[Candle]) -> Columns:
    integers = {"open_time", "close_time", "trades"}
    return {
        name: np.array([getattr(one, name) for one in candles], np.int64 if name in integers else np.float64)
        for name in FIELDS
    }


def judged(candles: list[Candle], span: Span = SPAN, series: Series = SERIES, now: int = NOW) -> Judgement:
    return judge(columns(candles), series, 7, span, now)


def test_judge_takes_a_clean_file_whole() -> None:
    """Every row, as an archive's row of the series, and nothing to remark."""
    found = judged(HOURLY)
    assert found.rows.tobytes() == to_rows(7, Source.ARCHIVE, HOURLY).tobytes()
    assert found[1:] == ([], 0, [], 0, 0, [], "")


def test_judge_names_the_minutes_that_are_missing() -> None:
    """At the start, in the middle and at the end of the span."""
    found = judged([*HOURLY[2:30], *HOURLY[33:59]])
    assert found.missing == [
        Span(START, START + 2 * MINUTE),
        Span(START + 30 * MINUTE, START + 33 * MINUTE),
        Span(START + 59 * MINUTE, START + HOUR),
    ]
    assert found.rows.size == 54
    assert found.remark == "6 of 60 candles missing, the first at 2024-02-01T00:00:00Z"


def test_judge_of_nothing_misses_everything() -> None:
    """A file without rows has none of its calendar."""
    found = judged([])
    assert found.rows.size == 0
    assert found.rows.dtype == ROW
    assert found.missing == [SPAN]


def test_judge_drops_repeats_and_keeps_the_row_once() -> None:
    """Adjacent or far apart, an identical row counts once."""
    found = judged([*HOURLY[:10], HOURLY[9], HOURLY[9], *HOURLY[10:], HOURLY[0]])
    assert found.rows.tobytes() == judged(HOURLY).rows.tobytes()
    assert (found.repeated, found.conflicting, found.unordered, found.missing) == (3, [], 1, [])
    assert found.remark == "3 repeated; 1 out of order"


@pytest.mark.parametrize("field", [name for name in FIELDS if name != "open_time"])
def test_judge_keeps_neither_of_two_that_conflict(field: str) -> None:
    """One bit of one value is enough, and a third row that sides with one of them changes nothing."""
    other = columns([HOURLY[4]])
    other[field][0] = other[field][0] + 1 if other[field].dtype == np.int64 else np.nextafter(other[field][0], 9)
    table = columns([*HOURLY, HOURLY[4]])
    both = {name: np.concatenate([table[name], other[name]]) for name in FIELDS}
    found = judge(both, SERIES, 7, SPAN, NOW)
    assert found.conflicting == [START + 4 * MINUTE]
    assert found.missing == [Span(START + 4 * MINUTE, START + 5 * MINUTE)]
    assert (found.rows.size, found.repeated, found.broken) == (59, 0, [])
    assert "1 given more than once with different values" in found.remark


def test_judge_sorts_what_is_out_of_order() -> None:
    """Whatever the order of the lines, the rows are the same."""
    shuffled = HOURLY[:]
    random.Random(5).shuffle(shuffled)
    found = judged(shuffled)
    assert found.rows.tobytes() == judged(HOURLY).rows.tobytes()
    assert found.unordered == sum(b.open_time < a.open_time for a, b in pairwise(shuffled))
    assert found.missing == []


def test_judge_takes_nothing_from_outside_the_span() -> None:
    """Rows of the day before and after, and of times that no unit explains, are not this file's."""
    strangers = [candle(-1), candle(60), candle(0, open_time=START // 1000), candle(1, open_time=-(2**63))]
    found = judged([*strangers, *HOURLY])
    assert found.rows.tobytes() == judged(HOURLY).rows.tobytes()
    assert (found.outside, found.missing, found.repeated) == (4, [], 0)
    assert found.remark == "2 out of order; 4 outside its time"


@pytest.mark.parametrize("rows", [[candle(-1), *HOURLY], [*HOURLY, candle(60)]])
def test_judge_takes_nothing_from_next_to_the_span(rows: list[Candle]) -> None:
    """A single row beside the span, in order, is seen as well."""
    found = judged(rows)
    assert found.rows.tobytes() == judged(HOURLY).rows.tobytes()
    assert (found.outside, found.unordered, found.remark) == (1, 0, "1 outside its time")


def test_judge_refuses_rows_off_the_grid() -> None:
    """A candle that opens off the grid is no candle of the series (2018-02-09), and the minute around it is missing."""
    found = judged([*HOURLY[:20], candle(20, open_time=START + 20 * MINUTE + 14_789_000), *HOURLY[21:]])
    assert found.broken == [(START + 20 * MINUTE + 14_789_000, "off-grid")]
    assert found.missing == [Span(START + 20 * MINUTE, START + 21 * MINUTE)]
    assert found.rows.size == 59


def test_judge_refuses_rows_that_break_a_rule() -> None:
    """Each with the rule's name, by time; the others stay."""
    wrong = HOURLY[:]
    wrong[50] = candle(50, high=1.0)
    wrong[7] = candle(7, volume=-1.0)
    wrong[3] = candle(3, price=0.0)
    wrong[9] = candle(9, close_time=START + 11 * MINUTE)
    found = judged(wrong)
    assert found.broken == [
        (START + 3 * MINUTE, "price-not-positive"),
        (START + 7 * MINUTE, "negative-volume"),
        (START + 9 * MINUTE, "close-outside"),
        (START + 50 * MINUTE, "high-not-highest"),
    ]
    assert found.rows.size == 56
    assert len(found.missing) == 4
    assert "4 break a rule (close-outside, high-not-highest, negative-volume, price-not-positive)" in found.remark


def test_judge_keeps_an_early_close() -> None:
    """The last candle before an outage closes early; that is a value like any other."""
    early = [*HOURLY[:30], candle(30, close_time=START + 30 * MINUTE + 41_646_000)]
    found = judged(early, Span(START, START + 31 * MINUTE))
    assert found.rows["close_time"][-1] == START + 30 * MINUTE + 41_646_000
    assert found.remark == ""


def test_judge_refuses_what_is_not_over() -> None:
    """A candle whose end lies ahead of the exchange's time is unfinished."""
    found = judged(HOURLY, now=START + 40 * MINUTE + 1)
    assert found.rows.size == 40
    assert {rule for _, rule in found.broken} == {"unfinished", "in-future"}


def test_judge_knows_the_calendar_of_months() -> None:
    """Candles of 1M have no fixed length; a month that is not there is missing all the same."""
    series = Series(Market.SPOT, "BTCUSDT", Interval("1M"))
    starts = [parse_time(f"2023-{month:02}-01") for month in range(1, 13)]
    rows = [
        candle(0, open_time=start, close_time=series.interval.close(start))
        for start in starts
        if start != parse_time("2023-05-01")
    ]
    found = judged(rows, Span(starts[0], parse_time("2024-01-01")), series)
    assert found.rows.size == 11
    assert found.missing == [Span(parse_time("2023-05-01"), parse_time("2023-06-01"))]


def test_judge_agrees_with_a_row_by_row_account() -> None:
    """Of random mixtures of every fault each row ends where a plain account of them puts it."""
    rng = random.Random(11)
    for _ in range(200):
        rows = rng.choices(HOURLY, k=rng.randint(0, 90))
        rows += [candle(rng.randint(-5, 64), price=rng.choice([2.0, 3.0, 0.0])) for _ in range(rng.randint(0, 12))]
        for _ in range(rng.randint(0, 2)):
            time = START + rng.randint(0, 3600) * 1_000_000
            rows.append(candle(0, open_time=time, close_time=time + MINUTE - 1000))
        rng.shuffle(rows) if rng.random() < 0.7 else rows.sort(key=lambda one: one.open_time)
        found = judged(rows)
        by_time: dict[int, list[Candle]] = {}
        for row in rows:
            if SPAN.start <= row.open_time < SPAN.end:
                by_time.setdefault(row.open_time, []).append(row)
        sole = {time: same[0] for time, same in sorted(by_time.items()) if len(set(map(repr, same))) == 1}
        broken = [time for time, row in sole.items() if (time - START) % MINUTE or row.open == 0]
        kept = [row for time, row in sole.items() if time not in broken]
        assert found.rows.tobytes() == to_rows(7, Source.ARCHIVE, kept).tobytes()
        assert [time for time, _ in found.broken] == broken
        assert found.conflicting == sorted(set(by_time) - set(sole))
        assert found.repeated == sum(len(by_time[time]) - 1 for time in sole)
        assert found.outside == len(rows) - sum(map(len, by_time.values()))
        assert found.unordered == sum(b.open_time < a.open_time for a, b in pairwise(rows))
        absent = [time for span in found.missing for time in M1.grid(span)]
        assert absent == sorted(set(M1.grid(SPAN)) - {row.open_time for row in kept})
        assert bool(found.remark) == (found[1:7] != ([], 0, [], 0, 0, []))


@pytest.mark.data
def test_judge_finds_the_outage_of_march_2023_and_nothing_else(recordings: Path) -> None:
    """All of a month's days together lack exactly 80 minutes, and no row breaks a rule."""
    archive = load("binance").venues[Market.SPOT].archive
    rows, missing = 0, []
    for path in sorted((recordings / "archive/data/spot/daily/klines/BTCUSDT/1m").glob("*.zip")):
        file = archive.parse_name(path.relative_to(recordings / "archive").as_posix())
        assert file is not None
        found = judge(archive.read_candles(path.read_bytes(), file), SERIES, 1, file.span, NOW)
        assert found[1:6] == ([], 0, [], 0, 0)
        rows += found.rows.size
        missing += found.missing
    assert rows == 44_560
    assert missing == [Span(parse_time("2023-03-24T12:40"), parse_time("2023-03-24T14:00"))]


@pytest.mark.data
def test_judge_finds_usdm_files_complete(recordings: Path) -> None:
    """The recorded months of USD-M have every candle of their calendar."""
    archive = load("binance").venues[Market.USDM].archive
    seen = 0
    for path in sorted((recordings / "archive/data/futures").rglob("*.csv")):
        file = archive.parse_name(path.relative_to(recordings / "archive").with_suffix(".zip").as_posix())
        assert file is not None
        assert file.interval is not None
        body = zipped(path)
        series = Series(Market.USDM, file.symbol, file.interval)
        found = judge(archive.read_candles(body, file), series, 1, file.span, parse_time("2026-01-01"))
        assert found.remark == ""
        seen += found.rows.size
    assert seen == 28 * 1440 + 31 * 288
