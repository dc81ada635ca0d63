"""Is a stream dead or is its market quiet?"""

from itertools import pairwise

from candlewick.live.liveness import Activity, Finding, Liveness, Remedy, Revived, Silent, Suspect, Watch

NAME = "btcusdt@kline_1m"


class Market:
    """A stream, its market and a clock that ticks once a second."""

    def __init__(self, trades_per_s: float, *, rest: bool = True) -> None:
        self.watch = Watch(NAME)
        self.liveness = Liveness({NAME: self.watch})
        self.trades_per_s, self.rest = trades_per_s, rest
        self.now = 1000.0
        self.delivers = True
        self.asked = self.now
        self.watch.ask(self.now)
        self.findings: list[tuple[float, Finding]] = []

    def run(self, seconds: int, *, answer_s: float = 0.0) -> None:
        for _ in range(seconds):
            self.now += 1
            if (
                self.delivers
                and self.trades_per_s
                and int(self.now * min(self.trades_per_s, 0.5)) > int((self.now - 1) * min(self.trades_per_s, 0.5))
            ):
                self.watch.frames += 1
            for finding in list(self.liveness.tick(self.now)):
                self.findings.append((self.now - self.asked, finding))
                if isinstance(finding, Suspect):
                    activity = Activity(0, int(self.trades_per_s * self.now)) if self.rest else None
                    self.liveness.probed(NAME, activity, self.now + answer_s)

    def of(self, kind: type) -> list[tuple[float, Finding]]:
        return [one for one in self.findings if isinstance(one[1], kind)]


def test_watch_calls_an_acknowledged_stream_silent_within_15_seconds() -> None:
    """A stream of a liquid market that never delivers is called silent, with evidence, within 15 s."""
    market = Market(5.0)
    market.delivers = False
    market.run(15)
    [(after_s, alarm)] = market.of(Silent)
    assert isinstance(alarm, Silent)
    assert after_s <= 15
    assert "REST counted" in alarm.evidence


def test_watch_calls_a_stream_silent_that_stops_after_delivering() -> None:
    """A lively stream that stops is called silent within 15 s of its last frame."""
    market = Market(5.0)
    market.run(120)
    market.delivers = False
    market.asked = market.now
    market.run(16)
    [(after_s, _)] = market.of(Silent)
    assert after_s <= 15


def test_watch_raises_no_alarm_for_a_quiet_market() -> None:
    """A symbol without trades is probed ever more rarely and never called silent."""
    market = Market(0.0)
    market.run(3600)
    assert not market.of(Silent)
    assert 10 < len(market.of(Suspect)) < 60


def test_watch_raises_no_alarm_for_a_market_that_trades_now_and_then() -> None:
    """A stream that tells every one of its rare trades is never called silent."""
    market = Market(0.03)
    market.run(7200)
    assert not market.of(Silent)


def test_watch_raises_no_alarm_while_rest_does_not_answer() -> None:
    """Without REST to confirm it a suspicion stays one."""
    market = Market(5.0, rest=False)
    market.delivers = False
    market.run(600)
    assert not market.of(Silent)
    assert market.of(Suspect)


def test_watch_renews_a_silent_stream_ever_less_often() -> None:
    """Remedies come at once, then with growing pauses, counted from 1."""
    market = Market(5.0)
    market.delivers = False
    market.run(600)
    attempts = [(after_s, finding.attempt) for after_s, finding in market.of(Remedy) if isinstance(finding, Remedy)]
    assert [attempt for _, attempt in attempts] == list(range(1, len(attempts) + 1))
    pauses = [later - sooner for (sooner, _), (later, _) in pairwise(attempts)]
    assert pauses == sorted(pauses)
    assert len(attempts) < 8


def test_watch_tells_when_a_silent_stream_delivers_again() -> None:
    """The first frame after the alarm ends it."""
    market = Market(5.0)
    market.delivers = False
    market.run(30)
    market.delivers = True
    market.run(5)
    assert len(market.of(Revived)) == 1
    assert market.watch.silent_since is None


def test_watch_keeps_a_silent_stream_silent_over_a_reconnect() -> None:
    """Asking anew on another connection does not end the alarm; a frame does."""
    market = Market(5.0)
    market.delivers = False
    market.run(30)
    market.watch.ask(None)
    market.watch.ask(market.now)
    assert market.watch.silent_since is not None
    market.run(60)
    assert len(market.of(Silent)) == 1


def test_liveness_probes_no_more_streams_at_once_than_it_may() -> None:
    """A dead route of many streams does not eat the REST budget."""
    watches = {str(number): Watch(str(number)) for number in range(50)}
    liveness = Liveness(watches, most_suspects=4)
    for watch in watches.values():
        watch.ask(0.0)
    assert sum(isinstance(one, Suspect) for one in liveness.tick(100.0)) == 4
    assert not list(liveness.tick(101.0))
    liveness.probed("0", None, 101.0)
    assert sum(isinstance(one, Suspect) for one in liveness.tick(102.0)) == 1


def test_liveness_gives_every_suspect_its_turn() -> None:
    """Where more streams are quiet than may be probed, each is probed once before any is probed again."""
    watches = {str(number): Watch(str(number)) for number in range(300)}
    liveness = Liveness(watches, most_suspects=1000, probes_per_s=2.0)
    for watch in watches.values():
        watch.ask(0.0)
    asked: list[str] = []
    for second in range(100, 240):
        for finding in list(liveness.tick(float(second))):
            assert isinstance(finding, Suspect)
            asked.append(finding.stream)
            liveness.probed(finding.stream, Activity(0, 0), float(second))
    assert 330 <= len(asked) <= 345
    assert len(set(asked[:300])) == 300
