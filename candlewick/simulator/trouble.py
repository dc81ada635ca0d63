"""Faults at work: what a running script does to frames, connections, dials and REST answers."""

from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import partial
from random import Random
from typing import Protocol

from candlewick.clock import Clock, Timer
from candlewick.market import SECOND
from candlewick.simulator.archive_traps import strikes
from candlewick.simulator.faults import ENDLESS, KINDS, Fault
from candlewick.simulator.mangle import mangle
from candlewick.simulator.session import Session
from candlewick.simulator.wire import Message, Notice

Form = Callable[[bytes], bytes]
Step = tuple[float, Message, Form | None]
"""One frame to be sent: after how many seconds, what, and spoiled how."""


class Troubled(Protocol):
    """What trouble needs to know of the exchange."""

    clock: Clock
    start: int
    sessions: dict[int, Session]


class Active:
    """A fault while it lasts."""

    __slots__ = ("ends", "fault", "random", "struck")

    def __init__(self, fault: Fault, number: int, ends: int) -> None:
        self.fault = fault
        self.ends = ends
        self.random = Random(number)
        self.struck: set[int] | None = None
        """Numbers of the connections it strikes; None: all, the ones opened meanwhile too."""

    def covers(self, path: str) -> bool:
        """Whether it strikes this endpoint at all."""
        return fnmatchcase(path, self.fault.endpoint)

    def hits(self) -> bool:
        """Whether it strikes now, by its share."""
        return self.fault.share >= 1 or self.random.random() < self.fault.share


