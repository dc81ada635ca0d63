"""Series out and in again: nothing is lost in any format, and what is not an export is refused in words."""

import csv
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from candlewick.certificates.issue import certify
from candlewick.errors import CandlewickError, DecodeError, StoreFull, UsageError
from candlewick.integrity.gaps import find_gaps
from candlewick.market import DAY, HOUR, MINUTE, Candle, Interval, Market, Series, Span, parse_time
from candlewick.reading.export import export
from candlewick.reading.files import BESIDE, CANDLE, METADATA, Format, form_of, open_file
from candlewick.services.imports import Imported, Importer
from candlewick.stores.compaction import fingerprint
from candlewick.stores.memory import MemoryStore
from candlewick.stores.provenance import (
    FileRecord,
    Listing,
    Verdict,
    keep_certificate,
    keep_file_records,
    keep_listing,
)
from candlewick.stores.store import ROW, Absence, Reason, Rows, Source, Store, WriteResult, to_rows

MINUTES = Series(Market.SPOT, "BTCUSDT", Interval("1m"))
MONTHS = Series(Market.USDM, "币安人生USDT", Interval("1M"))
WEEKS = Series(Market.SPOT, "ETHBTC", Interval("1w"))
NOW = parse_time("2026-01-01")
FORMATS = list(Format)
EVIDENCE = '{"asked":[{"who":"archive monthly","answer":"no row"}],"conclusion":"none"}'


def candles(times: list[int], interval: Interval, seed: int) -> list[Candle]:
    """Candles that keep every rule, with prices of every size and now and then an early close."""
    rng = random.Random(seed)
    made = []
    for time in times:
        price = 10.0 ** rng.randint(-8, 5)
        low, open_, close, high = (round(price * (1 + at + rng.random() / 2), 10) for at in range(4))
        volume = round(rng.random() * 10 ** rng.randint(-3, 12), 8) or 1.0
        quote, part = volume * (low + high) / 2, rng.random()
        close_time = interval.close(time) if rng.random() < 0.9 else time + rng.randrange(1, 50_000) * 1000
        if rng.random() < 0.1:
            made.append(Candle(time, low, low, low, low, 0.0, close_time, 0.0, 0, 0.0, 0.0))
        else:
            made.append(
                Candle(
                    time,
                    open_,
                    high,
                    low,
                    close,
                    volume,
                    close_time,
                    quote,
                    1 + rng.randrange(9_999),
                    volume * part,
                    quote * part,
                )
            )
    return made


def record(series: Series, month: str) -> FileRecord:
    start = parse_time(f"{month}-01")
    name = f"data/{series.symbol}-{series.interval}-{month}.zip"
    span = Span(start, Interval("1M").next(start))
    return FileRecord(name, span, 5, "ab" * 32, "ab" * 32, Verdict.MATCHED, 7, NOW, "1 row repeated")


def fill(store: Store) -> None:
    """Series that begin and end within months, lack months, were revised, and have reasons before, in and after."""
    first = parse_time("2024-01-30T22:17")
    times = [first + at * MINUTE for at in range(3_000)]
    times += [parse_time("2024-03-31T23:00") + at * MINUTE for at in range(120) if at % 7]
    number = store.number(MINUTES)
    rows = to_rows(number, Source.ARCHIVE, candles(times, MINUTES.interval, 1))
    rows["source"][-50:] = Source.LIVE
    rows["source"][2_990:3_010] = Source.REST
    old = rows[[5, 2_995, 3_001, 3_001]].copy()
    old["volume"] += [1, 2, 3, 4]
    old["source"] = [Source.LIVE, Source.LIVE, Source.LIVE, Source.REST]
    store.write(old)
    store.write(rows)
    store.set_absences(MINUTES, [
        Absence(Span(0, first), Reason.NOT_LISTED, "{}"),
        Absence(Span(times[2_999] + MINUTE, parse_time("2024-02-10")), Reason.EXCHANGE_OUTAGE, EVIDENCE),
        Absence(Span(parse_time("2024-02-10"), parse_time("2024-03-31T23:00")), Reason.EXCHANGE_OUTAGE, EVIDENCE),
        Absence(Span(times[-1] + MINUTE, times[-1] + HOUR), Reason.PENDING, ""),
    ])  # fmt: skip
    keep_file_records(store, MINUTES, [record(MINUTES, month) for month in ("2024-01", "2024-02", "2024-03")])
    keep_listing(store, Market.SPOT, "BTCUSDT", Listing(first, 0, "archive"))
    for series, start in ((MONTHS, "2020-05-01"), (WEEKS, "2024-01-29")):
        opens = series.interval.grid(Span(parse_time(start), parse_time("2025-06-01")))
        del opens[3:5]
        store.write(to_rows(store.number(series), Source.REST, candles(opens, series.interval, 2)))
    store.set_absences(
        MONTHS, [Absence(Span(parse_time("2020-08-01"), parse_time("2020-09-01")), Reason.EXCHANGE_OUTAGE, EVIDENCE)]
    )
    for series in (MINUTES, MONTHS):
        keep_certificate(store, series, certify(store, series).to_json())


