"""The independent verifier: exports as others write them, and lines that no candle is."""

import ast
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from candlewick.certificates.document import Certificate
from candlewick.certificates.encoding import COLUMNS
from candlewick.certificates.issue import certify
from candlewick.market import MINUTE, Series, parse_time
from candlewick.stores.memory import MemoryStore
from candlewick.stores.store import Rows, Source
from tests.unit.certificates.held import candles, export, load_verifier

verifier = load_verifier()
SERIES = Series.parse("spot:BTCUSDT:1m")
START = parse_time("2023-03-05T20:00")
"""Four hours before a block ends."""


def issue(
    series: Series = SERIES, count: int = 600, change: "Callable[[Rows], Rows] | None" = None
) -> tuple[bytes, list[str]]:
    """A certificate and the export it is for."""
    store = MemoryStore()
    rows = candles(store.number(series), count, series, series.interval.ceil(START))
    rows["source"] = Source.REST
    store.write(rows if change is None else change(rows))
    return certify(store, series).to_json(), export(store, series)


def found(document: bytes, lines: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What is printed, without the series."""
    count = verifier.verify(document, iter("".join(lines).splitlines(keepends=True)))
    out = capsys.readouterr().out.splitlines()
    assert count == len(out)
    return [line.partition(" ")[2] for line in out]


def test_nothing_but_the_standard_library_is_imported() -> None:
    """Every module that the file imports comes with Python."""
    tree = ast.parse(Path(str(verifier.__file__)).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


@pytest.mark.parametrize("name", ["spot:BTCUSDT:1s", "usdm:BTCUSDT_240329:1h", "spot:1INCHUSDT:1w", "spot:BTCUSDT:1M"])
def test_every_grid_is_known(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Seconds, hours, weeks and months, with holes: proved, and a row that is gone is named."""
    series = Series.parse(name)
    document, lines = issue(series, 300, lambda rows: np.delete(rows, [5, 6, 100]))
    assert found(document, lines, capsys) == []
    del lines[50]
    (text,) = found(document, lines, capsys)
    assert "row: certified open_time" in text


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [line.replace("\n", "\r\n") for line in lines],
        lambda lines: ["\ufeff" + lines[0], *lines[1:]],
        lambda lines: [",".join(reversed(line.rstrip("\n").split(","))) + "\n" for line in lines],
        lambda lines: [",".join(f'"{field}"' for field in line.rstrip("\n").split(",")) + "\n" for line in lines],
        lambda lines: [",".join(line.rstrip("\n").split(",")[:11]) + "\n" for line in lines],
        lambda lines: [line.rstrip("\n") + (",extra\n" if at == 0 else ",7\n") for at, line in enumerate(lines)],
        lambda lines: [*lines[:-1], lines[-1].rstrip("\n")],
        lambda lines: [lines[0], *(",".join(exponents(line.split(","))) for line in lines[1:])],
    ],
)  # fmt: skip
def test_export_may_be_laid_out_otherwise(
    change: Callable[[list[str]], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Line ends, a byte order mark, columns in another order, quotes, no names, more columns, exponents."""
    document, lines = issue()
    assert found(document, change(lines), capsys) == []


def exponents(fields: list[str]) -> list[str]:
    """The same numbers with exponents."""
    at = COLUMNS.index("volume")
    return [*fields[:at], fields[at] + "e0", *fields[at + 1 :]]


@pytest.mark.parametrize(
    ("field", "text", "words"),
    [
        ("open", "", "could not convert"),
        ("open", "1_000.0", "no plain number"),
        ("open", " 1.0", "no plain number"),
        ("open", "1.0000000000000000001", "not the shortest"),
        ("open", "\u0661.0", "no plain number"),
        ("trades", "7.0", "invalid literal"),
        ("open_time", "99999999999999999999", "cannot be read"),
        ("open_time", "x", "invalid literal"),
        ("interval", "1m,1", "fields"),
    ],
)
def test_line_that_is_no_candle_is_named(field: str, text: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The number of the line, why it cannot be read, and the candle that is therefore not there."""
    document, lines = issue()
    fields = lines[10].rstrip("\n").split(",")
    fields[lines[0].rstrip("\n").split(",").index(field)] = text
    lines[10] = ",".join(fields) + "\n"
    line, gone = found(document, lines, capsys)
    assert line.startswith("line 11: cannot be read as a candle")
    assert words in line
    assert "row: certified open_time 2023-03-05T20:09:00Z" in gone


@pytest.mark.parametrize(
    ("header", "words"),
    [("", "open_time, open"), ("open_time,open\n", "high, low"), ("open," + ",".join(COLUMNS) + "\n", "columns open")],
)
def test_header_without_the_columns_is_named(header: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Columns that are not there, or twice."""
    document, lines = issue(count=3)
    (text,) = found(document, [header, *lines[1:]], capsys)
    assert text.startswith("line 1: the header has not once each of the columns")
    assert words in text


def test_header_must_name_the_series_wholly(capsys: pytest.CaptureFixture[str]) -> None:
    """Only some of market, symbol and interval: somebody has changed the header."""
    document, lines = issue(count=3)
    lines[0] = lines[0].replace("symbol", "symbl")
    assert found(document, lines, capsys) == [
        "line 1: the header names only market, interval of market, symbol, interval"
    ]


def test_lines_out_of_order_are_used_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """Two neighbours exchanged, within a block and over its end, cost one finding each, and no row is said to be gone."""
    document, lines = issue()
    lines[20], lines[21] = lines[21], lines[20]
    (text,) = found(document, lines, capsys)
    assert text == "2023-03-05T20:20:00Z line 21: is out of order, or repeats a row"
    document, lines = issue()
    lines[240], lines[241] = lines[241], lines[240]
    assert found(document, lines, capsys) == ["2023-03-06T00:00:00Z line 241: is out of order, or repeats a row"]


def test_repeated_and_additional_lines_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    """The same candle again, with the same values and with others, and candles nobody certified."""
    document, lines = issue(change=lambda rows: np.delete(rows, 300))
    other = _with(lines[30], "trades", "123456")
    additional = _with(lines[300], "open_time", str((START + 300 * MINUTE) // 1000))
    late = _with(lines[-1], "open_time", str((START + 600 * MINUTE) // 1000))
    changed = [*lines[:31], lines[30], other, *lines[31:301], additional, *lines[301:], late]
    assert found(document, changed, capsys) == [
        "2023-03-05T20:29:00Z line 32: repeats a row",
        "2023-03-05T20:29:00Z line 33: repeats a row with other values",
        "2023-03-06T01:00:00Z line 304: there is a row, but no candle was certified",
        "2023-03-06T06:00:00Z line 604: there is a row, but no candle was certified",
    ]


def _with(line: str, field: str, text: str) -> str:
    fields = line.split(",")
    fields[COLUMNS.index(field)] = text
    return ",".join(fields)


def test_halt_in_which_was_traded_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A forged halt over lively candles, its hashes made to fit."""
    document, lines = issue(Series.parse("usdm:BTCUSDT:1m"), 300)
    one = Certificate.from_json(document)
    ms = one.start_ms + 60_000
    halt = type(one.certified[0])(ms, ms + 60_000, 1)
    forged = replace(one, halts=(halt,)).sealed().to_json()
    assert found(forged, lines, capsys) == ["2023-03-05T20:01:00Z certificate: a halt, but something was traded"]


def test_findings_beyond_a_thousand_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """An export in other units floods no terminal; the exit code and the count tell."""
    document, lines = issue(count=1_500)
    lines[1:] = [_with(line, "open_time", line.split(",")[0] + "000") for line in lines[1:]]
    count = verifier.verify(document, iter(lines))
    assert count == 1_502
    assert len(capsys.readouterr().out.splitlines()) == 1_000
