"""Candles made of trades: held against those that are there, and stored where none are."""

from typing import NamedTuple

import numpy as np

from candlewick.analysis.joined import Finished, touched
from candlewick.analysis.versus import Candles, first_difference, versus
from candlewick.certificates.document import Certificate
from candlewick.certificates.issue import certify
from candlewick.exchanges.exchange import ArchiveFile, ArchiveKind, Columns
from candlewick.history.trade_plan import TradeShelf
from candlewick.integrity.gaps import missing_spans
from candlewick.integrity.rules import Grids, check
from candlewick.integrity.spans import common, join, within, without
from candlewick.market import Series, Span, format_time
from candlewick.services.loading.holes import merged
from candlewick.services.loading.need import unheld
from candlewick.services.loading.parts import quarantined
from candlewick.stores.provenance import (
    TAKEN,
    FileRecord,
    certificate_of,
    file_records,
    keep_certificate,
    keep_file_records,
    keep_rebuilt_spans,
    rebuilt_spans,
)
from candlewick.stores.store import ROW, VALUES, Rows, Source, Store, StoreReader, WriteResult, info_of

NAMED = 10
"""Candles that differ which are named one by one."""


class Counts(NamedTuple):
    """Candles of a file, or of all."""

    made: int = 0
    equal: int = 0
    """To those held that were not made of trades;"""
    within: int = 0
    """different from them, but not more than trades leave open;"""
    different: int = 0
    """and different beyond that."""
    inexact: int = 0
    """Made, and maybe not the exchange's own to the last bit."""
    idle: int = 0
    """Grid times without a trade."""
    doubtful: int = 0
    """Grid times that trades are lacking of."""