@pytest.fixture(scope="module")
def store() -> Store:
    """A store in memory with all that can be known of a series."""
    made = MemoryStore()
    fill(made)
    return made


def taken(path: Path, store: Store | None = None) -> tuple[Store, dict[Series, Imported]]:
    """What comes of importing."""
    store = store or MemoryStore()
    importer = Importer(store, NOW)
    importer.take(path)
    return store, importer.tally


@pytest.mark.parametrize("form", FORMATS)
def test_round_trip_is_identical(store: Store, form: Format, tmp_path: Path) -> None:
    """Rows, sources, absences with evidence, ledger, listing, certificate and revisions: every bit, in each format."""
    for info in store.series():
        done = export(store, info.series, None, form, tmp_path)
        assert done.rows == info.rows
        assert all(path.is_file() for path in done.files)
    again, tally = taken(tmp_path)
    assert fingerprint(again) == fingerprint(store)
    assert sum(one.inserted for one in tally.values()) == sum(one.rows for one in store.series())
    assert {one.series for one in again.series()} == {one.series for one in store.series()}


@pytest.mark.parametrize("form", FORMATS)
def test_importing_again_changes_nothing(store: Store, form: Format, tmp_path: Path) -> None:
    """A second time every row is held already, and no revision comes of it."""
    for info in store.series():
        export(store, info.series, None, form, tmp_path)
    again, _ = taken(tmp_path)
    _, tally = taken(tmp_path, again)
    assert fingerprint(again) == fingerprint(store)
    for one in tally.values():
        assert (one.inserted, one.confirmed, one.revised, one.refused, one.broken, one.absences) == (0,) * 6


@pytest.mark.parametrize("seed", range(6))
def test_any_pieces_in_any_order_make_the_same_store(store: Store, seed: int, tmp_path: Path) -> None:
    """Ranges that overlap, in any format and order: the rows, their sources and revisions, and what every minute is."""
    rng = random.Random(seed)
    first, last = parse_time("2024-01-30"), parse_time("2024-04-02")
    edges = sorted({first, last, *(rng.randrange(first, last) for _ in range(4))})
    spans = [Span(start - rng.choice([0, HOUR, DAY]), end) for start, end in pairwise(edges)]
    rng.shuffle(spans)
    again = MemoryStore()
    for at, span in enumerate(spans):
        form = rng.choice(FORMATS) if store.read(MINUTES, *span).size else Format.CSV
        export(store, MINUTES, span, form, tmp_path / str(at))
        taken(tmp_path / str(at), again)
    assert again.read(MINUTES).tobytes() == store.read(MINUTES).tobytes()
    assert again.revisions(MINUTES).tobytes() == store.revisions(MINUTES).tobytes()
    times, within = store.read(MINUTES)["open_time"], Span(first, last)
    assert find_gaps(MINUTES, times, again.absences(MINUTES), within) == find_gaps(
        MINUTES, times, store.absences(MINUTES), within
    )
    assert again.states("file:") == store.states("file:")


@pytest.mark.parametrize("form", FORMATS)
def test_range_is_cut_anywhere(store: Store, form: Format, tmp_path: Path) -> None:
    """Edges within months, within absences and on candles; what lies outside is not told."""
    start, end = parse_time("2024-01-31T12:00:30"), parse_time("2024-03-31T23:30")
    done = export(store, MINUTES, Span(start, end), form, tmp_path)
    again, _ = taken(tmp_path)
    expected = store.read(MINUTES, start, end)
    assert again.read(MINUTES).tobytes() == expected.tobytes()
    assert done.rows == len(expected)
    assert [one.span for one in again.absences(MINUTES)] == [
        one.span for one in store.absences(MINUTES) if one.span.start < end and one.span.end > start
    ]  # fmt: skip
    assert len(again.states("file:")) == 3
    assert again.state(f"certificate:{MINUTES}") is None


