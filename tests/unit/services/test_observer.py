"""The observer: what an event looks like in the log, what is counted, and what a storm does."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from candlewick import events
from candlewick.clock import ManualClock
from candlewick.config import LogLevel, Settings
from candlewick.market import DAY, HOUR, MINUTE, SECOND, Candle, Interval, Market, Series, Span, parse_time
from candlewick.services.log import start_logging
from candlewick.services.observer import LINES_PER_MINUTE, Observer
from candlewick.services.status import Status, StoreStatus

NOW = parse_time("2024-03-01T12:00:00")
SERIES = Series(Market.SPOT, "BTCUSDT", Interval("1m"))
CANDLE = Candle(NOW - MINUTE, 1.0, 2.0, 0.5, 1.5, 10.0, NOW - 1000, 15.0, 3, 5.0, 7.5)
ONE_OF_EACH: tuple[events.Event, ...] = (
    events.FeedUp("spot-1", 2),
    events.FeedDown("spot-1", "the server said goodbye", 1.5),
    events.FeedRenewed("spot-1", "24 hours are over"),
    events.StreamSilent("btcusdt@trade", 31.0, "REST shows 12 trades since"),
    events.StreamRevived("btcusdt@trade", 40.0),
    events.CandleRejected(str(SERIES), "high_below_low", "live", "row"),
    events.FrameRejected("spot-1", "cut off"),
    events.CandlesStored(2, 1, 0, 3.5),
    events.CandleRevised(SERIES, CANDLE, CANDLE, ("volume",)),
    events.GapFound(SERIES, Span(NOW - 3 * MINUTE, NOW), 3, "scan"),
    events.GapClosed(SERIES, Span(NOW - 3 * MINUTE, NOW), 3, 3, "recovered"),
    events.HistoryLoaded(SERIES, Span(NOW - 3 * MINUTE, NOW), 3, 1, 0),
    events.TradeHole("btcusdt@trade", 77, 2, 1, "REST has no more"),
    events.RestTrouble("klines", "timed out", 2.0),
    events.ClockOff(-1500.0),
    events.StoreTrouble("no space left", 10, 0.4),
    events.CandleDisputed(SERIES, CANDLE, CANDLE, ("volume",)),
    events.OutputTrouble("postgresql", "refused", 3, 0.1),
    events.OutputBack("postgresql", 12.5, 3),
    events.OutputWritten("postgresql", 2, 0, 1.25, 40),
    events.OutputRefused("postgresql", "spot:BTCUSDT:1m at 0", "too large"),
    events.OutputSnapshot("postgresql", "it is new", 1_000),
    events.JobDone("cleanup", NOW, "{}"),
    events.JobFailed("cleanup", "permission denied", 86400.0),
)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What is logged; the process's logging is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    start_logging(LogLevel.DEBUG, stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def status() -> Status:
    return Status(
        version="0", started_at=NOW, now=NOW, environment="test", exchange="binance", market="spot", store=StoreStatus()
    )


def test_observer_writes_and_counts_every_event(log: io.StringIO) -> None:
    """Every kind of event is one JSON line with time, level, sentence and its fields, and is counted by name."""
    observer = Observer(ManualClock(NOW))
    for event in ONE_OF_EACH:
        observer.tell(event)
    assert {type(event) for event in ONE_OF_EACH} == set(get_args(events.Event))
    written = lines(log)
    assert [line["event"] for line in written] == [type(event).__name__ for event in ONE_OF_EACH]
    assert observer.counts == {type(event).__name__: 1 for event in ONE_OF_EACH}
    for line, event in zip(written, ONE_OF_EACH, strict=True):
        assert list(line)[:3] == ["timestamp", "level", "message"]
        assert line["timestamp"] == "2024-03-01T12:00:00Z"
        assert line["level"] in {"DEBUG", "INFO", "WARN", "ERROR"}
        assert (
            {"from", "to"} <= set(line)
            if "span" in event.__struct_fields__
            else set(event.__struct_fields__) <= set(line)
        )


def test_observer_names_a_gap_as_operators_look_for_it(log: io.StringIO) -> None:
    """A gap is a warning of the form "N minutes missing from A to B"."""
    observer = Observer(ManualClock(NOW))
    observer.tell(ONE_OF_EACH[9])
    observer.tell(events.GapFound(SERIES, Span(NOW, NOW + MINUTE), 1, "scan"))
    observer.tell(events.GapFound(SERIES._replace(interval=Interval("1h")), Span(NOW, NOW + 2 * HOUR), 2, "scan"))
    first, single, hourly = lines(log)
    assert first["level"] == "WARN"
    assert first["message"].startswith("3 minutes missing from 2024-03-01T11:57:00Z to 2024-03-01T12:00:00Z")
    assert first["series"] == "spot:BTCUSDT:1m"
    assert (first["from"], first["to"]) == ("2024-03-01T11:57:00Z", "2024-03-01T12:00:00Z")
    assert single["message"].startswith("1 minute missing from")
    assert hourly["message"].startswith("2 candles of 1h missing from")


@pytest.mark.parametrize(("level", "expected"), [("debug", 24), ("info", 23), ("warn", 14), ("error", 2)])
def test_log_level_is_respected(log: io.StringIO, level: str, expected: int) -> None:
    """LOG_LEVEL decides what is written, and never what is counted."""
    start_logging(LogLevel(level), log)
    observer = Observer(ManualClock(NOW))
    for event in ONE_OF_EACH:
        observer.tell(event)
    assert len(lines(log)) == expected
    assert sum(observer.counts.values()) == len(ONE_OF_EACH)


def test_storm_is_held_back_and_summed_up(log: io.StringIO) -> None:
    """Of one kind of line only so many are written a minute; the rest is one line with their number."""
    observer = Observer(ManualClock(NOW))
    for _ in range(1000):
        observer.tell(ONE_OF_EACH[5])
    observer.tell(ONE_OF_EACH[0])
    assert len(lines(log)) == LINES_PER_MINUTE + 1
    assert observer.counts["CandleRejected"] == 1000
    observer.summary(status())
    held_back = [line for line in lines(log) if "held_back" in line]
    assert [(line["event"], line["held_back"]) for line in held_back] == [("CandleRejected", 1000 - LINES_PER_MINUTE)]
    observer.tell(ONE_OF_EACH[5])
    assert lines(log)[-1]["event"] == "CandleRejected"
    observer.stopped()
    assert len([line for line in lines(log) if "held_back" in line]) == 1


def test_summary_says_what_was_stored_since_the_last(log: io.StringIO) -> None:
    """Once a minute the commits since the last summary are one line at info."""
    start_logging(LogLevel.INFO, log)
    observer = Observer(ManualClock(NOW))
    observer.tell(events.CandlesStored(2, 1, 0, 3.5))
    observer.tell(events.CandlesStored(1, 0, 1, 1.5))
    observer.summary(status())
    observer.summary(status())
    first, second = lines(log)
    assert first["message"].startswith("3 candles written, 1 confirmed, 1 changed")
    assert (first["commits"], first["slowest_ms"]) == (2, 3.5)
    assert second["message"].startswith("0 candles written")


def test_errors_are_forgotten_after_24_hours(log: io.StringIO) -> None:
    """The window rolls: an error counts for a day; a gap, or a hole that was mended, is none."""
    clock = ManualClock(NOW)
    observer = Observer(clock)
    for event in ONE_OF_EACH:
        observer.tell(event)
    assert observer.errors_24h() == 9
    observer.tell(events.TradeHole("btcusdt@trade", 77, 2, 2, "recovered"))
    assert observer.errors_24h() == 9
    clock.advance(DAY / SECOND - 120)
    observer.tell(ONE_OF_EACH[1])
    assert observer.errors_24h() == 10
    clock.advance(180)
    assert observer.errors_24h() == 1


def test_outage_of_an_output_is_one_error(log: io.StringIO) -> None:
    """However often a database is tried in vain, an outage counts once; the next one counts again."""
    observer = Observer(ManualClock(NOW))
    for _ in range(3):
        for retry_s in (0.1, 0.2, 0.4):
            observer.tell(events.OutputTrouble("postgresql", "connection refused", 3, retry_s))
        observer.tell(events.OutputBack("postgresql", 0.7, 3))
    assert observer.errors_24h() == 3
    observer.tell(events.OutputTrouble("other", "connection refused", 3, 0.1))
    assert observer.errors_24h() == 4


def test_write_to_an_output_is_told_with_count_duration_and_total(log: io.StringIO) -> None:
    """A line for each write says how many rows it was, how long it took, and how many there are by now."""
    Observer(ManualClock(NOW)).tell(events.OutputWritten("postgresql", 2, 0, 1.25, 40))
    (line,) = lines(log)
    assert line["level"] == "INFO"
    assert line["message"] == "2 rows written to the output postgresql in 1.25 ms, 40 since the start"
    assert (line["rows"], line["ms"], line["total"]) == (2, 1.25, 40)


def test_start_names_what_runs_without_its_secrets(log: io.StringIO) -> None:
    """The first line says what is followed and where, and masks the store's password."""
    settings = Settings(store="postgresql://u:hidden@h/d", local_store="lmdb:///data", control_token="hidden")
    Observer(ManualClock(NOW)).started(settings, "http://127.0.0.1:8080", shares=True)
    (line,) = lines(log)
    assert line["symbols"] == ["BTCUSDT"]
    assert line["url"] == "http://127.0.0.1:8080"
    assert line["store"] == "lmdb:///data"
    assert line["database"].startswith("postgresql://u:***@h/d")
    assert "hidden" not in log.getvalue()


