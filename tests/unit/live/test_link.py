"""One connection: who gets which frame, and when it is over."""

from candlewick.clock import SystemClock
from candlewick.errors import DecodeError
from candlewick.live.link import KINDS, Connection
from candlewick.live.session import ANSWER_S, QUIET_S, RENEW_BEFORE_S
from tests.unit.live.network import SHUTDOWN, SPOT, Wire, frame, in_virtual_time, streams

NAMES = ("btcusdt@kline_1m", "ethusdt@kline_1m")


class Line:
    """A connection with two streams."""

    def __init__(
        self, clock: SystemClock, *, start: bool = True, paused: bool = False, names: tuple[str, ...] = ()
    ) -> None:
        self.clock = clock
        self.got: list[bytes] = []
        self.bad: list[tuple[str, bytes, str]] = []
        self.unknown: dict[str, int] = {}
        self.streams = streams(SPOT, ["BTCUSDT", "ETHUSDT"], self.got)
        self.connection = Connection("spot-1#1", SPOT, self.streams, clock, self._reject, self.unknown)
        self.wire = Wire("ws://exchange.test/stream", self.connection, clock)
        if start:
            self.connection.start(self.wire, names, paused=paused)

    def _reject(self, name: str, payload: bytes, error: DecodeError) -> None:
        self.bad.append((name, payload, str(error)))

    async def alive(self, seconds: int) -> None:
        """Time passes, with a frame every second."""
        for _ in range(seconds):
            self.wire.deliver(frame(NAMES[0]))
            await self.clock.sleep(1)


def test_frames_go_to_their_streams() -> None:
    """Each frame reaches the receiver of the stream it names, also where the exchange writes it in another way."""

    async def story(clock: SystemClock) -> Line:
        line = Line(clock)
        spaced = b'{ "data": {"n":7}, "stream": "ethusdt@kline_1m" }'
        escaped = b'{"stream":"ethusdt@kline\\u005f1m","data":{"n":8}}'
        for payload in (frame(NAMES[0], 1), frame(NAMES[1], 2), spaced, escaped):
            line.wire.deliver(payload)
        return line

    line = in_virtual_time(story)
    assert [one.watch.frames for one in line.streams] == [1, 3]
    assert (len(line.got), line.bad, line.unknown) == (4, [], {})


def test_frames_of_unknown_kinds_are_counted_and_passed_over() -> None:
    """Notices and events that nobody asked for are counted by what they call themselves."""

    async def story(clock: SystemClock) -> Line:
        line = Line(clock)
        for payload in (
            b'{"stream":"!marketNotice","data":{"e":"marketNotice","E":1}}',
            b'{"stream":"!marketNotice","data":{"e":"marketNotice","E":2}}',
            frame("xrpusdt@kline_1m"),
            b"[1]",
        ):
            line.wire.deliver(payload)
        return line

    line = in_virtual_time(story)
    assert line.unknown == {"marketNotice": 2, "kline_1m": 1, "list": 1}


def test_damaged_frames_do_not_make_kinds_without_end() -> None:
    """What calls itself by ever new names is counted together from some number on."""

    async def story(clock: SystemClock) -> Line:
        line = Line(clock)
        for number in range(3 * KINDS):
            line.wire.deliver(b'{"stream":"btcusdt@x","data":{"e":"%d"}}' % number)
        return line

    line = in_virtual_time(story)
    assert len(line.unknown) == KINDS + 1
    assert line.unknown["others"] == 2 * KINDS
    assert (line.got, line.bad) == ([], [])


def test_frames_that_cannot_be_read_are_handed_on_with_the_reason() -> None:
    """A spoiled frame ends nothing: it is told with its text, and the next ones arrive."""

    async def story(clock: SystemClock) -> Line:
        line = Line(clock)
        for payload in (b'{"stream":"btcusdt@kline_1m","data":"bad"}', b'{"stream":"btc', b"\xff\xfe", frame(NAMES[0])):
            line.wire.deliver(payload)
        await clock.sleep(1)
        return line

    line = in_virtual_time(story)
    assert [(name, payload[:10]) for name, payload, _ in line.bad] == [
        ("spot-1#1", b'{"stream":'),
        ("spot-1#1", b'{"stream":'),
        ("spot-1#1", b"\xff\xfe"),
    ]
    assert line.bad[0][2] == "not a candle"
    assert len(line.got) == 1
    assert not line.connection.ended.done()


def test_streams_that_the_url_did_not_name_are_asked_for() -> None:
    """They are subscribed to once the link is open, and the answer settles the session."""

    async def story(clock: SystemClock) -> tuple[Line, bool]:
        line = Line(clock, names=NAMES)
        before = line.connection.session.settled
        await clock.sleep(1)
        return line, before

    line, before = in_virtual_time(story)
    assert [message for _, message in line.wire.sent] == [{"method": "SUBSCRIBE", "params": list(NAMES), "id": 1}]
    assert (before, line.connection.session.settled) == (False, True)


