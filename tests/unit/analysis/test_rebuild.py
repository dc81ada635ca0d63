"""Candles rebuilt from columns of trades equal those built trade by trade, and the exchange's own."""

import gzip
import json
import random
from decimal import ROUND_DOWN, Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import astuple

from candlewick.analysis.aggregate import CandleBuilder
from candlewick.analysis.rebuild import rebuild
from candlewick.errors import UsageError
from candlewick.exchanges.exchange import Columns
from candlewick.market import DAY, MINUTE, Candle, Interval, Trade

FIELDS = Candle.__struct_fields__
TYPES = {"price": np.float64, "quantity": np.float64, "buyer_is_maker": np.bool_}


def columns_of(trades: list[Trade]) -> Columns:
    cells = list(zip(*map(astuple, trades), strict=True)) or [()] * len(Trade.__struct_fields__)
    return {
        name: np.array(column, TYPES.get(name, np.int64))
        for name, column in zip(Trade.__struct_fields__, cells, strict=True)
    }


def rows_of(columns: Columns) -> list[Candle]:
    return [Candle(*row) for row in zip(*(columns[name].tolist() for name in FIELDS), strict=True)]


def built(trades: list[Trade], interval: Interval) -> list[Candle]:
    """Every candle by `CandleBuilder`, the first and the last included."""
    builder, candles = CandleBuilder(interval), dict[int, Candle]()
    for one in trades:
        builder.add(one)
        current = builder.current()
        if current is not None:
            candles[current.open_time] = current
    return list(candles.values())


