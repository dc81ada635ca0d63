"""Archive files to load: years of made-up 1m candles as Binance's archive would publish them, monthly and daily.

Made once for a machine and kept (`place.CACHE`): packing them takes longer than everything that is measured.
"""

import json
import shutil
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np

from benchmarks.place import CACHE

YEAR = 2023
ROWS = 525_600
SYMBOLS = ("AAAUSDT", "BBBUSDT", "CCCUSDT", "DDDUSDT")
_MADE = 2
"""Changes when what is made changes."""


def archive_folder() -> Path:
    """A folder laid out like the archive: a year of every symbol in monthly files, of the first in daily ones too."""
    place = CACHE / f"archive-{_MADE}"
    if not (place / "made.json").exists():
        shutil.rmtree(place, ignore_errors=True)
        lines = _lines()
        for symbol in SYMBOLS:
            _pack(place, "monthly", symbol, lines, lambda day: f"{day:%Y-%m}")
        _pack(place, "daily", SYMBOLS[0], lines, lambda day: f"{day:%Y-%m-%d}")
        (place / "made.json").write_text(json.dumps({"rows": ROWS}), "utf-8")
    return place


def monthly_files(symbol: str) -> list[Path]:
    return sorted((archive_folder() / f"data/spot/monthly/klines/{symbol}/1m").glob("*.zip"))


def _lines() -> list[tuple[date, str]]:
    """The lines of a year, each with its day; a random walk with the decimals and the volumes of a busy symbol."""
    random = np.random.default_rng(7)
    start = int(datetime(YEAR, 1, 1, tzinfo=UTC).timestamp()) * 1000
    close = np.round(20_000 * np.exp(np.cumsum(random.normal(0, 4e-4, ROWS))), 2)
    opens = np.round(np.concatenate(([20_000.0], close[:-1])) + random.integers(-3, 4, ROWS) / 100, 2)
    high = np.round(np.maximum(opens, close) + random.exponential(3, ROWS), 2)
    low = np.round(np.minimum(opens, close) - random.exponential(3, ROWS), 2)
    volume = np.round(random.lognormal(3, 1, ROWS), 5) + 0.00001
    taker = np.round(volume * random.uniform(0.2, 0.8, ROWS), 5)
    mean = (high + low) / 2
    trades = random.poisson(600, ROWS) + 1
    columns = (opens, high, low, close, volume, volume * mean, taker, taker * mean)
    first_day = date(YEAR, 1, 1)
    found = []
    for at, (o, h, low_, c, v, q, t, tq) in enumerate(zip(*(one.tolist() for one in columns), strict=True)):
        time = start + at * 60_000
        found.append(
            (
                first_day + timedelta(days=at // 1440),
                f"{time},{o:.8f},{h:.8f},{low_:.8f},{c:.8f},{v:.8f},{time + 59_999},{q:.8f},{trades[at]},{t:.8f},{tq:.8f},0\n",
            )
        )
    return found


def _pack(place: Path, period: str, symbol: str, lines: list[tuple[date, str]], label) -> None:
    folder = place / f"data/spot/{period}/klines/{symbol}/1m"
    folder.mkdir(parents=True)
    for name, part in groupby(lines, key=lambda line: label(line[0])):
        stem = f"{symbol}-1m-{name}"
        with ZipFile(folder / f"{stem}.zip", "w", ZIP_DEFLATED) as packed:
            packed.writestr(f"{stem}.csv", "".join(text for _, text in part))
