"""What the client makes of answers, refusals and silence."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from itertools import pairwise
from random import Random
from typing import TypeVar

import pytest

from candlewick.clock import ManualClock
from candlewick.errors import Banned, ExchangeError, RateLimited, Refused, ServerTrouble, Unreachable, UsageError
from candlewick.events import Event, RestTrouble
from candlewick.exchanges.exchange import Venue, load
from candlewick.history.budget import HISTORY, REPAIR, URGENT, Budget
from candlewick.history.client import ATTEMPTS, Page, RestClient
from candlewick.market import MINUTE, SECOND, Interval, Market, Span
from candlewick.transport import Answer

T = TypeVar("T")

START = 1_700_000_040 * SECOND
M1 = Interval("1m")
URL = "http://exchange.test"
SPOT = load("binance").venues[Market.SPOT]
USDM = load("binance").venues[Market.USDM]


def row(time: int) -> list[object]:
    return [time // 1000, "1", "2", "0.5", "1.5", "10", time // 1000 + 59_999, "15", 3, "5", "7.5", "0"]


def page(times: Iterable[int], **headers: str) -> Answer:
    return Answer(200, headers, json.dumps([row(time) for time in times]).encode())


class Exchange:
    """A REST interface that holds candles, or answers by script; it writes down what it was asked."""

    def __init__(self, clock: ManualClock, held: Iterable[int] = (), most: int = 1000) -> None:
        self.clock, self.held, self.most = clock, sorted(held), most
        self.script: list[Answer | ExchangeError] = []
        self.asked: list[tuple[int, str, dict[str, str]]] = []

    async def get(self, url: str, params: tuple[tuple[str, str], ...], timeout_s: float) -> Answer:
        self.asked.append((self.clock.now(), url, dict(params)))
        if self.script:
            answer = self.script.pop(0)
            if isinstance(answer, ExchangeError):
                raise answer
            return answer
        wanted = dict(params)
        start, end, limit = (int(wanted[name]) for name in ("startTime", "endTime", "limit"))
        times = [time for time in self.held if start * 1000 <= time <= end * 1000][: min(limit, self.most)]
        return page(times)

    async def close(self) -> None:
        return


class Desk:
    """A client with everything around it."""

    def __init__(self, held: Iterable[int] = (), venue: Venue = SPOT, most: int = 1000) -> None:
        self.clock = ManualClock(START)
        self.exchange = Exchange(self.clock, held, most)
        self.events: list[Event] = []
        self.budget = Budget()
        self.latencies: list[float] = []
        self.client = RestClient(
            venue, URL, self.exchange, self.budget, self.clock, self.events.append, random=Random(1),
            on_latency=self.latencies.append,
        )  # fmt: skip

    async def _drive(self, task: "asyncio.Task[T]") -> T:
        while not task.done():
            for _ in range(10):
                await asyncio.wait([task], timeout=0)
            if not task.done():
                self.clock.advance((min(self.clock._waiting)[0] - self.clock.now()) / SECOND)
        return task.result()

    def run(self, work: Callable[[RestClient], Awaitable[T]]) -> T:
        async def story() -> T:
            async def one() -> T:
                return await work(self.client)

            return await self._drive(asyncio.get_running_loop().create_task(one()))

        return asyncio.run(story())

    def pages(self, span: Span, priority: int = REPAIR) -> list[Page]:
        async def collect(client: RestClient) -> list[Page]:
            return [one async for one in client.klines_span("BTCUSDT", M1, span, priority)]

        return self.run(collect)

    @property
    def retries_s(self) -> list[float]:
        return [one.retry_s for one in self.events if isinstance(one, RestTrouble)]


def minutes(first: int, last: int) -> list[int]:
    return [START + n * MINUTE for n in range(first, last)]


def opens(pages: list[Page]) -> list[int]:
    return [one.open_time for page in pages for one in page.candles]


async def ping(client: RestClient) -> None:
    await client.ping()


def test_client_reads_a_span_in_pages() -> None:
    """Pages join without a gap and without a repeat, and cover the span."""
    desk = Desk(minutes(-10, 2600))
    span = Span(START, START + 2500 * MINUTE)
    pages = desk.pages(span)
    assert opens(pages) == minutes(0, 2500)
    assert [one.covered for one in pages] == [
        Span(START + n * MINUTE, min(START + (n + 1000) * MINUTE, span.end)) for n in (0, 1000, 2000)
    ]


def test_client_goes_on_after_a_short_page() -> None:
    """An exchange that gives 7 rows where 1000 were asked for is asked for the rest."""
    desk = Desk(minutes(0, 20), most=7)
    assert opens(desk.pages(Span(START, START + 20 * MINUTE))) == minutes(0, 20)


def test_client_follows_a_page_over_an_outage() -> None:
    """Where candles are missing a page spans more time than rows, and its cover says that the hole is the exchange's."""
    desk = Desk([*minutes(0, 3), *minutes(300, 305)])
    pages = desk.pages(Span(START, START + 305 * MINUTE))
    assert len(pages) == 1
    assert pages[0].covered == Span(START, START + 305 * MINUTE)
    assert opens(pages) == [*minutes(0, 3), *minutes(300, 305)]


