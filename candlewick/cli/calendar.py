"""Calendars of coverage as text: one character a day, told apart by shape first and by colour second."""

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from textwrap import wrap
from typing import NamedTuple

import numpy as np

from candlewick.integrity.coverage import Coverage, State
from candlewick.market import DAY, format_time

_LOOKS = {
    State.COMPLETE: ("█", "#", "32", "complete"),
    State.HALT: ("h", "h", "36", "complete, trading halted for a part"),
    State.LIVE: ("▒", "=", "33", "complete, some of it live and not confirmed yet"),
    State.OUTAGE: ("o", "o", "36;1", "complete, with an outage of the exchange"),
    State.PENDING: ("?", "?", "35", "not all published yet"),
    State.PARTIAL: ("x", "x", "31;1", "candles missing"),
    State.MISSING: ("X", "X", "31;7", "all missing"),
    State.NOT_LISTED: ("·", ".", "2", "not listed yet"),
    State.DELISTED: ("-", "-", "2", "delisted"),
    State.NOTHING: (" ", " ", "", ""),
}
"""Character, character where only ASCII can be shown, colour (SGR), what it says. Of several days the worst shows."""
_WORST = (
    State.MISSING, State.PARTIAL, State.OUTAGE, State.PENDING, State.LIVE, State.HALT, State.COMPLETE, State.DELISTED,
    State.NOT_LISTED, State.NOTHING,
)  # fmt: skip
_RULER = "".join(f"{day:<5}" if day > 1 else "1   " for day in (1, 5, 10, 15, 20, 25, 30)).rstrip()


def to_calendar(coverage: Coverage, *, colour: bool, plain: bool) -> str:
    """One series: a line a month, a character a day, 72 columns wide."""
    pen = _Pen(colour, plain)
    lines = [_title(coverage), f"         {_RULER}"]
    for month, first, end in _months(coverage):
        day = int(format_time((coverage.first_day + first) * DAY)[8:10])
        cells = [State.NOTHING] * (day - 1) + list(coverage.states[first:end])
        part = slice(first, end)
        present, possible = int(coverage.present[part].sum()), int(coverage.possible[part].sum())
        lines.append(
            f"{month}  {pen.draw(cells)}{' ' * (31 - len(cells))}  {_share(present, possible):>8}  {present:>11,}"
        )
    lines += ["", *wrap(_sum(coverage), 80), *pen.legend(coverage.states)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def to_overview(found: Sequence[Coverage], *, colour: bool, plain: bool) -> str:
    """Several series: a line each, the same days in the same column, several days to a character where they are many."""
    pen = _Pen(colour, plain)
    held = [one for one in found if len(one.states)]
    name_width = max(len(str(one.series)) for one in found)
    width = max(10, shutil.get_terminal_size().columns - name_width - 13)
    first = min((one.first_day for one in held), default=0)
    end = max((one.first_day + len(one.states) for one in held), default=0)
    step = max(1, -(-(end - first) // width))
    lines = [] if not held else [_scale(first, end, -(-(end - first) // step), name_width)]
    for one in found:
        days = [State.NOTHING] * (one.first_day - first) + list(one.states) if len(one.states) else []
        cells = [_worst(days[at : at + step]) for at in range(0, len(days), step)]
        fill = " " * (-(-(end - first) // step) - len(cells))
        share = _share(int(one.present.sum()), int(one.possible.sum()))
        lines.append(f"{one.series!s:<{name_width}}  {pen.draw(cells)}{fill}  {share:>8}")
    missing = sum(int(one.missing.sum()) for one in found)
    present = sum(int(one.present.sum()) for one in found)
    each = f"; {step} days a character, the worst shows" if step > 1 else ""
    lines += ["", f"{present:,} candles in {len(found)} series, {missing:,} missing{each}"]
    lines += pen.legend([state for one in found for state in set(one.states)])
    return "\n".join(line.rstrip() for line in lines) + "\n"


class _Pen(NamedTuple):
    """Draws states as characters."""

    colour: bool
    plain: bool

    def draw(self, states: Sequence[State]) -> str:
        return "".join(self._paint(state, len(list(run))) for state, run in groupby(states))

    def legend(self, states: Sequence[State]) -> Iterator[str]:
        """What the characters that occur stand for."""
        seen = set(states)
        for state, (_, _, _, words) in _LOOKS.items():
            if state in seen and words:
                yield f"  {self._paint(state, 1)} {words}"

    def _paint(self, state: State, times: int) -> str:
        glyph, ascii_glyph, code, _ = _LOOKS[state]
        text = (ascii_glyph if self.plain else glyph) * times
        return f"\033[{code}m{text}\033[0m" if self.colour and code else text


def _title(coverage: Coverage) -> str:
    if not len(coverage.states):
        return f"{coverage.series}  no candles"
    return f"{coverage.series}  {coverage.span}"


def _months(coverage: Coverage) -> Iterator[tuple[str, int, int]]:
    """Each month with the indexes of its days."""
    days = (coverage.first_day + np.arange(len(coverage.states))).astype("M8[D]").astype("M8[M]")
    edges = [0, *(np.flatnonzero(np.diff(days.astype(np.int64))) + 1).tolist(), len(days)]
    for first, end in pairwise(edges):
        if first < end:
            yield str(days[first]), first, end


def _worst(states: Sequence[State]) -> State:
    seen = set(states)
    if State.MISSING in seen and seen - {State.MISSING, State.NOTHING}:
        return State.PARTIAL
    return next(state for state in _WORST if state in seen)


def _share(present: int, possible: int) -> str:
    """Per cent, rounded down: 100 only where nothing is absent."""
    return "" if not possible else f"{int(10_000 * min(present, possible) / possible) / 100:.2f} %"


def _sum(coverage: Coverage) -> str:
    present, possible = int(coverage.present.sum()), int(coverage.possible.sum())
    absent = Counter({reason.value: int(counts.sum()) for reason, counts in coverage.absent.items()})
    parts = [f"{count:,} {reason}" for reason, count in absent.items() if count]
    live = present - int(coverage.certified.sum())
    parts += [f"{live:,} live and not confirmed yet"] if live else []
    halted = int(coverage.halted.sum())
    parts += [f"{halted:,} in halts"] if halted else []
    share = f" ({_share(present, possible)})" if possible else ""
    return f"{present:,} of {possible:,} candles{share}" + (f"; {', '.join(parts)}" if parts else "")


def _scale(first: int, end: int, cells: int, name_width: int) -> str:
    """The first and the last day over their columns."""
    left, right = format_time(first * DAY)[:10], format_time((end - 1) * DAY)[:10]
    scale = f"{left}{right:>{cells - len(left)}}" if cells >= 22 else f"{left} to {right}"
    return f"{'':<{name_width}}  {scale}"
