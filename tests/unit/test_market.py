"""Grids, spans, counts, and times and symbols as people write them; held against `datetime`."""

import pickle
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from candlewick.errors import UsageError
from candlewick.market import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Interval,
    Market,
    Series,
    Span,
    format_time,
    normal_symbol,
    parse_time,
)

CODES = ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M")
ODD = ("7s", "45m", "5d", "2w", "3M", "7M")
LENGTHS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START, END = parse_time("1969-01-01"), parse_time("2101-03-04T05:06:07.000008")


def moment(time: int) -> datetime:
    return EPOCH + timedelta(microseconds=time)


def times(seed: int, count: int = 300) -> list[int]:
    """Moments of 130 years, those on the edges of days among them."""
    random = Random(seed)
    drawn = [random.randrange(START, END) for _ in range(count)]
    edges = [time - time % DAY for time in drawn]
    return drawn + edges + [time - 1 for time in edges]


def months(time: int) -> int:
    when = moment(time)
    return (when.year - 1970) * 12 + when.month - 1


@pytest.mark.parametrize("code", [*CODES, *ODD])
def test_interval_grid_divides_time(code: str) -> None:
    """Every moment lies in exactly one candle, and the neighbours of that candle touch it."""
    interval = Interval(code)
    for time in times(1):
        opens = interval.floor(time)
        ends = interval.next(opens)
        assert opens <= time < ends <= opens + interval.nominal
        assert interval.floor(opens) == interval.floor(ends - 1) == opens
        assert interval.floor(ends) == ends
        assert interval.previous(ends) == opens
        assert interval.ceil(time) == (opens if time == opens else ends)
        assert interval.close(opens) == ends - 1000


@pytest.mark.parametrize("code", [one for one in (*CODES, *ODD) if one[-1] not in "wM"])
def test_interval_opens_at_whole_multiples_since_the_epoch(code: str) -> None:
    """Seconds to days count from the epoch, also where they do not divide a day."""
    interval = Interval(code)
    length = int(code[:-1]) * LENGTHS[code[-1]]
    assert (interval.nominal, interval.is_fixed) == (length, True)
    assert all(interval.floor(time) % length == 0 for time in times(2))


@pytest.mark.parametrize("code", ["1w", "2w"])
def test_interval_of_weeks_opens_on_mondays(code: str) -> None:
    """Weeks open on Monday at 00:00 UTC, as the exchange's do."""
    for time in times(3):
        opens = moment(Interval(code).floor(time))
        assert (opens.weekday(), opens.time().isoformat()) == (0, "00:00:00")
    assert format_time(Interval("1w").floor(parse_time("2024-03-03T23:59:59"))) == "2024-02-26T00:00:00Z"


@pytest.mark.parametrize("code", ["1M", "3M", "7M"])
def test_interval_of_months_opens_on_the_first(code: str) -> None:
    """Months open on the 1st at 00:00 UTC and last as many calendar months as they say."""
    interval = Interval(code)
    count = int(code[:-1])
    assert not interval.is_fixed
    for time in times(4):
        opens = moment(interval.floor(time))
        assert (opens.day, opens.time().isoformat()) == (1, "00:00:00")
        assert months(interval.floor(time)) % count == 0
        assert months(interval.next(interval.floor(time))) == months(interval.floor(time)) + count


