"""A series as it comes to be held: archive files, REST, the live feed, an outage with evidence, a missing minute."""

import importlib.util
import json
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np

from candlewick.certificates.encoding import COLUMNS
from candlewick.market import DAY, MINUTE, Series, Span, parse_time
from candlewick.stores.memory import MemoryStore
from candlewick.stores.provenance import FileRecord, Verdict, keep_file_records
from candlewick.stores.store import ROW, Absence, Reason, Rows, Source, Store, StoreReader

T0 = parse_time("2023-03-01")
SERIES = Series.parse("spot:BTCUSDT:1m")
ROWS = 20_000
"""They lie in three blocks."""
OUTAGE = Span(T0 + 9_000 * MINUTE, T0 + 9_080 * MINUTE)
MISSING = Span(T0 + 12_000 * MINUTE, T0 + 12_001 * MINUTE)
ARCHIVED_UNTIL = T0 + 11 * DAY
REST_UNTIL = T0 + 13 * DAY
END = T0 + ROWS * MINUTE
EVIDENCE = json.dumps({
    "asked": [
        {"who": "archive daily", "name": "data/spot/daily/...-2023-03-07.zip", "when": "2023-05-01T00:00:00Z",
         "answer": "no row"},
        {"who": "rest", "name": "klines", "when": "2023-05-01T00:00:01Z", "answer": "later candles, none of these"},
    ],
    "conclusion": "the exchange has none",
})  # fmt: skip


def candles(number: int, count: int = ROWS, series: Series = SERIES, start: int = T0, seed: int = 1) -> Rows:
    """Adjacent candles that keep every rule, from the live feed."""
    rows = _candles(count, series, start, seed).copy()
    rows["series"] = number
    return rows


@cache
def _candles(count: int, series: Series, start: int, seed: int) -> Rows:
    random = np.random.default_rng(seed)
    rows = np.zeros(count, ROW)
    rows["source"] = Source.LIVE
    times = [start]
    for _ in range(count):
        times.append(series.interval.next(times[-1]))
    rows["open_time"] = times[:-1]
    rows["close_time"] = np.array(times[1:]) - 1000
    price = np.round(20_000 + np.cumsum(random.normal(0, 3, count + 1)), 2)
    rows["open"], rows["close"] = price[:-1], price[1:]
    rows["high"] = np.round(np.maximum(price[1:], price[:-1]) + random.integers(0, 9, count), 2)
    rows["low"] = np.round(np.minimum(price[1:], price[:-1]) - random.integers(0, 9, count), 2)
    rows["volume"] = random.integers(1, 10_000_000, count) / 100_000
    rows["trades"] = random.integers(1, 1_000, count)
    rows["quote_volume"] = np.round(rows["volume"] * (rows["high"] + rows["low"]) / 2, 7)
    rows["taker_buy_volume"] = np.round(rows["volume"] / 2, 5)
    rows["taker_buy_quote_volume"] = np.round(rows["taker_buy_volume"] * (rows["high"] + rows["low"]) / 2, 7)
    return rows


def records() -> list[FileRecord]:
    """The ledger: a day's file each, one of them agreed although its checksum is another."""
    found = []
    for day in range(11):
        digest = f"{day:064x}"
        is_agreed = day == 4
        found.append(
            FileRecord(
                f"data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2023-03-{day + 1:02}.zip",
                Span(T0 + day * DAY, T0 + (day + 1) * DAY), 60_000, digest, "0" * 63 + "f" if is_agreed else digest,
                Verdict.AGREED if is_agreed else Verdict.MATCHED, 1_440, T0 + 60 * DAY,
            )
        )  # fmt: skip
    return found


def settled(number: int, *, with_live: bool = True) -> Rows:
    """The rows of the sample: archive, then REST, then live or REST too; without the outage and the missing minute."""
    rows = candles(number)
    times = rows["open_time"]
    rows["source"][times < REST_UNTIL] = Source.REST
    rows["source"][times < ARCHIVED_UNTIL] = Source.ARCHIVE
    if not with_live:
        rows["source"][times >= REST_UNTIL] = Source.REST
    gone = np.zeros(len(rows), np.bool_)
    for span in (OUTAGE, MISSING):
        gone |= (times >= span.start) & (times < span.end)
    return rows[~gone]


def fill(store: Store, rows: "Rows | None" = None, *, with_live: bool = True) -> None:
    """Write the sample, or `rows` in its place, with its reasons and its ledger."""
    number = store.number(SERIES)
    store.write(settled(number, with_live=with_live) if rows is None else rows)
    store.set_absences(SERIES, [Absence(OUTAGE, Reason.EXCHANGE_OUTAGE, EVIDENCE)])
    keep_file_records(store, SERIES, records())


def export(reader: StoreReader, series: Series = SERIES, span: Span | None = None) -> list[str]:
    """The lines of a CSV of a series, as `candlewick export` writes them."""
    columns = reader.columns(series, *(span or (None, None)), columns=list(COLUMNS))
    values: list[Iterable[object]] = [
        (columns[name] // 1000 if name in {"open_time", "close_time"} else columns[name]).tolist() for name in COLUMNS
    ]
    lines = [",".join([*COLUMNS, "market", "symbol", "interval"]) + "\n"]
    tail = f"{series.market.value},{series.symbol},{series.interval.code}\n"
    lines += [",".join(map(repr, row)) + "," + tail for row in zip(*values, strict=True)]
    return lines


def load_verifier() -> ModuleType:
    """The independent verifier, loaded from its file."""
    path = Path(__file__).parents[3] / "tools" / "verify_certificate.py"
    spec = importlib.util.spec_from_file_location("verify_certificate", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tamper(store: MemoryStore, change: "Callable[[Rows], Rows | None]", series: Series = SERIES) -> None:
    """Alter the rows of a store behind its back: `change` works on a copy, or returns other rows."""
    number = store.number(series)
    rows = store._rows[number].copy()
    changed = change(rows)
    store._rows[number] = rows if changed is None else changed
