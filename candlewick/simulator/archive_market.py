"""The archive's files of the simulated market: which there are, from when on, and what they hold."""

from collections import OrderedDict
from hashlib import md5, sha256

from candlewick.market import Market, Span
from candlewick.simulator.archive_rows import MICROSECONDS_SINCE, expected_rows, make_lines, pack
from candlewick.simulator.archive_traps import PAGE, Style, edit, style
from candlewick.simulator.bucket import CHECKSUM, Stored, checksum
from candlewick.simulator.candles import Candles
from candlewick.simulator.exchange import Exchange
from candlewick.simulator.faults import Fault
from candlewick.simulator.filenames import FOLDERS, KINDS, FileName, has_days, read_key, spelled, starts, write_key
from candlewick.simulator.streams import INTERVALS

_PERIODS = ("daily", "monthly")
_KEPT_BYTES = 64 << 20
_PACKED_FILE, _PACKED_ROW = 150, 55  # bytes of a zip and of each row in it, about

_Edition = tuple[str, tuple[Fault, ...]]
"""A file and what is wrong with its content."""


class MarketFiles:
    """A source of files that are made when they are asked for; see `archive.Source`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._root = FOLDERS[exchange.market]
        self._kept: OrderedDict[_Edition, bytes] = OrderedDict()
        self._kept_bytes = 0
        self._sizes: dict[_Edition, int] = {}

    def published_at(self, key: str) -> int | None:
        """See `archive.Source`."""
        found = self._find(key)
        if found is None:
            return None
        name, settings = found[0], self._exchange.settings
        return name.span.end + (settings.monthly_after if name.is_monthly else settings.daily_after)

    def content(self, key: str, faults: tuple[Fault, ...]) -> bytes:
        """See `archive.Source`."""
        edition = (key, faults)
        content = self._kept.get(edition)
        if content is None:
            content = self._make(key, faults)
            self._sizes[edition] = len(content)
            self._kept[edition] = content
            self._kept_bytes += len(content)
            while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1:
                self._kept_bytes -= len(self._kept.popitem(last=False)[1])
        self._kept.move_to_end(edition)
        return content

    def digest(self, key: str, faults: tuple[Fault, ...]) -> str:
        """See `archive.Source`."""
        return sha256(self.content(key, faults)).hexdigest()

    def stored(self, asked: str, faults: tuple[Fault, ...], not_before: int) -> Stored:
        """See `archive.Source`. The ETag is no MD5, as that of an object uploaded in parts."""
        key = asked.removesuffix(CHECKSUM)
        found, published_at = self._find(key), self.published_at(key)
        assert found is not None
        assert published_at is not None
        # To make hundreds of files for their sizes would take a minute: until one was asked for, its size is a guess.
        size = self._sizes.get((key, faults), _PACKED_FILE + self._rows(found[0]) * _PACKED_ROW)
        if asked != key:
            size = len(checksum("0" * 64, key))
        changed_at = max(published_at, not_before)
        return Stored(size, changed_at, f"{md5(f'{asked} {changed_at}'.encode(), usedforsecurity=False).hexdigest()}-1")

    @staticmethod
    def stated(_: str) -> bytes | None:
        """See `archive.Source`."""
        return None

    def keys(self, prefix: str) -> list[str]:
        """See `archive.Source`."""
        above, _, _ = prefix.rpartition("/")
        parts = f"{above}/".removeprefix(self._root).split("/")[:-1] if prefix.startswith(self._root) else []
        if not parts or parts[0] not in _PERIODS:
            return [f"{self._root}{period}/" for period in _PERIODS]
        kind = parts[1] if len(parts) > 1 else ""
        if kind not in KINDS:
            return sorted(f"{self._root}{parts[0]}/{kind}/" for kind in KINDS)
        symbol = parts[2] if len(parts) > 2 else ""  # noqa: PLR2004 - below period and kind
        if symbol not in self._exchange.archived:
            return sorted(f"{self._root}{parts[0]}/{kind}/{symbol}/" for symbol in self._exchange.archived)
        is_monthly = parts[0] == "monthly"
        if kind != "klines":
            return self._files(is_monthly, kind, symbol, "")
        codes = [spelled(code) for code in INTERVALS[self._exchange.market] if is_monthly or has_days(code)]
        code = parts[3] if len(parts) > 3 else ""  # noqa: PLR2004 - below the symbol
        if code not in codes:
            return sorted(f"{self._root}{parts[0]}/{kind}/{symbol}/{code}/" for code in codes)
        return self._files(is_monthly, kind, symbol, code)

    def _files(self, is_monthly: bool, kind: str, symbol: str, code: str) -> list[str]:
        span = Span(self._exchange.archived[symbol].listed_at, self._exchange.clock.now())
        keys = (
            write_key(self._exchange.market, is_monthly, kind, symbol, code, start)
            for start in starts(span, is_monthly)
        )
        return [key for key in keys if self._find(key) is not None]

    def _find(self, key: str) -> tuple[FileName, Candles] | None:
        """What a key names, and whose; None where there is no such file, whatever the time."""
        name = read_key(key)
        candles = None if name is None else self._exchange.archived.get(name.symbol)
        if name is None or candles is None or name.market is not self._exchange.market:
            return None
        if name.kind == "klines":
            known = any(spelled(code) == name.code for code in INTERVALS[name.market])
            if not known or not (name.is_monthly or has_days(name.code)):
                return None
        has_any = candles.has_rows if name.kind == "klines" else candles.has_trades
        return (name, candles) if self._rows(name) and has_any(name.span) else None

    def _rows(self, name: FileName) -> int:
        """About how many rows a file has; 0 where there is none because it would be too large."""
        return expected_rows(name, self._exchange.archived[name.symbol].listing, self._exchange.settings.activity)

    def _make(self, key: str, faults: tuple[Fault, ...]) -> bytes:
        found = self._find(key)
        assert found is not None
        name, candles = found
        if any(fault.kind == "not_a_zip" for fault in faults):
            return PAGE
        spot = name.market is Market.SPOT
        usual = Style(has_header=not spot, is_micro=spot and name.span.start >= MICROSECONDS_SINCE)
        return pack(edit(make_lines(name, candles), faults, key, name), style(faults, usual), key, name.kind)
