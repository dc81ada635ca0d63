"""History in a run, from the archive: what is too long for REST, and what only REST has said not to be there."""

from collections.abc import Callable, Iterable
from itertools import groupby

from candlewick.clock import Clock
from candlewick.errors import CandlewickError
from candlewick.events import Event, HistoryLoaded, RestTrouble
from candlewick.exchanges.exchange import Archive
from candlewick.market import DAY, Market, Series, Span
from candlewick.services.loading.loader import Loader, LoadResult, Wanted
from candlewick.services.loading.need import lasts
from candlewick.stores.store import Reason, StoreReader

OLD = 3 * DAY
"""What is older comes from the archive: its files of the days before have appeared by then, as a rule."""
EVERY_S = 3600.0


class Historian:
    """Asks the archive on behalf of a run; `new_loader` makes what asks, once for every load."""

    def __init__(
        self, new_loader: Callable[[], Loader], store: StoreReader, archive: Archive, market: Market, clock: Clock,
        tell: Callable[[Event], object],
    ) -> None:  # fmt: skip
        self._new_loader, self._store, self._archive, self._market = new_loader, store, archive, market
        self._clock, self._tell = clock, tell

    def boundary(self) -> int:
        """Where the part of history ends that is old enough for the archive."""
        now = self._clock.now()
        return now - now % DAY - OLD

    async def load(self, wanted: Iterable[tuple[Series, Span]]) -> list[LoadResult]:
        """Load what of the spans is not settled yet, and give holes their reasons; trouble is told, and no more."""
        results: list[LoadResult] = []
        for span, group in groupby(sorted(wanted, key=lambda one: one[1]), key=lambda one: one[1]):
            series = tuple(one for one, _ in group)
            loader = self._new_loader()
            try:
                results += await loader.run(Wanted(series, span, certify=False))
            except CandlewickError as error:
                self._tell(RestTrouble(f"history of {', '.join(map(str, series))} {span}", str(error), EVERY_S))
            finally:
                loader.close()
        for one in results:
            if one.rows or one.missing:
                series_of = Series.parse(f"{one.market}:{one.symbol}:{one.interval}")
                span = Span(one.start * 1000, one.end * 1000)
                self._tell(HistoryLoaded(series_of, span, one.rows, one.archive_files, one.missing))
        return results

    async def run(self) -> None:
        """Every hour, have what is absent by REST's word alone, or pending, asked of the archive where it has come out."""
        while True:
            if unproved := self._unproved():
                await self.load(unproved)
            await self._clock.sleep(EVERY_S)

    def _unproved(self) -> list[tuple[Series, Span]]:
        """By series, what is absent without the archive's word, of days whose files should be there."""
        now = self._clock.now()
        found = []
        for info in self._store.series(counted=False):
            if info.series.market != self._market:
                continue
            spans = [
                one.span
                for one in self._store.absences(info.series)
                if one.reason in {Reason.EXCHANGE_OUTAGE, Reason.PENDING}
                and not lasts(one)
                and one.span.end - one.span.end % DAY + DAY + self._archive.published_after <= now
            ]
            if spans:
                found.append((info.series, Span(spans[0].start, spans[-1].end)))
        return found
