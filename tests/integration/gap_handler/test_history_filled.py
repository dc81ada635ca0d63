"""The historical backfill: archive first, REST for the rest, chunk by chunk, across restarts and processes."""

from typing import Any

import msgspec

from candlewick.errors import ExchangeError, Unreachable
from candlewick.market import DAY, HOUR, MINUTE, Interval, Market, Series
from candlewick.services.gap_handler.results import Historical
from candlewick.services.schema import months_before
from candlewick.stores.store import Source
from tests.integration.gap_handler.town import START, Office, Town, minute, visit

CHUNKS = 5
WAN = Series(Market.SPOT, "WANUSDT", Interval("1h"))
MONTH: dict[str, Any] = {
    "historical_retention_months": 1, "historical_chunk_days": 7, "symbols": ("WANUSDT",), "intervals": (WAN.interval,),
}  # fmt: skip


async def finished(office: Office) -> dict[str, object]:
    async def status() -> dict[str, object]:
        return (await office.get("/backfill/historical/status"))[1]

    return await office.when(status, lambda state: state["started_at"] and not state["is_running"], within_s=60.0)


def away(path: str, _params: dict[str, str]) -> ExchangeError | None:
    return Unreachable("nobody answers") if "klines" in path else None


def test_history_is_filled_from_the_archive_first(shared_url: str) -> None:
    """Started by a call that has long been answered, it fills a month: old days from files, the last ones by REST."""

    async def story(town: Town) -> None:
        place = f"http://{town.server.host}:{town.server.port}"
        own = {**MONTH, "binance_archive_url": place, "binance_archive_list_url": place}
        async with town.handler(**own) as office:
            code, before = await office.get("/backfill/historical/status")
            assert (code, before["is_running"], before["chunks_total"]) == (200, False, 0)
            assert await office.post("/backfill/historical/start") == (202, {"status": "started"})
            assert (await office.post("/backfill/historical/start"))[0] == 409
            state = await finished(office)
            assert (state["chunks_total"], state["chunks_completed"], state["last_error"]) == (CHUNKS, CHUNKS, None)
            rows = town.store.read(WAN)
            assert (
                int(rows["open_time"][0]) == months_before(START - START % MINUTE, 1) == START - START % HOUR - 31 * DAY
            )
            assert len(rows) == 31 * 24 == state["candles_recovered"]
            assert int((rows["source"] == Source.ARCHIVE).sum()) > 20 * 24
            assert await town.rows() == []  # what was never there is no gap
            assert set(rows["source"].tolist()) == {int(Source.REST), int(Source.ARCHIVE)}

    visit(shared_url, story, speed=5.0)


def test_history_goes_on_where_it_was_after_a_restart(shared_url: str) -> None:
    """A handler that is stopped in the middle leaves the job; the next one does the other chunks and no chunk twice."""

    async def story(town: Town) -> None:
        async with town.handler(**MONTH) as office:
            await office.post("/backfill/historical/start")

            async def status() -> dict[str, object]:
                return (await office.get("/backfill/historical/status"))[1]

            await office.when(status, lambda state: state["chunks_completed"] == 2)
        kept = town.store.state("gap_handler:historical:spot")
        assert kept is not None
        assert b'"is_running":true' in kept
        async with town.handler(**MONTH) as office:
            state = await finished(office)
            assert (state["chunks_total"], state["chunks_completed"]) == (CHUNKS, CHUNKS)
            oldest = min(int(one["startTime"]) for one in office.wire.klines if one["limit"] != "1")
            assert oldest >= (months_before(START - START % MINUTE, 1) + 14 * DAY) // 1000
            assert len(town.store.read(WAN)) == state["candles_recovered"]

    visit(shared_url, story, speed=20.0)


def test_candles_of_a_chunk_that_was_broken_off_are_counted(shared_url: str) -> None:
    """Stopped when one series of a chunk is done and the other is not, the job counts the candles of both in the end."""
    both = {**MONTH, "symbols": ("WANUSDT", "ETHUSDT")}
    second = months_before(START - START % MINUTE, 1) + 7 * DAY

    async def story(town: Town) -> None:
        async with town.handler(**both) as office:

            def hang_after_wan(rows: list[Any]) -> list[Any]:
                asked = office.wire.klines[-1]
                if asked["symbol"] == "WANUSDT" and asked["limit"] != "1" and int(asked["startTime"]) >= second // 1000:
                    office.wire.delay_s = 1000.0
                return rows

            office.wire.garble = hang_after_wan
            await office.post("/backfill/historical/start")
            await office.until(lambda: office.wire.delay_s and office.wire.klines[-1]["symbol"] == "ETHUSDT", 60.0)
            assert len(town.store.read(WAN, second)) > 0
        async with town.handler(**both) as office:
            state = await finished(office)
            assert (state["chunks_completed"], state["last_error"]) == (CHUNKS, None)
            assert state["candles_recovered"] == sum(info.rows for info in town.store.series()) == 2 * 31 * 24

    visit(shared_url, story, speed=20.0)


