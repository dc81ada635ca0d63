"""`candlewick history load` against real files of the archive, served as the archive serves them; and killed at any moment."""

import asyncio
import csv
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any
from zipfile import ZipFile

import pytest

from candlewick.market import Interval, Market, Series, Span, parse_time
from candlewick.services.loading.loader import LoadResult, Wanted
from candlewick.simulator.mirror import Mirror
from candlewick.stores import open_store
from candlewick.stores.memory import MemoryStore
from candlewick.stores.provenance import file_records
from candlewick.stores.store import Reason, StoreReader
from tests.acceptance.processes import Child, command, started, wait_for
from tests.unit.services.loading.archivist import StillClock, loader_of

OUTAGE = Span(parse_time("2023-03-24T12:40"), parse_time("2023-03-24T14:00"))
MARCH = ("--from", "2023-03-01", "--to", "2023-04-01")
FIELDS = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades",
    "taker_buy_volume", "taker_buy_quote_volume",
)  # fmt: skip


@pytest.fixture(scope="module")
def place(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the real files."""
    folder = tmp_path_factory.mktemp("mirror")
    with started(folder, "simulate", "--archive", str(recordings / "archive"), "--port", "0", "--json") as child:
        said = wait_for(lambda: child.out if child.out.endswith("}\n") else None, child)
        yield next(str(one).removeprefix("http://") for one in json.loads(said).values() if str(one).startswith("http"))


def settings(place: str, store: Path) -> dict[str, str]:
    base = f"http://{place}"
    return {
        "BINANCE_API_URL": base, "BINANCE_ARCHIVE_URL": base, "BINANCE_ARCHIVE_LIST_URL": base,
        "STORE": f"lmdb://{store}",
    }  # fmt: skip


def lines_of(folder: Path) -> list[list[str]]:
    """Every line of the CSVs and zips in a folder, by file."""
    lines: list[list[str]] = []
    for path in sorted(folder.iterdir()):
        if path.suffix == ".zip":
            with ZipFile(path) as archive:
                text = archive.read(archive.namelist()[0]).decode()
        else:
            text = path.read_text()
        lines += [line for line in csv.reader(text.splitlines()) if line[0].isdigit()]
    return lines


def assert_equals_files(store: StoreReader, series: Series, folder: Path) -> int:
    """Every row of the files is held as it stands there, and no other; how many there are."""
    rows, lines = store.read(series), lines_of(folder)
    assert len(rows) == len(lines)
    for at, name in enumerate(FIELDS):
        texts = [line[at] for line in lines]
        if name.endswith("_time"):  # microseconds in spot files from 2025 on; close times are kept to the millisecond
            values = [int(text) // 1000 * 1000 if len(text) == 16 else int(text) * 1000 for text in texts]
        else:
            values = [float(text) for text in texts]
        assert rows[name].tolist() == values
    return len(rows)


def load(store: MemoryStore, archive: Path, series: Series, start: str, end: str) -> LoadResult:
    """A load in memory from the real files."""
    clock = StillClock(parse_time("2026-01-01"))
    mirror = Mirror(archive, clock=clock)

    async def work() -> LoadResult:
        loader = loader_of(mirror.http(), clock, store, series.market)
        try:
            return (await loader.run(Wanted((series,), Span(parse_time(start), parse_time(end)))))[0]
        finally:
            loader.close()

    return asyncio.run(work())


def test_real_month_is_loaded_row_by_row(recordings: Path, place: str, tmp_path: Path) -> None:
    """March 2023: every row of the files, one outage with its evidence, the early close kept; then nothing to do."""
    own = settings(place, tmp_path / "store")
    first = command(tmp_path, "history", "load", "BTCUSDT", "eth/usdt", *MARCH, "--json", **own)
    assert first.returncode == 0, first.stderr
    found = {one["symbol"]: one for one in json.loads(first.stdout)}
    store = open_store(own["STORE"], write=False)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        series = Series(Market.SPOT, symbol, Interval("1m"))
        folder = recordings / f"archive/data/spot/daily/klines/{symbol}/1m"
        assert assert_equals_files(store, series, folder) == 44_560
        assert (found[symbol]["rows"], found[symbol]["absent"]) == (44_560, {"exchange_outage": 80})
        assert found[symbol]["complete"] is True
        (absence,) = store.absences(series)
        assert (absence.span, absence.reason) == (OUTAGE, Reason.EXCHANGE_OUTAGE)
        asked = json.loads(absence.evidence)["asked"]
        assert [one["who"] for one in asked] == ["archive daily", "archive monthly", "rest"]
        assert [one["answer"] for one in asked] == ["no row", "not published", "later candles, none of these"]
        assert len(file_records(store, series)) == 31
    early = store.read(Series(Market.SPOT, "BTCUSDT", Interval("1m")), OUTAGE.start - 60_000_000, OUTAGE.start)
    assert early["close_time"].tolist() == [parse_time("2023-03-24T12:39:41.646")]
    store.close()
    assert command(tmp_path, "verify", **own).returncode == 0
    second = command(tmp_path, "history", "load", "BTCUSDT", "ETHUSDT", *MARCH, "--json", **own)
    assert second.returncode == 0
    assert "nothing to load: 44560 of 44640 candles, complete" in second.stderr
    again = json.loads(second.stdout)
    assert [(one["rows"], one["archive_files"], one["rest_requests"]) for one in again] == [(0, 0, 0), (0, 0, 0)]
    assert [one["certificate"] for one in again] == [found[one["symbol"]]["certificate"] for one in again]


def test_dry_run_prints_the_plan_and_makes_no_store(recordings: Path, place: str, tmp_path: Path) -> None:
    """Each file with its size as the listing has it; nothing is written."""
    own = settings(place, tmp_path / "store")
    done = command(tmp_path, "history", "load", "BTCUSDT", *MARCH, "--dry-run", "--json", **own)
    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout)
    assert len(steps) == 31
    sizes = sorted(one.stat().st_size for one in (recordings / "archive/data/spot/daily/klines/BTCUSDT/1m").iterdir())
    assert sorted(one["bytes"] for one in steps) == sizes
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("folder", "series", "start", "end", "rows"),
    [
        ("spot/daily/klines/ARBUSDT/1m", "spot:ARBUSDT:1m", "2023-03-23", "2023-04-01", 11_980),
        ("spot/monthly/klines/BTCUSDT/5m", "spot:BTCUSDT:5m", "2024-12-01", "2025-02-01", 17_856),
        ("spot/monthly/klines/BTCUSDT/1h", "spot:BTCUSDT:1h", "2024-11-01", "2025-06-01", 5_088),
        ("futures/um/monthly/klines/AVAXUSDT/1m", "usdm:AVAXUSDT:1m", "2025-02-01", "2025-03-01", 40_320),
        ("futures/um/monthly/klines/BTCUSDT/5m", "usdm:BTCUSDT:5m", "2025-01-01", "2025-02-01", 8_928),
    ],
)
def test_real_files_of_every_kind_are_loaded_row_by_row(
    recordings: Path, folder: str, series: str, start: str, end: str, rows: int
) -> None:
    """Milliseconds and microseconds, with a header and without, from the listing on: every row as it stands."""
    store = MemoryStore()
    one = Series.parse(series)
    result = load(store, recordings / "archive", one, start, end)
    assert assert_equals_files(store, one, recordings / "archive/data" / folder) == rows
    assert (result.held, result.missing) == (rows, 0)
    assert result.complete


def test_interrupted_load_ends_well_and_goes_on(place: str, tmp_path: Path) -> None:
    """SIGTERM ends a load with exit code 130 and a whole store, from which the next load goes on."""
    own = settings(place, tmp_path / "store")
    with started(tmp_path, "history", "load", "BTCUSDT", "ETHUSDT", *MARCH, **own) as child:
        wait_for((tmp_path / "store/data.mdb").exists, child)
        code = child.stop(signal.SIGTERM)
    assert code in {130, 0}  # it may have been done
    done = command(tmp_path, "history", "load", "BTCUSDT", "ETHUSDT", *MARCH, **own)
    assert done.returncode == 0, done.stderr
    assert "complete" in done.stdout


def test_busy_store_says_who_writes_it(place: str, tmp_path: Path) -> None:
    """A load into a store that another process writes ends at once and names the process."""
    own = settings(place, tmp_path / "store")
    store = open_store(own["STORE"], write=True)
    try:
        done = command(tmp_path, "history", "load", "BTCUSDT", *MARCH, **own)
    finally:
        store.close()
    assert done.returncode == 1
    assert "is being written by process" in done.stderr


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("BTCUSDT", "--from", "yesterday"), "--from"),
        (("BTCUSDT", "--from", "2023-04-01", "--to", "2023-03-01"), "is not after"),
        (("NOSUCHUSDT", *MARCH), "NOSUCHUSDT is not known"),
        (("NOSUCH*", *MARCH), "matches none"),
    ],
)
def test_wrong_words_are_refused(place: str, tmp_path: Path, words: tuple[str, ...], complaint: str) -> None:
    """Usage errors end with exit code 2 and say what is wrong."""
    done = command(tmp_path, "history", "load", *words, **settings(place, tmp_path / "store"))
    assert done.returncode == 2
    assert complaint in done.stderr


def state(place: Path) -> dict[str, Any]:
    """All that a load leaves in a store, but when it did so."""
    store = open_store(f"lmdb://{place}", write=False)
    try:
        return {
            str(info.series): (
                store.read(info.series).tobytes(),
                [(one.span, one.reason) for one in store.absences(info.series)],
                [
                    (one.name, one.sha256, one.verdict, one.rows, one.missing)
                    for one in file_records(store, info.series)
                ],
                store.state(f"certificate:{info.series}") is not None,
            )
            for info in store.series()
        }
    finally:
        store.close()


WORDS = ("history", "load", "BTCUSDT", "ETHUSDT", *MARCH, "--intervals", "1m,15m")


@pytest.fixture(scope="module")
def undisturbed(place: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a load leaves that nothing disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = command(folder, *WORDS, **settings(place, folder / "store"))
    assert done.returncode == 0, done.stderr
    return state(folder / "store")


def kill_and_finish(place: str, folder: Path, kills: int, random: Random) -> dict[str, Any]:
    """Kill a load at random moments, then let it finish."""
    own = settings(place, folder / "store")
    for _ in range(kills):
        child = Child(folder, *WORDS, **own)
        wait_for((folder / "store/data.mdb").exists, child)
        time.sleep(random.uniform(0.0, 1.2))  # the moment is the point
        child.kill()
    done = command(folder, *WORDS, **own)
    assert done.returncode == 0, done.stderr
    return state(folder / "store")


@pytest.mark.parametrize("seed", range(2))
def test_killed_load_comes_to_the_same(place: str, tmp_path: Path, undisturbed: dict[str, Any], seed: int) -> None:
    """Three kills at random moments, and the store holds what an undisturbed load leaves."""
    assert kill_and_finish(place, tmp_path, 3, Random(seed)) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 125))
def test_load_killed_often_comes_to_the_same(
    place: str, tmp_path: Path, undisturbed: dict[str, Any], seed: int
) -> None:
    """Two kills each in twenty-five loads: fifty random moments."""
    assert kill_and_finish(place, tmp_path, 2, Random(seed)) == undisturbed