def test_start_of_a_service_without_streams_names_the_database_alone(log: io.StringIO) -> None:
    """What takes in nothing has neither streams nor a record of its own to name."""
    settings = Settings(store="postgresql://u:hidden@h/d", local_store="lmdb:///data")
    Observer(ManualClock(NOW)).started(settings, "http://127.0.0.1:9000", takes_in=False, shares=True)
    (line,) = lines(log)
    assert not {"streams", "store"} & set(line)
    assert line["database"].startswith("postgresql://u:***@h/d")


def test_libraries_log_in_the_same_form(log: io.StringIO) -> None:
    """A warning of a library, with a traceback, is one JSON line too; its chatter is not written."""
    library = logging.getLogger("somebody.else")
    library.info("chatter")
    try:
        int("broken")
    except ValueError:
        library.exception("it failed")
    (line,) = lines(log)
    assert (line["level"], line["message"]) == ("ERROR", "it failed")
    assert "ValueError: invalid literal" in line["exception"]
    assert line["timestamp"].endswith("Z")


def test_log_goes_to_stderr_by_default(log: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a stream the lines go to stderr, and stdout stays free for data."""
    start_logging(LogLevel.INFO, sys.stderr).info("here")
    captured = capsys.readouterr()
    assert json.loads(captured.err)["message"] == "here"
    assert captured.out == ""
