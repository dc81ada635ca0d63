"""REST's part of rebuilding candles: trades that files skip, and those before the first and after the last one."""

from typing import NamedTuple

import numpy as np

from candlewick.errors import ExchangeError, UsageError
from candlewick.exchanges.exchange import ArchiveKind, Columns
from candlewick.history.budget import HISTORY
from candlewick.history.client import RestClient
from candlewick.market import Trade

PAGE = 1000
MOST = 20_000
"""Trades of one hole that are asked for; of the busiest symbols a minute or two."""
FAILURES = 3
"""So many requests in a row that fail, and it is not asked again: USD-M for one refuses ids of more than two days ago."""
MOST_PAGES = 60
"""Pages of one file: what lacks more is for its publisher to mend."""


class Neighbour(NamedTuple):
    """What REST has at one end of a file."""

    lacking: "Columns | None"
    """Trades of the file's time that the file has not, None where there are none."""
    beyond: "Columns | None"
    """The trade before the first one, or after the last one; None where it cannot be had."""


class TradeRest:
    """Trades of one symbol by their ids; says nothing rather than fail: files can do without it."""

    def __init__(self, client: RestClient, kind: ArchiveKind, symbol: str) -> None:
        self._client, self._kind, self._symbol = client, kind, symbol
        self.requests = 0
        self.trades = 0
        """Taken from it."""
        self.trouble = ""
        """Why it is not asked any more, or nothing."""
        self._failures = 0

    async def fill(self, holes: list[tuple[int, int]]) -> "Columns | None":
        """Those trades of holes that it has; nothing of holes that are too long."""
        found: list[Trade] = []
        known: dict[int, Trade] = {}
        pages = covered = 0
        for number, (low, high) in enumerate(holes):
            at = low
            while at < high <= low + MOST:
                if at >= covered:
                    if pages == MOST_PAGES:
                        break
                    pages += 1
                    # Holes near each other share a page.
                    last = max(end for start, end in holes[number : number + PAGE] if start < at + PAGE)
                    known = {one.trade_id: one for one in await self._page(at, min(PAGE, last - at))}
                    if not known:
                        break
                    covered = max(known) + 1
                found += [known[one] for one in range(at, min(high, covered)) if one in known]
                at = max(at + 1, min(high, covered))
        self.trades += len(found)
        return columns_of(found) if found else None

    async def before(self, first_id: int, start: int) -> Neighbour:
        """The trade before a file's first one, and those between if the file begins late. `start`: of the file."""
        lacking: list[Trade] = []
        low = first_id
        while low > 0 and len(lacking) < MOST:
            count = 1 if low == first_id else PAGE
            asked = max(0, low - count)
            page = [one for one in await self._page(asked, low - asked) if one.trade_id < low]
            if not page or page[-1].trade_id != low - 1:
                break
            inside = [one for one in page if one.time >= start]
            lacking = inside + lacking
            if len(inside) < len(page):
                return self._neighbour(lacking, page[len(page) - len(inside) - 1])
            low = page[0].trade_id
        return Neighbour(None, None)

    async def after(self, last_id: int, end: int) -> Neighbour:
        """The trade after a file's last one, and those between if the file ends early. `end`: of the file."""
        lacking: list[Trade] = []
        high = last_id
        while len(lacking) < MOST:
            page = [one for one in await self._page(high + 1, 1 if high == last_id else PAGE) if one.trade_id > high]
            if not page or page[0].trade_id != high + 1:
                break
            for one in page:
                if one.time >= end:
                    return self._neighbour(lacking, one)
                lacking.append(one)
            high = page[-1].trade_id
        return Neighbour(None, None)

    def _neighbour(self, lacking: list[Trade], beyond: Trade) -> Neighbour:
        self.trades += len(lacking)
        return Neighbour(columns_of(lacking) if lacking else None, columns_of([beyond]))

    async def agrees(self, columns: Columns) -> bool:
        """Whether the first and the last page of a file's trades, which are in order, are REST's too."""
        ids = columns["trade_id"]
        for start in sorted({0, max(0, len(ids) - PAGE)}):
            part = {name: values[start : start + PAGE] for name, values in columns.items()}
            theirs = {one.trade_id: one for one in await self._page(int(part["trade_id"][0]))}
            for at, number in enumerate(part["trade_id"].tolist()):
                one = theirs.get(number)
                if one is None or (one.price, one.quantity, one.buyer_is_maker, one.time // 1000, one.last_id) != (
                    part["price"][at], part["quantity"][at], part["buyer_is_maker"][at], part["time"][at] // 1000,
                    part["last_id"][at],
                ):  # fmt: skip
                    return False
        return len(ids) > 0

    async def _page(self, from_id: int, limit: int = PAGE) -> list[Trade]:
        if self.trouble:
            return []
        ask = self._client.agg_trades if self._kind is ArchiveKind.AGG_TRADES else self._client.trades
        try:
            self.requests += 1
            page = await ask(self._symbol, from_id, limit, HISTORY)
        except (ExchangeError, UsageError) as error:
            self._failures += 1
            if self._failures >= FAILURES or isinstance(error, UsageError):
                self.trouble = str(error)
            return []
        self._failures = 0
        return sorted(page, key=lambda one: one.trade_id)


def columns_of(trades: list[Trade]) -> Columns:
    """Trades of REST as a file has them; by id."""
    trades = sorted(trades, key=lambda one: one.trade_id)
    integers = {name: np.array([getattr(one, name) for one in trades], np.int64) for name in (
        "trade_id", "time", "first_id", "last_id")}  # fmt: skip
    floats = {name: np.array([getattr(one, name) for one in trades], np.float64) for name in ("price", "quantity")}
    side = np.array([one.buyer_is_maker for one in trades], np.bool_)
    return {**integers, **floats, "buyer_is_maker": side, "quote_quantity": np.full(len(trades), np.nan)}
