"""Joining files of trades: which candles are whole is told by the ids, across files too."""

from typing import Any

import numpy as np
import pytest

from candlewick.analysis.joined import Doubt, Finished, Joiner, touched
from candlewick.analysis.rebuild import rebuild
from candlewick.exchanges.exchange import Columns
from candlewick.market import DAY, HOUR, MINUTE, SECOND, Interval, Span

M1 = Interval("1m")
ONE, TWO = Span(20_000 * DAY, 20_001 * DAY), Span(20_001 * DAY, 20_002 * DAY)


def trades(first_id: int, times: list[int], **other: list[Any]) -> Columns:
    """One raw trade a time, of 1 at a price that tells it from others."""
    ids = np.array(other.get("ids", range(first_id, first_id + len(times))), np.int64)
    return {
        "trade_id": ids,
        "price": np.array(other.get("prices", [100 + one % 7 for one in ids.tolist()]), np.float64),
        "quantity": np.array(other.get("quantities", [1] * len(ids)), np.float64),
        "time": np.array(times, np.int64),
        "buyer_is_maker": ids % 2 == 0,
        "first_id": np.array(other.get("first_ids", ids), np.int64),
        "last_id": np.array(other.get("last_ids", ids), np.int64),
        "quote_quantity": np.full(len(ids), np.nan),
    }


def minutes(span: Span, count: int, per_minute: int = 1) -> list[int]:
    """Times of trades, the last minutes of the span included."""
    step = (span.end - span.start) // count
    return [span.start + at * step + part * SECOND for at in range(count) for part in range(per_minute)]


def opens(finished: Finished | None, interval: Interval = M1) -> list[int]:
    """Where the candles open that are in no doubt."""
    assert finished is not None
    found = [one.columns["open_time"] for one in finished.piece.candles[interval]]
    times = np.concatenate([*found, np.zeros(0, np.int64)])
    return times[~touched(times, interval, finished.doubts)].tolist()


def join(*files: tuple[Columns, Span], interval: Interval = M1, is_proved: bool = True) -> list[Finished]:
    """What comes of files that follow each other."""
    joiner = Joiner([interval], aggregates=False)
    done = [joiner.take(joiner.judge(columns, span)) for columns, span in files]
    return [one for one in [*done, joiner.finish(is_proved=is_proved)] if one is not None]


def test_files_that_go_on_are_whole() -> None:
    """Where the first id of a day follows the last one of the day before, no candle is in doubt."""
    first, second = join((trades(1, minutes(ONE, 24)), ONE), (trades(25, minutes(TWO, 24)), TWO))
    assert opens(first) == minutes(ONE, 24)
    assert opens(second) == minutes(TWO, 24)


def test_hole_between_files_doubts_both_sides() -> None:
    """Ids that neither day has take the last candle of the one and the first of the other."""
    first, second = join((trades(1, minutes(ONE, 24)), ONE), (trades(27, minutes(TWO, 24)), TWO))
    assert opens(first) == minutes(ONE, 24)[:-1]
    assert opens(second) == minutes(TWO, 24)[1:]


def test_hole_within_a_file_doubts_from_the_trade_before_to_the_one_after() -> None:
    """A skipped id lies somewhere between its neighbours."""
    times = minutes(ONE, 24)
    (one,) = join((trades(1, times[:10] + times[11:], ids=[*range(1, 11), *range(12, 25)]), ONE))
    assert opens(one) == times[:9] + times[12:]


def test_end_without_proof_is_open() -> None:
    """The last candle is left out until somebody shows the trade after it; with proof it is there."""
    times = minutes(ONE, 24)
    (unproved,) = join((trades(1, times), ONE), is_proved=False)
    assert opens(unproved) == times[:-1]
    assert [one.is_open for one in unproved.doubts] == [True]
    assert unproved.is_last


def test_lines_of_the_day_before_are_repeats() -> None:
    """Trades of the day before at the head of a file are dropped where they say the same."""
    before = minutes(ONE, 24)
    second = trades(23, before[-2:] + minutes(TWO, 5))
    first, other = join((trades(1, before), ONE), (second, TWO))
    assert (opens(first), opens(other)) == (before, minutes(TWO, 5))
    assert (other.piece.joint.repeated, other.piece.joint.outside) == (2, 2)