def test_parquet_is_a_hive_of_months(store: Store, tmp_path: Path) -> None:
    """Folders by market, symbol, interval, year and month; a scan of the whole is the series."""
    export(store, MINUTES, None, Format.PARQUET, tmp_path)
    export(store, WEEKS, None, Format.PARQUET, tmp_path)
    place = tmp_path / "market=spot" / "symbol=BTCUSDT" / "interval=1m" / "year=2024"
    assert sorted(str(path.relative_to(place)) for path in place.rglob("*.parquet")) == [
        f"month={month}/BTCUSDT-1m-2024-{month}.parquet" for month in ("01", "02", "03", "04")
    ]
    frame = pl.scan_parquet(tmp_path, hive_partitioning=True).filter(symbol="BTCUSDT", month=3).collect()
    assert frame.columns == [*CANDLE, "source", "market", "symbol", "interval", "year", "month"]
    expected = store.read(MINUTES, parse_time("2024-03-01"), parse_time("2024-04-01"))
    assert frame["open_time"].dtype == pl.Datetime("us", "UTC")
    assert np.array_equal(frame["open_time"].dt.epoch("us").to_numpy(), expected["open_time"])
    assert np.array_equal(frame["close"].to_numpy(), expected["close"])


def test_csv_is_what_the_interface_says(store: Store, tmp_path: Path) -> None:
    """Eleven columns in order, then the series and the source; times in milliseconds, numbers that come back."""
    path = tmp_path / "series.csv"
    export(store, MINUTES, None, Format.CSV, path)
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == [
        "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades",
        "taker_buy_volume", "taker_buy_quote_volume", "market", "symbol", "interval", "source",
    ]  # fmt: skip
    rows = store.read(MINUTES)
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        assert (line["market"], line["symbol"], line["interval"]) == ("spot", "BTCUSDT", "1m")
        assert line["source"] == Source(int(row["source"])).name.lower()
        for name in CANDLE:
            assert float(line[name]) == (row[name] // 1000 if name.endswith("_time") else row[name])


def test_arrow_is_read_by_others(store: Store, tmp_path: Path) -> None:
    """Others read it, in several batches and with plain types."""
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is an extra of this package")
    path = tmp_path / "series.arrow"
    export(store, MINUTES, None, Format.ARROW, path)
    table = pyarrow.ipc.open_file(path).read_all()
    assert table.num_rows == len(store.read(MINUTES))
    assert str(table.schema.field("open_time").type) == "timestamp[us, tz=UTC]"
    assert str(table.schema.field("source").type) in {"string", "large_string"}


def test_month_alone_brings_what_is_known_of_it(store: Store, tmp_path: Path) -> None:
    """Each Parquet file names its series and has its reasons, wherever it lies."""
    done = export(store, MINUTES, None, Format.PARQUET, tmp_path / "all")
    alone = tmp_path / "somewhere"
    shutil.copy(done.files[1], alone)
    again, _ = taken(alone)
    assert [one.series for one in again.series()] == [MINUTES]
    assert [one.span.start for one in again.absences(MINUTES)] == [
        one.span.start for one in store.absences(MINUTES) if one.reason is Reason.EXCHANGE_OUTAGE
    ]
    assert list(again.states("file:")) == [f"file:{MINUTES}:{record(MINUTES, '2024-02').name}"]
    assert len(again.revisions(MINUTES)) == 1


@pytest.mark.parametrize("form", [Format.CSV, Format.ARROW])
def test_series_without_candles_keeps_its_reasons(form: Format, tmp_path: Path) -> None:
    """A series of which only absences are known is a file without rows."""
    bare = MemoryStore()
    bare.set_absences(MINUTES, [Absence(Span(0, DAY), Reason.NOT_LISTED, EVIDENCE)])
    assert export(bare, MINUTES, None, form, tmp_path / "bare").rows == 0
    again, _ = taken(tmp_path / "bare")
    assert fingerprint(again) == fingerprint(bare)
    with pytest.raises(UsageError, match="CSV and Arrow have"):
        export(bare, MINUTES, None, Format.PARQUET, tmp_path)


def test_rows_follow_the_write_rule(store: Store, tmp_path: Path) -> None:
    """Over what is held: equal live rows are confirmed, others revised, and known reasons stay."""
    export(store, MINUTES, None, Format.CSV, tmp_path / "one.csv")
    held = MemoryStore()
    live = store.read(MINUTES)[:10].copy()
    live["series"], live["source"] = held.number(MINUTES), Source.LIVE
    live["close_time"][4] -= 1000
    held.write(live)
    reason = Absence(Span(0, parse_time("2020-01-01")), Reason.EXCHANGE_OUTAGE, "mine")
    held.set_absences(MINUTES, [reason])
    _, tally = taken(tmp_path / "one.csv", held)
    one = tally[MINUTES]
    assert (one.confirmed, one.revised, one.inserted) == (9, 1, len(store.read(MINUTES)) - 10)
    assert held.absences(MINUTES)[:2] == [
        reason, Absence(Span(reason.span.end, int(live["open_time"][0])), Reason.NOT_LISTED, "{}"),
    ]  # fmt: skip
    assert one.certificate == "kept"


def test_certificate_is_kept_only_if_it_proves_what_is_held(store: Store, tmp_path: Path) -> None:
    """Where the store knows better than a live row of the file, the certificate of the file is not taken."""
    export(store, MINUTES, None, Format.ARROW, tmp_path / "one")
    held = MemoryStore()
    better = store.read(MINUTES, last=1)
    assert better["source"] == Source.LIVE
    better["series"], better["source"], better["trades"] = held.number(MINUTES), Source.REST, 1
    better["volume"] += 1
    held.write(better)
    _, tally = taken(tmp_path / "one", held)
    assert (tally[MINUTES].refused, tally[MINUTES].certificate) == (1, "differs")
    assert held.state(f"certificate:{MINUTES}") is None


def test_broken_rows_go_to_the_quarantine(store: Store, tmp_path: Path) -> None:
    """Rows that no candle can be are kept aside with their rule; the others are taken."""
    path = tmp_path / "series.csv"
    export(store, WEEKS, None, Format.CSV, path)
    lines = path.read_text().splitlines()
    cells = lines[4].split(",")
    cells[1] = str(float(cells[2]) * 2)
    lines[4] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n")
    path.with_name(path.name + BESIDE).unlink()
    again, tally = taken(path)
    assert (tally[WEEKS].broken, tally[WEEKS].inserted, tally[WEEKS].has_provenance) == (1, len(lines) - 2, False)
    (aside,) = again.quarantined()
    assert (aside.series, aside.rule, aside.source) == (str(WEEKS), "high-not-highest", "rest")


def altered(path: Path, change: Callable[[bytes], bytes]) -> Path:
    path.write_bytes(change(path.read_bytes()))
    return path


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kept", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_file_cut_short_is_refused(store: Store, form: Format, kept: float, tmp_path: Path) -> None:
    """Wherever it ends: nothing is taken, and the file is named."""
    done = export(store, MINUTES, None, form, tmp_path / "whole")
    path = altered(done.files[0], lambda data: data[: int(len(data) * kept)])
    with pytest.raises(DecodeError, match=path.name):
        taken(path)


@pytest.mark.parametrize("form", [Format.CSV, Format.ARROW])
def test_file_that_was_changed_is_refused(store: Store, form: Format, tmp_path: Path) -> None:
    """One bit is enough: the provenance was written for another file."""
    (path,) = export(store, MINUTES, None, form, tmp_path / "series").files
    altered(path, lambda data: data[:40_000] + bytes([data[40_000] ^ 1]) + data[40_001:])
    with pytest.raises(DecodeError, match="to take its rows all the same, remove that file"):
        taken(path)


def write_csv(path: Path, rows: list[str], header: str = "") -> Path:
    path.write_text("\n".join([header or ",".join((*CANDLE, "market", "symbol", "interval", "source")), *rows]) + "\n")
    return path


GOOD = "{time},1.0,1.0,1.0,1.0,0.0,{close},0.0,0,0.0,0.0,spot,BTCUSDT,1m,rest"
T = parse_time("2024-01-01") // 1000
BAD = {
    "cut within a line": ([GOOD.format(time=T, close=T + 1), f"{T + 60_000},1.0,1.0"], "rows without"),
    "cut within the last word": ([GOOD.format(time=T, close=T + 1)[:-1]], "source 'res'"),
    "microseconds": ([GOOD.format(time=T * 1000, close=T * 1000 + 1)], "no unit is guessed"),
    "seconds": ([GOOD.format(time=T // 1000, close=T // 1000 + 1)], "no unit is guessed"),
    "out of order": ([GOOD.format(time=T + at * 60_000, close=T + 60_000 + at) for at in (1, 0)], "out of order at"),
    "twice": ([GOOD.format(time=T, close=T + 1)] * 2, "repeats candles"),
    "no market": ([GOOD.format(time=T, close=T + 1).replace("spot", "moon")], "names no series"),
    "no interval": ([GOOD.format(time=T, close=T + 1).replace("1m", "1q")], "names no series"),
    "no number": ([GOOD.format(time=T, close=T + 1).replace("1.0", "one", 1)], "cut short or damaged"),
    "too many cells": ([GOOD.format(time=T, close=T + 1) + ",x"], "cut short or damaged"),
}


@pytest.mark.parametrize("what", BAD)
def test_csv_that_is_no_export_is_refused(what: str, tmp_path: Path) -> None:
    """Each kind of damage has its words, and nothing is guessed."""
    rows, words = BAD[what]
    with pytest.raises(DecodeError, match=words):
        taken(write_csv(tmp_path / "bad.csv", rows))


KLINE = "1503100799000,1,1,1,1,1,1503100859999,1,1,1,1,0"
FOREIGN = {
    "archive without a header": (KLINE.encode(), "candlewick history load"),
    "archive with a header": (b"open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n" + KLINE.encode(), "candlewick history load"),
    "archive in microseconds": (KLINE.replace("000,", "000000,").replace("999,", "999999,").encode(), "candlewick history load"),
    "zip": (b"PK\x03\x04" + bytes(100), "candlewick history load"),
    "candles without a series": (",".join(CANDLE).encode() + b"\n", "no column market, symbol, interval"),
    "other columns": (b"time,price\n1,2\n", "is no file of candles"),
    "nothing": (b"", "is no file of candles"),
    "noise": (bytes(range(256)) * 20, "is no file of candles"),
}  # fmt: skip


@pytest.mark.parametrize("what", FOREIGN)
def test_foreign_file_is_refused(what: str, tmp_path: Path) -> None:
    """The exchange's own files are for `history load`; of others what is missing is told."""
    data, words = FOREIGN[what]
    path = tmp_path / "foreign"
    path.write_bytes(data)
    with pytest.raises(DecodeError, match=words):
        taken(path)


def test_parquet_of_other_types_is_refused(store: Store, tmp_path: Path) -> None:
    """Times must be UTC timestamps in microseconds; columns must be there; a series must be named."""
    (path, *_) = export(store, WEEKS, None, Format.PARQUET, tmp_path / "tree").files
    frame, other = pl.read_parquet(path, hive_partitioning=False), tmp_path / "other.parquet"
    about = {METADATA: pl.read_parquet_metadata(path)[METADATA]}
    frame.with_columns(pl.col("open_time").dt.epoch("ms")).write_parquet(other, metadata=about)
    with pytest.raises(DecodeError, match=r"open_time of .* is Int64"):
        taken(other)
    frame.drop("volume").write_parquet(other, metadata=about)
    with pytest.raises(DecodeError, match="no column volume"):
        taken(other)
    frame.write_parquet(other)
    with pytest.raises(DecodeError, match="no column market, symbol, interval"):
        taken(other)
    for changed in (frame.head(0), frame.with_columns(pl.col("close") * (1 + 2**-52))):
        changed.write_parquet(other, metadata=about)
        with pytest.raises(DecodeError, match="not those that were written"):
            taken(other)
    frame.write_parquet(path)
    again, tally = taken(path)
    assert len(again.read(WEEKS)) == frame.height, "the folders name the series"
    assert not tally[WEEKS].has_provenance


def test_provenance_of_a_newer_version_is_refused(store: Store, tmp_path: Path) -> None:
    """What a newer program wrote is not read halfway."""
    (path,) = export(store, WEEKS, None, Format.CSV, tmp_path / "one.csv").files
    beside = path.with_name(path.name + BESIDE)
    document = msgspec.json.decode(beside.read_bytes())
    beside.write_bytes(msgspec.json.encode(document | {"version": 2}))
    with pytest.raises(DecodeError, match="upgrade candlewick"):
        taken(path)
    beside.write_bytes(b"{")
    with pytest.raises(DecodeError, match=r"the provenance in .* cannot be read"):
        taken(path)


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_there_is_not_written_over(store: Store, form: Format, tmp_path: Path) -> None:
    """Only with force, and then each file is replaced whole."""
    output = tmp_path / "out"
    first = export(store, MINUTES, None, form, output)
    before = [path.read_bytes() for path in first.files]
    with pytest.raises(UsageError, match="--force"):
        export(store, MINUTES, None, form, output)
    assert [path.read_bytes() for path in first.files] == before
    assert export(store, MINUTES, None, form, output, force=True).files == first.files
    assert [path for path in tmp_path.rglob("*") if "draft" in path.name] == []


def test_months_of_another_range_do_not_stand_in_the_way(store: Store, tmp_path: Path) -> None:
    """A tree grows month by month."""
    edge = parse_time("2024-03-01")
    export(store, MINUTES, Span(0, edge), Format.PARQUET, tmp_path)
    export(store, MINUTES, Span(edge, NOW), Format.PARQUET, tmp_path)
    again, _ = taken(tmp_path)
    assert again.read(MINUTES).tobytes() == store.read(MINUTES).tobytes()


def test_csv_refuses_times_it_cannot_say(tmp_path: Path) -> None:
    """Microseconds within a millisecond would be lost: nothing is written."""
    odd = MemoryStore()
    rows: Rows = np.zeros(1, ROW)
    rows["series"], rows["source"], rows["open_time"], rows["close_time"] = (
        odd.number(MINUTES),
        3,
        T * 1000,
        T * 1000 + 7,
    )
    odd.write(rows)
    with pytest.raises(CandlewickError, match="use --format parquet"):
        export(odd, MINUTES, None, Format.CSV, tmp_path / "odd.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", FORMATS)
def test_place_that_cannot_be_written_is_named(store: Store, form: Format, tmp_path: Path) -> None:
    """A file where a folder should be, whoever runs the tests."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CandlewickError, match=r"file.* (cannot be written|is a file)"):
        export(store, WEEKS, None, form, tmp_path / "file" / "below")
    with pytest.raises(CandlewickError):
        export(store, WEEKS, None, Format.PARQUET, tmp_path / "file")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "candlewick-test", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("form", FORMATS)
def test_full_disk_leaves_what_was_there(store: Store, form: Format, small_disk: Path) -> None:
    """The file that could not be written is named, nothing half is left, and an older one stays."""
    output = small_disk / "out"
    first = export(store, WEEKS, None, form, output)
    before = [path.read_bytes() for path in first.files]
    (small_disk / "ballast").write_bytes(bytes(os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize))
    with pytest.raises(CandlewickError, match="cannot be written"):
        export(store, WEEKS, None, form, output, force=True)
    assert [path.read_bytes() for path in first.files] == before
    assert [path for path in small_disk.rglob("*") if "draft" in path.name] == []


def test_folder_without_candles_is_told(tmp_path: Path) -> None:
    """Nothing there, and nothing to take."""
    with pytest.raises(CandlewickError, match="there is no"):
        taken(tmp_path / "nowhere")
    with pytest.raises(CandlewickError, match="no file of candles in"):
        taken(tmp_path)


def test_form_is_told_by_content(store: Store, tmp_path: Path) -> None:
    """Names do not matter to a file that is named."""
    for form in (Format.CSV, Format.ARROW):
        (path,) = export(store, WEEKS, None, form, tmp_path / f"{form}-without-suffix").files
        assert form_of(path) is form
        assert open_file(path).provenance is not None


@pytest.mark.parametrize("after", range(1, 12, 2))
def test_import_that_was_broken_off_is_made_whole_by_another(store: Store, after: int, tmp_path: Path) -> None:
    """Wherever it stopped, between revisions and rows too, the same files make the same store."""
    for info in store.series():
        export(store, info.series, None, Format.PARQUET, tmp_path)

    class Full(MemoryStore):
        """Has no space from some write on."""

        room = after

        def write(self, rows: Rows) -> WriteResult:
            self.room -= 1
            if self.room < 0:
                raise StoreFull("no space left")
            return super().write(rows)

    broken = Full()
    with pytest.raises(StoreFull):
        taken(tmp_path, broken)
    broken.room = 10_000
    taken(tmp_path, broken)
    assert fingerprint(broken) == fingerprint(store)
