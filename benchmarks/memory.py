"""How much memory a real `candlewick run` holds: with one symbol, with 500, and whether that grows with messages."""

import time
from typing import NamedTuple

import numpy as np

from benchmarks import frames
from benchmarks.blaster import blaster
from benchmarks.children import Run, simulator
from benchmarks.place import folder
from benchmarks.table import Result

SETTLE_S = 15.0
SYMBOLS = 500
MESSAGES = 2_000_000
MESSAGES_FULL = 10_000_000
GROWTH_MB = 1.0
"""In a million messages."""
SAMPLES = 20
PAUSE_S = 1.5
"""Between two parts of the messages: the store tidies what it has taken when nothing closes, as after every minute."""


class _Sample(NamedTuple):
    messages: int
    rss_mb: float
    anon_mb: float


def _one_symbol() -> Result:
    with simulator(["BTCUSDT"]) as place, folder() as store, Run(store, ["BTCUSDT"], place, f"ws://{place}") as run:
        run.until_subscribed()
        time.sleep(SETTLE_S)
        found = run.memory_mb()
        run.stop()
    note = f"RssAnon {found['RssAnon']:.0f}, RssFile {found['RssFile']:.0f}; 2 days of history, {SETTLE_S:.0f} s after start"
    return Result("VmRSS of a run, 1 symbol, kline and bookTicker", found["VmRSS"], "MiB", 60.0, most=True, note=note)


def _many_symbols(messages: int, growth_mb: float | None) -> list[Result]:
    names = frames.symbols(SYMBOLS)
    cycles = -(-messages // frames.market_cycle(SYMBOLS))
    samples = []
    with (
        simulator(names) as rest,
        blaster(frames.market_blocks, SYMBOLS, cycles) as server,
        folder() as store,
        Run(store, names, rest, server.url, HISTORY_START="0.001d") as run,
    ):
        run.until_subscribed()
        assert server.ask("wait", 2.0), "not everything was subscribed"
        time.sleep(SETTLE_S)
        idle_mb = run.memory_mb()["VmRSS"]
        began = time.monotonic()
        sent = 0
        for part in range(SAMPLES):
            sent = server.ask("part", part, SAMPLES)
            time.sleep(PAUSE_S)
            now = run.memory_mb()
            samples.append(_Sample(sent, now["VmRSS"], now["RssAnon"]))
        took_s = time.monotonic() - began
        run.stop()
    settled = samples[len(samples) // 4 :]
    counts = [one.messages / 1e6 for one in settled]
    slope, anon = (
        float(np.polyfit(counts, values, 1)[0]) for values in zip(*(one[1:] for one in settled), strict=True)
    )
    most = max(one.rss_mb for one in samples)
    return [
        Result(
            f"VmRSS of a run, {SYMBOLS} symbols, most while messages came", most, "MiB", 150.0, most=True,
            note=f"{idle_mb:.0f} before the first, {samples[-1].rss_mb:.0f} after the last of {sent / 1e6:.1f} M in {took_s:.0f} s",
        ),
        Result(
            "growth of VmRSS over the last three quarters of them", slope, "MiB/M", growth_mb, most=True,
            note=f"RssAnon {anon:+.2f} MiB/M; 1 message in {frames.market_cycle(SYMBOLS) // SYMBOLS} closes a candle that is stored",
        ),
    ]  # fmt: skip


def memory(*, full: bool = False) -> list[Result]:
    """Growth is judged over the full number only: the store's journal alone takes a few million to stop growing."""
    return [_one_symbol(), *(_many_symbols(MESSAGES_FULL, GROWTH_MB) if full else _many_symbols(MESSAGES, None))]
