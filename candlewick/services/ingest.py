"""Live ingestion of one market: joins feed, recorder, repairer and ledger. It wires and supervises, and computes nothing."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import NamedTuple

import msgspec

from candlewick.clock import Clock
from candlewick.errors import DecodeError, ExchangeError, StoreError
from candlewick.events import Event, FeedUp, FrameRejected, StoreTrouble
from candlewick.exchanges.exchange import StreamKind, Subscription, Venue
from candlewick.history.budget import HISTORY, REPAIR, URGENT
from candlewick.history.client import RestClient
from candlewick.integrity.continuity import Hole
from candlewick.live.feed import Feed
from candlewick.live.liveness import Activity, Watch
from candlewick.live.stream import Stream
from candlewick.market import MINUTE, Interval, Quote, Series, Span, Ticker, Trade
from candlewick.services.crosscheck import CrossCheck
from candlewick.services.historian import Historian
from candlewick.services.ledger import Ledger
from candlewick.services.recorder import OnStored, Recorder, Rejected
from candlewick.services.repair import Elsewhere, Job, Mended, Repairer
from candlewick.services.streams import KlineReceiver, LatestReceiver, TradeConsumer, TradeReceiver
from candlewick.services.trades import TradeMender
from candlewick.stores.store import Quarantined, Source, Store
from candlewick.transport import Dialer

CONFIRM = MINUTE
"""REST can vouch for candles that ended this long ago. For some seconds it shows a candle as it was before its end, and
what it says replaces what came live: a close that is missing is urgent, a confirmation is not.
"""
STOP_S = 8.0
"""How long the store has at the stop to take what was received; REST has it all at the next start."""
SHARED_S = 2.0
"""So long an answer about the market of a symbol serves every stream of it; a stream asks twice, further apart."""
SCAN_WINDOW = 30 * MINUTE
"""How far back the periodic scan looks."""


class Wants(NamedTuple):
    """What to ingest, resolved against what the exchange lists."""

    symbols: Sequence[str]
    intervals: Sequence[Interval]
    kinds: Sequence[StreamKind]
    stream_url: str
    history_from: int
    """How far back a series that is new to the store is filled, in microseconds."""
    gap_threshold_s: float
    check_interval_s: float
    reconnect_base_s: float | None
    workers: int
    """How many series are repaired at the same time."""


class Ingest:
    """Everything that runs while candles are taken in."""

    def __init__(
        self, venue: Venue, wants: Wants, store: Store, client: RestClient, dialer: Dialer, *, clock: Clock,
        random: Random, tell: Callable[[Event], None], on_trade: TradeConsumer | None = None,
        historian: Historian | None = None, thread: ThreadPoolExecutor | None = None, on_stored: OnStored | None = None,
        elsewhere: Callable[[Recorder], Elsewhere] | None = None,
    ) -> None:  # fmt: skip
        """`historian`: whom to ask for what is old, where REST is not to do it alone; `thread`, `on_stored`: see `Recorder`.

        `elsewhere` makes what may fill a gap before REST is asked.
        """
        self.venue, self.wants = venue, wants
        self._historian = historian
        self._client, self._clock, self._on_event = client, clock, tell
        self._on_trade = on_trade or (lambda symbol, trade: self.last_prices.__setitem__(symbol, trade.price))
        # Longer candles that begin with idle minutes may open at their price or at the first trade's: not documented.
        short = [Series(venue.market, s, i) for s in wants.symbols for i in wants.intervals if i.nominal <= MINUTE]
        self.crosscheck = CrossCheck(store, short, clock, self._tell)
        self.last_prices: dict[str, float] = {}
        wanted = [Series(venue.market, s, i) for s in wants.symbols for i in wants.intervals]
        held = [one.series for one in store.series(counted=False) if one.series.market == venue.market]
        self.series = wanted
        self.recorder = Recorder(
            store, list(dict.fromkeys([*wanted, *held])), clock=clock, tell=self._tell,
            on_rejected=self._rejected, on_pressure=self._pressure, on_stored=on_stored, thread=thread,
        )  # fmt: skip
        self.repairer = Repairer(
            client, self.recorder, clock=clock, tell=self._tell, on_mended=self._mended,
            ask_again_s=min(60.0, wants.check_interval_s), workers=wants.workers,
            elsewhere=elsewhere(self.recorder) if elsewhere is not None else None,
        )  # fmt: skip
        self.trades = TradeMender(client, clock, self._tell)
        self.ledger = Ledger()
        self._probes: dict[tuple[str, Interval], tuple[float, asyncio.Task[Activity | None]]] = {}
        self.frames_rejected = 0
        self.scanned_at: int | None = None
        """When the store was last scanned for holes."""
        self.klines: list[KlineReceiver] = []
        self.quotes: dict[str, LatestReceiver[Quote]] = {}
        self.tickers: dict[str, LatestReceiver[Ticker]] = {}
        self.trade_streams: list[TradeReceiver] = []
        self._confirmed_key = f"confirmed:{venue.market}"
        self._expect()
        self.feed = Feed(
            venue, wants.stream_url, self._streams(), dialer=dialer, clock=clock, random=random, probe=self._probe,
            reject=self._frame_rejected, tell=self._tell, reconnect_base_s=wants.reconnect_base_s,
        )  # fmt: skip

    def _tell(self, event: Event) -> None:
        if isinstance(event, FeedUp):
            for one in self.ledger.series.values():
                one.hurry()
        self._on_event(event)

    def _expect(self) -> None:
        """Where each series stands: what is held, and from where on REST has not vouched for it."""
        store = self.recorder.store
        kept = store.state(self._confirmed_key)
        confirmed_before = msgspec.msgpack.decode(kept, type=dict[str, int]) if kept else {}
        for series in self.series:
            start = confirmed_before.get(str(series), self._wanted_from(series))
            rows = store.read(series, start, columns=["open_time", "source"])
            live = rows["open_time"][rows["source"] == Source.LIVE]
            newest = store.read(series, columns=["open_time"], last=1)["open_time"]
            held_until = series.interval.next(int(newest[0])) if len(newest) else 0
            confirmed = int(live[0]) if len(live) else max(start, held_until)
            # What is missing before now is the scan's to ask for; the ledger follows what closes from here on.
            frontier = max(held_until, self.repairer.settled_end(series.interval))
            one = self.ledger.expect(series, frontier, confirmed, self.wants.gap_threshold_s)
            one.last_close = held_until

    async def _keep_confirmed(self) -> None:
        """Remember up to where REST has vouched, so that the next start need not read every candle."""
        confirmed = {str(one.series): one.confirmed for one in self.ledger.series.values()}
        state = msgspec.msgpack.encode(confirmed)
        try:
            await self.recorder.on_store(self.recorder.store.set_state, self._confirmed_key, state)
        except StoreError as error:  # what is remembered is older then, and the next scan remembers again
            self._tell(StoreTrouble(str(error), self.recorder.waiting, self.wants.check_interval_s))

    def _wanted_from(self, series: Series) -> int:
        """Where the history of a series begins: decided when it is new, and kept."""
        key = f"wanted_from:{series}"
        kept = self.recorder.store.state(key)
        if kept is not None:
            return int(kept)
        start = series.interval.ceil(self.wants.history_from)
        self.recorder.store.set_state(key, str(start).encode())
        return start

    def _streams(self) -> list[Stream]:
        """The receivers of every stream that is wanted."""
        streams = []
        for kind in self.wants.kinds:
            for symbol in self.wants.symbols:
                for interval in self.wants.intervals if kind is StreamKind.KLINE else (None,):
                    subscription = Subscription(kind, symbol, interval)
                    name = self.venue.stream_name(subscription)
                    watch = Watch(name)
                    streams.append(Stream(name, subscription, self._receiver(subscription, watch), watch))
        return streams

    def _receiver(self, subscription: Subscription, watch: Watch) -> Callable[[bytes], None]:
        kind, symbol, interval = subscription
        decode = self.venue.decoders[kind]
        if kind is StreamKind.KLINE:
            assert interval is not None
            series = Series(self.venue.market, symbol, interval)
            kline = KlineReceiver(self.ledger.series[series], decode, watch, self.recorder, self._skipped)
            self.klines.append(kline)
            return kline.receive
        if kind in {StreamKind.TRADE, StreamKind.AGG_TRADE}:
            # Where single trades cannot be asked for, their ids skip by nature (see the exchange's README): no holes.
            askable = kind is StreamKind.AGG_TRADE or self.venue.trades(symbol, 0, 1) is not None
            mend = self.trades.mend if askable else _ignore
            consume = self._check_trade if kind is StreamKind.TRADE and askable else self._on_trade
            trade = TradeReceiver(watch.name, kind, symbol, decode, watch, consume, mend, self.trades.doubt)
            self.trade_streams.append(trade)
            return trade.receive
        if kind is StreamKind.BOOK_TICKER:
            self.quotes[symbol] = LatestReceiver(decode, watch)
            return self.quotes[symbol].receive
        self.tickers[symbol] = LatestReceiver(decode, watch)
        return self.tickers[symbol].receive

    def _check_trade(self, symbol: str, trade: Trade) -> None:
        self.crosscheck.take(symbol, trade)
        self._on_trade(symbol, trade)

    async def run(self) -> None:
        """Take in, repair and watch until cancelled; then keep what was received."""
        recording = asyncio.get_running_loop().create_task(self.recorder.run())
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.repairer.run())
                tasks.create_task(self.trades.run())
                tasks.create_task(self.feed.run())
                tasks.create_task(self._tick())
                tasks.create_task(self._scan())
                if self._historian is not None:
                    tasks.create_task(self._historian.run())
                tasks.create_task(_outlive(recording))
        finally:
            self.recorder.close()
            await asyncio.wait({recording}, timeout=STOP_S)
            if not recording.done():
                recording.cancel()
                self._tell(StoreTrouble(f"given up at the stop: {self.recorder.trouble}", self.recorder.waiting, 0.0))

    async def _tick(self) -> None:
        """Once a second: which closes are overdue, and which candles can be held against their trades."""
        while True:
            await self._clock.sleep(1.0)
            self.crosscheck.compare()
            for series, span in self.ledger.overdue(self._clock.now()):
                self.repairer.request(Job(series, span, URGENT, "its close did not come"))

    async def _scan(self) -> None:
        """At start the whole store, then every few minutes what is recent: holes, and what is not yet confirmed."""
        if self._historian is not None:
            await self._load_old(self._historian)
        for series in self.recorder.numbers:
            start = self._wanted_from(series) if series in self.ledger.series else None
            await self.scan(series, start)
        self.scanned_at = self._clock.now()
        while True:
            await self._clock.sleep(self.wants.check_interval_s)
            recent = self._clock.now() - SCAN_WINDOW
            for series in self.series:
                await self.scan(series, max(recent, self._wanted_from(series)))
            self.scanned_at = self._clock.now()
            await self._keep_confirmed()

    async def _load_old(self, historian: Historian) -> None:
        """Have the archive asked for what is long past; what it has not is the scan's to ask for."""
        until = historian.boundary()
        old: list[tuple[Series, Span]] = []
        for series in self.series:
            end = series.interval.floor(until)
            hole, _ = await self.recorder.on_store(self.repairer.extent, series, self._wanted_from(series))
            if hole is not None and hole < end:
                old.append((series, Span(hole, end)))
        if not old:
            return
        await historian.load(old)
        for series, span in old:
            self.ledger.series[series].mended(span.start, span.end, whole=True)

    async def scan(self, series: Series, start: int | None) -> None:
        """Ask for the holes of a series since `start` (its first candle when None), and confirm what is live."""
        hole, end = await self.recorder.on_store(self.repairer.extent, series, start)
        expected = self.ledger.series.get(series)
        until = self._sure(series)
        if hole is not None and hole < until:
            until = self.repairer.settled_end(series.interval)  # what is loaded is loaded in one go
        if expected is not None and expected.confirmed < until:
            self.repairer.request(Job(series, Span(expected.confirmed, until), HISTORY, "scan", whole=True))
            if hole is not None and hole >= expected.confirmed:
                hole = max(hole, until)
        if hole is not None and hole < end:
            self.repairer.request(Job(series, Span(hole, end), REPAIR, "scan"))

    def _sure(self, series: Series) -> int:
        """Up to where REST can vouch for a series now."""
        return series.interval.floor(self._clock.now() - CONFIRM)

    def _skipped(self, series: Series, skipped: Span) -> None:
        self.repairer.request(Job(series, skipped, URGENT, "the close after it came first"))

    def _rejected(self, one: Rejected) -> None:
        """A row broke a rule: REST is asked for the right one, where its time can be believed."""
        interval = one.series.interval
        ends = interval.next(one.open_time)
        if one.source is not Source.LIVE or interval.floor(one.open_time) != one.open_time:
            return
        if self._wanted_from(one.series) <= one.open_time and ends <= self._clock.now():
            self.repairer.request(Job(one.series, Span(one.open_time, ends), URGENT, f"it broke the rule {one.rule}"))

    def _mended(self, mended: Mended) -> None:
        if (one := self.ledger.series.get(mended.series)) is not None:
            one.mended(mended.span.start, mended.until, whole=False)
            if mended.whole:
                one.mended(mended.span.start, min(mended.until, self._sure(mended.series)), whole=True)

    def _frame_rejected(self, connection: str, payload: bytes, error: DecodeError) -> None:
        self.frames_rejected += 1
        self._tell(FrameRejected(connection, str(error)))
        entry = Quarantined(connection, "unreadable-frame", "live", self._clock.now(), payload[:10_000])
        self.recorder.keep_aside(entry)

    def _pressure(self, on: bool) -> None:
        if on:
            self.feed.pause()
        else:
            self.feed.resume()

    async def _probe(self, subscription: Subscription) -> Activity | None:
        """How far REST says the market of a stream has come; streams of one symbol share an answer for a moment."""
        key = (subscription.symbol, subscription.interval or Interval("1m"))
        asked_at, asking = self._probes.get(key, (-SHARED_S, None))
        if asking is None or self._clock.monotonic() - asked_at >= SHARED_S:
            asking = asyncio.get_running_loop().create_task(self._activity(*key))
            self._probes[key] = self._clock.monotonic(), asking
        return await asyncio.shield(asking)

    async def _activity(self, symbol: str, interval: Interval) -> Activity | None:
        start = interval.floor(self._clock.now()) - interval.nominal
        try:
            candles = await self._client.klines(symbol, interval, start, start + 3 * interval.nominal, URGENT)
        except ExchangeError:
            return None  # the client has told why
        return Activity(candles[-1].open_time, candles[-1].trades) if candles else Activity(0, 0)


async def _outlive(recording: "asyncio.Task[None]") -> None:
    """Where the recorder fails, everything ends: nothing received could be kept."""
    await asyncio.shield(recording)


def _ignore(receiver: TradeReceiver, hole: Hole) -> None:
    """A hole in ids that skip by nature."""
