"""Requests, their weights, and readers of their answers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from candlewick.errors import DecodeError
from candlewick.exchanges.exchange import Request, Venue
from candlewick.market import MINUTE, Candle, Instrument, Interval, Trade

Payload = Callable[[str], bytes]
READERS = ("read_klines", "read_agg_trades", "read_trades", "read_time", "read_exchange_info")


def test_klines_request_ends_before_the_open_time_that_ends_the_span(spot: Venue) -> None:
    """The exchange's endTime is inclusive, our end is not: one millisecond apart."""
    start = 1672515780000 * 1000
    request = spot.klines("BTCUSDT", Interval("1m"), start, start + 3 * MINUTE, 500)
    assert request == Request(
        "/api/v3/klines",
        (
            ("symbol", "BTCUSDT"),
            ("interval", "1m"),
            ("startTime", "1672515780000"),
            ("endTime", "1672515959999"),
            ("limit", "500"),
        ),
        2,
    )


def test_klines_request_never_asks_for_what_lies_outside(spot: Venue) -> None:
    """Ends within a millisecond are rounded inwards."""
    start = 1672515780000 * 1000
    params = dict(spot.klines("BTCUSDT", Interval("1m"), start + 1_001, start + 60_000_500, 10).params)
    assert (params["startTime"], params["endTime"]) == ("1672515780002", "1672515840000")


def test_klines_request_never_asks_for_times_that_are_refused(spot: Venue) -> None:
    """The exchange refuses times before 2017 instead of saying that there is nothing, so none is asked for."""
    params = dict(spot.klines("BTCUSDT", Interval("1m"), 0, 1672515780000 * 1000, 10).params)
    assert (params["startTime"], params["endTime"]) == ("1483228800000", "1672515779999")


@pytest.mark.parametrize(
    ("limit", "asked", "weight"),
    [(1, 1, 1), (99, 99, 1), (100, 100, 2), (499, 499, 2), (500, 500, 5), (1000, 1000, 5), (1001, 1001, 10),
     (1500, 1500, 10), (9999, 1500, 10)],
)  # fmt: skip
def test_klines_request_of_usdm_weighs_by_its_page(usdm: Venue, limit: int, asked: int, weight: int) -> None:
    """Large pages cost more, and no page is larger than the exchange gives."""
    request = usdm.klines("BTCUSDT", Interval("1m"), 0, MINUTE, limit)
    assert (request.path, dict(request.params)["limit"], request.weight) == ("/fapi/v1/klines", str(asked), weight)


def test_page_sizes_are_worth_their_weight(spot: Venue, usdm: Venue) -> None:
    """Each offered page size costs what is said, smallest first."""
    assert spot.page_sizes == ((1000, 2),)
    assert usdm.page_sizes == ((99, 1), (499, 2), (1000, 5), (1500, 10))


def test_trade_requests_start_at_an_id(spot: Venue, usdm: Venue) -> None:
    """Holes are asked for by id; raw trades of USD-M are not served without a key."""
    params = (("symbol", "BTCUSDT"), ("fromId", "77"), ("limit", "500"))
    assert spot.agg_trades("BTCUSDT", 77, 500) == Request("/api/v3/aggTrades", params, 4)
    assert usdm.agg_trades("BTCUSDT", 77, 500) == Request("/fapi/v1/aggTrades", params, 20)
    assert spot.trades("BTCUSDT", 77, 500) == Request("/api/v3/historicalTrades", params, 25)
    assert usdm.trades("BTCUSDT", 77, 500) is None


def test_plain_requests_have_their_weight(spot: Venue, usdm: Venue) -> None:
    """Ping, time and the listing, on both markets."""
    assert [spot.ping(), spot.time(), spot.exchange_info()] == [
        Request("/api/v3/ping", (), 1),
        Request("/api/v3/time", (), 1),
        Request("/api/v3/exchangeInfo", (), 20),
    ]
    assert [usdm.ping(), usdm.time(), usdm.exchange_info()] == [
        Request("/fapi/v1/ping", (), 1),
        Request("/fapi/v1/time", (), 1),
        Request("/fapi/v1/exchangeInfo", (), 1),
    ]


def test_read_klines_gives_candles_in_microseconds(spot: Venue, payload: Payload) -> None:
    """Every column lands where it belongs; the close time is kept to the millisecond."""
    first, second = spot.read_klines(payload("klines_page"))
    assert first == Candle(
        1499040000000000, 0.0163479, 0.8, 0.015758, 0.015771, 148976.11427815, 1499644799999000, 2434.19055334, 308,
        1756.87402397, 28.46694368,
    )  # fmt: skip
    assert (second.trades, second.volume) == (0, 0.0)


def test_read_klines_takes_microseconds_too(spot: Venue) -> None:
    """A page in microseconds gives the candles of the page in milliseconds."""
    row = '"1","1","1","1","1",{},"1",1,"1","1","0"]]'
    milliseconds = "[[1499040000000," + row.format(1499644799999)
    microseconds = "[[1499040000000000," + row.format(1499644799999999)
    assert spot.read_klines(microseconds.encode()) == spot.read_klines(milliseconds.encode())


