"""Keeps the log of changes short in a run that feeds nothing: an outbox would do it, and there is none any more."""

from candlewick.clock import Clock
from candlewick.errors import StoreError
from candlewick.outputs import standing
from candlewick.services.following import OnStore
from candlewick.stores.store import Store

EVERY_S = 86_400.0
PAUSE_S = 0.05


async def keep_short(store: Store, clock: Clock, on_store: OnStore) -> None:
    """Drop what no output needs, now and once a day, a little at a time between the store's writes; until cancelled."""
    while True:
        try:
            while await on_store(standing.drop, store, clock.now()):
                await clock.sleep(PAUSE_S)
        except StoreError:
            pass  # whoever writes into it meets the same and says so; a log that is long for another day does no harm
        await clock.sleep(EVERY_S)
