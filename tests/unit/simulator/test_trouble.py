"""Every kind of fault does what it says, and ends."""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from candlewick.errors import Banned, RateLimited, Unreachable
from candlewick.market import MINUTE, SECOND, Market
from candlewick.simulator.faults import FORMS, KINDS, Fault
from tests.unit.simulator.world import START, Ear, World, simulate

KLINES = "/api/v3/klines"


def heard(
    *faults: Fault, streams: Sequence[str] = ("btcusdt@aggTrade",), seconds: float = 300.0, **settings: object
) -> Ear:
    """What a client hears while the script plays."""

    async def story(world: World) -> object:
        _, ear = await world.listen(*streams)
        await world.clock.sleep(seconds)
        return ear

    ear: Ear = simulate(story, faults=faults, **settings)
    return ear


def moments(ear: Ear) -> list[float]:
    """When frames came, in seconds since the start."""
    return [(time - START) / SECOND for time, _ in ear.frames]


def numbers(ear: Ear) -> list[int]:
    return [event["a"] for event in ear.events]


def asked(fault: Fault, path: str = KLINES, **params: object) -> list[Any]:
    """Answers, or errors, of a request every 10 s through a fault from 25 to 55 s after the start."""

    async def story(world: World) -> object:
        answers: list[Any] = []
        for _ in range(8):
            began = world.clock.now()
            try:
                answer = await world.get(path, **({"symbol": "BTCUSDT", "interval": "1m", "limit": 3} | params))
            except Unreachable as error:
                answers.append(error)
            else:
                answers.append((answer.status, answer.headers, answer.body))
            await world.clock.sleep(10 - (world.clock.now() - began) / SECOND % 10)
        return answers

    found: list[Any] = simulate(story, faults=(fault,))
    return found


def test_drop_loses_frames_for_a_while() -> None:
    """Frames of the time of the fault are lost, those before and after it come."""
    ear = heard(Fault(kind="drop", at=60, duration_s=100))
    assert not [moment for moment in moments(ear) if 61 < moment < 159]
    assert any(two - one > 50 for one, two in pairwise(numbers(ear)))
    assert moments(ear)[-1] > 290


def test_drop_of_one_stream_leaves_the_others() -> None:
    """A pattern strikes the streams it names and no other."""
    ear = heard(Fault(kind="drop", at=0, duration_s=900, stream="btc*"), streams=("btcusdt@trade", "solusdt@trade"))
    assert {event["s"] for event in ear.events} == {"SOLUSDT"}


def test_drop_of_a_share_makes_holes() -> None:
    """With a share of a half about half of the frames are lost."""
    whole, half = heard(), heard(Fault(kind="drop", at=0, duration_s=900, share=0.5))
    assert 0.35 < len(half.frames) / len(whole.frames) < 0.65


def test_drop_strikes_the_connection_it_names() -> None:
    """A fault of the second connection leaves the first alone."""

    async def story(world: World) -> object:
        ears = [(await world.listen("btcusdt@aggTrade"))[1] for _ in range(2)]
        await world.clock.sleep(100)
        return [len(ear.frames) for ear in ears]

    one, two = simulate(story, faults=(Fault(kind="drop", at=0, duration_s=900, connection=2),))
    assert one > 50
    assert two == 0


def test_zombie_pings_without_data() -> None:
    """No frame comes, pings do, and the connection stays."""
    ear = heard(Fault(kind="zombie", at=30, duration_s=1000))
    assert max(moments(ear)) < 31
    assert len(ear.pings) >= 14
    assert not ear.ends


def test_silent_streams_are_acknowledged_and_never_deliver() -> None:
    """What is subscribed during the fault stays silent after it, until it is subscribed anew."""

    async def story(world: World) -> object:
        link, ear = await world.listen()
        link.send(b'{"method":"SUBSCRIBE","params":["btcusdt@aggTrade","solusdt@aggTrade"],"id":1}')
        await world.clock.sleep(100)
        first = ear.events
        link.send(b'{"method":"UNSUBSCRIBE","params":["btcusdt@aggTrade"],"id":2}')
        link.send(b'{"method":"SUBSCRIBE","params":["btcusdt@aggTrade"],"id":3}')
        await world.clock.sleep(100)
        return first, ear.events[len(first) :]

    first, then = simulate(story, faults=(Fault(kind="silent", at=0, duration_s=10, stream="btc*"),))
    assert first[0] == {"result": None, "id": 1}
    assert {event.get("s") for event in first[1:]} == {"SOLUSDT"}
    assert "BTCUSDT" in {event.get("s") for event in then}