def random_trades(draw: random.Random, price_places: int, quantity_places: int, digits: int = 8) -> list[Trade]:
    """Aggregates with annulled ones among them, times that jump and go back a little, ids that are skipped."""
    trades, raw, base = list[Trade](), 1000, 20_000 * DAY
    for number in range(draw.randrange(1, 300)):
        base += draw.choice([0, 0, 10**6, 10**7, 10**9])
        first = raw + draw.choice([0, 0, 0, 5])
        raw = first + draw.randrange(1, 4)
        price = Decimal(draw.randrange(1, 10**digits)).scaleb(-price_places)
        quantity = Decimal(draw.randrange(1, 10**digits)).scaleb(-quantity_places)
        time = max(base - draw.randrange(1000), base // MINUTE * MINUTE)
        if draw.random() < 0.05:
            trades.append(Trade(number, 0.0, 0.0, time, buyer_is_maker=True, first_id=-1, last_id=-1))
        else:
            trades.append(Trade(number, float(price), float(quantity), time, draw.random() < 0.5, first, raw - 1))
    return trades


@pytest.mark.parametrize(
    ("price_places", "quantity_places", "digits"),
    [(2, 5, 8), (0, 0, 8), (8, 0, 12), (0, 8, 12), (8, 8, 8), (8, 8, 15), (6, 4, 13), (8, 1, 15), (0, 0, 15)],
)
def test_candles_equal_those_built_trade_by_trade(price_places: int, quantity_places: int, digits: int) -> None:
    """For prices and quantities of any size and places, every value of every candle is the builder's."""
    draw = random.Random(price_places * 1000 + quantity_places * 100 + digits)
    for code in ("1m", "1h", "1w", "1M"):
        trades = random_trades(draw, price_places, quantity_places, digits)
        assert rows_of(rebuild(columns_of(trades), Interval(code)).columns) == built(trades, Interval(code))


def test_candles_of_trades_of_every_size_equal_the_builders() -> None:
    """Trades that need Python's integers do so without the others' sums suffering."""
    draw = random.Random(12)
    trades = random_trades(draw, 2, 5)
    for number in range(200):
        size = 10.0 ** draw.choice([-8, 0, 4, 9, 12, 15])
        last = trades[-1]
        raw = 10_000 + number
        trades.append(
            Trade(last.trade_id + 1, size, draw.choice([1e15, 0.1, 3e-8]), last.time + 10**7, False, raw, raw)
        )
    assert rows_of(rebuild(columns_of(trades), Interval("1m")).columns) == built(trades, Interval("1m"))


def test_candles_not_whole_are_left_out() -> None:
    """The first and the last are given only where the trades are known to reach their ends."""
    trades = [Trade(number, 1.0, 1.0, number * MINUTE, False, number, number) for number in range(3)]
    columns = columns_of(trades)
    opens = [
        rebuild(columns, Interval("1m"), first_whole=first, last_whole=last).columns["open_time"].tolist()
        for first, last in ((True, True), (False, True), (True, False), (False, False))
    ]
    assert opens == [[0, MINUTE, 2 * MINUTE], [MINUTE, 2 * MINUTE], [0, MINUTE], [MINUTE]]


def test_candles_of_no_trades_are_none() -> None:
    """Nothing traded, or nothing but annulled trades: no candle, of the right types."""
    annulled = [Trade(1, 0.0, 0.0, 5, True, -1, -1)]
    for trades in ([], annulled):
        made = rebuild(columns_of(trades), Interval("1m")).columns
        assert {name: (len(values), values.dtype.kind) for name, values in made.items()} == {
            name: (0, "i" if name in {"open_time", "close_time", "trades"} else "f") for name in FIELDS
        }


@pytest.mark.parametrize("late", [Trade(5, 1.0, 1.0, 2 * MINUTE, False, 5, 5), Trade(6, 1.0, 1.0, 59, False, 6, 6)])
def test_candles_of_trades_out_of_order_are_refused(late: Trade) -> None:
    """By id or by candle: as the builder refuses them."""
    trades = [Trade(5, 1.0, 1.0, MINUTE, False, 5, 5), late]
    with pytest.raises(UsageError, match="order"):
        built(trades, Interval("1m"))
    with pytest.raises(UsageError, match="order"):
        rebuild(columns_of(trades), Interval("1m"))
    with pytest.raises(UsageError, match="no id"):
        rebuild(columns_of([Trade(1, 1.0, 1.0, 0, False, -1, -1)]), Interval("1m"))


@pytest.mark.parametrize("field", ["price", "quantity", "quote_quantity"])
def test_more_than_eight_decimals_are_refused(field: str) -> None:
    """They are not the exchange's, and where it cut them nobody knows."""
    columns = columns_of([Trade(1, 1.0, 1.0, 0, False, 1, 1)]) | {"quote_quantity": np.array([1.0])}
    columns[field] = np.array([0.123456789])
    with pytest.raises(UsageError, match="eight decimals"):
        rebuild(columns, Interval("1m"))


def test_quote_amounts_a_file_states_are_taken() -> None:
    """Stated amounts are summed as they stand, beside computed ones where a line states none."""
    draw = random.Random(31)
    trades = [
        Trade(number, draw.randrange(1, 10**9) / 10**6, draw.randrange(1, 10**9) / 10**4, number, draw.random() < 0.5, number, number)
        for number in range(500)
    ]  # fmt: skip
    computed = [
        (Decimal(repr(one.price)) * Decimal(repr(one.quantity))).quantize(Decimal("1e-8"), ROUND_DOWN) for one in trades
    ]
    stated = [one + Decimal(draw.randrange(100)).scaleb(-8) for one in computed]
    for share in (0.0, 0.5, 1.0):
        states = [draw.random() < share for _ in trades]
        mixed = [b if states_it else a for a, b, states_it in zip(computed, stated, states, strict=True)]
        column = np.array([float(b) if it else np.nan for b, it in zip(stated, states, strict=True)])
        made = rebuild(columns_of(trades) | {"quote_quantity": column}, Interval("1m")).columns
        assert made["quote_volume"].tolist() == [float(sum(mixed))]
        bought = [amount for amount, one in zip(mixed, trades, strict=True) if not one.buyer_is_maker]
        assert made["taker_buy_quote_volume"].tolist() == [float(sum(bought))]


def test_quote_slack_bounds_what_aggregates_hide() -> None:
    """Raw trades, aggregated, give a quote volume above theirs by no more than the slack; 0 means equal."""
    draw, differing = random.Random(7), 0
    for price_places, quantity_places in [(2, 5), (6, 4), (8, 3), (4, 4), (5, 5)]:
        raw, aggregates, number = list[Trade](), list[Trade](), 0
        for _ in range(400):
            price = draw.randrange(1, 10**8) / 10**price_places
            units, first, maker = 0, number, draw.random() < 0.5
            for _ in range(draw.randrange(1, 5)):
                part = draw.randrange(1, 10**6)
                units += part
                raw.append(Trade(number, price, part / 10**quantity_places, number * 10**5, maker, number, number))
                number += 1
            quantity = units / 10**quantity_places
            aggregates.append(Trade(first, price, quantity, first * 10**5, maker, first, number - 1))
        exact = rebuild(columns_of(raw), Interval("1d"))
        made = rebuild(columns_of(aggregates), Interval("1d"))
        assert exact.quote_slack.tolist() == [0]
        assert (made.quote_slack[0] == 0) == (price_places + quantity_places <= 8)
        for name in FIELDS:
            if name in {"quote_volume", "taker_buy_quote_volume"}:
                above = round((made.columns[name][0] - exact.columns[name][0]) * 10**8)
                assert 0 <= above <= made.quote_slack[0] + 1
                differing += above > 0
            else:
                assert made.columns[name].tolist() == exact.columns[name].tolist(), name
    assert differing


@pytest.mark.data
@pytest.mark.parametrize(("file", "venue"), [("spot", 6), ("usdm", 5)])
def test_recorded_trades_give_the_builders_candles(recordings: Path, file: str, venue: int) -> None:
    """Of the recorded day every candle is the builder's, and every sum that of the decimals in the frames' text."""
    trades, texts = list[Trade](), list[dict[str, Any]]()
    with gzip.open(recordings / "frames" / file / "btcusdt_20230405.dat.gz") as lines:
        for line in lines:
            frame = line.split(b" ", 1)[1]
            if b"@trade" in frame[:40]:
                data = json.loads(frame)["data"]
                texts.append(data)
                trades.append(
                    Trade(
                        data["t"], float(data["p"]), float(data["q"]), data["T"] * 1000, data["m"], data["t"], data["t"]
                    )
                )
    made = rebuild(columns_of(trades), Interval("1m"))
    candles = rows_of(made.columns)
    assert candles == built(trades, Interval("1m"))
    assert len(candles) >= venue
    assert not made.quote_slack.any()
    for candle in candles:
        mine = [one for one in texts if one["T"] // 60_000 * MINUTE == candle.open_time and Decimal(one["q"])]
        bought = [one for one in mine if not one["m"]]
        assert candle.trades == len(mine)
        for some, volume, quote in (
            (mine, candle.volume, candle.quote_volume),
            (bought, candle.taker_buy_volume, candle.taker_buy_quote_volume),
        ):
            assert volume == float(sum(Decimal(one["q"]) for one in some))
            assert quote == float(sum(Decimal(one["p"]) * Decimal(one["q"]) for one in some))
