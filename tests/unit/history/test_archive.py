"""What the archive's client makes of answers, absences and silence."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import TypeVar

import pytest

from candlewick.clock import ManualClock, SystemClock
from candlewick.errors import (
    DecodeError,
    ExchangeError,
    RateLimited,
    Refused,
    ServerTrouble,
    Unreachable,
)
from candlewick.events import Event, RestTrouble
from candlewick.exchanges.exchange import ArchiveFile, ArchiveKind, load
from candlewick.history import http
from candlewick.history.archive import ArchiveClient
from candlewick.market import SECOND, Interval, Market, parse_time
from candlewick.simulator.mirror import Mirror
from candlewick.transport import Answer

T = TypeVar("T")

ARCHIVE = load("binance").venues[Market.SPOT].archive
M1 = Interval("1m")
FILE = ARCHIVE.month(ArchiveKind.KLINES, "BTCUSDT", M1, parse_time("2023-03-05"))
SHA = "ab" * 32
CHECKSUM = f"{SHA}  BTCUSDT-1m-2023-03.zip\n".encode()
BODY = b"PK" + bytes(1000)
DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
ABSENT = Answer(404, {}, b"<Error><Code>NoSuchKey</Code></Error>")


def ok(body: bytes, **headers: str) -> Answer:
    return Answer(200, headers, body)


class Server:
    """Answers by script, or with `BODY`; it writes down what it was asked, and when."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.script: list[Answer | ExchangeError] = []
        self.asked: list[tuple[float, str, dict[str, str]]] = []
        self.timeouts_s: list[float] = []
        self.under_way = self.most_under_way = 0

    async def get(self, url: str, params: tuple[tuple[str, str], ...], timeout_s: float) -> Answer:
        self.asked.append((self.clock.monotonic(), url, dict(params)))
        self.timeouts_s.append(timeout_s)
        answer = self.script.pop(0) if self.script else ok(BODY)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await self.clock.sleep(0.1)
        self.under_way -= 1
        if isinstance(answer, ExchangeError):
            raise answer
        return answer

    async def close(self) -> None:
        return


class Desk:
    """A client with everything around it."""

    def __init__(self, *script: Answer | ExchangeError, in_flight: int = 8, attempts: int = 5) -> None:
        self.clock = ManualClock(1000 * SECOND)
        self.server = Server(self.clock)
        self.server.script += script
        self.events: list[Event] = []
        self.client = ArchiveClient(
            ARCHIVE, "http://files.test/", "http://list.test/bucket", self.server, self.clock, self.events.append,
            random=Random(1), in_flight=in_flight, attempts=attempts,
        )  # fmt: skip

    def run(self, work: Callable[[ArchiveClient], Awaitable[T]]) -> T:
        async def one() -> T:
            return await work(self.client)

        async def story() -> T:
            task = asyncio.get_running_loop().create_task(one())
            while not task.done():
                for _ in range(10):
                    await asyncio.wait([task], timeout=0)
                if not task.done():
                    self.clock.advance((min(self.clock._waiting)[0] - self.clock.now()) / SECOND)
            return task.result()

        return asyncio.run(story())

    @property
    def retries_s(self) -> list[float]:
        return [one.retry_s for one in self.events if isinstance(one, RestTrouble)]


def fetch(client: ArchiveClient) -> Awaitable[bytes | None]:
    return client.fetch(FILE)


def checksum(client: ArchiveClient) -> Awaitable[str | None]:
    return client.checksum(FILE)


def test_client_fetches_a_file_and_its_checksum() -> None:
    """Each with one request below the base URL; what came is counted."""
    desk = Desk(ok(BODY), ok(CHECKSUM))
    assert desk.run(fetch) == BODY
    assert desk.run(checksum) == SHA
    urls = [url for _, url, _ in desk.server.asked]
    name = "http://files.test/data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2023-03.zip"
    assert urls == [name, f"{name}.CHECKSUM"]
    assert (desk.client.requests, desk.client.bytes, desk.client.retries) == (2, len(BODY) + len(CHECKSUM), 0)
    assert desk.events == []


