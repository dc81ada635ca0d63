"""Frames as they should never be: cut, flipped, of wrong types, garbage, impossible, or wrong in one digit only."""

import re
from random import Random

from candlewick.simulator.faults import FORMS

_NUMBER = re.compile(rb'"[ohlcvqVQpab]":"([0-9.]+)"')
_FIELD = re.compile(rb'("[a-zA-Z]":)("[^"{}]*"|-?\d+|true|false)')
_JUNK = (b'"x"', b"null", b"[]", b"{}", b"-1", b"1e999", b'""', b"true")
_IMPOSSIBLE = (b"0.00000000", b"-1.00000000", b"NaN", b"99999999999999999999.0", b"1e-400", b"Infinity")


def mangle(text: bytes, form: str, random: Random) -> bytes:
    """`text` spoiled in one of `FORMS`, or in any of them."""
    if form == "any":
        form = random.choice(FORMS)
    if form == "garbage":
        return b"#" + bytes(random.randrange(32, 127) for _ in range(random.randrange(200)))
    place = random.randrange(1, len(text))
    if form == "cut":
        return text[:place]
    if form == "flip":  # within ASCII: a text frame that is not UTF-8 would be a fault of another layer
        return text[:place] + bytes([text[place] ^ 1 << random.randrange(7)]) + text[place + 1 :]
    return _spoil_value(text, form, random)


def _spoil_value(text: bytes, form: str, random: Random) -> bytes:
    """`text` with one value that cannot be, or is not what was meant."""
    found = list((_FIELD if form == "type" else _NUMBER).finditer(text))
    if not found:
        return text[:-1]
    match = random.choice(found)
    if form == "type":
        return text[: match.start(2)] + random.choice(_JUNK) + text[match.end(2) :]
    if form == "impossible":
        return (
            text[: match.start(1)]
            + random.choice([value for value in _IMPOSSIBLE if value != match[1]])
            + text[match.end(1) :]
        )
    digits = [place for place in range(match.start(1), match.end(1)) if text[place : place + 1] != b"."]
    place = random.choice(digits)
    changed = (text[place] - 48 + random.randrange(1, 10)) % 10 + 48
    return text[:place] + bytes([changed]) + text[place + 1 :]
