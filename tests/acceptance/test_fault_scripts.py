"""Whole runs against a simulated market full of trouble, in virtual time: in the end the store equals the exchange.

Every story is one kind of trouble, written down; the campaigns draw scripts at random. A run that loses a candle without
a word, keeps a wrong number or invents one says in its verdict where.
"""

import logging
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from random import Random

import pytest

from candlewick.events import (
    CandlesStored,
    FeedDown,
    FeedRenewed,
    FeedUp,
    FrameRejected,
    RestTrouble,
    StreamRevived,
    StreamSilent,
    TradeHole,
)
from candlewick.exchanges.exchange import StreamKind
from candlewick.market import HOUR, MINUTE, Interval, Market, Series
from candlewick.simulator.faults import FORMS, Fault, random_script
from candlewick.stores import open_store
from candlewick.stores.store import Reason
from tests.acceptance.scenario import SETTLE_S, START, Verdict, play

KLINE = (StreamKind.KLINE,)
WITH_TRADES = (StreamKind.KLINE, StreamKind.AGG_TRADE, StreamKind.BOOK_TICKER)
QUIET = ("SOLUSDT", "DOGEUSDT", "WANUSDT")
"""Symbols with few trades: a scenario with trades costs seconds on them, not minutes."""


@pytest.fixture(autouse=True)
def _no_log() -> Iterator[None]:
    """Trouble by the hour is told by the thousand lines."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def _fault(kind: str, at: float, duration_s: float = 0.0, **more: object) -> Fault:
    return Fault(kind=kind, at=at, duration_s=duration_s, **more)  # type: ignore[arg-type]


def _faults(verdict: Verdict) -> list[str]:
    """What is wrong, or left to be repaired, or said to be."""
    missing = [f"{gap.series} {gap.span} is missing" for gap in verdict.gaps if gap.reason is Reason.MISSING]
    status = [
        f"{one.symbol} {one.interval} is said to lack {one.missing}" for one in verdict.status.series if one.missing
    ]
    # After an outage a long candle may rightly be overdue: the one after it, which proves its absence, is not over yet.
    if Reason.EXCHANGE_OUTAGE not in verdict.reasons:
        status += [f"{one.symbol} {one.interval} is said to be overdue" for one in verdict.status.series if one.stale]
    return verdict.wrong + missing + status


def _whole(verdict: Verdict) -> None:
    """Nothing is wrong, and nothing is left to be repaired."""
    assert _faults(verdict) == []


# Stories.


def test_minutes_that_were_never_sent_are_fetched() -> None:
    """Three minutes of every stream are dropped without a word: REST has them, and nothing stays open."""
    verdict = play([_fault("drop", 1800, 180)], hours=1.0, intervals=("1m", "5m"))
    _whole(verdict)
    assert verdict.gaps == []
    assert verdict.status.counters.gaps_found > 0


@pytest.mark.parametrize("market", list(Market))
def test_outage_of_the_exchange_is_told_from_a_loss(market: Market) -> None:
    """Eighty minutes without trading: spot has no rows, and says so in the reasons; USD-M has flat ones."""
    # The hour without a candle is proved by the one after it, once that is over.
    verdict = play([_fault("outage", 1800, 4800)], hours=3.0, market=market, intervals=("1m", "1h"))
    _whole(verdict)
    if market is Market.USDM:
        assert verdict.gaps == []
        return
    assert set(verdict.reasons) == {Reason.EXCHANGE_OUTAGE}
    minutes = [gap for gap in verdict.gaps if gap.series.interval.code == "1m"]
    assert [gap.candles for gap in minutes] == [79, 79, 79]


def test_candle_cut_short_by_an_outage_keeps_its_early_close() -> None:
    """The last candle before a halt closes when trading stopped, and is stored with that close time."""
    verdict = play([_fault("outage", 1800, 4800)], hours=2.5)
    series = Series(Market.SPOT, "BTCUSDT", Interval("1m"))
    rows = verdict.store.read(series, START, START + HOUR)
    early = [row for row in rows if row["close_time"] < series.interval.close(int(row["open_time"]))]
    assert [int(row["close_time"]) // MINUTE * MINUTE for row in early] == [series.interval.floor(START + 1800_000_000)]


@pytest.mark.parametrize("market", list(Market))
def test_silent_stream_is_found_and_asked_for_again(market: Market) -> None:
    """A stream that is acknowledged and delivers nothing while others go on is noticed, told and revived."""
    script = [_fault("silent", 0, 5400, stream="solusdt@kline_1m"), _fault("cut", 1800)]
    verdict = play(script, hours=2.5, market=market)
    _whole(verdict)
    assert {event.stream for event in verdict.happened(StreamSilent)} == {"solusdt@kline_1m"}
    assert {event.stream for event in verdict.happened(StreamRevived)} == {"solusdt@kline_1m"}
    assert verdict.status.silent_streams == ()


def test_connection_that_died_without_a_word_is_left() -> None:
    """A half-open connection is given up after seconds, and another one opened."""
    verdict = play([_fault("half_open", 1800, 1, connection=-1)], hours=1.0)
    _whole(verdict)
    (down,) = verdict.happened(FeedDown)
    assert down.reason.startswith("half-open")


def test_connection_with_pings_and_no_data_is_left() -> None:
    """A zombie answers pings and delivers nothing: its streams are found silent and it is replaced."""
    verdict = play([_fault("zombie", 1800, 3600, connection=-1)], hours=2.0)
    _whole(verdict)
    assert verdict.happened(FeedRenewed)
    assert verdict.status.silent_streams == ()


def test_streams_that_all_stay_silent_are_no_storm() -> None:
    """When every new connection is as silent as the one before, renewals become rare; REST brings the candles."""
    verdict = play([_fault("drop", 1800, 3600)], hours=2.0)
    _whole(verdict)
    assert 1 <= verdict.status.counters.renewals <= 12
    assert verdict.status.counters.candles_recovered >= 3 * 59


def test_day_without_the_exchange_is_made_good() -> None:
    """1500 minutes with neither streams nor REST: afterwards every minute is there."""
    away_s = 1500 * 60.0
    script = [
        _fault("cut", 1800), _fault("unanswered", 1800, away_s), _fault("no_answer", 1800, away_s),
    ]  # fmt: skip
    verdict = play(script, hours=27.0, intervals=("1m", "1h"), symbols=("BTCUSDT", "WANUSDT"))
    _whole(verdict)
    assert verdict.gaps == []
    assert verdict.status.counters.candles_recovered >= 2 * 1490


def test_bans_are_waited_out() -> None:
    """429 and then 418 while candles are missing: nothing is asked during a ban, and everything comes after it."""
    script = [
        _fault("drop", 1800, 1200), _fault("rate_limit", 1800, 60, delay_s=20.0), _fault("ban", 2100, 300, delay_s=600.0),
    ]  # fmt: skip
    verdict = play(script, hours=1.5)
    _whole(verdict)
    told = verdict.happened(RestTrouble)
    assert any("429" in event.reason for event in told)
    assert 1 <= sum("418" in event.reason for event in told) <= 4  # those that were under way together


def test_wrong_digits_are_found_by_asking_again() -> None:
    """Frames that read well and are wrong in one digit are stored, contradicted by REST and replaced."""
    verdict = play([_fault("mangle", 1800, 1200, form="digit")], hours=1.5, symbols=("BTCUSDT", "ETHUSDT", "SOLUSDT"))
    _whole(verdict)
    assert verdict.status.counters.differences + sum(verdict.status.counters.candles_rejected.values()) > 0


@pytest.mark.parametrize("form", ["cut", "flip", "type", "garbage", "impossible"])
def test_broken_frames_are_put_aside(form: str) -> None:
    """Frames that cannot be read, or say what cannot be, go to the quarantine; their candles come by REST."""
    verdict = play([_fault("mangle", 1800, 900, form=form)], hours=1.0)
    _whole(verdict)
    assert verdict.store.quarantined()
    assert bool(verdict.happened(FrameRejected)) is (form != "impossible")


def test_rows_that_are_not_settled_are_not_believed() -> None:
    """REST shows a closed candle as it was a moment before for 7 s: what is stored is the whole one."""
    verdict = play([_fault("stale", 600, 5000, delay_s=7.0), _fault("missing_close", 600, 4000, share=0.5)], hours=2.0)
    _whole(verdict)


def test_rows_that_settle_late_do_not_replace_good_candles() -> None:
    """REST is twice as far behind as it was ever seen to be: candles that came live stay as they are, whenever asked."""
    for second in (11, 13):  # scans come every five minutes after the start: now they meet a candle 10 s old
        verdict = play(
            [_fault("stale", 600, 5000, delay_s=14.0)], hours=2.0, symbols=("BTCUSDT",),
            start=START - START % MINUTE + second * 1_000_000,
        )  # fmt: skip
        _whole(verdict)
        assert verdict.status.counters.differences == 0


def test_announced_shutdown_is_obeyed_without_a_gap() -> None:
    """The exchange announces its restart: the connection is replaced before it is cut, and no close is lost."""
    verdict = play([_fault("server_shutdown", 1800, delay_s=60.0)], hours=1.0, kinds=WITH_TRADES, symbols=QUIET)
    _whole(verdict)
    assert [event.reason for event in verdict.happened(FeedRenewed)] == ["the exchange announced a shutdown"]
    assert verdict.status.counters.reconnects == 0
    assert verdict.status.counters.gaps_found == verdict.status.counters.trade_holes == 0


def test_connection_is_renewed_before_its_day_is_over() -> None:
    """Over 26 h the connection is replaced once, before the exchange cuts it, and nothing is lost or told twice."""
    verdict = play([], hours=26.0, kinds=(StreamKind.KLINE, StreamKind.AGG_TRADE), symbols=("WANUSDT",))
    _whole(verdict)
    assert len(verdict.happened(FeedRenewed)) == 1
    assert verdict.status.counters.reconnects == 0
    assert verdict.status.counters.trade_holes == 0


def test_refused_connections_are_tried_until_one_opens() -> None:
    """For twenty minutes nothing answers at the address of the streams: closes come by REST meanwhile."""
    verdict = play([_fault("cut", 1800), _fault("refuse", 1800, 1200)], hours=1.5)
    _whole(verdict)
    assert verdict.gaps == []
    attempts = len(verdict.happened(FeedDown))
    assert 1200 / 10 < attempts < 300  # a wait of 8 s and a fifth more or less, and never so many as to be banned
    assert verdict.happened(FeedUp)


def test_idle_minutes_of_futures_come_by_rest() -> None:
    """USD-M sends no close for a minute without trades: REST has a flat candle, and no gap is left."""
    verdict = play([], hours=2.0, market=Market.USDM, symbols=("WANUSDT", "DOGEUSDT"))
    _whole(verdict)
    assert verdict.gaps == []
    assert verdict.status.counters.candles_recovered > 30


def test_skipped_trades_are_told_late_or_named() -> None:
    """Frames of trades that are dropped are fetched by id: each trade once, though REST fails for a while."""
    script = [
        _fault("drop", 1200, 300, stream="*@aggTrade", share=0.5), _fault("server_error", 1200, 1200),
        _fault("cut", 3000), _fault("repeat", 3600, 300),
    ]  # fmt: skip
    verdict = play(script, hours=1.5, kinds=WITH_TRADES, symbols=("BTCUSDT", "SOLUSDT", "WANUSDT"))
    _whole(verdict)
    holes = verdict.happened(TradeHole)
    assert holes
    assert all(event.recovered == event.trades for event in holes)


@pytest.mark.parametrize("kind", [StreamKind.TRADE, StreamKind.AGG_TRADE])
def test_damaged_trades_are_not_told(kind: StreamKind) -> None:
    """Frames of trades damaged in every way: what cannot be is not told, and comes whole from REST by its id."""
    script = [_fault("mangle", 900, 900, stream="*rade", share=0.3, form=form) for form in FORMS]
    verdict = play(script, hours=0.9, kinds=(StreamKind.KLINE, kind), symbols=("BTCUSDT", "SOLUSDT"))
    _whole(verdict)
    assert verdict.happened(FrameRejected)
    assert verdict.status.counters.recovered_trades > 500


def test_run_goes_on_where_the_one_before_it_ended() -> None:
    """A store of an earlier run is continued: what happened between the two is fetched, and counted as found."""
    first = play([], hours=0.5, symbols=("SOLUSDT",))
    second = play([], hours=0.5, symbols=("SOLUSDT",), store=first.store, start=START + 5 * HOUR)
    _whole(second)
    rows = second.store.read(Series(Market.SPOT, "SOLUSDT", Interval("1m")))
    assert len(rows) == int(rows["open_time"][-1] - rows["open_time"][0]) // MINUTE + 1


def test_restart_during_a_ban_follows_the_streams() -> None:
    """A run whose symbols it has followed before does not wait for REST: candles come live while it is banned."""
    first = play([], hours=0.5, symbols=("SOLUSDT",))
    script = [_fault("ban", 0, 2400, delay_s=300.0)]
    second = play(script, hours=1.2, symbols=("SOLUSDT",), store=first.store, start=START + 5 * HOUR)
    _whole(second)
    stored = next(event for event in second.events if isinstance(event, CandlesStored))
    trouble = second.events.index(stored)
    assert stored.inserted == 1
    assert any("418" in str(event) for event in second.events[trouble:])


def test_restart_while_the_exchange_tells_no_time_uses_this_clock() -> None:
    """REST fails for the first quarter of an hour: the clock of this machine has to do until it answers."""
    first = play([], hours=0.5, symbols=("SOLUSDT",))
    script = [_fault("server_error", 0, 900)]
    second = play(script, hours=1.0, symbols=("SOLUSDT",), store=first.store, start=START + 5 * HOUR)
    _whole(second)
    assert second.status.counters.candles_confirmed >= 10


# Campaigns.

_INTERVALS = (("1m",), ("1m", "5m", "1h"), ("3m", "15m"), ("1m", "1h", "1d"))
_KINDS = (KLINE, (StreamKind.KLINE, StreamKind.AGG_TRADE), WITH_TRADES, (StreamKind.KLINE, StreamKind.TRADE))


def _campaign(seed: int, hours: float, symbols: Sequence[str] | None = None, path: str | None = None) -> Verdict:
    """A run drawn by its seed: market, streams, intervals, symbols and what goes wrong."""
    draw = Random(seed * 7919)
    market = draw.choice((Market.SPOT, Market.SPOT, Market.USDM))
    kinds = draw.choice(_KINDS if market is Market.SPOT else _KINDS[:3])
    chosen = draw.choice((("BTCUSDT", "SOLUSDT", "DOGEUSDT"), QUIET, ("DOGEUSDT", "WANUSDT"), ("ETHUSDT", "XRPUSDT")))
    store = None if path is None else open_store(f"lmdb://{path}", write=True)
    try:
        return play(
            random_script(seed, hours * 3600 - SETTLE_S), seed=seed, hours=hours, market=market, kinds=kinds,
            symbols=symbols or chosen, intervals=draw.choice(_INTERVALS), history_hours=draw.choice((0.5, 3.0, 30.0)),
            store=store,
        )  # fmt: skip
    finally:
        if store is not None:
            store.close()


def test_random_trouble_of_seconds_leaves_nothing_wrong() -> None:
    """Candles of one second: an hour of them is as many as two and a half days of minutes."""
    _whole(
        play(random_script(5, 1800), seed=5, hours=0.9, symbols=("BTCUSDT",), intervals=("1s", "1m"), history_hours=0.3)
    )


@pytest.mark.parametrize("seed", range(1, 9))
def test_random_trouble_leaves_nothing_wrong(seed: int) -> None:
    """Three hours of whatever may happen, drawn by the seed: the store equals the exchange."""
    _whole(_campaign(seed, 3.0, QUIET))


def test_random_trouble_leaves_nothing_wrong_on_disk(tmp_path: object) -> None:
    """The same with the store that is used in earnest."""
    _whole(_campaign(9, 3.0, QUIET, str(tmp_path)))


def _judged(seed: int) -> tuple[int, list[str]]:
    """What is wrong after four hours; for another process."""
    logging.disable(logging.CRITICAL)
    return seed, _faults(_campaign(seed, 4.0))


@pytest.mark.slow
def test_two_hundred_markets_of_trouble_leave_nothing_wrong() -> None:
    """Two hundred times four hours, the nightly campaign: not one candle or trade is wrong or lost without a word."""
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        judged = list(pool.imap_unordered(_judged, range(1000, 1200)))
    assert len(judged) == 200
    assert {seed: wrong[:3] for seed, wrong in judged if wrong} == {}