def test_client_percent_encodes_names() -> None:
    """Symbols need not be ASCII."""
    desk = Desk()
    file = ARCHIVE.month(ArchiveKind.KLINES, "币USDT", M1, 0)
    desk.run(lambda client: client.fetch(file))
    assert desk.server.asked[0][1].endswith("/klines/%E5%B8%81USDT/1m/%E5%B8%81USDT-1m-1970-01.zip")


def test_client_takes_404_for_absence_at_once() -> None:
    """A file that is not there is no trouble and is not asked for again."""
    desk = Desk(ABSENT, ABSENT)
    assert desk.run(fetch) is None
    assert desk.run(checksum) is None
    assert desk.client.requests == 2
    assert desk.events == []


@pytest.mark.parametrize(
    "trouble",
    [
        Unreachable("refused"),
        Answer(500, {}, b""),
        Answer(503, {}, b"<Error><Code>SlowDown</Code></Error>"),
        Answer(403, {}, DENIED),
        Answer(403, {}, b"<html>CloudFront</html>"),
        Answer(408, {}, b""),
        Answer(206, {}, BODY[:5]),
        Answer(304, {}, b""),
        ok(BODY[:-1], **{"content-length": str(len(BODY))}),
        ok(b"", **{"content-length": str(len(BODY))}),
    ],
)
def test_client_asks_again_after_trouble(trouble: Answer | ExchangeError) -> None:
    """Silence, 5xx, AccessDenied and cut bodies are told and asked again, later each time."""
    desk = Desk(trouble, trouble, trouble)
    assert desk.run(fetch) == BODY
    assert desk.client.requests == 4
    assert desk.client.retries == 3
    assert all(0.75 * base <= wait_s <= 1.25 * base for base, wait_s in zip((0.5, 1, 2), desk.retries_s, strict=True))
    times = [time for time, _, _ in desk.server.asked]
    assert [later - time - 0.1 for time, later in pairwise(times)] == pytest.approx(desk.retries_s, abs=1e-5)


def test_client_gives_a_slow_network_more_time() -> None:
    """Each further attempt may take twice as long; the next file begins anew."""
    desk = Desk(Unreachable("no whole answer"), Unreachable("no whole answer"))
    desk.run(fetch)
    desk.run(fetch)
    assert desk.server.timeouts_s == [120, 240, 480, 120]


