"""Gaps that a gap handler repairs: what is sent, what is taken over, and who repairs where it does not."""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import pytest

from candlewick.errors import StoreDown, Unreachable
from candlewick.events import GapClosed, RestTrouble
from candlewick.history.budget import HISTORY, REPAIR, URGENT
from candlewick.market import DAY, Span
from candlewick.services import delegate
from candlewick.services.delegate import Delegate
from candlewick.services.repair import Job, Repairer
from candlewick.stores.memory import MemoryStore
from candlewick.stores.store import Source, StoreReader, to_rows
from candlewick.transport import Answer
from tests.unit.services.workbench import BTC, ETH, Bench, candle, minute, simulate, span

GAP = span(-9, -6)


class Shared(MemoryStore):
    """A database that others go on using when one reader is done."""

    def close(self) -> None:
        return


class Handler:
    """A gap handler beside its database; `answer` is what it says, `finds` what it keeps when it is asked."""

    def __init__(self, finds: Iterable[int] = (), source: Source = Source.REST, price: float = 100.0) -> None:
        self.asked: list[tuple[dict[str, Any], Mapping[str, str], float]] = []
        self.answer: Answer | Unreachable = Answer(200, {}, b'{"status": "backfilled"}')
        self.down = False
        self._finds = [candle(minute(one), price) for one in finds]
        self._source = source
        self._database = Shared()
        self._database.number(ETH)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Answer:
        assert url == "http://handler/backfill"
        self.asked.append((json.loads(body), headers, timeout_s))
        if isinstance(self.answer, Unreachable):
            raise self.answer
        self._database.write(to_rows(self._database.number(BTC), self._source, self._finds))
        return self.answer

    def database(self) -> StoreReader:
        if self.down:
            raise StoreDown("the database does not answer")
        return self._database


def _story(handler: Handler, story: Callable[[Bench, Repairer], Awaitable[None]], token: str = "") -> Bench:
    """A series that lacks three minutes, with a repairer that asks the handler first."""

    async def play(bench: Bench) -> Bench:
        elsewhere = Delegate(
            "http://handler/backfill", token, handler.database, handler, bench.recorder, clock=bench.clock,
            tell=bench.events.append,
        )  # fmt: skip
        repairer = Repairer(
            bench.client, bench.recorder, clock=bench.clock, tell=bench.events.append, elsewhere=elsewhere.repair
        )
        await bench.keep(BTC, map(minute, [*range(-20, -9), *range(-6, 0)]), Source.REST)
        await story(bench, repairer)
        return bench

    return simulate(play)


def _mend(job: Job) -> Callable[[Bench, Repairer], Awaitable[None]]:
    async def story(bench: Bench, repairer: Repairer) -> None:
        await repairer.mend(job)

    return story


def test_gap_is_repaired_by_the_handler() -> None:
    """The handler is told of the gap as documented, its rows are taken over as settled, and REST is not asked."""
    handler = Handler(range(-9, -6), price=123.0)
    bench = _story(handler, _mend(Job(BTC, GAP, REPAIR, "scan")), token="secret")
    ((body, headers, timeout_s),) = handler.asked
    detected_at = body.pop("detected_at")
    assert body == {
        "gap_start": "2026-11-02T09:08:00Z", "gap_end": "2026-11-02T09:11:00Z", "candles_missing": 3, "market": "spot",
        "symbol": "BTCUSDT", "interval": "1m",
    }  # fmt: skip
    assert detected_at == "2026-11-02T09:17:30Z"
    assert headers == {"Authorization": "Bearer secret"}
    assert timeout_s == 30.0
    rows = bench.store.read(BTC, *GAP)
    assert rows["close"].tolist() == [123.0] * 3
    assert set(rows["source"].tolist()) == {Source.REST}
    assert bench.rest.spans == []
    (closed,) = bench.told(GapClosed)
    assert (closed.candles, closed.recovered) == (3, 3)


def test_without_a_token_no_header_is_sent() -> None:
    """Without CONTROL_TOKEN the handler judges the caller by its address."""
    handler = Handler(range(-9, -6))
    _story(handler, _mend(Job(BTC, GAP, REPAIR, "scan")))
    assert handler.asked[0][1] == {}


def test_what_the_handler_leaves_is_asked_of_rest() -> None:
    """Of a gap that is repaired in part the rest comes from REST, and nothing that came is asked for again."""
    handler = Handler([-9, -8])
    handler.answer = Answer(200, {}, b'{"status": "partial"}')
    bench = _story(handler, _mend(Job(BTC, GAP, REPAIR, "scan")))
    assert bench.store.held(BTC) == list(map(minute, range(-20, 0)))
    assert {one.start for one in bench.rest.spans} == {minute(-7)}


