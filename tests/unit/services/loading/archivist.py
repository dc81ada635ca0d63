"""A small made-up market for tests of loading: its files in a folder, a mirror that serves them, and ways to spoil both."""

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from random import Random
from shutil import rmtree
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from candlewick.clock import SystemClock, Timer
from candlewick.errors import Unreachable
from candlewick.events import Event
from candlewick.exchanges.exchange import load as load_exchange
from candlewick.history.archive import ArchiveClient
from candlewick.history.budget import Budget
from candlewick.history.client import RestClient
from candlewick.market import DAY, HOUR, Interval, Market, Series, Span, format_time, parse_time
from candlewick.services.loading.loader import Loader, LoadResult, Planned, Wanted
from candlewick.simulator.mirror import Mirror
from candlewick.stores.store import Store
from candlewick.transport import Answer, Http

NOW = parse_time("2023-05-03T12:30")
SERIES = Series(Market.SPOT, "MADEUSDT", Interval("1h"))
LISTED = parse_time("2023-02-07T05:00")
OUTAGES = [
    Span(parse_time("2023-02-12T22:00"), parse_time("2023-02-13T03:00")),
    Span(parse_time("2023-02-28T20:00"), parse_time("2023-03-01T02:00")),
    Span(parse_time("2023-03-15T07:00"), parse_time("2023-03-15T08:00")),
    Span(parse_time("2023-04-11T11:00"), parse_time("2023-04-13T04:00")),
]
Line = tuple[int, str]


class StillClock(SystemClock):
    """A clock that stands at one moment, whose waits are over at once."""

    def __init__(self, now: int) -> None:
        super().__init__(start=now)
        self._at = now
        self._ticks = 0.0

    def now(self) -> int:
        """Always the same."""
        return self._at

    def monotonic(self) -> float:
        """Goes on, so that whoever waits for it gets there."""
        self._ticks += 1.0
        return self._ticks

    async def sleep(self, seconds: float) -> None:
        """No time passes."""
        await asyncio.sleep(0)  # noqa: TID251 - here is a clock

    def call_later(self, seconds: float, call: Callable[[], object]) -> Timer:
        """At once."""
        return asyncio.get_running_loop().call_soon(call)


@cache
def candle_lines(listed: int = LISTED, now: int = NOW, seed: int = 1) -> tuple[Line, ...]:
    """Every candle there was, as a line of the archive, by open time."""
    random = Random(seed)
    lines: list[Line] = []
    price = 100_000
    for time in range(listed, now - now % HOUR, HOUR):
        if any(one.start <= time < one.end for one in OUTAGES):
            continue
        close = max(1_000, price + random.randrange(-50, 51))
        low, high, trades = min(price, close), max(price, close), random.randrange(1, 9)
        volume = random.randrange(1, 10_000) / 4
        quote = volume * (low + high) / 2 / 1024
        prices = ",".join(f"{one / 1024:.10f}" for one in (price, high, low, close))
        end = time + HOUR - 1000
        if any(one.start == time + HOUR for one in OUTAGES):
            end -= 20 * 60 * 1_000_000  # the last candle before an outage closes early
        text = f"{time // 1000},{prices},{volume:.8f},{end // 1000},{quote:.13f},{trades},{volume / 2:.8f},{quote / 2:.14f},0"
        lines.append((time, text))
        price = close
    return tuple(lines)


