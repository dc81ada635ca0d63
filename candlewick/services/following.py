"""What takes in all that a run stores, as the run sees it. Types only: a run that feeds nothing loads nothing for it."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from candlewick.clock import Clock
from candlewick.events import Event
from candlewick.services.recorder import Recorder
from candlewick.services.repair import Elsewhere
from candlewick.services.status import OutputStatus
from candlewick.stores.store import Rows, Store

Tell = Callable[[Event], None]
OnStore = Callable[..., Awaitable[Any]]
"""Runs a call on the store's own thread: everything that changes the store happens there, in order."""


class Follower(Protocol):
    """Follows the store of a run; `services.outputs.Outputs` does."""

    def hear(self, event: Event) -> None:
        """Something happened."""

    def stored(self, rows: "Rows | None", sequence: int) -> None:
        """Something was stored; see `recorder.OnStored`."""

    async def run(self) -> None:
        """Follow until cancelled."""

    async def finish(self, within_s: float) -> None:
        """Nothing more will be stored: take in what is left, as far as that can be done now and in time."""

    def status(self) -> tuple[OutputStatus, ...]:
        """How each output is."""


Follow = Callable[[Store, Clock, OnStore, Tell], Follower]
"""Makes what follows a store."""
AskElsewhere = Callable[[Recorder, Tell], Elsewhere]
"""Makes what may fill a gap before REST is asked."""
