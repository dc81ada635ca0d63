"""What a store knows of where its rows came from: the ledger of archive files, when a symbol traded, which gaps there were.

All are small values of the store's state, so that every kind of store keeps them.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import TypeVar

import msgspec
from msgspec import Struct

from candlewick.errors import StoreDamaged
from candlewick.market import Market, Series, Span
from candlewick.stores.store import Store, StoreReader

T = TypeVar("T")


class Verdict(StrEnum):
    """What the checks of a file came to. Rows are taken only from files that were `matched` or `agreed`."""

    MATCHED = "matched"
    """Its SHA-256 is the one its CHECKSUM file states."""
    AGREED = "agreed"
    """The checksum is missing or another, but the content keeps every rule and agrees with REST."""
    REJECTED = "rejected"
    """Neither: nothing was taken from it."""


TAKEN = frozenset({Verdict.MATCHED, Verdict.AGREED})
"""Verdicts of files of which rows were taken."""


class FileRecord(Struct, frozen=True):
    """A file of the archive that was looked at."""

    name: str
    """Its path below the archive's base URL."""
    span: Span
    """The day or the month it is for."""
    size: int
    sha256: str
    """Of the bytes that were received, in hexadecimal."""
    checksum: str
    """What its CHECKSUM file stated, or empty where there was none."""
    verdict: Verdict
    rows: int
    """Rows of it that can be used, however many a load wanted; 0 where it was rejected."""
    fetched_at: int
    remark: str = ""
    """What was found in it: rows repeated, out of order, missing against the calendar, or why it was rejected."""
    missing: tuple[Span, ...] = ()
    """Grid times in `span` for which it has no row that can be used, of one that was taken from."""
    rebuilt: bool = False
    """It holds trades. `rows` are candles made of them that were stored, `span` is that of candles that open in it."""
    unusable: tuple[int, ...] = ()
    """Open times of rows that break a rule, or stand there twice with different values."""


class Listing(Struct, frozen=True):
    """When a symbol traded, as far as is known; open times of one-minute grid, 0 where not known.

    `last` is set only where it has stopped trading.
    """

    first: int = 0
    last: int = 0
    source: str = ""
    """Who said so."""


class GapRecord(Struct, frozen=True):
    """A run of grid times that did not come in time: found once, closed once every one of them is accounted for."""

    series: str
    span: Span
    candles: int
    detected_at: int
    cause: str
    closed_at: int | None = None
    """When all of it was held or had its reason; None while it is open."""
    recovered: int = 0
    """Of `candles`, those that are held; known once it is closed."""
    absent: int = 0
    """Those that the exchange itself does not have."""


def file_records(reader: StoreReader, series: Series) -> list[FileRecord]:
    """The ledger of a series, by time, months before their days.

    Raises:
        StoreDamaged: an entry cannot be read.
    """
    prefix = f"file:{series}:"
    records = [_decoded(value, FileRecord, key) for key, value in reader.states(prefix).items()]
    return sorted(records, key=lambda one: (one.span.start, -one.span.end, one.name))


def keep_file_records(store: Store, series: Series, records: Iterable[FileRecord]) -> None:
    """Add files to the ledger of a series, in place of entries of the same name."""
    store.set_states({f"file:{series}:{one.name}": msgspec.json.encode(one) for one in records})


def rebuilt_spans(reader: StoreReader, series: Series) -> list[Span]:
    """Where candles that are held were made of trades, and nobody has given the exchange's own; in order, disjoint.

    Raises:
        StoreDamaged: it cannot be read.
    """
    key = f"rebuilt:{series}"
    value = reader.state(key)
    return [] if value is None else _decoded(value, list[Span], key)


def keep_rebuilt_spans(store: Store, series: Series, spans: Sequence[Span]) -> None:
    """Replace what is known of where candles were made of trades."""
    store.set_state(f"rebuilt:{series}", msgspec.json.encode(spans) if spans else None)


def listing_of(reader: StoreReader, market: Market, symbol: str) -> Listing:
    """What is known of when a symbol traded."""
    key = f"listing:{market}:{symbol}"
    value = reader.state(key)
    return Listing() if value is None else _decoded(value, Listing, key)


def keep_listing(store: Store, market: Market, symbol: str, listing: Listing) -> None:
    """Keep what has been learnt of when a symbol traded."""
    store.set_state(f"listing:{market}:{symbol}", msgspec.json.encode(listing))


def certificate_of(reader: StoreReader, series: Series) -> bytes | None:
    """The certificate kept for a series, as it was written, or None."""
    return reader.state(f"certificate:{series}")


def keep_certificate(store: Store, series: Series, document: bytes | None) -> None:
    """Keep a certificate of a series in place of the one before, or none."""
    store.set_state(f"certificate:{series}", document)


def gap_key(record: GapRecord) -> str:
    """The key of a gap: a series has one that begins at a time."""
    return f"gap:{record.series}:{record.span.start}"


def keep_gap(store: Store, record: GapRecord) -> None:
    """Keep a gap in place of the one that begins when it does."""
    keep_gaps(store, [record])


def keep_gaps(store: Store, records: Iterable[GapRecord], gone: Iterable[GapRecord] = ()) -> None:
    """Keep gaps, and forget those that are `gone`, all or nothing."""
    values: dict[str, bytes | None] = {gap_key(one): None for one in gone}
    store.set_states(values | {gap_key(one): msgspec.json.encode(one) for one in records})


def gap_records(reader: StoreReader) -> list[GapRecord]:
    """Every gap that is kept, by series and time.

    Raises:
        StoreDamaged: an entry cannot be read.
    """
    records = [_decoded(value, GapRecord, key) for key, value in reader.states("gap:").items()]
    return sorted(records, key=lambda one: (one.series, one.span))


def _decoded(value: bytes, kind: type[T], key: str) -> T:
    try:
        return msgspec.json.decode(value, type=kind)
    except msgspec.DecodeError as error:
        raise StoreDamaged(f"the store's entry {key} cannot be read ({error}): load the series again") from None