def test_id_used_twice_across_midnight_is_in_doubt() -> None:
    """Another trade under an id of the day before: neither of the two candles is taken."""
    first, second = join((trades(1, minutes(ONE, 24)), ONE), (trades(24, minutes(TWO, 24)), TWO))
    assert opens(first) == minutes(ONE, 24)[:-1]
    assert opens(second) == minutes(TWO, 24)[1:]
    assert second.piece.joint.reused == 1


def test_trade_of_the_day_before_with_other_values_is_in_doubt() -> None:
    """A line that contradicts the day before takes the candle it is of."""
    before = minutes(ONE, 24)
    again = trades(24, [before[-1], *minutes(TWO, 4)], prices=[55.0, 1, 2, 3, 4])
    first, second = join((trades(1, before), ONE), (again, TWO))
    assert opens(first) == before[:-1]
    assert opens(second) == minutes(TWO, 4)


def test_trades_of_the_next_day_are_carried_over() -> None:
    """What a file has of the day after it is used there."""
    early = minutes(TWO, 6)
    first, second = join((trades(1, [*minutes(ONE, 24), *early[:2]]), ONE), (trades(27, early[2:]), TWO))
    assert opens(first) == minutes(ONE, 24)
    assert opens(second) == early
    alone = join((trades(1, [*minutes(ONE, 24), *early[:2]]), ONE), is_proved=False)[0]
    assert opens(alone) == minutes(ONE, 24)[:-1]


def test_trade_that_only_the_next_file_has_takes_its_candle() -> None:
    """A trade of yesterday that stands in today's file alone: yesterday's candle lacks it, and is left out."""
    before = minutes(ONE, 24)
    first, second = join((trades(1, before[:-1]), ONE), (trades(24, [before[-1], *minutes(TWO, 4)]), TWO))
    assert opens(first) == before[:-1]
    assert opens(second) == minutes(TWO, 4)


def test_candle_across_midnight_is_made_of_both_files() -> None:
    """A candle of 7m that contains midnight opens in the first file and has trades of both."""
    interval = Interval("7m")
    straddling = interval.floor(ONE.end)
    assert straddling < ONE.end
    first, second = join(
        (trades(1, [ONE.start + HOUR, ONE.end - SECOND]), ONE), (trades(3, [TWO.start + SECOND, TWO.start + HOUR]), TWO),
        interval=interval,
    )  # fmt: skip
    assert opens(first, interval) == [interval.floor(ONE.start + HOUR), straddling]
    assert first.piece.candles[interval][-1].columns["trades"].tolist() == [2]
    assert opens(second, interval) == [interval.floor(TWO.start + HOUR)]
    (alone,) = join((trades(1, [ONE.start + SECOND, ONE.start + HOUR, ONE.end - SECOND]), ONE), interval=interval)
    assert straddling not in opens(alone, interval)
    assert interval.floor(ONE.start) not in opens(alone, interval)


def test_overlapping_and_backward_trades_are_in_doubt() -> None:
    """Raw trades counted twice, and a time before the candle of the trade before, take the candles they touch."""
    times = minutes(ONE, 6)
    (one,) = join((trades(1, times, first_ids=[1, 2, 3, 3, 5, 6]), ONE))
    assert opens(one) == [times[0], times[1], times[4], times[5]]
    (two,) = join((trades(1, [times[0], times[2], times[1], times[3], times[4], times[5]]), ONE))
    assert opens(two) == [times[0], times[3], times[4], times[5]]


def test_lines_without_a_quantity() -> None:
    """An annulled trade was none; one that has a price and no quantity is not known, and its candle is left out."""
    times = minutes(ONE, 6)
    (annulled,) = join((trades(1, times, prices=[1, 1, 0, 1, 1, 1], quantities=[1, 1, 0, 1, 1, 1]), ONE))
    assert opens(annulled) == [*times[:2], *times[3:]]
    assert annulled.piece.joint.annulled == 1
    (empty,) = join((trades(1, times, quantities=[1, 1, 0, 1, 1, 1]), ONE))
    assert opens(empty) == [times[0], *times[4:]]
    assert empty.piece.joint.empty == 1


def test_trades_from_elsewhere_fill_holes() -> None:
    """A hole that somebody fills is none; a trade of the day before shows that that file lacks it."""
    times = minutes(ONE, 6)
    joiner = Joiner([M1], aggregates=False)
    joint = joiner.judge(trades(1, times[:2] + times[3:], ids=[1, 2, 4, 5, 6]), ONE)
    assert joint.holes == [(3, 4)]
    assert joiner.take(joint, trades(3, [times[2]])) is None
    joint = joiner.judge(trades(8, minutes(TWO, 3)), TWO)
    assert joint.holes == [(7, 8)]
    first = joiner.take(joint, trades(7, [ONE.end - MINUTE]))
    assert opens(first) == times
    assert joiner.is_lacking_before
    assert first is not None
    assert [one.is_open for one in first.doubts] == [True]


