"""What no candle can be: named rules, checked on whole batches of rows at once.

A row that breaks a rule is not stored; it goes to the quarantine with the rule's name. `docs/validation.md` says why
each rule holds and how wide its tolerance is.
"""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from candlewick.market import DAY, SECOND, Candle, Interval
from candlewick.stores.store import ROW, Rows, Source

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]

CLOCK_TOLERANCE = 2 * SECOND
"""How much earlier than its end, by our clock, a live candle may be called closed by the exchange."""

EARLIEST = 14_247 * DAY
"""2009-01-03, the day of the first block of the first chain: nothing was traded before."""

# The exchange rounds each trade's quote amount to the 8th decimal, so sums may be off by one such unit per trade; and
# sums of doubles by one part in 1e9 at the very worst.
_UNIT = 1e-8
_RELATIVE = 1e-9

_FEW = 12
"""Up to this many rows are checked faster one by one than by starting numpy."""

_AT_ONCE = 4096
"""Rows that are checked together: so much stays in the processor's nearer caches."""

_CANDLE = [name for name in ROW.names or () if name not in {"series", "source"}]


class Broken(Struct, frozen=True):
    """The row at `index` breaks `rule`, the first it breaks in the order of `RULES`."""

    index: int
    rule: str


class Frame(NamedTuple):
    """What a candle is held against besides itself: its grid, and the time at which it must be over."""

    interval: Interval
    now: int

    def end(self, open_time: int) -> int:
        """Where the candle that contains `open_time` ends."""
        return self.interval.next(self.interval.floor(open_time))


class Rule(NamedTuple):
    """A name, what it says in a sentence, and what breaks it."""

    name: str
    sentence: str
    broken: Callable[[Candle, Frame], bool]


RULES: tuple[Rule, ...] = (
    Rule(
        "not-finite",
        "Every number is finite.",
        lambda c, _: not isfinite(
            c.open + c.high + c.low + c.close + c.volume + c.quote_volume + c.taker_buy_volume
            + c.taker_buy_quote_volume
        ),
    ),
    Rule("price-not-positive", "Every price is above zero.", lambda c, _: min(c.open, c.high, c.low, c.close) <= 0),
    Rule("high-not-highest", "High is the highest price.", lambda c, _: c.high < max(c.open, c.low, c.close)),
    Rule("low-not-lowest", "Low is the lowest price.", lambda c, _: c.low > min(c.open, c.close)),
    Rule(
        "negative-volume",
        "No volume is below zero.",
        lambda c, _: min(c.volume, c.quote_volume, c.taker_buy_volume, c.taker_buy_quote_volume) < 0,
    ),
    Rule("negative-trades", "The number of trades is not below zero.", lambda c, _: c.trades < 0),
    Rule(
        "volume-without-trades",
        "Where nothing was traded there is no volume.",
        lambda c, _: c.trades == 0 and (c.volume > 0 or c.quote_volume > 0),
    ),
    Rule(
        "trades-without-volume",
        "Where something was traded there is volume.",
        lambda c, _: c.trades > 0 and c.volume == 0,
    ),
    Rule(
        "idle-not-flat",
        "Where nothing was traded the four prices are one.",
        lambda c, _: c.trades == 0 and c.low != c.high,
    ),
    Rule(
        "taker-above-total",
        "Takers bought no more than was traded, in base and in quote.",
        lambda c, _: (
            c.taker_buy_volume > c.volume * (1 + _RELATIVE)
            or c.taker_buy_quote_volume > c.quote_volume + _slack(c, c.quote_volume)
        ),
    ),
    Rule(
        "quote-outside-prices",
        "The quote volume is what the volume cost at prices between low and high.",
        lambda c, _: _outside(c, c.volume, c.quote_volume),
    ),
    Rule(
        "taker-quote-outside-prices",
        "The takers' quote volume is what their volume cost at prices between low and high.",
        lambda c, _: _outside(c, c.taker_buy_volume, c.taker_buy_quote_volume),
    ),
    Rule("before-time", "It opens no earlier than 2009-01-03.", lambda c, _: c.open_time < EARLIEST),
    Rule("in-future", "It has opened.", lambda c, frame: c.open_time > frame.now),
    Rule(
        "off-grid",
        "It opens where a candle of its interval opens.",
        lambda c, frame: c.open_time != frame.interval.floor(c.open_time),
    ),
    Rule("unfinished", "Its time is over.", lambda c, frame: frame.end(c.open_time) > frame.now),
    Rule(
        "close-outside",
        "It closes no earlier than it opens and before the next candle opens.",
        lambda c, frame: not c.open_time <= c.close_time < frame.end(c.open_time),
    ),
)  # fmt: skip
"""In order: of several broken rules the first one is named, and each may rely on those before it."""