def test_read_trades_gives_trades(spot: Venue, payload: Payload) -> None:
    """Raw trades are made of themselves, aggregates of raw trades, annulled ones of none."""
    assert spot.read_trades(payload("trades_page")) == [
        Trade(28457, 4.000001, 12.0, 1499865549590000, buyer_is_maker=True, first_id=28457, last_id=28457)
    ]
    assert spot.read_agg_trades(payload("aggTrades_page")) == [
        Trade(26129, 0.01633102, 4.70443515, 1498793709153000, buyer_is_maker=True, first_id=27781, last_id=27783),
        Trade(26130, 0.0, 0.0, 1498793709154000, buyer_is_maker=True, first_id=-1, last_id=-1),
    ]


def test_read_time_gives_microseconds(spot: Venue) -> None:
    """The exchange's clock, in our unit."""
    assert spot.read_time(b'{"serverTime":1499827319559}') == 1499827319559000


def test_read_exchange_info_passes_over_what_is_new(spot: Venue, payload: Payload) -> None:
    """Unknown statuses and fields are kept or skipped, only TRADING trades, the minute's weight is found."""
    info = spot.read_exchange_info(payload("exchangeInfo"))
    assert info.weight_per_minute == 6000
    assert info.instruments[0] == Instrument("ETHBTC", "TRADING", is_trading=True, base="ETH", quote="BTC", listed_at=0)
    assert [one.is_trading for one in info.instruments] == [True, False, False, False]
    assert info.instruments[3].status == "SOMETHING_NEW"


def test_read_exchange_info_without_limits_states_none(spot: Venue) -> None:
    """Where no weight limit is listed, none is made up."""
    assert spot.read_exchange_info(b'{"symbols":[]}').weight_per_minute is None


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "body",
    [b"", b"<html><body>Request blocked</body></html>", b'{"code":-1121,"msg":"Invalid symbol."}', b'[[1499040000000,"0.0', b"null",
     b"\xff", b'[["a"]]', b"[1]"],
)  # fmt: skip
def test_reader_refuses_what_is_no_such_answer(spot: Venue, reader: str, body: bytes) -> None:
    """HTML, error objects and cut JSON under status 200 are errors, not empty pages."""
    with pytest.raises(DecodeError, match="not a Binance"):
        getattr(spot, reader)(body)


@pytest.mark.parametrize(
    ("headers", "weight"),
    [
        ({"x-mbx-used-weight": "9", "x-mbx-used-weight-1m": "17"}, 17),
        ({"x-mbx-used-weight": "9"}, 9),
        ({"x-mbx-used-weight-1m": "-1"}, None),
        ({"x-mbx-used-weight-1m": "much"}, None),
        ({}, None),
    ],
)
def test_used_weight_is_what_the_headers_state(spot: Venue, headers: dict[str, str], weight: int | None) -> None:
    """Some answers carry no weight, or -1: then nothing is known."""
    assert spot.used_weight(headers) == weight


@pytest.mark.data
@pytest.mark.parametrize(
    ("market", "name", "listed", "trading", "weight"),
    [("spot", "BINANCE", 1695, 1262, 1200), ("usdm", "BINANCE_FUTURES", 122, 121, 2400),
     ("coinm", "BINANCE_DELIVERY", 36, 0, 2400)],
)  # fmt: skip
def test_read_exchange_info_reads_whole_recorded_listings(
    recordings: Path, spot: Venue, market: str, name: str, listed: int, trading: int, weight: int
) -> None:
    """Real listings are read in full (COIN-M calls its status by another name, so there nothing counts as trading)."""
    text = (recordings / "frames" / market / f"cryptofeed-{name}.0").read_bytes()
    info = spot.read_exchange_info(text[text.index(b": {") + 2 :].splitlines()[0])
    assert len(info.instruments) == listed
    assert sum(one.is_trading for one in info.instruments) == trading
    assert info.weight_per_minute == weight
    if market == "usdm":
        assert info.instruments[0].listed_at == 1569398400000000


@pytest.mark.data
def test_read_klines_reads_recorded_pages(recordings: Path, spot: Venue) -> None:
    """Each recorded page gives what the standard library reads in it."""
    for path in sorted((recordings / "rest" / "klines").iterdir()):
        body = path.read_bytes()
        for row, candle in zip(json.loads(body), spot.read_klines(body), strict=True):
            numbers = [float(text) for text in (*row[1:6], row[7], *row[9:11])]
            assert candle == Candle(row[0] * 1000, *numbers[:5], row[6] * 1000, numbers[5], row[8], *numbers[6:])


@pytest.mark.data
def test_readers_read_recorded_answers(routes: dict[str, Any], spot: Venue) -> None:
    """Recorded answers of spot and USD-M are read by the reader of their path."""
    readers = {
        "klines": spot.read_klines,
        "aggTrades": spot.read_agg_trades,
        "trades": spot.read_trades,
        "historicalTrades": spot.read_trades,
        "time": spot.read_time,
        "exchangeInfo": spot.read_exchange_info,
    }
    read = 0
    for path, methods in routes.items():
        _, api, _, name, *_ = (*path.split("/"), "", "")
        for answer in methods.get("GET", []):
            body = json.dumps(answer["data"]).encode()
            # One recording has a field's name blotted out.
            if api in {"api", "fapi"} and name in readers and b'"code"' not in body and b'"": ' not in body:
                assert readers[name](body)
                read += 1
    assert read > 40
