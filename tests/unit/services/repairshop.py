"""A bench with a repairer on it."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from candlewick.errors import ExchangeError
from candlewick.events import GapClosed, GapFound
from candlewick.history.budget import REPAIR
from candlewick.market import MINUTE, SECOND, Series
from candlewick.services.repair import Job, Mended, Repairer
from candlewick.stores.store import Reason
from tests.unit.services.workbench import BTC, START, Bench, minute, simulate, span

T = TypeVar("T")


class Shop:
    """A bench with a repairer."""

    def __init__(self, bench: Bench, *, run: bool = True, workers: int = 4) -> None:
        self.bench = bench
        self.mended: list[Mended] = []
        self.repairer = Repairer(
            bench.client, bench.recorder, clock=bench.clock, tell=bench.events.append, on_mended=self.mended.append,
            workers=workers,
        )  # fmt: skip
        if run:
            bench.start(self.repairer.run())

    def ask(self, first: int, last: int, priority: int = REPAIR, *, series: Series = BTC, whole: bool = False) -> None:
        self.repairer.request(Job(series, span(first, last), priority, "a test", whole))

    async def pass_s(self, seconds: float) -> None:
        await self.bench.clock.sleep(seconds)

    @property
    def asked(self) -> list[tuple[int, int]]:
        """What was asked for, in minutes from START's."""
        return [((one.start - minute(0)) // MINUTE, (one.end - minute(0)) // MINUTE) for one in self.bench.rest.spans]

    def held(self, series: Series = BTC) -> list[int]:
        return [(one - minute(0)) // MINUTE for one in self.bench.store.held(series)]

    def absent(self, series: Series = BTC) -> list[tuple[int, int, Reason]]:
        return [
            ((one.span.start - minute(0)) // MINUTE, (one.span.end - minute(0)) // MINUTE, one.reason)
            for one in self.bench.store.absences(series)
        ]

    @property
    def gaps(self) -> list[tuple[str, int, int]]:
        """Gaps told, found and closed, with their minutes."""
        events = [event for event in self.bench.events if isinstance(event, GapFound | GapClosed)]
        return [
            (
                type(event).__name__,
                (event.span.start - minute(0)) // MINUTE,
                (event.span.end - minute(0)) // MINUTE,
            )
            for event in events
        ]


def tell(story: Callable[[Shop], Awaitable[T]], *, run: bool = True, workers: int = 4) -> T:
    async def main(bench: Bench) -> T:
        return await story(Shop(bench, run=run, workers=workers))

    return simulate(main)


def failing_until(shop: Shop, at_s: float, error: Callable[[], ExchangeError]) -> None:
    """REST fails until that many seconds after START."""
    clock = shop.bench.clock
    shop.bench.rest.failing = lambda: error() if clock.now() < START + at_s * SECOND else None
