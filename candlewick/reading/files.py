"""Files of candles: what is in them, and reading them back. docs/files.md describes them for others.

Columns are those of the CSV interface, then `source`; where a file does not name its series elsewhere, `market`,
`symbol` and `interval` too. What a store knows besides rows travels as one JSON document, `Provenance`: in the
metadata of a Parquet file, beside a CSV or Arrow file.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct, field

from candlewick.errors import CandlewickError, DecodeError, UsageError
from candlewick.market import Candle, Interval, Market, Series, normal_symbol
from candlewick.stores.provenance import FileRecord, Listing
from candlewick.stores.store import ROW, Absence, Rows, Source

CANDLE = Candle.__struct_fields__
"""The first columns of every file, in this order."""
NAMING = ("market", "symbol", "interval")
SOURCES = {source.name.lower(): source for source in Source}
METADATA = "candlewick"
"""The key under which a Parquet file has its provenance."""
BESIDE = ".provenance.json"
"""What is added to the name of a CSV or Arrow file for the name of its provenance."""

_CHUNK_ROWS = 131_072
_CHUNK_BYTES = 16 << 20
_HIVE = re.compile(r"market=([^/]+)/symbol=([^/]+)/interval=([^/]+)/")


class Format(StrEnum):
    """What kind of file."""

    PARQUET = "parquet"
    CSV = "csv"
    ARROW = "arrow"


class Provenance(Struct, frozen=True, kw_only=True):
    """What a store knows of a series besides its rows, for the rows in one file. Times in microseconds UTC."""

    version: int = 1
    series: str
    rows: int = 0
    sha256: str = ""
    """Of the file beside which this stands; in the metadata of a file, of its rows (`sha256_of_rows`)."""
    absences: list[Absence] = field(default_factory=list)
    files: list[FileRecord] = field(default_factory=list)
    listing: Listing = field(default_factory=Listing)
    revisions: list[tuple[float, ...]] = field(default_factory=list)
    """Rows that others have replaced: the fields of `ROW` but for the series, by time, then in order."""
    certificate: str = ""

    def revised(self, number: int) -> Rows:
        """The revisions as rows of the series that a store gives `number`."""
        return np.array([(number, *one) for one in self.revisions], ROW)


class Part(NamedTuple):
    """Some rows of one series, in the order of the file; their `series` is 0."""

    series: Series
    rows: Rows


class Content(NamedTuple):
    """A file that can be read."""

    path: Path
    form: Format
    provenance: Provenance | None
    parts: Iterator[Part]
    """Reading on raises DecodeError where the file is not what its beginning promised."""


def form_of(path: Path) -> Format:
    """What kind of file it is, by its content.

    Raises:
        DecodeError: it is none of ours; where another command takes it, says which.
    """
    with _explained(path), path.open("rb") as file:
        head = file.read(4_096)
    if head.startswith(b"PAR1"):
        return Format.PARQUET
    if head.startswith(b"ARROW1"):
        return Format.ARROW
    line = head.partition(b"\n")[0].decode("utf-8", "replace").strip().lstrip("\ufeff")
    if head.startswith(b"PK") or re.fullmatch(r"\d{13,16}(,[^,]*){11}", line) or line.endswith(",ignore"):
        raise DecodeError(
            f"{path} is a file of the exchange's archive, not an export: "
            "`candlewick history load` takes those, with their checksums, from where they lie"
        )
    if line.split(",")[: len(CANDLE)] == list(CANDLE):
        return Format.CSV
    raise DecodeError(
        f"{path} is no file of candles: a Parquet or Arrow file, or a CSV whose header begins with {','.join(CANDLE)}"
    )


def open_file(path: Path) -> Content:
    """A file of candles, ready to be read.

    Raises:
        DecodeError: it is none, is cut short, or was changed since its provenance was written.
    """
    form = form_of(path)
    if form is Format.CSV:
        return Content(path, form, _beside(path), _csv_parts(path))
    if form is Format.ARROW:
        return Content(path, form, _beside(path), _scanned(path, form, None))
    provenance = _metadata(path)
    if provenance is None:
        return Content(path, form, None, _scanned(path, form, _hive(path)))
    parts = _scanned(path, form, Series.parse(provenance.series))
    return Content(path, form, provenance, _unchanged(parts, provenance, path))


def is_beside(path: Path) -> bool:
    """Whether a file is the provenance of another one."""
    return path.name.endswith(BESIDE)


def sha256_of(path: Path) -> str:
    """Of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_rows(*parts: Rows) -> str:
    """Of rows as `ROW` with the series number 0, in hexadecimal."""
    sha256 = hashlib.sha256()
    for part in parts:
        rows = part.copy()
        rows["series"] = 0
        sha256.update(rows.data)
    return sha256.hexdigest()


