"""Commands as people and scripts use them: real processes, beside a run that writes."""

import csv
import io
import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from candlewick.market import Candle, Interval, Market, Series, parse_time
from candlewick.stores import open_store
from candlewick.stores.store import Source, to_rows
from tests.acceptance.processes import (
    Child,
    ask,
    command,
    following,
    free_port,
    klines,
    simulated,
    started,
    url_of,
    wait_for,
)

CSV_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,trades,taker_buy_volume,taker_buy_quote_volume"
)
SYMBOLS = "BTCUSDT,SOLUSDT"


class Following(NamedTuple):
    """A run that follows a simulated market, and what a command needs to find both."""

    child: Child
    url: str
    place: str
    folder: Path
    settings: dict[str, str]

    def command(self, *words: str, code: int = 0, **more: str) -> str:
        """What a command prints; it must end with `code`, and never with a traceback."""
        done = command(self.folder, *words, **(self.settings | more))
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done.stdout

    def complaint(self, *words: str, code: int, **more: str) -> str:
        """What a command that cannot do it complains of: a line or two, and nothing on stdout."""
        done = command(self.folder, *words, **(self.settings | more))
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert "Traceback" not in done.stderr
        assert done.stderr
        return done.stderr


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Following]:
    """One run for every test that only looks at it; it has half an hour of history and goes on."""
    folder = tmp_path_factory.mktemp("commands")
    with simulated(folder, "--speed", "60", "--symbols", SYMBOLS) as place:
        settings = following(place, folder / "store", SYMBOLS=SYMBOLS, INTERVALS="1m,5m", HISTORY_START="0.05d")
        settings["BINANCE_STREAM_URL"] += "/ws"
        with started(folder, "run", **settings) as child:
            url = url_of(child)
            wait_for(lambda: ask(f"{url}/health")[1]["status"] == "healthy", child)
            yield Following(child, url, place, folder, settings)
            assert child.stop() == 0
            assert "Traceback" not in child.err


def test_csv_of_candles_has_the_documented_header_and_the_exchange_s_numbers(run: Following) -> None:
    """The columns in their order, times in epoch milliseconds, numbers that are those of REST."""
    text = run.command("candles", "btc/usdt", "1m", "--format", "csv", "--limit", "30")
    assert text.splitlines()[0] == CSV_HEADER
    rows = list(csv.DictReader(io.StringIO(text)))
    times = [int(row["open_time"]) for row in rows]
    assert times == list(range(times[0], times[0] + 30 * 60_000, 60_000))
    truth = klines(run.place, "BTCUSDT", "1m", times[0], times[-1] + 1)
    for row in rows[:-10]:  # what REST has confirmed
        assert [float(value) for value in row.values()] == [float(value) for value in truth[int(row["open_time"])][:11]]


def test_json_of_candles_has_the_same_keys(run: Following) -> None:
    """A list of objects with the names of the CSV header, numbers as numbers."""
    rows = json.loads(run.command("candles", "BTC-USDT", "5m", "--json", "--limit", "3"))
    assert [list(row) for row in rows] == [CSV_HEADER.split(",")] * 3
    assert all(isinstance(value, int | float) for row in rows for value in row.values())


def test_candles_of_a_range_are_half_open(run: Following) -> None:
    """--from is the first open time, --to lies behind the last; ISO and milliseconds are the same."""
    rows = json.loads(run.command("candles", "BTCUSDT", "1m", "--json", "--limit", "10"))
    start, end = rows[2]["open_time"], rows[5]["open_time"]
    part = json.loads(run.command("candles", "BTCUSDT", "1m", "--json", "--from", str(start), "--to", str(end)))
    assert part == rows[2:5]


def test_gaps_of_a_whole_store_are_none(run: Following) -> None:
    """Nothing missing is exit code 0, an empty list for scripts and a sentence for people."""
    assert json.loads(run.command("gaps", "--json")) == []
    assert run.command("gaps", "BTCUSDT", "1m") == ""


def test_status_shows_run_and_store(run: Following) -> None:
    """What runs and what is stored, for people and for scripts."""
    document = json.loads(run.command("status", "--json"))
    assert document["run"]["state"] == "healthy"
    assert document["run"]["url"] == run.url
    assert document["store"]["error"] is None
    held = {one["series"]: one for one in document["store"]["series"]}
    assert set(held) == {f"spot:{symbol}:{interval}" for symbol in SYMBOLS.split(",") for interval in ("1m", "5m")}
    assert all(one["candles"] > 0 and one["missing"] == 0 for one in held.values())
    assert "spot:BTCUSDT:1m" in run.command("status")


def test_doctor_finds_everything_in_order(run: Following) -> None:
    """Beside a run that writes the store, nothing is broken."""
    findings = json.loads(run.command("doctor", "--json"))
    assert {one["verdict"] for one in findings} == {"ok"}
    assert {"settings", "store", "exchange REST", "exchange stream", "symbols"} <= {one["check"] for one in findings}


