"""Reads the archive's listings (Amazon S3, version 1) and its CHECKSUM files."""

import re
from xml.parsers import expat

from candlewick.errors import DecodeError, UsageError
from candlewick.exchanges.exchange import ListedFile, ListingPage
from candlewick.market import parse_time

_PAGE = 1000
"""The most that S3 lists at once."""
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_ROOT = "ListBucketResult"
_LINE = re.compile(r"([0-9a-fA-F]{64})[ \t]+\*?(\S(?:.*\S)?)")


def listing_params(prefix: str, marker: str) -> tuple[tuple[str, str], ...]:
    """The query of the page of what begins with `prefix` and comes after `marker`; one level of folders."""
    params = (("delimiter", "/"), ("prefix", prefix), ("max-keys", str(_PAGE)))
    return (*params, ("marker", marker)) if marker else params


def read_listing(body: bytes) -> ListingPage:
    """A page of the listing.

    Raises:
        DecodeError: it is not one.
    """
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = reader.doctype
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.characters
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # an encoding that Python does not know
        raise DecodeError(f"not a listing of the archive: {error}") from None
    return reader.page()


class _Reader:
    """Collects what stands at its place: the listing's own <Prefix> is not a folder's."""

    def __init__(self) -> None:
        self._path: list[str] = []
        self._text: list[str] = []
        self._fields: dict[str, str] = {}
        """Of the listing itself."""
        self._entry: dict[str, str] = {}
        self._files: list[ListedFile] = []
        self._folders: list[str] = []

    def doctype(self, *_: object) -> None:
        # Entities are declared in a DOCTYPE only; a listing has none.
        raise DecodeError("not a listing of the archive: it declares a document type")

    def start(self, name: str, _: object) -> None:
        local = name.removeprefix(f"{_NAMESPACE} ")
        if not self._path and local != _ROOT:
            raise DecodeError(f"not a listing of the archive: it is a {local[:80]}")
        self._path.append(local)
        self._text.clear()
        if len(self._path) == 2:
            self._entry = {}

    def characters(self, text: str) -> None:
        self._text.append(text)

    def end(self, _: str) -> None:
        text = "".join(self._text)
        self._text.clear()
        *above, name = self._path
        self._path.pop()
        if len(above) == 1:
            if name == "Contents":
                self._files.append(_listed(self._entry))
            elif name == "CommonPrefixes":
                self._folders.append(_field(self._entry, "Prefix"))
            else:
                self._fields[name] = text
        elif len(above) == 2:
            self._entry[name] = text

    def page(self) -> ListingPage:
        truncated = _field(self._fields, "IsTruncated").strip().lower()
        if truncated not in {"true", "false"}:
            raise DecodeError(f"not a listing of the archive: IsTruncated is {truncated[:20]!r}")
        marker = None
        if truncated == "true":
            last = max([*(one.name for one in self._files), *self._folders], default="")
            marker = self._fields.get("NextMarker") or last
            if not marker:
                raise DecodeError("not a listing of the archive: it is cut short and does not say where")
        return ListingPage(tuple(self._files), tuple(self._folders), marker)


def read_checksum(body: bytes, name: str) -> str:
    """The SHA-256, 64 lower-case hexadecimal digits, that a CHECKSUM file in the format of `sha256sum` states.

    `name` is the file's own, without folders.

    Raises:
        DecodeError: it is no such file, or names another one.
    """
    try:
        text = body[:4096].decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise DecodeError(f"the CHECKSUM of {name} is not text") from None
    match = _LINE.fullmatch(text)
    if match is None:
        raise DecodeError(f"the CHECKSUM of {name} is not one line of sha256sum: {text[:120]!r}")
    if match[2] != name:
        raise DecodeError(f"the CHECKSUM of {name} is that of {match[2][:120]!r}")
    return match[1].lower()


def _listed(entry: dict[str, str]) -> ListedFile:
    size = _field(entry, "Size").strip()
    if re.fullmatch(r"[0-9]{1,18}", size) is None:
        raise DecodeError(f"not a listing of the archive: a size is {size[:40]!r}")
    try:
        changed_at = parse_time(_field(entry, "LastModified").strip())
    except UsageError as error:
        raise DecodeError(f"not a listing of the archive: {error}") from None
    return ListedFile(_field(entry, "Key"), int(size), changed_at, entry.get("ETag", "").strip('"'))


def _field(entry: dict[str, str], name: str) -> str:
    value = entry.get(name)
    if not value:
        raise DecodeError(f"not a listing of the archive: {name} is missing")
    return value
