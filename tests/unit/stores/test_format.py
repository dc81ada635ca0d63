"""docs/store-format.md is enough to read a store: a reader written from it alone, without numpy or our code."""

import struct
import zlib
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest

from candlewick.market import Interval, Market, Series
from candlewick.stores.lmdb import LmdbStore
from candlewick.stores.store import ROW, Source

PARTS = {0: (), 1: (1,), 2: (2,), 3: (2, 1), 4: (4,), 5: (4, 1), 6: (4, 2), 7: (4, 2, 1)}
ROW_FORMAT = "<IBqdddddqdqdd"
LENGTHS = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000, "w": 604_800_000_000}


def padded(size: int) -> int:
    return (size + 7) // 8 * 8


def checksum(data: bytes) -> int:
    sums = []
    for start in range(0, len(data), 4_096):
        group = data[start : start + 4_096]
        sums.append(sum(struct.unpack(f"<{len(group) // 8}Q", group)) % 2**64)
    return zlib.crc32(struct.pack(f"<{len(sums)}Q", *sums))


def slot_time(interval: str, slot: int) -> int:
    count, unit = int(interval[:-1]), interval[-1]
    if unit == "M":
        months = slot * count
        start = datetime(1970 + months // 12, months % 12 + 1, 1, tzinfo=UTC)
        return int(start.timestamp()) * 1_000_000
    return slot * count * LENGTHS[unit] - (3 * LENGTHS["d"] if unit == "w" else 0)


class PlainBlock:
    """One block, read as the document says."""

    def __init__(self, data: bytes) -> None:
        version, columns, runs, self.rows = struct.unpack_from("<BBHI", data, 8)
        assert (version, columns) == (1, 12)
        assert struct.unpack_from("<I", data)[0] == checksum(data[8 : 304 + padded(4 * runs)])
        self.data = data
        self.descriptors = [struct.unpack_from("<BBBxII4xd", data, 16 + 24 * at) for at in range(12)]
        edges = [*(each[4] for each in self.descriptors), len(data)]
        for at, (begin, end) in enumerate(pairwise(edges)):
            assert struct.unpack_from("<I", data, 16 + 24 * at + 12)[0] == checksum(data[begin:end])
        starts = list(struct.iter_unpack("<HH", data[304 : 304 + 4 * runs]))
        self.slots: list[int] = []
        for (row, slot), (following, _) in zip(starts, [*starts[1:], (self.rows, 0)], strict=True):
            self.slots += [slot + at for at in range(following - row)]

    def integers(self, column: int, *, signed: bool) -> tuple[list[int], int]:
        """The stored integers of a column, and where its patches begin."""
        _, _, width, _, offset, _ = self.descriptors[column]
        raw = [b""] * self.rows
        for part in PARTS[width]:
            for row in range(self.rows):
                raw[row] += self.data[offset + row * part : offset + (row + 1) * part]
            offset += padded(part * self.rows)
        return [int.from_bytes(each, "little", signed=signed) for each in raw], offset

    def units(self, column: int) -> list[float]:
        coding, places, _, _, _, base = self.descriptors[column]
        stored, _ = self.integers(column, signed=coding == 2)
        if coding == 1:
            return [base + each for each in stored]
        if column == 4:
            closes = self.units(7)
            expected = [closes[0], *closes[:-1]]
        elif column in (5, 6):
            expected = [(max if column == 5 else min)(pair) for pair in zip(self.units(4), self.units(7), strict=True)]
        else:
            shift = places - self.descriptors[column - 1][1] - self.descriptors[5][1]
            scale = 10.0**shift / 2 if shift >= 0 else 1 / 10.0**-shift / 2
            parts = zip(self.units(column - 1), self.units(5), self.units(6), strict=True)
            expected = [float(round(volume * ((high + low) * scale))) for volume, high, low in parts]
        return [value + each for value, each in zip(expected, stored, strict=True)]

    def values(self, column: int) -> list[Any]:
        coding, places, _, patches, offset, _ = self.descriptors[column]
        kind = "q" if column < 4 else "d"
        if coding == 0:
            return list(struct.unpack_from(f"<{self.rows}{kind}", self.data, offset))
        units = self.units(column)
        values: list[Any] = [int(each) for each in units] if column < 4 else [each / 10.0**places for each in units]
        _, offset = self.integers(column, signed=coding == 2)
        for at in range(patches):
            row = struct.unpack_from("<H", self.data, offset + 2 * at)[0]
            values[row] = struct.unpack_from(f"<{kind}", self.data, offset + padded(2 * patches) + 8 * at)[0]
        return values


def plain_read(folder: Path, series: str) -> list[bytes]:
    """All rows of a series, as packed rows in order of time."""
    with lmdb.open(str(folder), readonly=True, max_dbs=9) as env:
        databases = {
            name: env.open_db(name.encode(), create=False) for name in ("series", "totals", "journal", "blocks")
        }
        with env.begin() as txn:
            names = {text.decode(): key for key, text in txn.cursor(db=databases["series"])}
            key = names[series]
            number = int.from_bytes(key, "big")
            count, _, _, folded = struct.unpack(
                "<4q", txn.get(key, struct.pack("<4q", 0, -1, -1, 0), db=databases["totals"])
            )
            found: dict[int, bytes] = {}
            for where, data in txn.cursor(db=databases["blocks"]):
                if where[:4] == key:
                    block = int.from_bytes(where[4:], "big")
                    found |= plain_block_rows(data, number, block, series.rpartition(":")[2])
            assert len(found) == count
            for entry, data in txn.cursor(db=databases["journal"]):
                if int.from_bytes(entry, "big") <= folded:
                    continue
                assert struct.unpack_from("<I", data)[0] == checksum(data[8:])
                version, length = struct.unpack_from("<B3xI", data, 8)
                assert version == 1
                for at in range(length):
                    row = data[16 + 93 * at : 16 + 93 * (at + 1)]
                    if row[:4] == struct.pack("<I", number):
                        time = struct.unpack_from("<q", row, 5)[0]
                        assert data[16 + 93 * length + at] == (time not in found)
                        found[time] = row
    return [found[time] for time in sorted(found)]


def plain_block_rows(data: bytes, number: int, block: int, interval: str) -> dict[int, bytes]:
    plain = PlainBlock(data)
    offset, source, close, trades, open_, high, low, last, volume, quote, taker, taker_quote = map(
        plain.values, range(12)
    )
    rows = {}
    for at, slot in enumerate(plain.slots):
        time = slot_time(interval, 8_640 * block + slot) + offset[at]
        rows[time] = struct.pack(
            ROW_FORMAT, number, source[at], time, open_[at], high[at], low[at], last[at], volume[at], close[at] + time,
            quote[at], trades[at], taker[at], taker_quote[at],
        )  # fmt: skip
    return rows


@pytest.mark.parametrize("code", ["1m", "1w", "3M"])
def test_store_can_be_read_from_its_document(tmp_path: Path, code: str) -> None:
    """Blocks with gaps, patches, raw and predicted columns, and a journal over them: the plain reader agrees."""
    rng = np.random.default_rng(11)
    interval, count = Interval(code), 900
    series = Series(Market.SPOT, "BTCUSDT", interval)
    store = LmdbStore.open(tmp_path, write=True)
    store.number(Series(Market.SPOT, "OTHER", interval))
    rows = np.zeros(count, ROW)
    rows["series"] = store.number(series)
    rows["source"] = np.where(rng.random(count) < 0.02, Source.REST, Source.ARCHIVE)
    time = interval.ceil(1_100_000_000_000_000)
    times = []
    while len(times) < count:
        if rng.random() < 0.95:
            times.append(time)
        time = interval.next(time)
    rows["open_time"] = times
    rows["close_time"] = [interval.close(each) for each in times]
    rows["close_time"][77] -= 12_345_000
    close = 3_000_000 + np.cumsum(rng.integers(-900, 900, count))
    opens = np.concatenate((close[:1], close[:-1])) + rng.integers(-3, 3, count)
    rows["close"], rows["open"] = close / 100, opens / 100
    rows["high"] = (np.maximum(opens, close) + rng.integers(0, 90_000, count)) / 100
    rows["low"] = (np.minimum(opens, close) - rng.integers(0, 100, count)) / 100
    rows["volume"] = rng.integers(1, 1 << 22, count) / 1e5
    rows["quote_volume"] = np.round(rows["volume"] * rows["close"], 7)
    rows["taker_buy_volume"] = rng.random(count)
    rows["taker_buy_quote_volume"] = np.round(rows["quote_volume"] * 0.41, 7)
    rows["trades"] = rng.integers(1, 5_000, count)
    rows["low"][5] = 0.1 + 0.2
    rows["open_time"][9] += 1_000
    store.write(rows[:800])
    again = rows[300:310].copy()
    again["close"] += 1
    again["source"] = Source.ARCHIVE
    rows[300:310] = again
    store.write(np.concatenate((again, rows[800:])))
    assert store.pending_rows == 110
    expected = store.read(series)
    assert expected.tobytes() == rows.tobytes()
    assert b"".join(plain_read_beside(store, tmp_path, str(series))) == rows.tobytes()


def plain_read_beside(store: LmdbStore, folder: Path, series: str) -> list[bytes]:
    """Read the store as another program would: after the writer, that was stopped without folding, is gone."""
    store.fold = lambda _: False
    store.close()
    return plain_read(folder, series)
