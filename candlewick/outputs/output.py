"""What an output is: it takes in what the local store holds, batch by batch, and remembers how far it got.

Types only. `outbox` drives an output; every output passes tests/contracts/test_output_contract.py.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

from candlewick.market import Series
from candlewick.stores.store import Absence, Rows


class Position(Struct, frozen=True):
    """How far an output got in what one store holds."""

    sequence: int
    """Every logged change up to this one is in the output."""
    snapshot_series: str | None = None
    """While everything held is brought over from the start: the series it is at; series before it, by text, are over."""
    snapshot_time: int = 0
    """Rows of that series that open before this are in the output."""


class Batch(NamedTuple):
    """What an output is to take in, all as it stands in the store."""

    rows: Rows
    """Each (series, open time) once, ordered by series, then time."""
    series: Mapping[int, Series]
    """What the rows' numbers mean."""
    absences: Mapping[Series, Sequence[Absence]]
    """All recorded reasons of a series, in place of those before."""
    states: Mapping[str, bytes | None]
    """Small values (`stores.store.LOGGED_STATES`), or None where they are gone."""
    position: Position
    """Where the output is once it has this."""
    fresh: bool
    """The output has probably none of these rows yet: a snapshot, not a change."""


class Refused(NamedTuple):
    """Something the output will not take, whatever is tried."""

    what: "Rows | str"
    """One row, or the key of a state."""
    words: str
    """The output's own."""


class Output(Protocol):
    """One destination. Calls come one after the other; batches may come twice, and out of date rows never come."""

    name: str
    """One word, such as `postgresql`; part of keys, metrics and log lines."""
    location: str
    """Where it is, without passwords."""
    written: int
    """Rows that it took in since it was made, counting again those that came again; what it passes over is none."""

    @property
    def pool_size(self) -> int:
        """Open connections to it now."""

    async def open(self, identity: str) -> Position | None:
        """Connect; where it stands with the store of this identity, None where it never heard of it.

        Raises:
            OutputDown: it does not answer.
            OutputError: it answers, but cannot be used as it is; says what to do.
        """

    async def write(self, batch: Batch) -> list[Refused]:
        """Take in a batch and its position, durably, all or nothing but for what is refused.

        Raises:
            OutputDown: it does not answer, or does not stand where `open` or the last batch left it; whether the batch was
                taken in is not known.
            OutputError: it cannot be used as it is.
        """

    async def close(self) -> None:
        """Let go of it; idempotent."""