def test_stall_holds_everything_back_and_then_sends_it() -> None:
    """Nothing comes during a stall, pings neither; afterwards all of it comes at once, in order."""
    ear = heard(Fault(kind="stall", at=60, duration_s=45))
    assert not [moment for moment in moments(ear) if 60.1 < moment < 105]
    assert not [ping for ping in ear.pings if 60.1 < (ping - START) / SECOND < 105]
    assert numbers(ear) == list(range(numbers(ear)[0], numbers(ear)[0] + len(ear.frames)))
    assert len([moment for moment in moments(ear) if 105 <= moment < 105.1]) > 30


def test_repeat_sends_frames_twice() -> None:
    """During the fault every frame comes twice."""
    ear = heard(Fault(kind="repeat", at=0, duration_s=900))
    assert numbers(ear)[::2] == numbers(ear)[1::2]


def test_reorder_lets_frames_overtake() -> None:
    """Frames come late and out of order, and none is lost."""
    ear = heard(Fault(kind="reorder", at=0, duration_s=250, delay_s=5.0))
    found = numbers(ear)
    assert found != sorted(found)
    assert sorted(found) == list(range(min(found), max(found) + 1))


def test_late_close_delays_the_close_alone() -> None:
    """The close comes 24 s late, after updates of the next candle."""
    ear = heard(Fault(kind="late_close", at=0, duration_s=900), streams=("btcusdt@kline_1m",))
    late = [time - kline["T"] * 1000 for (time, _), kline in zip(ear.frames, ear.klines, strict=True) if kline["x"]]
    assert min(late) > 24 * SECOND
    assert any(one["t"] > two["t"] for one, two in pairwise(ear.klines))


def test_missing_close_is_never_sent() -> None:
    """No close comes during the fault, updates do."""
    ear = heard(Fault(kind="missing_close", at=0, duration_s=230), streams=("btcusdt@kline_1m",), seconds=290)
    assert [kline["t"] * 1000 for kline in ear.closes] == [START + 3 * MINUTE]
    assert len(ear.klines) > 100


def test_duplicate_close_comes_twice_alike() -> None:
    """Every close comes twice with the same values."""
    ear = heard(
        Fault(kind="duplicate_close", at=0, duration_s=900, delay_s=3.0), streams=("btcusdt@kline_1m",), seconds=290
    )
    closes = [json.dumps(close) for close in ear.closes]
    assert len(closes) == 2 * len(set(closes))
    assert len(closes) >= 8


def test_conflicting_close_comes_with_two_values() -> None:
    """A close with the numbers of a moment before comes first, then the right one."""
    ear = heard(Fault(kind="conflicting_close", at=0, duration_s=900), streams=("btcusdt@kline_1m",))
    by_minute: dict[int, list[int]] = {}
    for close in ear.closes:
        by_minute.setdefault(close["t"], []).append(close["n"])
    conflicts = [counts for counts in by_minute.values() if len(counts) == 2]
    assert len(conflicts) >= 3
    assert all(one < two for one, two in conflicts)


@pytest.mark.parametrize("form", FORMS)
def test_mangle_spoils_frames(form: str) -> None:
    """Every form changes frames; a changed digit and impossible values stay JSON, cut frames and garbage do not."""
    plain = [frame for _, frame in heard(streams=("btcusdt@kline_1m",)).frames]
    spoiled = [
        frame
        for _, frame in heard(
            Fault(kind="mangle", at=0, duration_s=900, form=form), streams=("btcusdt@kline_1m",)
        ).frames
    ]
    assert len(spoiled) == len(plain)
    assert not set(spoiled) & set(plain)

    def reads(frame: bytes) -> bool:
        try:
            json.loads(frame)
        except ValueError:
            return False
        return True

    readable = sum(map(reads, spoiled))
    if form in ("digit", "impossible"):
        assert readable == len(spoiled)
    if form in ("cut", "garbage"):
        assert readable == 0


@pytest.mark.parametrize(("kind", "words"), [("cut", "reset"), ("close", "1001")])
def test_cut_and_close_end_connections(kind: str, words: str) -> None:
    """A cut has no close frame, a close has one; either is the end, and happens once."""
    ear = heard(Fault(kind=kind, at=60))
    assert len(ear.ends) == 1
    assert words in ear.ends[0]
    assert max(moments(ear)) < 60.1


def test_half_open_connections_say_and_hear_nothing() -> None:
    """Frames, pings and answers to pings stop; the end never comes by itself."""

    async def story(world: World) -> object:
        link, ear = await world.listen("btcusdt@aggTrade")
        await world.clock.sleep(100)
        heard_before = len(ear.pings)
        link.ping()
        await world.clock.sleep(500)
        ended = list(ear.ends)
        link.close(1000, "enough")
        await world.clock.sleep(10)
        return moments(ear)[-1], len(ear.pings) - heard_before, ended, ear.ends

    last, pings, ended, finally_ended = simulate(story, faults=(Fault(kind="half_open", at=60, duration_s=1),))
    assert last < 60.1
    assert pings == 0
    assert ended == []
    assert len(finally_ended) == 1


