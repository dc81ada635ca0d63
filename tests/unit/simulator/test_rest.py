"""The REST interface."""

import json
from typing import Any

import pytest

from candlewick.market import DAY, HOUR, MINUTE, SECOND, Market
from candlewick.simulator.gateway import Gateway
from candlewick.simulator.query import Reply
from tests.unit.simulator.world import START, Counter

KLINES = {Market.SPOT: "/api/v3/klines", Market.USDM: "/fapi/v1/klines"}


class Client:
    """Asks one exchange under a clock that stands still."""

    def __init__(self, market: Market = Market.SPOT, **settings: object) -> None:
        self.counter = Counter(market=market, **settings)
        self.market = market
        self._gateway = Gateway(self.counter.exchange)

    def get(self, path: str, **params: object) -> Reply:
        return self._gateway.answer(path, tuple((name, str(value)) for name, value in params.items()))

    def klines(self, **params: object) -> list[Any]:
        reply = self.get(KLINES[self.market], **({"symbol": "BTCUSDT", "interval": "1m"} | params))
        assert reply.status == 200, reply
        rows: list[Any] = json.loads(reply.body)
        return rows

    def error(self, path: str, **params: object) -> tuple[int, int]:
        reply = self.get(path, **params)
        return reply.status, json.loads(reply.body)["code"]


