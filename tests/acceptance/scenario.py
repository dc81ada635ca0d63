"""Plays a fault script against a whole run, in virtual time, and compares the store with what the exchange had."""

import asyncio
from collections.abc import Sequence
from random import Random
from typing import NamedTuple, TypeVar

from candlewick.clock import SystemClock
from candlewick.config import HistoryStart, Settings
from candlewick.events import Event
from candlewick.exchanges.exchange import StreamKind
from candlewick.integrity.gaps import Gap, find_gaps
from candlewick.market import HOUR, SECOND, Interval, Market, Series, format_time, parse_time
from candlewick.services.status import Status
from candlewick.services.supervisor import Run
from candlewick.simulator.exchange import Exchange
from candlewick.simulator.faults import Fault
from candlewick.simulator.inprocess import InProcess, run_virtual
from candlewick.simulator.settings import SimulatorSettings
from candlewick.stores.memory import MemoryStore
from candlewick.stores.store import VALUES, Reason, Store
from tests.acceptance.tradebook import Tradebook

START = parse_time("2026-11-02T09:17:23")
SETTLE_S = 1500.0
"""Quiet time at the end of a scenario, in which everything must have been mended."""

EventT = TypeVar("EventT", bound=Event)


class Verdict(NamedTuple):
    """What a scenario came to. `wrong` is empty when the store equals the truth but for the gaps it reports."""

    wrong: list[str]
    gaps: list[Gap]
    status: Status
    store: Store
    exchange: Exchange
    events: list[Event]
    trades: Tradebook

    @property
    def reasons(self) -> dict[Reason, int]:
        """Candles that are not there, by reason."""
        counts: dict[Reason, int] = {}
        for gap in self.gaps:
            counts[gap.reason] = counts.get(gap.reason, 0) + gap.candles
        return counts

    def happened(self, kind: type[EventT]) -> list[EventT]:
        """The events of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]


def play(
    faults: Sequence[Fault] = (),
    *,
    seed: int = 1,
    hours: float = 4.0,
    market: Market = Market.SPOT,
    symbols: Sequence[str] = ("BTCUSDT", "SOLUSDT", "DOGEUSDT"),
    intervals: Sequence[str] = ("1m",),
    kinds: Sequence[StreamKind] = (StreamKind.KLINE,),
    store: Store | None = None,
    history_hours: float = 3.0,
    start: int = START,
    simulator: SimulatorSettings | None = None,
) -> Verdict:
    """Run for `hours` of market time while the script plays, then say how the store differs from the truth."""
    settings = Settings(
        market=market,
        symbols=tuple(symbols),
        intervals=tuple(map(Interval, intervals)),
        streams=tuple(kinds),
        history_start=HistoryStart("", before_now=int(history_hours * HOUR)),
    )
    own = simulator or SimulatorSettings(market=market, seed=seed, start=start, faults=tuple(faults))
    return run_virtual(_play(settings, own, store or MemoryStore(), hours, seed, start))


async def _play(
    settings: Settings, simulator: SimulatorSettings, store: Store, hours: float, seed: int, start: int
) -> Verdict:
    loop = asyncio.get_running_loop()
    clock = SystemClock(start=start, monotonic=loop.time)
    exchange = Exchange(simulator, SystemClock(start=start, monotonic=loop.time))
    world = InProcess(exchange, exchange.clock)
    kind = next((one for one in settings.streams if one in (StreamKind.AGG_TRADE, StreamKind.TRADE)), None)
    trades = Tradebook(kind)
    run = Run(
        settings, store, world.http, world.dialer, clock=clock, random=Random(seed), on_trade=trades.take
    )  # fmt: skip
    events: list[Event] = []
    log = run.observer.tell

    def tell(event: Event) -> None:
        events.append(event)
        trades.hear(event)
        log(event)

    run.observer.tell = tell  # type: ignore[method-assign]
    run.client._on_event = tell
    running = asyncio.ensure_future(run.run())
    done, _ = await asyncio.wait({running}, timeout=hours * 3600)
    if done:
        running.result()
    status = run.status()
    end = exchange.clock.now()
    running.cancel()
    await asyncio.wait({running})
    exchange.stop()
    if not running.cancelled() and (error := running.exception()) is not None:
        raise error
    wrong: list[str] = []
    gaps: list[Gap] = []
    for symbol in settings.symbols:
        for interval in settings.intervals:
            series = Series(settings.market, symbol, interval)
            begin = start - settings.history_start.before_now  # type: ignore[operator]
            found = _compare(series, store, exchange, interval.ceil(begin + 2 * SECOND), end, wrong)
            gaps += found
    trades.compare(exchange, settings.symbols, end - 15 * SECOND, wrong)
    return Verdict(wrong, gaps, status, store, exchange, events, trades)


def _compare(series: Series, store: Store, exchange: Exchange, begin: int, end: int, wrong: list[str]) -> list[Gap]:
    """How a series differs from the truth; returns its gaps."""
    interval = series.interval
    settled = interval.floor(end - 15 * SECOND)
    truth = {int(row[0]) * 1000: row for row in exchange.truth(series.symbol, interval.code, begin, settled)}
    rows = store.read(series, begin, settled)
    held = {int(row["open_time"]): row for row in rows}
    if len(held) != len(rows):
        wrong.append(f"{series}: {len(rows) - len(held)} candles are held twice")
    gaps = find_gaps(series, store.read(series)["open_time"], store.absences(series))
    missing = {time for gap in gaps if gap.reason is Reason.MISSING for time in interval.grid(gap.span)}
    for time in sorted(truth.keys() | held.keys()):
        where = f"{series} {format_time(time)}"
        if time not in truth:
            wrong.append(f"{where}: invented")
        elif time not in held and time not in missing:
            wrong.append(f"{where}: lost without a word")
        elif time in held and (fields := _differences(held[time], truth[time])):
            wrong.append(f"{where}: {fields}")
    return gaps


def _differences(row: object, truth: Sequence[object]) -> list[str]:
    """The columns in which a row is not what the exchange has."""
    values = [float(str(one)) for one in truth[1:6]] + [int(str(truth[6])) * 1000]
    values += [float(str(truth[7])), int(str(truth[8])), float(str(truth[9])), float(str(truth[10]))]
    return [
        f"{name}: held {row[name]}, truth {value}"  # type: ignore[index]
        for name, value in zip(VALUES, values, strict=True)
        if row[name] != value  # type: ignore[index]
    ]
