"""Long ranges: lazy frames and batches give what one read gives, and read no more than they need."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest
from polars._typing import EngineType

from candlewick.errors import StoreError, UsageError
from candlewick.market import MINUTE, Market, Span, parse_time
from candlewick.reading import lazy
from candlewick.reading.choosing import Fill
from candlewick.reading.database import Database
from candlewick.reading.styles import Style
from candlewick.stores.memory import MemoryStore
from candlewick.stores.store import Store
from tests.unit.reading.samples import KINDS, MINUTE_SERIES, T0, database, new_store, outage, series, write, write_grid

MIDNIGHT = datetime(2024, 3, 1, tzinfo=UTC)
HOLES = [*range(40, 90), 300, *range(1_000, 1_300)]
opened, close = pl.col("open_time"), pl.col("close")

QUERIES: dict[str, Callable[[pl.LazyFrame], pl.LazyFrame]] = {
    "all": lambda frame: frame,
    "a column": lambda frame: frame.select("close"),
    "columns in another order": lambda frame: frame.select("volume", "open_time"),
    "a sum": lambda frame: frame.select(pl.col("trades").sum(), pl.len()),
    "a count": lambda frame: frame.select(pl.len()),
    "a range": lambda frame: frame.filter(
        opened.is_between(MIDNIGHT + timedelta(hours=1), MIDNIGHT + timedelta(hours=3))
    ),
    "a range of a column": lambda frame: frame.filter(MIDNIGHT + timedelta(hours=20) <= opened).select("close"),
    "a range and a price": lambda frame: frame.filter(
        (close > 20_050) & (opened >= MIDNIGHT + timedelta(hours=5)) & (opened < MIDNIGHT + timedelta(hours=22))
    ).select("volume"),
    "one filter after another": lambda frame: frame.filter(opened < MIDNIGHT + timedelta(hours=9)).filter(
        close > 20_050
    ),
    "a range or a price": lambda frame: frame.filter((opened < MIDNIGHT + timedelta(hours=1)) | (close > 20_099)),
    "not a range": lambda frame: frame.filter(~opened.is_between(MIDNIGHT, MIDNIGHT + timedelta(hours=20))),
    "every seventh minute": lambda frame: frame.filter(opened.dt.minute() % 7 == 0),
    "equal columns": lambda frame: frame.filter(pl.col("close_time") > opened),
    "nothing": lambda frame: frame.filter(opened < MIDNIGHT),
    "above the mean": lambda frame: frame.filter(close > close.mean()),
    "the first": lambda frame: frame.head(7),
    "the first over a hole": lambda frame: frame.head(60),
    "the last": lambda frame: frame.tail(7),
    "some in between": lambda frame: frame.slice(35, 20),
    "the first of a filter": lambda frame: frame.filter(close > 20_050).head(5),
    "a filter of the first": lambda frame: frame.head(100).filter(opened > MIDNIGHT + timedelta(minutes=30)),
    "hours": lambda frame: frame.group_by_dynamic("open_time", every="1h").agg(close.last(), pl.col("trades").sum()),
    "a change": lambda frame: frame.with_columns(change=close.diff()).filter(pl.col("change") < 0),
    "itself": lambda frame: frame.join(frame.select(opened + timedelta(minutes=1), before="close"), on="open_time"),
}


class Watched(MemoryStore):
    """A store that remembers what was read of it."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[tuple[int, tuple[str, ...]]] = []

    def columns(self, *args: Any, columns: Sequence[str] | None = None, **options: Any) -> Any:  # noqa: ANN401
        found = super().columns(*args, columns=columns, **options)
        self.reads.append((len(next(iter(found.values()))), tuple(found)))
        return found


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lazy frames of so few candles at a time that a day takes many."""
    monkeypatch.setattr(lazy, "ROWS", 100)


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.usefixtures("small_windows")
def test_lazy_frame_answers_as_an_eager_one(query: str, engine: EngineType, memory: Store) -> None:
    """Every query gives the same rows from both, on both of the engines of polars."""
    write_grid(memory, MINUTE_SERIES, 1_440, without=HOLES)
    db = database(memory)
    eager = QUERIES[query](db.candles("BTCUSDT", "1m").lazy()).collect()
    frame = QUERIES[query](db.lazy("BTCUSDT", "1m")).collect(engine=engine)
    if query == "itself":
        eager, frame = eager.sort("open_time"), frame.sort("open_time")
    assert frame.equals(eager)
    assert frame.schema == eager.schema


@pytest.mark.parametrize("style", ["ccxt", "freqtrade", "binance"])
@pytest.mark.usefixtures("small_windows")
def test_lazy_frame_is_filtered_by_time_in_every_style(style: Style, memory: Store) -> None:
    """The time of each style is understood, under its name and in its unit."""
    write_grid(memory, MINUTE_SERIES, 1_440, without=HOLES)
    db = database(memory)
    eager = db.candles("BTCUSDT", "1m", style=style)
    name = eager.columns[0]
    after = MIDNIGHT + timedelta(hours=9)
    condition = pl.col(name) > (after if style == "freqtrade" else int(after.timestamp()) * 1000)
    found = db.lazy("BTCUSDT", "1m", style=style).filter(condition & (pl.col("close") > 20_000)).collect()
    assert found.equals(eager.filter(condition))
    assert 0 < found.height < eager.height


@pytest.mark.usefixtures("small_windows")
def test_lazy_frame_reads_what_the_query_needs() -> None:
    """Two hours of two columns out of a day are read, and the first rows without the rest."""
    store = Watched()
    write_grid(store, MINUTE_SERIES, 1_440)
    frame = database(store).lazy("BTCUSDT", "1m")
    store.reads.clear()
    hours = opened.is_between(MIDNIGHT + timedelta(hours=4), MIDNIGHT + timedelta(hours=6), closed="left")
    assert frame.filter(hours).select("open_time", "close").collect().height == 120
    assert sum(rows for rows, _ in store.reads) == 120
    assert {name for _, names in store.reads for name in names} == {"open_time", "close"}
    store.reads.clear()
    assert frame.head(5).collect().height == 5
    assert sum(rows for rows, _ in store.reads) == 5


@pytest.mark.parametrize("fill", [None, "flat"])
def test_lazy_frame_sees_the_store_when_it_is_collected(fill: Fill | None, store: Store) -> None:
    """Candles that were written after it was made, or after it was collected before, are in it."""
    write_grid(store, MINUTE_SERIES, 10)
    frame = database(store).lazy("BTCUSDT", "1m", fill=fill)
    for count in (20, 30):
        write_grid(store, MINUTE_SERIES, count)
        assert frame.select(pl.len()).collect().item() == count


def test_lazy_frame_of_a_closed_database_says_so(store: Store) -> None:
    """Collecting after `close` is our own error, not one of polars'."""
    write_grid(store, MINUTE_SERIES, 10)
    with database(store) as db:
        frame = db.lazy("BTCUSDT", "1m")
    with pytest.raises(StoreError, match="is closed: open"):
        frame.collect()