def test_client_takes_an_empty_page_for_the_end() -> None:
    """Nothing from there to the end: covered, without a candle."""
    desk = Desk(minutes(0, 3))
    pages = desk.pages(Span(START, START + 100 * MINUTE))
    assert [(len(one.candles), one.covered) for one in pages] == [
        (3, Span(START, START + 3 * MINUTE)), (0, Span(START + 3 * MINUTE, START + 100 * MINUTE)),
    ]  # fmt: skip


def test_client_asks_nothing_for_an_empty_span() -> None:
    """A span without a grid time needs no request."""
    desk = Desk()
    assert desk.pages(Span(START + 1, START + MINUTE)) == []
    assert desk.exchange.asked == []


def test_client_drops_rows_outside_the_span_and_repeats() -> None:
    """What was not asked for is not taken, whatever order and number it comes in."""
    desk = Desk()
    desk.exchange.script = [page([START + MINUTE, START - MINUTE, START, START, START + 5 * MINUTE])]
    candles = desk.run(lambda client: client.klines("BTCUSDT", M1, START, START + 2 * MINUTE))
    assert [one.open_time for one in candles] == minutes(0, 2)


def test_client_does_not_walk_in_circles() -> None:
    """A server that ignores the span is told apart from one that has nothing."""
    desk = Desk()
    desk.exchange.script = [page(minutes(500, 600))] * ATTEMPTS
    with pytest.raises(ServerTrouble, match="none of them in the span"):
        desk.pages(Span(START, START + 10 * MINUTE))


def test_client_asks_for_the_cheapest_pages_of_the_venue() -> None:
    """Three missing minutes on USD-M take a page of weight 1; a long span the pages that are cheapest per row."""
    desk = Desk(minutes(0, 3000), venue=USDM, most=1500)
    desk.pages(Span(START, START + 3 * MINUTE))
    assert desk.exchange.asked[-1][2]["limit"] == "99"
    assert desk.client.weight_used == 1
    desk.pages(Span(START, START + 2990 * MINUTE))
    assert desk.exchange.asked[1][2]["limit"] == "499"
    assert desk.client.weight_used == 1 + 12


@pytest.mark.parametrize(
    "trouble",
    [
        Unreachable("connection refused: nothing listens at exchange.test:80"),
        Answer(502, {}, b"<html>Bad Gateway</html>"),
        Answer(200, {}, b"<html>Welcome to the hotel network</html>"),
        Answer(200, {}, b'[[1700000040000,"1","2"'),
        Answer(302, {}, b""),
        Answer(400, {}, b'{"code":-1001,"msg":"Internal error; unable to process your request."}'),
    ],
)
def test_client_tries_again_where_that_can_help(trouble: Answer | ExchangeError) -> None:
    """Silence, trouble on the other side and answers that are none are waited out, longer each time."""
    desk = Desk(minutes(0, 5))
    desk.exchange.script = [trouble] * 3
    assert len(desk.run(lambda client: client.klines("BTCUSDT", M1, START, START + 5 * MINUTE))) == 5
    assert desk.client.retries == 3
    assert [0.75 * s <= wait <= 1.25 * s for s, wait in zip((0.5, 1, 2), desk.retries_s, strict=True)] == [True] * 3
    asked_at = [at for at, _, _ in desk.exchange.asked]
    assert [later - sooner for sooner, later in pairwise(asked_at)] == pytest.approx(
        [wait * SECOND for wait in desk.retries_s], abs=2
    )


def test_client_gives_up_after_some_attempts_and_says_what_it_asked() -> None:
    """The last failure is the caller's, with the address that was asked."""
    desk = Desk()
    desk.exchange.script = [Unreachable(f"no answer {n}") for n in range(ATTEMPTS)]
    with pytest.raises(Unreachable, match=r"GET http://exchange.test/api/v3/ping: no answer 4"):
        desk.run(ping)
    assert desk.retries_s[-1] == 0.0
    assert len(desk.events) == ATTEMPTS
    assert desk.client.reachable is False
    assert desk.client.outcomes == {"success": 0, "error": ATTEMPTS, "rate_limited": 0, "server_error": 0}


def test_client_never_repeats_what_was_refused() -> None:
    """An invalid symbol is invalid the second time too."""
    desk = Desk()
    desk.exchange.script = [Answer(400, {}, b'{"code":-1121,"msg":"Invalid symbol."}')]
    with pytest.raises(Refused, match=r"klines\?symbol=NOPE.*Invalid symbol"):
        desk.run(lambda client: client.klines("NOPE", M1, START, START + MINUTE))
    assert len(desk.exchange.asked) == 1
    assert desk.client.retries == 0
    assert desk.client.reachable is True