def _unchanged(parts: Iterator[Part], provenance: Provenance, path: Path) -> Iterator[Part]:
    """The parts of a month's file, if they are what was written."""
    found = list(parts)
    if sha256_of_rows(*(part.rows for part in found)) != provenance.sha256:
        raise DecodeError(f"the rows of {path} are not those that were written to it: it was changed or damaged since")
    yield from found


def _beside(path: Path) -> Provenance | None:
    place = path.with_name(path.name + BESIDE)
    with _explained(place):
        if not place.exists():
            return None
        provenance = _decoded(place.read_bytes(), place)
    with _explained(path):
        found = sha256_of(path)
    if found != provenance.sha256:
        raise DecodeError(
            f"{path} is not the file that {place.name} was written for (SHA-256 {found}, not {provenance.sha256}): "
            "it was changed or cut short since; to take its rows all the same, remove that file"
        )
    return provenance


def _metadata(path: Path) -> Provenance | None:
    import polars as pl  # noqa: PLC0415 - a tenth of a second that only files need

    with _explained(path):
        text = pl.read_parquet_metadata(path).get(METADATA)
    return None if text is None else _decoded(text.encode(), path)


def _decoded(document: bytes, path: Path) -> Provenance:
    try:
        provenance = msgspec.json.decode(document, type=Provenance)
        Series.parse(provenance.series)
    except (msgspec.DecodeError, UsageError) as error:
        raise DecodeError(f"the provenance in {path} cannot be read: {error}") from None
    if provenance.version > 1:
        raise DecodeError(f"the provenance in {path} is of version {provenance.version}: upgrade candlewick")
    return provenance


def _hive(path: Path) -> Series | None:
    """The series that the folders of a file name."""
    match = _HIVE.search(path.absolute().as_posix())
    return None if match is None else _series(match[1], match[2], match[3], path)


def _series(market: str | None, symbol: str | None, interval: str | None, path: Path) -> Series:
    try:
        return Series(Market(market or ""), normal_symbol(symbol or ""), Interval(interval or ""))
    except (ValueError, UsageError):
        raise DecodeError(f"{path} names no series: {market!r}, {symbol!r}, {interval!r}") from None


def _scanned(path: Path, form: Format, named: Series | None) -> Iterator[Part]:
    """The rows of a Parquet or Arrow file."""
    import polars as pl  # noqa: PLC0415 - as above

    with _explained(path):
        lazy = pl.scan_parquet(path, hive_partitioning=False) if form is Format.PARQUET else pl.scan_ipc(path)
        schema = lazy.collect_schema()
    _check_columns(list(schema), path, is_named=named is not None)
    time = pl.Datetime("us", "UTC")
    for name in CANDLE:
        wanted = time if name.endswith("_time") else pl.Int64() if name == "trades" else pl.Float64()
        if schema[name] != wanted:
            raise DecodeError(f"column {name} of {path} is {schema[name]} and must be {wanted}: it is not an export")
    wanted_columns = [name for name in (*CANDLE, *NAMING, "source") if name in schema]
    for start in range(0, 1 << 62, _CHUNK_ROWS):
        with _explained(path):
            frame = lazy.select(wanted_columns).slice(start, _CHUNK_ROWS).collect()
        if frame.is_empty():
            return
        yield from _parts(frame.with_columns(pl.col(name).dt.epoch("us") for name in _TIMES), named, path)


