"""Checks a Candlewick completeness certificate against an exported CSV. Python's standard library only.

    python verify_certificate.py CERTIFICATE.json [EXPORT.csv]

Written from docs/certificates.md, which says what is checked and why; nothing of Candlewick is imported. Without an export,
checks the document alone. Prints one line a finding. Exit code 0: everything is proved; 1: something differs; 2: a file cannot be read.
"""
# ruff: noqa: T201, INP001 - a script that stands alone and prints what it finds

import hashlib
import json
import re
import struct
import sys
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from math import gcd
from operator import itemgetter
from typing import Any, NoReturn

COLUMNS = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades", "taker_buy_volume",
    "taker_buy_quote_volume",
)  # fmt: skip
NAMES = ("market", "symbol", "interval")
ROW = struct.Struct("<q5dqdq2d")
WORDS = struct.Struct("<11Q")
INTEGERS = (0, 6, 8)
BLOCK_SLOTS = 8_640
DAY = 86_400_000
UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": DAY, "w": 7 * DAY}
KEYS = {
    "format", "version", "series", "from", "to", "range", "expected", "present", "absent", "missing", "unsettled",
    "complete", "certified", "unconfirmed", "absences", "halts", "sources", "blocks", "root", "content", "sha256",
}  # fmt: skip
RANGE = {"from": int, "to": int, "candles": int}
ABSENCE = {**RANGE, "reason": str, "evidence": str}
SOURCE = {"source": str, "from": int, "to": int, "rows": int}
FILE = {**SOURCE, "file": str, "sha256": str, "checksum": str, "verdict": str}
BLOCK = {"block": int, "from": int, "to": int, "rows": int, "sha256": str, "sums": list, "moments": list}
REASONS = ("missing", "exchange_outage", "not_listed", "delisted", "pending")
FINAL = ("exchange_outage", "not_listed", "delisted")
HASH = re.compile("[0-9a-f]{64}")
NUMBER = re.compile("0|[1-9a-f][0-9a-f]*")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST_STRAYS = 20_000
MOST_PRINTED = 1_000
NEVER = 1 << 62
DIGITS = 15
"""So many characters have no more digits than every double tells apart."""

Row = tuple[int, bytes]


class Report:
    """Prints findings, and counts those beyond the first thousand."""

    def __init__(self, series: str) -> None:
        self.series = series
        self.count = 0

    def __call__(self, detail: str, time: int | None = None) -> None:
        """Report one, at a time in epoch milliseconds."""
        self.count += 1
        if self.count <= MOST_PRINTED:
            print(f"{self.series}{'' if time is None else f' {shown_time(time)}'} {detail}")


def shown_time(time: int) -> str:
    """A time in milliseconds as people read it."""
    try:
        return (EPOCH + timedelta(milliseconds=time)).isoformat().replace("+00:00", "Z")
    except OverflowError:
        return f"{time} ms"


# ---- The grid ----


class Grid:
    """The open times of an interval, in milliseconds."""

    def __init__(self, interval: str) -> None:
        match = re.fullmatch(r"([1-9]\d{0,3})([smhdwM])", interval)
        if match is None:
            raise ValueError(f"{interval!r} is no interval")
        self.months = int(match[1]) if match[2] == "M" else 0
        self.step = 0 if self.months else int(match[1]) * UNITS[match[2]]
        self.origin = -(-4 * DAY % self.step) if match[2] == "w" else 0

    def slot(self, time: int) -> int:
        """The slot a time is in."""
        if self.step:
            return (time - self.origin) // self.step
        when = EPOCH + timedelta(milliseconds=time)
        return ((when.year - 1970) * 12 + when.month - 1) // self.months

    def start(self, slot: int) -> int:
        """The open time of a slot."""
        if self.step:
            return self.origin + slot * self.step
        year, month = divmod(slot * self.months, 12)
        return int((datetime(min(1970 + year, 9999), month + 1, 1, tzinfo=UTC) - EPOCH) / timedelta(milliseconds=1))

    def has(self, time: int) -> bool:
        """Whether a candle opens then."""
        return self.start(self.slot(time)) == time

    def count(self, start: int, end: int) -> int:
        """How many candles open between two open times."""
        return self.slot(end) - self.slot(start)


# ---- The document ----