class Trouble:
    """The script, followed by the clock."""

    def __init__(self, exchange: Troubled, faults: tuple[Fault, ...]) -> None:
        self._exchange = exchange
        self.frames: list[Active] = []
        """What strikes frames at present; read by the exchange before every delivery."""
        self.rest: list[Active] = []
        """What strikes REST answers at present."""
        self.rows: list[Active] = []
        """What strikes rows of candles at present."""
        self.files: list[Active] = []
        """What strikes files of the archive at present."""
        self.archive: list[Active] = []
        """What is wrong with the archive at present."""
        self._dials: list[Active] = []
        self._half_open: list[Active] = []
        self._lists = {
            "frames": self.frames,
            "rest": self.rest,
            "rows": self.rows,
            "files": self.files,
            "archive": self.archive,
            "dials": self._dials,
        }
        self._timers: list[Timer] = []
        self.skew = 0
        """By how many microseconds the server's clock is ahead."""
        self._replaced = [fault for fault in faults if fault.kind == "replaced_file"]
        now = exchange.clock.now()
        for number, fault in enumerate(faults):
            ends = fault.ends(exchange.start)
            lasting = KINDS[fault.kind].strikes != "connections" or fault.kind == "half_open"
            if fault.kind != "outage" and (ends > now if lasting else fault.begins(exchange.start) >= now):
                self._after(fault.begins(exchange.start), partial(self._begin, Active(fault, number, ends)))

    def stop(self) -> None:
        """Plan nothing more."""
        for timer in self._timers:
            timer.cancel()

    def replaced_at(self, key: str) -> int:
        """When a file of the archive was last replaced, in microseconds UTC; 0 where it never was."""
        ends = [fault.ends(self._exchange.start) for fault in self._replaced if strikes(fault, key)]
        return max((end for end in ends if end <= self._exchange.clock.now()), default=0)

    # Beginning and ending.

    def _after(self, time: int, call: Callable[[], object]) -> None:
        delay_s = (time - self._exchange.clock.now()) / SECOND
        if delay_s <= 0:
            call()
        else:
            self._timers.append(self._exchange.clock.call_later(delay_s, call))

    def _begin(self, active: Active) -> None:
        fault = active.fault
        sessions = self._chosen(active)
        if KINDS[fault.kind].strikes == "connections":
            for session in sessions:
                self._strike(session, active)
            if fault.kind == "half_open" and fault.connection == 0:
                self._half_open.append(active)
                self._after(active.ends, lambda: self._half_open.remove(active))
            return
        if fault.connection:
            active.struck = {session.number for session in sessions} if fault.connection < 0 else {fault.connection}
        if fault.kind == "stall":
            for session in sessions:
                session.hold()
        held = self._lists.get(KINDS[fault.kind].strikes)
        if held is not None:
            held.append(active)
        if fault.kind == "skew":
            self.skew += round(fault.delay * SECOND)
        if active.ends < ENDLESS:
            self._after(active.ends, lambda: self._end(active))

    def _end(self, active: Active) -> None:
        fault = active.fault
        held = self._lists.get(KINDS[fault.kind].strikes)
        if held is not None:
            held.remove(active)
        if fault.kind == "skew":
            self.skew -= round(fault.delay * SECOND)
        if fault.kind == "stall":
            for session in list(self._exchange.sessions.values()):
                if self._concerns(active, session):
                    session.release()

    def _chosen(self, active: Active) -> list[Session]:
        """The open connections a fault strikes as it begins."""
        sessions = list(self._exchange.sessions.values())
        wanted = active.fault.connection
        if wanted == 0:
            return sessions
        if wanted < 0:
            return [active.random.choice(sessions)] if sessions else []
        return [session for session in sessions if session.number == wanted]

    @staticmethod
    def _concerns(active: Active, session: Session) -> bool:
        return active.struck is None or session.number in active.struck

    # Connections.

    def _strike(self, session: Session, active: Active) -> None:
        fault = active.fault
        if fault.kind == "cut":
            session.reset()
        elif fault.kind == "close":
            session.close(fault.value, "")
        elif fault.kind == "half_open":
            session.deaf = True
        else:
            event = f'{{"e":"serverShutdown","E":{self._exchange.clock.now() // 1000}}}'
            session.deliver(Notice("!serverShutdown", event))
            self._after(self._exchange.clock.now() + round(fault.delay * SECOND), session.reset)

    def opened(self, session: Session) -> None:
        """A connection was opened: some faults wait for new ones."""
        if self._half_open:
            session.deaf = True
        for active in self.frames:
            if active.fault.kind == "stall" and self._concerns(active, session):
                session.hold()

    def dial(self) -> tuple[int, str, tuple[tuple[str, str], ...]] | None:
        """How a dial fails at present (status, body, headers); status 0: refused, -1: never answered; None: it does not."""
        for active in self._dials:
            if active.fault.kind == "reject":
                status = active.fault.value
                wait = max(1, -(-(active.ends - self._exchange.clock.now()) // SECOND))
                headers = (("Retry-After", str(wait)),) if status in (418, 429) else ()
                return status, "", headers
            return (0 if active.fault.kind == "refuse" else -1), "", ()
        return None

    # Frames.

    def subscribed(self, session: Session, name: str) -> None:
        """A stream was asked for; a silent one is acknowledged all the same."""
        for active in self.frames:
            if active.fault.kind == "silent" and self._names(active, session, name):
                session.muted.add(name)

    def _names(self, active: Active, session: Session, stream: str) -> bool:
        return self._concerns(active, session) and fnmatchcase(stream, active.fault.stream)

    def deliver(self, session: Session, message: Message) -> None:
        """Deliver an event through everything that is wrong at present."""
        if message.stream in session.muted:
            return
        plan: list[Step] = [(0.0, message, None)]
        for active in self.frames:
            if self._names(active, session, message.stream) and active.fault.kind in _FRAME_FAULTS:
                plan = [done for step in plan for done in _FRAME_FAULTS[active.fault.kind](active, *step)]
        for delay_s, sent, form in plan:
            self._send(session, delay_s, sent, form)

    def _send(self, session: Session, delay_s: float, message: Message, form: Form | None) -> None:
        text = session.text(message)
        if form is not None:
            text = form(text)
        if delay_s > 0:
            self._exchange.clock.call_later(delay_s, lambda: session.send(text))
        else:
            session.send(text)


def _lose(active: Active, *step: *Step) -> list[Step]:
    return [] if active.hits() else [step]


def _repeat(active: Active, *step: *Step) -> list[Step]:
    return [step, step] if active.hits() else [step]


def _delay(active: Active, delay_s: float, message: Message, form: Form | None) -> list[Step]:
    late = active.random.uniform(0.05, max(0.05, active.fault.delay)) if active.hits() else 0.0
    return [(delay_s + late, message, form)]


def _delay_close(active: Active, delay_s: float, message: Message, form: Form | None) -> list[Step]:
    return [(delay_s + (active.fault.delay if message.is_close and active.hits() else 0.0), message, form)]


def _lose_close(active: Active, *step: *Step) -> list[Step]:
    return [] if step[1].is_close and active.hits() else [step]


def _repeat_close(active: Active, *step: *Step) -> list[Step]:
    delay_s, message, form = step
    return [step, (delay_s + active.fault.delay, message, form)] if message.is_close and active.hits() else [step]


def _contradict_close(active: Active, *step: *Step) -> list[Step]:
    """First the close with the numbers of a moment before, then the right one."""
    delay_s, message, form = step
    early = message.early() if message.is_close else None
    return [(delay_s, early, form), step] if early is not None and active.hits() else [step]


def _mangle(active: Active, *step: *Step) -> list[Step]:
    delay_s, message, _ = step
    if not active.hits():
        return [step]
    return [(delay_s, message, lambda text: mangle(text, active.fault.form, active.random))]


_FRAME_FAULTS: dict[str, Callable[[Active, float, Message, Form | None], list[Step]]] = {
    "drop": _lose,
    "zombie": _lose,
    "repeat": _repeat,
    "reorder": _delay,
    "late_close": _delay_close,
    "missing_close": _lose_close,
    "duplicate_close": _repeat_close,
    "conflicting_close": _contradict_close,
    "mangle": _mangle,
}
