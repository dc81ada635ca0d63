"""Columns of candles as frames of the libraries people use. Nothing is copied where the library allows it."""

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from candlewick.errors import UsageError
from candlewick.exchanges.exchange import Columns
from candlewick.reading.styles import Form, Layout

if TYPE_CHECKING:  # half a second and 60 MB of imports for those who only ask for the type
    import polars as pl

Kind: TypeAlias = Literal["polars", "pandas", "arrow", "numpy"]
KINDS: tuple[Kind, ...] = ("polars", "pandas", "arrow", "numpy")
Arrays: TypeAlias = dict[str, npt.NDArray[Any]]
"""Columns by name; those of `datetime64[us]` are UTC."""


def lay_out(columns: Columns, layout: Layout) -> Arrays:
    """The columns of a layout, named and written as it says. Arrays are shared with `columns` where they can be."""
    out: Arrays = {}
    for name, field, form in layout:
        values = columns[field]
        if form is Form.TIME:
            out[name] = values.view("M8[us]")
        elif form is Form.MILLISECONDS:
            out[name] = values // 1000
        elif form is Form.ZERO:
            out[name] = np.zeros(len(values), np.int64)
        else:
            out[name] = values
    return out


def to_kind(value: str) -> Kind:
    """The kind of frame that is meant.

    Raises:
        UsageError: there is no such kind, or its library is not installed.
    """
    for kind in KINDS:
        if kind == value:
            _check_installed(kind)
            return kind
    raise UsageError(f"as_={value!r} is not a kind of frame: write {' or '.join(map(repr, KINDS))}")


def to_frame(arrays: Arrays, kind: Kind) -> Any:  # noqa: ANN401  # a frame of `kind`; callers say which by overloads
    """A frame of the arrays: its times are timestamps in UTC, to the microsecond."""
    if kind == "numpy":
        return arrays
    return {"polars": to_polars, "pandas": _to_pandas, "arrow": _to_arrow}[kind](arrays)


def to_polars(arrays: Arrays) -> "pl.DataFrame":
    """A polars frame of the arrays."""
    import polars as pl  # noqa: PLC0415  # only what is asked for is loaded

    frame = pl.DataFrame(
        {name: values.view(np.int64) if _is_time(values) else values for name, values in arrays.items()}
    )
    times = [name for name, values in arrays.items() if _is_time(values)]
    return frame.cast(dict.fromkeys(times, pl.Datetime("us", "UTC"))) if times else frame


def _to_pandas(arrays: Arrays) -> Any:  # noqa: ANN401  # pandas ships no types
    import pandas as pd  # type: ignore[import-untyped]  # noqa: PLC0415  # an extra, and slow to load

    parts = {
        name: pd.DatetimeIndex(values, tz="UTC", copy=False) if _is_time(values) else values
        for name, values in arrays.items()
    }
    return pd.DataFrame(parts, copy=False)


def _to_arrow(arrays: Arrays) -> Any:  # noqa: ANN401  # pyarrow ships no types
    import pyarrow as pa  # type: ignore[import-untyped]  # noqa: PLC0415  # an extra, and slow to load

    utc = pa.timestamp("us", tz="UTC")
    return pa.table(
        {
            name: pa.array(values.view(np.int64)).view(utc) if _is_time(values) else pa.array(values)
            for name, values in arrays.items()
        }
    )


def _check_installed(kind: Kind) -> None:
    """Load the optional library of a kind, before anything is read for it."""
    module, extra = {"pandas": ("pandas", "pandas"), "arrow": ("pyarrow", "arrow")}.get(kind, ("", ""))
    if not module:
        return
    try:
        __import__(module)
    except ImportError as error:
        raise UsageError(f"as_={kind!r} needs {module} ({error}): pip install 'candlewick[{extra}]'") from None


def _is_time(values: npt.NDArray[Any]) -> bool:
    return values.dtype.kind == "M"