def test_http_does_not_wait_for_a_body_that_has_stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that falls silent in the middle of a file is left long before the file's whole time is over."""
    monkeypatch.setattr(http, "STALL_S", 0.1)

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nPK")
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.set()

    async def story() -> None:
        client = http.AiohttpHttp()
        async with await asyncio.start_server(stall, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(Unreachable, match="sent nothing"):
                await client.get(f"http://127.0.0.1:{port}/", (), 3600.0)
            await client.close()
            await left.wait()

    left = asyncio.Event()
    asyncio.run(story())


def test_client_gives_up_after_its_attempts() -> None:
    """The last failure is the caller's, with the address in it, and AccessDenied never turns into absence."""
    desk = Desk(*[Answer(403, {}, DENIED)] * 9, attempts=3)
    with pytest.raises(ServerTrouble, match=r"GET http://files.test/data.*403: AccessDenied Access Denied"):
        desk.run(fetch)
    assert desk.client.requests == 3
    assert len(desk.retries_s) == 3
    assert desk.retries_s[-1] == 0.0


def test_client_does_not_ask_again_what_is_refused() -> None:
    """Other answers of the 400s will not change."""
    desk = Desk(Answer(451, {}, b"not here"))
    with pytest.raises(Refused, match="451: not here"):
        desk.run(fetch)
    assert desk.client.requests == 1


def test_client_lets_encoded_bodies_be_longer_than_stated() -> None:
    """The length of a compressed answer says nothing of its unpacked body."""
    desk = Desk(ok(BODY, **{"content-length": "20", "content-encoding": "gzip"}))
    assert desk.run(fetch) == BODY


def test_client_keeps_the_pause_that_the_archive_asks_for() -> None:
    """After a 429 nobody asks before `Retry-After` is over, neither those who were refused nor the others."""
    desk = Desk(Answer(429, {"retry-after": "40"}, b""), in_flight=2)

    async def many(client: ArchiveClient) -> list[bytes | None]:
        return await asyncio.gather(*(client.fetch(FILE) for _ in range(4)))

    assert desk.run(many) == [BODY] * 4
    times = [time for time, _, _ in desk.server.asked]
    refused_at = times[0] + 0.1
    assert len(times) == 5
    assert [time < refused_at for time in times] == [True, True, False, False, False]
    assert all(time >= refused_at + 40 - 1e-5 for time in times[2:])


def test_client_gives_up_where_the_pause_is_too_long() -> None:
    """An hour is not waited for."""
    desk = Desk(Answer(429, {"retry-after": "3600"}, b""))
    with pytest.raises(RateLimited) as caught:
        desk.run(fetch)
    assert caught.value.retry_after == 3600
    assert desk.client.requests == 1


def test_client_keeps_few_requests_under_way() -> None:
    """However many are asked at once; and one that waits to ask again keeps no place."""
    desk = Desk(Unreachable("reset"), in_flight=3)

    async def many(client: ArchiveClient) -> list[bytes | None]:
        return await asyncio.gather(*(client.fetch(FILE) for _ in range(20)))

    assert desk.run(many) == [BODY] * 20
    assert desk.server.most_under_way == 3
    assert desk.clock.monotonic() - 1000 == pytest.approx(0.7, abs=0.15)


def test_client_gives_a_place_back_when_it_is_cancelled() -> None:
    """A load that is called off leaves the client as it was."""
    desk = Desk(in_flight=1)

    async def cancel(client: ArchiveClient) -> bytes | None:
        task = asyncio.ensure_future(client.fetch(FILE))
        for _ in range(5):
            await asyncio.wait([task], timeout=0)
        task.cancel()
        await asyncio.wait([task])
        return await client.fetch(FILE)

    assert desk.run(cancel) == BODY


def test_client_asks_once_more_for_a_checksum_that_cannot_be_read() -> None:
    """It may be a proxy's page once; a CHECKSUM of another file stays one."""
    other = ok(f"{SHA}  other.zip\n".encode())
    desk = Desk(ok(b"<html>please log in</html>"), ok(CHECKSUM))
    assert desk.run(checksum) == SHA
    desk = Desk(other, other, other)
    with pytest.raises(DecodeError, match=r"other\.zip"):
        desk.run(checksum)
    assert desk.client.requests == 2


def listing(keys: list[str], folders: list[str], marker: str | None) -> Answer:
    entries = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified><ETag>x</ETag><Size>5</Size></Contents>"
        for key in keys
    ) + "".join(f"<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>" for folder in folders)
    more = "false" if marker is None else "true"
    following = f"<NextMarker>{marker}</NextMarker>" if marker else ""
    text = (
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Prefix>a/</Prefix>'
        f"{following}<IsTruncated>{more}</IsTruncated>{entries}</ListBucketResult>"
    )
    return ok(text.encode())


def test_client_lists_page_after_page() -> None:
    """Files and folders of all pages, from where the last page ended; the listing is another address."""
    desk = Desk(listing(["a/1", "a/2"], [], "a/2"), listing(["a/3"], ["a/b/"], ""), listing(["a/c"], [], None))
    assert [file.name for file in desk.run(lambda client: client.files("a/"))] == ["a/1", "a/2", "a/3", "a/c"]
    assert {url for _, url, _ in desk.server.asked} == {"http://list.test/bucket"}
    assert [params.get("marker") for _, _, params in desk.server.asked] == [None, "a/2", "a/b/"]
    desk = Desk(listing(["a/1"], ["a/x/"], "a/x/"), listing([], ["a/y/"], None))
    assert desk.run(lambda client: client.folders("a/")) == ["a/x/", "a/y/"]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ([ok(b"<html>no</html>")] * 9, "not a listing.*right address"),
        ([ABSENT], "404.*no such file"),
        ([listing(["a/1"], [], "a/1")] * 9, "does not go on after a/1"),
    ],
)
def test_client_tells_a_listing_that_is_none(script: list[Answer], words: str) -> None:
    """Nonsense, a missing bucket and pages in a circle are the exchange's trouble, not an empty folder."""
    desk = Desk(*script)
    with pytest.raises(ServerTrouble, match=words):
        desk.run(lambda client: client.files("a/"))
    assert desk.client.requests <= 2


