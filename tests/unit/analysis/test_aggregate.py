"""Candles made of trades equal the exchange's own."""

import gzip
import json
import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import astuple

from candlewick.analysis.aggregate import CandleBuilder
from candlewick.analysis.exact import to_units
from candlewick.analysis.rebuild import rebuild
from candlewick.errors import UsageError
from candlewick.exchanges.binance import EXCHANGE
from candlewick.exchanges.exchange import CandleUpdate, StreamKind, TradeUpdate
from candlewick.market import MINUTE, SECOND, Candle, Interval, Market, Trade

DECODERS = EXCHANGE.venues[Market.SPOT].decoders


def trade(number: int, time: int, price: float = 2.0, quantity: float = 3.0, *, maker: bool = False) -> Trade:
    return Trade(number, price, quantity, time, maker, number, number)


def recorded_trades(path: Path) -> Iterator[tuple[Trade, dict[str, Any]]]:
    """Every recorded raw trade, as we read it and as its text says."""
    with gzip.open(path) as lines:
        for line in lines:
            frame = line.split(b" ", 1)[1]
            if b"@trade" in frame[:40]:
                update = DECODERS[StreamKind.TRADE](frame)
                assert isinstance(update, TradeUpdate)
                yield update, json.loads(frame)["data"]


def exact_candle(data: list[dict[str, Any]], open_time: int) -> Candle:
    """A one-minute candle by decimal arithmetic on the text of its trades."""
    prices = [Decimal(one["p"]) for one in data]
    bought = [one for one in data if not one["m"]]

    def volume(some: list[dict[str, Any]]) -> float:
        return float(sum((Decimal(one["q"]) for one in some), Decimal(0)))

    def quote(some: list[dict[str, Any]]) -> float:
        return float(sum((Decimal(one["p"]) * Decimal(one["q"]) for one in some), Decimal(0)))

    ends = float(prices[0]), float(max(prices)), float(min(prices)), float(prices[-1])
    return Candle(
        open_time, *ends, volume(data), open_time + MINUTE - 1000, quote(data), len(data), volume(bought), quote(bought)
    )


def test_builder_gives_out_a_candle_when_the_next_begins() -> None:
    """The candle holds every trade of its minute; the one begun in the middle is not given out."""
    builder = CandleBuilder(Interval("1m"))
    assert builder.current() is None
    assert builder.add(trade(1, 59 * SECOND)) is None
    assert builder.add(trade(2, 60 * SECOND, 5.0, 0.1)) is None
    assert builder.add(trade(3, 61 * SECOND, 4.0, 0.2, maker=True)) is None
    assert builder.add(trade(4, 119 * SECOND, 6.0, 0.3)) is None
    done = builder.add(trade(5, 120 * SECOND))
    assert done == Candle(MINUTE, 5.0, 6.0, 4.0, 6.0, 0.6, 2 * MINUTE - 1000, 3.1, 3, 0.4, 2.3)


def test_builder_makes_no_candle_where_nothing_was_traded() -> None:
    """Empty minutes are for the exchange to tell: it was idle, or it was down."""
    builder = CandleBuilder(Interval("1m"))
    builder.add(trade(1, 0))
    builder.add(trade(2, MINUTE))
    done = builder.add(trade(3, 9 * MINUTE))
    assert done is not None
    assert done.open_time == MINUTE
    current = builder.current()
    assert current is not None
    assert current.open_time == 9 * MINUTE


def test_builder_withholds_the_candle_in_which_trades_were_lost() -> None:
    """After a reset the candle in progress is not whole, the one after it is."""
    builder = CandleBuilder(Interval("1m"))
    given = [builder.add(trade(number, number * MINUTE)) for number in range(3)]
    assert [one is None for one in given] == [True, True, False]
    builder.reset()
    assert builder.add(trade(10, 2 * MINUTE + SECOND)) is None
    assert builder.add(trade(11, 3 * MINUTE)) is None
    done = builder.add(trade(12, 4 * MINUTE))
    assert done is not None
    assert (done.open_time, done.trades) == (3 * MINUTE, 1)


def test_builder_counts_the_trades_of_an_aggregate() -> None:
    """An aggregate stands for as many trades as it names."""
    builder = CandleBuilder(Interval("1m"))
    builder.add(Trade(7, 2.0, 3.0, 0, buyer_is_maker=False, first_id=100, last_id=104))
    current = builder.current()
    assert current is not None
    assert current.trades == 5


def test_builder_leaves_out_annulled_trades() -> None:
    """A trade without a quantity is an annulled one and moves nothing."""
    builder = CandleBuilder(Interval("1m"))
    builder.add(trade(1, 0))
    before = builder.current()
    builder.add(Trade(2, 0.0, 0.0, 0, buyer_is_maker=True, first_id=-1, last_id=-1))
    assert builder.current() == before


@pytest.mark.parametrize("late", [trade(5, 2 * MINUTE), trade(6, MINUTE - 1)])
def test_builder_refuses_trades_out_of_order(late: Trade) -> None:
    """A trade before the last one, by id or by minute, cannot be put into a candle that is gone."""
    builder = CandleBuilder(Interval("1m"))
    builder.add(trade(5, MINUTE))
    with pytest.raises(UsageError, match="order"):
        builder.add(late)


