"""The feeder with a real database: whatever happens to either, the database ends up with every row of the record."""

import json
import time
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from candlewick.market import MINUTE, SECOND, format_time
from tests.acceptance.feeding import (
    differences,
    feeding,
    health,
    in_database,
    in_record,
    query,
    rows_in,
    wait_until_level,
)
from tests.acceptance.processes import Child, ask, command, simulated, started, url_of, wait_for
from tests.servers.postgres import PostgresServer

SPEED = "120"
SYMBOLS = "BTCUSDT,SOLUSDT,WANUSDT"
DROPPED_AT_S = 900.0
"""A feeder has started by then, at 60 times the speed of real time."""
BUSY = {"SYMBOLS": SYMBOLS, "INTERVALS": "1s,1m"}
"""Some hundred closes a second at that speed."""


def _exchange_now(place: str) -> int:
    return int(ask(f"http://{place}/api/v3/time")[1]["serverTime"]) * 1000


def _wait_market_minutes(place: str, minutes: float, child: Child) -> None:
    until = _exchange_now(place) + int(minutes * MINUTE)
    wait_for(lambda: _exchange_now(place) >= until, child)


def test_feeder_fills_the_database_while_it_runs(tmp_path: Path, database_url: str) -> None:
    """History and live candles of every series are in the database as in the record, and health says so."""
    record = tmp_path / "record"
    with simulated(tmp_path / "exchange", "--speed", SPEED) as place:
        settings = feeding(place, record, database_url, SYMBOLS=SYMBOLS, INTERVALS="1m,5m")
        with started(tmp_path, "feeder", **settings) as feeder:
            wait_until_level(feeder)
            _wait_market_minutes(place, 5, feeder)
            document = wait_until_level(feeder)
            assert document["database_connected"] is True
            assert document["database_status"] == "connected"
            assert document["candles_written"] == document["candles_in_db"] >= 3 * 5
            assert document["outputs"][0]["location"].startswith("postgresql://")
            assert ask(f"{url_of(feeder)}/ready")[0] == 200
            assert feeder.stop() == 0
        written = feeder.logged("OutputWritten")
        assert written
        assert {"rows", "ms", "total"} <= set(written[-1])
        assert all(line["level"] == "INFO" for line in written)
    assert differences(record, database_url) == []
    assert rows_in(in_record(record)) > 3 * 14 + 3 * 5


def test_outage_of_the_database_costs_nothing(
    tmp_path: Path, database_url: str, postgres_server: PostgresServer
) -> None:
    """Ten minutes of market without the database: degraded and not ready meanwhile, and afterwards nothing is missing."""
    record = tmp_path / "record"
    with (
        simulated(tmp_path / "exchange", "--speed", SPEED) as place,
        started(tmp_path, "feeder", **feeding(place, record, database_url, SYMBOLS=SYMBOLS)) as feeder,
    ):
        wait_until_level(feeder)
        postgres_server.stop()
        _wait_market_minutes(place, 10, feeder)
        document = health(feeder)
        assert document["status"] == "degraded"
        assert document["database_status"] == "disconnected"
        assert any("the output postgresql is not connected" in one for one in document["reasons"])
        assert document["buffer_size"] >= 3 * 9
        assert document["outputs"][0]["lag_seconds"] >= 9 * 60
        assert ask(f"{url_of(feeder)}/health")[0] == 200
        assert ask(f"{url_of(feeder)}/ready")[0] == 503
        postgres_server.start()
        wait_until_level(feeder)
        assert ask(f"{url_of(feeder)}/ready")[0] == 200
        assert feeder.stop() == 0
    assert differences(record, database_url) == []


