"""Files of candles into a store: each row by the rules and the store's write rule, and what was known beside them."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np
from msgspec import Struct

from candlewick.certificates.check import verify
from candlewick.certificates.document import Certificate
from candlewick.errors import CandlewickError, DecodeError
from candlewick.integrity.rules import EARLIEST, Grids, check
from candlewick.integrity.spans import without
from candlewick.market import DAY, Series, Span, format_time
from candlewick.reading.files import Content, Provenance, is_beside, open_file
from candlewick.stores.provenance import (
    Listing,
    certificate_of,
    file_records,
    keep_certificate,
    keep_file_records,
    keep_listing,
    listing_of,
)
from candlewick.stores.store import Absence, Quarantined, Rows, Source, Store

SUFFIXES = (".parquet", ".csv", ".arrow", ".ipc", ".feather")
"""What is looked at in a folder; a file that is named is looked at whatever its name."""


class Imported(Struct):
    """What became of the files of one series."""

    market: str
    symbol: str
    interval: str
    files: int = 0
    inserted: int = 0
    confirmed: int = 0
    """Held from the live feed and equal; now vouched for by the source that the file names."""
    unchanged: int = 0
    revised: int = 0
    """Replaced, the old values kept as revisions."""
    refused: int = 0
    """Live rows that contradict what a settled source said."""
    broken: int = 0
    """Rows that broke a rule and went to the quarantine."""
    absences: int = 0
    """Reasons that were not known."""
    certificate: str | None = None
    """Whether the one that came with it proves what is held now: `kept` or `differs`."""
    has_provenance: bool = True
    """Whether every file came with what was known beside its rows."""


Tally: TypeAlias = dict[Series, Imported]


class Importer:
    """Takes files into a store; doing so again changes nothing."""

    def __init__(self, store: Store, now: int) -> None:
        """`now` is the exchange's time: candles must be over by then."""
        self._store, self._now = store, now
        self._certificates: dict[Series, bytes] = {}
        self.tally: Tally = {}

    def take(self, path: Path) -> None:
        """A file, or all files below a folder.

        Raises:
            DecodeError: a file is not what it should be; what was taken before stays and may be taken again.
            CandlewickError: nothing is there, or it cannot be read.
        """
        for file in _files(path):
            self._take(open_file(file))
        for series, document in self._certificates.items():
            self._tally(series).certificate = "kept" if self._prove(series, document) else "differs"

    def _take(self, content: Content) -> None:
        provenance, last, rows = content.provenance, dict[Series, int](), 0
        for series, part in content.parts:
            _check_times(part, content.path, last.get(series), self._now)
            last[series] = int(part["open_time"][-1])
            rows += len(part)
            self._write(series, part, provenance)
        named = None if provenance is None else Series.parse(provenance.series)
        if provenance is not None and (rows != provenance.rows or set(last) - {named}):
            raise DecodeError(
                f"{content.path} has {rows} rows where {provenance.rows} of {provenance.series} were written: "
                "it was changed; its rows were taken, what was known beside them was not"
            )
        for series in {*last, *([] if named is None else [named])}:
            tally = self._tally(series)
            tally.files += 1
            tally.has_provenance &= provenance is not None
            if provenance is not None:
                self._keep(series, provenance, tally)

    def _tally(self, series: Series) -> Imported:
        return self.tally.setdefault(series, Imported(series.market.value, series.symbol, series.interval.code))

    def _write(self, series: Series, rows: Rows, provenance: Provenance | None) -> None:
        number = self._store.number(series)
        rows["series"] = number
        tally = self._tally(series)
        broken = check(rows, Grids({number: series.interval}), self._now)
        if broken:
            self._store.quarantine([
                Quarantined(
                    str(series), one.rule, Source(int(rows["source"][one.index])).name.lower(), self._now,
                    repr(rows[one.index].tolist()).encode(),
                )
                for one in broken
            ])  # fmt: skip
            tally.broken += len(broken)
            rows = np.delete(rows, [one.index for one in broken])
        again = 0
        if provenance is not None and provenance.revisions and len(rows):
            again = self._revise(series, rows, provenance.revised(number))
        result = self._store.write(rows)
        tally.inserted += result.inserted + again
        tally.confirmed += result.confirmed
        tally.unchanged += result.unchanged
        tally.revised += len(result.changed) - again
        tally.refused += len(result.refused)

    def _revise(self, series: Series, rows: Rows, revisions: Rows) -> int:
        """Write what the rows have replaced before them, so that it becomes revisions again, but not over what is held.

        Returns for how many of the rows that was done.
        """
        first, last = int(rows["open_time"][0]), int(rows["open_time"][-1])
        held = self._store.read(series, first, last + 1, columns=["open_time"])["open_time"]
        times = revisions["open_time"]
        revisions = revisions[np.isin(times, rows["open_time"]) & ~np.isin(times, held)]
        self._store.write(revisions)
        return len(np.unique(revisions["open_time"]))

    def _keep(self, series: Series, provenance: Provenance, tally: Imported) -> None:
        """What was known beside the rows, where the store knows nothing of its own."""
        self._store.number(series)
        held = self._store.absences(series)
        new = [piece for one in provenance.absences for piece in _pieces(one, [each.span for each in held])]
        if new:
            self._store.set_absences(series, [*held, *new])
            tally.absences += len(new)
        known = {one.name for one in file_records(self._store, series)}
        keep_file_records(self._store, series, [one for one in provenance.files if one.name not in known])
        if listing_of(self._store, series.market, series.symbol) == Listing() != provenance.listing:
            keep_listing(self._store, series.market, series.symbol, provenance.listing)
        if provenance.certificate:
            self._certificates[series] = provenance.certificate.encode()

    def _prove(self, series: Series, document: bytes) -> bool:
        """Keep the certificate that came with a series if it proves what is held now; whether it does."""
        try:
            found = verify(Certificate.from_json(document), self._store)
        except DecodeError:
            return False
        if not found and certificate_of(self._store, series) is None:
            keep_certificate(self._store, series, document)
        return not found


def _files(path: Path) -> Iterator[Path]:
    if not path.exists():
        raise CandlewickError(f"there is no {path}")
    if not path.is_dir():
        yield path
        return
    found = [
        one
        for one in sorted(path.rglob("*"))
        if one.suffix in SUFFIXES and one.is_file() and not one.name.startswith(".") and not is_beside(one)
    ]
    if not found:
        raise CandlewickError(f"there is no file of candles in {path}: names end in {', '.join(SUFFIXES)}")
    yield from found


def _check_times(rows: Rows, path: Path, last: int | None, now: int) -> None:
    times = rows["open_time"]
    if last is None and not EARLIEST <= times[0] <= now + DAY:
        raise DecodeError(
            f"{path} begins at {_time(int(times[0]))}, which is no time of a candle: CSV has epoch milliseconds, "
            "Parquet and Arrow timestamps; no unit is guessed"
        )
    ahead = np.diff(times, prepend=times[0] - 1 if last is None else last) > 0
    if not ahead.all():
        at = int(times[np.flatnonzero(~ahead)[0]])
        raise DecodeError(f"{path} repeats candles or has them out of order at {_time(at)}: it is not an export")


def _time(time: int) -> str:
    return format_time(time) if 0 <= time < 10**16 else f"{time} us"


def _pieces(absence: Absence, taken: list[Span]) -> list[Absence]:
    """What of an absence lies where no reason is known."""
    return [msgspec.structs.replace(absence, span=span) for span in without([absence.span], taken)]