def canonical_sha256(value: object) -> str:
    """SHA-256 over canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are each there once."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def no_fraction(text: str) -> NoReturn:
    """Certificates have none."""
    raise ValueError(f"{text} is no whole number")


def has_form(entry: object, form: dict[str, Any]) -> bool:
    """Whether an object has exactly these keys, with values of these types."""
    return (
        isinstance(entry, dict) and entry.keys() == form.keys() and all(type(entry[key]) is form[key] for key in form)
    )


def read_document(data: bytes) -> dict[str, Any]:
    """The certificate, its keys and types checked."""
    one = json.loads(data, object_pairs_hook=once, parse_float=no_fraction, parse_constant=no_fraction)
    if not isinstance(one, dict) or one.keys() != KEYS:
        raise ValueError("its keys are not those of a certificate")
    if (one["format"], one["version"]) != ("candlewick-certificate", 1):
        raise ValueError(f"{one['format']} {one['version']} is not known here")
    texts, flags = {"series", "range", "root", "content", "sha256", "format"}, {"complete"}
    lists: dict[str, list[dict[str, Any]]] = {"certified": [RANGE], "unconfirmed": [RANGE], "absences": [ABSENCE], "halts": [RANGE],
             "sources": [SOURCE, FILE], "blocks": [BLOCK]}  # fmt: skip
    for key, value in one.items():
        kind = str if key in texts else bool if key in flags else list if key in lists else int
        if type(value) is not kind:
            raise ValueError(f"{key} is no {kind.__name__}")
    for key, forms in lists.items():
        if not all(any(has_form(entry, form) for form in forms) for entry in one[key]):
            raise ValueError(f"an entry of {key} has not the form of one")
    for block in one["blocks"]:
        numbers = [*block["sums"], *block["moments"]]
        fits = len(block["sums"]) == len(block["moments"]) == 11 and HASH.fullmatch(block["sha256"])
        if not fits or not all(type(text) is str and NUMBER.fullmatch(text) for text in numbers):
            raise ValueError(f"block {block['block']} has not the form of one")
    return one


def merkle_root(leaves: list[bytes]) -> bytes:
    """The root over leaf hashes."""
    if not leaves:
        return hashlib.sha256().digest()
    while len(leaves) > 1:
        odd = leaves[len(leaves) // 2 * 2 :]
        pairs = zip(leaves[::2], leaves[1::2], strict=False)
        leaves = [hashlib.sha256(b"\x01" + left + right).digest() for left, right in pairs] + odd
    return leaves[0]


def check_hashes(one: dict[str, Any], report: Report) -> None:
    """The three hashes over the document."""
    spans: list[list[Any]] = []
    for each in one["absences"]:
        if spans and spans[-1][1:] == [each["from"], each["reason"]]:
            spans[-1][1] = each["to"]
        else:
            spans.append([each["from"], each["to"], each["reason"]])
    stated = ("series", "from", "to", "expected", "present", "absent", "missing", "root")
    content = {**{key: one[key] for key in stated}, "absences": spans}
    now = {
        "root": merkle_root([bytes.fromhex(block["sha256"]) for block in one["blocks"]]).hex(),
        "content": canonical_sha256(content),
        "sha256": canonical_sha256({key: value for key, value in one.items() if key != "sha256"}),
    }
    for key, value in now.items():
        if one[key] != value:
            report(f"certificate: {key} is stated as {one[key]}, but what it is over gives {value}")


def check_counts(one: dict[str, Any], grid: Grid, report: Report) -> None:
    """Every count against its parts."""
    missing = sum(each["candles"] for each in one["absences"] if each["reason"] == "missing")
    unsettled = sum(each["candles"] for each in one["unconfirmed"])
    for key, value in (
        ("expected", grid.count(one["from"], one["to"])),
        ("expected", one["present"] + one["absent"] + one["missing"]),
        ("present", sum(each["rows"] for each in one["blocks"])),
        ("present", sum(each["candles"] for each in one["certified"]) + unsettled),
        ("unsettled", unsettled),
        ("missing", missing),
        ("absent", sum(each["candles"] for each in one["absences"]) - missing),
        ("complete", not one["unconfirmed"] and all(each["reason"] in FINAL for each in one["absences"])),
        ("range", f"{shown_time(one['from'])} to {shown_time(one['to'])}"),
    ):
        if one[key] != value:
            report(f"certificate: {key} is stated as {one[key]}, but its parts make {value}")


def check_ranges(one: dict[str, Any], grid: Grid, report: Report) -> bool:
    """Every range, and that together they state each time once; whether rows can be held against them."""
    before = report.count
    for key in ("certified", "unconfirmed", "absences", "halts"):
        last, may_touch = one["from"], key in {"absences", "halts"}
        for at, each in enumerate(one[key]):
            start, end = each["from"], each["to"]
            if not (last <= start < end <= one["to"] and grid.has(start) and grid.has(end)):
                report(f"certificate: {key}: {start} to {end} is out of order or not whole candles of the range")
                return False
            if (at and start == last and not may_touch) or each["candles"] != grid.count(start, end):
                report(
                    f"certificate: {key}: to {shown_time(end)}: should be one with the one before, or miscounts", start
                )
            last = end
    tiles = sorted((each["from"], each["to"]) for key in ("certified", "unconfirmed", "absences") for each in one[key])
    at = one["from"]
    for start, end in [*tiles, (one["to"], one["to"])]:
        if start != at:
            report(
                f"certificate: to {shown_time(max(at, start))}: stated {'never' if at < start else 'twice'}",
                min(at, start),
            )
        at = max(at, end)
    for each in one["absences"]:
        if each["reason"] not in REASONS or (each["reason"] == "missing") == bool(each["evidence"]):
            report(f"certificate: {each['reason']} with evidence {each['evidence']!r}", each["from"])
    return report.count == before


def check_blocks(one: dict[str, Any], grid: Grid, candles: "Candles", report: Report) -> bool:
    """Each block's place and number of rows; whether rows can be held against them."""
    before, last = report.count, None
    for block in one["blocks"]:
        number = block["block"]
        try:
            start = max(one["from"], grid.start(number * BLOCK_SLOTS))
            end = min(one["to"], grid.start((number + 1) * BLOCK_SLOTS))
        except (OverflowError, ValueError):
            start = end = 0
        if (last is not None and number <= last) or start >= end or (block["from"], block["to"]) != (start, end):
            report(f"certificate: block {number} is out of order or not from {block['from']} to {block['to']}")
            return False
        last = number
        if candles.count(start, end) != block["rows"]:
            report(
                f"certificate: block {number} states {block['rows']} rows, the ranges have {candles.count(start, end)}",
                start,
            )
    return report.count == before


