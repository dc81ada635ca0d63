"""Candles made of trades against those the exchange made: equal, differing as trades cannot tell, or different. Pure."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from candlewick.exchanges.exchange import Columns
from candlewick.market import MINUTE, Interval

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

_UNIT = 1e-8
_RELATIVE = 1e-12
_ANY = 1 << 40

FIELDS = (
    "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades", "taker_buy_volume",
    "taker_buy_quote_volume",
)  # fmt: skip


class Edges(NamedTuple):
    """Of each candle the part of an aggregate that may belong to its neighbour: all but the first of its raw trades.

    An aggregate bears the time of its first trade. Ids are in order, so only the last one of a candle can reach beyond.
    """

    raws: Ints
    """How many raw trades; 0 where it is sure."""
    quantity: Floats
    price: Floats
    """NaN: of an aggregate that is not known."""
    taker: Mask
    """Whether the taker bought."""

    @classmethod
    def of(cls, trades: Columns, last: Ints, interval: Interval, near: int) -> Self:
        """Of candles whose last aggregates are at the indexes `last`; sure is what is `near` microseconds from no end."""
        times = trades["time"][last].astype(np.int64)
        left = interval.nominal - (times - interval.ceil(0)) % interval.nominal
        raws = np.where(left <= near, trades["last_id"][last] - trades["first_id"][last], 0)
        quantity = np.where(raws > 0, trades["quantity"][last], 0.0)
        return cls(raws, quantity, trades["price"][last], ~trades["buyer_is_maker"][last].astype(np.bool_))

    @classmethod
    def none(cls, length: int) -> Self:
        """Of candles made of raw trades."""
        return cls(np.zeros(length, np.int64), np.zeros(length), np.zeros(length), np.zeros(length, np.bool_))

    @classmethod
    def unknown(cls) -> Self:
        """Of the candle before the first one, where nothing is known of it."""
        return cls(np.full(1, _ANY), np.full(1, np.inf), np.full(1, np.nan), np.ones(1, np.bool_))

    @classmethod
    def join(cls, parts: "Sequence[Edges]") -> Self:
        """Those of all parts in order."""
        return cls(
            np.concatenate([one.raws for one in parts]), np.concatenate([one.quantity for one in parts]),
            np.concatenate([one.price for one in parts]), np.concatenate([one.taker for one in parts]),
        )  # fmt: skip

    def part(self, which: "slice | Mask | Ints") -> "Edges":
        """Of some of the candles."""
        return Edges(self.raws[which], self.quantity[which], self.price[which], self.taker[which])

    def handed_on(self, opens: Ints, interval: Interval, before: "Edges") -> "Edges":
        """What each candle may get from the one before it; `before`: from the one before the first."""
        moved = Edges.join([before, self.part(slice(0, -1))])
        apart = np.flatnonzero(np.diff(opens) > interval.nominal) + 1
        moved.raws[apart] = 0
        moved.quantity[apart] = 0.0
        return moved


class Candles(NamedTuple):
    """Candles made of trades, and how sure they are."""

    columns: Columns
    slack: Ints
    """See `Rebuilt.quote_slack`."""
    lines: Ints
    """How many trades or aggregates each is made of."""
    first_time: Ints
    """Of the first trade of each,"""
    last_time: Ints
    """and of the last one."""
    previous: Floats
    """The price of the trade before the first one; NaN where it is not known."""
    before: Edges
    after: Edges

    @classmethod
    def join(cls, parts: "Sequence[Candles]") -> Self:
        """Those of all parts in order."""
        columns = {name: np.concatenate([one.columns[name] for one in parts]) for name in parts[0].columns}
        return cls(
            columns, np.concatenate([one.slack for one in parts]), np.concatenate([one.lines for one in parts]),
            np.concatenate([one.first_time for one in parts]), np.concatenate([one.last_time for one in parts]),
            np.concatenate([one.previous for one in parts]), Edges.join([one.before for one in parts]),
            Edges.join([one.after for one in parts]),
        )  # fmt: skip

    def part(self, which: "slice | Mask | Ints") -> "Candles":
        """Some of them."""
        columns = {name: values[which] for name, values in self.columns.items()}
        return Candles(
            columns, self.slack[which], self.lines[which], self.first_time[which], self.last_time[which],
            self.previous[which], self.before.part(which), self.after.part(which),
        )  # fmt: skip

    @property
    def opens_idle(self) -> Mask:
        """Which begin with a minute without trades, so that one made of minutes opens at the price before."""
        idle: Mask = self.first_time - self.columns["open_time"] >= MINUTE
        return idle

    @property
    def is_exact(self) -> Mask:
        """Which have the exchange's own sums to the last bit, as far as trades can tell."""
        exact: Mask = (self.slack == 0) & (self.before.raws == 0) & (self.after.raws == 0)
        return exact