def test_streams_are_asked_for_anew() -> None:
    """A stream that is silent is given back and asked for again on the same connection."""

    async def story(clock: SystemClock) -> Line:
        line = Line(clock)
        line.connection.resubscribe([NAMES[1]])
        await clock.sleep(2)
        return line

    sent = [(message["method"], message["params"]) for _, message in in_virtual_time(story).wire.sent]
    assert sent == [("UNSUBSCRIBE", [NAMES[1]]), ("SUBSCRIBE", [NAMES[1]])]


def test_connection_that_hears_nothing_pings_and_is_left() -> None:
    """After its own ping went unanswered a half-open connection is dropped without a word, and says so once."""

    async def story(clock: SystemClock) -> tuple[Line, str, float]:
        line = Line(clock)
        line.wire.answers = False
        reason = await line.connection.ended
        ended = clock.monotonic()
        await clock.sleep(60)
        return line, reason, ended

    line, reason, ended = in_virtual_time(story)
    assert reason.startswith("half-open")
    assert QUIET_S + ANSWER_S <= ended <= QUIET_S + ANSWER_S + 2
    assert len(line.wire.pings) == 1
    assert (line.wire.aborted, line.wire.said_goodbye) == (True, None)


def test_connection_whose_pings_are_answered_lives() -> None:
    """A market without trades is no reason to leave; data alone is a sign of life too."""

    async def story(clock: SystemClock) -> Line:
        line = Line(clock)
        await clock.sleep(600)
        line.wire.answers = False
        await line.alive(600)
        return line

    line = in_virtual_time(story)
    assert not line.connection.ended.done()
    assert 40 < len(line.wire.pings) <= 61


def test_connection_that_is_not_read_is_not_dead() -> None:
    """While paused nothing can be heard; afterwards it has its time again before it is held for dead."""

    async def story(clock: SystemClock) -> Line:
        line = Line(clock)
        line.connection.pause()
        await clock.sleep(300)
        line.connection.resume()
        await clock.sleep(QUIET_S - 2)
        assert not line.connection.ended.done()
        line.wire.answers = False
        await line.connection.ended
        return line

    line = in_virtual_time(story)
    assert not line.wire.paused
    assert line.wire.opened_at == 0


def test_connection_may_be_opened_while_nothing_is_read() -> None:
    """A connection that opens under pressure is not read until the pressure is gone."""

    async def story(clock: SystemClock) -> tuple[bool, Line]:
        line = Line(clock, paused=True)
        paused = line.wire.paused
        line.wire.deliver(frame(NAMES[0]))
        assert line.got == []
        line.connection.resume()
        return paused, line

    paused, line = in_virtual_time(story)
    assert (paused, line.wire.paused, len(line.got)) == (True, False, 1)


def test_connection_asks_to_be_replaced_before_its_end() -> None:
    """An hour before the exchange would cut it, and at once when the exchange announces that it will."""

    async def story(clock: SystemClock) -> tuple[float, str, str]:
        line = Line(clock)
        reason = await line.connection.renewal
        aged = clock.monotonic()
        other = Line(clock)
        other.wire.deliver(SHUTDOWN)
        other.wire.deliver(SHUTDOWN)
        return aged, reason, other.connection.renewal.result()

    aged, reason, notice = in_virtual_time(story)
    limit = SPOT.stream_limits.lifetime_s - RENEW_BEFORE_S
    assert limit <= aged <= limit + 2
    assert (reason, notice) == (
        "it nears the exchange's limit of connection age",
        "the exchange announced a shutdown",
    )


def test_connection_tells_its_end_once() -> None:
    """Whoever ends it, the first reason counts, and nothing is planned any more."""

    async def story(clock: SystemClock) -> tuple[str, int]:
        line = Line(clock)
        line.connection.close("replaced")
        line.wire.drop("reset by peer")
        line.connection.closed("again")
        line.connection.close("too late")
        line.connection.ask_renewal("first")
        line.connection.ask_renewal("second")
        await clock.sleep(60)
        assert line.connection.renewal.result() == "first"
        return line.connection.ended.result(), len(line.wire.pings)

    assert in_virtual_time(story) == ("reset by peer", 0)


def test_connection_without_a_link_bears_everything() -> None:
    """Before the link is open there is nothing to pause, to resume or to close."""

    async def story(clock: SystemClock) -> bool:
        line = Line(clock, start=False)
        line.connection.pause()
        line.connection.resume()
        line.connection.close("never opened")
        line.connection.heard()
        await clock.sleep(60)
        return line.connection.ended.done()

    assert in_virtual_time(story) is False