def test_interval_of_a_month_knows_leap_years() -> None:
    """February has 29 days in 2024 and 2000, and 28 in 2023 and 2100."""
    lengths = []
    for year in (2024, 2000, 2023, 2100):
        opens = parse_time(f"{year}-02-01")
        lengths.append((Interval("1M").next(opens) - opens) // DAY)
    assert lengths == [29, 29, 28, 28]


@pytest.mark.parametrize("code", [*CODES, *ODD])
@pytest.mark.parametrize("time", [2**62, 2**62 * 1000, -(2**62), 253_402_300_800_000_000])
def test_interval_bears_times_that_no_calendar_has(code: str, time: int) -> None:
    """A damaged frame may hold any integer as time: its candle is some candle, and nothing is raised."""
    interval = Interval(code)
    opens = interval.floor(time)
    assert interval.floor(opens) == opens
    assert interval.next(opens) > opens
    interval.ceil(time)
    interval.close(time)


@pytest.mark.parametrize("code", [*CODES, *ODD])
def test_interval_counts_what_its_grid_lists(code: str) -> None:
    """The grid of a span holds every open time in it once, in order, and `count` is its length."""
    interval = Interval(code)
    random = Random(5)
    for _ in range(100):
        start = random.choice(times(6, 5))
        end = start + random.randrange(-2 * interval.nominal, 40 * interval.nominal)
        grid = interval.grid(Span(start, end))
        assert interval.count(Span(start, end)) == len(grid)
        expected = []
        time = interval.floor(start)
        while time < end:
            expected += [time] if time >= start else []
            time = interval.next(time)
        assert grid == expected


def test_interval_of_a_code_is_one_object() -> None:
    """Intervals may be compared and used as keys by identity, also after travelling between processes."""
    one = Interval("4h")
    assert Interval("4h") is one
    assert pickle.loads(pickle.dumps(one)) is one
    assert (str(one), repr(one)) == ("4h", "Interval('4h')")


@pytest.mark.parametrize("code", ["", "m", "0m", "01m", "1", "1y", "-1m", "1.5h", "1m ", "12345m", "1mm", "٣m"])  # noqa: RUF001 - digits that are not ASCII
def test_interval_refuses_what_is_none(code: str) -> None:
    """Anything but a number and a unit is refused with what would be right."""
    with pytest.raises(UsageError, match="such as 1m or 4h"):
        Interval(code)


def test_series_is_written_and_read_alike() -> None:
    """`market:SYMBOL:interval` names a series, however the symbol is spelled."""
    series = Series.parse("usdm:btc/usdt:1M")
    assert series == Series(Market.USDM, "BTCUSDT", Interval("1M"))
    assert Series.parse(str(series)) == series


@pytest.mark.parametrize(
    "text", ["", "BTCUSDT", "spot:BTCUSDT", "spot:BTCUSDT:1m:x", "margin:BTCUSDT:1m", "spot:BTC:1y"]
)
def test_series_refuses_what_is_none(text: str) -> None:
    """A name that is no series is refused."""
    with pytest.raises(UsageError):
        Series.parse(text)


@pytest.mark.parametrize("text", ["btcusdt", "BTC/USDT", "BTC-USDT", " Btc-Usdt\n"])
def test_symbol_has_one_spelling(text: str) -> None:
    """However people write a pair, the exchange's spelling comes out."""
    assert normal_symbol(text) == "BTCUSDT"


def test_time_survives_being_written_and_read() -> None:
    """What `format_time` writes is RFC 3339 and read back to the same microsecond."""
    for time in times(7):
        text = format_time(time)
        assert text.endswith("Z")
        assert parse_time(text) == time
        assert datetime.fromisoformat(text) == moment(time)
    assert format_time(0) == "1970-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-31", "2024-01-31T00:00:00Z"),
        ("2024-01-31T12:00", "2024-01-31T12:00:00Z"),
        ("2024-01-31 12:00:01.5", "2024-01-31T12:00:01.500000Z"),
        ("2024-01-31T12:00+02:00", "2024-01-31T10:00:00Z"),
        ("20240131T120000Z", "2024-01-31T12:00:00Z"),
        ("1706702400000", "2024-01-31T12:00:00Z"),
    ],
)
def test_time_is_read_as_people_write_it(text: str, expected: str) -> None:
    """ISO 8601 is UTC unless it says otherwise, and a long number is epoch milliseconds."""
    assert format_time(parse_time(text)) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2024-13-01", "31.01.2024", "1706702400.5", "2024-01-31T25:00"])
def test_time_refuses_what_is_none(text: str) -> None:
    """Anything else is refused with an example."""
    with pytest.raises(UsageError, match="write ISO 8601"):
        parse_time(text)


def test_span_says_its_ends() -> None:
    """A span is written as two times."""
    assert str(Span(0, 1_500_000)) == "1970-01-01T00:00:00Z to 1970-01-01T00:00:01.500000Z"
