"""Rows that come out of `COPY ... TO STDOUT (FORMAT binary)`, as numpy arrays.

Every field has a fixed width, so that a row is a row of a structured array: the fields are selected with a cast to it,
and without NULL.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from candlewick.errors import StoreError
from candlewick.stores.postgres.rows import EPOCH_2000
from candlewick.stores.store import ROW

_HEADER_SIZE = 19
_PIECE = 1 << 22


def _double(column: str) -> tuple[str, str]:
    # Between numeric and double stands the decimal text, so that the double is the nearest one: that which was written.
    return f"{column}::float8", ">f8"


def _double_or_nan(column: str) -> tuple[str, str]:
    return f"coalesce({column}::float8, 'NaN')", ">f8"


FIELDS: dict[str, tuple[str, str]] = {
    "source": ("source", ">i2"),
    "open_time": ("time", ">i8"),
    "open": _double("open"),
    "high": _double("high"),
    "low": _double("low"),
    "close": _double("close"),
    "volume": _double("volume"),
    "close_time": ("coalesce(close_time, time + candle_interval(interval) - interval '1 millisecond')", ">i8"),
    "quote_volume": _double_or_nan("quote_asset_volume"),
    "trades": ("coalesce(number_of_trades, 0)", ">i8"),
    "taker_buy_volume": _double_or_nan("taker_buy_base_asset_volume"),
    "taker_buy_quote_volume": _double_or_nan("taker_buy_quote_asset_volume"),
}
"""How each field of `ROW` but `series` is selected from `candles`, and what it is on the wire.

Documented statements may leave out some columns: their doubles are then not a number, their trades 0, and a candle
closes when its interval does.
"""


def selected(names: Sequence[str]) -> str:
    """What to SELECT for these fields of `ROW`."""
    return ", ".join(FIELDS[name][0] for name in names)


class Copied:
    """Takes in a stream of COPY piece by piece and gives the columns at its end."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        wire: list[Any] = [("fields", ">i2")]
        for name in names:
            kind = np.dtype(FIELDS[name][1])
            wire += [(f"size {name}", ">i4"), (name, kind)]
        self._wire = np.dtype(wire)
        self._waiting: list[bytes] = []
        self._size = -_HEADER_SIZE
        self._parts: list[dict[str, npt.NDArray[Any]]] = []

    async def take(self, data: bytes) -> None:
        """The next piece; what asyncpg calls."""
        self._waiting.append(data)
        self._size += len(data)
        if self._size >= _PIECE:
            self._decode()

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """All that came, each column an array of its own.

        Raises:
            StoreError: it was not of the form asked for.
        """
        self._decode()
        if sum(map(len, self._waiting)) != 2 or self._waiting[-1][-2:] != b"\xff\xff":
            raise StoreError("the database sent rows of another form than asked for: is it a PostgreSQL 15 or later?")
        return {
            name: np.concatenate([np.empty(0, ROW[name]), *(part[name] for part in self._parts)])
            for name in self._names
        }

    def _decode(self) -> None:
        data = b"".join(self._waiting)
        if not self._parts:
            data = data[_HEADER_SIZE:]
        count = len(data) // self._wire.itemsize
        rows = np.frombuffer(data, self._wire, count)
        sizes = [(rows[f"size {name}"] == self._wire[name].itemsize).all() for name in self._names]
        if not (rows["fields"] == len(self._names)).all() or not all(sizes):
            raise StoreError("the database sent rows of another form than asked for: is it a PostgreSQL 15 or later?")
        self._parts.append({name: self._field(rows[name], name) for name in self._names})
        rest = data[count * self._wire.itemsize :]
        self._waiting, self._size = [rest], len(rest)

    def _field(self, values: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
        made = values.astype(ROW[name])
        return made + EPOCH_2000 if name in {"open_time", "close_time"} else made
