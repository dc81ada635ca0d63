"""The seeded market: every trade that ever was, as a pure function of seed, symbol and hour.

An hour is made at once, with numpy, and nothing before it is walked through: the number of trades of an hour is fixed
by its place in the day, so that trade numbers are known without counting, and its prices follow a level that is a sum
of noise at several periods. The same seed gives the same market on every machine with the same numpy.
"""

from bisect import bisect_left
from collections import OrderedDict
from functools import cached_property
from hashlib import blake2b
from itertools import accumulate

import numpy as np

from candlewick.market import HOUR, MINUTE, Span
from candlewick.simulator.bars import Bar, Trade, merge
from candlewick.simulator.settings import Listing

_MINUTES = 60
# An hour's share of the day's trades, in 240ths: the early UTC hours are calm, the American ones busy.
_DAY = (8, 7, 6, 6, 7, 8, 9, 9, 10, 10, 10, 11, 12, 14, 15, 14, 13, 12, 11, 11, 10, 9, 9, 9)
_BEFORE = (0, *accumulate(_DAY))
# Periods of the price's noise in minutes, and the share of the price each moves it by at most.
_NOISE = (
    (1, 0.00025), (5, 0.0005), (20, 0.001), (90, 0.002), (400, 0.005), (1440, 0.012), (7 * 1440, 0.04), (30 * 1440, 0.12),
)  # fmt: skip
_KEPT_HOURS = 24