def check_sources(one: dict[str, Any], grid: Grid, report: Report) -> None:
    """Where rows came from, and that every certified candle came from somewhere."""
    settled = []
    for each in one["sources"]:
        start, end, name = each["from"], each["to"], each.get("file", each["source"])
        in_range = one["from"] <= start < end <= one["to"]
        rows = grid.count(start, end) if in_range else 0
        if "file" in each:
            is_sound = bool(HASH.fullmatch(each["sha256"])) and each["source"] == "archive" and 0 < each["rows"] <= rows
            agrees = each["verdict"] == "agreed" or (
                each["verdict"] == "matched" and each["checksum"] == each["sha256"]
            )
            is_sound = is_sound and agrees and bool(each["file"])
        else:
            is_sound = each["source"] in {"archive", "rest", "live"} and 0 < each["rows"] == rows
        if not is_sound:
            report(f"certificate: source {name}: is not stated as such a source is")
        if each["source"] != "live":
            settled.append((start, end))
    live = [(each["from"], each["to"]) for each in one["sources"] if each["source"] == "live"]
    if live != [(each["from"], each["to"]) for each in one["unconfirmed"]]:
        report("certificate: its live sources are not its unconfirmed ranges")
    check_vouched(one, sorted(settled), report)


def check_vouched(one: dict[str, Any], settled: list[tuple[int, int]], report: Report) -> None:
    """Every certified candle lies in a settled source; these are given by time."""
    first = 0
    for each in one["certified"]:
        at = each["from"]
        while first < len(settled) and settled[first][1] <= at:
            first += 1
        for start, end in settled[first:]:
            if start > at or at >= each["to"]:
                break
            at = max(at, end)
        if at < each["to"]:
            report("certificate: certified without a source", at)


