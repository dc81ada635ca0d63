"""What to say on one connection, when, and when it must be given up."""

import json
from itertools import pairwise

from candlewick.exchanges.binance import EXCHANGE
from candlewick.exchanges.exchange import Acknowledged, ControlError, ShutdownNotice
from candlewick.live.session import GiveUp, Ping, Renew, Send, Session
from candlewick.market import Market

VENUE = EXCHANGE.venues[Market.SPOT]


def sent(session: Session, start: float, seconds: float, *, hear: bool = True) -> list[tuple[float, bytes]]:
    messages = []
    now = start
    while now < start + seconds:
        if hear:
            session.heard(now)
        messages += [(now, action.text) for action in session.due(now) if isinstance(action, Send)]
        now += 0.05
    return messages


def test_session_spaces_its_messages() -> None:
    """A thousand names leave in messages of a hundred, never faster than the exchange allows."""
    session = Session(VENUE, 0.0)
    session.subscribe([f"s{number}@kline_1m" for number in range(1000)])
    messages = sent(session, 0.0, 10)
    limits = VENUE.stream_limits
    assert len(messages) == -(-1000 // limits.names_per_message)
    times = [when for when, _ in messages]
    assert all(later - sooner >= 1 / limits.messages_per_second - 1e-9 for sooner, later in pairwise(times))
    names = [name for _, text in messages for name in json.loads(text)["params"]]
    assert names == [f"s{number}@kline_1m" for number in range(1000)]


def test_session_is_settled_once_everything_is_answered() -> None:
    """Each message is outstanding until its own number is acknowledged or refused."""
    session = Session(VENUE, 0.0)
    session.subscribe(["a@trade"] * 150)
    assert not session.settled
    numbers = [json.loads(text)["id"] for _, text in sent(session, 0.0, 5)]
    assert list(session.unanswered) == numbers
    session.control(Acknowledged(numbers[0]), 5.0)
    session.control(ControlError(numbers[1], 2, "Invalid request"), 5.0)
    assert session.settled
    assert session.errors == 1


def test_session_pings_when_nothing_is_heard_and_then_gives_up() -> None:
    """A half-open connection is given up within 20 s of its last sign of life."""
    session = Session(VENUE, 0.0)
    now, pings, given_up = 0.0, [], None
    while given_up is None:
        now += 0.5
        for action in session.due(now):
            if isinstance(action, Ping):
                pings.append(now)
            elif isinstance(action, GiveUp):
                given_up = now
    assert len(pings) == 1
    assert given_up <= 20


def test_session_lives_on_when_its_ping_is_answered() -> None:
    """A quiet connection that answers pings is kept for hours."""
    session = Session(VENUE, 0.0)
    for tick in range(3600):
        for action in session.due(float(tick)):
            assert isinstance(action, Ping)
            session.heard(tick + 0.1)


def test_session_renews_before_the_exchange_cuts_it() -> None:
    """Renewal is asked once, before the limit of connection age."""
    session = Session(VENUE, 0.0)
    limit = VENUE.stream_limits.lifetime_s
    session.heard(limit - 2000)
    assert [type(one) for one in session.due(limit - 2000)] == [Renew]
    assert session.due(limit - 1999) == []


def test_session_renews_on_a_shutdown_notice() -> None:
    """A notice asks for a new connection at once, and only once."""
    session = Session(VENUE, 0.0)
    assert isinstance(session.control(ShutdownNotice(0), 1.0), Renew)
    assert session.control(ShutdownNotice(0), 2.0) is None
