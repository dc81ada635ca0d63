"""Rows out of COPY BINARY: each numeric is the nearest double, however the stream is cut, and nonsense is refused."""

import asyncio
import itertools
import math
import random
import struct
from decimal import Decimal, localcontext

import numpy as np
import pytest

from candlewick.errors import StoreError
from candlewick.stores.postgres import copied, copied_kernel
from candlewick.stores.postgres.copied import FIELDS, Copied, selected
from candlewick.stores.postgres.rows import EPOCH_2000

HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
TRAILER = struct.pack("!h", -1)
NULL = struct.pack("!i", -1)


@pytest.fixture
def kernel() -> copied_kernel.Kernel:
    """The compiled way."""
    found = copied_kernel.loaded()
    if found is None:
        pytest.skip("copied_kernel.c was not compiled: there is no compiler")
    return found


@pytest.fixture(params=["kernel", "numpy"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways, one after the other."""
    if request.param == "numpy":
        monkeypatch.setattr(copied_kernel, "loaded", lambda: None)
    else:
        request.getfixturevalue("kernel")
    return str(request.param)


def field(data: bytes) -> bytes:
    return struct.pack("!i", len(data)) + data


def numeric(text: str) -> bytes:
    """A numeric as PostgreSQL sends it: groups of four digits without zeros at either end."""
    special = {"NaN": 0xC000, "Infinity": 0xD000, "-Infinity": 0xF000}
    if text in special:
        return field(struct.pack("!hhHh", 0, 0, special[text], 0))
    sign, digits, exponent = Decimal(text).as_tuple()
    assert isinstance(exponent, int)
    whole = int("".join(map(str, digits))) * 10 ** (exponent % 4)
    lowest, groups = exponent // 4, []
    while whole:
        whole, group = divmod(whole, 10_000)
        groups.append(group)
    while groups and not groups[0]:
        del groups[0]
        lowest += 1
    weight = lowest + len(groups) - 1 if groups else 0
    packed = struct.pack(f"!{len(groups)}h", *reversed(groups))
    return field(struct.pack("!hhHh", len(groups), weight, 0x4000 if sign else 0, max(-exponent, 0)) + packed)


def stream(rows: list[list[bytes]]) -> bytes:
    return HEADER + b"".join(struct.pack("!h", len(row)) + b"".join(row) for row in rows) + TRAILER


def taken(data: bytes, names: list[str], cuts: list[int] | None = None) -> dict[str, np.ndarray]:
    made = Copied(names)
    edges = [0, *sorted(cuts or []), len(data)]
    for start, end in itertools.pairwise(edges):
        asyncio.run(made.take(data[start:end]))
    return made.columns()


def decimals() -> list[str]:
    """Numbers of every length and size, and those that lie just between two doubles, or a hair off the middle."""
    rng = random.Random(1)
    found = [
        "0",
        "1",
        "0.00000001",
        "123456789.12345678",
        "9007199254740993",
        "9007199254740992",
        "1e22",
        "1e23",
        "-5.5",
    ]
    found += ["1e-320", "1.7976931348623157e308", "2.2250738585072011e-308", "1e-400", "1e400"]
    for _ in range(3_000):
        digits = rng.randrange(1, 10 ** rng.choice([1, 4, 8, 12, 16, 17, 20, 40, 90]))
        found.append(f"{digits}e{rng.randrange(-60, 30)}")
    with localcontext() as context:
        context.prec = 1200
        for _ in range(500):
            low = rng.uniform(1e-9, 1e9)
            middle = (Decimal(low) + Decimal(math.nextafter(low, math.inf))) / 2
            hair = Decimal(10) ** rng.choice([-60, -900])
            found += [str(middle), str(middle + hair), str(middle - hair)]
    return found


def test_numeric_is_the_nearest_double(kernel: copied_kernel.Kernel) -> None:
    """Whatever decimals the database sends, the double is the one Python makes of the same text."""
    texts = decimals()
    values = taken(stream([[numeric(text)] for text in texts]), ["close"])["close"]
    wrong = [text for text, value in zip(texts, values.tolist(), strict=True) if value != float(text)]
    assert wrong == []


def test_values_that_are_no_numbers_are_read(kernel: copied_kernel.Kernel) -> None:
    """NaN, both infinities, and NULL, which is not a number, or no trade."""
    rows = [[numeric(text), field(struct.pack("!q", 7))] for text in ("NaN", "Infinity", "-Infinity")]
    found = taken(stream([*rows, [NULL, NULL]]), ["quote_volume", "trades"])
    assert [str(value) for value in found["quote_volume"].tolist()] == ["nan", "inf", "-inf", "nan"]
    assert found["trades"].tolist() == [7, 7, 7, 0]


def sample(way: str, count: int) -> tuple[bytes, list[str]]:
    """Rows of every kind of field."""
    rng = random.Random(2)
    names = ["open_time", "source", "close", "trades"]
    rows = []
    for at in range(count):
        value = round(rng.uniform(0, 1e5), rng.randrange(9))
        close = numeric(repr(value)) if way == "kernel" else field(struct.pack("!d", value))
        rows.append(
            [
                field(struct.pack("!q", at - EPOCH_2000)),
                field(struct.pack("!h", 3)),
                close,
                field(struct.pack("!q", at)),
            ]
        )
    return stream(rows), names


def test_stream_may_be_cut_anywhere(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the pieces lie, the columns are the same; times count from 1970."""
    monkeypatch.setattr(copied, "_PIECE", 1_000)
    data, names = sample(way, 300)
    whole = taken(data, names)
    assert whole["open_time"].tolist() == whole["trades"].tolist() == list(range(300))
    assert whole["source"].dtype == np.uint8
    rng = random.Random(3)
    for _ in range(10):
        cut = taken(data, names, rng.sample(range(len(data)), 40))
        assert all(np.array_equal(cut[name], whole[name]) for name in names)


def test_no_rows_are_empty_columns(way: str) -> None:
    """A range without candles."""
    assert {name: len(column) for name, column in taken(HEADER + TRAILER, ["close", "source"]).items()} == {
        "close": 0,
        "source": 0,
    }


def test_other_forms_are_refused(way: str) -> None:
    """More fields, other widths, an end that is missing: each is an error, and damaged bytes never more than that."""
    data, names = sample(way, 20)
    wrong = [data[:-2], data[:-3], data + b"\0", stream([[field(b"abc")] * 4]), stream([[field(b"12345678")]])]
    for one in wrong:
        with pytest.raises(StoreError, match="another form"):
            taken(one, names)
    rng = random.Random(4)
    for _ in range(500):
        damaged = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(HEADER), len(data))] = rng.choice([0, 0xFF, 0x7F, rng.randrange(256)])
        try:
            found = taken(bytes(damaged), names)
        except StoreError:
            continue
        assert {len(column) for column in found.values()} <= set(range(21))


def test_database_makes_doubles_where_there_is_no_kernel(way: str) -> None:
    """Fields are selected as they are for the kernel, and of fixed width without NULL for numpy."""
    said = selected(list(FIELDS))
    assert ("::float8" in said) == (way == "numpy")
    assert ("coalesce(number_of_trades, 0)" in said) == (way == "numpy")
