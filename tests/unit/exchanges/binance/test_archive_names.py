"""Names in the archive, its listings and its checksums."""

import pytest

from candlewick.errors import DecodeError
from candlewick.exchanges.exchange import ArchiveKind, ListedFile, Venue
from candlewick.market import HOUR, Interval, Span, parse_time

KLINES, TRADES, AGG_TRADES = ArchiveKind.KLINES, ArchiveKind.TRADES, ArchiveKind.AGG_TRADES
TIME = parse_time("2023-03-24T12:39:41.646")
M1 = Interval("1m")
SHA = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("market", "kind", "symbol", "code", "month", "day"),
    [
        ("spot", KLINES, "BTCUSDT", "1m", "data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2023-03.zip",
         "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2023-03-24.zip"),
        ("spot", KLINES, "BTCUSDT", "1s", "data/spot/monthly/klines/BTCUSDT/1s/BTCUSDT-1s-2023-03.zip",
         "data/spot/daily/klines/BTCUSDT/1s/BTCUSDT-1s-2023-03-24.zip"),
        ("spot", KLINES, "BTCUSDT", "1d", "data/spot/monthly/klines/BTCUSDT/1d/BTCUSDT-1d-2023-03.zip",
         "data/spot/daily/klines/BTCUSDT/1d/BTCUSDT-1d-2023-03-24.zip"),
        ("spot", KLINES, "BTCUSDT", "3d", "data/spot/monthly/klines/BTCUSDT/3d/BTCUSDT-3d-2023-03.zip", None),
        ("spot", KLINES, "BTCUSDT", "1w", "data/spot/monthly/klines/BTCUSDT/1w/BTCUSDT-1w-2023-03.zip", None),
        ("spot", KLINES, "BTCUSDT", "1M", "data/spot/monthly/klines/BTCUSDT/1mo/BTCUSDT-1mo-2023-03.zip", None),
        ("spot", TRADES, "ETHBTC", None, "data/spot/monthly/trades/ETHBTC/ETHBTC-trades-2023-03.zip",
         "data/spot/daily/trades/ETHBTC/ETHBTC-trades-2023-03-24.zip"),
        ("spot", KLINES, "币安人生USDT", "1h", "data/spot/monthly/klines/币安人生USDT/1h/币安人生USDT-1h-2023-03.zip",
         "data/spot/daily/klines/币安人生USDT/1h/币安人生USDT-1h-2023-03-24.zip"),
        ("usdm", KLINES, "BTCUSDT_261225", "5m",
         "data/futures/um/monthly/klines/BTCUSDT_261225/5m/BTCUSDT_261225-5m-2023-03.zip",
         "data/futures/um/daily/klines/BTCUSDT_261225/5m/BTCUSDT_261225-5m-2023-03-24.zip"),
        ("usdm", AGG_TRADES, "A-B.C", None, "data/futures/um/monthly/aggTrades/A-B.C/A-B.C-aggTrades-2023-03.zip",
         "data/futures/um/daily/aggTrades/A-B.C/A-B.C-aggTrades-2023-03-24.zip"),
    ],
)  # fmt: skip
def test_archive_names_files_as_they_are_published(
    market: str, kind: ArchiveKind, symbol: str, code: str | None, month: str, day: str | None, spot: Venue, usdm: Venue
) -> None:
    """Months and days are called as the exchange calls them, and the names are read back to the same files."""
    archive = (spot if market == "spot" else usdm).archive
    interval = Interval(code) if code else None
    monthly, daily = archive.month(kind, symbol, interval, TIME), archive.day(kind, symbol, interval, TIME)
    assert monthly == (
        month, kind, symbol, interval, Span(parse_time("2023-03-01"), parse_time("2023-04-01")), True,
    )  # fmt: skip
    assert archive.parse_name(month) == monthly
    assert archive.checksum_name(monthly) == f"{month}.CHECKSUM"
    assert month.startswith(archive.folder(kind, symbol, interval, is_monthly=True))
    assert archive.folder(kind, symbol, interval, is_monthly=True).count("/") == month.count("/")
    if day is None:
        assert daily is None
        return
    assert daily == (day, kind, symbol, interval, Span(parse_time("2023-03-24"), parse_time("2023-03-25")), False)
    assert archive.parse_name(day) == daily


