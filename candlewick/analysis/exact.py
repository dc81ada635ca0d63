"""Sums of decimals that were read as doubles: the nearest double of the decimal sum, not of a sum of doubles.

A double stands for the shortest decimal text that reads as it. Nearly every column of an exchange is whole units of
some power of ten: those are summed as integers and divided once. Whatever is not is summed as decimals, one by one.
"""

from collections.abc import Iterable, Iterator
from decimal import Context, Decimal, Inexact, localcontext
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from candlewick.analysis.grid import reduced
from candlewick.errors import UsageError

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]

PLACES = 8
"""The exchange's prices, quantities and quote amounts have at most so many decimals."""

UNITS = 10**8

MOST_PLACES = 15

_EXACT_BELOW = 2.0**25
"""Below it neighbouring doubles are closer than a unit, so a number that is some units exactly is those alone."""

_MOST_UNITS = 2.0**52
"""Up to so many units of any power of ten each is a double of its own: the units that divide back are the text's."""

_DOUBLES = 2.0**53
"""Below it sums of whole numbers are exact in doubles."""

LARGEST = 2.0**62
"""Below it, as a sum of doubles says, a sum surely fits into 64 bits; what overflowed on the way cancels out."""

_POWERS: Floats = np.array([10.0**places for places in range(MOST_PLACES + 1)])

_SAMPLE = 128

# Wide enough for the sum of the largest and the smallest double; a sum that is not exact would raise.
_WIDE = Context(prec=800, traps=[Inexact])


class Decimals(NamedTuple):
    """Values, as whole units of 1e-`places` each; `exact` says of which that holds, None: of all."""

    values: Floats
    places: int
    integers: Floats
    """Zero where it does not hold."""
    exact: Mask | None

    def sums(self, starts: Ints, only: Mask | None = None) -> Floats:
        """The nearest double of the decimal sum of each group; groups begin at `starts`, the first at 0.

        Args:
            starts: indexes, strictly ascending.
            only: the values that count; None: all.
        """
        integers = self.integers if only is None else self.integers * only
        sums = divided(integers, starts, self.places)
        if self.exact is None:
            return sums
        odd = ~self.exact if only is None else ~self.exact & only
        for group, members, of_it in odd_ones(odd, starts):
            sums[group] = _decimal_sum(whole_sum(integers[members]), self.places, self.values[of_it].tolist())
        return sums


def decimals(values: Floats, most: int = MOST_PLACES) -> Decimals:
    """`values` in units of the fewest decimal places, at most `most`, that hold them all, or else most of them.

    Raises:
        UsageError: one is not a finite number.
    """
    if not np.isfinite(values).all():
        raise UsageError("a value that is not a finite number has no decimal sum")
    sample = values[:: max(1, len(values) // _SAMPLE)][:, None]
    misses = (~_scaled(sample, _POWERS[: most + 1])[1]).sum(axis=0)
    places = int(misses.argmin())
    integers, exact = _scaled(values, _POWERS[places])
    if not exact.all():
        # What the sample did not show: as many places as the rest of them needs.
        odd = values[~exact]
        left = [int(np.count_nonzero(~_scaled(odd, power)[1])) for power in _POWERS[: most + 1]]
        more = int(np.argmin(left))
        if left[more] < len(odd):
            other, better = _scaled(values, _POWERS[more])
            if np.count_nonzero(better) > np.count_nonzero(exact):
                places, integers, exact = more, other, better
    if exact.all():
        return Decimals(values, places, integers, None)
    integers[~exact] = 0.0
    return Decimals(values, places, integers, exact)


def sums(values: Floats, starts: Ints) -> Floats:
    """The nearest double of the decimal sum of each group of `values`; groups begin at `starts`, the first at 0.

    Raises:
        UsageError: a value is not a finite number.
    """
    return decimals(values).sums(starts)


def divided(integers: "NDArray[Any]", starts: Ints, places: int) -> Floats:
    """Sums of groups of whole numbers that are not negative, in units of 1e-`places`: the nearest doubles.

    Args:
        integers: int64, or doubles up to 2**53.
        starts: where the groups begin, strictly ascending, the first at 0.
        places: at most 22, so that the power of ten is a double.
    """
    rough = reduced(np.add, integers.astype(np.float64, copy=False), starts)
    quotients: Floats = rough / 10.0**places
    large = np.flatnonzero(rough >= _DOUBLES)
    if len(large):
        whole = integers.astype(np.int64, copy=False)
        exact = np.add.reduceat(whole, starts)[large].tolist()
        edges = np.append(starts, len(whole))
        for at in np.flatnonzero(rough[large] >= LARGEST).tolist():
            exact[at] = whole_sum(whole[edges[large[at]] : edges[large[at] + 1]])
        power = 10**places
        # Python divides integers of any size to the nearest double.
        quotients[large] = [total / power for total in exact]
    return quotients


def whole_sum(integers: "NDArray[Any]") -> int:
    """The sum of at most 2**31 whole numbers, however large it is."""
    high, low = np.divmod(integers.astype(np.int64, copy=False), 1 << 32)
    return (int(high.sum()) << 32) + int(low.sum())


def odd_ones(odd: Mask, starts: Ints) -> Iterator[tuple[int, slice, Ints]]:
    """The groups that have members marked in `odd`: which, its slice, and the indexes of those members."""
    indexes = np.flatnonzero(odd)
    groups = np.searchsorted(starts, indexes, side="right") - 1
    edges = np.append(starts, len(odd))
    for first in np.flatnonzero(np.diff(groups, prepend=-1)).tolist():
        group = int(groups[first])
        end = int(np.searchsorted(groups, group, side="right"))
        yield group, slice(edges[group], edges[group + 1]), indexes[first:end]


def to_units(number: float) -> int:
    """`number` in units of 1e-8: those of the shortest decimal text that reads as this double.

    Raises:
        UsageError: it has more than eight decimals.
    """
    units = round(number * UNITS)
    if number < _EXACT_BELOW and units / UNITS == number:
        return units
    exact = Decimal(repr(number)) * UNITS
    if exact != int(exact):
        raise UsageError(f"{number!r} has more than eight decimals, which no trade of the exchange has")
    return int(exact)


def amount_units(price: int, quantity: int) -> int:
    """The quote amount of one raw trade, all in units of 1e-8: the exchange cuts it after the eighth decimal."""
    return price * quantity // UNITS


def _scaled(values: Floats, power: "np.float64 | Floats") -> tuple[Floats, Mask]:
    """Values in units of 1 / power, and which of them those units are: not negative ones, and no huge ones."""
    with np.errstate(over="ignore"):
        integers = np.rint(values * power)
    exact = integers / power == values
    exact &= integers <= _MOST_UNITS
    exact &= integers >= 0
    return integers, exact


def _decimal_sum(whole: int, places: int, values: Iterable[float]) -> float:
    with localcontext(_WIDE):
        return float(sum((Decimal(repr(value)) for value in values), Decimal(whole).scaleb(-places)))