@pytest.mark.parametrize("code", ["1s", "1m", "7m", "1h", "1d"])
def test_touched_is_what_a_loop_says(code: str) -> None:
    """Doubts take every candle from that of their start to that of their end."""
    interval = Interval(code)
    random = np.random.default_rng(5)
    times = np.sort(random.integers(ONE.start, TWO.end, 400))
    grid = np.unique([interval.floor(one) for one in times.tolist()])
    doubts = [
        Doubt(start, start + length, only_across=bool(start % 2))
        for start, length in zip(
            random.integers(ONE.start, TWO.end, 9).tolist(), random.integers(0, 3 * HOUR, 9).tolist(), strict=True
        )
    ]
    expected = [
        any(
            interval.floor(one.start) <= time <= interval.floor(one.end)
            and not (one.only_across and interval.floor(one.start) == interval.floor(one.end))
            for one in doubts
        )
        for time in grid.tolist()
    ]
    assert touched(grid, interval, doubts).tolist() == expected


def spoil(lines: list[list[int]], random: np.random.Generator) -> None:
    """Lose, repeat or swap lines of a day, or move them into the file beside it; the first line of all stays."""
    day = int(random.integers(3))
    one = lines[day]
    at, many = int(random.integers(1, len(one) - 5)), int(random.integers(1, 5))
    after, before = lines[(day + 1) % 3], lines[day - 1]
    kinds = {
        "lose": lambda: one.__delitem__(slice(at, at + many)),
        "repeat": lambda: one.insert(at, one[at]),
        "swap": lambda: one.insert(1, one.pop(at)),
        "repeat in the next": lambda: after.insert(0, one[-many]),
        "move to the next": lambda: after.insert(0, one.pop()),
        "repeat in the last": lambda: before.append(one[many]),
        "move to the last": lambda: before.append(one.pop(0)),
        "cut the end": lambda: one.__delitem__(slice(-many, None)),
        "cut the beginning": lambda: one.__delitem__(slice(0, many)),
    }
    possible = list(kinds)[:5] if day == 0 else [*list(kinds)[:3], *list(kinds)[5:]] if day == 2 else list(kinds)
    kinds[str(random.choice(possible))]()


@pytest.mark.parametrize("seed", range(150))
def test_spoiled_files_never_give_a_wrong_candle(seed: int) -> None:
    """Three days of trades, lines lost, repeated, contradicted, swapped, or in the wrong day's file: no candle is wrong."""
    random = np.random.default_rng(seed)
    interval = Interval(str(random.choice(["1s", "1m", "7m", "11m", "1h", "7h", "1d"])))
    spans = [Span(start, start + DAY) for start in range(ONE.start, ONE.start + 3 * DAY, DAY)]
    count = int(random.integers(100, 300))
    times = np.sort(random.integers(ONE.start, ONE.start + 3 * DAY, count))
    near = np.array([edge + shift for edge in (ONE.end, TWO.end) for shift in range(-6, 6)])
    times = np.sort(np.concatenate([times, near]))
    true = trades(1, times.tolist())
    truth = rebuild(true, interval).columns
    lines: list[list[int]] = [np.flatnonzero((times >= one.start) & (times < one.end)).tolist() for one in spans]
    for _ in range(int(random.integers(0, 5))):
        spoil(lines, random)
    files = []
    for one, span in zip(lines, spans, strict=True):
        file = {name: values[np.array(one)] for name, values in true.items()}
        if random.random() < 0.4:
            # A second line under an id, with another price.
            at = int(random.integers(len(one)))
            file = {name: np.insert(values, at, values[at]) for name, values in file.items()}
            file["price"][at] += 1
        files.append((file, span))
    found = join(*files, interval=interval, is_proved=False)
    whole = 0
    for one in found:
        for candles in one.piece.candles[interval]:
            opened = candles.columns["open_time"]
            sure = ~touched(opened, interval, one.doubts)
            at = np.searchsorted(truth["open_time"], opened)
            whole += int(sure.sum())
            for name, values in candles.columns.items():
                assert np.array_equal(values[sure], truth[name][at[sure]]), name
    assert whole <= len(truth["open_time"])
