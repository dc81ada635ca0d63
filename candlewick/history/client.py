"""Asks an exchange's REST interface: within the budget, again where that can help, and in pages."""

from collections.abc import AsyncIterator, Callable
from random import Random
from typing import NamedTuple, TypeVar
from urllib.parse import urlencode

from candlewick.clock import Clock
from candlewick.errors import (
    Banned,
    DecodeError,
    ExchangeError,
    NotFound,
    RateLimited,
    Refused,
    ServerTrouble,
    Unreachable,
    UsageError,
)
from candlewick.events import Event, RestTrouble
from candlewick.exchanges.exchange import ExchangeInfo, Request, Venue
from candlewick.history.budget import HISTORY, REPAIR, URGENT, Budget
from candlewick.history.gate import Gate, Turn, pause_left_s
from candlewick.history.plan import page_rows
from candlewick.market import Candle, Interval, Span, Trade
from candlewick.transport import Answer, Http

T = TypeVar("T")

ATTEMPTS = 5
"""How often a request is sent before its failure is the caller's."""
FIRST_RETRY_S = 0.5
MOST_RETRY_S = 8.0
PATIENCE_S = {URGENT: 20.0, REPAIR: 90.0, HISTORY: 150.0}
"""By priority, the longest pause imposed by the exchange that is waited for; the shortest ban is two minutes."""

SETTLE_S = 10.0
"""REST rows of a candle that closed less than this ago may still be those of a moment before its end."""

SPEED_HEADER = "x-candlewick-speed"
"""The simulator's: how many seconds of its time pass in one second."""


class ServerTime(NamedTuple):
    """What time it is there, in microseconds; `speed` where time is simulated; the round trip in market seconds."""

    time: int
    speed: float | None
    round_trip_s: float


class Page(NamedTuple):
    """Candles, oldest first, and the span they prove: a grid time in `covered` without a candle has none there now."""

    candles: list[Candle]
    covered: Span