def test_database_that_is_down_at_the_start_stops_nothing(
    tmp_path: Path, database_url: str, postgres_server: PostgresServer
) -> None:
    """The feeder records without its database, says so, and feeds it all once it is there."""
    record = tmp_path / "record"
    postgres_server.stop()
    with simulated(tmp_path / "exchange", "--speed", SPEED) as place:
        settings = feeding(place, record, database_url, SYMBOLS=SYMBOLS)
        with started(tmp_path, "feeder", **settings) as feeder:
            document = wait_for(lambda: one if (one := health(feeder))["outputs"][0]["error"] else None, feeder)
            _wait_market_minutes(place, 3, feeder)
            assert document["database_connected"] is False
            assert feeder.stop() == 0
        assert rows_in(in_record(record)) > 20
        with started(tmp_path, "feeder", **settings) as feeder:
            url_of(feeder)
            postgres_server.start()
            wait_until_level(feeder)
            assert feeder.stop() == 0
    assert differences(record, database_url) == []


def test_kill_during_an_outage_costs_nothing(
    tmp_path: Path, database_url: str, postgres_server: PostgresServer
) -> None:
    """A feeder killed while its database is down has lost nothing: what waited was on disk, and the next one brings it."""
    record = tmp_path / "record"
    with simulated(tmp_path / "exchange", "--speed", SPEED) as place:
        settings = feeding(place, record, database_url, SYMBOLS=SYMBOLS)
        with started(tmp_path, "feeder", **settings) as feeder:
            wait_until_level(feeder)
            postgres_server.stop()
            _wait_market_minutes(place, 4, feeder)
            waited = int(health(feeder)["buffer_size"])
            feeder.kill()
        postgres_server.start()
        assert waited >= 3 * 3
        assert len(differences(record, database_url)) >= waited
        with started(tmp_path, "feeder", **settings) as feeder:
            wait_until_level(feeder)
            assert feeder.stop() == 0
    assert differences(record, database_url) == []


def test_rows_that_the_database_refuses_block_nothing(tmp_path: Path, database_url: str) -> None:
    """A poison row is set aside with the database's words and told everywhere; its neighbours are stored, and it too, later."""
    record = tmp_path / "record"
    with simulated(tmp_path / "exchange", "--speed", SPEED) as place:
        settings = feeding(place, record, database_url, SYMBOLS=SYMBOLS)
        with started(tmp_path, "feeder", **settings) as feeder:
            wait_until_level(feeder)
            poison = (
                "ALTER TABLE candles ADD CONSTRAINT poison CHECK (extract(minute FROM time)::int % 3 <> 0) NOT VALID"
            )
            query(database_url, poison)
            _wait_market_minutes(place, 7, feeder)
            document = wait_for(lambda: one if (one := health(feeder))["outputs"][0]["refused"] >= 6 else None, feeder)
            assert document["status"] == "degraded"
            assert any("refused" in one for one in document["reasons"])
            assert feeder.stop() == 0
            assert any("poison" in line["words"] for line in feeder.logged("OutputRefused"))
        refused = differences(record, database_url)
        assert refused
        assert all(int(one.split()[1][14:16]) % 3 == 0 for one in refused)  # the minute of its time
        errors = query(database_url, "SELECT error_message FROM data_quality_logs WHERE event_type = 'error'")
        assert any("poison" in row["error_message"] for row in errors)
        query(database_url, "ALTER TABLE candles DROP CONSTRAINT poison")
        with started(tmp_path, "feeder", **settings) as feeder:
            wait_until_level(feeder)
            assert feeder.stop() == 0
    assert differences(record, database_url) == []


def test_stop_under_load_leaves_nothing_behind(tmp_path: Path, database_url: str) -> None:
    """SIGTERM while some hundred candles a second arrive: exit code 0 within 10 s, and both have all that was received."""
    record = tmp_path / "record"
    with (
        simulated(tmp_path / "exchange", "--speed", SPEED, "--symbols", SYMBOLS) as place,
        started(tmp_path, "feeder", **feeding(place, record, database_url, **BUSY)) as feeder,
    ):
        wait_until_level(feeder)
        _wait_market_minutes(place, 2, feeder)
        assert feeder.stop(within_s=10.0) == 0
    assert differences(record, database_url) == []
    assert rows_in(in_database(database_url)) > 3 * 120


