"""Rows that come out of `COPY ... TO STDOUT (FORMAT binary)`, as numpy arrays.

A numeric becomes the double nearest to it, which is the one that was written. `copied_kernel.c` does it where it was
compiled. Elsewhere the database is asked for doubles, and every field has a fixed width, so that a row is a row of a
structured array.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from candlewick.errors import StoreError
from candlewick.stores.postgres import copied_kernel
from candlewick.stores.postgres.copied_kernel import Kind
from candlewick.stores.postgres.rows import EPOCH_2000
from candlewick.stores.store import ROW

_HEADER_SIZE = 19
_TRAILER = b"\xff\xff"
_PIECE = 1 << 22
_CLOSE = "coalesce(close_time, time + candle_interval(interval) - interval '1 millisecond')"


class Field(NamedTuple):
    """How a field is selected from `candles`: as it is, and without NULL in a fixed width."""

    plain: str
    fixed: str
    kind: Kind
    wire: str


def _double(column: str, *, is_optional: bool = False) -> Field:
    fixed = f"coalesce({column}::float8, 'NaN')" if is_optional else f"{column}::float8"
    return Field(column, fixed, Kind.NUMBER, ">f8")


FIELDS = {
    "source": Field("source", "source", Kind.SOURCE, ">i2"),
    "open_time": Field("time", "time", Kind.TIME, ">i8"),
    "open": _double("open"),
    "high": _double("high"),
    "low": _double("low"),
    "close": _double("close"),
    "volume": _double("volume"),
    "close_time": Field(_CLOSE, _CLOSE, Kind.TIME, ">i8"),
    "quote_volume": _double("quote_asset_volume", is_optional=True),
    "trades": Field("number_of_trades", "coalesce(number_of_trades, 0)", Kind.COUNT, ">i8"),
    "taker_buy_volume": _double("taker_buy_base_asset_volume", is_optional=True),
    "taker_buy_quote_volume": _double("taker_buy_quote_asset_volume", is_optional=True),
}
"""Every field of `ROW` but `series`.

Documented statements may leave out some columns: their doubles are then not a number, their trades 0, and a candle
closes when its interval does.
"""


def selected(names: Sequence[str]) -> str:
    """What to SELECT for these fields of `ROW`."""
    is_plain = copied_kernel.loaded() is not None
    return ", ".join(FIELDS[name].plain if is_plain else FIELDS[name].fixed for name in names)


class Copied:
    """Takes in a stream of COPY piece by piece and gives the columns at its end."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._kernel = copied_kernel.loaded()
        self._waiting: list[bytes] = []
        self._size = 0
        self._begun = False
        self._parts: list[list[npt.NDArray[Any]]] = []

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
        if self._waiting != [_TRAILER]:
            raise _other_form()
        return {
            name: np.concatenate([np.empty(0, ROW[name]), *(part[at] for part in self._parts)])
            for at, name in enumerate(self._names)
        }

    def _decode(self) -> None:
        data = b"".join(self._waiting)
        if not self._begun:
            self._begun, data = True, data[_HEADER_SIZE:]
        if self._kernel is None:
            columns, used = self._fixed(data)
        else:
            try:
                columns, used = self._kernel.decode(data, [FIELDS[name].kind for name in self._names])
            except ValueError:
                raise _other_form() from None
        self._parts.append(columns)
        self._waiting, self._size = [data[used:]], len(data) - used

    def _fixed(self, data: bytes) -> tuple[list[npt.NDArray[Any]], int]:
        """The same as the kernel's, of fields of fixed width."""
        kinds = [np.dtype(FIELDS[name].wire) for name in self._names]
        wire: list[Any] = [("fields", ">i2")]
        for name, kind in zip(self._names, kinds, strict=True):
            wire += [(f"size {name}", ">i4"), (name, kind)]
        layout = np.dtype(wire)
        rows = np.frombuffer(data, layout, len(data) // layout.itemsize)
        sizes = [rows[f"size {name}"] == kind.itemsize for name, kind in zip(self._names, kinds, strict=True)]
        if not all(right.all() for right in (rows["fields"] == len(self._names), *sizes)):
            raise _other_form()
        columns = [rows[name].astype(ROW[name]) for name in self._names]
        shifted = [
            column + EPOCH_2000 if FIELDS[name].kind is Kind.TIME else column
            for name, column in zip(self._names, columns, strict=True)
        ]
        return shifted, len(rows) * layout.itemsize


def _other_form() -> StoreError:
    return StoreError("the database sent rows of another form than asked for: its tables are not those of this program")