def test_batches_are_checked_when_they_are_asked_for(memory: Store) -> None:
    """What is wrong is said at the call, not with the first frame."""
    write_grid(memory, MINUTE_SERIES, 1)
    db = database(memory)
    with pytest.raises(UsageError, match="rows=0"):
        db.batches("BTCUSDT", "1m", rows=0)
    with pytest.raises(UsageError, match="no series"):
        db.batches("ETHUSDT", "1m")


def test_batches_of_every_kind_are_no_longer_than_asked(store: Store) -> None:
    """polars, pandas, Arrow and numpy frames of at most so many rows, and none that is empty."""
    write_grid(store, MINUTE_SERIES, 1_000, without=range(200, 800))
    db = database(store)
    for kind in ("polars", "pandas", "arrow", "numpy"):
        lengths = [len(one["close"]) for one in db.batches("BTCUSDT", "1m", rows=90, as_=kind)]
        assert sum(lengths) == 400
        assert 1 <= min(lengths) <= max(lengths) <= 90


def random_database(draw: Random, store: Store) -> tuple[Database, str]:
    """A database with one series of random length and holes, some of them explained; its interval to read."""
    interval = draw.choice(["1m", "1m", "4h", "1d", "1M"])
    of = series(f"spot:BTCUSDT:{interval}")
    count = draw.randint(1, 40 if interval == "1M" else 700)
    without = set()
    for _ in range(draw.randint(0, 5)):
        first = draw.randrange(count)
        without |= set(range(first, first + draw.choice([1, 3, 60, 200])))
    times = write_grid(store, of, count, without=without - {0})
    if draw.random() < 0.5 and len(times) > 1:
        first = draw.choice(times) + 1
        store.set_absences(of, [outage(Span(first, first + draw.randrange(1, 300) * MINUTE))])
    higher = {"1m": ["1m", "1m", "15m", "1h"], "4h": ["4h", "1d"], "1d": ["1d", "1w", "1M"], "1M": ["1M", "3M"]}
    return database(store), draw.choice(higher[interval])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(30))
def test_batches_and_lazy_frames_are_the_candles_cut(
    seed: int, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any range of any series, filled or not, is the same in one read, in batches of any size and lazily."""
    draw = Random(seed)
    monkeypatch.setattr(lazy, "ROWS", draw.choice([1, 7, 100, 1_000]))
    with new_store(kind, tmp_path) as store:
        db, interval = random_database(draw, store)
        ends = sorted(T0 // 1000 + draw.randrange(-1_000, 60_000) * 60_000 + draw.choice([0, 1]) for _ in range(2))
        options: dict[str, Any] = {"fill": draw.choice([None, "flat"])}
        options |= {name: end for name, end in zip(("start", "end"), ends, strict=True) if draw.random() < 0.5}
        whole = db.candles("BTCUSDT", interval, **options)
        parts = list(db.batches("BTCUSDT", interval, rows=draw.choice([1, 13, 100, 5_000]), **options))
        assert pl.concat([whole.clear(), *parts]).equals(whole)
        assert db.lazy("BTCUSDT", interval, **options).collect().equals(whole)
        assert whole["open_time"].is_sorted()
        assert not whole["open_time"].is_duplicated().any()
        if options["fill"] and interval not in {"1M", "3M"}:
            assert whole["open_time"].diff().drop_nulls().n_unique() <= 1


def test_months_are_batched_by_the_calendar(store: Store) -> None:
    """A batch of months has as many as asked, whatever their lengths."""
    of = series("usdm:BTCUSDT:1M")
    write(store, of, of.interval.grid(Span(parse_time("2020-01-01"), parse_time("2022-06-01"))))
    batches = list(database(store).batches("BTCUSDT", "1M", market=Market.USDM, rows=12))
    assert [one.height for one in batches] == [12, 12, 5]