def outcome(script: list[Answer | ExchangeError]) -> bytes | str | None:
    """What a fetch comes to, by a plain account of the rules."""
    for failures, answer in enumerate(script, 1):
        if isinstance(answer, Answer):
            if answer.status == 404:
                return None
            if answer.status in {400, 418}:
                return "error"
            if answer.status == 200 and answer.headers.get("content-length", "x") in {"x", str(len(answer.body))}:
                return answer.body
        if failures == 5:
            return "error"
    return BODY


def test_client_ends_every_story_as_it_should() -> None:
    """Of random scripts of answers each ends in the body, in absence, or in an error that says where."""
    rng = Random(3)
    for _ in range(300):
        script: list[Answer | ExchangeError] = []
        for _ in range(rng.randint(0, 6)):
            status = rng.choice([200, 204, 301, 400, 403, 404, 418, 429, 500, 500, 503, 599])
            headers: Mapping[str, str] = rng.choice(
                [{}, {"content-length": "7"}, {"content-length": "x"}, {"retry-after": "9"}, {"retry-after": "soon"}]
            )
            script.append(rng.choice([Answer(status, headers, rng.randbytes(rng.randint(0, 9))), Unreachable("no")]))
        expected = outcome(script)
        desk = Desk(*script)
        if expected == "error":
            with pytest.raises(ExchangeError, match=r"GET http://files\.test/"):
                desk.run(fetch)
        else:
            assert desk.run(fetch) == expected


@pytest.mark.parametrize(("symbol", "over_a_socket"), [("BTCUSDT", False), ("BTCUSDT", True), ("币安人生USDT", True)])
def test_client_loads_from_a_mirror(symbol: str, over_a_socket: bool, tmp_path: Path) -> None:
    """What a mirror serves, in memory or over HTTP, is listed, checked and read."""
    row = "1679616000000,1,2,0.5,1.5,10,1679616059999,15,3,5,7.5,0\n"
    path = tmp_path / f"data/spot/daily/klines/{symbol}/1m/{symbol}-1m-2023-03-24.csv"
    path.parent.mkdir(parents=True)
    path.write_text(row)
    file = ARCHIVE.day(ArchiveKind.KLINES, symbol, M1, parse_time("2023-03-24"))
    assert file is not None

    async def story() -> tuple[list[ArchiveFile | None], list[str], str | None, bytes | None]:
        clock = SystemClock()
        mirror = Mirror(tmp_path)
        url = await mirror.serve(0) if over_a_socket else "http://mirror.test"
        wire = http.AiohttpHttp() if over_a_socket else mirror.http()
        try:
            client = ArchiveClient(ARCHIVE, url, url, wire, clock, lambda _: None, random=Random(1))
            prefix = ARCHIVE.folder(ArchiveKind.KLINES, symbol, M1, is_monthly=False)
            listed = [ARCHIVE.parse_name(one.name) for one in await client.files(prefix)]
            folders = await client.folders(ARCHIVE.folder(ArchiveKind.KLINES, "", M1, is_monthly=False))
            return listed, folders, await client.checksum(file), await client.fetch(file)
        finally:
            await wire.close()
            await mirror.close()

    listed, folders, stated, body = asyncio.run(story())
    assert listed == [file, None]
    assert folders == [f"data/spot/daily/klines/{symbol}/"]
    assert body is not None
    assert stated == sha256(body).hexdigest()
    assert ARCHIVE.read_candles(body, file)["close"].tolist() == [1.5]