def test_stop_does_not_wait_for_a_database_that_stands_still(
    tmp_path: Path, database_url: str, postgres_server: PostgresServer
) -> None:
    """A server that holds connections and answers nothing keeps no stop beyond 10 s; the next start brings the rest."""
    record = tmp_path / "record"
    with simulated(tmp_path / "exchange", "--speed", SPEED) as place:
        settings = feeding(place, record, database_url, SYMBOLS=SYMBOLS)
        with started(tmp_path, "feeder", **settings) as feeder:
            wait_until_level(feeder)
            postgres_server.pause()
            _wait_market_minutes(place, 1.5, feeder)
            assert feeder.stop(within_s=10.0) == 0
        postgres_server.resume()
        with started(tmp_path, "feeder", **settings) as feeder:
            wait_until_level(feeder)
            assert feeder.stop() == 0
    assert differences(record, database_url) == []


def test_killed_feeder_goes_on_where_it_was(tmp_path: Path, database_url: str) -> None:
    """Killed four times while it writes, then left alone: the database has every row of the record once."""
    record, draw = tmp_path / "record", Random(1)
    with simulated(tmp_path / "exchange", "--speed", SPEED, "--symbols", SYMBOLS) as place:
        settings = feeding(place, record, database_url, **BUSY)
        for _ in range(4):
            with started(tmp_path, "feeder", **settings) as feeder:
                before = _rows_written(database_url)
                wait_for(lambda: _rows_written(database_url) > before, feeder, within_s=90.0)  # noqa: B023 - called in this round
                time.sleep(draw.uniform(0.0, 0.5))
                feeder.kill()
        with started(tmp_path, "feeder", **settings) as feeder:
            wait_until_level(feeder)
            assert feeder.stop() == 0
    assert differences(record, database_url) == []


def _rows_written(database: str) -> int:
    if not query(database, "SELECT 1 FROM pg_tables WHERE tablename = 'candles'"):
        return 0
    return int(query(database, "SELECT count(*) FROM candles")[0][0])


def test_killed_server_costs_nothing(tmp_path: Path, database_url: str, postgres_server: PostgresServer) -> None:
    """The database server killed four times in the midst of transactions: what was not committed comes again, once."""
    record, draw = tmp_path / "record", Random(2)
    with (
        simulated(tmp_path / "exchange", "--speed", SPEED, "--symbols", SYMBOLS) as place,
        started(tmp_path, "feeder", **feeding(place, record, database_url, **BUSY)) as feeder,
    ):
        for _ in range(4):
            wait_until_level(feeder)
            time.sleep(draw.uniform(0.0, 0.5))
            postgres_server.kill()
            time.sleep(draw.uniform(0.0, 0.3))
            postgres_server.start()
        wait_until_level(feeder)
        assert feeder.stop() == 0
    assert differences(record, database_url) == []


def test_dropped_minutes_are_in_both_stores_and_one_line_of_the_log(tmp_path: Path, database_url: str) -> None:
    """Three minutes whose frames never came are in the record and in the database, with one gap on record, resolved."""
    record, script = tmp_path / "record", tmp_path / "faults.json"
    script.write_text(json.dumps([{"kind": "drop", "at": DROPPED_AT_S, "duration_s": 180.0}]))
    with simulated(tmp_path / "exchange", "--speed", "60", "--faults", str(script)) as place:
        began = _exchange_now(place)
        with started(tmp_path, "feeder", **feeding(place, record, database_url, SYMBOLS="BTCUSDT")) as feeder:
            # The minute in which the feeder starts may be one that REST has to fill.
            since = f"gap_start >= '{format_time(began + int((DROPPED_AT_S - 60.0) * SECOND))}'"
            gaps = f"SELECT * FROM data_quality_logs WHERE event_type = 'gap_detected' AND {since}"
            wait_until_level(feeder)
            wait_for(lambda: query(database_url, gaps), feeder)
            wait_for(lambda: query(database_url, f"{gaps} AND resolved"), feeder)
            wait_until_level(feeder)
            assert feeder.stop() == 0
    (gap,) = query(database_url, gaps)
    assert gap["resolved"] is True
    assert gap["candles_missing"] == gap["candles_recovered"] == 3
    assert (gap["gap_end"] - gap["gap_start"]).total_seconds() == 180
    (filled,) = query(database_url, f"SELECT * FROM data_quality_logs WHERE event_type = 'gap_backfilled' AND {since}")
    assert filled["candles_recovered"] == 3
    assert differences(record, database_url) == []
    (rows,) = in_record(record).values()
    times = sorted(rows)
    assert [after - before for before, after in pairwise(times)] == [MINUTE] * (len(times) - 1)
    assert times[-1] > began + int(DROPPED_AT_S * SECOND) + MINUTE


