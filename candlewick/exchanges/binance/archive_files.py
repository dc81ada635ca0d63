"""Unpacks the archive's zips and reads the CSV in them into columns.

Every number is the nearest double to its text. Whether the rows can be true is not asked here (`integrity/files.py`).
"""

import re
import struct
import zlib
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from typing import Any, NamedTuple
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from candlewick.errors import DecodeError
from candlewick.exchanges.binance import archive_kernel
from candlewick.exchanges.binance.archive_kernel import Kind
from candlewick.exchanges.exchange import ArchiveKind, Columns

# Milliseconds of the year 5138, microseconds of 1973: spot files with data from 2025-01-01 on are in microseconds,
# others in milliseconds (README of binance-public-data).
_MICROSECONDS_FROM = 100_000_000_000_000

# Unpacking is half of reading a file; isal, where it is installed, unpacks three times as fast as zlib.
_deflate: Any = import_module("isal.isal_zlib") if find_spec("isal") else zlib

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 0x1
_RATIO = 100
"""A month of idle minutes, as small as candles get, shrinks to a twentieth; a bomb shrinks to a thousandth."""
_SMALL = 1 << 20
_LARGEST = {ArchiveKind.KLINES: 1 << 30, ArchiveKind.TRADES: 4 << 30, ArchiveKind.AGG_TRADES: 4 << 30}
"""Unpacked bytes. A month of 1s candles has about 400 MB."""

_BOM = b"\xef\xbb\xbf"
_INTEGER = re.compile(rb" *[-+]?[0-9]{1,19}")


_WORDS = {Kind.INT: "whole number", Kind.DECIMAL: "number", Kind.FLAG: "true or false", Kind.TEXT: "text"}


class Layout(NamedTuple):
    """The columns of a CSV in order: the name in a header, ours (None: not wanted), the type."""

    columns: tuple[tuple[str, str | None, Kind], ...]

    @property
    def header(self) -> list[str]:
        """The names as a header has them."""
        return [name for name, _, _ in self.columns]


_KLINES = Layout((
    ("open_time", "open_time", Kind.INT),
    ("open", "open", Kind.DECIMAL),
    ("high", "high", Kind.DECIMAL),
    ("low", "low", Kind.DECIMAL),
    ("close", "close", Kind.DECIMAL),
    ("volume", "volume", Kind.DECIMAL),
    ("close_time", "close_time", Kind.INT),
    ("quote_volume", "quote_volume", Kind.DECIMAL),
    ("count", "trades", Kind.INT),
    ("taker_buy_volume", "taker_buy_volume", Kind.DECIMAL),
    ("taker_buy_quote_volume", "taker_buy_quote_volume", Kind.DECIMAL),
    ("ignore", None, Kind.TEXT),
))  # fmt: skip

_TRADES = Layout(
    (
        ("id", "trade_id", Kind.INT),
        ("price", "price", Kind.DECIMAL),
        ("qty", "quantity", Kind.DECIMAL),
        ("quote_qty", "quote_quantity", Kind.DECIMAL),
        ("time", "time", Kind.INT),
        ("is_buyer_maker", "buyer_is_maker", Kind.FLAG),
    )
)

_AGG_TRADES = Layout(
    (
        ("agg_trade_id", "trade_id", Kind.INT),
        ("price", "price", Kind.DECIMAL),
        ("quantity", "quantity", Kind.DECIMAL),
        ("first_trade_id", "first_id", Kind.INT),
        ("last_trade_id", "last_id", Kind.INT),
        ("transact_time", "time", Kind.INT),
        ("is_buyer_maker", "buyer_is_maker", Kind.FLAG),
    )
)

_BEST_MATCH = ("is_best_match", None, Kind.TEXT)
_TRADE_LAYOUTS = {ArchiveKind.TRADES: _TRADES, ArchiveKind.AGG_TRADES: _AGG_TRADES}


def read_candles(body: bytes, name: str) -> Columns:
    """The candles of a zip, in the order of its lines; `name` is that of the zip and its CSV, without endings.

    Raises:
        DecodeError: it is no zip of one CSV, is cut short, or a line is not one of a candle; says which.
    """
    columns = _read(unpack(body, name, _LARGEST[ArchiveKind.KLINES]), _KLINES, name)
    columns["open_time"] = _to_time(columns["open_time"])
    columns["close_time"] = _to_close_time(columns["close_time"])
    return columns