def opened(rows: list[Any]) -> list[int]:
    return [(row[0] * 1000 - START) // MINUTE for row in rows]


@pytest.mark.parametrize("market", list(Market))
def test_klines_pages_equal_the_truth(market: Market) -> None:
    """Two days read page by page from a start time are the truth, row for row."""
    client = Client(market)
    rows: list[Any] = []
    time = START - 2 * DAY
    while time < START:
        rows += client.klines(startTime=time // 1000, endTime=START // 1000 - 1, limit=700)
        time = rows[-1][0] * 1000 + MINUTE
    assert rows == client.counter.exchange.truth("BTCUSDT", "1m", START - 2 * DAY, START)


def test_klines_select_by_open_time_with_both_ends_included() -> None:
    """StartTime and endTime compare with the open time, both inclusive, equal ones too."""
    client = Client()
    begin = (START - 10 * MINUTE) // 1000
    assert opened(client.klines(startTime=begin, endTime=begin + 120_000)) == [-10, -9, -8]
    assert opened(client.klines(startTime=begin + 1, endTime=begin + 119_999)) == [-9]
    assert opened(client.klines(startTime=begin, endTime=begin)) == [-10]


def test_klines_without_times_are_the_newest() -> None:
    """No times: the newest rows; an end alone: the newest up to it; a start alone: the oldest from it."""
    client = Client()
    client.counter.clock.advance(90)
    assert opened(client.klines(limit=3)) == [-1, 0, 1]
    assert opened(client.klines(endTime=(START - 5 * MINUTE) // 1000, limit=3)) == [-7, -6, -5]
    assert opened(client.klines(startTime=(START - 5 * MINUTE) // 1000, limit=3)) == [-5, -4, -3]


def test_klines_end_with_the_unfinished_candle() -> None:
    """The last row is the open candle as it stands, and nothing marks it but its close time."""
    client = Client()
    client.counter.clock.advance(30.5)
    last = client.klines(limit=1)[0]
    assert last[6] * 1000 == START + MINUTE - 1000
    assert 0 < last[8] < client.counter.exchange.truth("BTCUSDT", "1m", START, START + 1)[0][8]


def test_klines_take_microseconds_too() -> None:
    """Times may be given in microseconds."""
    assert opened(Client().klines(startTime=START - 3 * MINUTE, endTime=START - 2 * MINUTE)) == [-3, -2]


@pytest.mark.parametrize(("market", "usual", "most"), [(Market.SPOT, 500, 1000), (Market.USDM, 500, 1500)])
def test_klines_limit(market: Market, usual: int, most: int) -> None:
    """Without a limit 500 rows come; spot caps what is over its maximum, USD-M refuses it."""
    client = Client(market)
    assert len(client.klines()) == usual
    assert len(client.klines(limit=most)) == most
    if market is Market.SPOT:
        assert len(client.klines(limit=most + 1)) == most
    else:
        assert client.error(KLINES[market], symbol="BTCUSDT", interval="1m", limit=most + 1) == (400, -1130)


@pytest.mark.parametrize(
    ("market", "params", "code"),
    [
        (Market.SPOT, {"symbol": "NOSUCH", "interval": "1m"}, -1121),
        (Market.SPOT, {"symbol": "btcusdt", "interval": "1m"}, -1100),
        (Market.SPOT, {"symbol": "BTC/USDT", "interval": "1m"}, -1100),
        (Market.SPOT, {"symbol": "BTCUSDT", "interval": "7m"}, -1120),
        (Market.USDM, {"symbol": "BTCUSDT", "interval": "1s"}, -1120),
        (Market.SPOT, {"interval": "1m"}, -1102),
        (Market.SPOT, {"symbol": "BTCUSDT"}, -1102),
        (Market.SPOT, {"symbol": "BTCUSDT", "interval": "1m", "limit": "many"}, -1100),
        (Market.SPOT, {"symbol": "BTCUSDT", "interval": "1m", "limit": "0"}, -1130),
        (Market.SPOT, {"symbol": "BTCUSDT", "interval": "1m", "colour": "red"}, -1104),
        (Market.SPOT, {"symbol": "BTCUSDT", "interval": "1m", "startTime": "1000"}, -1130),
        (Market.USDM, {"symbol": "BTCUSDT", "interval": "1m", "startTime": "9", "endTime": "8"}, -1023),
    ],
)
def test_klines_refuse_wrong_parameters(market: Market, params: dict[str, str], code: int) -> None:
    """Every wrong parameter has its own code, with status 400."""
    assert Client(market).error(KLINES[market], **params) == (400, code)


def test_usdm_takes_lower_case_symbols() -> None:
    """USD-M answers a lower-case symbol as the upper-case one."""
    assert Client(Market.USDM).klines(symbol="btcusdt") == Client(Market.USDM).klines()


def test_a_parameter_sent_twice_is_refused() -> None:
    """Duplicate parameters have the code -1101."""
    gateway = Gateway(Counter().exchange)
    reply = gateway.answer("/api/v3/klines", (("symbol", "BTCUSDT"), ("symbol", "BTCUSDT"), ("interval", "1m")))
    assert json.loads(reply.body)["code"] == -1101


@pytest.mark.parametrize(
    ("market", "path", "params", "weight"),
    [
        (Market.SPOT, "/api/v3/ping", {}, 1),
        (Market.SPOT, "/api/v3/time", {}, 1),
        (Market.SPOT, "/api/v3/exchangeInfo", {}, 20),
        (Market.SPOT, "/api/v3/klines", {"symbol": "BTCUSDT", "interval": "1m"}, 2),
        (Market.SPOT, "/api/v3/aggTrades", {"symbol": "BTCUSDT"}, 4),
        (Market.SPOT, "/api/v3/historicalTrades", {"symbol": "BTCUSDT"}, 25),
        (Market.USDM, "/fapi/v1/klines", {"limit": "100"}, 1),
        (Market.USDM, "/fapi/v1/klines", {"limit": "101"}, 2),
        (Market.USDM, "/fapi/v1/klines", {}, 5),
        (Market.USDM, "/fapi/v1/klines", {"limit": "1000"}, 5),
        (Market.USDM, "/fapi/v1/klines", {"limit": "1501"}, 10),
        (Market.USDM, "/fapi/v1/aggTrades", {"symbol": "BTCUSDT"}, 20),
        (Market.USDM, "/fapi/v1/exchangeInfo", {}, 1),
    ],
)
def test_requests_weigh_what_they_weigh(market: Market, path: str, params: dict[str, str], weight: int) -> None:
    """Every request, refused ones too, costs its documented weight."""
    assert Client(market).get(path, **params).headers["x-mbx-used-weight-1m"] == str(weight)


def test_weight_starts_again_with_the_minute() -> None:
    """Used weight adds up within a UTC minute and is zero at the start of the next."""
    client = Client()
    client.counter.clock.advance(59.9)
    used = [client.get("/api/v3/ping").headers["x-mbx-used-weight-1m"] for _ in range(3)]
    client.counter.clock.advance(0.2)
    assert [*used, client.get("/api/v3/ping").headers["x-mbx-used-weight-1m"]] == ["1", "2", "3", "1"]


def test_too_much_weight_is_429_then_418_with_growing_bans() -> None:
    """Over the limit comes 429 until the minute is over; who goes on is banned for two minutes, then for four."""
    client = Client()
    for _ in range(300):
        assert client.get("/api/v3/exchangeInfo").status == 200
    limited = client.get("/api/v3/ping")
    assert (limited.status, limited.headers["retry-after"]) == (429, "60")
    assert json.loads(limited.body)["code"] == -1003
    for ban_s in (120, 240):
        replies = [client.get("/api/v3/exchangeInfo") for _ in range(310)]
        banned = replies[-1]
        assert banned.status == 418
        until = int(json.loads(banned.body)["msg"].split("banned until ")[1].split(".")[0])
        assert until * 1000 - client.counter.clock.now() == ban_s * SECOND
        assert banned.headers["retry-after"] == str(ban_s)
        client.counter.clock.advance(ban_s + 1)
        assert client.get("/api/v3/ping").status == 200


def test_time_carries_the_speed_of_the_simulation() -> None:
    """The server time is the clock's, and a header says how fast it runs."""
    reply = Client().get("/api/v3/time")
    assert json.loads(reply.body) == {"serverTime": START // 1000}
    assert reply.headers["x-candlewick-speed"] == "1.0"


def test_exchange_info_lists_what_trades_and_what_does_not() -> None:
    """Symbols in BREAK, HALT and unknown states are listed beside the trading ones."""
    body = json.loads(Client().get("/api/v3/exchangeInfo").body)
    status = {row["symbol"]: row["status"] for row in body["symbols"]}
    assert status["BTCUSDT"] == "TRADING"
    assert set(status.values()) == {"TRADING", "BREAK", "HALT", "CANCEL_ONLY", "UNDER_REVIEW"}
    assert {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000} in body[
        "rateLimits"
    ]


def test_exchange_info_of_one_symbol_and_of_several() -> None:
    """`symbol` and `symbols` select, and an unknown one is refused."""
    client = Client()
    one = json.loads(client.get("/api/v3/exchangeInfo", symbol="BTCUSDT").body)["symbols"]
    two = json.loads(client.get("/api/v3/exchangeInfo", symbols='["BTCUSDT","OLDUSDT"]').body)["symbols"]
    assert ([row["symbol"] for row in one], [row["symbol"] for row in two]) == (["BTCUSDT"], ["BTCUSDT", "OLDUSDT"])
    assert client.error("/api/v3/exchangeInfo", symbol="NOSUCH") == (400, -1121)


def test_usdm_exchange_info_tells_when_a_symbol_was_listed() -> None:
    """USD-M rows have onboardDate and contractType, and a serverTime that is not to be believed."""
    body = json.loads(Client(Market.USDM).get("/fapi/v1/exchangeInfo").body)
    row = body["symbols"][0]
    assert row["contractType"] == "PERPETUAL"
    assert row["onboardDate"] * 1000 == START - 400 * DAY
    assert body["serverTime"] * 1000 < START - HOUR


@pytest.mark.parametrize(("market", "path"), [(Market.SPOT, "/api/v3/aggTrades"), (Market.USDM, "/fapi/v1/aggTrades")])
def test_aggregates_by_id_and_by_time_are_the_same_trades(market: Market, path: str) -> None:
    """The newest, the ones from an id and the ones from a time continue each other without a hole."""
    client = Client(market)
    newest = json.loads(client.get(path, symbol="BTCUSDT", limit=50).body)
    assert [row["a"] for row in newest] == list(range(newest[0]["a"], newest[0]["a"] + 50))
    assert newest[-1]["T"] * 1000 <= START
    by_id = json.loads(client.get(path, symbol="BTCUSDT", fromId=newest[10]["a"], limit=40).body)
    assert by_id == newest[10:]
    by_time = json.loads(client.get(path, symbol="BTCUSDT", startTime=newest[10]["T"], limit=40).body)
    assert by_time[-1] == newest[-1]


def test_usdm_aggregates_reach_back_two_days() -> None:
    """Older trades are refused on USD-M with -4166."""
    start = (START - 3 * DAY) // 1000
    assert Client(Market.USDM).error("/fapi/v1/aggTrades", symbol="BTCUSDT", startTime=start) == (400, -4166)


def test_raw_trades_by_id_continue_the_newest() -> None:
    """Historical trades from an id are the ones with that id and the following."""
    client = Client()
    newest = json.loads(client.get("/api/v3/trades", symbol="BTCUSDT", limit=30).body)
    older = json.loads(client.get("/api/v3/historicalTrades", symbol="BTCUSDT", fromId=newest[0]["id"], limit=30).body)
    assert [row["id"] for row in newest] == list(range(newest[0]["id"], newest[0]["id"] + 30))
    assert older == newest


def test_a_symbol_in_break_answers_with_history() -> None:
    """Klines of a stopped symbol end where it stopped, and asking for now is no error."""
    rows = Client().klines(symbol="OLDUSDT", limit=5)
    assert opened(rows)[-1] == -3 * 1440 - 1


def test_what_is_not_there_is_404() -> None:
    """Endpoints of the other market and unknown ones answer an HTML page."""
    for path in ("/fapi/v1/klines", "/api/v1/klines", "/"):
        assert Client().get(path).status == 404
