"""The REST interface: parameters, limits, weights and errors as documented and measured (binance.md 3, 4)."""

import json
from collections.abc import Callable

from candlewick.market import DAY, HOUR, SECOND, Interval, Market
from candlewick.simulator.bars import first_raw, last_raw
from candlewick.simulator.budget import Budget
from candlewick.simulator.candles import Candles, Row
from candlewick.simulator.exchange import Exchange
from candlewick.simulator.faults import Fault
from candlewick.simulator.listing import exchange_info
from candlewick.simulator.query import BadRequest, Params, Query, Reply, page, to_json
from candlewick.simulator.streams import INTERVALS
from candlewick.simulator.trades import raw_trades

_EARLIEST = 1_483_228_800_000_000  # 2017-01-01


class Rest:
    """Answers GET requests to one exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._budget = Budget(exchange.clock, 6000 if exchange.market is Market.SPOT else 2400)
        spot: dict[str, Callable[[Query], object]] = {
            "/api/v3/ping": _ping,
            "/api/v3/time": self._time,
            "/api/v3/exchangeInfo": self._info,
            "/api/v3/klines": self._klines,
            "/api/v3/uiKlines": self._klines,
            "/api/v3/aggTrades": self._aggregates,
            "/api/v3/trades": self._trades,
            "/api/v3/historicalTrades": self._trades,
        }
        usdm: dict[str, Callable[[Query], object]] = {
            "/fapi/v1/ping": _ping,
            "/fapi/v1/time": self._time,
            "/fapi/v1/exchangeInfo": self._info,
            "/fapi/v1/klines": self._klines,
            "/fapi/v1/aggTrades": self._aggregates,
        }
        self._endpoints = spot if exchange.market is Market.SPOT else usdm

    def refuse(self, path: str, params: Params, forced: Fault | None) -> Reply | None:
        """Charge a request; the refusal if it is over a limit, or a fault says so."""
        refused = self._budget.charge(
            self._weight(path, params),
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
            headers["x-candlewick-speed"] = str(getattr(self._exchange.clock, "speed", 1.0))
        return Reply(status, to_json(content), headers)

    def _headers(self, wait_s: int | None = None) -> dict[str, str]:
        used = str(self._budget.used)
        headers = {"content-type": "application/json;charset=UTF-8", "x-mbx-used-weight-1m": used}
        if self._exchange.market is Market.SPOT:
            headers["x-mbx-used-weight"] = used
        if wait_s is not None:
            headers["retry-after"] = str(wait_s)
        return headers

    def _weight(self, path: str, params: Params) -> int:
        """What a request costs, refused or not."""
        name = path.rpartition("/")[2]
        if self._exchange.market is Market.SPOT:
            return {
                "exchangeInfo": 20,
                "klines": 2,
                "uiKlines": 2,
                "aggTrades": 4,
                "trades": 25,
                "historicalTrades": 25,
            }.get(name, 1)
        if name == "klines":
            asked = dict(params).get("limit", "500")
            limit = int(asked) if asked.isdigit() else 500
            return 1 if limit <= 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10
        return 20 if name == "aggTrades" else 1

    # Endpoints.

    def _time(self, query: Query) -> object:
        query.none_left()
        return {"serverTime": (self._exchange.clock.now() + self._exchange.trouble.skew) // 1000}

    def _info(self, query: Query) -> object:
        wanted = None
        if (one := query.text("symbol")) is not None:
            wanted = {self._candles(one).listing.symbol}
        elif (several := query.text("symbols")) is not None:
            try:
                names = json.loads(several)
            except ValueError:
                raise BadRequest(-1100, "Illegal characters found in parameter 'symbols'.") from None
            wanted = {self._candles(name).listing.symbol for name in names}
        return exchange_info(self._exchange, wanted)

    def _klines(self, query: Query) -> object:
        candles = self._candles(query.need("symbol"))
        code = query.need("interval")
        if code not in INTERVALS[self._exchange.market]:
            raise BadRequest(-1120, "Invalid interval.")
        start, end = self._range(query)
        limit = self._limit(query, 500, 1000 if self._exchange.market is Market.SPOT else 1500)
        query.none_left("timeZone")
        return self._page(candles, Interval(code), start, end, limit)

    def _page(self, candles: Candles, interval: Interval, start: int | None, end: int | None, limit: int) -> list[Row]:
        """Rows by open time, both ends included; the last one may be unfinished."""
        now = self._exchange.clock.now()
        stop = now + 1 if end is None else min(end, now) + 1
        times: list[int] = []
        if start is not None:
            time = interval.ceil(max(start, interval.floor(candles.listed_at)))
            while time < stop and len(times) < limit:
                if candles.exists(interval, time):
                    times.append(time)
                time = interval.next(time)
        else:
            time = interval.floor(stop - 1)
            while time >= interval.floor(candles.listed_at) and len(times) < limit:
                if candles.exists(interval, time):
                    times.append(time)
                time = interval.previous(time)
            times.reverse()
        return self._rows(candles, interval, times, now)

    def _rows(self, candles: Candles, interval: Interval, times: list[int], now: int) -> list[Row]:
        """The rows that open at `times`, with everything that is wrong with rows at present."""
        stale = 0
        for active in self._exchange.trouble.rows:
            fault = active.fault
            if not fault.names_symbol(candles.listing.symbol):
                continue
            if fault.kind == "stale":
                stale = max(stale, round(fault.delay * SECOND))
            elif fault.kind == "short_page":
                times = times[: max(1, len(times) - fault.value)]
            else:  # the newest closed ones are not there yet
                times = [time for time in times if now - interval.next(time) >= fault.value * interval.nominal]
        rows = []
        for time in times:
            end = interval.next(time)
            # A database that is behind still shows the candle as it stood a moment before its end.
            until = end - min(2 * SECOND, (end - time) // 20) if end <= now < end + stale else now
            rows.append(candles.row(interval, time, until))
        return rows

    def _aggregates(self, query: Query) -> object:
        candles = self._candles(query.need("symbol"))
        first = query.number("fromId")
        start, end = self._range(query)
        limit = self._limit(query, 500, 1000)
        query.none_left()
        now = self._exchange.clock.now()
        spot = self._exchange.market is Market.SPOT
        if not spot and start is not None and start < now - 2 * DAY:
            raise BadRequest(-4166, "Search window is restricted to recent 2 days only.")
        tape, printer = candles.tape, candles.printer
        if first is not None:
            start = tape.time_of(first)
        elif start is None:
            start = _back(candles, min(now, end or now), limit)
            first = None
        stop = min(now, now if end is None else end) + 1
        rows: list[object] = []
        while start < stop and len(rows) < limit:
            edge = min(stop, start - start % HOUR + HOUR)
            for trade in tape.trades(start, edge):
                if first is None or trade.number >= first:
                    row: dict[str, object] = {
                        "a": trade.number,
                        "p": printer.price(trade.ticks),
                        "q": printer.quantity(trade.lots),
                    }
                    if not spot:
                        row["nq"] = row["q"]
                    row |= {"f": first_raw(trade.number), "l": last_raw(trade.number), "T": trade.time // 1000}
                    row["m"] = trade.buyer_is_maker
                    if spot:
                        row["M"] = True
                    rows.append(row)
            start = edge
        newest = first is None and query.text("startTime") is None
        return rows[-limit:] if newest else rows[:limit]

    def _trades(self, query: Query) -> object:
        candles = self._candles(query.need("symbol"))
        first = query.number("fromId")
        limit = self._limit(query, 500, 1000)
        query.none_left()
        now = self._exchange.clock.now()
        tape, printer = candles.tape, candles.printer
        start = _back(candles, now, limit) if first is None else tape.time_of(first * 4 // 5 - 1)
        rows: list[object] = []
        while start <= now and (first is None or len(rows) < limit):
            edge = min(now + 1, start - start % HOUR + HOUR)
            for trade in tape.trades(start, edge):
                for number, lots in raw_trades(trade):
                    if first is None or number >= first:
                        rows.append(
                            {
                                "id": number,
                                "price": printer.price(trade.ticks),
                                "qty": printer.quantity(lots),
                                "quoteQty": printer.amount(trade.ticks * lots),
                                "time": trade.time // 1000,
                                "isBuyerMaker": trade.buyer_is_maker,
                                "isBestMatch": True,
                            }
                        )
            start = edge
        return rows[-limit:] if first is None else rows[:limit]

    # Parameters.

    def _candles(self, symbol: str) -> Candles:
        if self._exchange.market is Market.USDM:
            symbol = symbol.upper()  # USD-M takes lower case, spot does not
        elif symbol != symbol.upper() or not all(letter.isalnum() or letter in "-._&" for letter in symbol):
            legal = "^[\\\\w\\\\-._&&[^a-z]]{1,50}$"
            raise BadRequest(-1100, f"Illegal characters found in parameter 'symbol'; legal range is '{legal}'.")
        found = self._exchange.candles.get(symbol)
        if found is None:
            raise BadRequest(-1121, "Invalid symbol.")
        return found

    def _range(self, query: Query) -> tuple[int | None, int | None]:
        start, end = query.time("startTime"), query.time("endTime")
        for name, value in (("startTime", start), ("endTime", end)):
            late = (
                self._exchange.market is Market.SPOT
                and value is not None
                and value > self._exchange.clock.now() + 10 * SECOND
            )
            if (name == "startTime" and late) or (
                value is not None and value < _EARLIEST and self._exchange.market is Market.SPOT
            ):
                raise BadRequest(-1130, f"Data sent for parameter '{name}' is not valid.")
        if start is not None and end is not None and start > end and self._exchange.market is Market.USDM:
            raise BadRequest(-1023, "Start time is greater than end time.")
        return start, end

    def _limit(self, query: Query, usual: int, most: int) -> int:
        limit = query.number("limit")
        if limit is None:
            return usual
        if limit < 1 or (limit > most and self._exchange.market is Market.USDM):
            raise BadRequest(-1130, "Data sent for parameter 'limit' is not valid.")
        return min(limit, most)


def _back(candles: Candles, now: int, limit: int) -> int:
    """A time before which at least `limit` trades lie, hour by hour."""
    tape, start, found = candles.tape, now - now % HOUR, 0
    while found < limit and start > candles.listed_at:
        start -= HOUR
        found += len(tape.trades(start, start + HOUR))
    return start


def _ping(query: Query) -> object:
    query.none_left()
    return {}