class RebuiltSeries:
    """One series whose candles are made of trades; all of it happens on the store's thread."""

    def __init__(self, series: Series, span: Span, kind: ArchiveKind, *, burns: bool) -> None:
        """`burns`: see `versus`."""
        self.series, self.span, self.kind, self._burns = series, span, kind, burns
        self._number = 0
        """The store's."""
        self.need: list[Span] = []
        self.rows = self.revised = self.bytes = 0
        self.differences: list[str] = []
        """The first ones."""
        self._counts: dict[str, Counts] = {}
        """By file."""
        self._exact: list[Span] = []
        """Where candles were made of raw trades before."""

    @property
    def files(self) -> int:
        """How many were read."""
        return len(self._counts)

    @property
    def counts(self) -> Counts:
        """Of all files."""
        return Counts(*map(sum, zip(*self._counts.values(), strict=True)))

    def prepare(self, store: StoreReader, shelf: TradeShelf, *, recheck: bool) -> None:
        """Find out for which candles files have to be read: those that no file of the ledger was read for."""
        if self.span.start >= self.span.end:
            return
        archive, read = shelf.archive, []
        for record in file_records(store, self.series):
            file = archive.parse_name(record.name)
            if not record.rebuilt or record.verdict not in TAKEN or file is None:
                continue
            if file.kind is ArchiveKind.TRADES:
                self._exact = join([*self._exact, record.span])
            listed = shelf.files.get(record.name)
            replaced = listed is not None and (listed.size != record.size or listed.changed_at > record.fetched_at)
            if file.kind is self.kind and not replaced:
                held = store.columns(self.series, *record.span, columns=["open_time"])["open_time"]
                open_ends = without(missing_spans(held, self.series.interval, record.span, ()), record.missing)
                read += without([record.span], open_ends)
        self.need = [self.span] if recheck else without([self.span], join(read))

    def take(self, store: Store, finished: Finished, file: ArchiveFile, record: FileRecord) -> WriteResult:
        """Store what may be, and remember the file."""
        interval = self.series.interval
        self._number = store.number(self.series)
        span = Span(interval.ceil(file.span.start), interval.ceil(file.span.end))
        parts = finished.piece.candles[interval]
        bad_opens, opens_left = self._doubted(finished, span)
        result = WriteResult(0, 0, 0, (), ())
        counts = Counts()
        times = np.zeros(0, np.int64)
        rows = 0
        remarks = []
        if parts:
            made = Candles.join(parts)
            made = made.part(~touched(made.columns["open_time"], interval, finished.doubts))
            made, broken = self._lawful(store, made, record)
            times = made.columns["open_time"]
            write, counts = self._compared(store, made, span, record)
            marked = join([*rebuilt_spans(store, self.series), *_spans(times[write], self.series)])
            keep_rebuilt_spans(store, self.series, marked)  # first: a candle must not pass for the exchange's own
            if write.any():
                result = store.write(self._rows(made.part(write)))
                self._explain(store, _spans(times[write], self.series))
            rows = int(np.count_nonzero(within(times, marked)))
            if broken:
                remarks.append(f"{broken} break a rule")
        missing = without(missing_spans(times, interval, span, ()), opens_left)
        doubtful = sum(map(interval.count, common(join(bad_opens), missing)))
        counts = counts._replace(doubtful=doubtful, idle=sum(map(interval.count, missing)) - doubtful)
        self._counts[file.name] = counts
        self.rows += result.inserted + result.confirmed + len(result.changed)
        self.revised += len(result.changed)
        self.bytes += record.size
        record = FileRecord(
            record.name, span, record.size, record.sha256, record.checksum, record.verdict, rows, record.fetched_at,
            "; ".join([*filter(None, [record.remark]), _remark(self.kind, finished, counts), *remarks]), tuple(missing),
            rebuilt=True,
        )  # fmt: skip
        keep_file_records(store, self.series, [record])
        return result

    def reject(self, store: Store, record: FileRecord) -> None:
        """Remember a file that nothing is taken from, unless one of its name was read before."""
        if all(one.name != record.name for one in file_records(store, self.series)):
            keep_file_records(store, self.series, [record])

    def certify(self, store: Store) -> str:
        """The root of the certificate of all that is held; a new one only where files were read."""
        info = info_of(store, self.series)
        if info is None or info.first is None or info.last is None:
            return ""
        kept = certificate_of(store, self.series)
        if kept is not None and not self.files:
            old = Certificate.from_json(kept)
            if old.span == Span(info.first, self.series.interval.next(info.last)):
                return old.root
        certificate = certify(store, self.series)
        keep_certificate(store, self.series, certificate.to_json())
        return certificate.root

    def holes(self, store: StoreReader) -> list[Span]:
        """Of what was asked for, the grid times without a candle."""
        return unheld(store, self.series, [self.span])

    def _doubted(self, finished: Finished, span: Span) -> tuple[list[Span], list[Span]]:
        """The candles in doubt, and those of them that another file may settle."""
        interval = self.series.interval
        doubted: list[Span] = []
        left: list[Span] = []
        for one in finished.doubts:
            first, last = interval.floor(one.start), interval.floor(one.end)
            if one.only_across and first == last:
                continue
            (left if one.is_open else doubted).append(Span(first, interval.next(last)))
        if finished.is_last and finished.piece.span.end < span.end:
            left.append(Span(interval.floor(finished.piece.span.end), span.end))
        return doubted, without(common(join(left), [span]), join(doubted))

    def _explain(self, store: Store, held: list[Span]) -> None:
        """Where candles are held now, nothing is absent any more."""
        kept = store.absences(self.series)
        left = merged(kept, [], [], held)
        if left != kept:
            store.set_absences(self.series, left)

    def _lawful(self, store: Store, made: Candles, record: FileRecord) -> tuple[Candles, int]:
        """Those that keep every rule, and how many do not."""
        rows = self._rows(made)
        now = record.fetched_at
        broken = check(rows, Grids({self._number: self.series.interval}), now)
        if not broken:
            return made, 0
        store.quarantine([quarantined(self.series, one, rows, "archive", record.name, now) for one in broken])
        fine = np.ones(len(rows), np.bool_)
        fine[[one.index for one in broken]] = False
        return made.part(fine), len(broken)

    def _compared(
        self, store: StoreReader, made: Candles, span: Span, record: FileRecord
    ) -> "tuple[np.ndarray[tuple[int], np.dtype[np.bool_]], Counts]":
        """Which candles are to be stored, and how the others compare with those held."""
        times = made.columns["open_time"]
        held = store.columns(self.series, *span)
        is_held = np.isin(times, held["open_time"], assume_unique=True)
        at = np.searchsorted(held["open_time"], times[is_held])
        marked = within(times, rebuilt_spans(store, self.series))
        marked[is_held] &= held["source"][at] == int(Source.ARCHIVE)  # what REST gave since is its own
        # A better source, or the same one that has changed, replaces what was made of trades before.
        ours = marked if self.kind is ArchiveKind.TRADES else marked & ~within(times, self._exact)
        write = ~is_held | ours
        compare = np.flatnonzero(is_held & ~marked)
        counts = Counts(made=len(times), inexact=int(np.count_nonzero(~made.is_exact)))
        if not len(compare):
            return write, counts
        at = np.searchsorted(held["open_time"], times[compare])
        theirs: Columns = {name: values[at] for name, values in held.items()}
        mine = made.part(compare)
        found = versus(mine, theirs, burns=self._burns)
        live = theirs["source"] == int(Source.LIVE)
        write[compare[found.equal & live]] = True
        for one in np.flatnonzero(found.different)[: NAMED - len(self.differences)].tolist():
            name, ours_is, theirs_is = first_difference(mine, theirs, one)
            when = format_time(int(mine.columns["open_time"][one]))
            source = Source(int(theirs["source"][one])).name.lower()
            self.differences.append(
                f"{when}: {name} is {ours_is!r} by {record.name.rpartition('/')[2]}, {theirs_is!r} is held ({source})"
            )
        return write, counts._replace(
            equal=int(np.count_nonzero(found.equal)), within=int(np.count_nonzero(found.within)),
            different=int(np.count_nonzero(found.different)),
        )  # fmt: skip

    def _rows(self, made: Candles) -> Rows:
        rows: Rows = np.empty(len(made.slack), ROW)
        rows["series"], rows["source"] = self._number, int(Source.ARCHIVE)
        for name in ("open_time", *VALUES):
            rows[name] = made.columns[name]
        return rows


