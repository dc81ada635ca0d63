"""`candlewick history load` where STORE is a shared database: into the local record, and from there into the database."""

import json
from pathlib import Path

from candlewick.market import DAY, format_time
from tests.acceptance.feeding import differences, feeding, in_record, query, wait_until_level
from tests.acceptance.processes import ask, command, simulated, started

FIELDS = ("candles", "WANUSDT", "1h", "--format", "csv")


def test_history_reaches_the_shared_database(tmp_path: Path, database_url: str) -> None:
    """Nobody but the record is written by the load, which says so; a feeder brings rows, files and certificate over."""
    record = tmp_path / "record"
    with simulated(tmp_path / "exchange") as place:
        base = f"http://{place}"
        archive = {"BINANCE_ARCHIVE_URL": base, "BINANCE_ARCHIVE_LIST_URL": base}
        settings = feeding(place, record, database_url, SYMBOLS="WANUSDT", INTERVALS="1h", **archive)
        today = int(ask(f"{base}/api/v3/time")[1]["serverTime"]) * 1000 // DAY * DAY
        load = ("history", "load", "WANUSDT", "--from", format_time(today - 20 * DAY), "--to", format_time(today))
        done = command(tmp_path, *load, "--json", **settings)
        assert done.returncode == 0, done.stderr
        assert f"written to lmdb://{record}: `candlewick run` or `candlewick feeder` brings it" in done.stderr
        (found,) = json.loads(done.stdout)
        assert (found["held"], found["complete"]) == (480, True)
        assert found["archive_files"] > 0
        assert query(database_url, "SELECT to_regclass('candles')::text")[0][0] is None
        planned = command(tmp_path, *load, "--dry-run", **settings)
        assert "spot:WANUSDT:1h: nothing to load" in planned.stdout
        with started(tmp_path, "feeder", **settings) as feeder:
            wait_until_level(feeder)
            refused = command(tmp_path, *load, **settings)
            assert refused.returncode == 1
            assert str(feeder.process.pid) in refused.stderr
            assert feeder.stop() == 0
    assert differences(record, database_url) == []
    assert sum(map(len, in_record(record).values())) >= 480
    (kept,) = query(database_url, "SELECT document FROM certificates WHERE symbol = 'WANUSDT' AND interval = '1h'")
    assert json.loads(kept[0])["root"] == found["certificate"]
    files = query(database_url, "SELECT count(*) FROM provenance WHERE starts_with(key, 'file:spot:WANUSDT:1h:')")
    assert files[0][0] >= found["archive_files"]
    assert command(tmp_path, "verify", **settings).returncode == 0
    printed = command(tmp_path, *FIELDS, **settings).stdout
    assert printed == command(tmp_path, *FIELDS, "--store", f"lmdb://{record}", **settings).stdout
    assert printed.count("\n") > 480
