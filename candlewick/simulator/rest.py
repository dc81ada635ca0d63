"""The REST interface of the simulated market (binance.md 3, 4)."""

import json
from collections.abc import Callable
from itertools import islice

from candlewick.market import DAY, HOUR, SECOND, Interval, Market
from candlewick.simulator.bars import first_raw, last_raw
from candlewick.simulator.candles import Candles, Row
from candlewick.simulator.desk import KLINES_MOST, Desk, ping, read_limit, read_range, read_symbol
from candlewick.simulator.exchange import Exchange
from candlewick.simulator.listing import exchange_info
from candlewick.simulator.query import BadRequest, Query
from candlewick.simulator.streams import INTERVALS
from candlewick.simulator.trades import raw_trades


class Rest(Desk):
    """Answers GET requests to one exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        spot: dict[str, Callable[[Query], object]] = {
            "/api/v3/ping": ping,
            "/api/v3/time": self._time,
            "/api/v3/exchangeInfo": self._info,
            "/api/v3/klines": self._klines,
            "/api/v3/uiKlines": self._klines,
            "/api/v3/aggTrades": self._aggregates,
            "/api/v3/trades": self._trades,
            "/api/v3/historicalTrades": self._trades,
        }
        usdm: dict[str, Callable[[Query], object]] = {
            "/fapi/v1/ping": ping,
            "/fapi/v1/time": self._time,
            "/fapi/v1/exchangeInfo": self._info,
            "/fapi/v1/klines": self._klines,
            "/fapi/v1/aggTrades": self._aggregates,
        }
        super().__init__(exchange.market, exchange.clock, spot if exchange.market is Market.SPOT else usdm)

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
        start, end = read_range(self._market, query, self._exchange.clock.now())
        limit = read_limit(self._market, query, 500, KLINES_MOST[self._market])
        query.none_left("timeZone")
        return self._page(candles, Interval(code), start, end, limit)

    def _page(self, candles: Candles, interval: Interval, start: int | None, end: int | None, limit: int) -> list[Row]:
        """Rows by open time, both ends included; the last one may be unfinished."""
        now = self._exchange.clock.now()
        stop = now + 1 if end is None else min(end, now) + 1
        times: list[int] = []
        if start is not None:
            times = list(islice(candles.times(interval, start, stop), limit))
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
        start, end = read_range(self._market, query, self._exchange.clock.now())
        limit = read_limit(self._market, query, 500, 1000)
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
        limit = read_limit(self._market, query, 500, 1000)
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
        found = self._exchange.candles.get(read_symbol(self._market, symbol))
        if found is None:
            raise BadRequest(-1121, "Invalid symbol.")
        return found


def _back(candles: Candles, now: int, limit: int) -> int:
    """A time before which at least `limit` trades lie, hour by hour."""
    tape, start, found = candles.tape, now - now % HOUR, 0
    while found < limit and start > candles.listed_at:
        start -= HOUR
        found += len(tape.trades(start, start + HOUR))
    return start
