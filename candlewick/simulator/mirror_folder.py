"""A folder of real archive files, as the archive would serve it: zips with their checksums, and a listing."""

import os
from collections import OrderedDict
from collections.abc import Callable
from hashlib import md5, sha256
from pathlib import Path

from candlewick.errors import UsageError
from candlewick.simulator.archive_rows import pack, unpack, zipped
from candlewick.simulator.archive_traps import PAGE, edit, style
from candlewick.simulator.bucket import CHECKSUM, Stored, checksum
from candlewick.simulator.faults import Fault
from candlewick.simulator.filenames import DAILY_AFTER, MONTHLY_AFTER, read_key

_KEPT_BYTES = 256 << 20


_Version = tuple[Path, int, int]
"""A file on disk, its time of change and its size: as long as they stay, so does the content."""


class Folder:
    """Zips as they are, bare CSVs zipped, by key (`data/spot/daily/...`); see `archive.Source`.

    Files may change and come while it is served.
    """

    def __init__(self, root: Path) -> None:
        """`root`: holds `data/`.

        Raises:
            UsageError: it does not.
        """
        if not (root / "data").is_dir():
            raise UsageError(
                f"{root} is no mirror of the archive: it must hold a folder data/, such as data/spot/daily/klines/"
            )
        self._root = root
        self._kept: OrderedDict[_Version, bytes] = OrderedDict()
        self._kept_bytes = 0
        self._digests: dict[tuple[_Version, Callable[[bytes], str]], str] = {}
        self._sizes: dict[_Version, int] = {}

    def published_at(self, key: str) -> int | None:
        """See `archive.Source`; a file whose name says no day is there at once."""
        if self.version(key) is None:
            return None
        name = read_key(key)
        return 0 if name is None else name.span.end + (MONTHLY_AFTER if name.is_monthly else DAILY_AFTER)

    def content(self, key: str, faults: tuple[Fault, ...]) -> bytes:
        """See `archive.Source`."""
        content = self.read(key)
        assert content is not None
        name = read_key(key)
        if not faults or name is None:
            return content
        if any(fault.kind == "not_a_zip" for fault in faults):
            return PAGE
        lines, usual = unpack(content, name.kind)
        return pack(edit(lines, faults, key, name), style(faults, usual), key, name.kind)

    def digest(self, key: str, faults: tuple[Fault, ...]) -> str:
        """See `archive.Source`."""
        return _sha256(self.content(key, faults)) if faults else self._digested(key, _sha256)

    def stored(self, asked: str, faults: tuple[Fault, ...], not_before: int) -> Stored:
        """See `archive.Source`."""
        key = asked.removesuffix(CHECKSUM)
        version = self.version(key)
        assert version is not None
        changed_at = max(version[1] // 1000, not_before)
        if not faults and asked == key:
            etag = self._digested(key, _md5)
            return Stored(self._sizes[version], changed_at, etag)
        content = self.content(key, faults)
        if asked != key:
            content = self.stated(key) or checksum(self.digest(key, faults), key)
        return Stored(len(content), changed_at, _md5(content))

    def stated(self, key: str) -> bytes | None:
        """See `archive.Source`: what stands beside the zip."""
        beside = self._root / f"{key}{CHECKSUM}"
        return beside.read_bytes() if beside.is_file() else None

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
            content = zipped(version[0].name, content)
        self._kept[version] = content
        self._kept_bytes += len(content)
        while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped)
        return content

    def _digested(self, key: str, made: Callable[[bytes], str]) -> str:
        """What `made` makes of a zip: worked out once for each state of it."""
        version = self.version(key)
        assert version is not None
        if (version, made) not in self._digests:
            content = self.read(key)
            assert content is not None
            self._sizes[version] = len(content)
            self._digests[version, made] = made(content)
        return self._digests[version, made]


def _leaves(key: str) -> bool:
    """Whether a key would lead out of the folder."""
    return not key.isprintable() or ".." in key.split("/") or key.startswith("/")


def _sha256(content: bytes) -> str:
    return sha256(content).hexdigest()


def _md5(content: bytes) -> str:
    return md5(content, usedforsecurity=False).hexdigest()
