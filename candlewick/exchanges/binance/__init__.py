"""Binance: spot and USD-M futures."""

from candlewick.exchanges.binance.venue import Binance
from candlewick.exchanges.exchange import Exchange

EXCHANGE: Exchange = Binance()