def read_trades(body: bytes, name: str, kind: ArchiveKind, *, best_match: bool) -> Columns:
    """The trades or aggregates of a zip, in the order of its lines; see `read_candles`.

    `best_match`: whether each line ends in the flag that spot has besides.

    Raises:
        DecodeError: see `read_candles`.
    """
    layout = _TRADE_LAYOUTS[kind]
    if best_match:
        layout = Layout((*layout.columns, _BEST_MATCH))
    columns = _read(unpack(body, name, _LARGEST[kind]), layout, name)
    columns["time"] = _to_time(columns["time"])
    if kind is ArchiveKind.TRADES:
        columns["first_id"] = columns["last_id"] = columns["trade_id"]
    else:
        columns["quote_quantity"] = np.full(columns["trade_id"].size, np.nan)
    return columns


def unpack(body: bytes, name: str, most: int) -> bytes:
    """The CSV of a zip.

    Raises:
        DecodeError: it is no zip of one CSV of that name, is cut, encrypted or damaged, or unpacks to more than `most`
            bytes or a hundred times its size.
    """
    info = _only_entry(body, name)
    if info.flag_bits & _ENCRYPTED:
        raise DecodeError(f"{name}.zip is encrypted")
    if info.compress_type not in {ZIP_STORED, ZIP_DEFLATED}:
        raise DecodeError(f"{name}.zip is packed by method {info.compress_type}, which the archive does not use")
    if info.file_size > min(most, _RATIO * info.compress_size + _SMALL):
        raise DecodeError(f"{name}.zip of {len(body)} bytes unpacks to {info.file_size}: that is no file of this kind")
    packed = _packed(body, info, name)
    if info.compress_type == ZIP_STORED:
        data = bytes(packed)
    else:
        try:
            data = _deflate.decompressobj(-zlib.MAX_WBITS).decompress(packed, info.file_size + 1)
        except _deflate.error as error:
            raise DecodeError(f"{name}.zip is damaged: {error}") from None
    if len(data) != info.file_size:
        raise DecodeError(f"{name}.zip unpacks to another size than the {info.file_size} bytes it states")
    if _deflate.crc32(data) != info.CRC:
        raise DecodeError(f"{name}.zip is damaged: its content has another CRC than it states")
    return data


def _only_entry(body: bytes, name: str) -> ZipInfo:
    try:
        with ZipFile(BytesIO(body)) as file:
            entries = file.infolist()
    except (BadZipFile, ValueError, OSError, struct.error, NotImplementedError, OverflowError, EOFError) as error:
        raise DecodeError(f"{name}.zip is no zip or cut short ({error})") from None
    if len(entries) != 1:
        raise DecodeError(f"{name}.zip holds {len(entries)} files instead of one")
    if entries[0].filename != f"{name}.csv":
        raise DecodeError(f"{name}.zip holds {entries[0].filename[:120]!r} instead of {name}.csv")
    return entries[0]


def _packed(body: bytes, info: ZipInfo, name: str) -> memoryview:
    """The bytes of the entry as they are packed, without a copy."""
    start = info.header_offset
    if 0 <= start <= len(body) - _LOCAL_HEADER.size:
        signature, name_size, extra_size = _LOCAL_HEADER.unpack_from(body, start)
        start += _LOCAL_HEADER.size + name_size + extra_size
        if signature == b"PK\x03\x04" and start + info.compress_size <= len(body):
            return memoryview(body)[start : start + info.compress_size]
    raise DecodeError(f"{name}.zip is cut short or its directory is wrong")


def _read(text: bytes, layout: Layout, name: str) -> Columns:
    """The wanted columns of a CSV.

    Raises:
        DecodeError: a line is not as `layout` says; names the line.
    """
    if len(text) < _SMALL and not text.strip():
        raise DecodeError(f"{name}.csv is empty")
    extra = _header(text, layout, name)
    kernel = archive_kernel.loaded()
    found = None if kernel is None else _read_plain(kernel, text, layout, extra)
    return _read_any(text, layout, name, extra) if found is None else found


def _read_plain(
    kernel: archive_kernel.Kernel, text: bytes, layout: Layout, extra: int | None
) -> dict[str, NDArray[Any]] | None:
    """What the kernel makes of a CSV, if anything."""
    columns = [(ours, kind) for _, ours, kind in layout.columns]
    if extra is not None:
        return kernel.read(text, text.find(b"\n") + 1 or len(text), [*columns, *([(None, Kind.TEXT)] * extra)])
    return kernel.read(text, len(_BOM) if text.startswith(_BOM) else 0, columns)