def _csv_parts(path: Path) -> Iterator[Part]:
    """The rows of a CSV file, some megabytes at a time."""
    import polars as pl  # noqa: PLC0415 - as above

    with _explained(path), path.open("rb") as file:
        header = file.readline()
        names = header.decode("utf-8", "replace").strip().lstrip("\ufeff").split(",")
        _check_columns(names, path, is_named=False)
        schema: dict[str, Any] = {name: pl.String() for name in names}
        schema |= {name: pl.Int64() if name in (*_TIMES, "trades") else pl.Float64() for name in CANDLE}
        rest = b""
        while block := file.read(_CHUNK_BYTES):
            whole, end, rest = (rest + block).rpartition(b"\n")
            yield from _csv_block(whole + end, schema, path)
        yield from _csv_block(rest, schema, path)


def _csv_block(block: bytes, schema: dict[str, Any], path: Path) -> Iterator[Part]:
    import polars as pl  # noqa: PLC0415 - as above

    if not block.strip():
        return
    frame = pl.read_csv(block, has_header=False, schema=schema, quote_char=None)
    yield from _parts(frame.with_columns(pl.col(name) * 1000 for name in _TIMES), None, path)


_TIMES = tuple(name for name in CANDLE if name.endswith("_time"))


def _check_columns(names: list[str], path: Path, *, is_named: bool) -> None:
    needed = CANDLE if is_named else (*CANDLE, *NAMING)
    missing = [name for name in needed if name not in names]
    if missing:
        raise DecodeError(
            f"{path} has no column {', '.join(missing)}: `candlewick export` writes files that name their series"
        )


def _parts(frame: Any, named: Series | None, path: Path) -> Iterator[Part]:  # noqa: ANN401 - polars is loaded late
    """The rows of a frame whose times are microseconds, each series for itself."""
    empty = [name for name in frame.columns if frame[name].null_count()]
    if empty:
        raise DecodeError(f"{path} has rows without {', '.join(empty)}: it is cut short or was changed")
    if named is not None:
        yield Part(named, _rows(frame, path))
        return
    for part in frame.partition_by(list(NAMING), maintain_order=True):
        market, symbol, interval = (part[name][0] for name in NAMING)
        yield Part(_series(market, symbol, interval, path), _rows(part, path))


def _rows(frame: Any, path: Path) -> Rows:  # noqa: ANN401 - as above
    rows = np.zeros(frame.height, ROW)
    for name in CANDLE:
        rows[name] = frame[name].to_numpy()
    rows["source"] = Source.LIVE  # the least that can be said for a row that does not say where it came from
    if "source" in frame.columns:
        unknown = set(frame["source"].unique()) - set(SOURCES)
        if unknown:
            raise DecodeError(f"{path} has rows of the source {min(unknown)!r}: there are {', '.join(SOURCES)}")
        for name, source in SOURCES.items():
            rows["source"][(frame["source"] == name).to_numpy()] = source
    return rows


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Errors of the system and of polars as ours, saying which file.

    Raises:
        CandlewickError: it cannot be opened.
        DecodeError: it is not what it should be.
    """
    from polars.exceptions import PolarsError  # noqa: PLC0415 - as above

    try:
        yield
    except OSError as error:
        raise CandlewickError(f"{path} cannot be read: {error.strerror or error}") from error
    except PolarsError as error:
        words = str(error).partition("\n")[0]
        raise DecodeError(f"{path} cannot be read, it is cut short or damaged: {words}") from error
