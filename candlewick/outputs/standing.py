"""Where the outputs of a store stand, as the store itself remembers it.

An output keeps its own position, in one transaction with its rows; that one counts. The store keeps a copy, now and
then, for three things: the log is dropped no further than every output needs it; an output that is not configured any
more holds it for `FORGOTTEN_AFTER` and not for ever; and after a kill an output starts from the older of both, so that
what it refused at the very end is refused, and noted, once more.

Everything here happens on the store's own thread, between its writes.
"""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from msgspec import Struct

from candlewick.market import DAY
from candlewick.outputs.output import Position
from candlewick.stores.store import Store, StoreReader

FORGOTTEN_AFTER = 7 * DAY
"""An output that nobody ran for so long holds the log no more; when it is back it gets everything anew."""
DROP_AT_ONCE = 1_000
"""Writes dropped from the log in one transaction: live candles wait that long."""

_PREFIX = "output:"


class Standing(Struct, frozen=True):
    """An output as the store remembers it. Times in microseconds UTC."""

    position: Position
    """It has this, and what it refused until then is noted."""
    run_at: int
    """When it was last run."""
    level_at: int
    """When it last had everything; 0 before it ever had."""


class Start(NamedTuple):
    """Where an output goes on."""

    position: Position
    anew: str | None
    """Why everything is brought over again, or None."""
    level_at: int


def begin(store: Store, name: str, found: Position | None, now: int) -> Start:
    """Where an output goes on that says that it stands at `found`; remembered from now on."""
    kept = remembered(store, name)
    anew = None
    if found is None:
        anew = "it has nothing of this store yet"
    elif not _holds(store, found.sequence):
        anew = "the changes after its position are not in the store's log: one of both was restored, or it was away too long"
    if found is None or anew is not None:
        position, level_at = Position(store.change_range().last, "", 0), 0
    else:
        earlier = kept is not None and _is_before(kept.position, found) and _holds(store, kept.position.sequence)
        position = kept.position if kept is not None and earlier else found
        level_at = kept.level_at if kept is not None else 0
    keep(store, name, Standing(position, now, level_at))
    return Start(position, anew, level_at)


def keep(store: Store, name: str, standing: Standing) -> None:
    """Remember where an output stands."""
    store.set_state(f"{_PREFIX}{name}", msgspec.json.encode(standing))


def remembered(store: StoreReader, name: str) -> Standing | None:
    """Where the store remembers an output to be, None where it never heard of it."""
    value = store.state(f"{_PREFIX}{name}")
    return None if value is None else msgspec.json.decode(value, type=Standing)


def drop(store: Store, now: int) -> bool:
    """Drop some of the log that no output needs; whether there is more. Outputs not run for long are forgotten."""
    needed = []
    for key, one in _all(store):
        if one.run_at < now - FORGOTTEN_AFTER:
            store.set_state(key, None)
        else:
            needed.append(one.position.sequence)
    first, last = store.change_range()
    through = min(needed, default=last)
    if through < first:
        return False
    return store.drop_changes(through, DROP_AT_ONCE)


def _all(store: StoreReader) -> Iterator[tuple[str, Standing]]:
    for key, value in store.states(_PREFIX).items():
        yield key, msgspec.json.decode(value, type=Standing)


def _holds(store: StoreReader, sequence: int) -> bool:
    """Whether all that came after is in the log, and it was this store's log that gave the sequence."""
    first, last = store.change_range()
    if sequence == first - 1:
        return True
    if not first <= sequence <= last:
        return False
    found = store.changes(sequence - 1, 1)
    return bool(found) and found[0].sequence == sequence


def _is_before(kept: Position, found: Position) -> bool:
    """Whether somebody who goes on from `kept` comes by `found`."""
    if found.snapshot_series is not None:
        part = (kept.snapshot_series or "", kept.snapshot_time)
        same = kept.snapshot_series is not None and kept.sequence == found.sequence
        return same and part < (found.snapshot_series, found.snapshot_time)
    return kept.sequence < found.sequence or (kept.sequence == found.sequence and kept.snapshot_series is not None)
