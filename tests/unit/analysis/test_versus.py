"""Holding candles made of trades against the exchange's own: what trades leave open is no difference, all else is."""

import numpy as np
import pytest

from candlewick.analysis.joined import Joiner
from candlewick.analysis.rebuild import rebuild
from candlewick.analysis.versus import FIELDS, Candles, first_difference, versus
from candlewick.exchanges.exchange import Columns
from candlewick.market import DAY, MINUTE, Interval, Span

SPAN = Span(20_000 * DAY, 20_001 * DAY)


def raw_trades(seed: int, count: int, *, decimals: int) -> Columns:
    """Trades in bursts, many around the full minute, some of them at one price and of one side."""
    random = np.random.default_rng(seed)
    edges = SPAN.start + random.integers(1, 1400, count) * MINUTE
    times = np.sort(edges + random.integers(-80_000, 80_000, count))
    price = np.round(100 + np.repeat(random.integers(0, 50, count // 4 + 1), 4)[:count] / 10, decimals)
    ids = np.arange(1, count + 1)
    return {
        "trade_id": ids,
        "price": price,
        "quantity": np.round(random.integers(1, 10**6, count) / 10**5, 5),
        "time": times,
        "buyer_is_maker": np.repeat(random.random(count // 4 + 1) < 0.5, 4)[:count],
        "first_id": ids,
        "last_id": ids,
        "quote_quantity": np.full(count, np.nan),
    }


def aggregated(trades: Columns) -> Columns:
    """Neighbours of one price and side within 100 ms as one, with the time of the first."""
    groups: list[list[int]] = []
    for at in range(len(trades["time"])):
        last = groups[-1] if groups else None
        if (
            last is not None
            and trades["price"][last[0]] == trades["price"][at]
            and trades["buyer_is_maker"][last[0]] == trades["buyer_is_maker"][at]
            and trades["time"][at] - trades["time"][last[0]] <= 100_000
        ):
            last.append(at)
        else:
            groups.append([at])
    first = np.array([one[0] for one in groups])
    return {
        "trade_id": np.arange(1, len(groups) + 1),
        "price": trades["price"][first],
        "quantity": np.array([round(float(trades["quantity"][one].sum()), 5) for one in groups]),
        "time": trades["time"][first],
        "buyer_is_maker": trades["buyer_is_maker"][first],
        "first_id": first + 1,
        "last_id": np.array([one[-1] + 1 for one in groups]),
        "quote_quantity": np.full(len(groups), np.nan),
    }


def made_of(trades: Columns, interval: Interval, *, aggregates: bool) -> Candles:
    joiner = Joiner([interval], aggregates=aggregates)
    joiner.take(joiner.judge(trades, SPAN))
    finished = joiner.finish(is_proved=True)
    assert finished is not None
    return Candles.join(finished.piece.candles[interval])


def common(made: Candles, held: Columns) -> tuple[Candles, Columns]:
    """The candles that both have."""
    _, here, there = np.intersect1d(made.columns["open_time"], held["open_time"], return_indices=True)
    return made.part(here), {name: values[there] for name, values in held.items()}


@pytest.mark.parametrize("code", ["1m", "5m"])
@pytest.mark.parametrize("seed", range(3))
def test_aggregates_differ_from_raw_trades_only_at_their_edges(code: str, seed: int) -> None:
    """Aggregates that reach over the minute make other candles than their raw trades: within what they leave open."""
    interval = Interval(code)
    trades = raw_trades(seed, 4000, decimals=1)
    made, held = common(made_of(aggregated(trades), interval, aggregates=True), rebuild(trades, interval).columns)
    found = versus(made, held, burns=False)
    assert not found.different.any()
    assert found.equal.sum() > 20
    assert found.within.sum() > 20
    assert not (found.within & made.is_exact & ~made.opens_idle).any()


@pytest.mark.parametrize("field", FIELDS)
def test_one_value_that_trades_contradict_is_different(field: str) -> None:
    """A candle of raw trades that differs in the last bit of any value is different, and the value is named."""
    interval = Interval("1m")
    trades = raw_trades(9, 500, decimals=1)
    made = made_of(trades, interval, aggregates=False)
    held = {name: values.copy() for name, values in made.columns.items()}
    assert versus(made, held, burns=False).equal.all()
    values = held[field]
    values[7] = values[7] + 1000 if values.dtype == np.int64 else np.nextafter(values[7], np.inf)
    found = versus(made, held, burns=False)
    assert np.flatnonzero(found.different).tolist() == [7]
    assert first_difference(made, held, 7) == (field, made.columns[field][7].item(), values[7].item())
    assert first_difference(made, held, 6) == ("", None, None)


@pytest.mark.parametrize("field", ["volume", "quote_volume", "trades", "close", "high", "taker_buy_volume"])
def test_aggregates_do_not_excuse_everything(field: str) -> None:
    """Beyond what the aggregates at its ends hold a candle is different."""
    interval = Interval("1m")
    made = made_of(aggregated(raw_trades(3, 2000, decimals=1)), interval, aggregates=True)
    held = {name: values.copy() for name, values in made.columns.items()}
    at = int(np.flatnonzero(~made.is_exact)[5])
    held[field][at] = held[field][at] * 3 + 50
    assert np.flatnonzero(versus(made, held, burns=False).different).tolist() == [at]


def test_early_close_is_within() -> None:
    """The last candle before an outage closes early, after its last trade: trades cannot tell."""
    made = made_of(raw_trades(1, 500, decimals=1), Interval("1m"), aggregates=False)
    held = {name: values.copy() for name, values in made.columns.items()}
    held["close_time"][4] = made.last_time[4] + 1000 - made.last_time[4] % 1000
    held["close_time"][5] = made.first_time[5] - 1000
    found = versus(made, held, burns=False)
    assert (np.flatnonzero(found.within).tolist(), np.flatnonzero(found.different).tolist()) == ([4], [5])


def test_cut_amounts_are_within_their_slack() -> None:
    """Where amounts of raw trades were cut, an aggregate's lies above their sum by its slack at most."""
    interval = Interval("1h")
    trades = raw_trades(2, 3000, decimals=1)
    trades["price"] = np.round(trades["price"] + 0.000001, 6)
    trades["time"] = SPAN.start + 5 * MINUTE + np.arange(3000) * 20_000
    made, held = common(made_of(aggregated(trades), interval, aggregates=True), rebuild(trades, interval).columns)
    assert made.slack.tolist() != [0]
    assert versus(made, held, burns=False).within.tolist() == [True]
    held["quote_volume"] -= 2e-8 * made.slack
    assert versus(made, held, burns=False).different.tolist() == [True]


def test_longer_candle_may_open_at_the_price_before() -> None:
    """An hour that begins with an idle minute may open at the last price, as one made of minutes does."""
    trades = raw_trades(1, 6, decimals=1)
    trades["time"] = SPAN.start + np.array([0, 10, 70, 80, 121, 122]) * MINUTE
    trades["price"] = np.array([5.0, 6.0, 8.0, 9.0, 7.0, 7.5])
    made = made_of(trades, Interval("1h"), aggregates=False)
    held = {name: values.copy() for name, values in made.columns.items()}
    held["open"][1:] = [6.0, 9.0]
    held["low"][1], held["high"][2] = 6.0, 9.0
    found = versus(made, held, burns=False)
    assert (found.equal.tolist(), found.within.tolist()) == ([True, False, False], [False, True, True])
    held["open"][2] = 8.5
    assert versus(made, held, burns=False).different.tolist() == [False, False, True]


def test_burnt_ids_may_count_too_many_trades() -> None:
    """Where ids are used up without a trade, an aggregate may count more than there were; else that is a difference."""
    made = made_of(aggregated(raw_trades(3, 2000, decimals=1)), Interval("1h"), aggregates=True)
    at = int(np.flatnonzero(made.is_exact & (made.columns["trades"] > made.lines))[0])
    held = {name: values.copy() for name, values in made.columns.items()}
    held["trades"][at] -= 1
    assert versus(made, held, burns=True).within[at]
    assert versus(made, held, burns=False).different[at]
