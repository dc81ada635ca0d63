"""Candles made of the archive's trades, by the commands a user types, against a simulated archive with its traps."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from candlewick.clock import SystemClock
from candlewick.market import DAY, format_time
from tests.acceptance.processes import command, simulated

TOOL = Path(__file__).parents[2] / "tools" / "verify_certificate.py"
SYMBOL = "XRPUSDT"


class Shop:
    """A simulated exchange's address, a store, and two days that are over and published."""

    def __init__(self, folder: Path, place: str, days: list[str]) -> None:
        self.folder, self.days = folder, days
        self.settings = {
            "BINANCE_API_URL": f"http://{place}", "BINANCE_ARCHIVE_URL": f"http://{place}",
            "BINANCE_ARCHIVE_LIST_URL": f"http://{place}", "STORE": f"lmdb://{folder / 'store'}",
        }  # fmt: skip

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return command(self.folder, *words, **self.settings)

    def load(self, *words: str, code: int = 3) -> list[dict[str, Any]]:
        """Load the two days; what it prints."""
        done = self.run("history", "load", SYMBOL, "--from", self.days[0], "--to", self.days[2], "--json", *words)
        assert done.returncode == code, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found


@contextmanager
def shop(folder: Path, *faults: dict[str, object]) -> Iterator[Shop]:
    """An exchange with something wrong in its files; `{day}` in an endpoint is the second day."""
    now = SystemClock().now()
    days = [format_time(now - back * DAY)[:10] for back in (5, 4, 3)]
    script = folder / "faults.json"
    script.write_text(json.dumps([one | {"endpoint": str(one["endpoint"]).format(day=days[1])} for one in faults]))
    with simulated(folder, "--symbols", SYMBOL, "--faults", str(script)) as place:
        yield Shop(folder, place, days)


def test_trades_make_the_candles_that_the_exchange_made(tmp_path: Path) -> None:
    """Minutes and 7m come from trades, certify and verify, a stranger too; the exchange's own minutes are equal to them."""
    with shop(tmp_path) as one:
        made = {each["interval"]: each for each in one.load("--source", "trades", "--intervals", "1m,7m")}
        assert made["1m"]["made"] == made["1m"]["rows"] == made["1m"]["held"] > 2000
        assert made["1m"]["held"] + made["1m"]["idle"] == made["1m"]["expected"] == 2880
        assert made["7m"]["made"] > 400
        assert made["1m"]["doubtful"] == made["1m"]["different"] == made["1m"]["inexact"] == 0

        document, table = tmp_path / "one.json", tmp_path / "one.csv"
        assert one.run("certify", SYMBOL, "7m", "--output", str(document)).returncode == 0
        certificate = json.loads(document.read_bytes())
        assert [each["file"].rpartition("/")[2] for each in certificate["sources"]] == [
            f"{SYMBOL}-trades-{day}.zip" for day in one.days[:2]
        ]
        assert one.run("verify", str(document)).returncode == 0
        assert one.run("export", SYMBOL, "7m", "--format", "csv", "--output", str(table)).returncode == 0
        line = [sys.executable, "-I", "-S", str(TOOL), str(document), str(table)]
        stranger = subprocess.run(line, capture_output=True, text=True, check=False)
        assert stranger.returncode == 0, stranger.stdout + stranger.stderr

        own = one.load("--intervals", "1m", code=0)[0]
        assert (own["rows"], own["revised"], own["complete"]) == (2880, 0, True)
        (compared,) = one.load("--source", "aggTrades", "--intervals", "1m", code=0)
        assert (compared["equal"], compared["within"], compared["different"]) == (made["1m"]["made"], 0, 0)


def test_trades_find_what_is_wrong_with_files_of_right_checksums(tmp_path: Path) -> None:
    """Lost trades are mended from REST, klines with wrong values are found out, and a file of one side is not taken."""
    faults: list[dict[str, object]] = [
        {"kind": "lost_rows", "endpoint": "/data/*/aggTrades/*-{day}.zip", "number": 3},
        {"kind": "annulled_rows", "endpoint": "/data/*/aggTrades/*-{day}.zip", "number": 2},
        {"kind": "wrong_side", "endpoint": "/data/*/trades/*-{day}.zip"},
        {"kind": "replaced_file", "endpoint": "/data/*/klines/*/1m/*-{day}.zip", "number": 5},
    ]
    with shop(tmp_path, *faults) as one:
        assert one.load("--intervals", "1m", code=0)[0]["complete"]
        line = ("history", "load", SYMBOL, "--from", one.days[0], "--to", one.days[2])
        done = one.run(*line, "--source", "aggTrades", "--intervals", "1m", "--json")
        assert done.returncode == 1, done.stderr
        assert "DIFFERENT" in done.stderr
        assert "is held (archive)" in done.stderr
        assert one.days[1] in done.stderr
        (again,) = json.loads(done.stdout)
        assert 1 <= again["different"] <= 5
        assert again["doubtful"] == again["rows"] == 0

        done = one.run(*line, "--source", "trades", "--intervals", "2h")
        assert done.returncode == 3, done.stderr
        assert "12 of 24 candles held" in done.stdout
        assert "all trades are of one side" in done.stdout
