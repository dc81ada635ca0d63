"""The truth: every candle of one instrument, as the exchange's REST interface would print it."""

from collections.abc import Iterator

from candlewick.market import DAY, HOUR, MINUTE, Interval, Market, Span
from candlewick.simulator.bars import Bar, Printer, merge
from candlewick.simulator.settings import Listing
from candlewick.simulator.tape import Tape

Row = list[int | str]
_ENDLESS = 1 << 61
_KEPT_ROWS = 200_000


class Candles:
    """Candles of one instrument on one market, of every interval and any time."""

    def __init__(
        self, market: Market, listing: Listing, seed: int, start: int, outages: list[Span], activity: float = 1.0
    ) -> None:
        """`start`: the simulator's; `outages`: spans without trading, in any order."""
        self.listing = listing
        self.listed_at = start - listing.age
        self.printer = Printer(market, listing)
        spans = [Span(0, self.listed_at), *outages]
        if listing.stopped is not None:
            spans.append(Span(start - listing.stopped, _ENDLESS))
        dead = _union(spans)
        self.tape = Tape(listing, seed, self.listed_at, dead, activity)
        # A halt leaves no rows on spot and flat ones on USD-M (binance.md 3.4, 4).
        self._absent = dead if market is Market.SPOT else [dead[0], dead[-1]] if listing.is_removed else dead[:1]
        self._prefix: dict[str, tuple[int, int, Bar | None]] = {}
        self._rows: dict[tuple[str, int], Row] = {}

    def exists(self, interval: Interval, open_time: int) -> bool:
        """Whether the exchange has a candle that opens then."""
        end = interval.next(open_time)
        return not any(span.start <= open_time and end <= span.end for span in self._absent)

    def has_rows(self, span: Span) -> bool:
        """Whether any candle opens in a span."""
        return not any(absent.start <= span.start and span.end <= absent.end for absent in self._absent)

    def has_trades(self, span: Span) -> bool:
        """Whether there may be trades in a span."""
        return not any(dead.start <= span.start and span.end <= dead.end for dead in self.tape.dead)

    def interrupted(self, interval: Interval, open_time: int) -> int | None:
        """When trading stopped in a candle and did not go on before its end, or None."""
        end = interval.next(open_time)
        return next((span.start for span in self._absent if open_time < span.start <= end - 1000 < span.end), None)

    def close_time(self, interval: Interval, open_time: int) -> int:
        """Its close time as printed: early on the last candle before an outage."""
        return self.interrupted(interval, open_time) or interval.close(open_time)

    def bar(self, interval: Interval, open_time: int, until: int) -> Bar | None:
        """What was traded in a candle before `until`."""
        end = min(interval.next(open_time), until)
        if interval.nominal <= MINUTE:
            return self.tape.bar(open_time, end)
        if interval.nominal <= DAY:
            return self.opened_idle(open_time, self.tape.bar(open_time, end))
        # An open month grows by the hour: what is whole is kept.
        whole = end - end % HOUR
        opened, edge, bar = self._prefix.get(interval.code, (0, 0, None))
        if opened != open_time or edge > whole:
            edge, bar = open_time, None
        bar = merge(bar, self.tape.bar(edge, whole))
        self._prefix[interval.code] = (open_time, whole, bar)
        return self.opened_idle(open_time, merge(bar, self.tape.bar(whole, end)))

    def opened_idle(self, open_time: int, bar: Bar | None) -> Bar | None:
        """A bar of more than a minute as its minutes add up: one that begins with idle minutes opens at their price."""
        if bar is None:
            return None
        first = next((span.end for span in self._absent if span.start <= open_time < span.end), open_time)
        first -= first % MINUTE
        if self.tape.next_trade(first, first + MINUTE) is not None:
            return bar
        price = self.tape.last_price(first)
        return bar._replace(open=price, high=max(bar.high, price), low=min(bar.low, price))

    def row(self, interval: Interval, open_time: int, until: int | None = None) -> Row:
        """A candle's REST row: whole, or as it stood at `until`."""
        if until is None or until >= interval.next(open_time):
            key = (interval.code, open_time)
            if key not in self._rows:
                if len(self._rows) >= _KEPT_ROWS:
                    self._rows.clear()
                self._rows[key] = self._print(interval, open_time, interval.next(open_time))
            return self._rows[key]
        return self._print(interval, open_time, until)

    def rows(self, interval: Interval, start: int, end: int) -> list[Row]:
        """Every candle that opens in `[start, end)`, whole, oldest first."""
        return [self.row(interval, time) for time in self.times(interval, start, end)]

    def times(self, interval: Interval, start: int, end: int) -> Iterator[int]:
        """Open times of the candles that open in `[start, end)`, oldest first; years without any cost nothing."""
        time = interval.ceil(max(start, interval.floor(self.listed_at)))
        while time < end:
            after = interval.next(time)
            absent = next((span for span in self._absent if span.start <= time and after <= span.end), None)
            if absent is None:
                yield time
                time = after
            else:
                time = max(after, interval.floor(min(absent.end, end)))

    def _print(self, interval: Interval, open_time: int, until: int) -> Row:
        bar = self.bar(interval, open_time, until)
        printer = self.printer
        close_time = self.close_time(interval, open_time) // 1000
        if bar is None:
            price = printer.price(self.tape.last_price(open_time))
            none, no_amount = printer.quantity(0), printer.amount(0)
            head: Row = [open_time // 1000, price, price, price, price, none, close_time, no_amount]
            return [*head, 0, none, no_amount, "0"]
        return [
            open_time // 1000,
            printer.price(bar.open),
            printer.price(bar.high),
            printer.price(bar.low),
            printer.price(bar.close),
            printer.quantity(bar.lots),
            close_time,
            printer.amount(bar.quote),
            bar.trades,
            printer.quantity(bar.buy_lots),
            printer.amount(bar.buy_quote),
            "0",
        ]


def _union(spans: list[Span]) -> list[Span]:
    """The same time in sorted spans that do not touch."""
    found: list[Span] = []
    for span in sorted(spans):
        if found and span.start <= found[-1].end:
            found[-1] = Span(found[-1].start, max(found[-1].end, span.end))
        elif span.end > span.start:
            found.append(span)
    return found
