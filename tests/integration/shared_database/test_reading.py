"""The shared database is read as a local store is: the same frames, the same rows, the same proofs."""

import asyncio
import itertools
import pickle
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import asyncpg
import numpy as np
import polars as pl
import pytest

import candlewick
from candlewick.errors import UsageError
from candlewick.market import DAY, MINUTE
from candlewick.reading.database import Database
from candlewick.reading.styles import Style
from candlewick.stores import open_store
from candlewick.stores.postgres import copied_kernel
from candlewick.stores.postgres.store import PostgresStore
from candlewick.stores.store import ROW, StoreReader
from tests.integration.shared_database.seeding import HOURS, MINUTES, MISSING, OUTAGE, PERPETUAL, T0, fill

ALL = (MINUTES, HOURS, PERPETUAL)


@pytest.fixture(scope="module")
def urls(schema_once: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A local store and a shared database that were given the same."""
    local = f"lmdb://{tmp_path_factory.mktemp('local') / 'store'}"
    for url in (local, schema_once):
        store = open_store(url, write=True)
        fill(store)
        store.close()
    return {"local": local, "shared": schema_once}


@pytest.fixture(scope="module")
def readers(urls: dict[str, str]) -> Iterator[tuple[StoreReader, StoreReader]]:
    """Both, as stores."""
    opened = [open_store(url, write=False) for url in urls.values()]
    yield opened[0], opened[1]
    for one in opened:
        one.close()


@pytest.fixture(scope="module")
def both(urls: dict[str, str]) -> Iterator[tuple[Database, Database]]:
    """Both, as `candlewick.open` gives them."""
    with candlewick.open(urls["local"]) as local, candlewick.open(urls["shared"]) as shared:
        yield local, shared


def equal(both: tuple[Database, Database], ask: Callable[[Database], pl.DataFrame]) -> pl.DataFrame:
    """What both answer, which is the same."""
    local, shared = (ask(one) for one in both)
    assert isinstance(local, pl.DataFrame)
    assert local.schema == shared.schema
    assert local.equals(shared, null_equal=True)
    return local


@pytest.mark.parametrize("way", ["kernel", "numpy"])
def test_rows_are_the_same_bit_by_bit(
    readers: tuple[StoreReader, StoreReader], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row of every series, whole and by ranges, whatever columns, with a compiler and without."""
    if way == "numpy":
        monkeypatch.setattr(copied_kernel, "loaded", lambda: None)
    local, shared = readers
    for series in ALL:
        assert local.read(series).tobytes() == shared.read(series).tobytes()
    edges = [None, 0, T0 + 1, OUTAGE.start, OUTAGE.start + 5 * MINUTE, OUTAGE.end, T0 + 9 * DAY]
    for start, end, last in itertools.product(edges, edges, [None, 3]):
        found = [one.read(MINUTES, start, end, columns=["close", "open_time"], last=last) for one in readers]
        assert found[0].tobytes() == found[1].tobytes()


def test_everything_else_that_is_known_is_the_same(readers: tuple[StoreReader, StoreReader]) -> None:
    """Series, revisions, reasons, quarantine and states."""
    local, shared = readers
    assert local.series() == shared.series()
    assert [one[0::2] for one in local.series()] == [one[0::2] for one in shared.series(counted=False)]
    for series in ALL:
        assert local.revisions(series).tobytes() == shared.revisions(series).tobytes()
        assert local.absences(series) == shared.absences(series)
    assert len(shared.revisions(MINUTES)) > 25
    assert local.quarantined() == shared.quarantined() != []
    assert local.states("") == shared.states("")
    assert set(shared.states("file:")) == {key for key in local.states("") if key.startswith("file:")} != set()


@pytest.mark.parametrize("style", ["candlewick", "ccxt", "freqtrade", "binance"])
@pytest.mark.parametrize("interval", ["1m", "5m", "1h", "4h", "1d"])
def test_candles_are_the_same(both: tuple[Database, Database], interval: str, style: Style) -> None:
    """Stored and derived intervals, every style, with holes and with holes filled."""
    for fill_with, last in [(None, None), ("flat", None), (None, 2), ("flat", 2)]:
        frame = equal(both, lambda db: db.candles("BTCUSDT", interval, style=style, fill=fill_with, last=last))  # noqa: B023 - called here
        assert frame.height > 0


def test_derived_candles_are_the_same_as_asked_for(both: tuple[Database, Database]) -> None:
    """An interval that is stored is derived all the same where that is asked for; ranges cut both alike."""
    start, end = datetime(2024, 3, 1, 7, tzinfo=UTC), "2024-03-02T09:30"
    equal(both, lambda db: db.candles("BTCUSDT", "1h", derive="always", start=start, end=end))
    assert equal(both, lambda db: db.compare("BTCUSDT", "1h")).height > 0
    for db in both:
        with pytest.raises(UsageError, match="no series spot:BTCUSDT:4h; it has spot:BTCUSDT:1m, spot:BTCUSDT:1h"):
            db.candles("BTCUSDT", "4h", derive="never")


def test_kinds_of_frames_are_the_same(both: tuple[Database, Database]) -> None:
    """numpy, pandas and Arrow come from the shared database too."""
    local, shared = (db.candles("ETHUSDT", "1m", market="usdm", as_="numpy") for db in both)
    assert list(local) == list(shared)
    assert all(np.array_equal(local[name], shared[name]) for name in local)
    local, shared = (db.candles("BTCUSDT", "1h", as_="pandas") for db in both)
    assert local.equals(shared)
    local, shared = (db.candles("BTCUSDT", "1h", as_="arrow") for db in both)
    assert local.equals(shared)


def test_batches_and_lazy_frames_are_the_same(both: tuple[Database, Database]) -> None:
    """Piece by piece as all at once, with the conditions of a query."""
    frames = [list(db.batches("BTCUSDT", "1m", rows=1_000)) for db in both]
    assert [frame.height for frame in frames[0]] == [frame.height for frame in frames[1]]
    assert pl.concat(frames[0]).equals(pl.concat(frames[1]))
    after = datetime(2024, 3, 2, 3, tzinfo=UTC)
    query = (pl.col("open_time") >= after) & (pl.col("volume") > 1)
    for interval in ("1m", "15m"):
        found = equal(both, lambda db: db.lazy("BTCUSDT", interval).filter(query).select("close", "trades").collect())  # noqa: B023 - called here
        assert found.height > 10


def test_series_gaps_and_revisions_are_the_same(both: tuple[Database, Database]) -> None:
    """What is held, what is not and why, and what was replaced by what."""
    assert equal(both, lambda db: db.series())["candles"].to_list() == [4_253, 47, 600]
    gaps = equal(both, lambda db: db.gaps())
    assert set(gaps["reason"]) == {"exchange_outage", "missing"}
    assert MISSING.start in [int(at.timestamp()) * 1_000_000 for at in gaps["from"]]
    assert equal(both, lambda db: db.revisions("BTCUSDT", "1m")).height > 25
    equal(both, lambda db: db.revisions("BTCUSDT", "1m", start="2024-03-01T08:00", end="2024-03-01T10:00"))


def test_certificates_are_the_same(both: tuple[Database, Database]) -> None:
    """The document is the same, byte for byte, of all that is held and of a part, incomplete as it is."""
    for symbol, interval, market in [("BTCUSDT", "1m", "spot"), ("BTCUSDT", "1h", "spot"), ("ETHUSDT", "1m", "usdm")]:
        local, shared = (db.certificate(symbol, interval, market=market).to_json() for db in both)
        assert local == shared
    local, shared = (db.certificate("BTCUSDT", "1m", end="2024-03-02").to_json() for db in both)
    assert local == shared


def test_database_is_opened_in_another_process_with_its_password(urls: dict[str, str]) -> None:
    """What is sent to another process opens what it was opened with, and shows no password."""
    host = urls["shared"].partition("@")[2]
    with candlewick.open(f"postgresql://candlewick:secret@{host}") as db:
        assert repr(db) == f"<candlewick.Database postgresql://candlewick@{host}>"
        with pickle.loads(pickle.dumps(db)) as again:
            assert again.candles("BTCUSDT", "1h", last=1).equals(db.candles("BTCUSDT", "1h", last=1))
        assert b"secret" in pickle.dumps(db)


def test_series_that_nobody_numbered_are_read(schema_url: str) -> None:
    """Rows that a statement of SQL put there are a series like any other; what it left out has its place."""

    async def insert() -> None:
        connection = await asyncpg.connect(schema_url)
        await connection.execute("SELECT ensure_candle_partitions('2024-03-01', '2024-03-02')")
        await connection.execute(
            "INSERT INTO candles (symbol, interval, time, open, high, low, close, volume) VALUES "
            "('SOLUSDT', '1h', '2024-03-01 00:00Z', 1, 2, 0.5, 1.1, 3), ('SOLUSDT', '1h', '2024-03-01 01:00Z', 1, 2, 0.5, 1.2, 3)"
        )
        await connection.close()

    asyncio.run(insert())
    with candlewick.open(schema_url) as db:
        assert db.series().rows() == [
            ("spot", "SOLUSDT", "1h", 2, datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 3, 1, 1, tzinfo=UTC))
        ]
        frame = db.candles("SOLUSDT", "1h")
        assert frame["close"].to_list() == [1.1, 1.2]
        assert frame["trades"].to_list() == [0, 0]
        assert frame["quote_volume"].is_nan().all()
        derived = db.candles("SOLUSDT", "2h")
        assert derived.select("close", "volume", "trades").rows() == [(1.2, 6.0, 0)]
        assert derived["quote_volume"].is_nan().all()
        assert frame["close_time"].to_list()[0] == datetime(2024, 3, 1, 0, 59, 59, 999000, tzinfo=UTC)
    store = PostgresStore.open(schema_url, write=True)
    (info,) = store.series()
    row = store.read(info.series)[:1]
    assert row.dtype == ROW
    assert row["series"] == store.number(info.series) == 0
    store.close()
