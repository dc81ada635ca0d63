"""Rows as COPY BINARY: the compiled way and the other one give the same bytes, and those are the shortest decimals."""

import struct
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pytest

from candlewick.errors import UsageError
from candlewick.market import Series
from candlewick.stores.postgres import copy_kernel, rows
from candlewick.stores.store import ROW, Rows

SERIES = {7: Series.parse("spot:BTCUSDT:1m"), 9: Series.parse("usdm:ETHUSDT:1h")}


def doubles() -> npt.NDArray[np.float64]:
    """Every kind: prices, sums, integers, borders between binades, neighbours, and any bits there are."""
    random = np.random.default_rng(11)
    parts = [
        np.array([0.0, -0.0, 5e-324, 1.7976931348623157e308, 2.2250738585072014e-308, 1e22, 1e23, 2.0**53 + 2]),
        random.integers(0, 2**64, 20_000, dtype=np.uint64).view(np.float64),
        2.0 ** np.arange(-1074, 1024),
        np.repeat(2.0 ** np.arange(-60, 100), 50) + random.integers(-50, 50, 8000),
        random.integers(0, 10**17, 20_000) / 10.0 ** random.integers(0, 18, 20_000),
        -random.integers(0, 10**12, 2000) / 1e8,
    ]
    parts += [np.round(random.normal(0, 10.0**size, 4000), places) for size in range(-9, 17) for places in (2, 8)]
    steps = np.concatenate(parts)
    parts += [np.nextafter(steps[::7], np.inf), np.nextafter(steps[::7], -np.inf)]
    found = np.concatenate(parts)
    return found[np.isfinite(found)]


def filled(values: npt.NDArray[np.float64]) -> Rows:
    """Rows of one series that hold these numbers, eight each."""
    table = np.resize(values, (-(-len(values) // 8), 8))
    made = np.zeros(len(table), ROW)
    made["series"], made["source"] = 7, 2
    for at, name in enumerate(rows.NUMERICS):
        made[name] = table[:, at]
    made["open_time"] = np.arange(len(made)) * 60_000_000
    return made


def decoded(field: bytes) -> Decimal:
    """A numeric as PostgreSQL's documentation of its binary form says."""
    length, size, weight, sign, scale = struct.unpack_from("!ihhHH", field)
    assert length == len(field) - 4 == 8 + 2 * size
    groups = struct.unpack_from(f"!{size}H", field, 12)
    assert not size or (groups[0] and groups[-1]), "zeros at an end are not PostgreSQL's own form"
    whole = sum(group * Decimal(10_000) ** (weight - at) for at, group in enumerate(groups))
    text = f"{whole:f}"
    assert scale == (len(text.partition(".")[2].rstrip("0")) if "." in text else 0)
    return Decimal(-whole if sign else whole)


def test_copy_rows_are_the_same_bytes_compiled_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library makes the bytes that the other way makes, whatever the doubles are."""
    if copy_kernel.loaded() is None:
        pytest.skip("copy_kernel.c was not compiled: there is no compiler")
    table = filled(doubles())
    table["series"][100:] = 9
    compiled = b"".join(rows.copy_parts(table, SERIES))
    monkeypatch.setattr(copy_kernel, "loaded", lambda: None)
    assert b"".join(rows.copy_parts(table, SERIES)) == compiled


def test_copy_rows_leaves_few_ordinary_numbers_to_the_slow_way() -> None:
    """Prices, quantities and sums of eight places are the library's own work."""
    kernel = copy_kernel.loaded()
    if kernel is None:
        pytest.skip("copy_kernel.c was not compiled: there is no compiler")
    random = np.random.default_rng(5)
    table = filled(np.round(random.uniform(0, 10.0 ** random.uniform(-6, 11, 80_000)), 8))
    left: list[int] = []
    kernel.encode(table, [b""], np.zeros(len(table), np.int64), lambda row: left.append(len(row)) or b"")
    assert len(left) < len(table) / 100


def test_numeric_is_the_shortest_decimal_of_a_double() -> None:
    """The decimal that is written is the one that repr writes, without zeros at its ends."""
    for value in doubles()[::41].tolist():
        number, places = rows.decimals(value)
        assert float(f"{number}e{-places}") == value
        if 1e-20 < abs(value) < 1e25:  # a Decimal keeps 28 digits
            assert decoded(rows.numeric(value)) == Decimal(repr(value))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_copy_rows_refuses_what_is_no_number(value: float) -> None:
    """NaN and infinity are never sent, though PostgreSQL would take them."""
    table = filled(np.array([1.0]))
    table["close"] = value
    with pytest.raises(UsageError, match="not a number"):
        b"".join(rows.copy_parts(table, SERIES))


def test_copy_rows_refuses_a_series_without_a_name() -> None:
    """A number that nobody described is an error, not an empty name."""
    table = filled(np.array([1.0]))
    table["series"] = 8
    with pytest.raises(UsageError, match="series 8"):
        b"".join(rows.copy_parts(table, SERIES))
