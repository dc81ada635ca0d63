"""What the simulated exchange is: its market, its symbols, its seed and its troubles."""

from hashlib import blake2b

from msgspec import Struct

from candlewick.market import DAY, HOUR, Market
from candlewick.simulator.faults import Fault
from candlewick.simulator.filenames import DAILY_AFTER, MONTHLY_AFTER

TRADING = "TRADING"
DEFAULT_SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT", "WANUSDT")


class Listing(Struct, frozen=True, kw_only=True):
    """One instrument: how it is traded, and since when.

    `hourly` is the mean number of aggregate trades an hour; `quiet` the share of its minutes without any. `price` is a
    typical price in ticks. `age` and `stopped` are microseconds before the simulator's start: listed so long ago, and
    not traded any more since (None: traded). `is_removed`: USD-M lists it no more, only the archive keeps its candles.
    """

    symbol: str
    base: str
    quote: str = "USDT"
    status: str = TRADING
    price: int
    price_decimals: int
    lot: int
    lot_decimals: int
    hourly: int
    quiet: float = 0.0
    age: int = 400 * DAY
    stopped: int | None = None
    is_removed: bool = False


# Typical trades are `lot` lots; tick and lot decimals together stay below the eight that spot prints.
_KNOWN = {
    listing.symbol: listing
    for listing in (
        Listing(symbol="BTCUSDT", base="BTC", price=6_512_340, price_decimals=2, lot=400, lot_decimals=5, hourly=5400),
        Listing(symbol="ETHUSDT", base="ETH", price=341_250, price_decimals=2, lot=900, lot_decimals=4, hourly=2700),
        Listing(
            symbol="SOLUSDT",
            base="SOL",
            price=15_230,
            price_decimals=2,
            lot=3000,
            lot_decimals=3,
            hourly=900,
            quiet=0.02,
        ),
        Listing(
            symbol="XRPUSDT",
            base="XRP",
            price=23_412,
            price_decimals=4,
            lot=3500,
            lot_decimals=1,
            hourly=400,
            quiet=0.1,
        ),
        # Listed so recently that two days of history reach back beyond its first trade.
        Listing(
            symbol="DOGEUSDT",
            base="DOGE",
            price=21_340,
            price_decimals=5,
            lot=900,
            lot_decimals=0,
            hourly=120,
            quiet=0.3,
            age=30 * HOUR + 17 * 60_000_000,
        ),
        Listing(
            symbol="WANUSDT", base="WAN", price=1_870, price_decimals=4, lot=800, lot_decimals=1, hourly=12, quiet=0.6
        ),
    )
}

# Listed, answering with history, and not traded now (binance.md 3.4, 7); the last status is one no client knows.
NOT_TRADING = (
    Listing(
        symbol="OLDUSDT", base="OLD", status="BREAK", price=120, price_decimals=4, lot=90, lot_decimals=1, hourly=40,
        quiet=0.3, stopped=3 * DAY,
    ),
    Listing(
        symbol="HALTUSDT", base="HALT", status="HALT", price=4_200, price_decimals=4, lot=90, lot_decimals=1, hourly=90,
        quiet=0.3, stopped=HOUR,
    ),
    Listing(
        symbol="CANCELUSDT", base="CANCEL", status="CANCEL_ONLY", price=777, price_decimals=3, lot=50, lot_decimals=1,
        hourly=30, quiet=0.3, stopped=5 * HOUR,
    ),
    Listing(
        symbol="ODDUSDT", base="ODD", status="UNDER_REVIEW", price=31_337, price_decimals=4, lot=50, lot_decimals=1,
        hourly=30, quiet=0.3, stopped=2 * HOUR,
    ),
    Listing(
        symbol="GONEUSDT", base="GONE", status="BREAK", price=2_220, price_decimals=4, lot=50, lot_decimals=1, hourly=20,
        quiet=0.3, stopped=100 * DAY, is_removed=True,
    ),
)  # fmt: skip


class SimulatorSettings(Struct, frozen=True, kw_only=True):
    """How the exchange is set up.

    `start` is market time in microseconds (None: what the clock says when the exchange is made); fault times and ages
    of listings count from it. `activity` multiplies every symbol's trades. `idle_closes` says whether a minute without
    trades gets a closed candle on the WebSocket (None: on spot yes, on USD-M no). `daily_after` and `monthly_after` are
    microseconds from the end of a day or month to the moment its file appears in the archive. `surprises` sprinkles event types
    and fields that no document knows.
    """

    market: Market = Market.SPOT
    symbols: tuple[str, ...] = DEFAULT_SYMBOLS
    seed: int = 1
    start: int | None = None
    activity: float = 1.0
    faults: tuple[Fault, ...] = ()
    idle_closes: bool | None = None
    daily_after: int = DAILY_AFTER
    monthly_after: int = MONTHLY_AFTER
    surprises: bool = True


def listings(settings: SimulatorSettings) -> list[Listing]:
    """Every instrument of the exchange, the ones not traded now last."""
    wanted = [_KNOWN.get(symbol) or _made_up(symbol) for symbol in settings.symbols]
    return wanted + [listing for listing in NOT_TRADING if listing.symbol not in settings.symbols]


def _made_up(symbol: str) -> Listing:
    quote = next(
        (quote for quote in ("USDT", "USDC", "BTC", "ETH", "BNB", "EUR", "TRY") if symbol.endswith(quote)), "USDT"
    )
    draw = int.from_bytes(blake2b(symbol.encode(), digest_size=8).digest(), "big")
    return Listing(
        symbol=symbol,
        base=symbol.removesuffix(quote) or symbol,
        quote=quote,
        price=1_000 + draw % 90_000,
        price_decimals=2 + draw // 7 % 3,
        lot=100 + draw // 11 % 2_000,
        lot_decimals=draw // 13 % 4,
        hourly=20 + draw // 17 % 600,
        quiet=draw // 19 % 4 / 10,
    )
