"""REST's part of a load: asks for what the archive has not, and is held against files whose checksum proves nothing."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from random import Random
from typing import NamedTuple

import numpy as np

from candlewick.clock import SECOND, Clock
from candlewick.errors import ExchangeError, Refused
from candlewick.history.archive_plan import Step, Way, grid_span
from candlewick.history.budget import HISTORY
from candlewick.history.client import SETTLE_S, RestClient
from candlewick.integrity.rules import EARLIEST, Broken, Grids, check
from candlewick.integrity.spans import within
from candlewick.market import Candle, Instrument, Interval, Series, Span, format_time
from candlewick.services.loading.holes import LATER, NOTHING_LATER, Asked, unusable
from candlewick.services.loading.need import lacking
from candlewick.services.loading.parts import Found, quarantined
from candlewick.stores.store import VALUES, Rows, Source, to_rows

WHOLE_ROWS = 5_000
"""A file of so many rows is compared with REST row by row; of a longer one both ends and some pages between."""
SAMPLE_ROWS = 1_000
SAMPLE_PAGES = 3


class Comparison(NamedTuple):
    """How a file's rows compare with REST's."""

    agrees: bool
    remark: str


class RestSource:
    """REST as a source of settled candles."""

    def __init__(self, client: RestClient, clock: Clock) -> None:
        self.client, self._clock = client, clock
        self.requests: Counter[Series] = Counter()
        self.unknown: dict[str, str] = {}
        """Symbols it does not list, and its words."""
        self._info: dict[str, Instrument] | None = None

    def settled_end(self, interval: Interval) -> int:
        """Where candles that are over and settled end now."""
        return interval.floor(self._clock.now() - int(SETTLE_S * SECOND))

    async def first(self, series: Series) -> tuple[int, Asked | None]:
        """The open time of the first candle it has of a series, 0 where it has none, and who says so.

        Raises:
            ExchangeError: it cannot be asked; a symbol it does not know is none it has.
        """
        now = self._clock.now()
        try:
            candles = await self._earliest(series, Span(EARLIEST, series.interval.ceil(now)))
        except Refused as error:
            if not await self._is_unknown(series.symbol, error):
                raise
            return 0, None
        if not candles:
            return 0, None
        first = candles[0].open_time
        name = f"klines {series.symbol} {series.interval} from the beginning"
        return first, Asked(Span(0, first), Way.REST, name, now, f"the first candle opens at {format_time(first)}")

    async def has_after(self, series: Series, start: int) -> bool:
        """Whether it has a candle that opens at `start` or later.

        Raises:
            ExchangeError: it cannot be asked.
        """
        end = series.interval.ceil(self._clock.now())
        return start < end and bool(await self._earliest(series, Span(start, end)))

    async def status(self, symbol: str) -> str | None:
        """What the exchange says of a symbol: empty where it trades, None where it does not list it.

        Raises:
            ExchangeError: it cannot be asked.
        """
        if self._info is None:
            self._info = {one.symbol: one for one in (await self.client.exchange_info()).instruments}
        listed = self._info.get(symbol)
        if listed is None:
            return None
        return "" if listed.is_trading else listed.status

    async def _is_unknown(self, symbol: str, error: ExchangeError) -> bool:
        """Whether REST failed because it does not list the symbol (any more)."""
        if not isinstance(error, Refused):
            return False
        if symbol not in self.unknown:
            with suppress(ExchangeError):
                if await self.status(symbol) is None:
                    self.unknown[symbol] = f"refused with code {error.code}; exchangeInfo does not list it"
        return symbol in self.unknown

    async def _earliest(self, series: Series, span: Span) -> list[Candle]:
        """The first candle that opens in `span`, if there is one."""
        self.requests[series] += 1
        return await self.client.klines(series.symbol, series.interval, *span, HISTORY, most=1)

    async def take(self, step: Step, series: Series, number: int) -> Found:
        """The rows of a step, and what it lacks; trouble is part of what is found."""
        interval, now = series.interval, self._clock.now()
        span = grid_span(interval, Span(step.needed[0].start, step.needed[-1].end))
        candles: dict[int, Candle] = {}
        latest = 0
        trouble = ""
        answer = LATER
        try:
            # With the candle after it, so that an empty end shows something later.
            asked_to = max(min(interval.next(span.end), self.settled_end(interval)), span.end)
            async for page in self.client.klines_span(series.symbol, interval, Span(span.start, asked_to), HISTORY):
                self.requests[series] += 1
                candles |= {one.open_time: one for one in page.candles}
                latest = max([latest, *(one.open_time for one in page.candles)])
            if latest < span.end and await self.has_after(series, span.end):
                latest = span.end
        except ExchangeError as error:
            if await self._is_unknown(series.symbol, error):
                latest, answer = span.end, self.unknown[series.symbol]
            else:
                trouble = str(error)
        rows, broken = self._checked(series, number, step.needed, list(candles.values()), now)
        place = f"REST klines {span}"
        times = [int(all_rows["open_time"][one.index]) for one, all_rows in broken]
        odd = unusable(interval, times, Way.REST, f"klines {series.symbol} {interval} {span}", now)
        return Found(
            step,
            rows,
            lacking(rows["open_time"], interval, step.needed),
            [] if trouble else [*_answers(series, span, latest, now, answer), *odd],
            trouble,
            quarantined=tuple(quarantined(series, one, all_rows, "rest", place, now) for one, all_rows in broken),
        )

    def _checked(
        self, series: Series, number: int, needed: Sequence[Span], candles: list[Candle], now: int
    ) -> tuple[Rows, list[tuple[Broken, Rows]]]:
        """The candles that are wanted and keep every rule, as rows; and those that do not."""
        rows = to_rows(number, Source.REST, sorted(candles, key=lambda one: one.open_time))
        rows = rows[within(rows["open_time"], needed)]
        found = check(rows, Grids({number: series.interval}), now)
        kept = np.delete(rows, [one.index for one in found]) if found else rows
        return kept, [(one, rows) for one in found]

    async def compare(self, series: Series, rows: Rows, name: str) -> Comparison:
        """Hold a file's rows, which keep every rule and are in order, against REST.

        Raises:
            ExchangeError: it cannot be asked.
        """
        compared = 0
        parts = _sample(rows, name)
        for part in parts:
            times = part["open_time"]
            span = Span(int(times[0]), series.interval.next(int(times[-1])))
            theirs: dict[int, Candle] = {}
            async for page in self.client.klines_span(series.symbol, series.interval, span, HISTORY):
                self.requests[series] += 1
                theirs |= {one.open_time: one for one in page.candles}
            other = to_rows(0, Source.REST, [theirs[time] for time in times.tolist() if time in theirs])
            if len(other) != len(part):
                lacking = next(time for time in times.tolist() if time not in theirs)
                return Comparison(False, f"REST has no candle of {format_time(lacking)}, which is in the file")
            for field in VALUES:
                differ = np.flatnonzero(other[field] != part[field])
                if differ.size:
                    time = format_time(int(times[differ[0]]))
                    return Comparison(False, f"{field} of {time} differs from REST: {part[field][differ[0]]}")
            compared += len(part)
        what = "all" if compared == len(rows) else f"both ends and {max(0, len(parts) - 2)} pages between, in all"
        return Comparison(compared > 0, f"{what} {compared} rows were compared with REST and agree")


def _sample(rows: Rows, seed: str) -> list[Rows]:
    """All rows, or both ends and some pages between, always the same of one file."""
    if len(rows) <= WHOLE_ROWS:
        return [rows] if len(rows) else []
    pages = range(1, len(rows) // SAMPLE_ROWS - 1)
    chosen = sorted(Random(seed).sample(pages, min(SAMPLE_PAGES, len(pages))))  # noqa: S311 - a sample, no secret
    starts = [0, *(page * SAMPLE_ROWS for page in chosen), len(rows) - SAMPLE_ROWS]
    return [rows[start : start + SAMPLE_ROWS] for start in starts]


def _answers(series: Series, span: Span, latest: int, now: int, answer: str) -> list[Asked]:
    """What REST said of the times it gave no candle of."""
    name = f"klines {series.symbol} {series.interval} {span}"
    shown = min(max(latest, span.start), span.end)
    parts = [(Span(span.start, shown), answer), (Span(shown, span.end), NOTHING_LATER)]
    return [Asked(part, Way.REST, name, now, words) for part, words in parts if part.start < part.end]
