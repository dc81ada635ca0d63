"""The certificate itself: what it states, its JSON, and the hashes over it. `docs/certificates.md` is its format."""

import hashlib
import json
from typing import Any

import msgspec
from msgspec import Struct, field

from candlewick.certificates.encoding import COLUMNS, Leaf
from candlewick.certificates.tree import root_of
from candlewick.errors import DecodeError, UsageError
from candlewick.market import Interval, Series, Span
from candlewick.stores.store import Reason

FORMAT = "candlewick-certificate"
VERSION = 1


class Range(Struct, frozen=True, forbid_unknown_fields=True):
    """Adjacent grid times, half-open."""

    start_ms: int = field(name="from")
    end_ms: int = field(name="to")
    candles: int


class AbsenceEntry(Range, frozen=True, forbid_unknown_fields=True):
    """Adjacent grid times without a candle, all for one reason; of what is `missing` there is no evidence."""

    reason: Reason
    evidence: str


class SourceEntry(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where rows came from: a file of the archive, which vouches for `rows` rows in its days; or REST, or live."""

    source: str
    start_ms: int = field(name="from")
    end_ms: int = field(name="to")
    rows: int
    file: str = ""
    sha256: str = ""
    checksum: str | None = None
    verdict: str = ""


class BlockEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """The rows of one block of the store, as far as they lie in the range of the certificate."""

    block: int
    start_ms: int = field(name="from")
    end_ms: int = field(name="to")
    rows: int
    sha256: str
    sums: tuple[str, ...]
    moments: tuple[str, ...]

    @classmethod
    def of(cls, block: int, span: Span, leaf: Leaf) -> "BlockEntry":
        """The entry of a leaf; `span` is the part of the block that lies in the certificate's range."""
        sums, moments = (tuple(f"{value:x}" for value in values) for values in (leaf.sums, leaf.moments))
        return cls(block, span.start // 1000, span.end // 1000, leaf.rows, leaf.sha256.hex(), sums, moments)

    @property
    def leaf(self) -> Leaf:
        """The leaf it states.

        Raises:
            DecodeError: it is no leaf.
        """
        try:
            sums, moments = (tuple(int(value, 16) for value in values) for values in (self.sums, self.moments))
            digest = bytes.fromhex(self.sha256)
        except ValueError as error:
            raise DecodeError(f"block {self.block}: {error}") from None
        if not len(sums) == len(moments) == len(COLUMNS):
            raise DecodeError(f"block {self.block}: there are {len(sums)} sums and {len(moments)} moments")
        return Leaf(self.rows, digest, sums, moments)


class Certificate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was held of a series in a range when it was issued. It has no issue time: the same rows, the same bytes."""

    format: str = FORMAT
    version: int = VERSION
    series: str
    range: str
    """`from` and `to` for people, as ISO times."""
    start_ms: int = field(name="from")
    end_ms: int = field(name="to")
    expected: int
    present: int
    absent: int
    """Grid times that have no candle for a reason that is recorded."""
    missing: int
    """Grid times that have neither a candle nor a reason."""
    unsettled: int
    """Candles that only the live feed vouches for."""
    complete: bool
    certified: tuple[Range, ...]
    unconfirmed: tuple[Range, ...]
    absences: tuple[AbsenceEntry, ...]
    halts: tuple[Range, ...]
    sources: tuple[SourceEntry, ...]
    blocks: tuple[BlockEntry, ...]
    root: str = ""
    content: str = ""
    sha256: str = ""

    @property
    def span(self) -> Span:
        """The range, in microseconds UTC."""
        return Span(self.start_ms * 1000, self.end_ms * 1000)

    def parsed_series(self) -> Series:
        """The series it is for.

        Raises:
            UsageError: it names none.
        """
        series = Series.parse(self.series)
        if str(series) != self.series:
            raise UsageError(f"{self.series!r} is not how a series is written: {series} is")
        return series

    def sealed(self) -> "Certificate":
        """The same statements with the hashes over them."""
        one = msgspec.structs.replace(self, root=self.root_now())
        one = msgspec.structs.replace(one, content=one.content_now())
        return msgspec.structs.replace(one, sha256=one.sha256_now())

    def root_now(self) -> str:
        """The Merkle root over its blocks.

        Raises:
            DecodeError: a block has no hash.
        """
        return root_of([one.leaf.sha256 for one in self.blocks]).hex()

    def content_now(self) -> str:
        """The hash over what is held and what is not, whichever files brought it."""
        reasons: list[list[int | str]] = []
        for one in self.absences:
            if reasons and reasons[-1][1] == one.start_ms and reasons[-1][2] == one.reason.value:
                reasons[-1][1] = one.end_ms
            else:
                reasons.append([one.start_ms, one.end_ms, one.reason.value])
        return _sha256({
            "series": self.series, "from": self.start_ms, "to": self.end_ms, "expected": self.expected,
            "present": self.present, "absent": self.absent, "missing": self.missing, "absences": reasons,
            "root": self.root,
        })  # fmt: skip

    def sha256_now(self) -> str:
        """The hash over the whole document but itself."""
        document = msgspec.to_builtins(self)
        del document["sha256"]
        return _sha256(document)

    def to_json(self) -> bytes:
        """The document: one line a statement, one line each entry of its lists."""
        lines = []
        for key, value in sorted(msgspec.to_builtins(self).items()):
            text = _canonical(value)
            if isinstance(value, list | tuple) and value:
                text = "[\n" + ",\n".join(map(_canonical, value)) + "\n]"
            lines.append(f"{_canonical(key)}:{text}")
        return ("{\n" + ",\n".join(lines) + "\n}\n").encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Certificate":
        """The certificate that a document is; nothing in it is checked yet (`check.verify`).

        Raises:
            DecodeError: it is none.
        """
        try:
            document = json.loads(data, object_pairs_hook=_once, parse_float=_no_float, parse_constant=_no_float)
            certificate = msgspec.convert(document, cls)
        except (ValueError, RecursionError) as error:  # of both, msgspec's own too
            raise DecodeError(f"this is no certificate: {error}") from None
        if _canonical(msgspec.to_builtins(certificate)) != _canonical(document):
            raise DecodeError("this is no certificate: it leaves out a statement, or makes an empty one")
        if (certificate.format, certificate.version) != (FORMAT, VERSION):
            raise DecodeError(
                f"this is {certificate.format} {certificate.version}, and only {FORMAT} {VERSION} is known here: "
                "use the version of Candlewick that wrote it, or a later one"
            )
        return certificate


def entry_span(entry: Range | SourceEntry | BlockEntry) -> Span:
    """The range of an entry, in microseconds UTC."""
    return Span(entry.start_ms * 1000, entry.end_ms * 1000)


def range_of(span: Span, interval: Interval) -> Range:
    """A range of whole candles."""
    return Range(span.start // 1000, span.end // 1000, interval.count(span))


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _sha256(value: object) -> str:
    return hashlib.sha256(_canonical(value).encode()).hexdigest()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("it states something twice")
    return found


def _no_float(text: str) -> Any:  # noqa: ANN401 - it never returns
    raise ValueError(f"{text} is no whole number")
