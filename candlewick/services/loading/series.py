"""One series of a load: what it needs, whom to ask next, and what it comes to."""

from collections.abc import Sequence

from candlewick.errors import ExchangeError, UnknownSymbol
from candlewick.exchanges.exchange import Archive
from candlewick.history.archive import ArchiveClient
from candlewick.history.archive_plan import Archived, Shelf, Step, Way, grid_span, next_steps
from candlewick.integrity.spans import common, join, without
from candlewick.market import DAY, Series, Span
from candlewick.services.loading import listing as shelves
from candlewick.services.loading.holes import (
    NO_ROW,
    NOTHING_LATER,
    Asked,
    Sorted,
    Trading,
    merged,
    sort_holes,
    unusable,
)
from candlewick.services.loading.need import needed, unheld
from candlewick.services.loading.parts import Found
from candlewick.services.loading.rest import RestSource
from candlewick.stores.provenance import TAKEN, FileRecord, Listing, file_records, keep_listing, listing_of
from candlewick.stores.store import Reason, Store, StoreReader, info_of

LONG_GONE = 3 * DAY
"""What has made no candle for so long, and does not trade by the exchange's word, is delisted: halts are shorter."""
_FOREVER = 1 << 62


class SeriesLoad:
    """The state of one series; asks nobody by itself but in `learn` and `ask_ended`."""

    def __init__(self, series: Series, span: Span, number: int, now: int) -> None:
        """`span`: what is wanted, up to where candles are over and settled."""
        self.series, self.span, self.number = series, span, number
        self.need: list[Span] = []
        """What was to be got when it began, in order."""
        self.left: list[Span] = []
        """What of it nobody had so far and somebody may have."""
        self.exhausted: list[Span] = []
        """What of it everybody was asked for."""
        self.shelf: Shelf = shelves.UNKNOWN
        self.trading = Trading()
        self.asked: list[Asked] = []
        self.unasked: list[Span] = []
        """For what somebody could not be asked."""
        self.troubles: list[str] = []
        self.rows = self.revised = self.files = self.bytes = self.rest_rows = 0
        self._now = now
        self._files_asked: set[str] = set()
        self._rest_asked: list[Span] = []
        self._records: list[FileRecord] = []
        self._begins_here = False
        self._gone = 0
        """From where on it was found to be delisted before, if it has made no candle since."""

    def prepare(self, store: StoreReader, *, recheck: bool) -> None:
        """Find out what it needs."""
        self._records = [one for one in file_records(store, self.series) if not one.rebuilt]
        self.need = self.left = needed(store, self.series, self.span, self._records, recheck=recheck)
        if self.need:
            before = store.columns(self.series, end=self.need[0].start, columns=["open_time"], last=1)
            self._begins_here = not len(before["open_time"])
            gone = [one.span.start for one in store.absences(self.series) if one.reason is Reason.DELISTED]
            if gone and not len(store.columns(self.series, start=gone[0], columns=["open_time"], last=1)["open_time"]):
                self._gone = gone[0]

    async def learn(self, listing: ArchiveClient, rest: RestSource) -> None:
        """Look at the archive's listing and ask REST when the symbol began to trade, as far as that is needed.

        Raises:
            UnknownSymbol: neither REST nor the archive has ever heard of it.
        """
        if self.need and self.need[0].start < self._now - self._now % DAY:  # today has no file
            self.shelf = await shelves.look(listing, self.series, self.need)
        if not self.need:
            return
        if self.shelf.is_empty:
            self.asked.append(shelves.nothing_listed(listing.archive, self.series, self._now))
        try:
            if self._begins_here:
                first, who = await rest.first(self.series)
                if who is not None:
                    self.trading = Trading(first=first, first_asked=(who,))
            ends = await shelves.ends_at(rest, self.series, self.shelf, self._now)
        except ExchangeError as error:
            self.troubles.append(str(error))
            ends = 0
        if self.series.symbol in rest.unknown and not self.shelf.files:
            where = "the archive has no file of it" if self.shelf.is_known else "the archive's listing does not answer"
            raise UnknownSymbol(
                f"{self.series.symbol} is not known on {self.series.market} of the exchange, and {where}: "
                f"see its spelling ({rest.unknown[self.series.symbol]})"
            )
        if ends:
            name = f"klines {self.series.symbol} {self.series.interval} from {ends}"
            words = rest.unknown.get(self.series.symbol, NOTHING_LATER)
            self.asked.append(Asked(Span(ends, _FOREVER), Way.REST, name, self._now, words))
        known = common(self.left, [Span(self.trading.first, ends or _FOREVER)])
        self.exhausted = without(self.left, known)
        self.left = known

    def steps(self, archive: Archive, page_sizes: Sequence[tuple[int, int]], threshold_months: int) -> list[Step]:
        """Whom to ask next; what nobody is left for is exhausted."""
        self._recall(archive)
        archived = Archived(archive, self.series, self.shelf, self._now, threshold_months)
        steps = next_steps(
            archived, self.left, page_sizes, asked=self._files_asked, rest_asked=self._rest_asked
        )  # fmt: skip
        going = join(span for step in steps for span in step.needed)
        self.exhausted = join([*self.exhausted, *without(self.left, going)])
        self.left = going
        return steps

    def _recall(self, archive: Archive) -> None:
        """Files of the ledger that are known to lack what is wanted need not be fetched again, unless replaced."""
        for record in self._records:
            wanted = common(self.left, [record.span])
            if record.verdict not in TAKEN or record.name in self._files_asked or not wanted:
                continue
            listed = self.shelf.files.get(record.name)
            replaced = listed is not None and (listed.size != record.size or listed.changed_at > record.fetched_at)
            file = archive.parse_name(record.name)
            if file is not None and not replaced and not without(wanted, record.missing):
                self._files_asked.add(record.name)
                way = Way.MONTHLY if file.is_monthly else Way.DAILY
                span = grid_span(self.series.interval, record.span)
                who = way, record.name, record.fetched_at
                self.asked.append(Asked(span, *who, NO_ROW, record.sha256))
                self.asked += unusable(self.series.interval, record.unusable, *who, record.sha256)

    def took(self, found: Found, revised: int) -> None:
        """Take note of what a step came to; its rows are on disk."""
        step = found.step
        self.left = join([*without(self.left, step.needed), *found.left])
        self.asked += found.asked
        self.rows += len(found.rows)
        self.revised += revised
        if step.file is not None:
            self._files_asked.add(step.file.name)
            if found.record is not None:
                self._records.append(found.record)
                self.files += 1
                self.bytes += found.record.size
        else:
            self.rest_rows += len(found.rows)
            self._rest_asked = join([*self._rest_asked, *step.needed])
        if found.trouble:
            self.unasked = join([*self.unasked, *step.needed])
            self.troubles.append(found.trouble)

    @property
    def got(self) -> list[Span]:
        """What it needed and somebody had."""
        return without(self.need, self.exhausted)

    def holes(self, store: StoreReader) -> list[Span]:
        """What is exhausted and not held from any source."""
        return unheld(store, self.series, self.exhausted)

    def silent_from(self, holes: Sequence[Span]) -> int:
        """From where on REST has nothing, if that is among the holes and long ago; else 0."""
        starts = [one.span.start for one in self.asked if one.answer == NOTHING_LATER and common(holes, [one.span])]
        start = min((max(one, holes[0].start) for one in starts), default=0) if holes else 0
        start = min(start, self._gone or start)
        return start if start and start < self._now - LONG_GONE else 0

    def archive_alone(self, rest: RestSource, archive: Archive) -> None:
        """When a symbol traded that REST does not know: the archive alone can tell."""
        if self.series.symbol not in rest.unknown or not self.shelf.is_known or not self.shelf.last:
            return
        began = shelves.began(self.series, self.shelf, archive, rest, self._records, self._now)
        after = self.series.interval.ceil(self.shelf.last)  # the last of three days or a week may outlast its month
        for record in self._records:
            if record.span.end == self.shelf.last and record.missing and record.missing[-1].end == after:
                after = min(after, record.missing[-1].start)
        words = rest.unknown[self.series.symbol]
        ended = shelves.ended(self.series, self.shelf, archive, after, words, self._now)
        self.trading = began._replace(after_last=ended.after_last, last_asked=ended.last_asked)

    def ended(self, archive: Archive, after: int, status: str) -> None:
        """It has stopped trading: nothing comes from `after` on."""
        ended = shelves.ended(self.series, self.shelf, archive, after, status, self._now)
        self.trading = self.trading._replace(after_last=ended.after_last, last_asked=ended.last_asked)

    def explain(self, store: Store, holes: list[Span]) -> Sorted:
        """Keep the reason of each hole that has one."""
        unasked = self.unasked
        if self._begins_here and not self.trading.first:
            # Nobody said when it began: what lies before its first candle may be anything.
            held = info_of(store, self.series)
            first = None if held is None else held.first
            unasked = join([*unasked, Span(-_FOREVER, _FOREVER if first is None else first)])
        found = sort_holes(self.series.interval, holes, self.asked, unasked, self.trading, self._now)
        kept = store.absences(self.series)
        new = merged(kept, found.absences, self.need, without(self.need, holes))
        if new != kept:
            store.set_absences(self.series, new)
        known = listing_of(store, self.series.market, self.series.symbol)
        learnt = Listing(
            self.trading.first or known.first, max(0, self.trading.after_last - self.series.interval.nominal),
            self._listing_source(),
        )  # fmt: skip
        if self.series.interval.code == "1m" and self.trading != Trading() and learnt != known:
            keep_listing(store, self.series.market, self.series.symbol, learnt)
        return found

    def _listing_source(self) -> str:
        asked = [*self.trading.first_asked, *self.trading.last_asked]
        return "; ".join(f"{one.who}: {one.answer}" for one in asked)
