"""Binance's payloads as they are on the wire; each docstring is one raw payload, from the exchange's documentation.

They are decoded in lax mode, which turns the quoted decimals into the nearest doubles while parsing (and would read a
quoted integer or "nan" too: what is impossible is for the rules of `integrity` to find). Field names are the
exchange's; fields that are not named here are skipped.
"""
# ruff: noqa: D205, D400, D415, E741, N815 - docstrings are raw payloads, field names are the exchange's

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

Int = Annotated[int, Meta(ge=-(2**53), le=2**62)]
"""An integer that fits 64 bits, as microseconds too where it is a time in milliseconds; JSON itself has no bounds."""


class BinanceKlineBody(Struct, frozen=True, gc=False):
    """{"t":1672515780000,"T":1672515839999,"s":"BNBBTC","i":"1m","f":100,"L":200,"o":"0.0010","c":"0.0020",
    "h":"0.0025","l":"0.0015","v":"1000","n":100,"x":false,"q":"1.0000","V":"500","Q":"0.500","B":"123456"}
    """

    t: Int
    T: Int
    i: str
    o: float
    c: float
    h: float
    l: float
    v: float
    n: Int
    x: bool
    q: float
    V: float
    Q: float


class BinanceKline(Struct, frozen=True, gc=False, tag_field="e", tag="kline"):
    """{"e":"kline","E":1672515782136,"s":"BNBBTC","k":{...}}"""

    E: Int
    s: str
    k: BinanceKlineBody


class BinanceTrade(Struct, frozen=True, gc=False, tag_field="e", tag="trade"):
    """{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782136,"m":true,
    "M":true}
    """

    s: str
    t: Int
    p: float
    q: float
    T: Int
    m: bool


class BinanceAggTrade(Struct, frozen=True, gc=False, tag_field="e", tag="aggTrade"):
    """{"e":"aggTrade","E":1672515782136,"s":"BNBBTC","a":12345,"p":"0.001","q":"100","f":100,"l":105,
    "T":1672515782136,"m":true,"M":true}
    """

    s: str
    a: Int
    p: float
    q: float
    f: Int
    l: Int
    T: Int
    m: bool


class BinanceBookTicker(Struct, frozen=True, gc=False, tag_field="e", tag="bookTicker"):
    """{"u":400900217,"s":"BNBUSDT","b":"25.35190000","B":"31.21000000","a":"25.36520000","A":"40.66000000"}

    USD-M adds: "e":"bookTicker","E":1568014460893,"T":1568014460891,"ps":"BNBUSDT","st":1
    """

    u: Int
    s: str
    b: float
    B: float
    a: float
    A: float
    T: Int = 0


class BinanceTicker(Struct, frozen=True, gc=False, tag_field="e", tag="24hrTicker"):
    """{"e":"24hrTicker","E":1672515782136,"s":"BNBBTC","p":"0.0015","P":"250.00","w":"0.0018","x":"0.0009",
    "c":"0.0025","Q":"10","b":"0.0024","B":"10","a":"0.0026","A":"100","o":"0.0010","h":"0.0025","l":"0.0010",
    "v":"10000","q":"18","O":0,"C":86400000,"F":0,"L":18150,"n":18151}
    """

    E: Int
    s: str
    c: float
    o: float
    h: float
    l: float
    v: float
    q: float
    n: Int


class WrappedKline(Struct, frozen=True, gc=False):
    """{"stream":"bnbbtc@kline_1m","data":{"e":"kline",...}}"""

    data: BinanceKline | UnsetType = UNSET


class WrappedTrade(Struct, frozen=True, gc=False):
    """{"stream":"bnbbtc@trade","data":{"e":"trade",...}}"""

    data: BinanceTrade | UnsetType = UNSET


class WrappedAggTrade(Struct, frozen=True, gc=False):
    """{"stream":"bnbbtc@aggTrade","data":{"e":"aggTrade",...}}"""

    data: BinanceAggTrade | UnsetType = UNSET


class WrappedBookTicker(Struct, frozen=True, gc=False):
    """{"stream":"bnbusdt@bookTicker","data":{"u":400900217,...}}"""

    data: BinanceBookTicker | UnsetType = UNSET


class WrappedTicker(Struct, frozen=True, gc=False):
    """{"stream":"bnbbtc@ticker","data":{"e":"24hrTicker",...}}"""

    data: BinanceTicker | UnsetType = UNSET


class WrappedAny(Struct, frozen=True, gc=False):
    """{"stream":"bnbbtc@ticker","data":...}"""

    stream: str = ""


class RestKline(Struct, frozen=True, gc=False, array_like=True):
    """[1499040000000,"0.01634790","0.80000000","0.01575800","0.01577100","148976.11427815",1499644799999,
    "2434.19055334",308,"1756.87402397","28.46694368","0"]
    """

    open_time: Int
    open: float
    high: float
    low: float
    close: float
    volume: float
    close_time: Int
    quote_volume: float
    trades: Int
    taker_buy_volume: float
    taker_buy_quote_volume: float


class RestAggTrade(Struct, frozen=True, gc=False):
    """{"a":26129,"p":"0.01633102","q":"4.70443515","f":27781,"l":27781,"T":1498793709153,"m":true,"M":true}"""

    a: Int
    p: float
    q: float
    f: Int
    l: Int
    T: Int
    m: bool


class RestTrade(Struct, frozen=True, gc=False):
    """{"id":28457,"price":"4.00000100","qty":"12.00000000","quoteQty":"48.000012","time":1499865549590,
    "isBuyerMaker":true,"isBestMatch":true}
    """

    id: Int
    price: float
    qty: float
    time: Int
    isBuyerMaker: bool


class RestTime(Struct, frozen=True, gc=False):
    """{"serverTime":1499827319559}"""

    serverTime: Int


class RestRateLimit(Struct, frozen=True):
    """{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":6000}"""

    rateLimitType: str = ""
    interval: str = ""
    intervalNum: Int = 0
    limit: Int = 0


class RestSymbol(Struct, frozen=True):
    """{"symbol":"ETHBTC","status":"TRADING","baseAsset":"ETH","baseAssetPrecision":8,"quoteAsset":"BTC",...}

    USD-M adds: "pair":"ETHBTC","contractType":"PERPETUAL","onboardDate":1569398400000
    """

    symbol: str
    status: str = ""
    baseAsset: str = ""
    quoteAsset: str = ""
    onboardDate: Int = 0


class RestExchangeInfo(Struct, frozen=True):
    """{"timezone":"UTC","serverTime":1565246363776,"rateLimits":[...],"exchangeFilters":[],"symbols":[...]}"""

    symbols: list[RestSymbol]
    rateLimits: list[RestRateLimit] = []


class RestError(Struct, frozen=True):
    """{"code":-1121,"msg":"Invalid symbol."}"""

    code: Int
    msg: str = ""
