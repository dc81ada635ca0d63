"""Arguments that several commands share, and the settings they make."""

import argparse
from collections.abc import Iterable
from typing import NamedTuple

from candlewick import config
from candlewick.config import Settings
from candlewick.errors import UsageError
from candlewick.market import Interval, Market, Series, normal_symbol, parse_time

FOLLOW = ("market", "symbols", "intervals", "store", "host", "port")
"""Options of `run` that override a setting, by the words of the command line."""
_FIELDS = {"host": "http_host", "port": "feeder_port"}
_METAVARS = {"market": "M", "symbols": "LIST", "intervals": "LIST", "store": "URL", "host": "HOST", "port": "N"}


def add_overrides(parser: argparse.ArgumentParser, names: Iterable[str]) -> None:
    """Options that override the setting of the same meaning, with its own description."""
    rows = {row.field: row for row in config.ROWS}
    for name in names:
        row = rows[_FIELDS.get(name, name)]
        parser.add_argument(f"--{name}", metavar=_METAVARS[name], help=f"{row.about.meaning} ({row.name})")


def add_series(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """SYMBOL and INTERVAL, `--market` and `--store`."""
    nargs = None if required else "?"
    parser.add_argument("symbol", metavar="SYMBOL", nargs=nargs, help="such as BTCUSDT, btcusdt or BTC/USDT")
    parser.add_argument("interval", metavar="INTERVAL", nargs=nargs, help="such as 1m or 1h")
    add_overrides(parser, ("market", "store"))


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings, overridden by the options that were given.

    Raises:
        ConfigError: as `config.load` says.
    """
    return loaded_of(args).settings


def loaded_of(args: argparse.Namespace) -> config.Loaded:
    """The settings and their origins."""
    options = {_FIELDS.get(name, name): getattr(args, name, None) for name in FOLLOW}
    return config.load(args.config, options)


class Choice(NamedTuple):
    """Which series a command is about: what is None stands for all."""

    market: Market | None
    symbol: str | None
    interval: Interval | None

    def fits(self, series: Series) -> bool:
        """Whether a series is meant."""
        return (
            self.market in (None, series.market)
            and self.symbol in (None, series.symbol)
            and self.interval in (None, series.interval)
        )

    def __str__(self) -> str:
        return ":".join(str(one) if one is not None else "*" for one in self)


def choice_of(args: argparse.Namespace, settings: Settings) -> Choice:
    """The series that SYMBOL, INTERVAL and `--market` name; without a symbol, of every market."""
    interval = None if args.interval is None else Interval(args.interval)
    symbol = None if args.symbol is None else normal_symbol(args.symbol)
    market = settings.market if symbol is not None or args.market is not None else None
    return Choice(market, symbol, interval)


def time_of(text: str | None, option: str) -> int | None:
    """Microseconds UTC of an option, None where it was not given.

    Raises:
        UsageError: it is no time; names the option.
    """
    if text is None:
        return None
    try:
        return parse_time(text)
    except UsageError as error:
        raise UsageError(f"{option}: {error}") from None