def test_builder_cuts_each_quote_amount_as_the_exchange_does() -> None:
    """What lies beyond the eighth decimal of a trade's quote amount is dropped, not rounded."""
    builder = CandleBuilder(Interval("1m"))
    for number in range(10):
        builder.add(trade(number, number, 0.064362, 0.0158))  # 0.0010169196
    current = builder.current()
    assert current is not None
    assert current.quote_volume == 0.0101691


def test_builder_sums_exactly_where_doubles_drift() -> None:
    """A hundred thousand tenths are ten thousand, though doubles add up to something else."""
    builder = CandleBuilder(Interval("1d"))
    drifted = 0.0
    for number in range(100_000):
        builder.add(trade(number, number, 1.0, 0.1))
        drifted += 0.1
    current = builder.current()
    assert current is not None
    assert current.volume == current.quote_volume == 10_000.0 != drifted


def test_builder_keeps_calendar_months() -> None:
    """A month ends where the calendar says."""
    builder = CandleBuilder(Interval("1M"))
    day = 1440 * MINUTE
    builder.add(trade(1, 0))
    builder.add(trade(2, 31 * day))
    done = builder.add(trade(3, 59 * day))
    assert done is not None
    assert (done.open_time, done.close_time) == (31 * day, 59 * day - 1000)


def test_to_units_recovers_the_decimal_text() -> None:
    """Any number of at most eight decimals and fifteen digits comes back as its units."""
    draw = random.Random(8)
    for _ in range(20_000):
        digits = draw.randrange(1, 16)
        units = draw.randrange(10**digits)
        assert to_units(float(f"{units // 10**8}.{units % 10**8:08d}")) == units
    assert to_units(123456789012.5) == 12345678901250000000
    assert to_units(1e15) == 10**23


def test_to_units_refuses_more_than_eight_decimals() -> None:
    """Such a number did not come from the exchange, and no sum of it would be exact."""
    for number in (1e-9, 0.123456789, 2.0**24 + 2.0**-27):
        with pytest.raises(UsageError, match="eight decimals"):
            to_units(number)


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "candles"), [("spot/btcusdt_20230405.dat.gz", 6), ("usdm/btcusdt_20230405.dat.gz", 5)]
)
def test_builder_equals_decimal_arithmetic_on_recorded_trades(recordings: Path, file: str, candles: int) -> None:
    """All nine values of every whole recorded minute are the nearest doubles of the exact decimals."""
    builder = CandleBuilder(Interval("1m"))
    built, by_minute = [], dict[int, list[dict[str, Any]]]()
    for one, data in recorded_trades(recordings / "frames" / file):
        by_minute.setdefault(data["T"] // 60_000 * MINUTE, []).append(data)
        built.append(builder.add(one))
    whole = [one for one in built if one is not None]
    assert len(whole) == candles
    assert whole == [exact_candle(by_minute[one.open_time], one.open_time) for one in whole]
    assert sum(one.trades for one in whole) > 2000


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "candles"),
    [("spot/cryptofeed-BINANCE.ws.1.0", 1), ("usdm/cryptofeed-BINANCE_FUTURES.ws.1.0", 15)],
)
def test_builder_equals_the_klines_of_the_exchange(recordings: Path, file: str, candles: int) -> None:
    """Every recorded kline whose trades were all recorded too is rebuilt from them, bit for bit, one by one and at once."""
    trades: dict[str, list[Trade]] = {}
    klines: list[tuple[CandleUpdate, int, int]] = []
    for line in (recordings / "frames" / file).read_bytes().splitlines()[1:]:
        frame = line.partition(b": ")[2]
        if b"@aggTrade" in frame[:60]:
            traded = DECODERS[StreamKind.AGG_TRADE](frame)
            assert isinstance(traded, TradeUpdate)
            trades.setdefault(traded.symbol, []).append(traded)
        elif b"@kline" in frame[:60]:
            update = DECODERS[StreamKind.KLINE](frame)
            assert isinstance(update, CandleUpdate)
            k = json.loads(frame)["data"]["k"]
            klines.append((update, k["f"], k["L"]))
    compared = 0
    for update, first_id, last_id in klines:
        mine = [one for one in trades.get(update.symbol, []) if first_id <= one.first_id <= one.last_id <= last_id]
        if not mine or (mine[0].first_id, mine[-1].last_id) != (first_id, last_id):
            continue
        builder = CandleBuilder(Interval(update.interval))
        for one in mine:
            builder.add(one)
        built = builder.current()
        assert built is not None
        assert astuple(built) == astuple(update)[:11]
        columns = {name: np.array([getattr(one, name) for one in mine]) for name in Trade.__struct_fields__}
        rebuilt = rebuild(columns, Interval(update.interval))
        assert tuple(column.item() for column in rebuilt.columns.values()) == astuple(update)[:11]
        assert rebuilt.quote_slack.tolist() == [0]
        compared += 1
    assert compared == candles
