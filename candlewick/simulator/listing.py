"""exchangeInfo: what the exchange lists, with the fields of each market (binance.md 3.3, 4)."""

from candlewick.market import DAY, Market
from candlewick.simulator.candles import Candles
from candlewick.simulator.exchange import Exchange
from candlewick.simulator.settings import TRADING

_ORDERS = ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"]


def exchange_info(exchange: Exchange, wanted: set[str] | None) -> dict[str, object]:
    """The body of exchangeInfo; of all symbols when `wanted` is None."""
    spot = exchange.market is Market.SPOT
    row = _spot if spot else _usdm
    limits: list[dict[str, object]] = [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000 if spot else 2400}
    ]
    if spot:
        limits.append({"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300000})
    else:
        limits.append({"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1200})
    # The futures' serverTime here is stale by hours (data of 2021); whoever wants the time asks for the time.
    now = exchange.clock.now() - (0 if spot else DAY)
    return {
        "timezone": "UTC",
        "serverTime": now // 1000,
        "rateLimits": limits,
        "exchangeFilters": [],
        "symbols": [row(candles) for symbol, candles in exchange.candles.items() if wanted is None or symbol in wanted],
    }


def _filters(candles: Candles) -> list[dict[str, object]]:
    tick, lot = candles.printer.price(1), candles.printer.quantity(1)
    return [
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": candles.printer.price(10**9), "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": candles.printer.quantity(10**9), "stepSize": lot},
    ]


def _spot(candles: Candles) -> dict[str, object]:
    listing = candles.listing
    return {
        "symbol": listing.symbol,
        "status": listing.status,
        "baseAsset": listing.base,
        "baseAssetPrecision": 8,
        "quoteAsset": listing.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": _ORDERS,
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "opoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "amendAllowed": True,
        "pegInstructionsAllowed": True,
        "isSpotTradingAllowed": listing.status == TRADING,
        "isMarginTradingAllowed": False,
        "filters": _filters(candles),
        "permissions": [],
        "permissionSets": [["SPOT", "MARGIN"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT"],
    }


def _usdm(candles: Candles) -> dict[str, object]:
    listing = candles.listing
    status = {"BREAK": "SETTLING", "HALT": "CLOSE", "CANCEL_ONLY": "PENDING_TRADING"}.get(
        listing.status, listing.status
    )
    return {
        "symbol": listing.symbol,
        "pair": listing.symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": 4133404800000,
        "onboardDate": candles.listed_at // 1000,
        "status": status,
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": listing.base,
        "quoteAsset": listing.quote,
        "marginAsset": listing.quote,
        "pricePrecision": listing.price_decimals,
        "quantityPrecision": listing.lot_decimals,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "settlePlan": 0,
        "triggerProtect": "0.0500",
        "filters": _filters(candles),
        "orderTypes": ["LIMIT", "MARKET", "STOP"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
    }