def settle_rebuilt(store: Store, series: Series, spans: list[Span]) -> None:
    """The exchange's own candles are held in `spans` now, in place of those made of trades."""
    marked = rebuilt_spans(store, series)
    left = without(marked, spans)
    if left == marked:
        return
    keep_rebuilt_spans(store, series, left)
    records = []
    for one in file_records(store, series):
        if one.rebuilt and one.rows:
            rows = sum(map(series.interval.count, common(left, [one.span])))
            if rows < one.rows:
                records.append(
                    FileRecord(
                        one.name, one.span, one.size, one.sha256, one.checksum, one.verdict, rows, one.fetched_at,
                        one.remark, one.missing, rebuilt=True,
                    )
                )  # fmt: skip
    keep_file_records(store, series, records)


def _spans(times: "np.ndarray[tuple[int], np.dtype[np.int64]]", series: Series) -> list[Span]:
    """Runs of candles."""
    if not len(times):
        return []
    length = series.interval.nominal
    breaks = np.flatnonzero(np.diff(times) != length) + 1
    starts = np.concatenate(([0], breaks))
    stops = np.append(breaks, len(times)) - 1
    return [Span(start, end + length) for start, end in zip(times[starts].tolist(), times[stops].tolist(), strict=True)]


def _remark(kind: ArchiveKind, finished: Finished, counts: Counts) -> str:
    """What was found in a file, and what was made of it."""
    piece, joint = finished.piece, finished.piece.joint
    judged = joint.judged
    skipped = sum(high - low for low, high in joint.holes)
    raw = sum(high - low for low, high in judged.skipped_raw) if kind is ArchiveKind.AGG_TRADES else 0
    parts = (
        (counts.inexact, f"{counts.inexact} of them not to the last bit"),
        (skipped, f"{skipped} ids skipped or in conflict, REST had {piece.found} trades"),
        (counts.doubtful, f"{counts.doubtful} candles left out for want of trades"),
        (counts.idle, f"{counts.idle} grid times without a trade"),
        (judged.repeated + joint.repeated, f"{judged.repeated + joint.repeated} lines repeated"),
        (joint.reused, f"{joint.reused} ids of the file before used again"),
        (judged.unordered, f"{judged.unordered} lines out of order"),
        (joint.annulled, f"{joint.annulled} lines annulled"),
        (joint.empty, f"{joint.empty} lines without a quantity"),
        (joint.outside, f"{joint.outside} lines outside its time"),
        (judged.overlapping, f"{judged.overlapping} with raw trades of others"),
        (judged.backwards, f"{judged.backwards} earlier than one before"),
        (raw, f"{raw} ids of raw trades in no aggregate"),
        (judged.is_one_sided, "all trades of one side: takers' volumes are wrong"),
        (counts.different, f"{counts.different} differ from what is held"),
    )
    return "; ".join(
        [f"{counts.made} candles rebuilt from {piece.trades} {kind.value}", *(text for count, text in parts if count)]
    )
