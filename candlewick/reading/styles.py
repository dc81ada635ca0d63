"""How the columns of candles are called and written: our own way, and that of tools people come from."""

from collections.abc import Sequence
from enum import Enum
from typing import Literal, NamedTuple, TypeAlias

from candlewick.errors import UsageError

Style: TypeAlias = Literal["candlewick", "ccxt", "freqtrade", "binance"]

FIELDS = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades", "taker_buy_volume",
    "taker_buy_quote_volume",
)  # fmt: skip
"""The columns of a candle, in the order of its CSV."""


class Form(Enum):
    """How a column is written."""

    PLAIN = "as it is held"
    TIME = "UTC timestamp"
    MILLISECONDS = "epoch milliseconds"
    ZERO = "always 0"


class Column(NamedTuple):
    """A column of a frame: its name, and the field of the candle that it shows."""

    name: str
    field: str
    form: Form = Form.PLAIN


Layout: TypeAlias = tuple[Column, ...]
FILLED = Column("filled", "filled")
"""Says of each row whether it was made by filling; only there where filling was asked for."""

_TIMES = frozenset({"open_time", "close_time"})
_PRICES = (Column("open", "open"), Column("high", "high"), Column("low", "low"), Column("close", "close"))
_OHLCV = (*_PRICES, Column("volume", "volume"))

STYLES: dict[str, Layout] = {
    "candlewick": tuple(Column(name, name, Form.TIME if name in _TIMES else Form.PLAIN) for name in FIELDS),
    # ccxt's unified list: [timestamp, open, high, low, close, volume].
    "ccxt": (Column("timestamp", "open_time", Form.MILLISECONDS), *_OHLCV),
    # freqtrade's dataframes: `date` is the open time.
    "freqtrade": (Column("date", "open_time", Form.TIME), *_OHLCV),
    # The header of Binance's own files, the same order as the arrays of its REST interface (binance.md 3.2, 5.2).
    "binance": (
        Column("open_time", "open_time", Form.MILLISECONDS),
        *_OHLCV,
        Column("close_time", "close_time", Form.MILLISECONDS),
        Column("quote_volume", "quote_volume"),
        Column("count", "trades"),
        Column("taker_buy_volume", "taker_buy_volume"),
        Column("taker_buy_quote_volume", "taker_buy_quote_volume"),
        Column("ignore", "open_time", Form.ZERO),
    ),
}


def to_layout(style: str, names: Sequence[str] | None) -> Layout:
    """The columns of a style, or those of it that are named, in the order they are named.

    Raises:
        UsageError: there is no such style, or it has no such column.
    """
    layout = STYLES.get(style)
    if layout is None:
        raise UsageError(f"style={style!r} is not one: write {' or '.join(map(repr, STYLES))}")
    if names is None:
        return layout
    if isinstance(names, str):
        raise UsageError(f"columns={names!r} is one text: write a list, columns=[{names!r}]")
    known = {column.name: column for column in layout}
    unknown = [name for name in names if name not in known]
    if unknown or not names or len(set(names)) < len(names):
        raise UsageError(f"columns={list(names)!r} is not possible: name each at most once, of {', '.join(known)}")
    return tuple(known[name] for name in names)


def fields_of(layout: Layout) -> list[str]:
    """The fields of a candle that a layout needs, each once."""
    return list(dict.fromkeys(column.field for column in layout if column is not FILLED))