@pytest.mark.parametrize(
    "name",
    [
        "data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2023-03.zip.CHECKSUM",
        "data/futures/um/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2023-03.zip",
        "data/spot/monthly/klines/BTCUSDT/1M/BTCUSDT-1M-2023-03.zip",
        "data/spot/monthly/klines/BTCUSDT/7m/BTCUSDT-7m-2023-03.zip",
        "data/spot/monthly/klines/BTCUSDT/1m/ETHUSDT-1m-2023-03.zip",
        "data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-5m-2023-03.zip",
        "data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2023-13.zip",
        "data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2023-03-24.zip",
        "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2023-03.zip",
        "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2023-02-29.zip",
        "data/spot/daily/klines/BTCUSDT/1w/BTCUSDT-1w-2023-03-20.zip",
        "data/spot/daily/klines/BTCUSDT/BTCUSDT-1m-2023-03-24.zip",
        "data/spot/daily/trades/BTCUSDT/1m/BTCUSDT-trades-2023-03-24.zip",
        "data/spot/daily/trades/BTCUSDT/BTCUSDT-aggTrades-2023-03-24.zip",
        "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-\u0662\u0660\u0662\u0663-03-24.zip",
        "/data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2023-03-24.zip",
        "data/spot/daily/klines//1m/-1m-2023-03-24.zip",
        "data/spot/daily/bookDepth/BTCUSDT/BTCUSDT-bookDepth-2023-03-24.zip",
        "",
    ],
)
def test_archive_knows_names_that_are_not_its_own(name: str, spot: Venue) -> None:
    """A name that is not exactly one this market's files have stands for no file."""
    assert spot.archive.parse_name(name) is None


def test_archive_has_candles_of_a_second_on_spot_only(spot: Venue, usdm: Venue) -> None:
    """USD-M has no 1s files, so such a name is not one of its own."""
    assert spot.archive.parse_name("data/spot/daily/klines/B/1s/B-1s-2023-03-24.zip") is not None
    assert usdm.archive.parse_name("data/futures/um/daily/klines/B/1s/B-1s-2023-03-24.zip") is None
    assert usdm.archive.parse_name("data/futures/um/daily/klines/B/1m/B-1m-2023-03-24.zip") is not None


def test_archive_folder_of_all_symbols_ends_above_them(spot: Venue, usdm: Venue) -> None:
    """Without a symbol the folder is that in which the symbols' folders lie."""
    assert spot.archive.folder(KLINES, "", M1, is_monthly=True) == "data/spot/monthly/klines/"
    assert usdm.archive.folder(AGG_TRADES, "", None, is_monthly=False) == "data/futures/um/daily/aggTrades/"
    assert spot.archive.folder(KLINES, "BTCUSDT", None, is_monthly=False) == "data/spot/daily/klines/BTCUSDT/"


def test_archive_publishes_within_hours(spot: Venue, usdm: Venue) -> None:
    """Spot files come earlier in the day than those of USD-M."""
    assert HOUR < spot.archive.published_after < usdm.archive.published_after < 24 * HOUR


def listing(inside: str, truncated: str = "false", more: str = "") -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        "<Name>data.binance.vision</Name><Prefix>data/spot/daily/klines/BTCUSDT/1m/</Prefix><Marker></Marker>"
        f"{more}<MaxKeys>1000</MaxKeys><Delimiter>/</Delimiter><IsTruncated>{truncated}</IsTruncated>"
        f"{inside}</ListBucketResult>"
    ).encode()


