"""What a setting's value may be: each kind reads text, and says in words what would be right.

Environment, options and the file go through the same readers; the file's own types only have to fit first.
"""

import re
from collections.abc import Callable, Iterable
from datetime import date
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import urlsplit

from msgspec import Struct

from candlewick.market import DAY, Interval, format_time, normal_symbol, parse_time


class Kind(NamedTuple):
    """A kind of value. `read` raises ValueError or UsageError for text that is none."""

    right: str
    """What a right value is, as it stands after "must be"."""
    read: Callable[[str], object]
    native: tuple[type, ...] = (str,)
    """The types of the file that are taken besides."""


class HistoryStart(Struct, frozen=True):
    """Where history begins: a fixed time, or so many microseconds before now."""

    text: str
    time: int | None = None
    before_now: int = 0

    def __str__(self) -> str:
        return self.text

    def resolve(self, now: int) -> int:
        """Microseconds UTC."""
        return now - self.before_now if self.time is None else self.time


def read_history_start(text: str) -> HistoryStart:
    """A date, a time, or `Nd` for N days before now."""
    if match := re.fullmatch(r"(\d{1,5}(?:\.\d+)?)d", text):
        return HistoryStart(text, before_now=round(float(match[1]) * DAY))
    time = parse_time(text)
    return HistoryStart(format_time(time), time=time)


def _read_flag(text: str) -> bool:
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if text.lower() not in words:
        raise ValueError(text)
    return words[text.lower()]


def _read_symbol(text: str) -> str:
    # A pattern keeps its brackets: normal_symbol would take the dash out of `[A-M]*`.
    symbol = text.upper() if any(sign in text for sign in "*?[") else normal_symbol(text)
    if not re.fullmatch(r"[^\s,:]+", symbol):
        raise ValueError(text)
    return symbol


def _each(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _tuple_of(read: Callable[[str], object]) -> Callable[[str], tuple[object, ...]]:
    def read_all(text: str) -> tuple[object, ...]:
        values = tuple(dict.fromkeys(read(part) for part in _each(text)))
        if not values:
            raise ValueError(text)
        return values

    return read_all


def one_of(words: type[StrEnum]) -> Kind:
    """One word of an enumeration, in any case."""
    by_lower = {word.value.lower(): word for word in words}

    def read(text: str) -> StrEnum:
        if text.lower() not in by_lower:
            raise ValueError(text)
        return by_lower[text.lower()]

    return Kind(_either(words), read)


def some_of(words: type[StrEnum]) -> Kind:
    """A comma list of words of an enumeration."""
    return Kind(f"a list of {_either(words)}", _tuple_of(one_of(words).read), (str, list))


def _either(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


def whole(least: int = 0, most: int | None = None) -> Kind:
    """A whole number."""
    return _number(int, "a whole number", least, most)


def number(least: float = 0, most: float | None = None) -> Kind:
    """A number, such as seconds."""
    return _number(float, "a number", least, most)


def _number(of: type[int] | type[float], noun: str, least: float, most: float | None) -> Kind:
    def read(text: str) -> float:
        if not re.fullmatch(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", text):
            raise ValueError(text)
        value = of(text)
        if value < least or (most is not None and value > most):
            raise ValueError(text)
        return value

    bounds = f"of {least} or more" if most is None else f"from {least} to {most}"
    return Kind(f"{noun} {bounds}", read, (int,) if of is int else (int, float))


def optional(kind: Kind) -> Kind:
    """The same, or nothing at all."""
    return Kind(f"{kind.right}, or nothing", lambda text: kind.read(text) if text else None, kind.native)


def url(*schemes: str) -> Kind:
    """An address with a host; empty where the default depends on something else."""

    def read(text: str) -> str:
        parts = urlsplit(text)
        if text and (parts.scheme not in schemes or not parts.hostname):
            raise ValueError(text)
        _ = parts.port  # raises ValueError when it is no port
        return text

    return Kind(f"an address that begins with {_either(f'{scheme}://' for scheme in schemes)}", read)


def _read_store(text: str) -> str:
    scheme, sign, rest = text.partition("://")
    known = scheme in {"lmdb", "memory", "postgresql", "postgres"}
    if text and (not sign or not known or (not rest and scheme != "memory")):
        raise ValueError(text)
    if scheme.startswith("postgres"):
        urlsplit(text)  # a ValueError where brackets of a host do not match
    return text


def _read_word(text: str) -> str:
    if not text.strip():
        raise ValueError(text)
    return text


FLAG = Kind("true or false", _read_flag, (bool,))
TEXT = Kind("text", str)
WORD = Kind("text that is not empty", _read_word)
PORT = whole(0, 65535)
SYMBOLS = Kind("a list of symbols such as BTCUSDT, or patterns such as *USDT", _tuple_of(_read_symbol), (str, list))
INTERVALS = Kind("a list of intervals such as 1m, 1h, 1d", _tuple_of(Interval), (str, list))
STORE = Kind("lmdb:///path, memory:// or postgresql://user:password@host:port/db", _read_store)
HISTORY_START = Kind("a date such as 2024-01-31, or days before now such as 2d", read_history_start, (str, date))


def read_native(kind: Kind, value: object) -> object:
    """The value of a TOML key.

    Raises:
        ValueError: its type does not fit, or its value is not of that kind.
        UsageError: as the kind's reader says.
    """
    if isinstance(value, list):
        if list not in kind.native or not all(isinstance(one, str) for one in value):
            raise ValueError(value)
        return kind.read(",".join(value))
    # bool is an int to Python, not to whoever writes a file.
    fits = isinstance(value, kind.native) and (not isinstance(value, bool) or bool in kind.native)
    if not fits and not (isinstance(value, str) and str in kind.native):
        raise ValueError(value)
    return kind.read(to_text(value))


def to_text(value: object) -> str:
    """A value as it would be written in the environment."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | list):
        return ",".join(map(to_text, value))
    if isinstance(value, float):
        return f"{value:.15g}"
    return str(value)
