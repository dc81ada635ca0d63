"""Tables on stdout: aligned for people, coloured only where a person looks."""

import sys
from collections.abc import Iterable, Sequence

import msgspec


def print_json(value: object) -> None:
    """A document, indented."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]], right: frozenset[str] = frozenset()) -> None:
    """Rows under their headers; the columns named in `right` end at the same place."""
    sys.stdout.write(to_table(headers, rows, right, bold=sys.stdout.isatty()))


def to_table(
    headers: Sequence[str], rows: Iterable[Sequence[str]], right: frozenset[str] = frozenset(), *, bold: bool = False
) -> str:
    """The text of a table, with a line's end after each line."""
    lines = [tuple(headers), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(
            cell.rjust(width) if header in right else cell.ljust(width)
            for cell, width, header in zip(line, widths, headers, strict=True)
        ).rstrip()
        for line in lines
    ]
    if bold:
        text[0] = f"\033[1m{text[0]}\033[0m"
    return "\n".join(text) + "\n"
