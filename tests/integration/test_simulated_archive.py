"""The archive's client and the simulated archive: two readings of the same documents, which must agree."""

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import sha256
from random import Random
from typing import Any

import pytest

from candlewick.clock import SystemClock
from candlewick.errors import DecodeError
from candlewick.exchanges.exchange import Archive, ArchiveFile, ArchiveKind, load
from candlewick.history.archive import ArchiveClient
from candlewick.integrity.files import Judgement, judge
from candlewick.market import DAY, Interval, Market, Series, parse_time
from candlewick.simulator.exchange import Exchange
from candlewick.simulator.faults import Fault
from candlewick.simulator.inprocess import InProcess, run_virtual
from candlewick.simulator.settings import SimulatorSettings

START = parse_time("2026-11-02T10:00:00")
THEN = parse_time("2026-10-30")
M1 = Interval("1m")


class Meeting:
    """One exchange, and a client of its archive."""

    def __init__(self, market: Market, faults: tuple[Fault, ...]) -> None:
        clock = SystemClock(start=START, monotonic=asyncio.get_running_loop().time)
        settings = SimulatorSettings(market=market, symbols=("WANUSDT",), start=START, faults=faults)
        self.market, self.exchange = market, Exchange(settings, clock)
        self.archive: Archive = load("binance").venues[market].archive
        self.client = ArchiveClient(
            self.archive, "http://sim", "http://sim", InProcess(self.exchange, clock).http, clock, lambda _: None,
            random=Random(1),
        )  # fmt: skip

    def day(self, kind: ArchiveKind = ArchiveKind.KLINES) -> ArchiveFile:
        file = self.archive.day(kind, "WANUSDT", M1 if kind is ArchiveKind.KLINES else None, THEN)
        assert file is not None
        return file

    async def columns(self, file: ArchiveFile) -> Any:  # noqa: ANN401 - columns by name
        body = await self.client.fetch(file)
        assert body is not None
        assert await self.client.checksum(file) == sha256(body).hexdigest()
        read = self.archive.read_candles if file.kind is ArchiveKind.KLINES else self.archive.read_trade_columns
        return read(body, file)

    async def judged(self) -> Judgement:
        series = Series(self.market, "WANUSDT", M1)
        return judge(await self.columns(self.day()), series, 1, self.day().span, START)


def meet(story: Callable[[Meeting], Awaitable[Any]], *faults: Fault, market: Market = Market.SPOT) -> Any:  # noqa: ANN401 - whatever the story comes to
    async def main() -> object:
        meeting = Meeting(market, faults)
        try:
            return await story(meeting)
        finally:
            meeting.exchange.stop()

    return run_virtual(main())


@pytest.mark.parametrize("market", list(Market))
def test_client_reads_candles_of_the_archive_as_they_are(market: Market) -> None:
    """A day's file, checked and parsed, is the exchange's truth in every field and without any complaint."""

    async def story(meeting: Meeting) -> None:
        found = await meeting.judged()
        truth = meeting.exchange.truth("WANUSDT", "1m", THEN, THEN + DAY)
        assert [int(row["open_time"]) for row in found.rows] == [int(row[0]) * 1000 for row in truth]
        for index, name in ((1, "open"), (4, "close"), (5, "volume"), (7, "quote_volume"), (8, "trades")):
            assert [float(row[name]) for row in found.rows] == [float(row[index]) for row in truth]
        assert (found.broken, found.repeated, found.conflicting, found.unordered, found.missing) == ([], 0, [], 0, [])

    meet(story, market=market)


