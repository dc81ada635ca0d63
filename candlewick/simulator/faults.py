"""Fault scripts: what goes wrong, where, when and for how long.

A script is a TOML file with `[[fault]]` tables, or a JSON list (or `{"fault": [...]}`), one entry a fault. Every kind and
what it takes is a row of `KINDS`; docs/simulator.md explains them.
"""

import json
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from candlewick.errors import ConfigError, UsageError
from candlewick.market import SECOND, parse_time


class Kind(NamedTuple):
    """One kind of fault: what it strikes, what it takes besides `at` and `duration_s`, and a usual `delay_s`."""

    strikes: str
    takes: tuple[str, ...]
    delay_s: float = 0.0
    number: int = 0


_FRAMES = ("stream", "connection", "share")
_REST = ("endpoint", "share")
KINDS = {
    # Frames of streams, on their way to the client.
    "drop": Kind("frames", _FRAMES),
    "zombie": Kind("frames", ("connection",)),
    "silent": Kind("frames", ("stream", "connection")),
    "stall": Kind("frames", ("connection",)),
    "repeat": Kind("frames", _FRAMES),
    "reorder": Kind("frames", (*_FRAMES, "delay_s"), 1.0),
    "late_close": Kind("frames", (*_FRAMES, "delay_s"), 24.0),
    "missing_close": Kind("frames", _FRAMES),
    "duplicate_close": Kind("frames", (*_FRAMES, "delay_s")),
    "conflicting_close": Kind("frames", _FRAMES),
    "mangle": Kind("frames", (*_FRAMES, "form")),
    # Connections.
    "cut": Kind("connections", ("connection",)),
    "close": Kind("connections", ("connection", "number"), number=1001),
    "half_open": Kind("connections", ("connection",)),
    "server_shutdown": Kind("connections", ("connection", "delay_s")),
    "refuse": Kind("dials", ()),
    "unanswered": Kind("dials", ()),
    "reject": Kind("dials", ("number",), number=403),
    # REST answers.
    "rate_limit": Kind("rest", (*_REST, "delay_s"), 30.0),
    "ban": Kind("rest", (*_REST, "delay_s"), 120.0),
    "forbidden": Kind("rest", _REST),
    "restricted": Kind("rest", _REST),
    "server_error": Kind("rest", (*_REST, "number"), number=503),
    "html": Kind("rest", _REST),
    "empty_body": Kind("rest", _REST),
    "cut_body": Kind("rest", _REST),
    "reset_body": Kind("rest", _REST),
    "no_answer": Kind("rest", _REST),
    "slow": Kind("rest", (*_REST, "delay_s"), 5.0),
    "stale": Kind("rows", ("symbol", "delay_s"), 7.0),
    "missing_rows": Kind("rows", ("symbol", "number"), number=1),
    "short_page": Kind("rows", ("symbol", "number"), number=7),
    # Files of the archive.
    "missing_file": Kind("files", _REST),
    "wrong_checksum": Kind("files", _REST),
    # The archive, file by file; without `duration_s` for ever.
    "no_checksum": Kind("archive", _REST),
    "other_checksum": Kind("archive", _REST),
    "late_file": Kind("archive", (*_REST, "delay_s"), 3 * 86400.0),
    "replaced_file": Kind("archive", (*_REST, "number"), number=1),
    "truncated_file": Kind("archive", (*_REST, "number"), number=300),
    "short_month": Kind("archive", (*_REST, "number"), number=7),
    "lost_rows": Kind("archive", (*_REST, "number"), number=2),
    "repeated_rows": Kind("archive", (*_REST, "number"), number=3),
    "conflicting_rows": Kind("archive", (*_REST, "number"), number=1),
    "unsorted_rows": Kind("archive", (*_REST, "number"), number=10),
    "off_grid_rows": Kind("archive", (*_REST, "number"), number=1),
    "empty_rows": Kind("archive", (*_REST, "number"), number=1),
    "annulled_rows": Kind("archive", (*_REST, "number"), number=2),
    "wrong_side": Kind("archive", _REST),
    "not_a_zip": Kind("archive", _REST),
    "other_header": Kind("archive", _REST),
    "other_unit": Kind("archive", _REST),
    "denied": Kind("archive", ("endpoint",)),
    "stale_listing": Kind("archive", (*_REST, "delay_s"), 7 * 86400.0),
    "listing_down": Kind("archive", ()),
    "slow_download": Kind("archive", (*_REST, "delay_s"), 20.0),
    # The market itself.
    "outage": Kind("market", ("symbol",)),
    "skew": Kind("market", ("delay_s",), 3.0),
}
FORMS = ("cut", "flip", "type", "garbage", "impossible", "digit")
LIVE = tuple(kind for kind, row in KINDS.items() if row.strikes != "archive")
"""Kinds of which a random script is drawn if nobody says which."""
ENDLESS = 1 << 61
_INSTANT = ("cut", "close", "server_shutdown")


