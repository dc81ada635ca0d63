"""Opening a store, what it tells about its series, and errors that say what would be right."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import candlewick
from candlewick.certificates.issue import certify
from candlewick.config import FILE_VARIABLE, ROWS
from candlewick.errors import ConfigError, StoreError, UsageError
from candlewick.market import HOUR, MINUTE, Market, Span
from candlewick.reading.database import Database
from candlewick.stores.store import Reason, Source, Store, to_rows
from tests.unit.reading.samples import MINUTE_SERIES, T0, candle, database, new_store, outage, series, write, write_grid


@pytest.fixture
def nobodys_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty environment, home and working directory."""
    for name in {name for row in ROWS for name in row.names} | {FILE_VARIABLE, "XDG_DATA_HOME"}:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def filled_store(folder: Path, market: Market = Market.SPOT) -> str:
    """A store on disk with three candles; returns its URL."""
    with new_store("lmdb", folder) as store:
        write_grid(store, MINUTE_SERIES._replace(market=market), 3)
    return f"lmdb://{folder / 'store'}"


def test_importing_loads_nothing_heavy() -> None:
    """`import candlewick` brings neither numpy nor a frame library, not even msgspec."""
    script = "import sys, candlewick; print(*sorted({'numpy', 'polars', 'pandas', 'msgspec', 'lmdb'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_opening_loads_no_frame_library(tmp_path: Path) -> None:
    """A frame library is loaded by the first frame."""
    script = (
        f"import sys, candlewick; db = candlewick.open({filled_store(tmp_path)!r}); db.candles('BTCUSDT', '1m', as_='numpy');"
        "print(*sorted({'polars', 'pandas', 'pyarrow', 'aiohttp', 'asyncio'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.usefixtures("nobodys_settings")
def test_url_is_opened_whatever_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is named needs no settings, and impossible ones do not matter."""
    monkeypatch.setenv("MARKET", "no such market")
    url = filled_store(tmp_path)
    with candlewick.open(url) as db:
        assert db.candles("BTCUSDT", "1m").height == 3
        assert db.location == url
        assert repr(db) == f"<candlewick.Database {url}>"


@pytest.mark.usefixtures("nobodys_settings")
def test_store_of_the_settings_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a URL: a file that is named, the environment, the file in the working directory, the data folder."""
    stores = {name: filled_store(tmp_path / name) for name in ("named", "environment", "here")}
    named = tmp_path / "named.toml"
    named.write_text(f'store = "{stores["named"]}"\n')
    assert candlewick.open(config=named).location == stores["named"]
    monkeypatch.setenv(FILE_VARIABLE, str(named))
    assert candlewick.open().location == stores["named"]
    monkeypatch.delenv(FILE_VARIABLE)
    Path("candlewick.toml").write_text(f'store = "{stores["here"]}"\n')
    assert candlewick.open().location == stores["here"]
    monkeypatch.setenv("STORE", stores["environment"])
    assert candlewick.open().location == stores["environment"]
    monkeypatch.delenv("STORE")
    Path("candlewick.toml").unlink()
    with pytest.raises(StoreError, match=r"\.local/share/candlewick"):
        candlewick.open()


@pytest.mark.usefixtures("nobodys_settings")
def test_market_of_the_settings_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no market is named it is that of the settings, and spot for a store that is named."""
    url = filled_store(tmp_path, Market.USDM)
    monkeypatch.setenv("STORE", url)
    monkeypatch.setenv("MARKET", "usdm")
    assert candlewick.open().candles("BTCUSDT", "1m").height == 3
    with pytest.raises(UsageError, match="no series spot:BTCUSDT:1m; it has usdm:BTCUSDT:1m"):
        candlewick.open(url).candles("BTCUSDT", "1m")
    assert candlewick.open(url).candles("BTC/USDT:USDT", "1m").height == 3


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("memory://", "nothing to open"),
        ("lmdb://", "names no folder"),
        ("/some/folder", "is not a store"),
    ],
)
def test_url_that_cannot_be_opened_is_refused(url: str, why: str) -> None:
    """Each says what would be right."""
    with pytest.raises(ConfigError, match=why):
        candlewick.open(url)


def test_closed_database_says_so(tmp_path: Path) -> None:
    """After the `with` block nothing can be asked; frames that were read stay; closing again does nothing."""
    with candlewick.open(filled_store(tmp_path)) as db:
        frame, arrays = db.candles("BTCUSDT", "1m"), db.candles("BTCUSDT", "1m", as_="numpy")
    db.close()
    with pytest.raises(StoreError, match="is closed"):
        db.candles("BTCUSDT", "1m")
    with pytest.raises(StoreError, match="is closed"):
        db.series()
    assert frame["close"].to_list() == arrays["close"].tolist()


def test_database_is_sent_to_other_processes_by_its_url(tmp_path: Path) -> None:
    """A pickled database is opened again where it arrives, with the same market."""
    sent = Database.open(filled_store(tmp_path, Market.USDM))
    sent._market = Market.USDM
    with pickle.loads(pickle.dumps(sent)) as db:
        assert db.location == sent.location
        assert db.candles("BTCUSDT", "1m").height == 3


def test_database_of_a_forked_process_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was opened before a fork is neither read nor closed after it."""
    db = candlewick.open(filled_store(tmp_path))
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    with pytest.raises(StoreError, match=f"was opened in process {parent}: open it in the process that reads"):
        db.candles("BTCUSDT", "1m")
    db.close()
    monkeypatch.undo()
    assert db.candles("BTCUSDT", "1m").height == 3


def test_unknown_series_names_what_is_there(store: Store) -> None:
    """The error lists series of the same symbol before others."""
    for text in ("spot:ETHUSDT:1h", "usdm:BTCUSDT:1d"):
        write_grid(store, series(text), 1)
    for ask in (Database.candles, Database.lazy, Database.batches, Database.revisions, Database.compare):
        with pytest.raises(UsageError, match="no series spot:BTCUSDT:1m; it has usdm:BTCUSDT:1d, spot:ETHUSDT:1h"):
            ask(database(store), "BTCUSDT", "1m")
    with pytest.raises(UsageError, match="no series spot:BTCUSDT:1m; it has"):
        database(store).certificate("BTCUSDT", "1m")
    with pytest.raises(UsageError, match="no series spot:BTCUSDT:"):
        database(store).gaps("BTCUSDT")


def test_empty_store_says_that_it_has_nothing(store: Store) -> None:
    """Frames of what is held are empty, with their columns; a series is unknown."""
    db = database(store)
    assert db.series().is_empty()
    assert db.gaps().columns == ["market", "symbol", "interval", "from", "to", "candles", "reason"]
    with pytest.raises(UsageError, match="it has none yet"):
        db.candles("BTCUSDT", "1m")


def test_series_lists_what_is_held(store: Store) -> None:
    """One row a series with its first and last open time; one without candles has none."""
    times = write_grid(store, MINUTE_SERIES, 5, without=[2])
    store.number(series("usdm:ETHUSDT:1h"))
    frame = database(store).series()
    assert frame.schema["first"] == frame.schema["last"] == pl.Datetime("us", "UTC")
    assert frame.cast({"first": pl.Int64, "last": pl.Int64}).rows() == [
        ("spot", "BTCUSDT", "1m", 4, times[0], times[-1]),
        ("usdm", "ETHUSDT", "1h", 0, None, None),
    ]


def test_range_and_newest_are_cut_as_asked(store: Store) -> None:
    """A range is half-open, and `last` takes the newest of it."""
    times = write_grid(store, MINUTE_SERIES, 10)
    db = database(store)
    asked = {"start": "2024-03-01T00:02", "end": "2024-03-01T00:07"}
    for options, expected in ((asked, times[2:7]), ({**asked, "last": 2}, times[5:7]), ({"last": 3}, times[7:])):
        frame = db.candles("btc-usdt", "1m", **options)
        assert frame["open_time"].cast(pl.Int64).to_list() == expected


def test_gaps_have_their_reasons(store: Store) -> None:
    """Each gap with its half-open range, its candles and why; of one series or of all."""
    write_grid(store, MINUTE_SERIES, 20, without=[*range(5, 9), 15])
    write_grid(store, series("usdm:ETHUSDT:1h"), 4, without=[1])
    store.set_absences(MINUTE_SERIES, [outage(Span(T0 + 7 * MINUTE, T0 + 9 * MINUTE), Reason.EXCHANGE_OUTAGE)])
    db = database(store)
    rows = db.gaps("BTC/USDT", "1m").cast({"from": pl.Int64, "to": pl.Int64}).rows()
    words = ("spot", "BTCUSDT", "1m")
    assert rows == [
        (*words, T0 + 5 * MINUTE, T0 + 7 * MINUTE, 2, "missing"),
        (*words, T0 + 7 * MINUTE, T0 + 9 * MINUTE, 2, "exchange_outage"),
        (*words, T0 + 15 * MINUTE, T0 + 16 * MINUTE, 1, "missing"),
    ]
    assert db.gaps().height == 4
    assert db.gaps(market="usdm")["symbol"].to_list() == ["ETHUSDT"]
    assert db.gaps(interval="1h")["candles"].to_list() == [1]
    assert db.gaps("ETH/USDT:USDT").height == 1


def test_revisions_tell_both_values_and_both_sources(store: Store) -> None:
    """Each value that was replaced, in order, with what replaced it; of a candle replaced twice both times."""
    number = store.number(MINUTE_SERIES)
    write(store, MINUTE_SERIES, [T0, T0 + MINUTE], Source.LIVE)
    for source, changes in ((Source.REST, {"close": 1.5, "trades": 77}), (Source.ARCHIVE, {"close": 1.75})):
        rows = to_rows(number, source, [candle(MINUTE_SERIES, T0)])
        for name, value in ({"trades": 77} | changes).items():
            rows[name] = value
        store.write(rows)
    rows = to_rows(number, Source.REST, [candle(MINUTE_SERIES, T0 + MINUTE)])
    rows["close_time"] -= 20_000_000
    store.write(rows)
    first, second = candle(MINUTE_SERIES, T0), candle(MINUTE_SERIES, T0 + MINUTE)
    db = database(store)
    found = db.revisions("BTCUSDT", "1m")
    assert found.columns == ["open_time", "column", "old", "new", "old_source", "new_source"]
    assert found.cast({"open_time": pl.Int64}).rows() == [
        (T0, "close", first.close, 1.5, "live", "rest"),
        (T0, "trades", first.trades, 77.0, "live", "rest"),
        (T0, "close", 1.5, 1.75, "rest", "archive"),
        (T0 + MINUTE, "close_time", second.close_time / 1000, second.close_time / 1000 - 20_000, "live", "rest"),
    ]
    assert db.revisions("BTCUSDT", "1m", start="2024-03-01T00:01").height == 1
    assert db.revisions("BTCUSDT", "1m", end="2024-03-01T00:01").height == 3


def test_certificate_is_of_the_range_that_is_asked_for(store: Store) -> None:
    """Without a range of all that is held; an end that is not given is that of what is held."""
    write_grid(store, MINUTE_SERIES, 120)
    db = database(store)
    for options, span in (
        ({}, None),
        ({"start": "2024-03-01T00:00", "end": "2024-03-01T01:00"}, Span(T0, T0 + HOUR)),
        ({"start": "2024-03-01T01:00"}, Span(T0 + HOUR, T0 + 2 * HOUR)),
        ({"end": "2024-03-01T01:00"}, Span(T0, T0 + HOUR)),
    ):
        assert db.certificate("BTC/USDT", "1m", **options).to_json() == certify(store, MINUTE_SERIES, span).to_json()
    with pytest.raises(UsageError):
        db.certificate("BTCUSDT", "1m", start="2024-03-02")
