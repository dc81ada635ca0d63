"""Series as files: Parquet a month each in hive folders, CSV and Arrow in one file; nothing that is known is left out.

Files are written month by month under another name and renamed when they are whole.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from candlewick.errors import CandlewickError, UsageError
from candlewick.market import Series, Span
from candlewick.reading.files import (
    BESIDE,
    CANDLE,
    METADATA,
    NAMING,
    SOURCES,
    Format,
    Provenance,
    sha256_of,
    sha256_of_rows,
)
from candlewick.stores.provenance import certificate_of, file_records, listing_of
from candlewick.stores.store import ROW, Rows, StoreReader, info_of

if TYPE_CHECKING:  # a tenth of a second of imports for those who export nothing
    import polars as pl

_TIMES = tuple(name for name in CANDLE if name.endswith("_time"))
_EVER = Span(-(1 << 62), 1 << 62)


class Exported(NamedTuple):
    """What was written."""

    files: list[Path]
    rows: int


class _Month(NamedTuple):
    """The rows that open in one calendar month, such as `2023-03`."""

    name: str
    rows: Rows


def export(
    reader: StoreReader, series: Series, span: Span | None, form: Format, output: Path, *, force: bool = False
) -> Exported:
    """Write the candles of a series that open in `span`, or all, and everything that is known of them.

    `output` is a folder of Parquet, or the name of a CSV or Arrow file, or a folder in which it gets a name of its own.

    Raises:
        UsageError: what is to be written is there already and `force` was not given.
        CandlewickError: it cannot be written, or CSV cannot say it; names the file. Whole files stay.
    """
    known = _known(reader, series, span)
    if form is Format.PARQUET:
        return _export_months(reader, known, series, span, output, force=force)
    if output.is_dir() or output.as_posix().endswith("/"):
        output /= f"{series.market}-{series.symbol}-{series.interval}.{form}"
    _check_free([output], force=force)
    write = _write_csv if form is Format.CSV else _write_arrow
    with _written(output) as file:
        rows = write(file, _months(reader, series, span), series)
        beside = msgspec.structs.replace(known, rows=rows, sha256=sha256_of(file))
        # The provenance goes first: a file that it was not written for is refused, one without any would be believed.
        with _written(output.with_name(output.name + BESIDE)) as other:
            other.write_bytes(msgspec.json.format(msgspec.json.encode(beside), indent=1) + b"\n")
    return Exported([output], rows)


def _known(reader: StoreReader, series: Series, span: Span | None) -> Provenance:
    """What is known besides the rows; absences are cut to `span`."""
    start, end = span or _EVER
    absences = [
        msgspec.structs.replace(one, span=Span(max(one.span.start, start), min(one.span.end, end)))
        for one in reader.absences(series)
        if one.span.start < end and start < one.span.end
    ]
    revisions = reader.revisions(series)
    revisions = revisions[(revisions["open_time"] >= start) & (revisions["open_time"] < end)]
    certificate = certificate_of(reader, series) if span is None else None
    return Provenance(
        series=str(series),
        absences=absences,
        files=[one for one in file_records(reader, series) if one.span.start < end and start < one.span.end],
        listing=listing_of(reader, series.market, series.symbol),
        revisions=[tuple(row)[1:] for row in revisions.tolist()],
        certificate=(certificate or b"").decode(),
    )


def _months(reader: StoreReader, series: Series, span: Span | None) -> Iterator[_Month]:
    """The rows, month by month; months without any are left out."""
    start, end = span or _EVER
    info = info_of(reader, series)
    if info is None or info.first is None or info.last is None:
        return
    start, end = max(start, info.first), min(end, info.last + 1)
    month = np.datetime64(start, "us").astype("M8[M]")
    while start < end:
        month += 1
        following = int(month.astype("M8[us]").astype(np.int64))
        rows = reader.read(series, start, min(end, following))
        if len(rows):
            yield _Month(str(month - 1), rows)
        start = following


def _frame(rows: Rows) -> "pl.DataFrame":
    import polars as pl  # noqa: PLC0415 - see above

    names = {int(source): name for name, source in SOURCES.items()}
    return pl.DataFrame({name: np.ascontiguousarray(rows[name]) for name in (*CANDLE, "source")}).with_columns(
        *(pl.col(name).cast(pl.Datetime("us", "UTC")) for name in _TIMES),
        pl.col("source").replace_strict(names, return_dtype=pl.String),
    )


def _named(frame: "pl.DataFrame", series: Series) -> "pl.DataFrame":
    """With the columns that name the series, before the source."""
    import polars as pl  # noqa: PLC0415 - see above

    words = zip(NAMING, (series.market.value, series.symbol, series.interval.code), strict=True)
    return frame.with_columns(pl.lit(word).alias(name) for name, word in words).select(*CANDLE, *NAMING, "source")


def _export_months(
    reader: StoreReader, known: Provenance, series: Series, span: Span | None, output: Path, *, force: bool
) -> Exported:
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file; Parquet is written as a folder with a file a month")
    place = output / f"market={series.market}" / f"symbol={series.symbol}" / f"interval={series.interval}"
    if not force:
        start, end = (str(np.datetime64(time, "us").astype("M8[M]")) for time in _ends(reader, series, span))
        there = [path for path in sorted(place.glob("year=*/month=*/*.parquet")) if start <= _month_of(path) <= end]
        _check_free(there, force=False)
    files: list[Path] = []
    rows, told = 0, _EVER.start
    months = _months(reader, series, span)
    month = next(months, None)
    while month is not None:
        following = next(months, None)
        # Each file tells of the time up to the next file's month, so that what lies between is told once.
        until = _EVER.end if following is None else _start_of(following.name)
        part = _between(known, Span(told, until), month.rows)
        year, number = month.name.split("-")
        path = place / f"year={year}" / f"month={number}" / f"{series.symbol}-{series.interval}-{month.name}.parquet"
        buffer = io.BytesIO()
        _frame(month.rows).write_parquet(
            buffer, compression="zstd", metadata={METADATA: msgspec.json.encode(part).decode()}
        )
        with _written(path) as file:
            file.write_bytes(buffer.getbuffer())
        files.append(path)
        rows, told, month = rows + len(month.rows), until, following
    if not files and (known.absences or known.files):
        raise UsageError(f"{series} has no candles there: Parquet has nothing to write a file of; CSV and Arrow have")
    return Exported(files, rows)


def _ends(reader: StoreReader, series: Series, span: Span | None) -> tuple[int, int]:
    """The times of the first and of the last candle that may be written."""
    info = info_of(reader, series)
    start, end = span or _EVER
    if info is None or info.first is None or info.last is None:
        return start, end - 1
    return max(start, info.first), min(end - 1, info.last)


def _month_of(path: Path) -> str:
    return f"{path.parts[-3].removeprefix('year=')}-{path.parts[-2].removeprefix('month=')}"


def _start_of(month: str) -> int:
    return int(np.datetime64(month, "M").astype("M8[us]").astype(np.int64))


def _between(known: Provenance, span: Span, rows: Rows) -> Provenance:
    """What is known of `span`: absences and files that begin in it, revisions in it; the certificate with the last."""
    at = ROW.names.index("open_time") - 1 if ROW.names else 0
    return msgspec.structs.replace(
        known,
        rows=len(rows),
        sha256=sha256_of_rows(rows),
        certificate=known.certificate if span.end == _EVER.end else "",
        absences=[one for one in known.absences if span.start <= one.span.start < span.end],
        files=[one for one in known.files if span.start <= one.span.start < span.end],
        revisions=[one for one in known.revisions if span.start <= one[at] < span.end],
    )


def _write_csv(file: Path, months: Iterator[_Month], series: Series) -> int:
    import polars as pl  # noqa: PLC0415 - see above

    rows = 0
    with file.open("wb") as opened:
        opened.write((",".join((*CANDLE, *NAMING, "source")) + "\n").encode())
        for month in months:
            if any((month.rows[name] % 1000).any() for name in _TIMES):
                raise CandlewickError(
                    f"{series} has times in {month.name} that no whole millisecond is, and CSV cannot say them: "
                    "use --format parquet or arrow"
                )
            frame = _frame(month.rows).with_columns(pl.col(name).dt.epoch("ms") for name in _TIMES)
            _named(frame, series).write_csv(opened, include_header=False)
            rows += frame.height
    return rows


def _write_arrow(file: Path, months: Iterator[_Month], series: Series) -> int:
    """One record batch a month or so; polars asks for the next when it has written the one before."""
    import polars as pl  # noqa: PLC0415 - see above
    from polars.io.plugins import register_io_source  # noqa: PLC0415 - see above

    time = pl.Datetime("us", "UTC")
    schema = {
        **{name: time if name in _TIMES else pl.Int64() if name == "trades" else pl.Float64() for name in CANDLE},
        **{name: pl.String() for name in (*NAMING, "source")},
    }
    rows = 0

    def frames(_columns: object, _predicate: object, _rows: object, _size: object) -> Iterator["pl.DataFrame"]:
        nonlocal rows
        for month in months:
            rows += len(month.rows)
            yield _named(_frame(month.rows), series)

    lazy = register_io_source(frames, schema=schema)
    lazy.sink_ipc(file, compression="zstd", compat_level=pl.CompatLevel.oldest(), maintain_order=True)
    return rows


def _check_free(paths: list[Path], *, force: bool) -> None:
    there = [path for path in paths if path.exists()]
    if there and not force:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise UsageError(f"{there[0]}{more} is there already: name another place, or write over it with --force")


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    """Where to write what is to become `path` when it is whole.

    Raises:
        CandlewickError: it cannot be written; what was there before is as it was.
    """
    from polars.exceptions import PolarsError  # noqa: PLC0415 - see above

    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise CandlewickError(f"{path} cannot be written: {error.strerror or error}") from error
    except PolarsError as error:
        raise CandlewickError(f"{path} cannot be written: {str(error).partition(chr(10))[0]}") from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