def test_config_shows_where_each_value_comes_from(run: Following) -> None:
    """`show` names every setting with its origin, `check` says that they are fine."""
    shown = {one["name"]: one for one in json.loads(run.command("config", "show", "--json"))}
    assert shown["SYMBOLS"]["value"] == SYMBOLS
    assert "environment" in shown["SYMBOLS"]["origin"]
    assert shown["CONTROL_TOKEN"]["origin"] == "default"
    assert json.loads(run.command("config", "check", "--json"))["ok"] is True


def test_repair_is_done_by_the_run_that_writes(run: Following) -> None:
    """The command asks the run, which finds nothing to mend."""
    results = json.loads(run.command("repair", "BTCUSDT", "--json"))
    assert {(one["symbol"], one["interval"]) for one in results} == {("BTCUSDT", "1m"), ("BTCUSDT", "5m")}
    assert all(one["missing"] == 0 and one["error"] is None for one in results)


def test_health_metrics_and_status_answer(run: Following) -> None:
    """What probes and dashboards read is there and in order."""
    for path in ("health", "ready", "live"):
        assert ask(f"{run.url}/{path}")[0] == 200
    code, document = ask(f"{run.url}/health")
    assert document["websocket_connected"] is True
    assert document["database_connected"] is True
    assert document["candles_written"] > 0
    assert (code, document["reasons"]) == (200, [])


def test_unknown_series_is_a_usage_error_that_says_what_there_is(run: Following) -> None:
    """Exit code 2, and the complaint names what the store has."""
    assert "BTCUSDT" in run.complaint("candles", "NOPEUSDT", "1m", code=2)
    assert "interval" in run.complaint("candles", "BTCUSDT", "1x", code=2)
    assert "--from" in run.complaint("candles", "BTCUSDT", "1m", "--from", "yesterday", code=2)


def test_second_run_on_the_same_store_is_told_who_writes_it(run: Following) -> None:
    """It does not start, names the process, and the first one goes on."""
    words = run.complaint("run", code=1)
    assert str(run.child.process.pid) in words
    assert run.url in words
    assert not run.child.is_over()