def test_client_obeys_retry_after_and_goes_on() -> None:
    """A 429 stops everything for as long as it says; then the same request gets its answer."""
    desk = Desk(minutes(0, 5))
    desk.exchange.script = [Answer(429, {"retry-after": "17"}, b'{"code":-1003,"msg":"Too much request weight used"}')]
    assert len(desk.run(lambda client: client.klines("BTCUSDT", M1, START, START + 5 * MINUTE))) == 5
    assert desk.exchange.asked[1][0] - desk.exchange.asked[0][0] >= 17 * SECOND
    assert desk.client.outcomes == {"success": 1, "error": 0, "rate_limited": 1, "server_error": 0}
    assert desk.retries_s == [pytest.approx(17.0)]


def test_client_gives_in_when_429_does_not_end() -> None:
    """Each 429 makes the pause longer, until it is too long to wait for."""
    desk = Desk()
    desk.exchange.script = [Answer(429, {"retry-after": "1"}, b"{}")] * 50
    with pytest.raises(RateLimited):
        desk.run(ping)
    assert len(desk.exchange.asked) < 6


@pytest.mark.parametrize("status", [418, 403, 451])
def test_client_asks_nothing_while_banned(status: int) -> None:
    """A long ban is the caller's at once, and the next request is not even sent."""
    desk = Desk()
    desk.exchange.script = [Answer(status, {"retry-after": "7200"}, b"<html>teapot</html>")]
    for _ in range(3):
        with pytest.raises(Banned):
            desk.run(ping)
    assert len(desk.exchange.asked) == 1
    assert len(desk.events) == 1


def test_client_waits_out_a_short_ban_for_history_but_not_for_a_probe() -> None:
    """Two minutes are nothing to history, and too long for somebody who wants to know what is now."""
    ban = Answer(418, {"retry-after": "120"}, b"{}")
    patient, hasty = Desk(minutes(0, 2)), Desk()
    patient.exchange.script, hasty.exchange.script = [ban], [ban]
    assert len(opens(patient.pages(Span(START, START + 2 * MINUTE), HISTORY))) == 2
    assert patient.exchange.asked[1][0] >= START + 120 * SECOND
    with pytest.raises(Banned):
        hasty.run(lambda client: client.klines("BTCUSDT", M1, START, START + MINUTE, URGENT))


def test_client_counts_the_weight_that_others_use() -> None:
    """The exchange's own count of this minute stops history before the limit is passed."""
    desk = Desk(minutes(0, 2000))
    desk.exchange.script = [page(minutes(0, 1000), **{"x-mbx-used-weight-1m": "1190"})]
    pages = desk.pages(Span(START, START + 2000 * MINUTE), HISTORY)
    assert len(opens(pages)) == 2000
    assert desk.exchange.asked[1][0] == START + MINUTE


def test_client_reads_the_time_and_the_speed_of_a_simulated_exchange() -> None:
    """The real exchange sends no speed."""
    desk = Desk()
    body = b'{"serverTime":1700000041000}'
    desk.exchange.script = [Answer(200, {}, body), Answer(200, {"x-candlewick-speed": "60"}, body)]
    assert desk.run(lambda client: client.server_time()) == ((START + SECOND), None, 0.0)
    assert desk.run(lambda client: client.server_time()).speed == 60.0
    assert len(desk.latencies) == 2


def test_client_obeys_the_limit_the_listing_states() -> None:
    """What exchangeInfo says caps the budget."""
    desk = Desk()
    limits = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 1000}]
    desk.exchange.script = [Answer(200, {}, json.dumps({"rateLimits": limits, "symbols": []}).encode())]
    info = desk.run(lambda client: client.exchange_info())
    assert info.weight_per_minute == 1000
    assert desk.budget.limit == 900


def test_client_reads_pages_of_trades() -> None:
    """Aggregate and raw trades come from an id on."""
    desk = Desk()
    aggregate = {"a": 7, "p": "1", "q": "2", "f": 9, "l": 10, "T": START // 1000, "m": True, "M": True}
    raw = {"id": 9, "price": "1", "qty": "2", "quoteQty": "2", "time": START // 1000, "isBuyerMaker": True}
    desk.exchange.script = [Answer(200, {}, json.dumps([one]).encode()) for one in (aggregate, raw)]
    assert desk.run(lambda client: client.agg_trades("BTCUSDT", 7, 10))[0].trade_id == 7
    assert desk.run(lambda client: client.trades("BTCUSDT", 9, 10))[0].trade_id == 9
    assert [params["fromId"] for _, _, params in desk.exchange.asked] == ["7", "9"]


def test_client_says_where_raw_trades_want_a_key() -> None:
    """USD-M serves no raw trades of the past to the public."""
    desk = Desk(venue=USDM)
    with pytest.raises(UsageError, match="aggTrade"):
        desk.run(lambda client: client.trades("BTCUSDT", 1, 10))


def test_client_can_be_cancelled_while_it_waits() -> None:
    """A request that waits for its next attempt ends when told to, and leaves nothing behind."""
    desk = Desk()
    desk.exchange.script = [Unreachable("no answer")]

    async def story() -> None:
        task = asyncio.get_running_loop().create_task(desk.client.ping())
        while not desk.events:
            await asyncio.wait([task], timeout=0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(story())
    assert desk.client._gate.in_flight == desk.client._gate.waiting == 0