def contents(key: str, size: str = "60123", at: str = "2023-03-25T05:12:07.000Z") -> str:
    return (
        f"<Contents><Key>{key}</Key><LastModified>{at}</LastModified><ETag>&quot;9a0364b9e99bb480dd25e1f0284c8555&quot;"
        f"</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )


def test_listing_gives_files_checksums_and_folders(spot: Venue) -> None:
    """CHECKSUM files are listed with the others; the echo of the prefix at the root is no folder."""
    page = spot.archive.read_listing(
        listing(contents("data/a&amp;b/币-1m.zip") + contents("data/a.zip.CHECKSUM", "98")
                + "<CommonPrefixes><Prefix>data/x/</Prefix></CommonPrefixes>"
                + "<CommonPrefixes><Prefix>data/y/</Prefix></CommonPrefixes>")
    )  # fmt: skip
    at = parse_time("2023-03-25T05:12:07Z")
    etag = "9a0364b9e99bb480dd25e1f0284c8555"
    assert page.files == (
        ListedFile("data/a&b/币-1m.zip", 60123, at, etag),
        ListedFile("data/a.zip.CHECKSUM", 98, at, etag),
    )
    assert page.folders == ("data/x/", "data/y/")
    assert page.marker is None


def test_listing_of_nothing_is_an_empty_page(spot: Venue) -> None:
    """A prefix under which nothing lies is answered with a page without entries."""
    assert spot.archive.read_listing(listing("")) == ((), (), None)


def test_listing_goes_on_from_the_marker_or_the_last_entry(spot: Venue) -> None:
    """A truncated page names where to go on, or its last key or folder is it; a `Prefix` of an entry is not lost."""
    keys = contents("data/1") + contents("data/2")
    folder = "<CommonPrefixes><Prefix>data/3/</Prefix></CommonPrefixes>"
    read = spot.archive.read_listing
    assert read(listing(keys, "true", "<NextMarker>data/2x</NextMarker>")).marker == "data/2x"
    assert read(listing(keys, "true")).marker == "data/2"
    assert read(listing(folder + keys, "true")).marker == "data/3/"
    assert read(listing(keys, "false", "<NextMarker>data/2x</NextMarker>")).marker is None


def test_listing_is_asked_with_a_delimiter_and_the_marker_that_is_known(spot: Venue) -> None:
    """The first page is asked without a marker."""
    first = dict(spot.archive.listing_params("data/spot/", ""))
    assert first == {"delimiter": "/", "prefix": "data/spot/", "max-keys": "1000"}
    assert dict(spot.archive.listing_params("data/spot/", "x"))["marker"] == "x"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>maintenance</body></html>",
        b"<Error><Code>AccessDenied</Code></Error>",
        listing(contents("a"))[:-30],
        listing(contents("a"), truncated="perhaps"),
        listing("", truncated="true"),
        listing(contents("a", size="-1")),
        listing(contents("a", size="many")),
        listing(contents("a", at="yesterday")),
        listing(contents("")),
        listing("<CommonPrefixes></CommonPrefixes>"),
        listing("").replace(b"<IsTruncated>false</IsTruncated>", b""),
        b'<!DOCTYPE a [<!ENTITY b "c">]>' + listing("").partition(b"\n")[2],
        b'<!DOCTYPE lolz [<!ENTITY a "1"><!ENTITY b "&a;&a;">]><ListBucketResult>&b;</ListBucketResult>',
        '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE a><ListBucketResult/>'.encode("utf-16"),
        b'<?xml version="1.0" encoding="klingon"?><ListBucketResult/>',
        b"PK\x03\x04",
    ],
)
def test_listing_that_is_none_is_refused(body: bytes, spot: Venue) -> None:
    """What is no whole listing, or declares entities, is a DecodeError."""
    with pytest.raises(DecodeError, match="listing"):
        spot.archive.read_listing(body)


@pytest.mark.parametrize(
    "text",
    [
        "{sha}  {name}\n", "{sha}  {name}", "{sha} {name}\r\n", "{sha} *{name}\n", "{SHA}  {name}\n", "{sha}\t{name}\n",
        "\ufeff{sha}  {name}\n", "\n{sha}  {name}\n\n",
    ],
)  # fmt: skip
def test_checksum_is_read_in_every_spelling(text: str, spot: Venue) -> None:
    """Line ends, spaces, the star of binary mode and capital digits do not matter."""
    file = spot.archive.month(KLINES, "币安人生USDT", M1, TIME)
    body = text.format(sha=SHA, SHA=SHA.upper(), name=file.name.rpartition("/")[2]).encode()
    assert spot.archive.read_checksum(body, file) == SHA


@pytest.mark.parametrize(
    "text",
    [
        "", "{sha}", "{sha}  ", "  {name}", "{sha}  other.zip\n", "{sha}  {name}.CHECKSUM\n", "{sha}0  {name}\n",
        "g{sha}  {name}", "{sha}{name}", "{sha}  {name}\n{sha}  other.zip\n", "<html>no</html>", "{sha}  a/{name}",
    ],
)  # fmt: skip
def test_checksum_of_something_else_is_refused(text: str, spot: Venue) -> None:
    """A CHECKSUM that is cut, no such file, or names another one proves nothing about ours."""
    file = spot.archive.month(KLINES, "BTCUSDT", M1, TIME)
    with pytest.raises(DecodeError, match="CHECKSUM"):
        spot.archive.read_checksum(text.format(sha=SHA, name="BTCUSDT-1m-2023-03.zip").encode(), file)


def test_checksum_in_bytes_that_are_no_text_is_refused(spot: Venue) -> None:
    """Random bytes are a DecodeError."""
    with pytest.raises(DecodeError, match="not text"):
        spot.archive.read_checksum(b"\xff\xfe\x00", spot.archive.month(KLINES, "BTCUSDT", M1, TIME))
