"""A feeder and its database in real processes, killed, cut and held still at random moments, one hit after the other."""

import json
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import asyncpg
import numpy as np
import numpy.typing as npt

from candlewick.integrity.gaps import missing_spans
from candlewick.market import DAY, Interval, Market, Series, Span
from candlewick.stores.lmdb import LmdbStore
from candlewick.stores.provenance import gap_records
from candlewick.stores.store import ROW, Rows, Source
from tests.acceptance.feeding import query, wait_until_level
from tests.acceptance.processes import Child, ask, url_of, wait_for
from tests.servers.postgres import PostgresServer

SYMBOLS = ("BTCUSDT", "SOLUSDT")
INTERVALS = ("1s", "1m")
FOLLOWED = [Series(Market.SPOT, symbol, Interval(code)) for symbol in SYMBOLS for code in INTERVALS]
OLD = Series(Market.SPOT, "ETHUSDT", Interval("1m"))
FAULTS = [
    {"kind": "drop", "at": 40.0, "duration_s": 45.0}, {"kind": "cut", "at": 130.0},
    {"kind": "repeat", "at": 180.0, "duration_s": 120.0, "share": 0.3}, {"kind": "drop", "at": 420.0, "duration_s": 70.0},
    {"kind": "close", "at": 600.0}, {"kind": "drop", "at": 900.0, "duration_s": 130.0},
]  # fmt: skip


def hold_history(record: Path, rows: int, now: int) -> None:
    """Fill a record with the past of a series that nobody follows any more: a snapshot that takes its time."""
    store = LmdbStore.open(record, write=True)
    store.write(past(store.number(OLD), rows, now // DAY * DAY))
    store.close()


def past(number: int, rows: int, end: int) -> Rows:
    """Many candles of `OLD`, the last of which ends at `end`."""
    held, step, draw = np.zeros(rows, ROW), OLD.interval.nominal, np.random.default_rng(rows)
    held["series"], held["source"] = number, Source.ARCHIVE
    held["open_time"] = end - (rows - np.arange(rows)) * step
    held["close_time"] = held["open_time"] + step - 1000
    prices = np.sort(np.round(draw.random((rows, 4)) * 1e4 + 1, 2), axis=1)
    held["low"], held["open"], held["close"], held["high"] = prices.T
    held["volume"], held["taker_buy_volume"] = _amounts(draw, rows), _amounts(draw, rows)
    held["quote_volume"], held["taker_buy_quote_volume"] = _amounts(draw, rows), _amounts(draw, rows)
    held["trades"] = draw.integers(1, 1 << 40, rows)
    return held


def _amounts(draw: np.random.Generator, rows: int) -> npt.NDArray[np.float64]:
    return np.round(draw.random(rows) * 1e3, 5)


def write_faults(path: Path) -> Path:
    """A script of what the exchange does wrong meanwhile."""
    path.write_text(json.dumps(FAULTS))
    return path


class Range:
    """A feeder and a server, and what is done to them."""

    def __init__(
        self, folder: Path, settings: dict[str, str], server: PostgresServer, database: str, seed: int
    ) -> None:
        self.hits: Counter[str] = Counter()
        self.snapshots = 0
        """Hits while everything held was being brought over."""
        self._folder, self._settings, self._server, self._database = folder, settings, server, database
        self._draw = Random(seed)
        self.feeder = Child(folder, "feeder", **settings)

    def hit(self, count: int, *, calm: float = 0.3) -> None:
        """So many hits, a share of them once all is well again, the others right after another."""
        ways: dict[str, tuple[int, Callable[[], None]]] = {
            "server killed": (4, self._kill_server), "feeder killed": (3, self._kill_feeder),
            "both killed": (1, self._kill_both), "backend ended": (3, self._end_backends), "held still": (2, self._hold),
            "killed while held still": (1, self._kill_held), "away": (1, self._stay_away),
        }  # fmt: skip
        names = [name for name, (weight, _) in ways.items() for _ in range(weight)]
        for _ in range(count):
            if self._draw.random() < calm:
                wait_until_level(self.feeder, 60.0)
            elif self._draw.random() < 0.6:
                url_of(self.feeder)
            self._pause(0.8)
            self.snapshots += self._is_in_snapshot()
            name = self._draw.choice(names)
            self.hits[name] += 1
            ways[name][1]()

    def settle(self, record: Path) -> None:
        """Leave both alone until everything is mended, then stop the feeder."""
        self._server.revive()
        wait_until_level(self.feeder, 90.0)
        wait_for(lambda: is_whole(record), self.feeder, 90.0)
        wait_until_level(self.feeder, 60.0)
        assert self.feeder.stop() == 0

    def _is_in_snapshot(self) -> bool:
        with suppress(asyncpg.UndefinedTableError):  # the feeder has yet to make it
            found = query(self._database, "SELECT position::jsonb -> 'snapshot_series' <> 'null' FROM output_positions")
            return any(row[0] for row in found)
        return False

    def _pause(self, most_s: float) -> None:
        time.sleep(self._draw.uniform(0.0, most_s))

    def _kill_server(self) -> None:
        self._server.kill()
        self._pause(0.3)
        self._server.start()

    def _kill_feeder(self) -> None:
        self.feeder.kill()
        self._pause(0.3)
        self.feeder = Child(self._folder, "feeder", **self._settings)

    def _kill_both(self) -> None:
        self._server.kill()
        self._kill_feeder()
        self._pause(1.0)
        self._server.start()

    def _end_backends(self) -> None:
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        for _ in range(3):
            query(self._database, ended)
            self._pause(0.1)

    def _hold(self) -> None:
        self._server.pause()
        self._pause(1.0)
        self._server.resume()

    def _kill_held(self) -> None:
        """The feeder dies with its last words unheard, and the next one is there before the server goes on."""
        self._server.pause()
        self._pause(0.1)
        self._kill_feeder()
        self._pause(1.0)
        self._server.resume()

    def _stay_away(self) -> None:
        """Some minutes of the market; the next hit may come while they are caught up with."""
        self._server.stop()
        self._pause(2.5)
        self._server.start()


def is_whole(record: Path) -> bool:
    """Whether nothing is missing of what is followed, and every gap is closed."""
    store = LmdbStore.open(record, write=False)
    try:
        if any(one.closed_at is None for one in gap_records(store)):
            return False
        for series in FOLLOWED:
            times = store.read(series, columns=["open_time"])["open_time"]
            reasons = [one.span for one in store.absences(series)]
            if not len(times) or missing_spans(times, series.interval, Span(int(times[0]), int(times[-1])), reasons):
                return False
        return True
    finally:
        store.close()


def memory_mb(child: Child) -> float:
    """What a process holds in memory now."""
    (line,) = [
        one for one in Path(f"/proc/{child.process.pid}/status").read_text().splitlines() if one.startswith("VmRSS")
    ]
    return int(line.split()[1]) / 1024


def market_now(place: str) -> int:
    """The exchange's time."""
    return int(ask(f"http://{place}/api/v3/time")[1]["serverTime"]) * 1000
