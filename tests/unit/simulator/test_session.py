"""Connections: control messages, limits, pings, lifetime, routes."""

import json

import pytest

from candlewick.market import Market
from candlewick.simulator.exchange import Refusal
from candlewick.simulator.session import Session
from tests.unit.simulator.world import Counter, Tongue, World, simulate


def ask(session: Session, **content: object) -> None:
    session.receive(json.dumps(content))


def test_session_acknowledges_nonsense_and_lists_it() -> None:
    """Unknown symbols, types and cases are acknowledged like real ones, and so is leaving what was never asked for."""
    session, said = Counter().connect()
    ask(session, method="SUBSCRIBE", params=["BTCUSDT@kline_1m", "nosuch@trade", "btcusdt@nothing"], id=1)
    ask(session, method="UNSUBSCRIBE", params=["never@asked"], id="abc")
    ask(session, method="LIST_SUBSCRIPTIONS", id=None)
    assert said.said == [
        {"result": None, "id": 1},
        {"result": None, "id": "abc"},
        {"result": ["BTCUSDT@kline_1m", "nosuch@trade", "btcusdt@nothing"], "id": None},
    ]


def test_session_delivers_exact_lower_case_names_only() -> None:
    """Of five spellings only the exact one brings data."""

    async def story(world: World) -> object:
        _, ear = await world.listen(
            "BTCUSDT@kline_1m", "btcusdt@Kline_1m", "btcusdt@KLINE_1m", "btcusdt@kline_1m ", "btcusdt@kline_1"
        )
        await world.clock.sleep(130)
        silent = list(ear.frames)
        _, ear = await world.listen("btcusdt@kline_1m")
        await world.clock.sleep(130)
        return silent, ear.frames

    silent, heard = simulate(story)
    assert silent == []
    assert len(heard) > 30


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("{", 3, "Invalid JSON"),
        ("[]", 2, "missing field `method`"),
        ('{"method":"JUMP","id":5}', 2, "unknown variant JUMP"),
        ('{"method":"SUBSCRIBE","params":["a"],"id":1.5}', 2, "request ID"),
        ('{"method":"SET_PROPERTY","params":["colour",true],"id":5}', 0, "Unknown property"),
        ('{"method":"SET_PROPERTY","params":["combined",1],"id":5}', 1, "expected Boolean"),
        ('{"method":"GET_PROPERTY","params":[1],"id":5}', 2, "property name must be a string"),
        ('{"method":"GET_PROPERTY","params":["combined",1],"id":5}', 2, "too many parameters"),
    ],
)
def test_session_wraps_errors(text: str, code: int, message: str) -> None:
    """What is wrong with a request is said in an `error` object beside its id."""
    session, said = Counter().connect()
    session.receive(text)
    assert said.said[0]["error"]["code"] == code
    assert message in said.said[0]["error"]["msg"]


def test_session_switches_the_wrapping_of_events() -> None:
    """`/ws` begins raw, `/stream` combined, and SET_PROPERTY changes it; replies are never wrapped."""
    for path, combined in (("/ws", False), ("/stream", True)):
        session, said = Counter().connect(path)
        ask(session, method="GET_PROPERTY", params=["combined"], id=1)
        ask(session, method="SET_PROPERTY", params=["combined", not combined], id=2)
        ask(session, method="GET_PROPERTY", params=["combined"], id=3)
        assert said.said == [
            {"result": combined, "id": 1},
            {"result": None, "id": 2},
            {"result": not combined, "id": 3},
        ]


def test_session_takes_streams_from_the_url() -> None:
    """Raw paths, combined queries and URL-encoded names subscribe at once."""
    forms = (
        ("/ws/btcusdt@trade/ethusdt@trade", ""),
        ("/stream", "streams=btcusdt@trade/ethusdt@trade"),
        ("/ws/btcusdt%40trade/ethusdt%40trade", ""),
    )
    for path, query in forms:
        session, said = Counter().connect(path, query)
        ask(session, method="LIST_SUBSCRIPTIONS", id=1)
        assert said.said[0]["result"] == ["btcusdt@trade", "ethusdt@trade"]


def test_session_refuses_the_1025th_stream() -> None:
    """One stream too many is answered with code 4, a close 1008, and the loss of all others."""
    counter = Counter(market=Market.USDM)
    session, said = counter.connect("/market/stream", "streams=" + "/".join(f"s{n}@kline_1m" for n in range(1024)))
    assert session.is_open
    ask(session, method="SUBSCRIBE", params=["onemore@kline_1m"], id=9)
    assert said.said == [
        {"error": {"code": 4, "msg": "Too many subscriptions"}, "id": 9},
        ("close", 1008, "Invalid request"),
    ]
    assert not counter.exchange.sessions


