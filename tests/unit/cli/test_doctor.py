"""`candlewick doctor`: each check, well and broken, with its remedy."""

import json
import socket
from pathlib import Path

import pytest

from candlewick.cli import main
from candlewick.cli.findings import Verdict
from candlewick.cli.network import _clocks
from candlewick.stores import open_store
from tests.unit.cli.servers import Run, exchange, running
from tests.unit.cli.stores import make_store

CHECKS = [
    "python", "settings", "store folder", "free space", "store writer", "store", "port", "exchange REST", "clock",
    "symbols", "exchange stream",
]  # fmt: skip


def examine(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, dict[str, str]]]:
    capsys.readouterr()
    code = main(["doctor", "--json", *words])
    findings = json.loads(capsys.readouterr().out)
    assert all(one["remedy"] for one in findings if one["verdict"] != "ok")
    return code, {one["check"]: one for one in findings}


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exchange that refuses every connection at once."""
    monkeypatch.setenv("BINANCE_API_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("BINANCE_STREAM_URL", "ws://127.0.0.1:1")


def test_doctor_finds_all_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a store, a free port and an exchange that answers, every check is ok and the exit code 0."""
    url = make_store(tmp_path / "store", range(3))
    with exchange() as server:
        monkeypatch.setenv("BINANCE_API_URL", f"http://127.0.0.1:{server.port}")
        monkeypatch.setenv("BINANCE_STREAM_URL", f"ws://127.0.0.1:{server.port}")
        code, findings = examine(capsys, "--store", url, "--port", "0")
        unknown, wrong = examine(capsys, "--store", url, "--port", "0", "--symbols", "BTCUSD")
    assert {name: one["verdict"] for name, one in findings.items()} == dict.fromkeys(CHECKS, "ok")
    assert code == 0
    assert findings["store"]["found"] == "3 candles in 1 series"
    assert findings["symbols"]["found"] == "1 of spot: BTCUSDT"
    assert (unknown, wrong["symbols"]["verdict"]) == (1, "broken")
    assert "did you mean BTCUSDT" in wrong["symbols"]["found"]


@pytest.mark.usefixtures("nowhere")
def test_doctor_names_what_is_broken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged store, a taken port and an exchange that is away are each broken, with the exit code 1."""
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / "data.mdb").write_bytes(b"no database at all" * 1000)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        code, findings = examine(capsys, "--store", f"lmdb://{folder}", "--port", port)
        assert main(["doctor", "--store", f"lmdb://{folder}", "--port", port]) == 1
    broken = {name for name, one in findings.items() if one["verdict"] == "broken"}
    assert (code, broken) == (1, {"store", "port", "exchange REST", "exchange stream"})
    assert "FEEDER_PORT" in findings["port"]["remedy"]
    assert "BINANCE_API_URL=http://127.0.0.1:1" in findings["exchange REST"]["remedy"]
    out = capsys.readouterr().out
    assert "broken   port: " in out
    assert "         -> stop what listens there" in out


@pytest.mark.usefixtures("nowhere")
def test_doctor_knows_a_run_by_its_port(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A port that a run has is in order, and so is a store that it writes."""
    url = make_store(tmp_path / "store", range(3))
    store = open_store(url, write=True)
    try:
        with running(Run()) as server:
            _, findings = examine(capsys, "--store", url, "--port", server.url.rpartition(":")[2])
    finally:
        store.close()
    assert (findings["port"]["verdict"], findings["store writer"]["verdict"]) == ("ok", "ok")
    assert "a run answers" in findings["port"]["found"]
    assert "writes the store" in findings["store writer"]["found"]


def test_doctor_starts_with_the_settings(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Settings that cannot be are the finding; nothing else is looked at."""
    monkeypatch.setenv("FEEDER_PORT", "many")
    code, findings = examine(capsys)
    assert code == 1
    assert list(findings) == ["python", "settings"]
    assert "FEEDER_PORT='many'" in findings["settings"]["found"]


@pytest.mark.usefixtures("nowhere")
def test_doctor_before_the_first_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """That there is no store yet is fine; a folder that cannot be made is not."""
    _, findings = examine(capsys, "--store", f"lmdb://{tmp_path}/new/store", "--port", "0")
    assert (findings["store"]["verdict"], findings["store folder"]["verdict"]) == ("ok", "ok")
    (tmp_path / "file").write_text("", encoding="utf-8")
    _, findings = examine(capsys, "--store", f"lmdb://{tmp_path}/file/store", "--port", "0")
    assert findings["store folder"]["verdict"] == "broken"


@pytest.mark.parametrize(
    ("ahead_s", "simulated", "verdict"),
    [(0.9, False, "ok"), (-1.5, False, "warning"), (1.5, False, "warning"), (9e9, True, "ok")],
)
def test_clock_is_judged_by_a_second(ahead_s: float, simulated: bool, verdict: str) -> None:
    """More than a second apart is a warning that names NTP; simulated time is none."""
    finding = _clocks(ahead_s, simulated=simulated)
    assert finding.verdict is Verdict(verdict)
    assert ("NTP" in finding.remedy) == (verdict == "warning")