class Grids:
    """The intervals of series, by the store's numbers. Made once and kept: it is looked up for every batch."""

    def __init__(self, intervals: Mapping[int, Interval]) -> None:
        self.intervals: dict[int, Interval] = {}
        # What numpy looks up: length and first open time since the epoch; a length of 0 is for Python to judge.
        self.lengths: Ints = np.zeros(64, np.int64)
        self.origins: Ints = np.zeros(64, np.int64)
        for number, interval in intervals.items():
            self.add(number, interval)

    def add(self, number: int, interval: Interval) -> None:
        """Series `number` is of `interval`."""
        self.intervals[number] = interval
        if number >= self.lengths.size:
            room = np.zeros(number + 1, np.int64)
            self.lengths = np.concatenate([self.lengths, room])
            self.origins = np.concatenate([self.origins, room])
        if interval.is_fixed:
            self.lengths[number] = interval.nominal
            self.origins[number] = interval.ceil(0)


def check(rows: Rows, grids: Grids, now: int, columns: Mapping[str, NDArray[Any]] | None = None) -> list[Broken]:
    """The rows that cannot be, by index; `now` is the exchange's time in microseconds.

    `columns`: the same values column by column, where the caller has them so; it saves copying them out of the rows.

    A row of the live feed was called closed by the exchange and may be up to `CLOCK_TOLERANCE` ahead of `now`. Any
    other row must be over at `now`: a REST page does not say which of its rows is unfinished.

    Raises:
        LookupError: a series is not in `grids`.
    """
    indexes: Sequence[int] = range(rows.size)
    suspects = rows
    if rows.size > _FEW:
        with np.errstate(all="ignore"):
            indexes = _suspects(rows, grids, now, columns)
        suspects = rows[indexes]
    found = []
    for index, (number, source, *values) in zip(indexes, suspects.tolist(), strict=True):
        until = now + CLOCK_TOLERANCE if source == Source.LIVE else now
        rule = broken_rule(Candle(*values), grids.intervals[number], until)
        if rule is not None:
            found.append(Broken(index, rule))
    return found


def _suspects(rows: Rows, grids: Grids, now: int, columns: Mapping[str, NDArray[Any]] | None) -> list[int]:
    """The rows that `RULES` must decide about, by index."""
    found: list[int] = []
    for first in range(0, rows.size, _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        values = None if columns is None else {name: columns[name][part] for name in _CANDLE}
        found += (np.flatnonzero(~_fine(rows[part], grids, now, values)) + first).tolist()
    return found


def broken_rule(candle: Candle, interval: Interval, now: int) -> str | None:
    """The name of the first rule that `candle` breaks, held against the exchange's time `now`; None if it keeps all."""
    frame = Frame(interval, now)
    for name, _, broken in RULES:
        if broken(candle, frame):
            return name
    return None


def _slack(c: Candle, quote: float) -> float:
    return (c.trades + 1) * _UNIT + quote * _RELATIVE


def _outside(c: Candle, volume: float, quote: float) -> bool:
    slack = _slack(c, quote)
    return not c.low * volume - slack <= quote <= c.high * volume + slack


def _fine(rows: Rows, grids: Grids, now: int, columns: Mapping[str, NDArray[Any]] | None = None) -> Mask:
    """Which rows keep every rule without a doubt; `RULES` decides about the others.

    Stricter than `RULES` in places (no tolerance for takers, months never), laxer nowhere. A number that is not one
    makes its comparison false; an infinite volume fails because the quote volume above it must be finite; and where
    the length is 0, no close time lies between open and end.
    """
    series = rows["series"].astype(np.intp)
    # Packed fields lie unaligned; one aligned copy of each pays for itself at once.
    open_time, open_, high, low, close, volume, close_time, quote, trades, taker, taker_quote = (
        np.ascontiguousarray(rows[name]) if columns is None else columns[name] for name in _CANDLE
    )
    lengths = grids.lengths.take(series)
    end = open_time + lengths
    # Exact in doubles for times below 2**53, which those that are over are; and faster than an integer remainder.
    steps = (open_time - grids.origins.take(series)) / lengths
    over: Mask = end <= now
    if not over.all():
        over |= (rows["source"] == int(Source.LIVE)) & (end <= now + CLOCK_TOLERANCE)
    traded = trades > 0
    slack = trades * _UNIT

    fine = over
    fine &= steps == np.rint(steps)
    fine &= open_time >= EARLIEST
    fine &= close_time >= open_time
    fine &= close_time < end
    fine &= np.minimum(open_, close) >= low
    fine &= np.maximum(open_, close) <= high
    fine &= low > 0
    fine &= high < np.inf
    fine &= quote < np.inf
    fine &= taker >= 0
    fine &= taker <= volume
    fine &= taker_quote >= 0
    fine &= taker_quote <= quote
    fine &= traded == (volume > 0)
    fine &= low * volume - slack <= quote
    fine &= high * volume + slack >= quote
    fine &= low * taker - slack <= taker_quote
    fine &= high * taker + slack >= taker_quote
    if not traded.all():
        fine &= traded | ((trades == 0) & (quote == 0) & (low == high))
    return fine