@pytest.mark.parametrize(("market", "allowed"), [(Market.SPOT, 5), (Market.USDM, 15)])
def test_session_is_closed_for_too_many_messages(market: Market, allowed: int) -> None:
    """Messages, pings and pongs within one second count together; the one too many closes with 1008."""
    counter = Counter(market=market)
    session, said = counter.connect()
    for number in range(allowed - 2):
        ask(session, method="LIST_SUBSCRIPTIONS", id=number)
    session.pinged(b"x")
    session.ponged(b"y")
    assert session.is_open
    ask(session, method="LIST_SUBSCRIPTIONS", id=99)
    assert said.said[-1] == ("close", 1008, "Too many requests")


def test_session_allows_four_messages_and_a_pong_every_second() -> None:
    """As much as the limit allows, second after second, is no reason to be closed."""
    counter = Counter()
    session, said = counter.connect()
    for _ in range(90):
        for _ in range(4):
            ask(session, method="LIST_SUBSCRIPTIONS", id=1)
        counter.clock.advance(1.0)
        if isinstance(said.said[-1], tuple):
            session.ponged(said.said[-1][1])
    assert session.is_open


@pytest.mark.parametrize(("market", "ping_s", "pong_s"), [(Market.SPOT, 20, 60), (Market.USDM, 180, 600)])
def test_session_pings_and_gives_up_without_a_pong(market: Market, ping_s: int, pong_s: int) -> None:
    """The first ping comes after its interval; without a pong the connection is closed in time, with one it stays."""
    counter = Counter(market=market)
    (silent, said), (alive, heard) = counter.connect(), counter.connect()
    counter.clock.advance(ping_s - 1)
    assert said.said == []
    for _ in range(5 * pong_s // ping_s):
        counter.clock.advance(ping_s)
        alive.ponged(heard.said[-1][1])
    assert said.said[0][0] == "ping"
    assert said.said[-1] == ("close", 1008, "Pong timeout")
    assert alive.is_open
    assert not silent.is_open


def test_session_needs_the_right_pong_on_spot() -> None:
    """Unsolicited pongs do not keep a spot connection, an echo of any ping that waits does."""
    counter = Counter()
    (wrong, _), (late, heard) = counter.connect(), counter.connect()
    for step in range(6):
        counter.clock.advance(20)
        wrong.ponged(b"hello")
        if step % 2:
            late.ponged(heard.said[-2][1])
    assert not wrong.is_open
    assert late.is_open


def test_session_ends_after_a_day() -> None:
    """A connection that answers everything is closed after 24 hours."""
    counter = Counter()
    session, said = counter.connect()
    for _ in range(24 * 180 - 1):
        counter.clock.advance(20)
        session.ponged(said.said[-1][1])
    assert session.is_open
    counter.clock.advance(21)
    assert not session.is_open


def test_usdm_routes_carry_their_own_streams_only() -> None:
    """Klines flow on /market, quotes on /public and unrouted; what is asked for on the wrong route stays silent."""

    async def story(world: World) -> object:
        names = ("btcusdt@kline_1m", "btcusdt@aggTrade", "btcusdt@bookTicker")
        ears = [(await world.listen(*names, route=route))[1] for route in ("/market", "/public", "")]
        await world.clock.sleep(120)
        return [{event["e"] for event in ear.events} for ear in ears]

    assert simulate(story, market=Market.USDM) == [{"kline", "aggTrade"}, {"bookTicker"}, {"bookTicker"}]


def test_exchange_refuses_the_301st_attempt_in_five_minutes() -> None:
    """After 300 attempts connections are refused with a Retry-After, until five minutes have passed."""
    counter = Counter()
    for _ in range(300):
        counter.connect()[0].reset()
    refused = counter.exchange.connect("/ws", "", Tongue())
    assert isinstance(refused, Refusal)
    assert refused.status == 418
    counter.clock.advance(301)
    counter.connect()


def test_exchange_has_no_websocket_elsewhere() -> None:
    """A path that is no WebSocket endpoint answers 404; spot knows no USD-M routes."""
    for path in ("/nothing", "/market/stream", "/"):
        refused = Counter().exchange.connect(path, "", Tongue())
        assert isinstance(refused, Refusal)
        assert refused.status == 404


def test_unsubscribing_ends_a_stream() -> None:
    """After UNSUBSCRIBE nothing of the stream comes any more, while others go on."""

    async def story(world: World) -> object:
        link, ear = await world.listen("btcusdt@kline_1m", "solusdt@kline_1m")
        await world.clock.sleep(90)
        link.send(b'{"method":"UNSUBSCRIBE","params":["btcusdt@kline_1m"],"id":1}')
        await world.clock.sleep(1)
        count = len(ear.frames)
        await world.clock.sleep(120)
        ear.frames = ear.frames[count:]
        return {kline["s"] for kline in ear.klines}

    assert simulate(story) == {"SOLUSDT"}


def test_surprises_come_now_and_then() -> None:
    """Unknown events and unknown fields appear among the known ones."""

    async def story(world: World) -> object:
        _, ear = await world.listen("btcusdt@trade")
        await world.clock.sleep(3600)
        return ear.events

    events = simulate(story, surprises=True)
    assert any(event["e"] == "marketNotice" for event in events)
    assert any("zz" in event for event in events if event["e"] == "trade")
