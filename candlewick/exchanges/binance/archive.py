"""Binance's public archive (https://data.binance.vision) behind the contract of `exchanges/exchange.py`."""

from candlewick.exchanges.binance import archive_files as files
from candlewick.exchanges.binance import archive_listing as listing
from candlewick.exchanges.binance import archive_names as names
from candlewick.exchanges.exchange import ArchiveFile, ArchiveKind, Columns, ListingPage
from candlewick.market import Interval


class BinanceArchive:
    """The files of one market; markets differ in data only: the rows of `archive_names`."""

    url = "https://data.binance.vision"
    list_url = "https://s3-ap-northeast-1.amazonaws.com/data.binance.vision"

    def __init__(self, rules: names.ArchiveRules) -> None:
        self.published_after = rules.published_after
        self._rules = rules

    def month(self, kind: ArchiveKind, symbol: str, interval: Interval | None, time: int) -> ArchiveFile:
        """The file of the calendar month that contains `time`."""
        return names.month_file(self._rules, kind, symbol, interval, time)

    def day(self, kind: ArchiveKind, symbol: str, interval: Interval | None, time: int) -> ArchiveFile | None:
        """The file of the day that contains `time`; None above 1d."""
        return names.day_file(self._rules, kind, symbol, interval, time)

    def parse_name(self, name: str) -> ArchiveFile | None:
        """See `archive_names.parse_name`."""
        return names.parse_name(self._rules, name)

    def checksum_name(self, file: ArchiveFile) -> str:
        """The name of the file that holds its checksum."""
        return names.checksum_name(file)

    def folder(self, kind: ArchiveKind, symbol: str, interval: Interval | None, *, is_monthly: bool) -> str:
        """See `archive_names.folder`."""
        return names.folder(self._rules, kind, symbol, interval, is_monthly=is_monthly)

    def listing_params(self, prefix: str, marker: str) -> tuple[tuple[str, str], ...]:
        """See `archive_listing.listing_params`."""
        return listing.listing_params(prefix, marker)

    def read_listing(self, body: bytes) -> ListingPage:
        """See `archive_listing.read_listing`."""
        return listing.read_listing(body)

    def read_checksum(self, body: bytes, file: ArchiveFile) -> str:
        """See `archive_listing.read_checksum`."""
        return listing.read_checksum(body, file.name.rpartition("/")[2])

    def read_candles(self, body: bytes, file: ArchiveFile) -> Columns:
        """See `archive_files.read_candles`."""
        return files.read_candles(body, names.stem(file))

    def read_trade_columns(self, body: bytes, file: ArchiveFile) -> Columns:
        """See `archive_files.read_trades`."""
        return files.read_trades(body, names.stem(file), file.kind, best_match=self._rules.spot_columns)