class Candles:
    """Where the certificate says there are candles: ranges by time that do not touch."""

    def __init__(self, one: dict[str, Any], grid: Grid) -> None:
        spans: list[list[int]] = []
        for start, end in sorted((each["from"], each["to"]) for each in [*one["certified"], *one["unconfirmed"]]):
            if spans and spans[-1][1] == start:
                spans[-1][1] = end
            else:
                spans.append([start, end])
        self.grid = grid
        self.starts = [start for start, _ in spans]
        self.ends = [end for _, end in spans]

    def has(self, time: int) -> bool:
        """Whether a candle was certified then."""
        at = bisect_right(self.starts, time) - 1
        return at >= 0 and time < self.ends[at] and self.grid.has(time)

    def times(self, start: int, end: int) -> Iterator[int]:
        """Every open time of a candle in a range."""
        first = max(0, bisect_right(self.starts, start) - 1)
        for begin, stop in zip(self.starts[first:], self.ends[first:], strict=True):
            if begin >= end:
                return
            low, high = max(begin, start), min(stop, end)
            if low < high:
                yield from map(self.grid.start, range(self.grid.slot(low), self.grid.slot(high - 1) + 1))

    def count(self, start: int, end: int) -> int:
        """How many open times of candles are in a range whose ends are on the grid."""
        first = max(0, bisect_right(self.starts, start) - 1)
        found = 0
        for begin, stop in zip(self.starts[first:], self.ends[first:], strict=True):
            if begin >= end:
                break
            low, high = max(begin, start), min(stop, end)
            found += self.grid.count(low, high) if low < high else 0
        return found

    def after(self, time: int) -> tuple[int, int]:
        """The first candle after a time, and where its range ends."""
        at = bisect_right(self.starts, time) - 1
        if at >= 0:
            following = self.grid.start(self.grid.slot(time) + 1)
            if following < self.ends[at]:
                return following, self.ends[at]
        return (self.starts[at + 1], self.ends[at + 1]) if at + 1 < len(self.starts) else (NEVER, NEVER)


# ---- The rows of a block ----


def leaf_of(series: str, number: int, rows: list[bytes]) -> str:
    """The leaf hash of a block's rows."""
    head = f"candlewick leaf 1\n{series}\n{number}\n{len(rows)}\n".encode()
    return hashlib.sha256(b"\x00" + head + b"".join(rows)).hexdigest()


