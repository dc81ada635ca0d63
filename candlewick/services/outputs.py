"""The outputs of a run: what follows its store, what is kept beside that, and how it ends.

The store is the record of what was received. An output that is down, slow or killed costs nothing: what it has not yet
stays in the store, and goes on from there when it is back, or at the next start.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from candlewick.clock import Clock
from candlewick.errors import StoreError
from candlewick.events import Event
from candlewick.outputs.outbox import Outbox
from candlewick.outputs.output import Output
from candlewick.services.following import OnStore, Tell
from candlewick.services.gaps_log import GapsLog
from candlewick.services.status import OutputStatus
from candlewick.stores.store import Rows, Store

_DAY_S = 86_400.0


class Outputs:
    """Everything that follows the store of a run; see `services.following.Follower`."""

    def __init__(
        self, outputs: Sequence[Output], store: Store, *, clock: Clock, tell: Tell, on_store: OnStore, batch_rows: int,
        batch_timeout_s: float, look_every_s: float, beside: Sequence[Callable[[], Awaitable[None]]] = (),
        complaint: Callable[[], str | None] = lambda: None,
    ) -> None:  # fmt: skip
        """`look_every_s`: see `GapsLog`; `beside`: what else runs as long as they are fed.

        `complaint` says what keeps the first of them from answering, though nothing was written to it lately.
        """
        self._beside, self._complaint = beside, complaint
        self._boxes = [
            Outbox(
                one, store, clock=clock, tell=tell, on_store=on_store, batch_rows=batch_rows,
                batch_timeout_s=batch_timeout_s,
            )
            for one in outputs
        ]  # fmt: skip
        self._gaps = GapsLog(store, clock=clock, on_store=on_store, tell=tell, look_every_s=look_every_s)

    def hear(self, event: Event) -> None:
        """Something happened: gaps are kept on record."""
        self._gaps.hear(event)

    def stored(self, rows: "Rows | None", sequence: int) -> None:
        """Something was stored."""
        for one in self._boxes:
            one.stored(rows, sequence)

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for one in self._boxes:
                tasks.create_task(one.run())
            tasks.create_task(self._gaps.run())
            for work in self._beside:
                tasks.create_task(_run(work))

    async def finish(self, within_s: float) -> None:
        """Bring what is left to the outputs that answer now; the others have it at the next start."""
        try:
            async with asyncio.timeout(within_s):
                await self._gaps.flush()
                # Its time is the market's, which may run faster; ours is what counts.
                answering = [box for box, one in zip(self._boxes, self.status(), strict=True) if one.connected]
                await asyncio.gather(*(one.drain(_DAY_S) for one in answering))
        except (TimeoutError, StoreError):
            return  # the store has it all, and the next start goes on from there

    def status(self) -> tuple[OutputStatus, ...]:
        """How each output is."""
        complaints = [self._complaint(), *[None] * len(self._boxes)][: len(self._boxes)]
        return tuple(
            OutputStatus(
                name=one.name,
                location=one.location,
                connected=one.connected and complaint is None,
                error=one.error or complaint,
                behind_rows=one.behind_rows,
                lag_s=one.lag_s,
                written=one.written,
                refused=one.refused,
                set_aside=one.set_aside,
                retries=one.retries,
                pool_size=one.pool_size,
                snapshot=one.snapshot,
                latency=one.latency.snapshot(),
            )
            for one, complaint in zip((box.status() for box in self._boxes), complaints, strict=True)
        )


async def _run(work: Callable[[], Awaitable[None]]) -> None:
    await work()
