"""The public archive: daily and monthly files of candles and trades, their checksums, and the listing (binance.md 5)."""

from collections import OrderedDict
from hashlib import md5, sha256
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from candlewick.market import Market
from candlewick.simulator.archive_index import Index
from candlewick.simulator.archive_rows import HEADERS, MICROSECONDS_SINCE, in_milliseconds, make_lines
from candlewick.simulator.archive_traps import CHANGES, PAGE, Style, edit, style
from candlewick.simulator.bucket import CHECKSUM, Stored, absent, checksum, denied, listing, unavailable
from candlewick.simulator.exchange import Exchange
from candlewick.simulator.faults import Fault
from candlewick.simulator.query import Params, Reply

_KEPT_BYTES = 64 << 20
_PACKED_FILE, _PACKED_ROW = 150, 55  # bytes of a zip and of each row in it, about

_Edition = tuple[str, tuple[Fault, ...]]
"""A file and what is wrong with its content."""


class Archive:
    """Answers GET requests below `/data/`, and listings of them."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._index = Index(exchange)
        self._kept: OrderedDict[_Edition, bytes] = OrderedDict()
        self._kept_bytes = 0
        self._sizes: dict[_Edition, int] = {}

    def file(self, path: str) -> Reply:
        """The file at `/data/...`: a zip, its CHECKSUM, or 404."""
        asked = path.lstrip("/")
        key = asked.removesuffix(CHECKSUM)
        faults = self._index.faults(key)
        kinds = {fault.kind for fault in faults}
        chance = self._chance(path)
        if "denied" in kinds:
            return denied()
        content = None if "missing_file" in chance else self._content(key, faults)
        if content is None:
            return absent()
        if key == asked:
            slow = max((fault.delay for fault in faults if fault.kind == "slow_download"), default=0.0)
            return Reply(200, content, {"content-type": "application/zip"}, spread_s=slow)
        if "no_checksum" in kinds:
            return absent()
        digest = "0" * 64 if "wrong_checksum" in chance else sha256(content).hexdigest()
        named = key.replace(".zip", "-old.zip") if "other_checksum" in kinds else key
        return Reply(200, checksum(digest, named), {"content-type": "text/plain"})

    def listing(self, params: Params) -> Reply:
        """A page of the S3 listing; above the files, folders."""
        kinds = {active.fault.kind for active in self._exchange.trouble.archive if active.covers("/")}
        if "denied" in kinds:
            return denied()
        return unavailable() if "listing_down" in kinds else listing(params, self._index.keys, self._stored)

    def _chance(self, path: str) -> set[str]:
        """What is wrong with this one answer."""
        return {active.fault.kind for active in self._exchange.trouble.files if active.covers(path) and active.hits()}

    def _content(self, key: str, faults: list[Fault]) -> bytes | None:
        """A file as it is at present, or None where there is none."""
        if self._index.find(key, faults) is None:
            return None
        edition = (key, tuple(fault for fault in faults if fault.kind in CHANGES))
        content = self._kept.get(edition)
        if content is None:
            content = self._make(*edition)
            self._sizes[edition] = len(content)
            self._kept[edition] = content
            self._kept_bytes += len(content)
            while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1:
                self._kept_bytes -= len(self._kept.popitem(last=False)[1])
        self._kept.move_to_end(edition)
        return content

    def _make(self, key: str, faults: tuple[Fault, ...]) -> bytes:
        found = self._index.find(key, list(faults))
        assert found is not None
        name, candles = found
        if any(fault.kind == "not_a_zip" for fault in faults):
            return PAGE
        spot = name.market is Market.SPOT
        usual = Style(has_header=not spot, is_micro=spot and name.span.start >= MICROSECONDS_SINCE)
        has_header, is_micro = style(faults, usual)
        lines = edit(make_lines(name, candles), faults, key, name)
        if not is_micro:
            lines = in_milliseconds(lines, name.kind)
        text = f"{HEADERS[name.kind]}\n" if has_header else ""
        text += "".join([",".join(line) + "\n" for line in lines])
        packed = BytesIO()
        with ZipFile(packed, "w") as archive:
            archive.writestr(ZipInfo(key.rpartition("/")[2].replace(".zip", ".csv")), text, ZIP_DEFLATED)
        return packed.getvalue()

    def _stored(self, asked: str) -> Stored:
        """What the listing says of a key. The ETag is no MD5, as that of an object uploaded in parts."""
        key = asked.removesuffix(CHECKSUM)
        faults = self._index.faults(key)
        found = self._index.find(key, faults)
        assert found is not None
        changed_at = self._index.changed_at(key, found[0], faults)
        etag = f"{md5(f'{asked} {changed_at}'.encode(), usedforsecurity=False).hexdigest()}-1"
        if key != asked:
            return Stored(len(checksum("0" * 64, key)), changed_at, etag)
        edition = (key, tuple(fault for fault in faults if fault.kind in CHANGES))
        # To make hundreds of files for their sizes would take a minute: until one was asked for, its size is a guess.
        size = self._sizes.get(edition, _PACKED_FILE + self._index.rows(found[0]) * _PACKED_ROW)
        return Stored(size, changed_at, etag)