@pytest.mark.parametrize("market", list(Market))
@pytest.mark.parametrize("kind", [ArchiveKind.TRADES, ArchiveKind.AGG_TRADES])
def test_client_reads_trades_of_the_archive(market: Market, kind: ArchiveKind) -> None:
    """A day's trades, raw or together, are those of the market in number, time and amount."""

    async def story(meeting: Meeting) -> None:
        columns = await meeting.columns(meeting.day(kind))
        truth = meeting.exchange.candles["WANUSDT"].tape.trades(THEN, THEN + DAY)
        assert len(columns["time"]) >= len(truth) > 100
        assert sorted({int(time) // 1000 for time in columns["time"]}) == sorted({one.time // 1000 for one in truth})
        volume = sum(float(row[5]) for row in meeting.exchange.truth("WANUSDT", "1d", THEN, THEN + DAY))
        assert sum(columns["quantity"]) == pytest.approx(volume, rel=1e-12)

    meet(story, market=market)


def test_client_lists_the_archive() -> None:
    """Every file of a folder is listed once, readable by its name, with folders above it."""

    async def story(meeting: Meeting) -> None:
        folder = meeting.archive.folder(ArchiveKind.KLINES, "WANUSDT", M1, is_monthly=False)
        files = await meeting.client.files(folder)
        named = [file for one in files if (file := meeting.archive.parse_name(one.name)) is not None]
        assert [file.span.start for file in named] == [START - START % DAY - day * DAY for day in range(400, 0, -1)]
        symbols = await meeting.client.folders(meeting.archive.folder(ArchiveKind.KLINES, "", None, is_monthly=True))
        assert any(name.endswith("/GONEUSDT/") for name in symbols)

    meet(story)


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (Fault(kind="truncated_file", number=30), (1410, 0, 0, 0, 30)),
        (Fault(kind="lost_rows", number=4), (1436, 0, 0, 0, 4)),
        (Fault(kind="off_grid_rows", number=2), (1438, 0, 0, 2, 2)),
        (Fault(kind="empty_rows", number=2), (1438, 0, 0, 2, 2)),
        (Fault(kind="repeated_rows", number=3), (1440, 3, 0, 0, 0)),
        (Fault(kind="conflicting_rows", number=2), (1438, 0, 2, 0, 2)),
        (Fault(kind="other_header"), (1440, 0, 0, 0, 0)),
        (Fault(kind="other_unit"), (1440, 0, 0, 0, 0)),
        (Fault(kind="outage", at="2026-10-30T05:00:00Z", duration_s=7200.0), (1320, 0, 0, 0, 120)),
    ],
)
def test_client_sees_what_is_wrong_with_a_file(fault: Fault, found: tuple[int, ...]) -> None:
    """A spoiled file with a right checksum is judged for what it is: rows, repeated, conflicting, broken, missing."""

    async def story(meeting: Meeting) -> object:
        one = await meeting.judged()
        missing = sum((span.end - span.start) // M1.nominal for span in one.missing)
        return len(one.rows), one.repeated, len(one.conflicting), len(one.broken), missing

    assert meet(story, fault) == found


def test_client_puts_an_unsorted_file_in_order() -> None:
    """Rows that changed places are all there, in order, and counted."""

    async def story(meeting: Meeting) -> object:
        found = await meeting.judged()
        times = [int(row["open_time"]) for row in found.rows]
        return len(times), times == sorted(times), found.unordered > 0

    assert meet(story, Fault(kind="unsorted_rows")) == (1440, True, True)


def test_client_refuses_what_is_no_zip_and_a_checksum_for_another_file() -> None:
    """Neither is taken for what it is not; an absent checksum is None."""

    async def checksum(meeting: Meeting) -> object:
        return await meeting.client.checksum(meeting.day())

    async def story(meeting: Meeting) -> None:
        with pytest.raises(DecodeError):
            await meeting.columns(meeting.day())

    meet(story, Fault(kind="not_a_zip"))
    assert meet(checksum, Fault(kind="no_checksum")) is None
    with pytest.raises(DecodeError):
        meet(checksum, Fault(kind="other_checksum"))


def test_client_waits_while_the_archive_is_denied() -> None:
    """AccessDenied for two seconds is no absence: the file comes in the end."""

    async def story(meeting: Meeting) -> object:
        return await meeting.client.fetch(meeting.day())

    assert meet(story, Fault(kind="denied", at=-60.0, duration_s=62.0)) == meet(story)
