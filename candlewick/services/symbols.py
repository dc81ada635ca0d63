"""Which symbols to follow: names and patterns against what the exchange lists. Pure."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from candlewick.errors import UnknownSymbol
from candlewick.market import Instrument, Market


def resolve(wanted: Sequence[str], instruments: Sequence[Instrument], market: Market) -> list[str]:
    """The symbols that `wanted` names, each once, in order; a pattern stands for what trades now.

    The exchange acknowledges a subscription to anything, so a name it does not list must be found out here.

    Raises:
        UnknownSymbol: a name is not listed, does not trade now, or a pattern matches nothing.
    """
    listed = {one.symbol: one for one in instruments}
    trading = sorted(one.symbol for one in instruments if one.is_trading)
    found: dict[str, None] = {}
    for want in wanted:
        if any(sign in want for sign in "*?["):
            matches = [symbol for symbol in trading if fnmatchcase(symbol, want)]
            if not matches:
                raise UnknownSymbol(
                    f"SYMBOLS: the pattern {want!r} matches none of the {len(trading)} symbols that trade now"
                )
            found.update(dict.fromkeys(matches))
        elif (one := listed.get(want)) is None:
            from difflib import get_close_matches  # noqa: PLC0415 - only where something is wrong

            near = get_close_matches(want, listed, 3)
            hint = f"; did you mean {', '.join(near)}?" if near else ""
            raise UnknownSymbol(f"SYMBOLS: {want!r} is not listed on {market} of the exchange{hint}")
        elif not one.is_trading:
            raise UnknownSymbol(f"SYMBOLS: {want!r} does not trade now: its status is {one.status}")
        else:
            found[want] = None
    return list(found)
