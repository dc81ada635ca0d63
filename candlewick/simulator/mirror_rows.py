"""Candles of a mirrored folder as REST rows: what the files say, in milliseconds and in the files' own digits."""

import io
import re
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from typing import NamedTuple
from zipfile import BadZipFile, ZipFile

from candlewick.market import Market, Span
from candlewick.simulator.candles import Row
from candlewick.simulator.filenames import FOLDERS, FileName, read_key, spelled
from candlewick.simulator.mirror_folder import Folder

_MICROSECONDS = 10**14  # an open time above this many is in microseconds
_KEPT_FILES = 64
_LINE = re.compile(rb"\d+(?:,[^,\n]*){11}")


class _Held(NamedTuple):
    """The rows of one file by open time in milliseconds."""

    times: list[int]
    lines: list[bytes]


class Rows:
    """Pages of candles; files are read when a page needs them."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._held: OrderedDict[object, _Held] = OrderedDict()

    def symbols(self, market: Market) -> dict[str, Span]:
        """From the begin of its first file to the end of its last one, of every symbol."""
        found: dict[str, Span] = {}
        for name, _ in self._names(FOLDERS[market]):
            known = found.get(name.symbol, name.span)
            found[name.symbol] = Span(min(known.start, name.span.start), max(known.end, name.span.end))
        return dict(sorted(found.items()))

    def knows(self, market: Market, symbol: str) -> bool:
        """Whether there is a folder of candles of this symbol."""
        return any(self._folder.has(f"{FOLDERS[market]}{period}/klines/{symbol}") for period in ("daily", "monthly"))

    def page(self, market: Market, symbol: str, code: str, start: int | None, end: int, limit: int) -> list[Row]:  # noqa: PLR0917 - a request's parameters
        """At most `limit` rows that open within `[start, end]` milliseconds: the oldest, or the newest without `start`."""
        files = [
            (name, key)
            for period in ("monthly", "daily")
            for name, key in self._names(f"{FOLDERS[market]}{period}/klines/{symbol}/{spelled(code)}/")
            if name.span.start <= end * 1000 and (start is None or name.span.end > start * 1000)
        ]
        files.sort(key=lambda item: -item[0].span.end if start is None else item[0].span.start)
        found: dict[int, bytes] = {}
        for name, key in files:
            if len(found) >= limit:
                times = sorted(found)
                if start is not None and name.span.start > times[limit - 1] * 1000:
                    break
                if start is None and name.span.end <= times[-limit] * 1000:
                    break
            held = self._read(key)
            first = 0 if start is None else bisect_left(held.times, start)
            last = bisect_right(held.times, end)
            first, last = (first, min(last, first + limit)) if start is not None else (max(first, last - limit), last)
            # A day stands in its own file and in its month's: each row counts once.
            for index in range(first, last):
                found.setdefault(held.times[index], held.lines[index])
        times = sorted(found)
        return [_row(time, found[time]) for time in (times[:limit] if start is not None else times[-limit:])]

    def _names(self, prefix: str) -> list[tuple[FileName, str]]:
        named = ((read_key(key), key) for key in self._folder.keys(prefix))
        return [(name, key) for name, key in named if name is not None and name.kind == "klines"]

    def _read(self, key: str) -> _Held:
        version = self._folder.version(key)
        if version not in self._held:
            self._held[version] = _parse(self._folder.read(key) or b"")
            if len(self._held) > _KEPT_FILES:
                self._held.popitem(last=False)
        self._held.move_to_end(version)
        return self._held[version]


def _parse(content: bytes) -> _Held:
    """What can be read of a file: REST has no rows from one that is spoiled."""
    try:
        with ZipFile(io.BytesIO(content)) as packed:
            text = b"\n".join(packed.read(name) for name in packed.namelist())
    except (BadZipFile, EOFError):
        return _Held([], [])
    found: dict[int, bytes] = {}
    for line in _LINE.findall(text):
        head, _, rest = line.partition(b",")
        time = int(head)
        found.setdefault(time // 1000 if time >= _MICROSECONDS else time, rest)
    times = sorted(found)
    return _Held(times, [found[time] for time in times])


def _row(time: int, rest: bytes) -> Row:
    open_, high, low, close, volume, closed, quote, count, buy, buy_quote, _ = rest.decode().split(",")
    close_time = int(closed)
    if close_time >= _MICROSECONDS:
        close_time //= 1000
    return [time, open_, high, low, close, volume, close_time, quote, int(count), buy, buy_quote, "0"]
