"""The same market data for any store: what feeds, repairs and loads leave behind."""

import random
from collections.abc import Iterable

import numpy as np

from candlewick.certificates.issue import certify
from candlewick.market import DAY, HOUR, MINUTE, Interval, Market, Series, Span, parse_time
from candlewick.stores.provenance import (
    FileRecord,
    Listing,
    Verdict,
    keep_certificate,
    keep_file_records,
    keep_listing,
    keep_rebuilt_spans,
)
from candlewick.stores.store import ROW, Absence, Quarantined, Reason, Rows, Source, Store

T0 = parse_time("2024-03-01T00:00:00")
MINUTES = Series(Market.SPOT, "BTCUSDT", Interval("1m"))
HOURS = MINUTES._replace(interval=Interval("1h"))
PERPETUAL = Series(Market.USDM, "ETHUSDT", Interval("1m"))
OUTAGE = Span(T0 + 30 * HOUR, T0 + 31 * HOUR)
MISSING = Span(T0 + 50 * HOUR, T0 + 50 * HOUR + 7 * MINUTE)


def walk(store: Store, series: Series, times: Iterable[int], source: Source, seed: int) -> Rows:
    """Candles with prices and volumes of as many digits as exchanges send, now and then of any double."""
    rng = random.Random(f"{series} {seed}")
    rows = np.zeros(len(list(times)), ROW)
    rows["series"], rows["source"] = store.number(series), source
    price = 20_000.0
    for row, time in zip(rows, times, strict=True):
        row["open_time"], row["close_time"] = time, series.interval.close(time)
        row["open"] = price
        price = round(price * rng.uniform(0.999, 1.001), 2)
        row["close"] = price
        row["high"] = max(row["open"], price) + rng.choice([0.0, 0.01, 1e-8, rng.random()])
        row["low"] = min(row["open"], price) - rng.choice([0.0, 0.01, rng.random()])
        row["volume"] = rng.choice([round(rng.uniform(0.001, 90), 5), rng.random() * 1e-3, 123456.789, 1e8])
        row["trades"] = 1 + rng.randrange(5_000)
        row["quote_volume"] = row["volume"] * (row["open"] + price) / 2
        row["taker_buy_volume"] = row["volume"] / 3
        row["taker_buy_quote_volume"] = row["quote_volume"] / 3
    return rows


def fill(store: Store) -> None:
    """Three days of minutes with an outage, a hole and revisions, their hours, and a market of futures with a halt."""
    minutes = [
        time
        for time in range(T0, T0 + 3 * DAY, MINUTE)
        if not OUTAGE.start <= time < OUTAGE.end and not MISSING.start <= time < MISSING.end
    ]
    live = walk(store, MINUTES, minutes, Source.LIVE, 1)
    store.write(live)
    settled = live[:4_000].copy()
    settled["source"] = Source.REST
    settled["trades"][::100] += 1  # revisions
    settled["close_time"][1_799] -= 12_345_000  # as before an outage
    store.write(settled)
    settled["source"] = Source.ARCHIVE
    settled["trades"][500:503] += 1
    store.write(settled[:2_000])
    hours = walk(store, HOURS, [time for time in range(T0, T0 + 2 * DAY, HOUR) if time != OUTAGE.start], Source.REST, 2)
    store.write(hours)
    futures = walk(store, PERPETUAL, range(T0, T0 + 10 * HOUR, MINUTE), Source.REST, 3)
    halted = futures[300:318]
    for name in ("open", "high", "low", "close"):
        halted[name] = futures["close"][299]
    for name in ("volume", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume"):
        halted[name] = 0
    store.write(futures)
    note_down(store)


def note_down(store: Store) -> None:
    """What is known besides: reasons, files, listings, a certificate, what was put aside."""
    evidence = '{"asked": ["REST klines"]}'
    store.set_absences(MINUTES, [Absence(OUTAGE, Reason.EXCHANGE_OUTAGE, evidence)])
    store.set_absences(HOURS, [Absence(OUTAGE, Reason.EXCHANGE_OUTAGE, evidence)])
    day = Span(T0, T0 + DAY)
    record = FileRecord(
        "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-03-01.zip", day, 61_234, "ab" * 32, "ab" * 32,
        Verdict.MATCHED, 1_440, T0 + 3 * DAY,
    )  # fmt: skip
    keep_file_records(store, MINUTES, [record])
    keep_listing(store, Market.SPOT, "BTCUSDT", Listing(T0, 0, "archive"))
    keep_rebuilt_spans(store, HOURS, [Span(T0, T0 + 2 * HOUR)])
    store.quarantine([Quarantined(str(MINUTES), "prices", "live", T0 + at, b'{"k":%d}' % at) for at in range(3)])
    keep_certificate(store, MINUTES, certify(store, MINUTES, day).to_json())