def test_live_rows_of_the_database_are_not_taken_over() -> None:
    """What another feeder received live is settled by nobody: REST is asked."""
    bench = _story(Handler(range(-9, -6), Source.LIVE), _mend(Job(BTC, GAP, REPAIR, "scan")))
    assert bench.rest.spans != []
    assert bench.store.held(BTC, Source.REST) == list(map(minute, range(-20, 0)))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Unreachable("nothing listens at handler:80"), "nothing listens"),
        (Answer(429, {}, b'{"status": "rejected", "error": "5 backfills are under way"}'), "5 backfills are under way"),
        (Answer(500, {}, b'{"status": "error"}'), "answered 500: error"),
        (Answer(401, {}, b'{"error": "this call needs the header"}'), "needs the header"),
        (Answer(502, {}, b"<html>Bad Gateway"), "Bad Gateway"),
        (Answer(200, {}, b"[]"), "answered 200"),
    ],
)
def test_gap_is_repaired_by_rest_where_the_handler_does_not(answer: Answer | Unreachable, words: str) -> None:
    """A handler that is away, busy, refuses or talks nonsense is told of, and the gap is repaired all the same."""
    handler = Handler()
    handler.answer = answer
    bench = _story(handler, _mend(Job(BTC, GAP, REPAIR, "scan")))
    assert bench.store.held(BTC) == list(map(minute, range(-20, 0)))
    (trouble,) = bench.told(RestTrouble)
    assert words in trouble.reason


def test_gap_is_repaired_by_rest_where_the_database_is_down() -> None:
    """What the handler repaired in a database that cannot be read is had from REST."""
    handler = Handler(range(-9, -6))
    handler.down = True
    bench = _story(handler, _mend(Job(BTC, GAP, REPAIR, "scan")))
    assert bench.store.held(BTC) == list(map(minute, range(-20, 0)))
    assert "does not answer" in bench.told(RestTrouble)[0].reason


def test_handler_that_is_away_is_left_alone_for_a_while() -> None:
    """It is asked once a minute and not for every gap; one that refuses is asked for the next gap."""
    handler = Handler()

    async def story(bench: Bench, repairer: Repairer) -> None:
        async def lose_and_mend() -> None:
            bench.store.__init__()  # type: ignore[misc]
            bench.recorder.numbers[BTC] = bench.store.number(BTC)
            await bench.keep(BTC, map(minute, [*range(-20, -9), *range(-6, 0)]), Source.REST)
            await repairer.mend(Job(BTC, GAP, REPAIR, "scan"))

        handler.answer = Unreachable("away")
        await lose_and_mend()
        await lose_and_mend()
        assert len(handler.asked) == 1
        await bench.clock.sleep(delegate.AWAY_S)
        handler.answer = Answer(429, {}, b"{}")
        await lose_and_mend()
        await lose_and_mend()
        assert len(handler.asked) == 3

    _story(handler, story)


@pytest.mark.parametrize("slow", [True, False])
def test_many_gaps_of_a_job_do_not_wait_for_a_handler_that_fails_or_is_slow(slow: bool) -> None:
    """After one refusal, or half a minute, the rest of a job's gaps are asked of REST, many with one page."""
    handler = Handler()
    handler.answer = Answer(200, {}, b'{"status": "partial"}') if slow else Answer(429, {}, b'{"status": "rejected"}')

    async def story(bench: Bench, repairer: Repairer) -> None:
        post = handler.post

        async def wait_and_post(url: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Answer:
            await bench.clock.sleep(12.0 if slow else 0.0)
            return await post(url, body, headers, timeout_s)

        handler.post = wait_and_post  # type: ignore[method-assign]
        await bench.keep(BTC, map(minute, range(-200, -20, 2)), Source.REST)
        await repairer.mend(Job(BTC, span(-200, -20), REPAIR, "scan"))
        assert bench.store.held(BTC)[:180] == list(map(minute, range(-200, -20)))
        assert len(bench.rest.spans) == 1

    bench = _story(handler, story)
    assert len(handler.asked) == (3 if slow else 1)
    assert len(bench.told(RestTrouble)) == (0 if slow else 1)


def test_single_close_that_is_late_is_not_delegated() -> None:
    """One candle that is urgent is asked of REST at once; the same found by a scan is delegated."""
    handler = Handler([-9])
    one = span(-9, -8)
    bench = _story(handler, _mend(Job(BTC, one, URGENT, "its close did not come")))
    assert handler.asked == []
    assert minute(-9) in bench.store.held(BTC)
    _story(handler, _mend(Job(BTC, one, REPAIR, "scan")))
    assert len(handler.asked) == 1


def test_history_is_not_delegated() -> None:
    """A gap of more than a week is for the archive and REST, and so is what lies before the first candle."""
    handler = Handler()

    async def story(bench: Bench, repairer: Repairer) -> None:
        bench.rest.listed_at = minute(-20)
        await repairer.mend(Job(BTC, Span(minute(-40), minute(-15)), HISTORY, "scan"))
        await bench.keep(BTC, [minute(-20) - 8 * DAY], Source.REST)
        await repairer.mend(Job(BTC, Span(minute(-20) - 8 * DAY, minute(-15)), REPAIR, "scan"))

    _story(handler, story)
    assert handler.asked == []
