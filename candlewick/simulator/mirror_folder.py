"""A folder of real archive files, as the archive would serve it: zips with their checksums, and a listing."""

import os
from collections import OrderedDict
from collections.abc import Callable
from hashlib import md5, sha256
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from candlewick.clock import Clock
from candlewick.errors import UsageError
from candlewick.simulator.bucket import CHECKSUM, Stored, absent, checksum, listing
from candlewick.simulator.filenames import DAILY_AFTER, MONTHLY_AFTER, FileName, read_key
from candlewick.simulator.query import Params, Reply

_KEPT_BYTES = 256 << 20


_Version = tuple[Path, int, int]
"""A file on disk, its time of change and its size: as long as they stay, so does the content."""


class Folder:
    """Zips as they are, bare CSVs zipped, by key (`data/spot/daily/...`). Files may change and come while it is served."""

    def __init__(self, root: Path, clock: Clock) -> None:
        """`root`: holds `data/`.

        Raises:
            UsageError: it does not.
        """
        if not (root / "data").is_dir():
            raise UsageError(
                f"{root} is no mirror of the archive: it must hold a folder data/, such as data/spot/daily/klines/"
            )
        self._root = root
        self._clock = clock
        self._kept: OrderedDict[_Version, bytes] = OrderedDict()
        self._kept_bytes = 0
        self._digests: dict[tuple[_Version, Callable[[bytes], str]], str] = {}
        self._sizes: dict[_Version, int] = {}

    def file(self, key: str) -> Reply:
        """The zip or the CHECKSUM of this key, or 404."""
        if not self._is_published(key.removesuffix(CHECKSUM)):
            return absent()
        content = self.read(key) if not key.endswith(CHECKSUM) else self._checksum(key)
        if content is None:
            return absent()
        kind = "binary/octet-stream" if key.endswith(CHECKSUM) else "application/zip"
        return Reply(200, content, {"content-type": kind})

    def listing(self, params: Params) -> Reply:
        """A page of the listing of everything published."""
        return listing(params, self._listed, self._stored)

    def keys(self, prefix: str) -> list[str]:
        """Keys of zips that begin with `prefix`, sorted, published or not."""
        top, _, _ = prefix.rpartition("/")
        found: set[str] = set()
        if _leaves(top):
            return []
        for folder, _, names in os.walk(self._root / top):
            inner = Path(folder).relative_to(self._root).as_posix()
            for name in names:
                stem, dot, ending = name.rpartition(".")
                if dot and ending in ("zip", "csv"):
                    found.add(f"{inner}/{stem}.zip")
        return sorted(key for key in found if key.startswith(prefix) and key.startswith("data/"))

    def has(self, top: str) -> bool:
        """Whether there is a folder of this name."""
        return not _leaves(top) and (self._root / top).is_dir()

    def version(self, key: str) -> _Version | None:
        """Which file stands for a zip, and in which state; None where there is none."""
        if _leaves(key):
            return None
        path = self._root / key
        for candidate in (path, path.with_suffix(".csv")):
            if candidate.is_file():
                status = candidate.stat()
                return candidate, status.st_mtime_ns, status.st_size
        return None

    def read(self, key: str) -> bytes | None:
        """The zip of this key; None where there is none."""
        version = self.version(key)
        if version is None:
            return None
        if version in self._kept:
            self._kept.move_to_end(version)
            return self._kept[version]
        content = version[0].read_bytes()
        if version[0].suffix == ".csv":
            content = _zipped(version[0].name, content)
        self._kept[version] = content
        self._kept_bytes += len(content)
        while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped)
        return content

    def _checksum(self, key: str) -> bytes | None:
        """What stands beside the zip, or what would be right."""
        zipped = key.removesuffix(CHECKSUM)
        beside = self._root / key
        if self.version(zipped) is not None and beside.is_file():
            return beside.read_bytes()
        digest = self._digested(zipped, _sha256)
        return None if digest is None else checksum(digest, zipped)

    def _digested(self, key: str, made: Callable[[bytes], str]) -> str | None:
        """What `made` makes of a zip: worked out once for each state of it."""
        version = self.version(key)
        if version is None:
            return None
        if (version, made) not in self._digests:
            content = self.read(key)
            assert content is not None
            self._sizes[version] = len(content)
            self._digests[version, made] = made(content)
        return self._digests[version, made]

    def _stored(self, key: str) -> Stored:
        zipped = key.removesuffix(CHECKSUM)
        version = self.version(zipped)
        etag = self._digested(zipped, _md5)
        assert version is not None
        assert etag is not None
        changed_at = version[1] // 1000
        if key == zipped:
            return Stored(self._sizes[version], changed_at, etag)
        content = self._checksum(key) or b""
        return Stored(len(content), changed_at, _md5(content))

    def _listed(self, prefix: str) -> list[str]:
        return [name for key in self.keys(prefix) if self._is_published(key) for name in (key, f"{key}{CHECKSUM}")]

    def _is_published(self, key: str) -> bool:
        name = read_key(key)
        return name is None or published_at(name) <= self._clock.now()


def published_at(name: FileName) -> int:
    """When a file appears (binance.md 5.6)."""
    return name.span.end + (MONTHLY_AFTER if name.is_monthly else DAILY_AFTER)


def _leaves(key: str) -> bool:
    """Whether a key would lead out of the folder."""
    return not key.isprintable() or ".." in key.split("/") or key.startswith("/")


def _zipped(name: str, content: bytes) -> bytes:
    """A zip of one file that is the same whenever it is made."""
    packed = BytesIO()
    with ZipFile(packed, "w", ZIP_DEFLATED) as archive:
        archive.writestr(ZipInfo(name), content, ZIP_DEFLATED)
    return packed.getvalue()


def _sha256(content: bytes) -> str:
    return sha256(content).hexdigest()


def _md5(content: bytes) -> str:
    return md5(content, usedforsecurity=False).hexdigest()
