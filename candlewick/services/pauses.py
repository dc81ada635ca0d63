"""A pause that the exchange imposed does not end with the process."""

from collections.abc import Callable
from urllib.parse import urlsplit

from candlewick.clock import Clock
from candlewick.errors import StoreError
from candlewick.events import Event, StoreTrouble
from candlewick.history.budget import Budget
from candlewick.stores.store import Store, StoreReader


def recall_pause(budget: Budget, store: StoreReader, api_url: str, clock: Clock) -> None:
    """Have `budget` obey the pause that `store` remembers of this address."""
    if (kept := store.state(pause_key(api_url))) is not None:
        budget.load(kept, clock.now())


def keep_pauses(budget: Budget, store: Store, api_url: str, clock: Clock, tell: Callable[[Event], object]) -> None:
    """Have `budget` obey the pause that `store` remembers of this address, and the store remember the next one."""
    recall_pause(budget, store, api_url, clock)

    def keep() -> None:
        try:
            store.set_state(pause_key(api_url), budget.dump())
        except StoreError as error:  # it is obeyed all the same, until this process ends
            tell(StoreTrouble(f"a pause of REST cannot be kept: {error}", 0, 0.0))

    budget.on_change = keep


def pause_key(api_url: str) -> str:
    """Under which state a store remembers the pause of an address."""
    return f"rest_pause:{urlsplit(api_url).netloc}"
