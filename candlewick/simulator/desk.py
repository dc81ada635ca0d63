"""Where REST requests are taken: weights, limits, parameters and errors as documented and measured (binance.md 3, 4)."""

from collections.abc import Callable, Mapping

from candlewick.clock import Clock
from candlewick.market import SECOND, Market
from candlewick.simulator.budget import Budget
from candlewick.simulator.faults import Fault
from candlewick.simulator.query import BadRequest, Params, Query, Reply, page, to_json

KLINES_MOST = {Market.SPOT: 1000, Market.USDM: 1500}
LIMITS = {Market.SPOT: 6000, Market.USDM: 2400}
_EARLIEST = 1_483_228_800_000_000  # 2017-01-01
_SPOT_WEIGHTS = {"exchangeInfo": 20, "klines": 2, "uiKlines": 2, "aggTrades": 4, "trades": 25, "historicalTrades": 25}


class Desk:
    """Charges requests to one market and hands them to its endpoints."""

    def __init__(self, market: Market, clock: Clock, endpoints: Mapping[str, Callable[[Query], object]]) -> None:
        """`endpoints`: by path, what makes the content of an answer or raises BadRequest."""
        self._market = market
        self._clock = clock
        self._budget = Budget(clock, LIMITS[market])
        self._endpoints = endpoints

    def refuse(self, path: str, params: Params, forced: Fault | None = None) -> Reply | None:
        """Charge a request; the refusal if it is over a limit, or a fault says so."""
        refused = self._budget.charge(
            _weight(self._market, path, params),
            limited_s=forced.delay if forced is not None and forced.kind == "rate_limit" else None,
            banned_s=forced.delay if forced is not None and forced.kind == "ban" else None,
        )
        if refused is None:
            return None
        return Reply(refused.status, to_json({"code": -1003, "msg": refused.message}), self._headers(refused.wait_s))

    def answer(self, path: str, params: Params) -> Reply:
        """The answer to `GET path?params`."""
        endpoint = self._endpoints.get(path)
        if endpoint is None:
            return page(404, "404 Not Found")
        try:
            status, content = 200, endpoint(Query(params))
        except BadRequest as error:
            status, content = error.status, {"code": error.code, "msg": str(error)}
        headers = self._headers()
        if path.endswith("/time"):
            headers["x-candlewick-speed"] = str(getattr(self._clock, "speed", 1.0))
        return Reply(status, to_json(content), headers)

    def _headers(self, wait_s: int | None = None) -> dict[str, str]:
        used = str(self._budget.used)
        headers = {"content-type": "application/json;charset=UTF-8", "x-mbx-used-weight-1m": used}
        if self._market is Market.SPOT:
            headers["x-mbx-used-weight"] = used
        if wait_s is not None:
            headers["retry-after"] = str(wait_s)
        return headers


def read_symbol(market: Market, symbol: str) -> str:
    """The symbol a request names; USD-M takes lower case, spot does not."""
    if market is Market.USDM:
        return symbol.upper()
    if symbol != symbol.upper() or not all(letter.isalnum() or letter in "-._&" for letter in symbol):
        legal = "^[\\\\w\\\\-._&&[^a-z]]{1,50}$"
        raise BadRequest(-1100, f"Illegal characters found in parameter 'symbol'; legal range is '{legal}'.")
    return symbol


def read_range(market: Market, query: Query, now: int) -> tuple[int | None, int | None]:
    """`startTime` and `endTime` in microseconds, both included."""
    start, end = query.time("startTime"), query.time("endTime")
    if market is Market.SPOT:
        for name, value in (("startTime", start), ("endTime", end)):
            if value is not None and (value < _EARLIEST or (name == "startTime" and value > now + 10 * SECOND)):
                raise BadRequest(-1130, f"Data sent for parameter '{name}' is not valid.")
    elif start is not None and end is not None and start > end:
        raise BadRequest(-1023, "Start time is greater than end time.")
    return start, end


def read_limit(market: Market, query: Query, usual: int, most: int) -> int:
    """How many rows at most: too many are cut on spot and refused on USD-M (binance.md 9.6)."""
    limit = query.number("limit")
    if limit is None:
        return usual
    if limit < 1 or (limit > most and market is Market.USDM):
        raise BadRequest(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(limit, most)


def ping(query: Query) -> object:
    """The answer to a ping."""
    query.none_left()
    return {}


def _weight(market: Market, path: str, params: Params) -> int:
    """What a request costs, refused or not."""
    name = path.rpartition("/")[2]
    if market is Market.SPOT:
        return _SPOT_WEIGHTS.get(name, 1)
    if name == "klines":
        asked = dict(params).get("limit", "500")
        limit = int(asked) if asked.isdigit() else 500
        return 1 if limit <= 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10
    return 20 if name == "aggTrades" else 1