def test_port_in_use_is_named(run: Following, tmp_path: Path) -> None:
    """A port that somebody has is an error of configuration that says which setting to change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        words = run.complaint("run", "--store", f"lmdb://{tmp_path}/other", "--port", port, code=2)
    assert f"port {port} is in use" in words
    assert "FEEDER_PORT" in words


def test_unknown_symbol_ends_the_start_with_a_suggestion(run: Following, tmp_path: Path) -> None:
    """Exit code 2; the complaint names the setting, the value and what was perhaps meant."""
    words = command(tmp_path, "run", "--store", "memory://", **(run.settings | {"SYMBOLS": "BTCUSTD"}))
    assert words.returncode == 2
    assert "SYMBOLS" in words.stderr
    assert "did you mean BTCUSDT" in words.stderr
    assert "Traceback" not in words.stderr


def test_impossible_setting_is_named(run: Following) -> None:
    """Exit code 2, the name of the variable, the value, and what would be right."""
    words = run.complaint("config", "check", code=2, GAP_DETECTION_THRESHOLD="soon")
    assert "GAP_DETECTION_THRESHOLD" in words
    assert "soon" in words


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_a_run_with_everything_on_disk(run: Following, tmp_path: Path, number: signal.Signals) -> None:
    """Exit code 0 within ten seconds; what the run said it wrote is in the store, and its last line says so."""
    settings = run.settings | {"STORE": f"lmdb://{tmp_path}/store", "LOG_LEVEL": "debug", "HISTORY_START": "0.01d"}
    with started(tmp_path, "run", **settings) as child:
        wait_for(lambda: len(child.logged("CandlesStored")) >= 5, child)
        assert child.stop(number) == 0
        written = sum(line["inserted"] for line in child.logged("CandlesStored"))
        assert child.log[-1]["message"] == "stopped; everything received is on disk"
    document = json.loads(run.command("status", "--json", STORE=settings["STORE"], FEEDER_PORT=str(free_port())))
    assert document["run"] is None
    assert sum(one["candles"] for one in document["store"]["series"]) == written


def test_run_without_an_exchange_says_so_and_goes_on_trying(tmp_path: Path) -> None:
    """Nothing listens there: the log and /health, which is 503, say it plainly; it tries again, and stops when told."""
    place = f"127.0.0.1:{free_port()}"
    with started(tmp_path, "run", **following(place, tmp_path / "store")) as child:
        url = url_of(child)
        code, document = wait_for(
            lambda: answer if (answer := ask(f"{url}/health"))[1]["status"] == "unhealthy" else None, child
        )
        assert code == 503
        assert any("refused" in reason and place in reason for reason in document["reasons"]), document["reasons"]
        assert ask(f"{url}/ready")[0] == 503
        assert ask(f"{url}/live")[0] == 200
        wait_for(lambda: len(child.logged("RestTrouble")) >= 3, child)
        assert "Traceback" not in child.err
        assert child.stop() == 0


def test_exchange_that_comes_late_is_followed(tmp_path: Path) -> None:
    """A run that started before its exchange follows it once it is there, as if it had always been."""
    port = str(free_port())
    place = f"127.0.0.1:{port}"
    settings = following(place, tmp_path / "store", SYMBOLS="BTCUSDT", HISTORY_START="0.01d")
    with started(tmp_path, "run", **settings) as child:
        url = url_of(child)
        wait_for(lambda: child.logged("RestTrouble"), child)
        with started(tmp_path, "simulate", "--port", port, "--speed", "60"):
            wait_for(lambda: ask(f"{url}/health")[1]["status"] == "healthy", child)
        assert child.stop() == 0


def test_futures_are_followed_on_their_own_routes(tmp_path: Path) -> None:
    """MARKET=usdm against a simulated futures market: klines and quotes arrive, each on its route."""
    with simulated(tmp_path / "exchange", "--market", "usdm", "--speed", "60", "--symbols", "BTCUSDT") as place:
        settings = following(place, tmp_path / "store", MARKET="usdm", SYMBOLS="BTCUSDT", HISTORY_START="0.01d")
        with started(tmp_path, "run", **settings) as child:
            url = url_of(child)
            frames = wait_for(
                lambda: (
                    seen if all((seen := ask(f"{url}/status")[1]["counters"]["frames"]).values()) and seen else None
                ),
                child,
            )
            assert set(frames) == {"kline", "bookTicker"}
            wait_for(lambda: ask(f"{url}/health")[1]["status"] == "healthy", child)
            assert child.stop() == 0
        rows = json.loads(command(tmp_path, "candles", "BTCUSDT", "1m", "--json", **settings).stdout)
        assert rows


def test_run_that_was_asleep_catches_up(run: Following, tmp_path: Path) -> None:
    """A process that stands still for minutes of the market, as on a laptop that is closed, lacks nothing afterwards."""
    settings = run.settings | {"STORE": f"lmdb://{tmp_path}/store", "HISTORY_START": "0.01d", "INTERVALS": "1m"}
    with started(tmp_path, "run", **settings) as child:
        url = url_of(child)
        wait_for(lambda: ask(f"{url}/health")[1]["status"] == "healthy", child)
        child.process.send_signal(signal.SIGSTOP)
        slept = ask(f"http://{run.place}/api/v3/time")[1]["serverTime"]
        wait_for(lambda: ask(f"http://{run.place}/api/v3/time")[1]["serverTime"] > slept + 200_000)
        child.process.send_signal(signal.SIGCONT)
        awake = ask(f"http://{run.place}/api/v3/time")[1]["serverTime"]
        wait_for(lambda: parse_time(ask(f"{url}/health")[1]["last_candle_time"]) // 1000 > awake, child)
        wait_for(lambda: ask(f"{url}/health")[1]["status"] == "healthy", child)
        assert child.stop() == 0
    alone = {"STORE": settings["STORE"], "FEEDER_PORT": str(free_port())}
    assert json.loads(run.command("gaps", "--json", **alone)) == []
    results = json.loads(run.command("repair", "--json", **alone))  # where nothing runs it does it itself
    assert {one["symbol"]: one["missing"] for one in results} == dict.fromkeys(SYMBOLS.split(","), 0)


def test_missing_candles_are_exit_code_3(run: Following, tmp_path: Path) -> None:
    """A store with a hole that nobody has repaired: `gaps` names it and says so by its exit code."""
    store = open_store(f"lmdb://{tmp_path}/holes", write=True)
    number = store.number(Series(Market.SPOT, "BTCUSDT", Interval("1m")))
    times = [1_700_000_040_000_000 + minute * 60_000_000 for minute in (0, 1, 4)]
    candles = [Candle(time, 1.0, 1.0, 1.0, 1.0, 1.0, time + 59_999_000, 1.0, 1, 0.0, 0.0) for time in times]
    store.write(to_rows(number, Source.LIVE, candles))
    store.close()
    settings = {"STORE": f"lmdb://{tmp_path}/holes"}
    (gap,) = json.loads(run.command("gaps", "--json", code=3, **settings))
    assert gap == {
        "market": "spot", "symbol": "BTCUSDT", "interval": "1m", "from": 1_700_000_160_000, "to": 1_700_000_280_000,
        "candles": 2, "reason": "missing",
    }  # fmt: skip
    assert "missing" in run.command("gaps", code=3, **settings)
    assert "there is no store" in run.complaint("gaps", code=1, STORE=f"lmdb://{tmp_path}/none")


def test_demo_ends_by_itself(tmp_path: Path) -> None:
    """`demo --duration` shows stored candles and ends with exit code 0."""
    done = command(tmp_path, "demo", "--duration", "8", "--port", "0")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line for line in done.stdout.splitlines() if " candles in 18 series" in line]
    assert lines
    assert "healthy" in lines[-1]
