"""From archive files to a certified store: whole commands against a server on this machine, and what others take."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from statistics import median
from zipfile import ZipFile

from benchmarks.archive_files import ROWS, SYMBOLS, YEAR, archive_folder, monthly_files
from benchmarks.children import ENVIRONMENT
from benchmarks.place import environment, folder
from benchmarks.table import Result, skipped

ROUNDS = 3
PEERS = {
    "freqtrade": "freqtrade",
    "binance-historical-data": "binance_historical_data",
    "binance-bulk-downloader": "binance_bulk_downloader",
}
VERIFIER = Path(__file__).parents[1] / "tools" / "verify_certificate.py"


def archive() -> list[Result]:
    archive_folder()
    with serving() as url:
        load(url, SYMBOLS[:1])  # everything is in the server's memory after this
        bare, four, one = [], [], []
        for _ in range(ROUNDS):  # in turns, so that a busy spell of the machine is nobody's alone
            bare.append(bare_read())
            four.append(load(url, SYMBOLS))
            one.append(load(url, SYMBOLS[:1]))
        rate, bare_rate = len(SYMBOLS) * ROWS / median(four), median(bare)
        years = f"{len(SYMBOLS)} symbol-years in {12 * len(SYMBOLS)} monthly files, the whole command"
        found = [
            Result("archive to certified store", rate / 1e6, "M rows/s", 1.5, note=years),
            Result(
                "sha256 + unzip + polars read alone", bare_rate / 1e6, "M rows/s", note="of the same files, in memory"
            ),
            Result("archive to certified store against that", rate / bare_rate, "x", 0.7),
            Result(
                "one symbol-year of 1m", median(one), "s", 1.0, most=True, note="the whole command, 12 monthly files"
            ),
        ]
        for package, tool in PEERS.items():
            found.append(against(package, tool, url, median(one)))
    return found


def bare_read() -> float:
    """Rows a second of nothing but a checksum, unpacking and polars, on all cores, in a process of its own."""
    command = [sys.executable, "-c", "from benchmarks.archive import bare; print(bare())"]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def bare() -> float:
    import polars as pl

    bodies = [path.read_bytes() for symbol in SYMBOLS for path in monthly_files(symbol)]
    began = time.perf_counter()
    rows = 0
    for body in bodies:
        sha256(body).hexdigest()
        packed = ZipFile(BytesIO(body))
        rows += pl.read_csv(packed.read(packed.namelist()[0]), has_header=False).height
    return rows / (time.perf_counter() - began)


def load(url: str, symbols: tuple[str, ...]) -> float:
    """Seconds of `candlewick history load` into a store of its own, from the start of the process to its end."""
    with folder() as place:
        began = time.perf_counter()
        answer = candlewick(
            url, place, "history", "load", *symbols, "--from", f"{YEAR}-01-01", "--to", f"{YEAR + 1}-01-01",
            "--intervals", "1m", "--json",
        )  # fmt: skip
        took = time.perf_counter() - began
        loaded = json.loads(answer)
        assert [one["rows"] for one in loaded] == [ROWS] * len(symbols), loaded
        return took


def candlewick(url: str, store: Path, *arguments: str) -> str:
    """What a command prints, with everything the exchange serves at `url`."""
    settings = {
        "STORE": f"lmdb://{store}", "BINANCE_ARCHIVE_URL": url, "BINANCE_ARCHIVE_LIST_URL": url,
        "BINANCE_API_URL": url,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "candlewick", *arguments], check=False, capture_output=True, text=True,
        env=ENVIRONMENT | settings, cwd=store,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"candlewick {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-500:]}")
    return done.stdout


@contextmanager
def serving() -> Iterator[str]:
    """The files served over HTTP by another process."""
    command = [
        sys.executable,
        "-m",
        "candlewick",
        "simulate",
        "--archive",
        str(archive_folder()),
        "--port",
        "0",
        "--json",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield json.loads(server.stdout.readline())["url"]
        finally:
            server.terminate()


def against(package: str, tool: str, url: str, ours_s: float) -> Result:
    """How many times as long another tool takes for the same year, both as whole processes."""
    what = f"one symbol-year against {package}"
    try:
        python = environment(sys.executable, package, "pandas", "setuptools")
    except subprocess.CalledProcessError as error:
        return skipped(what, f"cannot be installed: {error.stderr.strip().splitlines()[-1]}")
    whole, times, rows = [], [], []
    for _ in range(ROUNDS):
        with folder() as place:
            script = Path(__file__).with_name("peer_archive.py")
            command = [python, script, tool, url, place / "files", SYMBOLS[0], str(YEAR)]
            began = time.perf_counter()
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            whole.append(time.perf_counter() - began)
        answer = re.search(r'\{"seconds".*\}', done.stdout)  # among what the tool itself prints
        if answer is None:
            return skipped(what, f"it ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
        found = json.loads(answer[0])
        rows.append(found["rows"])
        times.append(found["seconds"])
    brought = "" if median(rows) == ROWS else f" for {median(rows):,} of {ROWS:,} rows"
    note = f"{median(times):.2f} s without its imports{brought}; nothing checked, stored or certified"
    return Result(what, median(whole) / ours_s, "x", 5, note=note)