class Fault(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault.

    `at`: seconds since the simulator's start (before it where negative), or an ISO 8601 time. `stream`, `symbol` and
    `endpoint` are patterns (`btcusdt@kline_*`, `BTCUSDT`, `*/klines`). `connection` 0 strikes all, a positive number the
    one that was opened as the nth, -1 one of those open, by chance. `share` is the part of the frames or answers struck.
    """

    kind: str
    at: float | str = 0.0
    duration_s: float = 0.0
    stream: str = "*"
    symbol: str = "*"
    endpoint: str = "*"
    connection: int = 0
    share: float = 1.0
    delay_s: float | None = None
    number: int | None = None
    form: str = "any"

    @property
    def delay(self) -> float:
        """Its delay in seconds: the script's, or the kind's usual one."""
        return KINDS[self.kind].delay_s if self.delay_s is None else self.delay_s

    @property
    def value(self) -> int:
        """Its number: the script's, or the kind's usual one."""
        return KINDS[self.kind].number if self.number is None else self.number

    def begins(self, start: int) -> int:
        """When it begins, in microseconds UTC, in a simulator started at `start`."""
        return parse_time(self.at) if isinstance(self.at, str) else start + round(self.at * SECOND)

    def ends(self, start: int) -> int:
        """When it is over, in microseconds UTC; `ENDLESS` where a fault of the archive says nothing."""
        if KINDS[self.kind].strikes == "archive" and not self.duration_s:
            return ENDLESS
        return self.begins(start) + round(self.duration_s * SECOND)

    def names_symbol(self, symbol: str) -> bool:
        """Whether it strikes this symbol."""
        return fnmatchcase(symbol, self.symbol)


def read_script(path: Path | str) -> tuple[Fault, ...]:
    """The faults of a TOML or JSON file.

    Raises:
        ConfigError: the file cannot be read, or an entry is not a fault; names the entry and what would be right.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise ConfigError(f"fault script {path} cannot be read: {error}") from error
    return parse_script(content, str(path))


def parse_script(content: Any, source: str) -> tuple[Fault, ...]:  # noqa: ANN401 - whatever a file may hold
    """The faults in the parsed content of a file called `source`.

    Raises:
        ConfigError: an entry is not a fault.
    """
    entries = content.get("fault") if isinstance(content, dict) else content
    if not isinstance(entries, list) or (isinstance(content, dict) and set(content) != {"fault"}):
        raise ConfigError(f"{source}: write faults as [[fault]] tables (TOML) or as a list (JSON), and nothing else")
    return tuple(_parse(entry, f"{source}: fault {number}") for number, entry in enumerate(entries, 1))


def _parse(entry: object, where: str) -> Fault:
    try:
        fault = msgspec.convert(entry, Fault)
        fault.begins(0)
    except (msgspec.ValidationError, UsageError) as error:
        raise ConfigError(f"{where}: {error}") from error
    kind = KINDS.get(fault.kind)
    if kind is None:
        raise ConfigError(f"{where}: kind {fault.kind!r} is not one of {', '.join(KINDS)}")
    given = set(entry) if isinstance(entry, dict) else set()
    if odd := sorted(given - {"kind", "at", "duration_s", *kind.takes}):
        taken = ", ".join(("at", "duration_s", *kind.takes))
        raise ConfigError(f"{where}: {fault.kind} does not take {', '.join(odd)}; it takes {taken}")
    if fault.form not in (*FORMS, "any"):
        raise ConfigError(f"{where}: form {fault.form!r} is not one of {', '.join(FORMS)}, any")
    if not 0 < fault.share <= 1 or fault.duration_s < 0:
        raise ConfigError(f"{where}: share is above 0 and at most 1, duration_s not negative")
    return fault


def random_script(
    seed: int, duration_s: float, *, kinds: tuple[str, ...] = LIVE, calm_s: float | None = None
) -> tuple[Fault, ...]:
    """A varied script for a run of `duration_s`: about one fault every eight minutes, several at once now and then.

    Nothing is wrong in the first minute and in the last `calm_s` seconds (a fifth of the run, at most 20 minutes),
    so that whoever is tested can mend what it lost.
    """
    random = Random(seed)
    last = duration_s - (min(1200.0, duration_s / 5) if calm_s is None else calm_s)
    found = []
    for _ in range(max(1, round(duration_s / 480 * random.uniform(0.5, 1.6)))):
        fault = _draw(random, random.choice(kinds), random.uniform(min(60.0, last / 2), last))
        length = min(fault.duration_s, last - float(fault.at))
        found.append(msgspec.structs.replace(fault, duration_s=0.0 if fault.kind in _INSTANT else round(length, 3)))
    return tuple(sorted(found, key=lambda fault: float(fault.at)))


def _draw(random: Random, kind: str, at: float) -> Fault:
    takes = KINDS[kind].takes
    drawn: dict[str, Any] = {"kind": kind, "at": round(at, 3), "duration_s": round(random.uniform(1, 30) ** 2, 3)}
    if "connection" in takes:
        drawn["connection"] = random.choice((0, -1, -1))
    if "stream" in takes and random.random() < 0.3:
        drawn["stream"] = random.choice(("*@kline_*", "btc*", "*@kline_1m"))
    if "share" in takes:
        drawn["share"] = random.choice((1.0, 1.0, 0.5, 0.1))
    if "delay_s" in takes:
        drawn["delay_s"] = round(random.uniform(0, 2 * KINDS[kind].delay_s or 10.0), 3)
    if "form" in takes:
        drawn["form"] = random.choice((*FORMS, "any"))
    if kind == "server_error":
        drawn["number"] = random.choice((500, 502, 503, 504, 408))
    if kind == "reject":
        drawn["number"] = random.choice((403, 418, 429, 451, 503))
    if kind in ("missing_rows", "short_page"):
        drawn["number"] = random.randint(1, 5)
    return Fault(**drawn)