def shown(column: int, word: int) -> str:
    """The value of a word as people read it."""
    value = struct.unpack("<q" if column in INTEGERS else "<d", struct.pack("<Q", word))[0]
    if column in {0, 6}:
        return shown_time(value // 1000) if value % 1000 == 0 else f"{value} us"
    return repr(value)


class Block:
    """A block as it was certified, against rows that are certified candles, by time."""

    def __init__(self, entry: dict[str, Any], series: str, grid: Grid, rows: list[Row]) -> None:
        self.entry = entry
        self.series = series
        self.grid = grid
        self.times = [time for time, _ in rows]
        self.packed = [packed for _, packed in rows]

    def is_proved(self) -> bool:
        """Whether its rows hash to what was certified."""
        return self._hash(self.packed) == str(self.entry["sha256"])

    def explain(self, missing: list[int], report: Report) -> None:
        """Report what differs, as closely as the sums tell."""
        self.words = [WORDS.unpack(packed) for packed in self.packed]
        self.slots = [self.grid.slot(time) - self.entry["block"] * BLOCK_SLOTS for time in self.times]
        sums = [sum(column) for column in zip(*self.words, strict=True)] if self.words else [0] * 11
        moments = [
            sum(word * slot for word, slot in zip(column, self.slots, strict=True))
            for column in (zip(*self.words, strict=True) if self.words else [()] * 11)
        ]
        self.off = [now - int(then, 16) for now, then in zip(sums, self.entry["sums"], strict=True)]
        self.moment = [now - int(then, 16) for now, then in zip(moments, self.entry["moments"], strict=True)]
        if len(missing) == 1 and self._row_gone(missing[0], report):
            return
        for first, last in self._together(missing):
            count = self.grid.count(first, last) + 1
            rows = "row is" if count == 1 else f"{count} rows, the last at {shown_time(last)}, are"
            report(f"{rows} certified, now there is none", first)
        changes = [] if missing else self._changed() or self._exchanged()
        for column, at, word in changes:
            now = shown(column, self.words[at][column])
            report(f"{COLUMNS[column]}: certified {shown(column, word)}, now {now}", self.times[at])
        if not changes and not missing:
            names = [name for name, off, moment in zip(COLUMNS, self.off, self.moment, strict=True) if off or moment]
            report(
                f"to {shown_time(self.entry['to'])} (block {self.entry['block']}): rows are not those certified; "
                f"changed: {', '.join(names) or 'the hash alone'}",
                self.entry["from"],
            )

    def _together(self, times: list[int]) -> Iterator[tuple[int, int]]:
        """First and last of each run of adjacent times."""
        slots = [self.grid.slot(time) for time in times]
        edges = [at for at in range(1, len(slots)) if slots[at] != slots[at - 1] + 1]
        for first, stop in zip([0, *edges], [*edges, len(times)], strict=True):
            if first < stop:
                yield times[first], times[stop - 1]

    def _hash(self, rows: list[bytes]) -> str:
        return leaf_of(self.series, self.entry["block"], rows)

    def _row_gone(self, time: int, report: Report) -> bool:
        words = [-off for off in self.off]
        if any(not 0 <= word < 1 << 64 for word in words):
            return False
        at = bisect_right(self.times, time)
        if self._hash([*self.packed[:at], WORDS.pack(*words), *self.packed[at:]]) != self.entry["sha256"]:
            return False
        values = ", ".join(f"{name} {shown(column, words[column])}" for column, name in enumerate(COLUMNS))
        report(f"row: certified {values}, now there is none", time)
        return True

    def _changed(self) -> list[tuple[int, int, int]]:
        """Column, row and certified word of each changed value, if at most one of each column is."""
        places = {slot: at for at, slot in enumerate(self.slots)}
        changes = []
        for column, (off, moment) in enumerate(zip(self.off, self.moment, strict=True)):
            if off == moment == 0:
                continue
            at = places.get(moment // off) if off and moment % off == 0 else None
            if at is None or not 0 <= self.words[at][column] - off < 1 << 64:
                return []
            changes.append((column, at, self.words[at][column] - off))
        return changes if self._restores(changes) else []

    def _exchanged(self) -> list[tuple[int, int, int]]:
        """The same of two rows whose values stand in each other's place."""
        moved = [column for column in range(11) if self.moment[column]]
        if any(self.off) or not moved:
            return []
        common = gcd(*(self.moment[column] for column in moved))
        column, moment = moved[0], self.moment[moved[0]]
        places = {slot: at for at, slot in enumerate(self.slots)}
        for apart in range(1, BLOCK_SLOTS):
            if common % apart:
                continue
            for first, slot in enumerate(self.slots):
                second = places.get(slot + apart)
                if second is None or apart * (self.words[second][column] - self.words[first][column]) != moment:
                    continue
                pairs = ((first, second), (second, first))
                changes = [(each, at, self.words[other][each]) for at, other in pairs for each in moved]
                if self._restores(changes):
                    return changes
        return []

    def _restores(self, changes: list[tuple[int, int, int]]) -> bool:
        rows = list(self.packed)
        for column, at, word in changes:
            rows[at] = rows[at][: 8 * column] + struct.pack("<Q", word) + rows[at][8 * column + 8 :]
        return self._hash(rows) == str(self.entry["sha256"])


# ---- The CSV ----


class Export:
    """One pass over a CSV, a block in memory at a time.

    A line that is not the next certified candle is held until the one after it tells whether time went on from there
    or the line is out of order. Lines out of order are used where their candle would otherwise be missing.
    """

    def __init__(self, one: dict[str, Any], grid: Grid, candles: Candles, report: Report) -> None:
        self.one = one
        self.grid = grid
        self.candles = candles
        self.report = report
        self.blocks = iter(one["blocks"])
        self.entry: dict[str, Any] | None = next(self.blocks, None)
        self.rows: dict[int, bytes] = {}
        self.strays: dict[int, bytes] = {}
        self.held: tuple[int, int, bytes] | None = None
        self.expected, self.range_end = candles.after(one["from"] - 1) if candles.starts else (NEVER, NEVER)

    def check(self, lines: Iterator[str]) -> int:
        """Check every line; how many rows there were."""
        header = [name.strip().strip('"').lower() for name in next(lines, "").lstrip("\ufeff").split(",")]
        lost = [name for name in COLUMNS if header.count(name) != 1]
        if lost:
            self.report(f"line 1: the header has not once each of the columns {', '.join(lost)}")
            return 0
        named = [name for name in NAMES if name in header]
        if len(named) not in {0, len(NAMES)}:
            self.report(f"line 1: the header names only {', '.join(named)} of {', '.join(NAMES)}")
        number = self._lines(lines, header, named)
        if self.held is not None:
            self._accept(*self.held[1:])
        while self.entry is not None:
            self._finish()
        return number - 1

    def _lines(self, lines: Iterator[str], header: list[str], named: list[str]) -> int:
        width, pack, step = len(header), ROW.pack, self.grid.step
        pick = itemgetter(*(header.index(name) for name in COLUMNS))
        wanted = tuple(part for name, part in zip(NAMES, self.one["series"].split(":"), strict=True) if name in named)
        name_of = itemgetter(*(header.index(name) for name in named)) if named else None
        wanted_name: Any = wanted[0] if len(wanted) == 1 else wanted
        number = 1
        for number, line in enumerate(lines, 2):
            fields = line.rstrip("\r\n").split(",")
            try:
                if '"' in line or "_" in line or not line.isascii() or " " in line:
                    fields = plain(fields, pick)
                opens, t1, t2, t3, t4, t5, closes, t6, trades, t7, t8 = pick(fields)
                time = int(opens)
                row = pack(
                    time * 1000, n1 := float(t1), n2 := float(t2), n3 := float(t3), n4 := float(t4), n5 := float(t5),
                    int(closes) * 1000, n6 := float(t6), int(trades), n7 := float(t7), n8 := float(t8),
                )  # fmt: skip
                if (  # written out, as is all of this loop: it is what the time goes into
                    (len(t1) > DIGITS and repr(n1) != t1) or (len(t2) > DIGITS and repr(n2) != t2)
                    or (len(t3) > DIGITS and repr(n3) != t3) or (len(t4) > DIGITS and repr(n4) != t4)
                    or (len(t5) > DIGITS and repr(n5) != t5) or (len(t6) > DIGITS and repr(n6) != t6)
                    or (len(t7) > DIGITS and repr(n7) != t7) or (len(t8) > DIGITS and repr(n8) != t8)
                ):  # fmt: skip
                    require_shortest((t1, t2, t3, t4, t5, t6, t7, t8))
                if len(fields) != width:
                    raise ValueError(f"it has {len(fields)} fields, the header {width}")  # noqa: TRY301 - as the others
            except (ValueError, IndexError, struct.error, InvalidOperation) as error:
                self.report(f"line {number}: cannot be read as a candle: {error}")
                continue
            if name_of is not None and name_of(fields) != wanted_name:
                self.report(f"line {number}: is of another series, {':'.join(fields[header.index(n)] for n in named)}")
                continue
            if time == self.expected and self.held is None and self.entry is not None and time < self.entry["to"]:
                self.rows[time] = row
                time += step
                if step and time < self.range_end:
                    self.expected = time
                else:
                    self.expected, self.range_end = self.candles.after(time - step)
            else:
                self._unexpected(number, time, row)
        return number

    def _unexpected(self, number: int, time: int, row: bytes) -> None:
        """A line that does not simply go on in its block."""
        if not self.candles.has(time):
            self.report(f"line {number}: there is a row, but no candle was certified", time)
            return
        if self.held is not None:
            before, held_time, held_row = self.held
            self.held = None
            if time > held_time:
                self._accept(held_time, held_row)
            else:
                self._stray(before, held_time, held_row)
        if time == self.expected:
            self._accept(time, row)
        elif time > self.expected:
            self.held = (number, time, row)
        else:
            self._stray(number, time, row)

    def _accept(self, time: int, row: bytes) -> None:
        while self.entry is not None and time >= self.entry["to"]:
            self._finish()
        self.rows[time] = row
        self.expected, self.range_end = self.candles.after(time)

    def _stray(self, number: int, time: int, row: bytes) -> None:
        held = self.rows.get(time) or self.strays.get(time)
        if held is not None:
            self.report(f"line {number}: repeats a row{'' if held == row else ' with other values'}", time)
            return
        self.report(f"line {number}: is out of order, or repeats a row", time)
        if len(self.strays) < MOST_STRAYS:
            self.strays[time] = row

    def _finish(self) -> None:
        """The block is over: check it, and turn to the next."""
        entry = self.entry
        assert entry is not None
        self.entry = next(self.blocks, None)
        times = list(self.candles.times(entry["from"], entry["to"]))
        for time in times if self.strays else ():
            if time in self.strays:
                stray = self.strays.pop(time)
                self.rows.setdefault(time, stray)
        found = [(time, self.rows[time]) for time in times if time in self.rows]
        self.rows = {}
        block = Block(entry, self.one["series"], self.grid, found)
        if not block.is_proved():
            there = {time for time, _ in found}
            block.explain([time for time in times if time not in there], self.report)
        for halt in self.one["halts"]:
            for time, row in found if halt["from"] < entry["to"] and entry["from"] < halt["to"] else ():
                values = ROW.unpack(row)
                if halt["from"] <= time < halt["to"] and (values[8] or values[2] != values[3]):
                    self.report("certificate: a halt, but something was traded", time)


def plain(fields: list[str], pick: Any) -> list[str]:  # noqa: ANN401 - operator's own type
    """Fields without quotes, if their numbers are plain decimals."""
    fields = [field[1:-1] if len(field) > 1 and field[0] == field[-1] == '"' else field for field in fields]
    for field in pick(fields):
        if not re.fullmatch(r"[-+.0-9eEinfa]+", field, re.ASCII):
            raise ValueError(f"{field!r} is no plain number")
    return fields


def require_shortest(fields: tuple[str, ...]) -> None:
    """Beyond 15 digits several decimals are one double: only the shortest of them is how it is written."""
    for field in fields:
        if Decimal(field) != Decimal(repr(float(field))):
            raise ValueError(f"{field} is not the shortest text of its number")


def grid_of(one: dict[str, Any]) -> Grid:
    """The grid of the certificate's series, if its range lies on it."""
    parts = one["series"].split(":")
    if len(parts) != 3 or parts[0] not in {"spot", "usdm"} or not re.fullmatch(r"[^\s/:a-z-]+", parts[1]):
        raise ValueError(f"{one['series']!r} is no series")
    grid = Grid(parts[2])
    if not (one["from"] < one["to"] and grid.has(one["from"]) and grid.has(one["to"])):
        raise ValueError("its range is not one of whole candles")
    return grid


def verify(document: bytes, lines: Iterator[str] | None) -> int:
    """Check a certificate, and the lines of a CSV if there are any; the number of findings, each of which is printed."""
    try:
        one = read_document(document)
        grid = grid_of(one)
    except (ValueError, OverflowError, RecursionError) as error:
        Report("certificate")(f"this is no certificate: {error}")
        return 1
    report = Report(one["series"])
    check_hashes(one, report)
    check_counts(one, grid, report)
    if check_ranges(one, grid, report):
        check_sources(one, grid, report)
        candles = Candles(one, grid)
        for halt in one["halts"]:
            if candles.count(halt["from"], halt["to"]) != halt["candles"]:
                report("certificate: a halt without candles", halt["from"])
        if check_blocks(one, grid, candles, report) and lines is not None:
            rows = Export(one, grid, candles, report).check(lines)
            print(f"{rows} rows read", file=sys.stderr)
    state = "complete" if one["complete"] else "not complete, as it says itself"
    findings = f"not as certified, {report.count} finding{'' if report.count == 1 else 's'}"
    print(f"{one['series']} {one['range']}: {findings if report.count else f'as certified; {state}'}", file=sys.stderr)
    return report.count


def main(arguments: list[str]) -> int:
    """See the module's docstring."""
    if len(arguments) not in {1, 2}:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        with open(arguments[0], "rb") as file:  # noqa: PTH123 - `/dev/stdin` is a name too
            document = file.read()
        if len(arguments) == 1:
            return 1 if verify(document, None) else 0
        with open(arguments[1], encoding="utf-8", errors="surrogateescape", newline="\n") as lines:  # noqa: PTH123
            return 1 if verify(document, lines) else 0
    except OSError as error:
        print(f"cannot be read: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