def test_gap_is_delegated_to_the_gap_handler(tmp_path: Path, database_url: str) -> None:
    """What a feeder missed while it was away is repaired by the gap handler, read back, and equal in both."""
    record = tmp_path / "record"
    with simulated(tmp_path / "exchange", "--speed", "60") as place:
        settings = feeding(
            place, record, database_url, SYMBOLS="BTCUSDT", GAP_HANDLER_PORT="0", BACKFILL_CHECK_INTERVAL_S="3600",
            CONTROL_TOKEN="word",
        )  # fmt: skip
        with started(tmp_path, "feeder", **settings) as feeder:
            wait_until_level(feeder)
            _wait_market_minutes(place, 2, feeder)
            assert feeder.stop() == 0
        with started(tmp_path / "handler", "gap-handler", **settings) as handler:
            began = _exchange_now(place)
            url = url_of(handler)
            wait_for(lambda: _exchange_now(place) > began + 5 * MINUTE, handler)
            with started(tmp_path, "feeder", GAP_HANDLER_URL=f"{url}/backfill", **settings) as feeder:
                wait_for(lambda: feeder.logged("GapClosed"), feeder)
                wait_until_level(feeder)
                assert feeder.stop() == 0
            assert ask(f"{url}/health")[1]["backfills_completed"] >= 1
            done = "SELECT job FROM job_runs WHERE finished_at IS NOT NULL AND error IS NULL"
            jobs = wait_for(lambda: query(database_url, done), handler)
            assert {row["job"] for row in jobs} <= {"partitions", "cleanup", "accuracy", "vacuum"}
            assert feeder.logged("RestTrouble") == []
    assert feeder.logged("GapClosed")[0]["recovered"] >= 5
    (rows,) = in_record(record).values()
    (others,) = in_database(database_url).values()
    # The handler may have gone on for a moment after the feeder stopped.
    assert {time: others.get(time) for time in rows} == rows


def test_feeder_without_a_password_says_so(tmp_path: Path) -> None:
    """DB_PASSWORD is demanded by name before anything is started."""
    ended = command(tmp_path, "feeder", LOCAL_STORE=f"lmdb://{tmp_path}/record")
    assert ended.returncode == 2
    assert "DB_PASSWORD is not set" in ended.stderr
    assert not (tmp_path / "record").exists()


@pytest.mark.parametrize("word", ["run", "feeder"])
def test_wrong_password_is_told_and_stops_nothing(tmp_path: Path, database_url: str, word: str) -> None:
    """A database that lets nobody in is a complaint in health and log, in its own words, without the password."""
    wrong = database_url.replace("candlewick@", "nobody:wrong-word@")
    with (
        simulated(tmp_path / "exchange", "--speed", SPEED) as place,
        started(tmp_path, word, **feeding(place, tmp_path / "record", wrong)) as feeder,
    ):
        wait_for(lambda: health(feeder)["candles_processed"] > 3, feeder)
        document = wait_for(lambda: one if (one := health(feeder))["outputs"][0]["error"] else None, feeder)
        assert "password" in document["outputs"][0]["error"]
        assert feeder.stop() == 0
    assert "wrong-word" not in feeder.err
    assert "wrong-word" not in json.dumps(document)
