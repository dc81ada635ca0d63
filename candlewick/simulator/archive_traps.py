"""Files of the archive that are not what they should be: what a running script does to their rows (binance.md 5.7, 9.7)."""

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from hashlib import blake2b
from random import Random
from typing import NamedTuple

from candlewick.market import DAY, Market
from candlewick.simulator.faults import Fault
from candlewick.simulator.filenames import FileName

Line = list[str]
"""One row of a CSV, field by field."""
PAGE = b"<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>"
TIMES = {"klines": (0, 6), "trades": (4,), "aggTrades": (5,)}
_CHANGED = {"klines": 8, "trades": 1, "aggTrades": 1}
_QUANTITIES = {"klines": (5, 7, 8, 9, 10), "trades": (2, 3), "aggTrades": (2,)}
_HALF = 2


class Style(NamedTuple):
    """How a file is written."""

    has_header: bool
    is_micro: bool


def strikes(fault: Fault, key: str) -> bool:
    """Whether a fault is one of this file; with a share, always of the same ones."""
    return fnmatchcase(f"/{key}", fault.endpoint) and (fault.share >= 1 or draw(fault, key).random() < fault.share)


def draw(fault: Fault, key: str) -> Random:
    """Chance that is the same whenever this file is made."""
    seed = blake2b(f"{fault.kind}/{key}".encode(), digest_size=8).digest()
    return Random(int.from_bytes(seed, "big"))


def style(faults: Iterable[Fault], usual: Style) -> Style:
    """How a file is written, faults considered."""
    kinds = {fault.kind for fault in faults}
    return Style(usual.has_header != ("other_header" in kinds), usual.is_micro != ("other_unit" in kinds))


def edit(lines: list[Line], faults: Iterable[Fault], key: str, name: FileName) -> list[Line]:
    """The rows of a file after everything that is wrong with it. Times are in microseconds."""
    for fault in faults:
        change = _EDITS.get(fault.kind)
        if change is not None and lines:
            lines = change(lines, fault, draw(fault, key), name)
    return lines


def _truncate(lines: list[Line], fault: Fault, _: Random, __: FileName) -> list[Line]:
    """The end of it is missing, at most a half."""
    return lines[: -min(fault.value, len(lines) // _HALF)] if len(lines) >= _HALF else lines


def _without_day(lines: list[Line], fault: Fault, _: Random, name: FileName) -> list[Line]:
    """A month lacks one of its days."""
    if not name.is_monthly:
        return lines
    start = name.span.start + (fault.value - 1) * DAY
    place = TIMES[name.kind][0]
    return [line for line in lines if not start <= int(line[place]) < start + DAY]


def _lose(lines: list[Line], fault: Fault, random: Random, _: FileName) -> list[Line]:
    """Rows are missing here and there, not the first and the last one."""
    chosen = {1 + index for index in _chosen(lines[1:-1], fault, random)}
    return [line for index, line in enumerate(lines) if index not in chosen]


def _repeat(lines: list[Line], fault: Fault, random: Random, _: FileName) -> list[Line]:
    """Rows stand there twice, one after the other."""
    chosen = _chosen(lines, fault, random)
    return [line for index, first in enumerate(lines) for line in ([first, first] if index in chosen else [first])]


def _contradict(lines: list[Line], fault: Fault, random: Random, name: FileName) -> list[Line]:
    """Rows stand there twice with different values."""
    chosen = _chosen(lines, fault, random)
    return [
        line
        for index, first in enumerate(lines)
        for line in ([first, _other(first, name)] if index in chosen else [first])
    ]


def _shuffle(lines: list[Line], fault: Fault, random: Random, _: FileName) -> list[Line]:
    """Rows have changed places with others."""
    lines = list(lines)
    for one in _chosen(lines, fault, random):
        two = random.randrange(len(lines))
        lines[one], lines[two] = lines[two], lines[one]
    return lines


def _replace(lines: list[Line], fault: Fault, random: Random, name: FileName) -> list[Line]:
    """Rows have values that are found to be wrong later."""
    chosen = _chosen(lines, fault, random)
    return [_other(line, name) if index in chosen else line for index, line in enumerate(lines)]


def _leave_grid(lines: list[Line], fault: Fault, random: Random, name: FileName) -> list[Line]:
    """Candles open some seconds late, as some hours did in February 2018 (binance.md 6); trades have no grid."""
    if name.kind != "klines":
        return lines
    chosen = _chosen(lines, fault, random)
    return [
        [str(int(line[0]) + random.randrange(1, 30_000) * 1000), *line[1:]] if index in chosen else line
        for index, line in enumerate(lines)
    ]


def _empty(lines: list[Line], fault: Fault, random: Random, name: FileName) -> list[Line]:
    """Rows have no quantity, only prices; candles in which the price moved, if there are any."""
    moved = [index for index, line in enumerate(lines) if name.kind == "klines" and line[2] != line[3]]
    chosen = {moved[index] for index in _chosen(moved, fault, random)} or _chosen(lines, fault, random)
    places = _QUANTITIES[name.kind]
    return [
        ["0" if place in places else field for place, field in enumerate(line)] if index in chosen else line
        for index, line in enumerate(lines)
    ]


def _annul(lines: list[Line], fault: Fault, random: Random, name: FileName) -> list[Line]:
    """Aggregates that were made by mistake: no price, no quantity, no trades, the number of the one before."""
    if name.kind != "aggTrades":
        return lines
    chosen = _chosen(lines, fault, random)
    return [
        line
        for index, first in enumerate(lines)
        for line in ([first, [first[0], "0", "0", "-1", "-1", *first[5:]]] if index in chosen else [first])
    ]


def _turn(lines: list[Line], _: Fault, __: Random, name: FileName) -> list[Line]:
    """Every buyer was the maker, says the file."""
    if name.kind == "klines":
        return lines
    place = TIMES[name.kind][0] + 1
    word = "True" if name.market is Market.SPOT else "true"
    return [[*line[:place], word, *line[place + 1 :]] for line in lines]


def _chosen(lines: Sequence[object], fault: Fault, random: Random) -> set[int]:
    return set(random.sample(range(len(lines)), min(fault.value, len(lines))))


def _other(line: Line, name: FileName) -> Line:
    """The row with one more trade, or its trade at a price that differs in the last digit."""
    place = _CHANGED[name.kind]
    digit = str((int(line[place][-1]) + 1) % 10)
    value = str(int(line[place]) + 1) if name.kind == "klines" else line[place][:-1] + digit
    return [*line[:place], value, *line[place + 1 :]]


_EDITS: dict[str, Callable[[list[Line], Fault, Random, FileName], list[Line]]] = {
    "truncated_file": _truncate,
    "short_month": _without_day,
    "lost_rows": _lose,
    "repeated_rows": _repeat,
    "conflicting_rows": _contradict,
    "unsorted_rows": _shuffle,
    "off_grid_rows": _leave_grid,
    "empty_rows": _empty,
    "annulled_rows": _annul,
    "wrong_side": _turn,
    "replaced_file": _replace,
}
CHANGES = (*_EDITS, "other_header", "other_unit", "not_a_zip")
"""Faults after which the content of a file is another."""