class Archivist:
    """The folder of files, spoiled and not, and what is loaded from it."""

    def __init__(self, folder: Path, lines: Sequence[Line] | None = None, *, now: int = NOW) -> None:
        self.lines = list(lines if lines is not None else candle_lines())
        self.files, self.truth = folder / "files", folder / "truth"
        self.clock = StillClock(now)
        self.events: list[Event] = []
        self._base = "data/spot/{}/klines/MADEUSDT/1h"
        self._by_period: dict[str, list[Line]] = {}
        for line in self.lines:
            day = format_time(line[0])[:10]
            for period in (day, day[:7]):
                self._by_period.setdefault(period, []).append(line)
        for period, held in self._by_period.items():
            self.put(period, held)
            if len(period) == 7:
                self.put(period, held, folder=self.truth)
        self.mirror = Mirror(self.files, clock=self.clock, truth=self.truth)
        self.http = Shaky(self.mirror.http())

    def path(self, period: str, folder: Path | None = None) -> Path:
        """The file of a day or a month."""
        kind = "monthly" if len(period) == 7 else "daily"
        return (folder or self.files) / self._base.format(kind) / f"MADEUSDT-1h-{period}.zip"

    def put(self, period: str, lines: Iterable[Line], folder: Path | None = None) -> None:
        """Write a file, whatever is in it; its checksum is right."""
        path = self.path(period, folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        with ZipFile(path, "w", ZIP_DEFLATED) as archive:
            archive.writestr(ZipInfo(path.stem + ".csv"), "".join(text + "\n" for _, text in lines), ZIP_DEFLATED)
        os.utime(path, (LISTED / 1e6, LISTED / 1e6))  # published before it is fetched, by the clock of these tests

    def take(self, period: str) -> list[Line]:
        """The right lines of a period."""
        return list(self._by_period[period])

    def remove(self, period: str) -> None:
        """It was never published."""
        self.path(period).unlink()

    @staticmethod
    def forget(folder: Path) -> None:
        """Have the files in a folder be of another symbol."""
        for file in list(folder.rglob("*.zip")):
            place = Path(str(file).replace("MADEUSDT", "ELSEUSDT"))
            place.parent.mkdir(parents=True, exist_ok=True)
            file.rename(place)
        for place in list(folder.rglob("MADEUSDT")):
            rmtree(place)

    def state_checksum(self, period: str, checksum: str) -> None:
        """Have its CHECKSUM say something."""
        path = self.path(period)
        path.with_name(path.name + ".CHECKSUM").write_text(f"{checksum}  {path.name}\n")

    def spoil_checksum(self, period: str) -> None:
        """Have its CHECKSUM state another file's."""
        self.state_checksum(period, hashlib.sha256(period.encode()).hexdigest())

    def loader(self, store: Store, *, threshold_months: int = 2) -> Loader:
        """A loader of it into a store."""
        return loader_of(self.http, self.clock, store, Market.SPOT, self.events.append, threshold_months)

    def load(self, store: Store, start: str | int, end: str | int, **options: bool) -> LoadResult:
        """Load a span; what came of it."""
        wanted = Wanted((SERIES,), Span(_time(start), _time(end)), **options)

        async def work() -> LoadResult:
            loader = self.loader(store)
            try:
                return (await loader.run(wanted))[0]
            finally:
                loader.close()

        return asyncio.run(work())

    def plan(self, store: Store, start: str | int, end: str | int) -> Planned:
        """What a load would ask for."""
        wanted = Wanted((SERIES,), Span(_time(start), _time(end)))

        async def work() -> Planned:
            loader = self.loader(store)
            try:
                return (await loader.plan(wanted))[0]
            finally:
                loader.close()

        return asyncio.run(work())


def loader_of(
    http: Http, clock: SystemClock, store: Store, market: Market, tell: Callable[[Event], object] = lambda _: None,
    threshold_months: int = 2,
) -> Loader:  # fmt: skip
    """A loader of one market that asks only `http`, as fast as it answers."""
    venue = load_exchange("binance").venues[market]
    budget = Budget(requests_per_s=1e6, burst=100, weight_per_minute=10**9)
    client = RestClient(venue, "http://api", http, budget, clock, tell, random=Random(1), in_flight=4)
    clients = [
        ArchiveClient(venue.archive, "http://files", "http://list", http, clock, tell, random=Random(1), attempts=2)
        for _ in range(2)
    ]
    return Loader(store, *clients, client, clock, tell, threshold_months=threshold_months)


class Shaky:
    """A client whose answers can be spoiled: by URL, what is answered instead (None: nothing at all)."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self.rules: list[tuple[str, Answer | None]] = []
        self.asked: list[str] = []

    def answer(self, part: str, status: int | None, body: bytes = b"") -> None:
        """Answer every URL that contains `part` so; without a status: do not answer."""
        self.rules.append((part, None if status is None else Answer(status, {}, body)))

    async def get(self, url: str, params: tuple[tuple[str, str], ...], timeout_s: float) -> Answer:
        """See `Http.get`."""
        shown = url + "?" + "&".join(map("=".join, params)) if params else url
        self.asked.append(shown)
        for part, answer in self.rules:
            if part in shown:
                if answer is None:
                    raise Unreachable(f"{url} does not answer")
                return answer
        return await self._http.get(url, params, timeout_s)

    async def close(self) -> None:
        """See `Http.close`."""


def _time(time: str | int) -> int:
    return parse_time(time) if isinstance(time, str) else time


def last_day(now: int = NOW) -> int:
    """Midnight before `now`."""
    return now - now % DAY