class Versus(NamedTuple):
    """What a comparison came to; masks over the candles."""

    equal: Mask
    within: Mask
    """Different, but not more than trades leave open."""

    @property
    def different(self) -> Mask:
        """Those that trades contradict."""
        return ~(self.equal | self.within)


def versus(made: Candles, held: Columns, *, burns: bool) -> Versus:
    """Hold candles against those of the same open times, in the same order.

    `burns`: whether ids of raw trades may have been used up without a trade, so that an aggregate counts too many.
    """
    mine = made.columns
    same = {name: _bits(mine[name]) == _bits(held[name]) for name in FIELDS}
    equal = np.logical_and.reduce([same[name] for name in FIELDS])
    if equal.all():
        return Versus(equal, np.zeros(len(equal), np.bool_))
    a, b = made.before, made.after
    loose = (a.raws > 0) | (b.raws > 0)
    fine = same["close"] & _prices(made, held, same)
    early = (held["close_time"] < mine["close_time"]) & (held["close_time"] >= made.last_time)
    fine &= same["close_time"] | early
    least = made.lines if burns else mine["trades"]
    trades = held["trades"]
    fine &= (trades <= mine["trades"] + a.raws) & (trades >= np.maximum(least - b.raws, 1))
    for name, quote, taker in (
        ("volume", False, False), ("quote_volume", True, False), ("taker_buy_volume", False, True),
        ("taker_buy_quote_volume", True, True),
    ):  # fmt: skip
        more, less = a.quantity * (a.taker if taker else 1), b.quantity * (b.taker if taker else 1)
        if quote:
            more, less = np.where(more > 0, more * np.nan_to_num(a.price, nan=np.inf), 0), less * b.price
            less = less + made.slack * _UNIT
        room = np.where(loose | (quote & (made.slack > 0)), np.abs(mine[name]) * _RELATIVE + _UNIT, 0.0)
        fine &= (held[name] <= mine[name] + more + room) & (held[name] >= mine[name] - less - room)
    return Versus(equal, fine & ~equal)


def _prices(made: Candles, held: Columns, same: dict[str, Mask]) -> Mask:
    """Whether open, high and low differ by one price at most that may belong to the candle: one of just before it."""
    mine = made.columns
    fine: Mask = same["open"] & same["high"] & same["low"]
    for may, price in ((made.before.raws > 0, made.before.price), (made.opens_idle, made.previous)):
        opens = same["open"] | (held["open"] == price)
        high = same["high"] | (held["high"] == np.fmax(mine["high"], price))
        low = same["low"] | (held["low"] == np.fmin(mine["low"], price))
        fine |= may & ((opens & high & low) | np.isnan(price))
    return fine


def first_difference(made: Candles, held: Columns, at: int) -> tuple[str, Any, Any]:
    """The first column in which candle `at` differs, with both values."""
    for name in FIELDS:
        mine, theirs = made.columns[name][at], held[name][at]
        if mine.tobytes() != theirs.tobytes():
            return name, mine.item(), theirs.item()
    return "", None, None


def _bits(values: "NDArray[Any]") -> Ints:
    return np.ascontiguousarray(values).view(np.int64)