def _read_any(text: bytes, layout: Layout, name: str, extra: int | None) -> Columns:
    """What polars makes of a CSV; slower, and it decides what is wrong with one."""
    import polars as pl  # noqa: PLC0415 - a hundred milliseconds that the kernel saves

    types = {Kind.INT: pl.Int64, Kind.DECIMAL: pl.Float64, Kind.FLAG: pl.Boolean, Kind.TEXT: pl.String}
    schema = {column: types[kind] for column, _, kind in layout.columns}
    schema |= {f"column_{number}": pl.String for number in range(extra or 0)}
    try:
        table = pl.read_csv(
            text, has_header=False, skip_rows=int(extra is not None), schema=schema, quote_char=None, glob=False
        )
    except pl.exceptions.PolarsError as error:
        raise _wrong(text, layout, name, extra, str(error)) from None
    if any(table[column].null_count() for column in schema):
        raise _wrong(text, layout, name, extra, "a line is too short")
    if not table.height:
        raise DecodeError(f"{name}.csv has no line besides its header")
    table = table.rechunk()
    return {ours: table[column].to_numpy() for column, ours, _ in layout.columns if ours is not None}


def _header(text: bytes, layout: Layout, name: str) -> int | None:
    """How many columns the header names beyond those known; None where the first line is data.

    Headers came with futures files in 2022 and not on all of them (issues 177, 246 and 283 of binance-public-data).
    """
    if text[:1].isdigit() or (text.startswith(_BOM) and text[3:4].isdigit()):
        return None
    line = text[: text.find(b"\n")] if b"\n" in text else text
    names = line[:1000].removeprefix(_BOM).decode("utf-8", "replace").strip().lower().split(",")
    known = layout.header
    if names[: len(known)] != known:
        raise DecodeError(f"line 1 of {name}.csv is neither data nor the header known: {','.join(names)[:160]!r}")
    return len(names) - len(known)


def _wrong(text: bytes, layout: Layout, name: str, extra: int | None, reason: str) -> DecodeError:
    """The first line that is not as it should be, found the slow way; `reason` where none is."""
    lines = text.removeprefix(_BOM).split(b"\n")
    if not lines[-1]:
        lines.pop()
    first = int(extra is not None)
    for number, line in enumerate(lines[first:], first + 1):
        fault = _fault(line.removesuffix(b"\r"), layout, extra or 0)
        if fault:
            return DecodeError(f"line {number} of {name}.csv {fault}")
    return DecodeError(f"{name}.csv cannot be read: {' '.join(reason.split())[:160]}")


def _fault(line: bytes, layout: Layout, extra: int) -> str:
    """What is wrong with a line, or nothing."""
    if not line:
        return "is empty"
    values = line.split(b",")
    width = len(layout.columns) + extra
    if len(values) != width:
        return f"has {len(values)} columns instead of {width}: {line[:160].decode('utf-8', 'replace')!r}"
    for value, (column, _, kind) in zip(values, layout.columns, strict=False):
        if not _is_one(value, kind):
            return f"has {value[:40].decode('utf-8', 'replace')!r} as {column}, which is no {_WORDS[kind]}"
    return "" if all(values) else "lacks a value"


def _is_one(value: bytes, kind: Kind) -> bool:
    if kind is Kind.INT:
        return _INTEGER.fullmatch(value) is not None and -(2**63) <= int(value) < 2**63
    if kind is Kind.FLAG:
        return value.lower() in {b"true", b"false"}
    try:
        text = value.decode()
        if kind is Kind.DECIMAL:
            float(text)
    except ValueError:
        return False
    return bool(text) and (kind is Kind.TEXT or not (text[-1].isspace() or "_" in text))


def _to_time(times: NDArray[Any]) -> NDArray[np.int64]:
    """Microseconds of times in milliseconds or microseconds, each told by its size."""
    times = times.astype(np.int64, copy=False)
    if times.min() >= _MICROSECONDS_FROM:
        return times
    if times.max() < _MICROSECONDS_FROM and times.min() > -_MICROSECONDS_FROM:
        return times * 1000
    small = (times < _MICROSECONDS_FROM) & (times > -_MICROSECONDS_FROM)
    return np.where(small, np.where(small, times, 0) * 1000, times)


def _to_close_time(times: NDArray[Any]) -> NDArray[np.int64]:
    """The same to the millisecond: `...999999` is `...999000`."""
    times = _to_time(times)
    rest = times % 1000
    return times - rest if rest.any() else times
