"""Candles from columns of trades, millions a second: what `CandleBuilder` gives trade by trade."""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from candlewick.analysis.exact import (
    LARGEST,
    PLACES,
    UNITS,
    Decimals,
    amount_units,
    decimals,
    divided,
    odd_ones,
    to_units,
    whole_sum,
)
from candlewick.analysis.grid import ends, floors, reduced, starts_of
from candlewick.errors import UsageError
from candlewick.exchanges.exchange import Columns
from candlewick.market import Interval

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]


class Rebuilt(NamedTuple):
    """Candles, and how sure their quote volumes are."""

    columns: Columns
    quote_slack: Ints
    """Of each candle, by how many units of 1e-8 its quote volumes may lie above the exchange's own; 0: exact.

    The exchange cuts the amount of each raw trade, so where an aggregate of n of them is cut, up to n - 1 units more
    were lost than one can tell. Nothing is cut where the decimals of the price and of the quantities are at most
    eight together: quantities are multiples of the symbol's step, taken to be of the fewest decimals that hold all.
    """


def rebuild(trades: Columns, interval: Interval, *, first_whole: bool = True, last_whole: bool = True) -> Rebuilt:
    """Candles of trades or aggregates in the order of their ids; where nothing was traded there is none.

    Annulled trades, those without a quantity, are left out. The quote amount of a trade is its `quote_quantity` where
    that is a number, else price times quantity, cut after the eighth decimal.

    Args:
        trades: the fields of `Trade`, and maybe `quote_quantity`.
        interval: of the candles.
        first_whole: whether the trades begin no later than their first candle, as those of a file do; else it is
            left out.
        last_whole: whether they end no earlier than their last candle; else it is left out.

    Raises:
        UsageError: an id or a candle lies before that of the trade before, or a price or quantity has more than
            eight decimals.
    """
    kept = trades["quantity"] != 0
    if not kept.all():
        trades = {name: values[kept] for name, values in trades.items()}
    opens = floors(np.ascontiguousarray(trades["time"], np.int64), interval)
    _require_order(trades, opens)
    starts = starts_of(opens)
    price, quantity = _decimals(trades["price"]), _decimals(trades["quantity"])
    taker = ~trades["buyer_is_maker"].astype(np.bool_, copy=False)
    count = trades["last_id"] - trades["first_id"] + 1
    amounts = _amounts(price, quantity, trades.get("quote_quantity"))
    last = np.append(starts, len(opens))[1:] - 1
    grid = opens[starts]
    columns: Columns = {
        "open_time": grid,
        "open": price.values[starts],
        "high": reduced(np.maximum, price.values, starts),
        "low": reduced(np.minimum, price.values, starts),
        "close": price.values[last],
        "volume": quantity.sums(starts),
        "close_time": ends(grid, interval) - 1000,
        "quote_volume": amounts.sums(starts),
        "trades": reduced(np.add, count, starts),
        "taker_buy_volume": quantity.sums(starts, taker),
        "taker_buy_quote_volume": amounts.sums(starts, taker),
    }
    slack = np.where(amounts.is_sure, 0, count - 1)
    whole = slice(0 if first_whole else 1, None if last_whole else -1)
    return Rebuilt(
        {name: values[whole] for name, values in columns.items()},
        reduced(np.add, slack, starts)[whole],
    )


class _Amounts(NamedTuple):
    """Quote amounts as `integers` of 1e-`places`, but those that are not `sound`: these are for Python to find."""

    price: Floats
    quantity: Floats
    said: Floats | None
    places: int
    integers: Ints
    sound: Mask
    is_sure: Mask
    """Which are what the exchange adds even if they stand for several raw trades."""

    def sums(self, starts: Ints, only: Mask | None = None) -> Floats:
        """The nearest double of the sum of each group."""
        integers = self.integers if only is None else self.integers * only
        totals = divided(integers, starts, self.places)
        wide = 10 ** (PLACES - self.places)
        for group, members, odd in odd_ones(~self.sound if only is None else ~self.sound & only, starts):
            totals[group] = (whole_sum(integers[members]) * wide + sum(map(self.units, odd.tolist()))) / UNITS
        return totals

    def units(self, at: int) -> int:
        """One amount in units of 1e-8."""
        if self.said is not None and not np.isnan(self.said[at]):
            return to_units(float(self.said[at]))
        return amount_units(to_units(float(self.price[at])), to_units(float(self.quantity[at])))


def _amounts(price: Decimals, quantity: Decimals, said: "Floats | None") -> _Amounts:
    """What each trade cost."""
    places = price.places + quantity.places
    rough = price.integers * quantity.integers
    sound = rough < LARGEST
    for part in (price, quantity):
        if part.exact is not None:
            sound &= part.exact
    integers = price.integers.astype(np.int64) * quantity.integers.astype(np.int64)
    # Odd quantities say nothing of the symbol's step.
    is_sure = sound if quantity.exact is None else np.zeros_like(sound)
    if places > PLACES:
        # The exchange cuts the quote amount of each trade after the eighth decimal.
        cut = 10 ** (places - PLACES)
        is_sure = is_sure & (price.integers.astype(np.int64) % cut == 0)
        integers //= cut
        places = PLACES
    if said is not None and not np.isnan(said).all():
        is_said = ~np.isnan(said)
        wide = 10 ** (PLACES - places)
        given = decimals(np.where(is_said, said, 0.0), PLACES)
        _require_eight(given)
        scale = 10 ** (PLACES - given.places)
        sound = np.where(is_said, given.integers * scale < LARGEST, sound & (rough * wide < LARGEST))
        if given.exact is not None:
            sound &= given.exact
        integers = np.where(is_said, given.integers.astype(np.int64) * scale, integers * wide)
        is_sure = is_sure | is_said
        places = PLACES
    integers[~sound] = 0
    return _Amounts(price.values, quantity.values, said, places, integers, sound, is_sure)


def _decimals(values: "NDArray[np.float64]") -> Decimals:
    found = decimals(np.ascontiguousarray(values, np.float64), PLACES)
    _require_eight(found)
    return found


def _require_eight(found: Decimals) -> None:
    if found.exact is not None:
        for value in found.values[~found.exact].tolist():
            to_units(value)


def _require_order(trades: Columns, opens: Ints) -> None:
    first, last = trades["first_id"], trades["last_id"]
    behind = np.flatnonzero((first[1:] <= last[:-1]) | (opens[1:] < opens[:-1]))
    if len(behind):
        at = int(behind[0])
        one, before = int(trades["trade_id"][at + 1]), int(last[at])
        raise UsageError(f"trade {one} comes after {before}: give trades in the order of ids")
    if len(first) and first[0] < 0:
        raise UsageError(f"trade {int(trades['trade_id'][0])} has no id of a raw trade, yet a quantity")