@pytest.mark.parametrize("lead_s", [0.0, 5.0])
def test_server_shutdown_is_announced_and_then_cuts(lead_s: float) -> None:
    """The event comes, then after its lead, which may be none, the connection is reset."""
    ear = heard(Fault(kind="server_shutdown", at=60, delay_s=lead_s))
    notice = [time for (time, _), event in zip(ear.frames, ear.events, strict=True) if event["e"] == "serverShutdown"]
    assert len(notice) == 1
    assert len(ear.ends) == 1
    assert abs(max(moments(ear)) - 60 - lead_s) < 2.5


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(kind="refuse", at=0, duration_s=60), Unreachable),
        (Fault(kind="unanswered", at=0, duration_s=60), Unreachable),
        (Fault(kind="reject", at=0, duration_s=60, number=403), Banned),
        (Fault(kind="reject", at=0, duration_s=60, number=418), Banned),
        (Fault(kind="reject", at=0, duration_s=60, number=451), Banned),
        (Fault(kind="reject", at=0, duration_s=60, number=429), RateLimited),
        (Fault(kind="reject", at=0, duration_s=60, number=503), Unreachable),
    ],
)
def test_dials_fail_for_a_while(fault: Fault, error: type[Exception]) -> None:
    """Dialing fails with the documented error, and succeeds once the fault is over."""

    async def story(world: World) -> None:
        with pytest.raises(error):
            await world.listen("btcusdt@aggTrade")
        await world.clock.sleep(61)
        await world.listen("btcusdt@aggTrade")

    simulate(story, faults=(fault,))


@pytest.mark.parametrize(
    ("kind", "status", "body"),
    [
        ("forbidden", 403, b"<!DOCTYPE html>"),
        ("restricted", 451, b'{"code":0,'),
        ("server_error", 503, b"<!DOCTYPE html>"),
        ("html", 200, b"<!DOCTYPE html>"),
        ("empty_body", 200, b""),
        ("ban", 418, b'{"code":-1003,"msg":"Way too much'),
        ("rate_limit", 429, b'{"code":-1003,"msg":"Too much'),
    ],
)
def test_rest_answers_are_replaced_for_a_while(kind: str, status: int, body: bytes) -> None:
    """During the fault every answer is the wrong one, before and after it every answer is right."""
    answers = asked(Fault(kind=kind, at=25, duration_s=30, delay_s=None if kind not in ("ban", "rate_limit") else 5.0))
    assert [answer[0] for answer in answers] == [200, 200, 200, status, status, status, 200, 200]
    assert all(answer[2].startswith(body) for answer in answers[3:6])
    assert body == b"" or not answers[7][2].startswith(body)
    assert len(json.loads(answers[7][2])) == 3


def test_cut_bodies_cannot_be_read() -> None:
    """The body ends too early, with status 200."""
    for answer in asked(Fault(kind="cut_body", at=25, duration_s=30))[3:6]:
        with pytest.raises(ValueError, match="char"):
            json.loads(answer[2])


@pytest.mark.parametrize("kind", ["no_answer", "reset_body"])
def test_answers_that_never_come_whole_are_unreachable(kind: str) -> None:
    """No answer, and one that breaks off, are no answers."""
    failed = [isinstance(answer, Unreachable) for answer in asked(Fault(kind=kind, at=25, duration_s=30))]
    assert failed[:4] == [False, False, False, True]
    assert failed.count(True) >= 2
    assert not failed[-1]


def test_slow_answers_come_late_and_whole() -> None:
    """An answer takes its delay; one that is slower than the timeout does not come."""

    async def story(world: World) -> object:
        began = world.clock.now()
        await world.get("/api/v3/ping")
        return (world.clock.now() - began) / SECOND

    assert 4 < simulate(story, faults=(Fault(kind="slow", at=0, duration_s=60, delay_s=4.0),)) < 4.1
    with pytest.raises(Unreachable):
        simulate(story, faults=(Fault(kind="slow", at=0, duration_s=60, delay_s=40.0),))


def test_rest_faults_strike_the_endpoint_they_name() -> None:
    """Other endpoints go on as before."""
    fault = Fault(kind="server_error", at=0, duration_s=900, endpoint="*/klines", number=500)
    assert {answer[0] for answer in asked(fault)} == {500}
    assert {answer[0] for answer in asked(fault, "/api/v3/aggTrades", interval=None)} == {400}


def test_ignored_rate_limit_becomes_a_ban() -> None:
    """Who asks on through a 429 is answered 418 with the end of the ban in the text."""

    async def story(world: World) -> object:
        return [(await world.get("/api/v3/ping")).status for _ in range(8)]

    assert simulate(story, faults=(Fault(kind="rate_limit", at=0, duration_s=60),)) == [429] * 5 + [418] * 3


