"""The seeded market."""

from collections.abc import Sequence

from candlewick.market import DAY, HOUR, MINUTE, Span, parse_time
from candlewick.simulator.settings import Listing, SimulatorSettings, listings
from candlewick.simulator.tape import Tape

START = parse_time("2026-11-02T10:00:00")
BTC, _, SOL, _, _, WAN, *_ = listings(SimulatorSettings())
LISTED = START - 30 * DAY


def tape(listing: Listing = SOL, seed: int = 1, dead: Sequence[Span] = ()) -> Tape:
    return Tape(listing, seed, LISTED, [Span(0, LISTED), *dead])


def test_tape_is_the_same_for_one_seed_and_another_for_another() -> None:
    """Two tapes of one seed have equal trades, a third seed has others."""
    one, two, other = tape(), tape(), tape(seed=2)
    assert one.trades(START, START + HOUR) == two.trades(START, START + HOUR)
    assert one.trades(START, START + HOUR) != other.trades(START, START + HOUR)


def test_tape_does_not_depend_on_what_was_asked_before() -> None:
    """An hour asked for first equals the same hour after its past was walked through."""
    walked = tape()
    for hour in range(30):
        walked.bar(START - (30 - hour) * HOUR, START - (29 - hour) * HOUR)
    assert walked.trades(START, START + HOUR) == tape().trades(START, START + HOUR)


def test_tape_numbers_trades_consecutively() -> None:
    """Over three days, through hours of different activity, no number is left out and none comes twice."""
    numbers = [trade.number for trade in tape().trades(START - 3 * DAY, START)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert len(numbers) > 10_000


def test_tape_counts_from_one_at_the_listing() -> None:
    """The first trade after the listing has the number 1."""
    assert tape().trades(LISTED, LISTED + HOUR)[0].number == 1


def test_tape_burns_no_numbers_in_an_outage() -> None:
    """The trade after an outage has the number after the one before it, though nothing happened for hours."""
    outage = Span(START + 61_234_000, START + 5 * HOUR + 17 * MINUTE)
    trades = tape(dead=[outage]).trades(START, START + 7 * HOUR)
    assert not [trade for trade in trades if outage.start <= trade.time < outage.end]
    assert [trade.number for trade in trades] == list(range(trades[0].number, trades[0].number + len(trades)))


def test_tape_orders_trades_by_time() -> None:
    """Trades are sorted by time and lie in the span that was asked for."""
    times = [trade.time for trade in tape(BTC).trades(START + 1, START + 2 * HOUR)]
    assert times == sorted(times)
    assert times[0] > START
    assert times[-1] < START + 2 * HOUR


def test_tape_bars_add_up_their_trades() -> None:
    """Minute bars and odd pieces have exactly the prices, sums and numbers of the trades in them."""
    market = tape()
    for start, end in ((START, START + MINUTE), (START + 7_000, START + 91 * MINUTE + 3), (START, START + HOUR)):
        trades, bar = market.trades(start, end), market.bar(start, end)
        assert (bar.open, bar.close) == (trades[0].ticks, trades[-1].ticks)
        assert (bar.high, bar.low) == (max(t.ticks for t in trades), min(t.ticks for t in trades))
        assert bar.lots == sum(t.lots for t in trades)
        assert bar.quote == sum(t.lots * t.ticks for t in trades)
        assert bar.buy_lots == sum(t.lots for t in trades if not t.buyer_is_maker)
        assert bar.buy_quote == sum(t.lots * t.ticks for t in trades if not t.buyer_is_maker)
        assert (bar.first, bar.last) == (trades[0].number, trades[-1].number)


def test_tape_has_lively_and_idle_instruments() -> None:
    """The liquid one trades in every minute of a day, the idle one in few."""
    idle = [minute for hour in range(24) for minute in tape(WAN).minutes(START // HOUR - hour) if minute is None]
    lively = [minute for hour in range(24) for minute in tape(BTC).minutes(START // HOUR - hour) if minute is None]
    assert len(lively) == 0
    assert 1000 < len(idle) < 1440


def test_tape_finds_the_next_trade_and_the_last_price() -> None:
    """The next trade after a time and the price before it are those of the neighbouring trades."""
    market = tape(WAN)
    trades = market.trades(START - 5 * HOUR, START)
    one, two = trades[-2:]
    assert market.next_trade(one.time + 1, START) == two.time
    assert market.next_trade(two.time + 1, START) is None
    assert market.last_price(two.time) == one.ticks


def test_tape_remembers_the_last_price_through_an_outage_of_weeks() -> None:
    """After weeks without a trade the last price is the one before them."""
    outage = Span(START - 20 * DAY, START - HOUR)
    market = tape(dead=[outage])
    before = market.trades(outage.start - HOUR, outage.start)[-1]
    assert market.last_price(outage.end) == before.ticks


def test_tape_tells_where_a_number_is() -> None:
    """A trade's number leads to the hour it happens in."""
    market = tape()
    trade = market.trades(START, START + HOUR)[17]
    assert market.time_of(trade.number) <= trade.time < market.time_of(trade.number) + HOUR
