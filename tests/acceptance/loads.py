"""Plays loads of history against an archive and a REST interface full of trouble, in virtual time, and judges each store.

A scenario is drawn from its seed: a symbol that may be young or gone, outages, spoiled files, and some loads of parts of a
range at random moments, each with REST and the archive in trouble around it, some of them interrupted. After every load
the store may hold only what the exchange had, and give only reasons that are true; after a last load, which nothing
disturbs but the files that are spoiled for ever, nothing may be missing.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any, NamedTuple

from candlewick.certificates.audit import verify_store
from candlewick.certificates.check import verify
from candlewick.certificates.document import Certificate
from candlewick.certificates.issue import certify
from candlewick.clock import SystemClock
from candlewick.config import Settings
from candlewick.errors import CandlewickError, UnknownSymbol
from candlewick.market import DAY, HOUR, SECOND, Interval, Market, Series, Span, format_time, parse_time
from candlewick.services.loading.loader import LoadResult
from candlewick.services.loading.loading import Loading, Request
from candlewick.simulator.exchange import Exchange
from candlewick.simulator.faults import KINDS, Fault
from candlewick.simulator.inprocess import InProcess, run_virtual
from candlewick.simulator.settings import SimulatorSettings
from candlewick.stores.memory import MemoryStore
from candlewick.stores.provenance import certificate_of
from candlewick.stores.store import VALUES, Reason, Store

START = parse_time("2026-03-05T09:17:23")
LATE = 8 * DAY
LONG_GONE = 3 * DAY
_LASTING = (
    "no_checksum", "other_checksum", "late_file", "truncated_file", "short_month", "lost_rows", "repeated_rows",
    "conflicting_rows", "unsorted_rows", "off_grid_rows", "not_a_zip", "other_header", "other_unit", "stale_listing",
)  # fmt: skip
_LOSING = ("truncated_file", "short_month", "lost_rows", "off_grid_rows")
"""Not together with `conflicting_rows`: of two rows the wrong one may be left, and its checksum is right."""
_UNPROVED = (*_LOSING, "conflicting_rows", "not_a_zip", "no_checksum", "other_checksum")
_PASSING = (
    "missing_file", "wrong_checksum", "denied", "listing_down", "slow_download", "rate_limit", "ban", "forbidden",
    "restricted", "server_error", "html", "empty_body", "cut_body", "reset_body", "no_answer", "slow", "missing_rows",
    "short_page",
)  # fmt: skip
_PLACES = ("*", "*", "*/klines", "/data/*", "*/daily/*", "*/monthly/*", "*/time", "*/exchangeInfo")
_DAYS = {"1m": (2, 5), "5m": (3, 12), "15m": (5, 40), "1h": (20, 90), "4h": (30, 120), "1d": (60, 200), "1w": (60, 200),
         "3d": (60, 200), "1M": (90, 250)}  # fmt: skip
"""How many days of candles a scenario is about, by interval."""


class Scenario(NamedTuple):
    """What is played."""

    seed: int
    series: Series
    span: Span
    simulator: SimulatorSettings
    loads: list[tuple[int, Span, float]]
    """When, what, and after how many seconds it is interrupted (0: not at all)."""
    end: int
    """When the last load is made."""


class Played(NamedTuple):
    """What came of it; `wrong` is empty where everything is as it should be."""

    scenario: Scenario
    wrong: list[str]
    failures: list[str]
    """Loads that gave up, and why."""


def draw(seed: int) -> Scenario:
    """The scenario of a seed."""
    random = Random(seed)
    market = random.choice(list(Market))
    code = random.choice(("1m", "1m", "5m", "15m", "1h", "1h", "4h", "1d", "1w", "3d", "1M"))
    interval = Interval(code)
    symbols = ["XRPUSDT", "WANUSDT", "WANUSDT", "OLDUSDT", "HALTUSDT", "NEWUSDT"]
    if interval.nominal <= HOUR:
        symbols.append("DOGEUSDT")
    symbol = random.choice([*symbols, "GONEUSDT", "GONEUSDT"])
    days = random.uniform(*_DAYS[code])
    about = {"GONEUSDT": START - 100 * DAY, "DOGEUSDT": START - 30 * HOUR}.get(symbol, START)
    ahead = random.choice((0.0, 0.0, random.uniform(0, 3), random.uniform(0, 0.5) * days))
    if symbol != "GONEUSDT" and random.random() < 0.3:
        ahead -= random.uniform(0, 60)  # an old range
    if symbol not in {"GONEUSDT", "DOGEUSDT"} and random.random() < 0.1:
        about = START - 400 * DAY
        ahead = days / 2
    stop = about + round(ahead * DAY)
    span = Span(stop - round(days * DAY), stop)
    faults = list(_outages(random, span)) + list(lasting(random, market, symbol))
    loads = []
    time = START + round(random.uniform(0, 20) * HOUR)
    for _ in range(random.randrange(2, 7)):
        one, two = sorted((random.randrange(*span), random.randrange(*span)))
        part = random.choice((Span(one, two), span, Span(span.start, two), Span(one, span.end)))
        cancelled_s = random.choice((0.0, 0.0, random.uniform(0.01, 1), random.uniform(0, 60)))
        loads.append((time, part, cancelled_s))
        faults += passing(random, time)
        time += round(random.choice((600, 3600, 86400, 5 * 86400)) * random.uniform(0.7, 1.5) * SECOND)
    time += round(random.choice((2 * HOUR, 2 * DAY, 40 * DAY)))
    simulator = SimulatorSettings(
        market=market, seed=1, symbols=("XRPUSDT", "WANUSDT", "DOGEUSDT", "NEWUSDT"), start=START,
        faults=tuple(faults), surprises=False,
    )  # fmt: skip
    return Scenario(seed, Series(market, symbol, interval), span, simulator, loads, max(time, span.end + 2 * HOUR))


def _outages(random: Random, span: Span) -> Iterator[Fault]:
    for _ in range(random.choice((0, 1, 2, 4))):
        at = (random.randrange(*span) - START) / SECOND
        length = random.choice((90.0, 4000.0, 30_000.0, 200_000.0)) * random.uniform(0.5, 1.5)
        yield Fault(kind="outage", at=at, duration_s=length)


def lasting(random: Random, market: Market, symbol: str) -> Iterator[Fault]:
    """Files that are spoiled for ever."""
    without = random.choice((_LOSING, ("conflicting_rows",)))
    kinds = [kind for kind in _LASTING if kind not in without]
    for _ in range(random.randrange(6)):
        kind = random.choice(kinds)
        if symbol == "GONEUSDT" and market is Market.USDM and kind in _UNPROVED:
            continue  # REST knows it no more: what the archive spoils nobody can put right
        takes = KINDS[kind].takes
        drawn: dict[str, Any] = {"kind": kind, "at": -500 * 86400.0}
        drawn["share"] = random.choice((1.0, 0.5, 0.2))
        drawn["endpoint"] = random.choice(("*", "*/daily/*", "*/monthly/*"))
        if "number" in takes:
            drawn["number"] = random.randint(1, 31)
        if "delay_s" in takes:
            drawn["delay_s"] = random.uniform(0, 9 * 86400)
        yield Fault(**drawn)


def passing(random: Random, time: int) -> Iterator[Fault]:
    """What goes wrong with REST and the archive around a moment."""
    for _ in range(random.randrange(5)):
        kind = random.choice(_PASSING)
        takes = KINDS[kind].takes
        at = (time - START) / SECOND + random.choice((-1.0, random.uniform(0, 5), random.uniform(0, 60)))
        drawn: dict[str, Any] = {"kind": kind, "at": at, "duration_s": random.choice((2.0, 20.0, 120.0, 400.0))}
        if "share" in takes:
            drawn["share"] = random.choice((1.0, 0.5, 0.1))
        if "endpoint" in takes:
            drawn["endpoint"] = random.choice(_PLACES)
        if kind in {"missing_rows", "short_page"}:
            drawn["number"] = random.randint(1, 5)
        yield Fault(**drawn)


def play(seed: int) -> Played:
    """Draw a scenario and play it."""
    scenario = draw(seed)
    return run_virtual(_play(scenario))


async def _play(scenario: Scenario) -> Played:
    begin = min(START, scenario.loads[0][0])
    loop = asyncio.get_running_loop()
    exchange = Exchange(scenario.simulator, SystemClock(start=begin, monotonic=loop.time))
    try:
        return await _Play(scenario, exchange).run()
    finally:
        exchange.stop()


class _Play:
    def __init__(self, scenario: Scenario, exchange: Exchange) -> None:
        self._scenario, self._exchange = scenario, exchange
        self._series, self._interval = scenario.series, scenario.series.interval
        self._http = InProcess(exchange, exchange.clock).http
        self._random = Random(scenario.seed)
        self._store = MemoryStore()
        self._wrong: list[str] = []
        self._failures: list[str] = []
        span = scenario.span
        listed = exchange.archived[self._series.symbol].listing
        self._first = START - listed.age
        dead = exchange.archived[self._series.symbol].tape.dead
        self._stopped = None if listed.stopped is None else dead[-1].start  # an outage may have come before
        rows = exchange.truth(self._series.symbol, self._interval.code, *span)
        self._truth = {int(row[0]) * 1000: row for row in rows}

    async def run(self) -> Played:
        scenario = self._scenario
        for number, (time, span, cancelled_s) in enumerate(scenario.loads):
            await self._until(time)
            result = await self._load(self._store, span, cancelled_s)
            self._judge(f"load {number}")
            if result is not None:
                self._judge_result(f"load {number}", result)
            if len(self._wrong) > 5:
                return Played(scenario, self._wrong, self._failures)
        await self._until(scenario.end)
        last = await self._load(self._store, scenario.span)
        if last is None:
            self._wrong.append(f"the last load failed: {self._failures[-1]}")
            return Played(scenario, self._wrong, self._failures)
        self._judge("last")
        self._judge_result("last", last)
        self._judge_whole(last)
        await self._judge_again(last)
        return Played(scenario, self._wrong, self._failures)

    async def _until(self, time: int) -> None:
        await self._exchange.clock.sleep(max(0.0, (time - self._exchange.clock.now()) / SECOND))

    async def _load(self, store: Store, span: Span, cancelled_s: float = 0.0) -> LoadResult | None:
        clock = SystemClock(start=self._exchange.clock.now(), monotonic=asyncio.get_running_loop().time)
        settings = Settings(market=self._series.market)
        loading = Loading(settings, store, self._http, clock=clock, random=self._random, tell=lambda _: None)
        request = Request((self._series.symbol,), (self._interval,), *span)
        working = asyncio.ensure_future(loading.run(request))
        try:
            done, _ = await asyncio.wait({working}, timeout=cancelled_s or None)
            if not done:
                working.cancel()
                with suppress(asyncio.CancelledError):
                    await working
                return None
            return working.result()[0]
        except UnknownSymbol as error:
            self._failures.append(f"unknown: {error}")
        except CandlewickError as error:
            self._failures.append(str(error))
        finally:
            loading.close()
        return None

    def _complain(self, what: str, text: str) -> None:
        self._wrong.append(f"{what}: {self._series} {text}")

    def _held(self, store: Store) -> dict[int, Any]:
        return {int(row["open_time"]): row for row in store.read(self._series)}

    def _reasons(self, store: Store) -> dict[int, Reason]:
        """The reason of each grid time that has one."""
        found: dict[int, Reason] = {}
        for one in store.absences(self._series):
            for time in self._interval.grid(one.span):
                if time in found:
                    self._complain("absences", f"{format_time(time)}: two reasons")
                found[time] = one.reason
        return found

    def _judge(self, what: str) -> None:
        """Whatever happened: nothing is invented, nothing is wrong, every reason is true."""
        held = self._held(self._store)
        for time, row in held.items():
            if time not in self._truth:
                self._complain(what, f"{format_time(time)}: invented")
            elif fields := _differences(row, self._truth[time]):
                self._complain(what, f"{format_time(time)}: {fields}")
        now = self._exchange.clock.now()
        for time, reason in self._reasons(self._store).items():
            if not self._is_true(time, reason, now):
                self._complain(what, f"{format_time(time)}: {reason}, candle {time in self._truth}")
            if time in held:
                self._complain(what, f"{format_time(time)}: {reason} and held")
        for finding in verify_store(self._store, now):
            if not finding.is_note:
                self._complain(what, f"verify_store: {finding.what} {finding}")
        if held:
            self._judge_certificate(what)

    def _judge_certificate(self, what: str) -> None:
        certificate = certify(self._store, self._series)
        for one in verify(certificate, self._store):
            self._complain(what, f"certificate: {one.what} {one}")
        pending = any(one.reason is Reason.PENDING for one in certificate.absences)
        if certificate.complete != (not certificate.missing and not certificate.unsettled and not pending):
            self._complain(what, f"certificate says complete {certificate.complete}: {certificate.missing} missing")
        if Certificate.from_json(certificate.to_json()) != certificate:
            self._complain(what, "certificate does not survive its JSON")

    def _is_true(self, time: int, reason: Reason, now: int) -> bool:
        first = self._interval.floor(self._first)
        if reason is Reason.PENDING:
            if self._interval.nominal <= DAY:
                return time - time % DAY + DAY > now - LATE - HOUR  # the file of its day
            return self._interval.next(time) > now - 45 * DAY - HOUR
        if time in self._truth:
            return False
        if reason is Reason.NOT_LISTED:
            return time < first or not any(one < time for one in self._truth)
        if reason is Reason.DELISTED:
            return self._stopped is not None and time >= self._interval.floor(self._stopped)
        return reason is Reason.EXCHANGE_OUTAGE and time >= first and (self._stopped is None or time < self._stopped)

    def _judge_result(self, what: str, result: LoadResult) -> None:
        """What a load says of itself."""
        span = Span(result.start * 1000, result.end * 1000)
        held = sum(span.start <= time < span.end for time in self._held(self._store))
        absent: dict[str, int] = {}
        for time, reason in self._reasons(self._store).items():
            if span.start <= time < span.end:
                absent[reason.value] = absent.get(reason.value, 0) + 1
        expected = self._interval.count(span)
        if (result.held, result.absent, result.expected) != (held, absent, expected):
            self._complain(what, f"says {result.held} {result.absent} of {result.expected}: {held} {absent} {expected}")
        if result.missing != expected - held - sum(absent.values()):
            self._complain(what, f"says {result.missing} are missing")
        if result.complete != (not result.missing and not absent.get("pending")):
            self._complain(what, f"says complete {result.complete}: {result.missing} missing, {absent}")

    def _judge_whole(self, result: LoadResult) -> None:
        """After the last load every candle is held, and everything else has its reason."""
        held, reasons, now = self._held(self._store), self._reasons(self._store), self._exchange.clock.now()
        span = Span(result.start * 1000, result.end * 1000)
        for time in self._interval.grid(span):
            where = format_time(time)
            if time in self._truth:
                if time not in held:
                    self._complain("last", f"{where}: not held, {reasons.get(time, 'missing')}; {result.troubles}")
            elif time not in reasons:
                silent = self._stopped is not None and self._interval.floor(self._stopped) <= time
                if not (silent and now - time < LONG_GONE + 2 * self._interval.nominal):
                    self._complain("last", f"{where}: no reason; {result.troubles}")

    async def _judge_again(self, last: LoadResult) -> None:
        """A load into an empty store comes to the same, and the same load again does nothing."""
        span = self._scenario.span
        fresh = MemoryStore()
        other = await self._load(fresh, span)
        if other is None:
            self._complain("fresh", f"failed: {self._failures[-1]}")
            return
        mine, theirs = self._values(self._store), self._values(fresh)
        if mine != theirs:
            self._complain("fresh", f"other rows: {len(mine)} and {len(theirs)}")
        reasons, others = self._reasons(self._store), self._reasons(fresh)
        for time in sorted(reasons.keys() | others.keys()):
            if reasons.get(time) is not others.get(time) and last.start * 1000 <= time < last.end * 1000:
                self._complain("fresh", f"{format_time(time)}: {reasons.get(time)}, fresh {others.get(time)}")
        before = self._state()
        again = await self._load(self._store, span)
        if again is None:
            self._complain("again", f"failed: {self._failures[-1]}")
            return
        if last.complete and last.end == again.end and (again.rows or again.archive_files or again.rest_requests):
            self._complain("again", f"{again.rows} rows, {again.archive_files} files, {again.rest_requests} requests")
        if last.complete and last.end == again.end and self._state() != before:
            self._complain("again", "the store has changed")

    def _values(self, store: Store) -> bytes:
        rows = store.read(self._series, *self._scenario.span)
        return b"".join(rows[name].tobytes() for name in ("open_time", *VALUES))

    def _state(self) -> tuple[object, ...]:
        store, series = self._store, self._series
        return store.read(series).tobytes(), tuple(store.absences(series)), certificate_of(store, series)


def _differences(row: Any, truth: list[Any]) -> list[str]:  # noqa: ANN401 - a row of a structured array
    """The columns in which a row is not what the exchange has."""
    values = [float(one) for one in truth[1:6]] + [int(truth[6]) * 1000]
    values += [float(truth[7]), int(truth[8]), float(truth[9]), float(truth[10])]
    return [
        f"{name}: held {row[name]}, truth {value}"
        for name, value in zip(VALUES, values, strict=True)
        if row[name] != value
    ]
