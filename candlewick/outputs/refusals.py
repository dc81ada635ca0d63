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
    """What one output refuses now, by key in the store."""

    def __init__(self, store: StoreReader, output: str) -> None:
        self._store = store
        self._prefix = f"refused:{output}:"
        self.now: dict[str, Aside] = {}

    def load(self) -> None:
        """Become what the store remembers."""
        found = self._store.states(self._prefix)
        self.now = {key: msgspec.json.decode(value, type=Aside) for key, value in found.items()}

    def again(self, position: Position, most: int) -> list[Batch]:
        """What was refused, as it stands by now, to be tried once more; nothing of it moves the position."""
        rows: dict[Series, list[Rows]] = {}
        states: dict[str, bytes | None] = {}
        for one in self.now.values():
            if one.state:
                states[one.state] = self._store.state(one.state)
            else:
                series = Series.parse(one.series)
                rows.setdefault(series, []).append(self._store.read(series, one.open_time, one.open_time + 1))
        batches = [Batch(_NO_ROWS, {}, {}, states, position, fresh=False)] if states else []
        for series, found in rows.items():
            held = np.concatenate(found)
            held = held[np.argsort(held["open_time"])]
            for first in range(0, len(held), most):
                part = held[first : first + most]
                names = {int(part["series"][0]): series}
                batches.append(Batch(part, names, {}, {}, position, fresh=False))
        return batches

    def settle(self, batch: Batch, refused: Sequence[Refused], now: int) -> dict[str, bytes | None]:
        """Take note of what became of a batch; returns the states the store is to keep, or forget."""
        changed: dict[str, bytes | None] = {}
        for key in self._taken(batch) if self.now else ():
            del self.now[key]
            changed[key] = None
        for one in refused:
            key, aside = self._aside(batch, one, now)
            self.now[key] = aside
            changed[key] = msgspec.json.encode(aside)
        return changed

    def _taken(self, batch: Batch) -> list[str]:
        """Keys of what was refused before and is in this batch."""
        held = {}
        for number, series in batch.series.items():
            held[str(series)] = batch.rows["open_time"][batch.rows["series"] == number]
        keys = []
        for key, one in self.now.items():
            if one.state:
                if one.state in batch.states:
                    keys.append(key)
            elif one.series in held:
                times = held[one.series]
                at = int(np.searchsorted(times, one.open_time))
                if at < len(times) and times[at] == one.open_time:
                    keys.append(key)
        return keys

    def _aside(self, batch: Batch, one: Refused, now: int) -> tuple[str, Aside]:
        if isinstance(one.what, str):
            return f"{self._prefix}{_STATE}{one.what}", Aside(one.words, now, state=one.what)
        row = np.atleast_1d(one.what)
        series, open_time = str(batch.series[int(row["series"][0])]), int(row["open_time"][0])
        text = base64.b64encode(row.tobytes()).decode("ascii")
        return f"{self._prefix}{series}:{open_time}", Aside(one.words, now, series, open_time, text)


def named(refused: Refused, batch: Batch) -> str:
    """What was refused, in a few words."""
    if isinstance(refused.what, str):
        return refused.what
    row = np.atleast_1d(refused.what)
    return f"{batch.series[int(row['series'][0])]} at {int(row['open_time'][0])}"
