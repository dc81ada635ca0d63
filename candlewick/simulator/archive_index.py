"""Which files the simulated archive has, from when on, and what is wrong with each."""

from candlewick.market import SECOND, Span
from candlewick.simulator.archive_rows import expected_rows
from candlewick.simulator.archive_traps import strikes
from candlewick.simulator.bucket import CHECKSUM
from candlewick.simulator.candles import Candles
from candlewick.simulator.exchange import Exchange
from candlewick.simulator.faults import Fault
from candlewick.simulator.filenames import FOLDERS, KINDS, FileName, has_days, read_key, spelled, starts, write_key
from candlewick.simulator.streams import INTERVALS

_PERIODS = ("daily", "monthly")


class Index:
    """The names of everything the archive holds."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._root = FOLDERS[exchange.market]
        self._replaced = [fault for fault in exchange.settings.faults if fault.kind == "replaced_file"]

    def faults(self, key: str) -> list[Fault]:
        """What is wrong with a file at present."""
        return [active.fault for active in self._exchange.trouble.archive if strikes(active.fault, key)]

    def find(self, key: str, faults: list[Fault], behind: int = 0) -> tuple[FileName, Candles] | None:
        """The file of this key if it was published `behind` microseconds ago, or None."""
        name = read_key(key)
        candles = None if name is None else self._exchange.archived.get(name.symbol)
        if name is None or candles is None or name.market is not self._exchange.market:
            return None
        if name.kind == "klines":
            known = any(spelled(code) == name.code for code in INTERVALS[name.market])
            if not known or not (name.is_monthly or has_days(name.code)):
                return None
        has_any = candles.has_rows if name.kind == "klines" else candles.has_trades
        if not self.rows(name) or not has_any(name.span):
            return None
        is_there = self._published_at(name, faults) + behind <= self._exchange.clock.now()
        return (name, candles) if is_there else None

    def rows(self, name: FileName) -> int:
        """About how many rows a file has; 0 where there is none because it would be too large."""
        return expected_rows(name, self._exchange.archived[name.symbol].listing, self._exchange.settings.activity)

    def changed_at(self, key: str, name: FileName, faults: list[Fault]) -> int:
        """When a file was published, or replaced since."""
        begin, now = self._exchange.start, self._exchange.clock.now()
        replaced = [fault.ends(begin) for fault in self._replaced if strikes(fault, key) and fault.ends(begin) <= now]
        return max(self._published_at(name, faults), *replaced, 0)

    def keys(self, prefix: str) -> list[str]:
        """Sorted keys that a prefix may stand for: files of one folder, or far above them the folders."""
        above, _, _ = prefix.rpartition("/")
        parts = f"{above}/".removeprefix(self._root).split("/")[:-1] if prefix.startswith(self._root) else []
        if not parts or parts[0] not in _PERIODS:
            return [f"{self._root}{period}/" for period in _PERIODS]
        is_monthly = parts[0] == "monthly"
        kind = parts[1] if len(parts) > 1 else ""
        if kind not in KINDS:
            return sorted(f"{self._root}{parts[0]}/{kind}/" for kind in KINDS)
        symbol = parts[2] if len(parts) > 2 else ""  # noqa: PLR2004 - below period and kind
        if symbol not in self._exchange.archived:
            return sorted(f"{self._root}{parts[0]}/{kind}/{symbol}/" for symbol in self._exchange.archived)
        if kind != "klines":
            return self._files(is_monthly, kind, symbol, "")
        codes = [spelled(code) for code in INTERVALS[self._exchange.market] if is_monthly or has_days(code)]
        code = parts[3] if len(parts) > 3 else ""  # noqa: PLR2004 - below the symbol
        if code not in codes:
            return sorted(f"{self._root}{parts[0]}/{kind}/{symbol}/{code}/" for code in codes)
        return self._files(is_monthly, kind, symbol, code)

    def _files(self, is_monthly: bool, kind: str, symbol: str, code: str) -> list[str]:
        """Every file there is in one folder, each with its CHECKSUM."""
        exchange, keys = self._exchange, []
        gone = [active for active in exchange.trouble.files if active.fault.kind == "missing_file"]
        gone = [active for active in gone if active.fault.share >= 1]
        for start in starts(Span(exchange.archived[symbol].listed_at, exchange.clock.now()), is_monthly):
            key = write_key(exchange.market, is_monthly, kind, symbol, code, start)
            faults = self.faults(key)
            behind = max((round(fault.delay * SECOND) for fault in faults if fault.kind == "stale_listing"), default=0)
            if self.find(key, faults, behind) is not None:
                names = [key] if any(fault.kind == "no_checksum" for fault in faults) else [key, f"{key}{CHECKSUM}"]
                keys += [name for name in names if not any(active.covers(f"/{name}") for active in gone)]
        return keys

    def _published_at(self, name: FileName, faults: list[Fault]) -> int:
        settings = self._exchange.settings
        late = max((round(fault.delay * SECOND) for fault in faults if fault.kind == "late_file"), default=0)
        return name.span.end + (settings.monthly_after if name.is_monthly else settings.daily_after) + late
