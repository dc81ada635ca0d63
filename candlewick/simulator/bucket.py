"""An S3 bucket as its readers see it: listings page by page, checksums, and its error answers (binance.md 5.2, 5.3)."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from xml.sax.saxutils import escape

from candlewick.market import SECOND
from candlewick.simulator.query import BadRequest, Params, Query, Reply

CHECKSUM = ".CHECKSUM"
_PAGE = 1000
_LAST = "\U0010ffff"


class Stored(NamedTuple):
    """What a listing says of a key; `changed_at` in microseconds UTC, `etag` is the MD5 of the content."""

    size: int
    changed_at: int
    etag: str


def checksum(digest: str, key: str) -> bytes:
    """The content of a CHECKSUM file, as `sha256sum` writes it."""
    return f"{digest}  {key.rpartition('/')[2]}\n".encode()


def absent() -> Reply:
    """What comes where there is no such key."""
    return _xml(404, "<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>")


def denied() -> Reply:
    """What comes for every key while the bucket is shut (binance.md 5.1)."""
    return _xml(403, "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")


def unavailable() -> Reply:
    """What comes while the listing is down."""
    return _xml(503, "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>")


class Asked(NamedTuple):
    """What a request for a listing asks for."""

    prefix: str
    marker: str
    delimiter: str
    most: int


def asked(params: Params) -> Asked:
    """The listing that a request wants.

    Raises:
        BadRequest: `max-keys` is no number.
    """
    query = Query(params)
    most = query.number("max-keys")
    return Asked(
        query.text("prefix") or "",
        query.text("marker") or "",
        query.text("delimiter") or "",
        _PAGE if most is None else min(most, _PAGE),
    )


def listing(params: Params, keys_under: Callable[[str], Sequence[str]], stored: Callable[[str], Stored]) -> Reply:
    """A page of the listing.

    `keys_under`: sorted keys, at least those that begin with a prefix; one that ends in `/` stands for all below it.
    `stored`: called for the keys on the page alone.
    """
    try:
        wanted = asked(params)
    except BadRequest as error:
        return _xml(400, f"<Error><Code>InvalidArgument</Code><Message>{escape(str(error))}</Message></Error>")
    files, folders, following = _page(keys_under(wanted.prefix), wanted)
    entries = "".join(_entry(key, stored(key)) for key in files)
    entries += "".join(f"<CommonPrefixes><Prefix>{escape(key)}</Prefix></CommonPrefixes>" for key in folders)
    # S3 names the next marker only where it groups by a delimiter; else it is the last key.
    named = f"<NextMarker>{escape(following)}</NextMarker>" if following and wanted.delimiter else ""
    delimiter = f"<Delimiter>{escape(wanted.delimiter)}</Delimiter>" if wanted.delimiter else ""
    return _xml(
        200,
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>data.binance.vision</Name>'
        f"<Prefix>{escape(wanted.prefix)}</Prefix><Marker>{escape(wanted.marker)}</Marker>{named}"
        f"<MaxKeys>{wanted.most}</MaxKeys>{delimiter}"
        f"<IsTruncated>{'true' if following else 'false'}</IsTruncated>{entries}</ListBucketResult>",
    )


def _page(keys: Sequence[str], wanted: Asked) -> tuple[list[str], list[str], str | None]:
    """Files and folders after the marker, and the marker of the next page or None where this is the last."""
    prefix, marker, delimiter, most = wanted
    files: list[str] = []
    folders: list[str] = []
    last = ""
    index = max(bisect_left(keys, prefix), bisect_right(keys, marker))
    while index < len(keys) and keys[index].startswith(prefix):
        cut = keys[index].find(delimiter, len(prefix)) if delimiter else -1
        if cut < 0:
            entry, following = keys[index], index + 1
        else:
            entry = keys[index][: cut + len(delimiter)]
            following = bisect_left(keys, entry + _LAST, index)
        index = following
        if entry == marker:
            continue
        if len(files) + len(folders) >= most:
            return files, folders, last or None
        (folders if cut >= 0 or entry.endswith("/") else files).append(entry)
        last = entry
    return files, folders, None


def _entry(key: str, stored: Stored) -> str:
    changed = datetime.fromtimestamp(stored.changed_at // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return (
        f"<Contents><Key>{escape(key)}</Key><LastModified>{changed}</LastModified><ETag>&quot;{stored.etag}&quot;</ETag>"
        f"<Size>{stored.size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )


def _xml(status: int, body: str) -> Reply:
    return Reply(
        status, f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'.encode(), {"content-type": "application/xml"}
    )