class RestClient:
    """One market of an exchange over REST."""

    def __init__(
        self, venue: Venue, base_url: str, http: Http, budget: Budget, clock: Clock,
        on_event: Callable[[Event], object], *, random: Random, in_flight: int = 4, timeout_s: float = 15.0,
        on_latency: Callable[[float], object] = lambda _: None, most_rows: int | None = None,
    ) -> None:  # fmt: skip
        """`timeout_s` is real time, of one attempt; `on_latency` hears the market seconds each answer took.

        No page of candles has more than `most_rows`.
        """
        self._most_rows = most_rows
        self.venue = venue
        self.base_url = base_url.rstrip("/")
        self.budget = budget
        self.outcomes = {"success": 0, "error": 0, "rate_limited": 0, "server_error": 0}
        """How many requests ended how; every attempt counts."""
        self.reachable: bool | None = None
        """Whether the last request was answered as it should be; None before the first."""
        self.trouble: str | None = None
        """Why the last request was not, or None."""
        self.failures = 0
        """How many requests in a row, the last one included, were not answered as they should be."""
        self.retries = 0
        self.weight_used = 0
        self._http, self._clock, self._on_event, self._random = http, clock, on_event, random
        self._on_latency = on_latency
        self._timeout_s = timeout_s
        self._gate = Gate(budget, clock, in_flight)

    async def ping(self) -> None:
        """Whether it answers.

        Raises:
            ExchangeError: it does not.
        """
        await self._ask(self.venue.ping(), lambda _: None, URGENT)

    async def server_time(self) -> ServerTime:
        """What time it is there; asked urgently."""
        time, answer, round_trip_s = await self._exchange(self.venue.time(), self.venue.read_time, URGENT)
        speed = answer.headers.get(SPEED_HEADER)
        return ServerTime(time, float(speed) if speed else None, round_trip_s)

    async def exchange_info(self) -> ExchangeInfo:
        """What is listed; the limit it states is obeyed from here on."""
        info = await self._ask(self.venue.exchange_info(), self.venue.read_exchange_info, REPAIR)
        if info.weight_per_minute is not None:
            self.budget.limit_known(info.weight_per_minute)
        return info

    async def klines(
        self, symbol: str, interval: Interval, start: int, end: int, priority: int = REPAIR, most: int | None = None
    ) -> list[Candle]:
        """The first page of the candles that open in `[start, end)`, in order, the unfinished one included.

        The page is as large as is cheapest for the whole span, so it may not reach `end`: see `klines_span`. With
        `most` it has no more candles than that.

        Raises:
            ExchangeError: it cannot be had, or is refused.
        """
        limit = most or page_rows(self.venue.page_sizes, interval.count(Span(start, end)))
        limit = min(limit, self._most_rows or limit)

        def read(body: bytes) -> list[Candle]:
            candles = self.venue.read_klines(body)
            page = {one.open_time: one for one in candles if start <= one.open_time < end}
            if candles and not page:
                raise DecodeError(f"{len(candles)} candles, none of them in the span asked for")
            return [page[time] for time in sorted(page)]

        return await self._ask(self.venue.klines(symbol, interval, start, end, limit), read, priority)

    async def klines_span(
        self, symbol: str, interval: Interval, span: Span, priority: int = REPAIR
    ) -> AsyncIterator[Page]:
        """Every candle that opens in `span`, page by page until the span is covered.

        Only an empty page or its end ends a span: the exchange leaves out candles of its outages, so neither a short
        page nor a page that spans more time than rows says that nothing follows.

        Raises:
            ExchangeError: a page cannot be had, or is refused.
        """
        start = interval.ceil(span.start)
        while start < span.end:
            candles = await self.klines(symbol, interval, start, span.end, priority)
            reached = min(interval.next(interval.floor(candles[-1].open_time)), span.end) if candles else span.end
            yield Page(candles, Span(start, reached))
            start = reached

    async def agg_trades(self, symbol: str, from_id: int, limit: int, priority: int = REPAIR) -> list[Trade]:
        """A page of aggregate trades from the id `from_id` on."""
        request = self.venue.agg_trades(symbol, from_id, limit)
        return await self._ask(request, self.venue.read_agg_trades, priority)

    async def trades(self, symbol: str, from_id: int, limit: int, priority: int = REPAIR) -> list[Trade]:
        """A page of raw trades from the id `from_id` on.

        Raises:
            UsageError: the exchange does not serve them without a key.
        """
        request = self.venue.trades(symbol, from_id, limit)
        if request is None:
            raise UsageError(f"{self.base_url} gives raw trades of the past only to holders of a key: ask for aggTrade")
        return await self._ask(request, self.venue.read_trades, priority)

    async def _ask(self, request: Request, read: Callable[[bytes], T], priority: int) -> T:
        return (await self._exchange(request, read, priority))[0]

    async def _exchange(self, request: Request, read: Callable[[bytes], T], priority: int) -> tuple[T, Answer, float]:
        """What `read` makes of the answer, the answer, and the market seconds it took; asked again where that helps."""
        what = f"GET {self.base_url}{request.path}" + (f"?{urlencode(request.params)}" if request.params else "")
        patience_s = PATIENCE_S[priority]
        failures = 0
        while True:
            async with self._gate.passing(request.weight, priority, patience_s) as turn:
                try:
                    return await self._attempt(request, read, turn)
                except ExchangeError as error:
                    failures += 1
                    retry_s = self._failed(error, failures, patience_s)
                    self._on_event(RestTrouble(what, str(error), retry_s or 0.0))
                    error.args = (f"{what}: {error}",)
                    if retry_s is None:
                        raise
                    pause = isinstance(error, RateLimited | Banned)
            self.retries += 1
            if not pause:  # a pause is kept by the budget
                await self._clock.sleep(retry_s)

    async def _attempt(self, request: Request, read: Callable[[bytes], T], turn: Turn) -> tuple[T, Answer, float]:
        """Send it once."""
        self.weight_used += request.weight
        began = self._clock.monotonic()
        answer = await self._http.get(self.base_url + request.path, request.params, self._timeout_s)
        latency_s = self._clock.monotonic() - began
        turn.used_weight = self.venue.used_weight(answer.headers)
        self._on_latency(latency_s)
        if answer.status >= 400:
            raise self.venue.error(answer.status, answer.headers, answer.body, self._clock.now())
        if answer.status != 200:
            raise ServerTrouble(f"answered {answer.status}, which is not documented; is this the right address?")
        try:
            result = read(answer.body)
        except DecodeError as error:
            raise ServerTrouble(f"answered something else ({error}); is this the right address?") from error
        self.outcomes["success"] += 1
        self.reachable, self.trouble, self.failures = True, None, 0
        return result, answer, latency_s

    def _failed(self, error: ExchangeError, failures: int, patience_s: float) -> float | None:
        """In how many seconds to ask again after so many failures, or None; the one place where that is decided."""
        self.failures += 1
        self.reachable = not isinstance(error, Unreachable | ServerTrouble)
        self.trouble = None if self.reachable else str(error)
        if isinstance(error, RateLimited | Banned):
            self.outcomes["rate_limited"] += 1
            now = self._clock.now()
            self.budget.refused(error, now)
            wait_s = pause_left_s(self.budget.pause(now) or error, now)
            return wait_s if wait_s <= patience_s else None
        self.outcomes["server_error" if isinstance(error, ServerTrouble) else "error"] += 1
        if isinstance(error, Refused | NotFound) or failures >= ATTEMPTS:
            return None
        return min(MOST_RETRY_S, FIRST_RETRY_S * 2.0 ** (failures - 1)) * self._random.uniform(0.75, 1.25)
