"""The public archive: files and their checksums, the listing, and all that is wrong there at present (binance.md 5)."""

from collections.abc import Sequence
from typing import Protocol

from candlewick.clock import Clock
from candlewick.market import SECOND
from candlewick.simulator.archive_traps import CHANGES, strikes
from candlewick.simulator.bucket import CHECKSUM, Stored, absent, checksum, denied, listing, unavailable
from candlewick.simulator.faults import Fault
from candlewick.simulator.query import Params, Reply
from candlewick.simulator.trouble import Trouble

Faults = tuple[Fault, ...]


class Source(Protocol):
    """Where the files come from. `faults` are those that change a file's content."""

    def keys(self, prefix: str) -> Sequence[str]:
        """Sorted keys of zips below a prefix, published or not; far above them those of folders, ending in a slash."""

    def published_at(self, key: str) -> int | None:
        """When a file appears, in microseconds UTC; None where there is none."""

    def content(self, key: str, faults: Faults) -> bytes:
        """A file that there is."""

    def digest(self, key: str, faults: Faults) -> str:
        """Its SHA-256."""

    def stored(self, asked: str, faults: Faults, not_before: int) -> Stored:
        """What the listing says of it, or of its CHECKSUM; it was changed at `not_before` at the earliest."""

    def stated(self, key: str) -> bytes | None:
        """Its CHECKSUM if that is not to be made of the content."""


class Archive:
    """Answers GET requests below `/data/`, and listings of them."""

    def __init__(self, source: Source, trouble: Trouble, clock: Clock) -> None:
        self._source = source
        self._trouble = trouble
        self._clock = clock

    def file(self, path: str) -> Reply:
        """The file at `/data/...`: a zip, its CHECKSUM, or 404."""
        asked = path.lstrip("/")
        key = asked.removesuffix(CHECKSUM)
        faults = self._faults(key)
        kinds = {fault.kind for fault in faults}
        chance = {active.fault.kind for active in self._trouble.files if active.covers(path) and active.hits()}
        if "denied" in kinds:
            return denied()
        if "missing_file" in chance or not self._is_there(key, faults):
            return absent()
        if key == asked:
            slow = max((fault.delay for fault in faults if fault.kind == "slow_download"), default=0.0)
            content = self._source.content(key, _changes(faults))
            return Reply(200, content, {"content-type": "application/zip"}, spread_s=slow)
        if "no_checksum" in kinds:
            return absent()
        text = self._checksum(key, _changes(faults), "-old.zip" if "other_checksum" in kinds else ".zip")
        return Reply(200, b"0" * 64 + text[64:] if "wrong_checksum" in chance else text, {"content-type": "text/plain"})

    def listing(self, params: Params) -> Reply:
        """A page of the S3 listing; above the files, folders."""
        kinds = {active.fault.kind for active in self._trouble.archive if active.covers("/")}
        if "denied" in kinds:
            return denied()
        return unavailable() if "listing_down" in kinds else listing(params, self._keys, self._stored)

    def _faults(self, key: str) -> list[Fault]:
        """What is wrong with a file at present."""
        return [active.fault for active in self._trouble.archive if strikes(active.fault, key)]

    def _is_there(self, key: str, faults: list[Fault], behind: int = 0) -> bool:
        """Whether a file was published `behind` microseconds ago."""
        published_at = self._source.published_at(key)
        return published_at is not None and published_at + _late(faults) + behind <= self._clock.now()

    def _checksum(self, key: str, changes: Faults, ending: str) -> bytes:
        stated = self._source.stated(key)
        if stated is not None:
            return stated
        return checksum(self._source.digest(key, changes), key.removesuffix(".zip") + ending)

    def _keys(self, prefix: str) -> list[str]:
        """Sorted keys of everything published that begins with a prefix."""
        gone = [active for active in self._trouble.files if active.fault.kind == "missing_file"]
        gone = [active for active in gone if active.fault.share >= 1]
        keys: list[str] = []
        for key in self._source.keys(prefix):
            if key.endswith("/"):
                keys.append(key)
                continue
            faults = self._faults(key)
            behind = max((round(fault.delay * SECOND) for fault in faults if fault.kind == "stale_listing"), default=0)
            if self._is_there(key, faults, behind):
                names = [key] if any(fault.kind == "no_checksum" for fault in faults) else [key, f"{key}{CHECKSUM}"]
                keys += [name for name in names if not any(active.covers(f"/{name}") for active in gone)]
        return keys

    def _stored(self, asked: str) -> Stored:
        key = asked.removesuffix(CHECKSUM)
        faults = self._faults(key)
        published_at, late = self._source.published_at(key), _late(faults)
        not_before = self._trouble.replaced_at(key)
        if published_at is not None and late:
            not_before = max(not_before, published_at + late)
        return self._source.stored(asked, _changes(faults), not_before)


def _changes(faults: list[Fault]) -> Faults:
    return tuple(fault for fault in faults if fault.kind in CHANGES)


def _late(faults: list[Fault]) -> int:
    return max((round(fault.delay * SECOND) for fault in faults if fault.kind == "late_file"), default=0)
