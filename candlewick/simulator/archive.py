"""The public archive: daily and monthly files of candles with their checksums, and the listing (binance.md 5)."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import BytesIO
from xml.sax.saxutils import escape
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from candlewick.market import DAY, HOUR, Interval, Market
from candlewick.simulator.exchange import Exchange
from candlewick.simulator.query import Reply
from candlewick.simulator.streams import INTERVALS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS_SINCE = 1_735_689_600_000_000  # spot files of data from 2025 on are in microseconds
_PUBLISHED_AFTER = 5 * HOUR  # a day's file appears some hours after its end
_DAILY_UP_TO = DAY
_HEADER = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n"
_PAGE = 1000


class Archive:
    """Answers GET requests below `/data/`, and listings of them."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._files: dict[str, bytes] = {}
        folder = "spot" if exchange.market is Market.SPOT else "futures/um"
        self._root = f"data/{folder}/"

    def file(self, path: str) -> Reply:
        """The file at `/data/...`: a zip, its CHECKSUM, or 404."""
        name = path.lstrip("/")
        key = name.removesuffix(".CHECKSUM")
        content = self._zip(key)
        if content is None:
            return self.absent()
        if key != name:
            digest = sha256(content).hexdigest()
            return Reply(200, f"{digest}  {key.rpartition('/')[2]}\n".encode(), {"content-type": "text/plain"})
        return Reply(200, content, {"content-type": "application/zip"})

    def absent(self) -> Reply:
        """What comes where there is no such file."""
        return _xml(404, "<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>")

    def listing(self, prefix: str, marker: str) -> Reply:
        """A page of the S3 listing of what begins with `prefix` and comes after `marker`; above the files, folders."""
        parts = prefix.removeprefix(self._root).split("/")
        keys: list[str] = []
        folders: list[str] = []
        if not prefix.startswith(self._root):
            folders = [self._root] if self._root.startswith(prefix) else []
        elif len(parts) >= 5:
            keys = self._keys(parts)
        else:
            folders = self._folders(parts)
        found = [key for key in sorted(keys) if key.startswith(prefix) and key > marker]
        page = found[:_PAGE]
        entries = "".join(
            f'<Contents><Key>{escape(key)}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified><ETag>"0"</ETag>'
            "<Size>1</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for key in page
        )
        entries += "".join(
            f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>"
            for folder in folders
            if folder.startswith(prefix) and folder > marker
        )
        more = len(found) > len(page)
        following = f"<NextMarker>{escape(page[-1])}</NextMarker>" if more else ""
        return _xml(
            200,
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>data.binance.vision</Name>'
            f"<Prefix>{escape(prefix)}</Prefix><Marker>{escape(marker)}</Marker>{following}<MaxKeys>{_PAGE}</MaxKeys>"
            f"<Delimiter>/</Delimiter><IsTruncated>{'true' if more else 'false'}</IsTruncated>{entries}</ListBucketResult>",
        )

    def _folders(self, parts: list[str]) -> list[str]:
        """The folders one level below a path such as `daily/klines/`."""
        names: tuple[tuple[str, ...], ...] = (
            ("daily", "monthly"),
            ("klines",),
            tuple(self._exchange.candles),
            tuple(_spelled(code) for code in INTERVALS[self._exchange.market]),
        )
        above = "".join(f"{part}/" for part in parts[:-1])
        return sorted(f"{self._root}{above}{name}/" for name in names[len(parts) - 1])

    def _keys(self, parts: list[str]) -> list[str]:
        """Every file there is in one folder of candles, each with its CHECKSUM."""
        period, kind, symbol, code = parts[:4]
        candles = self._exchange.candles.get(symbol)
        if candles is None or kind != "klines" or period not in ("daily", "monthly"):
            return []
        when = _EPOCH + timedelta(microseconds=candles.listed_at)
        start = datetime(when.year, when.month, when.day if period == "daily" else 1, tzinfo=UTC)
        folder = f"{self._root}{period}/klines/{symbol}/{code}/"
        keys: list[str] = []
        while True:
            label = start.strftime("%Y-%m-%d" if period == "daily" else "%Y-%m")
            key = f"{folder}{symbol}-{code}-{label}.zip"
            if self._span(key) is None:
                return keys
            keys += [key, f"{key}.CHECKSUM"]
            start = start + timedelta(days=1) if period == "daily" else _next_month(start)

    def _span(self, key: str) -> tuple[str, Interval, int, int] | None:
        """Symbol, interval and time of a file, or None where there is no such file, or not yet."""
        parts = key.removeprefix(self._root).split("/")
        if not key.startswith(self._root) or len(parts) != 5 or parts[1] != "klines":
            return None
        period, _, symbol, code, name = parts
        label = name.removeprefix(f"{symbol}-{code}-").removesuffix(".zip")
        interval = next(
            (Interval(known) for known in INTERVALS[self._exchange.market] if _spelled(known) == code), None
        )
        candles = self._exchange.candles.get(symbol)
        try:
            start = datetime.strptime(label, "%Y-%m-%d" if period == "daily" else "%Y-%m").replace(tzinfo=UTC)
        except ValueError:
            return None
        if interval is None or candles is None or (period == "daily" and interval.nominal > _DAILY_UP_TO):
            return None
        end = start + timedelta(days=1) if period == "daily" else _next_month(start)
        begins, ends = ((time - _EPOCH) // timedelta(microseconds=1) for time in (start, end))
        if ends <= candles.listed_at or self._exchange.clock.now() < ends + _PUBLISHED_AFTER:
            return None
        return symbol, interval, begins, ends

    def _zip(self, key: str) -> bytes | None:
        if key not in self._files:
            span = self._span(key)
            if span is None:
                return None
            symbol, interval, start, end = span
            rows = self._exchange.candles[symbol].rows(interval, start, end)
            if not rows:
                return None
            spot = self._exchange.market is Market.SPOT
            text = "" if spot else _HEADER
            scale = spot and start >= _MICROSECONDS_SINCE
            for row in rows:
                if scale:
                    row = [int(row[0]) * 1000, *row[1:6], int(row[6]) * 1000 + 999, *row[7:]]  # noqa: PLW2901 - in this file's unit
                text += ",".join(map(str, row)) + "\n"
            packed = BytesIO()
            with ZipFile(packed, "w", ZIP_DEFLATED) as archive:
                archive.writestr(ZipInfo(key.rpartition("/")[2].replace(".zip", ".csv")), text)
            self._files[key] = packed.getvalue()
        return self._files[key]


def _spelled(code: str) -> str:
    """An interval as the archive spells it."""
    return "1mo" if code == "1M" else code


def _next_month(start: datetime) -> datetime:
    return datetime(start.year + start.month // 12, start.month % 12 + 1, 1, tzinfo=UTC)


def _xml(status: int, body: str) -> Reply:
    return Reply(
        status, f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'.encode(), {"content-type": "application/xml"}
    )
