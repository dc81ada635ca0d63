"""What the parts of a load hand to each other."""

from collections.abc import Callable
from typing import NamedTuple

from candlewick.history.archive_plan import Step
from candlewick.integrity.rules import Broken
from candlewick.market import Series, Span
from candlewick.services.loading.holes import Asked
from candlewick.stores.provenance import FileRecord
from candlewick.stores.store import Quarantined, Rows


class Found(NamedTuple):
    """What asking for a step came to."""

    step: Step
    rows: Rows
    """By time: those that are wanted and may be stored."""
    left: list[Span]
    """What is wanted and was not in it, in order."""
    asked: list[Asked]
    """What it says of that; nothing where it could not be asked."""
    trouble: str = ""
    """Why it could not be asked, or nothing."""
    record: FileRecord | None = None
    quarantined: tuple[Quarantined, ...] = ()


class Tally:
    """What a load has done so far; shown while it goes on."""

    def __init__(self, on_change: Callable[["Tally"], object] = lambda _: None) -> None:
        self.on_change = on_change
        self.bytes = 0
        """Received in files."""
        self.rows = 0
        """Written to the store."""
        self.candles_done = 0
        """Grid times of steps that are done, of `candles_planned`."""
        self.candles_planned = 0
        self.files = 0
        self.now_at = ""
        """What is being written."""


def quarantined(series: Series, found: Broken, rows: Rows, source: str, place: str, now: int) -> Quarantined:
    """An entry of the quarantine for a row that broke a rule."""
    text = f"{place}: {rows[found.index].tolist()!r}"
    return Quarantined(str(series), found.rule, source, now, text.encode())