def test_stale_rows_show_a_candle_before_its_end() -> None:
    """For some seconds after its close the row is the one of a moment before, then the true one."""

    async def story(world: World) -> object:
        rows = []
        for moment in (63.0, 68.0):
            await world.clock.sleep(moment - (world.clock.now() - START) / SECOND)
            rows.append(
                (await world.json(KLINES, symbol="BTCUSDT", interval="1m", startTime=START // 1000, limit=1))[0]
            )
        return (*rows, world.exchange.truth("BTCUSDT", "1m", START, START + 1)[0])

    stale, settled, truth = simulate(story, faults=(Fault(kind="stale", at=0, duration_s=600, delay_s=7.0),))
    assert stale[8] < truth[8]
    assert stale[6] == truth[6]
    assert settled == truth


def test_missing_rows_are_absent_at_the_end() -> None:
    """The newest closed candles are not there yet."""

    async def story(world: World) -> object:
        await world.clock.sleep(65)
        rows = await world.json(KLINES, symbol="BTCUSDT", interval="1m", limit=5)
        return [(row[0] * 1000 - START) // MINUTE for row in rows]

    assert simulate(story, faults=(Fault(kind="missing_rows", at=0, duration_s=600, number=2),)) == [-3, -2]


def test_short_pages_lack_their_last_rows() -> None:
    """A page is shorter than asked for though there is more."""

    async def story(world: World) -> object:
        return await world.json(
            KLINES, symbol="BTCUSDT", interval="1m", startTime=(START - 90 * MINUTE) // 1000, limit=50
        )

    assert len(simulate(story, faults=(Fault(kind="short_page", at=0, duration_s=600, number=7),))) == 43


def test_outage_stops_trades_and_rows_on_spot() -> None:
    """In an outage nothing is traded or closed; the candle before it ends early, the ones in it do not exist."""

    async def story(world: World) -> object:
        _, ear = await world.listen("btcusdt@kline_1m", "btcusdt@aggTrade")
        await world.clock.sleep(899.5)
        rows = await world.json(KLINES, symbol="BTCUSDT", interval="1m", startTime=START // 1000)
        return ear, rows[:-1], world.exchange.truth("BTCUSDT", "1m", START, START + 15 * MINUTE)

    ear, rows, truth = simulate(story, faults=(Fault(kind="outage", at=100.5, duration_s=499.5),))
    assert rows == truth[:-1]
    assert [(row[0] * 1000 - START) // MINUTE for row in truth] == [0, 1, 10, 11, 12, 13, 14]
    assert truth[1][6] == START // 1000 + 100_500
    assert [(close["t"] * 1000 - START) // MINUTE for close in ear.closes] == [0, 10, 11, 12, 13]
    assert not [time for time, _ in ear.frames if START + 101 * SECOND < time < START + 600 * SECOND]


def test_outage_leaves_flat_rows_on_usdm() -> None:
    """On USD-M the rows of an outage are there, flat and without volume."""

    async def story(world: World) -> object:
        await world.clock.sleep(900)
        return await world.json("/fapi/v1/klines", symbol="BTCUSDT", interval="1m", startTime=START // 1000, limit=12)

    rows = simulate(story, market=Market.USDM, faults=(Fault(kind="outage", at=60, duration_s=540),))
    assert [row[8] == 0 for row in rows] == [False] + [True] * 9 + [False] * 2


def test_skew_moves_the_server_time() -> None:
    """The server's clock is ahead during the fault."""

    async def story(world: World) -> object:
        ahead = []
        for _ in range(2):
            now = world.clock.now()
            ahead.append(round((await world.json("/api/v3/time"))["serverTime"] / 1000 - now / SECOND))
            await world.clock.sleep(60)
        return ahead

    assert simulate(story, faults=(Fault(kind="skew", at=0, duration_s=30, delay_s=9.0),)) == [9, 0]


def test_archive_files_go_missing_and_checksums_wrong() -> None:
    """A file that is struck is 404, a checksum that is struck does not match."""
    path = "/data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2026-10-31.zip"

    async def story(world: World) -> object:
        return (await world.get(path)).status, (await world.get(path + ".CHECKSUM")).body[:4]

    status, digest = simulate(story)
    assert status == 200
    assert digest != b"0000"
    assert simulate(story, faults=(Fault(kind="missing_file", at=0, duration_s=60),)) == (404, b"<?xm")
    assert simulate(story, faults=(Fault(kind="wrong_checksum", at=0, duration_s=60),)) == (200, b"0000")


def test_every_kind_of_fault_is_tested() -> None:
    """No kind is left out of this file and the one about the archive's traps."""
    files = (Path(__file__), Path(__file__).with_name("test_archive_traps.py"))
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    assert not [kind for kind in KINDS if f'"{kind}"' not in text]