class Tape:
    """The trades of one instrument, and what they add up to.

    `dead` are spans without trading: before it was listed, outages, after it was stopped; sorted and not touching.
    """

    def __init__(self, listing: Listing, seed: int, listed: int, dead: list[Span], activity: float = 1.0) -> None:
        self.listing = listing
        self.dead = dead
        self._key = int.from_bytes(blake2b(f"{seed}/{listing.symbol}".encode(), digest_size=8).digest(), "big") >> 1
        self._daily = [max(1, round(listing.hourly * activity * share / 10)) for share in _DAY]
        self._before = [0, *accumulate(self._daily)]
        self._first_hour = listed // HOUR
        self._origin = self._scheduled(self._first_hour)
        self._hours: OrderedDict[int, _Hour] = OrderedDict()
        self._minutes: dict[int, list[Bar | None]] = {}
        self._whole: dict[int, Bar | None] = {}
        self._removed: dict[int, int] = {}
        self._inside: dict[int, int] = {}
        self._current: _Hour | None = None

    def bar(self, start: int, end: int) -> Bar | None:
        """What the trades in `[start, end)` add up to, or None where there are none."""
        if 0 < end - start <= HOUR - start % HOUR:
            return self._part(start // HOUR, start, end)
        total: Bar | None = None
        while start < end:
            hour = start // HOUR
            edge = min(end, (hour + 1) * HOUR)
            total = merge(total, self._part(hour, start, edge))
            start = edge
        return total

    def _part(self, hour: int, start: int, end: int) -> Bar | None:
        """The bar of a piece of one hour."""
        if end - start == HOUR:
            if hour not in self._whole:
                self._whole[hour] = self._hour(hour).whole()
            return self._whole[hour]
        if start % MINUTE == 0 and end - start == MINUTE:
            return self.minutes(hour)[start // MINUTE % _MINUTES]
        held = self._hour(hour)
        return held.bar(held.index(start), held.index(end))

    def minutes(self, hour: int) -> list[Bar | None]:
        """The sixty minutes of an hour, counted from the epoch; None where nothing was traded."""
        found = self._minutes.get(hour)
        if found is None:
            found = self._minutes[hour] = self._hour(hour).minutes(hour * HOUR)
        return found

    def last_price(self, before: int) -> int:
        """The price of the last trade before a time, in ticks; what it was listed at where there is none."""
        hour = (before - 1) // HOUR
        held = self._hour(hour)
        if index := held.index(before):
            return held.ticks[index - 1]
        while hour > self._first_hour:
            hour -= 1
            dead = next(
                (span for span in self.dead if span.start <= hour * HOUR and (hour + 1) * HOUR <= span.end), None
            )
            if dead is not None:  # not hour by hour through an outage of weeks
                hour = dead.start // HOUR
            held = self._hour(hour)
            if held.ticks:
                return held.ticks[-1]
        return self.listing.price

    def next_trade(self, start: int, end: int) -> int | None:
        """When the first trade in `[start, end)` happens, or None."""
        while start < end:
            hour = start // HOUR
            held = self._hour(hour)
            index = held.index(start)
            if index < len(held.times):
                return held.times[index] if held.times[index] < end else None
            start = (hour + 1) * HOUR
        return None

    def trades(self, start: int, end: int) -> list[Trade]:
        """Every trade in `[start, end)`, oldest first."""
        found: list[Trade] = []
        while start < end:
            hour = start // HOUR
            held = self._hour(hour)
            found += held.trades(held.index(start), held.index(end))
            start = (hour + 1) * HOUR
        return found

    def time_of(self, number: int) -> int:
        """The start of the hour in which the trade with this number happens; a good place to look for it from."""
        low, high = self._first_hour, self._first_hour + 24 * 366 * 20
        while low < high:
            middle = (low + high + 1) // 2
            if self._number(middle) <= number:
                low = middle
            else:
                high = middle - 1
        return low * HOUR

    def _hour(self, hour: int) -> "_Hour":
        current = self._current
        if current is not None and current.hour == hour:
            return current
        found = self._hours.get(hour)
        if found is None:
            found = _Hour(hour, self._number(hour), *self._alive(hour))
            self._hours[hour] = found
            if len(self._hours) > _KEPT_HOURS:
                self._hours.popitem(last=False)
        else:
            self._hours.move_to_end(hour)
        self._current = found
        return found

    def _scheduled(self, hour: int) -> int:
        """How many trades happen before an hour where nothing ever fails, counted from the epoch."""
        day, of_day = divmod(hour, 24)
        return day * self._before[24] + self._before[of_day]

    def _number(self, hour: int) -> int:
        """The number of the first trade at or after the start of an hour; an outage burns no numbers."""
        if hour not in self._removed:
            time = hour * HOUR
            self._removed[hour] = sum(
                self._count(span.start, min(span.end, time)) for span in self.dead if span.start < time
            )
        return self._scheduled(hour) - self._origin - self._removed[hour] + 1

    def _count(self, start: int, end: int) -> int:
        """How many trades would happen in a span if nothing failed; none before the hour it was listed in."""
        start = max(start, self._first_hour * HOUR)
        return self._position(end) - self._position(start) if start < end else 0

    def _position(self, time: int) -> int:
        hour = time // HOUR
        if time % HOUR == 0:
            return self._scheduled(hour)
        if time not in self._inside:  # asked of the same edges for every hour that comes after
            self._inside[time] = int(np.searchsorted(self._made(hour)[0], time))
        return self._scheduled(hour) + self._inside[time]

    def _alive(self, hour: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The trades of an hour that do happen."""
        start, end = hour * HOUR, (hour + 1) * HOUR
        spans = [span for span in self.dead if span.start < end and span.end > start]
        if any(span.start <= start and end <= span.end for span in spans):
            nothing = np.zeros(0, np.int64)
            return nothing, nothing, nothing, nothing
        made = self._made(hour)
        for span in spans:
            alive = (made[0] < span.start) | (made[0] >= span.end)
            made = (made[0][alive], made[1][alive], made[2][alive], made[3][alive])
        return made

    def _made(self, hour: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Times in microseconds, ticks, lots and whether the buyer was the maker, of an hour in which nothing fails."""
        listing = self.listing
        random = np.random.Generator(np.random.PCG64([self._key, hour]))
        count = self._daily[hour % 24]
        weights = random.random(_MINUTES) ** 2 + 0.1
        weights[random.random(_MINUTES) < listing.quiet] = 0.0
        weights[int(random.random() * _MINUTES)] += 0.05  # an hour never is wholly quiet
        places = np.concatenate(([0.0], np.cumsum(weights)))
        when = np.interp(np.sort(random.random(count)) * places[-1], places, np.arange(_MINUTES + 1.0))
        when = np.minimum(when, _MINUTES - 1e-5)
        level = np.interp(when, np.arange(_MINUTES + 1.0), self._level(hour))
        maker = random.random(count) < 0.5
        spread = np.where(maker, -0.5, 0.5) * (1.0 + listing.price * 0.00002)
        ticks = np.maximum(1, np.rint(level + spread + (random.random(count) - 0.5) * listing.price * 0.0001))
        lots = 2 + (listing.lot * -np.log1p(-random.random(count))).astype(np.int64)
        times = hour * HOUR + (when * (MINUTE // 1000)).astype(np.int64) * 1000
        return times, ticks.astype(np.int64), lots, maker

    def _level(self, hour: int) -> np.ndarray:
        """The price in ticks at the 61 minute edges of an hour, before rounding."""
        minute = np.arange(hour * _MINUTES, hour * _MINUTES + _MINUTES + 1)
        moved = np.zeros(_MINUTES + 1)
        for index, (period, share) in enumerate(_NOISE):
            first = hour * _MINUTES // period
            knots = _noise(self._key + index, first, (hour * _MINUTES + _MINUTES) // period + 2 - first)
            moved += share * np.interp(minute / period - first, np.arange(len(knots)), knots)
        return self.listing.price * np.exp(moved)


def _noise(key: int, first: int, count: int) -> np.ndarray:
    """Numbers in [-1, 1) at whole places, each a function of the key and its place alone (splitmix64)."""
    mixed = np.arange(first, first + count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(11)).astype(np.float64) / float(1 << 52) - 1.0


class _Hour:
    """The trades of one hour: as arrays, and as lists of what is looked at trade by trade."""

    def __init__(
        self, hour: int, first: int, times: np.ndarray, ticks: np.ndarray, lots: np.ndarray, maker: np.ndarray
    ) -> None:
        self.hour = hour
        self.first = first
        self._times, self._ticks, self._lots, self._maker = times, ticks, lots, maker
        bought = np.where(maker, 0, lots)
        # Sums before each trade, so that any piece is a difference: lots, quote, bought lots, bought quote.
        self._sums = [_running(values) for values in (lots, ticks * lots, bought, bought * ticks)]

    @cached_property
    def times(self) -> list[int]:
        """When they happen."""
        return _listed(self._times)

    @cached_property
    def ticks(self) -> list[int]:
        """Their prices."""
        return _listed(self._ticks)

    @cached_property
    def _listed_sums(self) -> list[list[int]]:
        return [_listed(sums) for sums in self._sums]

    def index(self, time: int) -> int:
        """How many trades happen before a time."""
        return bisect_left(self.times, time)

    def bar(self, start: int, end: int) -> Bar | None:
        """The bar of the trades at `[start, end)`."""
        if start >= end:
            return None
        prices = self.ticks[start:end]
        lots, quote, buy_lots, buy_quote = self._listed_sums
        return Bar(
            prices[0],
            max(prices),
            min(prices),
            prices[-1],
            lots[end] - lots[start],
            quote[end] - quote[start],
            buy_lots[end] - buy_lots[start],
            buy_quote[end] - buy_quote[start],
            self.first + start,
            self.first + end - 1,
        )

    def whole(self) -> Bar | None:
        """The bar of all of them."""
        count = len(self._ticks)
        return self._bars(np.array([0, count]))[0] if count else None

    def minutes(self, start: int) -> list[Bar | None]:
        """The bars of its sixty minutes."""
        edges = np.searchsorted(self._times, np.arange(start, start + HOUR + 1, MINUTE))
        traded = edges[:-1] < edges[1:]
        bars = iter(self._bars(np.append(edges[:-1][traded], edges[-1])))
        return [next(bars) if any_trade else None for any_trade in traded.tolist()]

    def _bars(self, edges: np.ndarray) -> list[Bar]:
        """The bars between rising edges, none of them empty."""
        if len(edges) < 2:
            return []
        starts, ends = edges[:-1], edges[1:]
        highs, lows = np.maximum.reduceat(self._ticks, starts), np.minimum.reduceat(self._ticks, starts)
        sums = [np.diff(values[edges]).tolist() for values in self._sums]
        opens, closes = self._ticks[starts].tolist(), self._ticks[ends - 1].tolist()
        firsts, lasts = (starts + self.first).tolist(), (ends - 1 + self.first).tolist()
        return list(map(Bar, opens, highs.tolist(), lows.tolist(), closes, *sums, firsts, lasts))

    def trades(self, start: int, end: int) -> list[Trade]:
        """The trades at `[start, end)`."""
        piece = slice(start, end)
        values = (values[piece].tolist() for values in (self._times, self._ticks, self._lots, self._maker))
        return list(map(Trade, range(self.first + start, self.first + end), *values))


def _running(values: np.ndarray) -> np.ndarray:
    sums = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, out=sums[1:])
    return sums


def _listed(values: np.ndarray) -> list[int]:
    found: list[int] = values.tolist()
    return found