def test_search_leaves_to_history_what_is_its_own(shared_url: str) -> None:
    """What a job under way has yet to fill is no gap that a search logs, or has repaired by REST; what it has done is."""

    async def story(town: Town) -> None:
        end = START - START % MINUTE
        start = months_before(end, 1)
        job = Historical(is_running=True, started_at=START, start=start, end=end, done=(0, 1))
        hour = (START - START % HOUR) // MINUTE * MINUTE
        town.keep(WAN, [(hour - minute(0)) // MINUTE - 60 * n for n in (28 * 24, 5, 4, 3, 2, 1)])
        town.store.set_state("gap_handler:historical:spot", msgspec.json.encode(job))
        async with town.handler(searches=True, **MONTH) as office:
            rows = await office.when(town.rows, bool)
            state = await finished(office)
            assert state["chunks_completed"] == CHUNKS
            (found,) = [row for row in await town.rows() if row[0] == "gap_detected"]
            first = WAN.interval.ceil(start + 14 * DAY)
            assert (found[2], found[3]) == (rows[0][2], (first - minute(0)) // MINUTE)

    visit(shared_url, story, speed=20.0)


def test_chunk_that_failed_does_not_count_as_completed(shared_url: str) -> None:
    """Where REST does not answer nothing is completed, the reason is told, and the job can be started again."""

    async def story(town: Town) -> None:
        async with town.handler(**MONTH) as office:
            office.wire.failing = away
            await office.post("/backfill/historical/start")
            state = await finished(office)
            assert (state["chunks_completed"], state["candles_recovered"]) == (0, 0)
            assert "nobody answers" in str(state["last_error"])
            office.wire.failing = lambda *_: None
            assert (await office.post("/backfill/historical/start"))[0] == 202
            assert (await finished(office))["chunks_completed"] == CHUNKS

    visit(shared_url, story, speed=200.0)


def test_start_that_the_database_fails_can_be_made_again(shared_url: str) -> None:
    """A job that could not be written down is nobody's: it is begun by whoever asks next."""

    async def story(town: Town) -> None:
        async with town.handler(**MONTH) as office:
            await town.sql("ALTER TABLE provenance ADD CONSTRAINT no_job CHECK (key NOT LIKE '%historical%')")
            code, answer = await office.post("/backfill/historical/start")
            assert (code, "no_job" in answer["error"]) == (503, True)
            await town.sql("ALTER TABLE provenance DROP CONSTRAINT no_job")
            assert await office.post("/backfill/historical/start") == (202, {"status": "started"})

    visit(shared_url, story)


def test_progress_that_cannot_be_read_stops_nothing_else(shared_url: str) -> None:
    """Health and the log say so, backfills go on, and what is told to be done about it helps."""

    async def story(town: Town) -> None:
        town.store.set_state("gap_handler:historical:spot", b'{"is_running": tru')
        town.store.set_state("gap_handler:scanned:spot", b"yesterday")
        async with town.handler(searches=True, **MONTH) as office:
            await office.until(lambda: office.handler.status().errors_24h and office.handler.status().scanned_at)
            code, answer = await office.get("/backfill/historical/status")
            assert code == 503
            await town.sql(answer["error"][answer["error"].index("DELETE") :])
            assert (await office.post("/backfill/historical/start"))[0] == 202

    visit(shared_url, story)


def test_history_starts_by_itself_where_settings_say_so(shared_url: str) -> None:
    """HISTORICAL_BACKFILL_ENABLED fills it a few seconds after the start, and what is there is not fetched again."""

    async def story(town: Town) -> None:
        async with town.handler(**MONTH, historical_backfill_enabled=True) as office:
            await finished(office)
        async with town.handler(**MONTH, historical_backfill_enabled=True) as office:
            state = await office.when(
                lambda: office.get("/backfill/historical/status"),
                lambda answer: not answer[1]["is_running"] and answer[1]["chunks_completed"] == CHUNKS,
            )
            assert state[0] == 200
            assert len(office.wire.klines) <= 1

    visit(shared_url, story, speed=20.0)
