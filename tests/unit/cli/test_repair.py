"""`candlewick repair`: by way of the run that writes the store, or by itself."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from candlewick.cli import main
from candlewick.market import MINUTE
from candlewick.stores import open_store
from candlewick.stores.lmdb import LmdbStore
from tests.unit.cli.servers import Run, exchange, running
from tests.unit.cli.stores import BTC, T0, make_store


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """The command sets up logging for its process; here it is put back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_repair_asks_the_run_that_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where a run writes the store, it is asked at the place it announced, with the token; its results decide the exit code."""
    url = make_store(tmp_path / "store", range(3))
    run = Run()
    (tmp_path / "candlewick.toml").write_text('control_token = "open"\n', encoding="utf-8")
    store = open_store(url, write=True)
    assert isinstance(store, LmdbStore)
    try:
        with running(run, control_token="open") as server:
            store.announce(server.url)
            assert main(["repair", "--json", "--store", url]) == 0
            assert json.loads(capsys.readouterr().out)[0]["recovered"] == 1
            assert main(["repair", "btcusdt", "1h", "--store", url]) == 0
            assert capsys.readouterr().out.splitlines()[1].split()[0] == "spot:BTCUSDT:1m"
            assert main(["repair", "ETHUSDT", "--store", url]) == 3
            assert main(["repair", "NONE", "--store", url]) == 2
            assert "NONE" in capsys.readouterr().err
            (tmp_path / "candlewick.toml").unlink()
            assert main(["repair", "--store", url]) == 1
            assert "answered 401" in capsys.readouterr().err
        assert main(["repair", "--store", url]) == 1
        assert "does not answer" in capsys.readouterr().err
    finally:
        store.close()
    assert [one and str(one) for one in run.asked] == [None, "spot:BTCUSDT:1h", "spot:ETHUSDT:1m"]


def test_repair_mends_a_store_that_nobody_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a run the command asks the exchange itself, and the gap is gone."""
    url = make_store(tmp_path / "store", [0, 1, 5, 6])
    assert main(["gaps", "--store", url]) == 3
    with exchange(start_at=T0 + 30 * MINUTE) as server:
        monkeypatch.setenv("BINANCE_API_URL", f"http://127.0.0.1:{server.port}")
        monkeypatch.setenv("BINANCE_STREAM_URL", f"ws://127.0.0.1:{server.port}")
        capsys.readouterr()
        assert main(["repair", "--json", "--store", url]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert (result["symbol"], result["recovered"], result["missing"], result["error"]) == ("BTCUSDT", 3, 0, None)
    assert main(["gaps", "--store", url]) == 0
    store = open_store(url, write=False)
    assert len(store.read(BTC)) >= 7
    store.close()
