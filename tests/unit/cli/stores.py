"""Stores on disk for the tests of commands."""

from collections.abc import Iterable
from pathlib import Path

from candlewick.market import MINUTE, Candle, Interval, Market, Series, Span, parse_time
from candlewick.stores import open_store
from candlewick.stores.store import Absence, Reason, Source, to_rows

T0 = parse_time("2024-03-01T12:00:00")
BTC = Series(Market.SPOT, "BTCUSDT", Interval("1m"))
SMALL = 1.234e-05
"""A price whose shortest text has an exponent."""


def candle(open_time: int, price: float = SMALL) -> Candle:
    return Candle(
        open_time, price, price * 2, price / 3, price, 0.1 + 0.2, open_time + MINUTE - 1000, 123456789.125, 7, 0.0, 1e16
    )


def make_store(folder: Path, minutes: Iterable[int], absent: Span | None = None, series: Series = BTC) -> str:
    """A store with a candle for each of the minutes after T0; returns its URL."""
    url = f"lmdb://{folder}"
    store = open_store(url, write=True)
    times = [T0 + minute * MINUTE for minute in minutes]
    store.write(to_rows(store.number(series), Source.REST, list(map(candle, times))))
    if absent is not None:
        store.set_absences(series, [Absence(absent, Reason.EXCHANGE_OUTAGE, "{}")])
    store.close()
    return url


def make_halt(folder: Path) -> str:
    """A store of ten hours on USD-M in which nothing was traded for 18 minutes, from minute 300 on."""
    url = f"lmdb://{folder}"
    store = open_store(url, write=True)
    series = BTC._replace(market=Market.USDM)
    rows = to_rows(store.number(series), Source.REST, [candle(T0 + minute * MINUTE) for minute in range(600)])
    halted = rows[300:318]
    for name in ("open", "high", "low", "close"):
        halted[name] = SMALL
    for name in ("volume", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume"):
        halted[name] = 0
    store.write(rows)
    store.close()
    return url
