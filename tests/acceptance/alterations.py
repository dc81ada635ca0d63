"""Ways to alter rows, stores, exports and certificates by chance: each must be found."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import lmdb
import numpy as np
from msgspec.structs import replace

from candlewick.certificates.document import Certificate
from candlewick.certificates.encoding import COLUMNS
from candlewick.market import DAY, MINUTE, Span
from candlewick.stores.memory import MemoryStore
from candlewick.stores.provenance import keep_file_records
from candlewick.stores.store import Absence, Reason, Rows
from candlewick.stores.tables import BLOCK_KEY
from tests.unit.certificates.held import EVIDENCE, MISSING, OUTAGE, SERIES, candles, records

VALUES = [name for name in COLUMNS if name != "open_time"]
FIELDS = len(COLUMNS)


def other_digit(random: Random, text: str) -> str:
    """The text with one digit another."""
    at = random.choice([index for index, sign in enumerate(text) if sign.isdigit()])
    return text[:at] + random.choice([digit for digit in "0123456789" if digit != text[at]]) + text[at + 1 :]


# ---- Rows of a store ----


def row_deleted(random: Random, rows: Rows) -> Rows:
    return np.delete(rows, random.randrange(len(rows)))


def rows_deleted(random: Random, rows: Rows) -> Rows:
    start = random.randrange(len(rows))
    return np.delete(rows, slice(start, start + random.randrange(1, 3_000)))


def row_repeated(random: Random, rows: Rows) -> Rows:
    at = random.randrange(len(rows))
    return np.insert(rows, at, rows[at])


def row_added(random: Random, rows: Rows) -> Rows:
    hole = random.choice([OUTAGE, MISSING])
    time = hole.start + random.randrange((hole.end - hole.start) // MINUTE) * MINUTE
    return np.sort(np.concatenate([rows, candles(0, 1, start=time, seed=random.randrange(99))]), order="open_time")


def rows_exchanged(random: Random, rows: Rows) -> Rows:
    pair = random.sample(range(len(rows)), 2)
    for name in VALUES:
        rows[name][pair] = rows[name][pair[::-1]]
    return rows


def rows_moved(random: Random, rows: Rows) -> Rows:
    """Two rows in the wrong order."""
    at = random.randrange(len(rows) - 1)
    rows[[at, at + 1]] = rows[[at + 1, at]]
    return rows


def digit_flipped(random: Random, rows: Rows) -> Rows:
    at, name = random.randrange(len(rows)), random.choice(COLUMNS)
    unit = 1_000 if name in {"open_time", "close_time"} else 1  # an export has milliseconds
    value = rows[name][at].item()
    text = repr(value) if isinstance(value, float) else str(value // unit)
    now = other_digit(random, text)
    rows[name][at] = float(now) if "." in text else int(now) * unit
    return rows


def digits_flipped(random: Random, rows: Rows) -> Rows:
    for _ in range(random.randrange(2, 30)):
        rows = digit_flipped(random, rows)
    return rows


def bit_flipped(random: Random, rows: Rows) -> Rows:
    at, name = random.randrange(len(rows)), random.choice([one for one in VALUES if one != "close_time"])
    word = np.ascontiguousarray(rows[name][at : at + 1]).view("<u8") ^ np.uint64(1 << random.randrange(64))
    rows[name][at] = word.view(rows[name].dtype)[0]
    return rows


def unit_shifted(random: Random, rows: Rows) -> Rows:
    name = random.choice(["open_time", "close_time", "volume"])
    part = random.choice([slice(None), slice(random.randrange(len(rows)), None)])
    if name == "volume":
        rows[name][part] *= random.choice([1_000, 0.001])
    else:
        rows[name][part] = rows[name][part] // 1_000 if random.random() < 0.5 else rows[name][part] * 1_000
    return rows


def columns_swapped(random: Random, rows: Rows) -> Rows:
    one, other = random.choice([("open", "close"), ("high", "low"), ("volume", "quote_volume"), ("low", "open")])
    at = random.randrange(len(rows))
    part = random.choice([slice(None), slice(at, at + 1)])
    rows[one][part], rows[other][part] = rows[other][part].copy(), rows[one][part].copy()
    return rows


def stale_day(random: Random, rows: Rows) -> Rows:
    """What an older file of a day gave: some rows other, some not there yet."""
    day = rows["open_time"][0] + random.randrange(11) * DAY
    lies = np.flatnonzero((rows["open_time"] >= day) & (rows["open_time"] < day + DAY))
    rows["trades"][random.sample(lies.tolist(), 9)] -= 1
    return np.delete(rows, lies[-random.randrange(1, 40) :]) if random.random() < 0.5 else rows


ROWS: tuple[Callable[[Random, Rows], Rows], ...] = (
    row_deleted, rows_deleted, row_repeated, row_added, rows_exchanged, rows_moved, digit_flipped, digits_flipped,
    bit_flipped, unit_shifted, columns_swapped, stale_day,
)  # fmt: skip


# ---- What a store says of its rows ----


def reason_forged(random: Random, store: MemoryStore) -> None:
    reason = random.choice([Reason.DELISTED, Reason.NOT_LISTED, Reason.PENDING])
    store.set_absences(SERIES, [Absence(OUTAGE, reason, EVIDENCE)])


def reason_stretched(random: Random, store: MemoryStore) -> None:
    cut = MINUTE * random.randrange(1, 79)
    span = random.choice([Span(OUTAGE.start + cut, OUTAGE.end), Span(OUTAGE.start, OUTAGE.end - cut)])
    store.set_absences(SERIES, [Absence(span, Reason.EXCHANGE_OUTAGE, EVIDENCE)])


def reason_invented(random: Random, store: MemoryStore) -> None:
    invented = Absence(MISSING, random.choice([Reason.EXCHANGE_OUTAGE, Reason.DELISTED]), EVIDENCE)
    store.set_absences(SERIES, [*store.absences(SERIES), invented])


def evidence_forged(random: Random, store: MemoryStore) -> None:
    store.set_absences(SERIES, [Absence(OUTAGE, Reason.EXCHANGE_OUTAGE, other_digit(random, EVIDENCE))])


def ledger_forged(random: Random, store: MemoryStore) -> None:
    one = random.choice(records())
    digest = f"{random.getrandbits(256):064x}"
    changed = random.choice([
        replace(one, sha256=digest), replace(one, checksum=digest), replace(one, sha256=digest, checksum=digest),
        replace(one, span=Span(one.span.start, one.span.end + DAY)), replace(one, rows=0),
    ])  # fmt: skip
    keep_file_records(store, SERIES, [changed])


def ledger_lost(random: Random, store: MemoryStore) -> None:
    store.set_state(f"file:{SERIES}:{random.choice(records()).name}", None)


SAYINGS: tuple[Callable[[Random, MemoryStore], None], ...] = (
    reason_forged, reason_stretched, reason_invented, evidence_forged, ledger_forged, ledger_lost,
)  # fmt: skip


# ---- The bytes of a store ----


def damage_block(random: Random, folder: Path, certificate: Certificate) -> str:
    """Alter the bytes of one block; says how."""
    chosen, other = random.sample([one.block for one in certificate.blocks], 2)
    how = random.choice(["truncated", "flipped", "deleted", "replaced", "in the file"])
    with lmdb.open(str(folder), max_dbs=16) as environment:
        blocks = environment.open_db(b"blocks", create=False)
        with environment.begin(db=blocks, write=True) as txn:
            key = BLOCK_KEY.pack(0, chosen)
            data = bytearray(txn.get(key))
            if how == "truncated":
                txn.put(key, bytes(data[: random.randrange(len(data))]))
            elif how == "flipped":
                data[random.randrange(8, len(data))] ^= 1 << random.randrange(8)
                txn.put(key, bytes(data))
            elif how == "deleted":
                txn.delete(key)
            elif how == "replaced":
                txn.put(key, txn.get(BLOCK_KEY.pack(0, other)))
    if how == "in the file":
        path = folder / "data.mdb"
        content = bytearray(path.read_bytes())
        at, copies = content.find(data), 0
        spot = random.randrange(8, len(data))
        while at >= 0:  # pages that are free may hold it too
            content[at + spot] ^= 1 << random.randrange(8)
            copies += 1
            at = content.find(data, at + 1)
        assert copies
        path.write_bytes(content)
    return how


# ---- Exports ----


def _line(random: Random, lines: list[str]) -> int:
    return random.randrange(1, len(lines))


def line_deleted(random: Random, lines: list[str]) -> None:
    del lines[_line(random, lines)]


def line_repeated(random: Random, lines: list[str]) -> None:
    lines.insert(_line(random, lines), lines[_line(random, lines)])


def lines_swapped(random: Random, lines: list[str]) -> None:
    one = _line(random, lines)
    other = min(len(lines) - 1, one + random.choice([1, 2, 5_000]))
    other = other if other != one else one - 1
    lines[one], lines[other] = lines[other], lines[one]


def line_digit_flipped(random: Random, lines: list[str]) -> None:
    at = _line(random, lines)
    fields = lines[at].split(",")
    column = random.randrange(FIELDS)
    fields[column] = other_digit(random, fields[column])
    lines[at] = ",".join(fields)


def line_unit_shifted(random: Random, lines: list[str]) -> None:
    column = random.choice([0, 6])
    start = _line(random, lines)
    for at in range(start, random.choice([start + 1, len(lines)])):
        fields = lines[at].split(",")
        fields[column] = fields[column] + "000" if start % 2 else fields[column][:-3]
        lines[at] = ",".join(fields)


def line_columns_swapped(random: Random, lines: list[str]) -> None:
    at = _line(random, lines)
    fields = lines[at].split(",")
    while True:
        one, other = random.sample(range(FIELDS), 2)
        if float(fields[one]) != float(fields[other]):
            break
    fields[one], fields[other] = fields[other], fields[one]
    lines[at] = ",".join(fields)


def header_swapped(random: Random, lines: list[str]) -> None:
    names = lines[0].split(",")
    one, other = random.sample(range(FIELDS), 2)
    names[one], names[other] = names[other], names[one]
    lines[0] = ",".join(names)


def export_truncated(random: Random, lines: list[str]) -> None:
    at = _line(random, lines)
    lines[at:] = [lines[at][: random.randrange(20)]]


def line_garbled(random: Random, lines: list[str]) -> None:
    at = _line(random, lines)
    spot = random.randrange(len(lines[at].split(",market")[0]) - 20)
    lines[at] = lines[at][:spot] + random.choice(["x", "\x00", '"', ",", "\n", "é", "_", " ,"]) + lines[at][spot:]


def line_of_other_series(random: Random, lines: list[str]) -> None:
    at = _line(random, lines)
    lines[at] = lines[at].replace("BTCUSDT", "ETHUSDT")


EXPORTS: tuple[Callable[[Random, list[str]], None], ...] = (
    line_deleted, line_repeated, lines_swapped, line_digit_flipped, line_unit_shifted, line_columns_swapped,
    header_swapped, export_truncated, line_garbled, line_of_other_series,
)  # fmt: skip


# ---- Certificates ----


class Forgery(NamedTuple):
    """A certificate that was altered. `sealed`: with all its hashes made to fit again."""

    name: str
    document: bytes
    rows_differ: bool
    """Whether it shows against the rows of an export, and not only against a store or the digest."""


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        return [found for key, each in value.items() for found in _paths(each, (*path, key))]
    if isinstance(value, list):
        return [found for at, each in enumerate(value) for found in _paths(each, (*path, at))]
    return [path]


def alter_document(random: Random, certificate: Certificate) -> Forgery:
    """One text, number or flag of the document changed by one sign, its hashes left as they are."""
    document = json.loads(certificate.to_json())
    path = random.choice(_paths(document))
    place = document
    for key in path[:-1]:
        place = place[key]
    value = place[path[-1]]
    if isinstance(value, bool):
        place[path[-1]] = not value
    elif isinstance(value, int):
        place[path[-1]] = int(other_digit(random, str(value)))
    else:
        place[path[-1]] = value[:-1] + ("0" if value[-1:] != "0" else "1")
    return Forgery("/".join(map(str, path)), json.dumps(document).encode(), rows_differ=True)


def _other_hash(random: Random) -> str:
    return f"{random.getrandbits(256):064x}"


def forge(random: Random, one: Certificate) -> Forgery:
    """A lie with all hashes made to fit again."""
    kind = random.choice(["reason", "evidence", "source", "block", "range", "sums", "gap filled"])
    rows_differ = kind in {"block", "range", "gap filled"}
    if kind == "reason":
        reason = random.choice([Reason.DELISTED, Reason.NOT_LISTED])
        one = replace(one, absences=(replace(one.absences[0], reason=reason), *one.absences[1:]))
    elif kind == "evidence":
        entry = replace(one.absences[0], evidence=other_digit(random, one.absences[0].evidence))
        one = replace(one, absences=(entry, *one.absences[1:]))
    elif kind == "source":
        sources, at, digest = list(one.sources), random.randrange(4), _other_hash(random)
        sources[at] = replace(sources[at], sha256=digest, checksum=digest)
        one = replace(one, sources=tuple(sources))
    elif kind in {"block", "sums"}:
        blocks, at = list(one.blocks), random.randrange(len(one.blocks))
        blocks[at] = replace(blocks[at], sha256=_other_hash(random))
        one = replace(one, blocks=tuple(blocks))
        rows_differ = True
    elif kind == "range":
        one = replace(one, end_ms=one.end_ms + random.choice([-1, 1]) * random.randrange(1, 99) * MINUTE // 1_000)
        one = replace(one, range=str(one.span))
    else:
        first, second, *others = one.certified
        whole = replace(first, end_ms=second.end_ms, candles=first.candles + 80 + second.candles)
        one = replace(one, certified=(whole, *others), absences=one.absences[1:], absent=0, present=one.present + 80)
    return Forgery(f"sealed {kind}", one.sealed().to_json(), rows_differ)
