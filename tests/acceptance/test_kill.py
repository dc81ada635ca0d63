"""A run that is killed at any moment: what it acknowledged is there, nothing is torn, and the next one completes it."""

import time
from pathlib import Path
from random import Random
from threading import Event, Thread

import numpy as np
import pytest

from candlewick.errors import StoreError
from candlewick.integrity.gaps import missing_spans
from candlewick.integrity.rules import Grids, check
from candlewick.market import Interval, Market, Series, Span, format_time
from candlewick.stores import open_store
from candlewick.stores.store import VALUES, Rows, Source
from tests.acceptance.processes import Child, ask, following, klines, simulated, started, wait_for

SYMBOLS = ("BTCUSDT", "SOLUSDT", "WANUSDT")
INTERVALS = ("1s", "1m")
SERIES = [Series(Market.SPOT, symbol, Interval(code)) for symbol in SYMBOLS for code in INTERVALS]
SPEED = 120.0

Held = dict[Series, Rows]


class Witness:
    """Reads the store while a run writes it: whatever it has seen was acknowledged."""

    def __init__(self, store: Path) -> None:
        self.seen: Held = {}
        self._store = store
        self._over = Event()
        self._thread = Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.is_set():
            self.seen |= read(self._store)
            self._over.wait(0.02)

    def close(self) -> Held:
        """Everything it has seen."""
        self._over.set()
        self._thread.join()
        return self.seen


def read(path: Path) -> Held:
    """Every row of a store; nothing where there is none yet."""
    try:
        store = open_store(f"lmdb://{path}", write=False)
    except StoreError:
        return {}
    try:
        return {info.series: store.read(info.series) for info in store.series()}
    finally:
        store.close()


def _lost(seen: Held, held: Held) -> list[str]:
    """Rows that were seen and are not there any more, or are different though no settled source said so."""
    wrong = []
    for series, rows in seen.items():
        now = held[series]
        places = np.searchsorted(now["open_time"], rows["open_time"])
        for row, place in zip(rows, places.tolist(), strict=True):
            if place == len(now) or now[place]["open_time"] != row["open_time"]:
                wrong.append(f"{series} {format_time(int(row['open_time']))} is gone")
            elif row["source"] != Source.LIVE and any(row[name] != now[place][name] for name in VALUES):
                wrong.append(f"{series} {format_time(int(row['open_time']))} is another")
    return wrong


def _torn(held: Held) -> list[str]:
    """Rows that cannot be, or are there twice."""
    wrong = []
    for series, rows in held.items():
        if len(rows) != len(np.unique(rows["open_time"])):
            wrong.append(f"{series} has candles twice")
        if len(rows) and check(rows, Grids({int(rows["series"][0]): series.interval}), 1 << 60):
            wrong.append(f"{series} has candles that cannot be")
    return wrong


def _kill_at_random(folder: Path, store: Path, settings: dict[str, str], draw: Random) -> int:
    """Kill a run at some moment, hold the store against what was acknowledged; returns how many rows it said it wrote."""
    witness = Witness(store)
    before = sum(map(len, read(store).values()))
    child = Child(folder, "run", **settings)
    try:
        if draw.random() < 0.8:  # else it may not even have begun
            wait_for(lambda: sum(map(len, witness.seen.values())) > before, child)
        time.sleep(draw.uniform(0.0, 0.8))
    finally:
        child.kill()
        seen = witness.close()
    held = read(store)
    assert _lost(seen, held) == []
    assert _torn(held) == []
    return sum(int(line["inserted"]) for line in child.logged("CandlesStored"))


def _different(place: str, store: Path, start: int, end: int) -> list[str]:
    """How the store differs from the exchange in `[start, end)`."""
    held = read(store)
    wrong = []
    for series in SERIES:
        truth = klines(place, series.symbol, series.interval.code, start // 1000, end // 1000)
        rows = {int(row["open_time"]) // 1000: row for row in held[series] if start <= row["open_time"] < end}
        assert truth
        for at in sorted(truth.keys() | rows.keys()):
            if at not in rows or at not in truth:
                wrong.append(f"{series} {at}: {'missing' if at in truth else 'invented'}")
                continue
            values = truth[at]
            expected = [*map(float, values[1:6]), int(values[6]) * 1000, float(values[7]), int(values[8])]
            expected += map(float, values[9:11])
            if [rows[at][name] for name in VALUES] != expected:
                wrong.append(f"{series} {at}: {rows[at]} is not {values}")
    return wrong


def _is_whole(store: Path, start: int, end: int) -> bool:
    """Whether every series has every candle that opens in `[start, end)`, confirmed."""
    held = read(store)
    return all(
        series in held
        and not missing_spans(held[series]["open_time"], series.interval, Span(start, end), [])
        and bool((held[series]["source"][held[series]["open_time"] < end] != Source.LIVE).all())
        for series in SERIES
    )


def _kill_and_complete(folder: Path, kills: int, seed: int) -> None:
    store, draw = folder / "store", Random(seed)
    with simulated(
        folder / "exchange", "--speed", str(SPEED), "--seed", str(seed), "--symbols", ",".join(SYMBOLS)
    ) as place:
        now = int(ask(f"http://{place}/api/v3/time")[1]["serverTime"]) * 1000
        start = Interval("1m").floor(now) - 10 * 60_000_000
        settings = following(
            place, store, SYMBOLS=",".join(SYMBOLS), INTERVALS=",".join(INTERVALS), STREAMS="kline", LOG_LEVEL="debug",
            HISTORY_START=format_time(start),
        )  # fmt: skip
        acknowledged = 0
        for _ in range(kills):
            acknowledged += _kill_at_random(folder / "runs", store, settings, draw)
            assert sum(map(len, read(store).values())) >= acknowledged
        assert acknowledged > 0
        end = Interval("1m").floor(int(ask(f"http://{place}/api/v3/time")[1]["serverTime"]) * 1000)
        with started(folder / "runs", "run", **settings) as last:
            wait_for(lambda: _is_whole(store, start, end), last, within_s=120.0)
            assert last.stop() == 0
        assert _different(place, store, start, end) == []


def test_killed_runs_lose_nothing_and_are_completed(tmp_path: Path) -> None:
    """Six kills at random moments, then a run that is left alone: the store is the exchange's truth."""
    _kill_and_complete(tmp_path, kills=6, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 6))
def test_a_hundred_kills_lose_nothing(tmp_path: Path, seed: int) -> None:
    """The same thirty times over, four times."""
    _kill_and_complete(tmp_path, kills=30, seed=seed)
