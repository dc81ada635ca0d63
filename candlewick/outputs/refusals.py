"""What an output refused: set aside in the store with the output's words, tried again at every start."""

import base64
from collections.abc import Sequence

import msgspec
import numpy as np
from msgspec import Struct

from candlewick.market import Series
from candlewick.outputs.output import Batch, Position, Refused
from candlewick.stores.store import ROW, Rows, StoreReader

_STATE = "state:"
_NO_ROWS: Rows = np.empty(0, ROW)


class Aside(Struct, frozen=True):
    """Something refused."""

    words: str
    """The output's."""
    at: int
    """When, in microseconds UTC."""
    series: str = ""
    """Of a row; empty for a state."""
    open_time: int = 0
    row: str = ""
    """The row that was refused, `ROW` in base64."""
    state: str = ""
    """The key of a state; empty for a row."""


class Refusals:
    """What one output refuses now; the store keeps it, and here is only which rows and states that are."""

    def __init__(self, store: StoreReader, output: str) -> None:
        self._store = store
        self._prefix = f"refused:{output}:"
        self._rows: dict[str, set[int]] = {}
        self._states: set[str] = set()

    def __len__(self) -> int:
        return len(self._states) + sum(map(len, self._rows.values()))

    def load(self) -> None:
        """Become what the store remembers, at once: others may ask how much it is meanwhile."""
        rows: dict[str, set[int]] = {}
        states: set[str] = set()
        for value in self._store.states(self._prefix).values():
            _note(msgspec.json.decode(value, type=Aside), rows, states)
        self._rows, self._states = rows, states

    def again(self, position: Position, most: int) -> list[Batch]:
        """What was refused, as it stands by now, to be tried once more; nothing of it moves the position."""
        states = {key: self._store.state(key) for key in self._states}
        batches = [Batch(_NO_ROWS, {}, {}, states, position, fresh=False)] if states else []
        for name, times in self._rows.items():
            series = Series.parse(name)
            held = np.concatenate([self._store.read(series, time, time + 1) for time in sorted(times)])
            for first in range(0, len(held), most):
                part = held[first : first + most]
                names = {int(part["series"][0]): series}
                batches.append(Batch(part, names, {}, {}, position, fresh=False))
        return batches

    def settle(self, batch: Batch, refused: Sequence[Refused], now: int) -> dict[str, bytes | None]:
        """Take note of what became of a batch; returns the states the store is to keep, or forget."""
        changed: dict[str, bytes | None] = dict.fromkeys(self._taken(batch))
        for one in refused:
            key, aside = self._aside(batch, one, now)
            _note(aside, self._rows, self._states)
            changed[key] = msgspec.json.encode(aside)
        return changed

    def _taken(self, batch: Batch) -> list[str]:
        """Forget what was refused before and is in this batch; the keys of that in the store."""
        states = self._states.intersection(batch.states)
        self._states -= states
        keys = [f"{self._prefix}{_STATE}{one}" for one in states]
        for number, series in batch.series.items():
            if (refused := self._rows.get(name := str(series))) is None:
                continue
            times = refused.intersection(batch.rows["open_time"][batch.rows["series"] == number].tolist())
            keys += [f"{self._prefix}{name}:{time}" for time in times]
            refused -= times
            if not refused:
                del self._rows[name]
        return keys

    def _aside(self, batch: Batch, one: Refused, now: int) -> tuple[str, Aside]:
        if isinstance(one.what, str):
            return f"{self._prefix}{_STATE}{one.what}", Aside(one.words, now, state=one.what)
        row = np.atleast_1d(one.what)
        series, open_time = str(batch.series[int(row["series"][0])]), int(row["open_time"][0])
        text = base64.b64encode(row.tobytes()).decode("ascii")
        return f"{self._prefix}{series}:{open_time}", Aside(one.words, now, series, open_time, text)


def _note(one: Aside, rows: dict[str, set[int]], states: set[str]) -> None:
    if one.state:
        states.add(one.state)
    else:
        rows.setdefault(one.series, set()).add(one.open_time)


def named(refused: Refused, batch: Batch) -> str:
    """What was refused, in a few words."""
    if isinstance(refused.what, str):
        return refused.what
    row = np.atleast_1d(refused.what)
    return f"{batch.series[int(row['series'][0])]} at {int(row['open_time'][0])}"
