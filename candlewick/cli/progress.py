"""How far a load is: a bar on a terminal, a plain line now and then elsewhere; always on stderr."""

import sys
from typing import TYPE_CHECKING, Self

from candlewick.clock import SystemClock
from candlewick.config import masked
from candlewick.events import Event, RestTrouble
from candlewick.services.loading.parts import Tally

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

LINE_EVERY_S = 5.0
BAR_EVERY_S = 0.1
MOST_TROUBLES = 20
"""Lines of trouble that are shown as it happens; the result names it anyhow."""


class Progress:
    """Shows a `Tally` as it changes."""

    def __init__(self) -> None:
        self.tally = Tally(self._changed)
        self._clock = SystemClock()
        self._began = self._shown = self._clock.monotonic()
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._troubles = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._draw(self.tally)
            self._bar.stop()

    def tell(self, event: Event) -> None:
        """Show trouble that the load goes on in spite of."""
        if not isinstance(event, RestTrouble):
            return
        self._troubles += 1
        if self._troubles <= MOST_TROUBLES:
            again = f"; again in {event.retry_s:.0f} s" if event.retry_s else ""
            self._say(masked(f"{event.what}: {event.reason}{again}"))

    def _changed(self, tally: Tally) -> None:
        now = self._clock.monotonic()
        if sys.stderr.isatty():
            if now - self._shown >= BAR_EVERY_S:
                self._shown = now
                self._draw(tally)
        elif now - self._shown >= LINE_EVERY_S:
            self._shown = now
            self._say(self._line(tally, now - self._began))

    def _line(self, tally: Tally, passed_s: float) -> str:
        part = tally.candles_done / max(tally.candles_planned, 1)
        left = f", {passed_s * (1 - part) / part:.0f} s left" if part else ""
        rate = tally.rows / max(passed_s, 1e-9)
        return (
            f"{part:.0%}: {tally.rows} candles, {tally.files} files, {tally.bytes / 1e6:.1f} MB, "
            f"{rate:.0f} candles/s{left} {tally.now_at}"
        )

    def _draw(self, tally: Tally) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"),
                TextColumn("{task.fields[detail]}"), TimeRemainingColumn(), console=Console(stderr=True),
            )  # fmt: skip
            self._task = self._bar.add_task("loading", detail="")
            self._bar.start()
        assert self._task is not None
        rate = tally.rows / max(self._clock.monotonic() - self._began, 1e-9)
        self._bar.update(
            self._task, total=tally.candles_planned, completed=tally.candles_done, description=tally.now_at or "loading",
            detail=f"{tally.rows} candles  {tally.bytes / 1e6:.1f} MB  {rate:.0f}/s",
        )  # fmt: skip

    def _say(self, line: str) -> None:
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr)
